"""Each way to split a log, compared with plain Python; and what a split by chance must not depend on."""

from __future__ import annotations

import random
from collections import Counter

import polars as pl
import pytest
from read_back import by_row, impressions, prepare_files

from entirespace.errors import EntirespaceError

HEAD = """
[impressions]
files = ["**/*"]
labels = { click = "y", conversion = "z" }
"""
FIELDS = """
[impressions.fields]
item = {}
[roles]
segments = ["rid"]
"""


def log_of(n: int, seed: int = 0, users: int = 9) -> list[dict]:
    r = random.Random(seed)
    return [
        {"rid": f"r{i}", "y": 0, "z": 0, "item": r.choice("abc"), "t": r.randrange(n), "uid": 100 + r.randrange(users)}
        for i in range(n)
    ]


def parts_of(folder, split: str, files: dict, head: str = "", roles: str = "") -> dict[str, str]:
    data = prepare_files(folder, HEAD + head + FIELDS + roles + "[split]\n" + split, files)
    return {rid: row["part"] for rid, row in by_row(data).items()}


# By user and by chance

USER = 'by = "user"\ntrain = 0.6\nvalidation = 0.2\n'
AS_USER = 'user = "uid"\n'


def test_all_rows_of_a_user_are_in_one_part_and_shares_are_as_asked(tmp_path):
    rows = log_of(4000, users=1500)
    parts = parts_of(tmp_path, USER, {"log.csv": rows}, roles=AS_USER)
    of_user: dict[int, set[str]] = {}
    for row in rows:
        of_user.setdefault(row["uid"], set()).add(parts[row["rid"]])
    assert all(len(found) == 1 for found in of_user.values())
    counts = Counter(part for found in of_user.values() for part in found)
    for part, share in (("train", 0.48), ("validation", 0.12), ("test", 0.4)):
        assert counts[part] / len(of_user) == pytest.approx(share, abs=0.05)


@pytest.mark.parametrize("by", ["user", "random"])
def test_a_split_by_chance_depends_on_the_seed_and_not_on_the_order_or_the_storage(tmp_path, by):
    rows = log_of(300, users=60)
    split, roles = USER.replace("user", by), AS_USER if by == "user" else ""

    def of(seed: int, files: dict, head: str = "") -> dict[str, str]:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        return parts_of(folder, split + f"seed = {seed}\n", files, head, roles)

    first = of(1, {"log.csv": rows})
    assert of(1, {"b.csv": rows[:100], "a.csv": rows[100:][::-1]}) == first
    frame = pl.DataFrame(rows)
    floats = frame.with_columns(pl.col("uid", "t").cast(pl.Float64), pl.col("item").cast(pl.Categorical))
    texts = frame.with_columns(pl.col("uid", "t").cast(pl.String))
    assert of(1, {"log.parquet": frame.cast({"uid": pl.UInt8, "t": pl.Int16})}) == first
    assert of(1, {"a.parquet": floats[:150], "b.parquet": texts[150:]}) == first
    changed = of(2, {"log.csv": rows})
    assert 0.2 < sum(changed[rid] != part for rid, part in first.items()) / len(rows) < 0.9
    if by == "random":  # with `unique`, only its columns decide
        unique = 'unique = ["uid", "t", "item"]\n'
        once = of(1, {"log.csv": rows}, unique)
        again = [row | {"rid": row["rid"] + "!", "y": 1} for row in rows]
        assert of(1, {"a.csv": rows, "b.csv": again}, unique) == once


def test_of_equal_rows_as_many_are_in_each_part_in_any_order_of_files(tmp_path):
    rows = [{"y": 0, "z": 0, "item": item} for item in "abcdefgh" * 40]

    def counts(name: str, those: list[dict]) -> Counter:
        (tmp_path / name).mkdir()
        schema = HEAD + '[impressions.fields]\nitem = { hash = 1000 }\n[split]\nby = "random"\nseed = 4\n'
        data = prepare_files(tmp_path / name, schema, {"log.csv": those})
        return Counter(
            (part.name, row)
            for part in data.parts
            for rows in part.chunks()
            for row in rows.fields["item"].values.tolist()
        )

    one = counts("one", rows)
    assert one == counts("other", sorted(rows, key=lambda row: row["item"]))
    assert {part for part, _ in one} == {"train", "validation", "test"}


def test_rows_without_a_user_are_not_one_user(tmp_path):
    rows = [row | {"uid": "NULL" if i % 2 else row["uid"]} for i, row in enumerate(log_of(400, users=100))]
    parts = parts_of(tmp_path, USER, {"log.csv": rows}, 'missing = ["NULL"]\n', AS_USER)
    counts = Counter(parts[row["rid"]] for row in rows if row["uid"] == "NULL")
    assert counts["train"] / 200 == pytest.approx(0.48, abs=0.12)
    assert counts["test"] / 200 == pytest.approx(0.4, abs=0.12)


