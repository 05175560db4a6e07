"""First schemas of small logs, each with something of its own."""

from __future__ import annotations

import gzip
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from guessed import BUY, CLICK, ITEM, USER, N, counts, log, schema_of

import entirespace as es
from entirespace.logs.guess import first_schema, guess, sample
from entirespace.logs.guess.tables import patterns
from entirespace.logs.guess.write import quoted


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    return tmp_path / "raw"


def test_raw_ali_ccp_needs_no_schema(raw: Path) -> None:
    es.simulate(raw, impressions=200, click_rate=0.4, conversion_rate=0.4, format="aliccp")
    made = guess(raw)
    assert "prepare aliccp" in made.text
    assert made.recipe == "aliccp"


def kinds(raw: Path) -> dict[str, dict[str, object]]:
    """The fields of the impressions, as the schema has them."""
    return tomllib.loads(first_schema(raw))["impressions"]["fields"]


def test_kinds_of_fields(raw: Path, tmp_path: Path) -> None:
    log(
        price=[f"{i},{i % 10}5" for i in range(N)],
        salary=[f"1.{i:03d}.000,5" for i in range(N)],
        tags=["a|b", "c", ""] * 100,
        history=["27 9", "3", "8 8 1"] * 100,
        boxes=["[27, 9]", "[3]", "[]"] * 100,
        zip=[f"0{i % 40:04d}" for i in range(N)],
        bracket=["[10,100)", "(250,500]", "500+"] * 100,
        author_id=[10**6 + 7 * (i % 90) for i in range(N)],
        grade=[i % 5 for i in range(N)],
        size=[None if i % 7 == 0 else i / 4 for i in range(N)],
    ).write_csv(raw / "log.csv", separator=";", null_value="NA")
    found = kinds(raw)
    assert found["price"] == {"kind": "number", "decimal": ","}
    assert found["salary"] == {"kind": "number", "decimal": ",", "thousands": "."}
    assert found["tags"] == {"kind": "ids", "separator": "|"}
    assert found["history"] == {"kind": "ids", "separator": " "}
    assert found["boxes"] == {"kind": "ids"}
    assert [found[name]["kind"] for name in ("zip", "bracket", "author_id", "grade", "size")] == ["id"] * 4 + ["number"]
    about = tomllib.loads(first_schema(raw))["impressions"]
    assert (about["delimiter"], about["missing"]) == (";", ["NA"])
    assert counts(raw, tmp_path) == (N, CLICK.sum(), BUY.sum())


@pytest.mark.parametrize(
    ("values", "time"),
    [
        ([f"2024-05-{i % 28 + 1:02d} 18:00:{i % 60:02d}" for i in range(N)], None),
        ([1_650_000_000 + i for i in range(N)], {"unit": "s"}),
        ([1_650_000_000_000 + i for i in range(N)], {"unit": "ms"}),
        ([f"{i % 28 + 1}.1.2024 {i % 24:02d}:00" for i in range(N)], {"format": "%d.%m.%Y %H:%M"}),
        ([f"1/{i % 28 + 1}/24" for i in range(N)], {"format": "%m/%d/%y"}),
        ([f"{i % 28 + 1:02d}-Feb-2024" for i in range(N)], {"format": "%d-%b-%Y"}),
        ([20240500 + i % 28 + 1 for i in range(N)], None),
    ],
)
def test_times_and_their_format(values: list[object], time: object, raw: Path, tmp_path: Path) -> None:
    log(date=values).write_csv(raw / "log.csv")
    about = tomllib.loads(first_schema(raw))["impressions"]
    assert (about["order"], about.get("time")) == ("date", time)
    assert counts(raw, tmp_path)[0] == N


def test_dates_that_fit_two_formats_are_doubtful(raw: Path) -> None:
    log(date=[f"01/{i % 12 + 1:02d}/2024" for i in range(N)]).write_csv(raw / "log.csv")
    made = guess(raw)
    assert tomllib.loads(made.text)["impressions"]["time"] == {"format": "%m/%d/%Y"}  # the shorter time
    assert any('time = { format = "%d/%m/%Y" }' in doubt for doubt in made.doubts)
    assert made.text.count("# DOUBTFUL: these times also fit") == 1
    assert "unique" not in tomllib.loads(made.text)["impressions"]  # days alone do not identify an impression


LABELS: dict[str, tuple[dict[str, object], object, object]] = {
    "yes and no": (
        {"opened": ["Yes" if c else "No" for c in CLICK], "bought": ["Y" if b else "N" for b in BUY]},
        "opened",
        "bought",
    ),
    "levels in words": (
        {"event": ["purchase" if b else "click" if c else "view" for c, b in zip(CLICK, BUY, strict=True)]},
        {"from": "event", "values": ["click", "purchase"], "others": ["view"]},
        {"from": "event", "values": ["purchase"], "others": ["view", "click"]},
    ),
    "two words": (
        {"clicked": np.where(CLICK, "clicked", "not clicked"), "converted": np.where(BUY, "converted", "unconverted")},
        {"from": "clicked", "values": ["clicked"], "others": ["not clicked"]},
        {"from": "converted", "values": ["converted"], "others": ["unconverted"]},
    ),
    "missing where there is no click": (
        {"click": CLICK.astype(int), "conversion": [int(b) if c else None for c, b in zip(CLICK, BUY, strict=True)]},
        "click",
        {"from": "conversion", "unclicked": 0},
    ),
    "only ones": (
        {"click": CLICK.astype(int), "order_placed": ["x" if b else None for b in BUY], "purchase": BUY.astype(int)},
        "click",
        "purchase",
    ),
    "counts": (
        {"clicks": CLICK * (1 + ITEM % 3), "conversions": BUY.astype(int)},
        {"from": "clicks", "at_least": 1},
        "conversions",
    ),
    "a matrix of ratings": (
        {"stars": [(4 + i % 2 if BUY[i] else 1 + i % 3) if CLICK[i] else None for i in range(N)], "other": ITEM % 3},
        {"from": "stars", "present": True},
        {"from": "stars", "at_least": 4, "unclicked": 0},
    ),
    "times": (
        {
            "time": [1_650_000_000 + i for i in range(N)],
            "click_time": [1_650_000_000 + i if c else None for i, c in enumerate(CLICK)],
            "purchase_time": [1_650_000_900 + i if b else None for i, b in enumerate(BUY)],
        },
        {"from": "click_time", "present": True},
        {"from": "purchase_time", "present": True},
    ),
}


@pytest.mark.parametrize("name", LABELS)
def test_labels(name: str, raw: Path, tmp_path: Path) -> None:
    columns, click, conversion = LABELS[name]
    pl.DataFrame({"user_id": USER, "item_id": ITEM, **columns}, strict=False).write_csv(raw / "log.csv")
    about = tomllib.loads(first_schema(raw))["impressions"]
    assert about["labels"] == {"click": click, "conversion": conversion}
    assert counts(raw, tmp_path) == (N, CLICK.sum(), BUY.sum())


def test_what_is_known_only_after_the_outcome_is_left_out(raw: Path) -> None:
    log(
        sneaky=CLICK * 3 + 1,
        paid=[9.5 + i if b else 0.0 for i, b in enumerate(BUY)],
        reply=["x" if c else None for c in CLICK],
        shipped=["2024-01-02" if b else None for b in BUY],
        fine=np.random.default_rng(4).integers(0, 9, N),
    ).write_csv(raw / "log.csv")
    made = guess(raw)
    assert set(kinds(raw)) == {"user_id", "item_id", "fine"}
    for name in ("sneaky", "paid", "reply", "shipped"):
        line = next(line for line in made.text.splitlines() if line.startswith(f"# {name} = "))
        assert "left out: it is known only after the outcome" in line
    assert any("[impressions.fields] sneaky: it alone predicts the click" in doubt for doubt in made.doubts)


def test_no_labels_are_to_be_filled_in_and_prepare_says_so(raw: Path, tmp_path: Path) -> None:
    pl.DataFrame({"user_id": USER, "item_id": ITEM}).write_csv(raw / "log.csv")
    made = guess(raw)
    assert not made.complete
    assert [d.split(":")[0] for d in made.doubts] == ["FILL IN", "FILL IN"]
    assert made.text.count("# FILL IN: ") == 2
    (tmp_path / "schema.toml").write_text(made.text)
    with pytest.raises(es.EntirespaceError, match=r"'impressions\.labels\.click' must be given"):
        es.prepare(tmp_path / "schema.toml", raw, tmp_path / "data")