# By order, column, file


@pytest.mark.parametrize("seed", range(6))
def test_by_order(tmp_path, few_rows, seed):
    r = random.Random(seed)
    rows = log_of(r.choice([40, 90]), seed)
    rows = [row | {"t": row["t"] // r.choice([1, 4])} for row in rows]
    train, validation, ordered = r.choice([0.5, 0.7]), r.choice([0.1, 0.25]), r.random() < 0.7
    cut = r.randrange(1, len(rows))
    with few_rows():
        split = f"train = {train}\nvalidation = {validation}\n"
        files = {"log_2.csv": rows[:cut], "log_10.csv": rows[cut:]}
        found = parts_of(tmp_path, split, files, 'order = "t"\n' if ordered else "")

    def cut_off(those: list[tuple[int, str]], share: float) -> tuple[list, list]:
        end = sorted(t for t, _ in those)[min(len(those) - 1, round(share * len(those)))]
        return [one for one in those if one[0] < end], [one for one in those if one[0] >= end]

    all_rows = [(row["t"] if ordered else i, row["rid"]) for i, row in enumerate(rows)]
    first, test = cut_off(all_rows, train)
    first, last = cut_off(first, 1 - validation)
    expected = {
        rid: part for part, those in (("train", first), ("validation", last), ("test", test)) for _, rid in those
    }
    assert found == expected


LEVELS = {
    "csv": [{"rid": f"r{i}", "y": 0, "z": 0, "item": "a", "wave": wave} for i, wave in enumerate("1223344")],
    "float": pl.DataFrame({"wave": [float(wave) for wave in "1223344"]}),
    "decimal": pl.DataFrame({"wave": list("1223344")}).cast(pl.Decimal(9, 2)),
    "padded": pl.DataFrame({"wave": [f"{wave}.0" for wave in "1223344"]}),
    "category": pl.DataFrame({"wave": list("1223344")}).cast(pl.Categorical),
    "uint8": pl.DataFrame({"wave": [int(wave) for wave in "1223344"]}).cast(pl.UInt8),
}


@pytest.mark.parametrize("storage", LEVELS)
@pytest.mark.parametrize("lists", ["train = [1, 2]\ntest = [4]\n", 'train = ["1", 2.0]\ntest = ["4.0"]\n'])
def test_by_a_column_whose_levels_are_numbers(tmp_path, storage, lists):
    table = LEVELS[storage]
    if storage != "csv":
        table = pl.DataFrame([{k: v for k, v in row.items() if k != "wave"} for row in LEVELS["csv"]]).hstack(table)
    name = "log.csv" if storage == "csv" else "log.parquet"
    split = f'by = "column"\ncolumn = "wave"\n{lists}validation = [3]\n'
    found = parts_of(tmp_path, split, {name: table})
    assert found == dict(
        zip([f"r{i}" for i in range(7)], ["train"] * 3 + ["validation"] * 2 + ["test"] * 2, strict=True)
    )


def test_by_a_column_with_a_missing_value_as_a_level(tmp_path):
    rows = [row | {"wave": wave} for row, wave in zip(log_of(4), ["a", "NA", "", "b"], strict=True)]
    split = 'by = "column"\ncolumn = "wave"\ntrain = ["a"]\ntest = ["b"]\nvalidation = [""]\n'
    found = parts_of(tmp_path, split, {"log.csv": rows}, 'missing = ["NA"]\n')
    assert found == {"r0": "train", "r1": "validation", "r2": "validation", "r3": "test"}


def test_by_file_in_folders_with_equal_names(tmp_path):
    rows = log_of(8)
    files = {"a/0.csv": rows[:3], "b/0.csv": rows[3:4], "b/1.csv": rows[4:6], "c/d/0.csv": rows[6:]}
    split = 'by = "file"\ntrain = ["a/*"]\nvalidation = ["b/1.csv"]\ntest = ["c/**", "b/0.csv"]\n'
    found = parts_of(tmp_path, split, files)
    parts = ["train"] * 3 + ["test"] + ["validation"] * 2 + ["test"] * 2
    assert found == {f"r{i}": part for i, part in enumerate(parts)}


def test_by_file_a_file_of_two_parts_is_refused(tmp_path):
    files = {"a/0.csv": log_of(3), "b/0.csv": log_of(3)}
    split = 'by = "file"\ntrain = ["a/*"]\ntest = ["0.csv"]\n'
    with pytest.raises(EntirespaceError, match=r"a/0\.csv"):
        parts_of(tmp_path, split, files)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_all_in_one_part(tmp_path, part):
    data = prepare_files(tmp_path, HEAD + FIELDS + f'[split]\nby = "all"\npart = "{part}"\n', {"log.csv": log_of(5)})
    assert {row["part"] for row in impressions(data)} == {part}