def test_a_click_alone_is_to_be_completed(raw: Path, tmp_path: Path) -> None:
    pl.DataFrame({"user_id": USER, "colour": ITEM % 4, "clicked": CLICK.astype(int)}).write_csv(raw / "log.csv")
    (tmp_path / "schema.toml").write_text(first_schema(raw))
    with pytest.raises(es.EntirespaceError, match="'conversion' in"):
        es.prepare(tmp_path / "schema.toml", raw, tmp_path / "data")


def test_a_file_without_a_header(raw: Path, tmp_path: Path) -> None:
    rows = log(at=[1_650_000_000 + 5 * i for i in range(N)]).write_csv(include_header=False)
    (raw / "log.csv").write_text(rows)
    made = guess(raw)
    about = tomllib.loads(made.text)["impressions"]
    assert about["columns"] == ["c1", "c2", "c3", "c4", "c5"]
    assert about["order"] == "c3"
    assert any("no header" in doubt for doubt in made.doubts)
    assert counts(raw, tmp_path) == (N, CLICK.sum(), BUY.sum())


def test_text_columns_under_a_header_are_no_header(raw: Path) -> None:
    (raw / "log.csv").write_text("colour,shape,click\n" + "red,round,1\nblue,round,0\n" * 50)
    assert "columns" not in tomllib.loads(first_schema(raw))["impressions"]


def test_tables_of_one_kind_are_one_and_side_tables_are_joined(raw: Path, tmp_path: Path) -> None:
    (raw / "day=1").mkdir()
    (raw / "day=2").mkdir()
    at = [1_650_000_000 + 5 * i for i in range(N)]
    rows = log(timestamp=at)
    for i in range(6):
        rows[50 * i : 50 * i + 50].write_csv(raw / f"day={1 + i // 3}" / f"log_{i}.csv")
    pl.DataFrame({"id": range(30), "city": ["a", "b", "c"] * 10}).write_parquet(raw / "users.parquet")
    items = pl.DataFrame({"item_id": range(50), "likes": [[1, 2], [3]] * 25, "about": [{"a": 1}] * 50})
    items.write_parquet(raw / "items.parquet")
    pl.DataFrame({"x": [1, 1], "y": [2, 3]}).write_csv(raw / "strange.csv")
    made = guess(raw)
    schema = schema_of(raw)
    assert schema.impressions.files == ("**/log_*.csv",)
    assert {name: (t.key, t.on) for name, t in schema.tables.items()} == {
        "user": ("id", "user_id"),
        "item": ("item_id", None),
    }
    assert schema.tables["item"].fields["likes"].kind == "ids"
    assert any("about" in doubt for doubt in made.doubts)  # a structure
    assert "# Not used: strange.csv: no column of it has the name of a column of the impressions" in made.text
    assert counts(raw, tmp_path) == (N, CLICK.sum(), BUY.sum())


def test_a_table_of_conversions(raw: Path, tmp_path: Path) -> None:
    ids, at = np.array([f"i{i}" for i in range(N)]), np.arange(N) * 10 + 1_650_000_000
    impressions = pl.DataFrame({"impression_id": ids, "user_id": USER, "ts": at, "click": CLICK.astype(int)})
    orders = pl.DataFrame({"impression_id": ids[BUY], "order_time": at[BUY] + 5, "amount": BUY[BUY] * 2.5})
    impressions.write_csv(raw / "log.csv")
    orders.write_csv(raw / "orders.csv")
    schema = schema_of(raw)
    assert schema.conversions is not None
    assert (schema.conversions.key, schema.conversions.time) == ("impression_id", "order_time")
    assert counts(raw, tmp_path) == (N, CLICK.sum(), BUY.sum())
    impressions.with_columns(purchase=BUY.astype(int)).write_csv(raw / "log.csv")
    assert schema_of(raw).conversions is None
    assert "# [conversions]" in first_schema(raw)


def test_copies_of_impressions_are_left_out_and_doubtful(raw: Path, tmp_path: Path) -> None:
    rows = log(ts=[1_650_000_000 + 5 * i for i in range(N)])
    pl.concat([rows, rows.tail(20)]).write_csv(raw / "log.csv")
    assert schema_of(raw).impressions.unique == ("user_id", "item_id", "ts")
    assert any("[impressions] unique" in doubt for doubt in guess(raw).doubts)
    assert counts(raw, tmp_path) == (N, CLICK.sum(), BUY.sum())


NASTY = 'a"b\\c\x1b[32m\u202e'


def test_names_from_data_are_escaped(raw: Path, tmp_path: Path) -> None:
    values = ["x\x1b[33m", 'y"#', "z\\"] * 100
    names = {NASTY: values, "a/ü": values, "order": ITEM, "link.x": ITEM, "": ITEM, "time.y": values}
    log(**names).write_csv(raw / "log\x1b[31m\n.csv")
    made = guess(raw)
    assert made.text.replace("\n", "").isprintable()
    assert {f.source for f in schema_of(raw).fields()} >= {NASTY, "a/ü", "order", "link.x", "time.y"}
    assert counts(raw, tmp_path) == (N, CLICK.sum(), BUY.sum())
    assert tomllib.loads(f"a = {quoted(NASTY)}")["a"] == NASTY


def test_a_big_file_is_read_in_part(raw: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The beginning, the middle and the end; the middle and the end have what the beginning has not."""
    monkeypatch.setattr(sample, "FIRST", 3500)
    monkeypatch.setattr(sample, "MORE", 1500)
    rows = log(ts=[1_650_000_000 + i for i in range(N)], kind=["first"] * 200 + ["late", "first"] * 50)
    text = rows.write_csv()
    assert len(text) > 7500
    wide = text.encode("utf-16")
    contents = {"log.csv": text.encode(), "log.csv.gz": gzip.compress(text.encode())}
    for name, content in (*contents.items(), ("log.csv", wide), ("log.csv.gz", gzip.compress(wide))):
        for file in raw.iterdir():
            file.unlink()
        (raw / name).write_bytes(content)
        made = guess(raw)
        assert "about 300 rows" in made.text or "about 310 rows" in made.text or "about 290 rows" in made.text
        assert "# 2 values: first, late" in made.text
        assert "Numbers in comments are of a sample" in made.text


def test_files_that_are_no_tables_are_named(raw: Path) -> None:
    (raw / "a.jsonl").write_text('{"a": 1}\n')
    (raw / "b.txt").write_text("hello world\nthis is text\n")
    (raw / "c.csv").write_text("")
    (raw / "README.md").write_text("hello")
    with pytest.raises(es.EntirespaceError, match=r"a\.jsonl: it is JSON") as error:
        first_schema(raw)
    assert "README" not in str(error.value)
    log().write_csv(raw / "log.csv")
    assert "# Not read: c.csv: it is empty" in first_schema(raw)


def test_rows_that_prepare_would_refuse_are_said(raw: Path) -> None:
    text = log().write_csv()
    (raw / "log.csv").write_text(text.replace("\n", "\nxx\n", 3))
    assert any("3 of 303 rows would be bad" in doubt for doubt in guess(raw).doubts)


def test_one_file_and_no_folder(raw: Path, tmp_path: Path) -> None:
    log().write_csv(raw / "log.csv")
    (raw / "other.csv").write_text("a,b\n1,2\n")
    assert tomllib.loads(first_schema(raw / "log.csv"))["impressions"]["files"] == ["log.csv"]
    with pytest.raises(es.EntirespaceError, match="there is neither"):
        first_schema(tmp_path / "nothing")


@pytest.mark.parametrize(
    ("names", "others", "expected"),
    [
        (["train.csv", "test.csv"], [], ("train.csv", "test.csv")),
        (["log_1.csv", "log_2.csv", "log_10.csv"], ["users.csv"], ("log_*.csv",)),
        (["a/p-0.csv", "a/p-1.csv", "b/p-0.csv"], ["u.csv"], ("**/p-*.csv",)),
        (["log_1.csv", "log_2.csv", "log_3.csv"], ["log_x.csv"], ("log_1.csv", "log_2.csv", "log_3.csv")),
    ],
)
def test_patterns(names: list[str], others: list[str], expected: tuple[str, ...]) -> None:
    assert patterns(names, [*names, *others]) == expected


def test_links_that_lead_outside_need_to_be_allowed(raw: Path, tmp_path: Path) -> None:
    log().write_csv(tmp_path / "elsewhere.csv")
    (raw / "log.csv").symlink_to(tmp_path / "elsewhere.csv")
    with pytest.raises(es.EntirespaceError, match="--allow-outside"):
        first_schema(raw)
    assert "[impressions]" in first_schema(raw, allow_outside=True)


def test_a_table_that_counts_outcomes_is_doubtful(raw: Path) -> None:
    log(ts=[1_650_000_000 + i for i in range(N)]).write_csv(raw / "log.csv")
    counted = {name: [(i * 7) % 11 for i in range(50)] for name in ("show_cnt", "play_cnt", "like_cnt", "share_cnt")}
    pl.DataFrame({"item_id": range(50), "length": [i % 9 for i in range(50)], **counted}).write_csv(raw / "items.csv")
    assert set(schema_of(raw).tables["item"].fields) == {"length"} | {"show_cnt"}
    assert any("[tables.item] key: 3 columns count outcomes" in doubt for doubt in guess(raw).doubts)


def test_two_tables_without_headers(raw: Path, tmp_path: Path) -> None:
    """As the raw files of AliExpress: the label is the last column, and the first is the key."""
    for part, rows in (("train", slice(0, 200)), ("test", slice(200, N))):
        label = (CLICK.astype(int) + BUY)[rows]
        page = np.arange(N)[rows] // 5
        items = pl.DataFrame({"page": page, "a": ITEM[rows] / 7, "b": USER[rows] % 7, "label": label})
        items.write_csv(raw / f"NL_item_{part}.csv", include_header=False)
        users = pl.DataFrame({"page": np.unique(page)}).with_columns(
            a=pl.col("page") % 3, b=pl.col("page") / 9, c=1.5, d=2
        )
        users.write_csv(raw / f"NL_user_{part}.csv", include_header=False)
    schema = schema_of(raw)
    assert {name: t.key for name, t in schema.tables.items()} == {"nl_user": "c1"}
    assert {f.source for f in schema.fields() if f.table == "nl_user"} == {"c2", "c3"}
    assert schema.split.by == "file"
    assert counts(raw, tmp_path) == (N, CLICK.sum(), BUY.sum())


def test_a_simulated_log(raw: Path, tmp_path: Path) -> None:
    """Lists with weights, a user in a side table, and true probabilities."""
    es.simulate(raw, impressions=2000, click_rate=0.4, conversion_rate=0.4)
    (raw / "schema.toml").unlink()
    schema = schema_of(raw)
    assert schema.impressions.fields["shop_affinity"].weights == "shop_affinity_weights"
    assert schema.tables["common"].fields["shop_history"].weights == "shop_history_weights"
    assert (schema.roles.user, schema.roles.item) == ("user_id", "item_id")
    assert "# Not used: truth.parquet: if it holds the true probabilities" in first_schema(raw)
    labels = pl.read_parquet(raw / "impressions-*.parquet")
    assert counts(raw, tmp_path) == (2000, labels["click"].sum(), (labels["click"] & labels["conversion"]).sum())


def test_an_impression_whose_rows_have_different_labels_keeps_all_of_them(raw: Path, tmp_path: Path) -> None:
    """A row when it is shown, and another one when it is clicked."""
    shown = log(impression_id=[f"i{i}" for i in range(N)]).with_columns(pl.col("click", "purchase") * 0)
    clicked = log(impression_id=[f"i{i}" for i in range(N)]).filter(pl.Series(CLICK))
    pl.concat([shown, clicked]).write_csv(raw / "log.csv")
    impressions = schema_of(raw).impressions
    assert (impressions.unique, impressions.on_repeat) == (("impression_id",), "any")
    assert counts(raw, tmp_path) == (N, CLICK.sum(), BUY.sum())


def test_rows_of_one_time_with_different_labels_are_kept(raw: Path) -> None:
    rows = log(ts=[1_650_000_000 + 5 * i for i in range(N)])
    pl.concat([rows, rows.tail(20).with_columns(click=1 - pl.col("click"))]).write_csv(raw / "log.csv")
    assert schema_of(raw).impressions.unique == ()
