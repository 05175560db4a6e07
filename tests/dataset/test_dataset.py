"""A dataset on disk: reading it back, and every way in which it can be incomplete or damaged."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from entirespace.config import digest
from entirespace.core.rows import Ragged
from entirespace.dataset.bags import from_arrow, to_arrow
from entirespace.dataset.dataset import Dataset, open_dataset
from entirespace.errors import DataError

SCHEMA = """
[impressions]
files = ["log.csv"]
order = "t"
labels = { click = "y", conversion = "z" }
[impressions.fields]
item = {}
tags = { kind = "ids", separator = "|", weights = "w" }
[tables.user]
files = ["user.csv"]
key = "uid"
[tables.user.fields]
uid = {}
city = { min_count = 2 }
likes = { kind = "ids", separator = "|" }
age = { kind = "number", buckets = 4 }
[roles]
user = "uid"
[truth]
files = ["truth.csv"]
"""


def write(log: Any, rows: int = 60) -> None:
    r = random.Random(3)
    log.write(
        "user.csv",
        "uid,city,likes,age\n" + "".join(f"u{i},{i % 3},{'a|b' * (i % 2)},{i}\n" for i in range(7)),
    )
    lines = ["uid,item,tags,w,t,y,z"]
    for t in range(rows):
        tags = [r.choice("pqr") for _ in range(r.choice([0, 1, 3]))]
        weights = [r.choice(["1", "0.5"]) for _ in tags]
        lines.append(
            f"u{r.randrange(8)},{r.choice('abcd')},{'|'.join(tags)},{'|'.join(weights)},{t},{t % 2},{t % 3 // 2}"
        )
    log.write("log.csv", "\n".join(lines))
    log.write("truth.csv", "pctr,pcvr\n" + "".join(f"{t / 100},{t / 1000}\n" for t in range(rows)))


@pytest.fixture(scope="module")
def prepared(new_log, few_rows) -> Path:
    log = new_log()
    write(log)
    with few_rows():
        return log.prepare(SCHEMA).path


@pytest.fixture
def made(prepared, tmp_path) -> Dataset:
    """A copy of its own, which a test may damage."""
    shutil.copytree(prepared, tmp_path / "dataset")
    return Dataset(tmp_path / "dataset")


def bags(ragged: Ragged, i: int) -> list[tuple[int, float]]:
    one = ragged.take(np.array([i]))
    weights = one.weights if one.weights is not None else np.ones(len(one.values))
    return list(zip(one.values.tolist(), weights.tolist(), strict=True))


def buckets(dataset: Dataset, name: str, bag: list[tuple[float, float]]) -> list[tuple[float, float]]:
    """A number's position replaced by its bucket."""
    number = next(f for f in dataset.fields if f.name == name).kind == "number"
    return [(int(value) if number else value, weight) for value, weight in bag]


def everything(dataset: Dataset) -> list[Any]:
    """All that can be read of a dataset."""
    out: list[Any] = []
    for part in (dataset.train, dataset.validation, dataset.test):
        for chunk in part.chunks():
            out.append([chunk.labels.click.tolist(), chunk.labels.conversion.tolist(), chunk.links["user"].tolist()])
            out += [[bags(f, i) for i in range(len(chunk))] for f in chunk.fields.values()]
        out += [part.column(name).tolist() for name in ("user", "order", "true_pctr")]
    for table in dataset.tables.values():
        out += [[bags(f, i) for i in range(len(f))] for f in table.values()]
    return out + [dataset.vocabulary(f.name).to_pydict() for f in dataset.fields]


# --- arrow and back -----------------------------------------------------------------------------------


@given(st.lists(st.lists(st.integers(0, 2**31 - 1), max_size=3), max_size=6), st.booleans(), st.integers(0, 6))
def test_bags_to_arrow_and_back(rows, weighted, cut):
    values = np.array([i for row in rows for i in row], np.int32)
    offsets = np.concatenate(([0], np.cumsum([len(row) for row in rows]))).astype(np.int64)
    weights = np.linspace(0, 1, len(values), dtype=np.float32)
    ids = to_arrow(Ragged(values, offsets))
    assert ids.to_pylist() == rows
    cut = min(cut, len(rows))
    back = from_arrow(ids[cut:], to_arrow(Ragged(weights, offsets))[cut:] if weighted else None)  # also from a slice
    assert back.offsets is not None
    assert back.offsets.tolist() == (offsets[cut:] - offsets[cut]).tolist()
    assert back.values.tolist() == values[offsets[cut] :].tolist()
    assert (back.weights is not None) == weighted
    if back.weights is not None:
        assert back.weights.tolist() == weights[offsets[cut] :].tolist()


def test_shares_of_a_part_are_nested_repeat_and_keep_rows_whole(dataset):
    """Of 6,000 rows: shares have their size within 4 deviations and contain the smaller ones; labels are counted."""
    whole = list(zip(dataset.train.column("order").tolist(), dataset.train.column("click").tolist(), strict=True))
    before: set[tuple[int, bool]] = set()
    for share in (0.02, 0.1, 0.5, 1.0):
        part = dataset.train.sampled(share)
        rows = list(zip(part.column("order").tolist(), part.column("click").tolist(), strict=True))
        assert [row for row in whole if row in set(rows)] == rows  # in order, labels beside their row
        assert before <= set(rows)
        assert len(part) == len(rows) == sum(len(chunk) for chunk in part.chunks(np.random.default_rng(0)))
        assert part.counts["click"] == sum(click for _, click in rows)
        assert abs(len(rows) - share * len(whole)) <= 4 * np.sqrt(share * (1 - share) * len(whole))
        assert rows == list(zip(part.column("order").tolist(), part.column("click").tolist(), strict=True))
        before = set(rows)


def test_single_values_to_arrow_and_back():
    column = to_arrow(Ragged(np.array([3, 1], np.int32)))
    assert column.type == pa.int32()
    assert from_arrow(column).offsets is None


# --- reading ------------------------------------------------------------------------------------------


def test_chunks_hold_what_the_files_hold(made, plain):
    got = plain(made.path)
    for part in (made.train, made.validation, made.test):
        chunks = list(part.chunks())
        assert sum(map(len, chunks)) == len(part) == len(got.part(part.name))
        rows = iter(got.part(part.name))
        for chunk in chunks:
            assert len(chunk) <= 8
            for i in range(len(chunk)):
                row = next(rows)
                assert (chunk.labels.click[i], chunk.labels.conversion[i]) == (row["click"], row["conversion"])
                for name in ("item", "tags"):
                    assert bags(chunk.fields[name], i) == row[name]
                for name, column in made.tables["user"].items():
                    assert buckets(made, name, bags(column, chunk.links["user"][i])) == row[name]
    assert len(list(made.test.chunks())) > 2


def test_columns_take_rows(made):
    chunk = next(made.test.chunks())
    rows = np.array([3, 0, 3])
    taken = chunk.take(rows)
    assert len(taken) == 3
    for i, row in enumerate(rows):
        assert taken.labels.click[i] == chunk.labels.click[row]
        assert taken.labels.conversion[i] == chunk.labels.conversion[row]
        assert taken.links["user"][i] == chunk.links["user"][row]
        for name, column in chunk.fields.items():
            assert bags(taken.fields[name], i) == bags(column, row)


def test_row_groups_in_random_order_are_the_same_row_groups(made):
    def times(rng: np.random.Generator | None) -> list[list[int]]:
        return [batch["order"].to_pylist() for batch in made.test.batches(["order"], rng)]

    in_order, mixed = times(None), times(np.random.default_rng(1))
    assert [t for group in in_order for t in group] == list(range(30, 60))
    assert mixed != in_order
    assert sorted(mixed) == in_order
    assert times(np.random.default_rng(1)) == mixed


def test_columns_of_a_part(made):
    assert made.train.column("order").tolist() == list(range(27))
    assert made.validation.column("click").tolist() == [True, False, True]
    assert made.validation.column("order").dtype == np.int64
    pctr, pcvr = made.test.truth()
    np.testing.assert_array_equal(pctr, (np.arange(30, 60) / 100).astype(np.float32))
    np.testing.assert_array_equal(pcvr, (np.arange(30, 60) / 1000).astype(np.float32))


def test_truth_is_none_for_a_log_without_it(log):
    write(log)
    assert log.prepare(SCHEMA.partition("[truth]")[0]).train.truth() is None


def test_counts_and_names(made):
    assert (len(made.train), made.train.counts.impressions, made.train.counts["click"]) == (27, 27, 13)
    assert made.train.counts["conversion"] == sum(t % 2 == 1 and t % 3 == 2 for t in range(27))
    assert repr(made.train) == f"<train part of {made.path}: 27 impressions>"
    assert repr(made) == f"<dataset {made.path}: 27 train, 3 validation, 30 test>"


def test_each_field_has_its_own_range_of_one_embedding_table(made):
    sizes = [f.size for f in made.manifest.fields]
    assert [f.offset for f in made.fields] == np.cumsum([0, *sizes[:-1]]).tolist()
    assert made.rows == sum(sizes)
    assert [(f.name, f.table, f.kind, f.single, f.weighted) for f in made.fields] == [
        ("item", "impressions", "id", True, False),
        ("tags", "impressions", "ids", False, True),
        ("uid", "user", "id", True, False),
        ("city", "user", "id", True, False),
        ("likes", "user", "ids", False, False),
        ("age", "user", "number", True, False),
    ]
    for f in made.fields:
        assert f.size == made.vocabulary(f.name).num_rows + (2 if f.kind == "number" else 1)


def test_opening_reads_no_impressions_and_needs_no_torch(made):
    for name in made.manifest.files:
        if name == "layout.json":
            continue
        (made.path / name).write_bytes(b"x" * made.manifest.files[name].bytes)
    code = f"import sys, entirespace as es; print(len(es.open({str(made.path)!r}).test), 'torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "30 False\n"


def test_any_tool_reads_the_files(made):
    """The Parquet files alone, by their schema: the columns that docs/formats.md promises."""
    file = made.path / made.manifest.parts["test"].files[0]
    types = {
        field.name: str(field.type).replace("element", "item").replace(" not null", "")
        for field in pq.read_schema(file)
    }
    assert types == {
        "click": "bool",
        "conversion": "bool",
        "user": "int32",
        "order": "int64",
        "link.user": "int32",
        "true_pctr": "float",
        "true_pcvr": "float",
        "item": "int32",
        "tags": "list<item: int32>",
        "tags.weights": "list<item: float>",
    }


# --- damaged ----------------------------------------------------------------------------------------


def refused(path: Path, message: str) -> None:
    with pytest.raises(DataError, match=message):
        open_dataset(path)


def test_a_folder_without_a_manifest_is_refused(tmp_path):
    refused(tmp_path / "none", "a dataset must be a folder, however: there is no such folder")
    (tmp_path / "file").write_text("x")
    refused(tmp_path / "file", "a dataset must be a folder")
    refused(tmp_path, r"a dataset must hold manifest\.json, which is written last, however: there is none")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"manifest\.json: a dataset's files must be as `prepare` wrote them"),
        ("{", r"manifest\.json: a dataset's files must be as `prepare` wrote them"),
        ("[]", r"a dataset's format must be entirespace-dataset/2, however: the file holds no JSON object"),
        (
            "{}",
            r"a dataset's format must be entirespace-dataset/2, however: None\. Prepare the dataset again",
        ),
        (
            '{"format": "entirespace-dataset/3"}',
            r"format must be entirespace-dataset/2, however: entirespace-dataset/3",
        ),
        ('{"format": "entirespace-dataset/2"}', r"manifest\.json: .* however: its checksum does not match its content"),
    ],
)
def test_an_invalid_manifest_is_refused(tmp_path, text, message):
    (tmp_path / "manifest.json").write_text(text)
    refused(tmp_path, message)


def test_a_manifest_that_was_changed_is_refused(made):
    path = made.path / "manifest.json"
    text = path.read_text()
    for old, new in (
        ('"click": 13', '"click": 14'),
        ('"checksum"', '"checksun"'),
        ('"kind": "id"', '"kind": "ie"'),
    ):
        assert old in text
        path.write_text(text.replace(old, new, 1))
        refused(made.path, "its checksum does not match its content")
    path.write_text(text)
    manifest = json.loads(text)
    assert manifest.pop("checksum") == digest(manifest)


def test_a_missing_shorter_or_longer_file_is_refused(made):
    name = made.manifest.parts["test"].files[1]
    data = (made.path / name).read_bytes()
    for content, message in (
        (data[:-1], r"bytes, not"),
        (data + b"x", r"bytes, not"),
        (None, "the file is missing"),
    ):
        if content is None:
            (made.path / name).unlink()
        else:
            (made.path / name).write_bytes(content)
        refused(made.path, rf"{name}: a dataset's files must be as `prepare` wrote them, however: .*{message}")
    with pytest.raises(DataError, match=f"{name}.*No such file"):  # opened before it was deleted
        made.verify()


def test_every_flipped_bit_is_noticed_before_it_is_read(made, tmp_path):
    folder = tmp_path / "flipped"
    shutil.copytree(made.path, folder)
    good, r = everything(made), random.Random(0)
    for name in sorted(made.manifest.files):
        data = (folder / name).read_bytes()
        for _ in range(3):
            flipped = bytearray(data)
            flipped[r.randrange(len(data))] ^= 1 << r.randrange(8)
            (folder / name).write_bytes(flipped)
            with pytest.raises(DataError, match=rf"{name}: a dataset's files must be as `prepare` wrote them"):
                everything(Dataset(folder))
            with pytest.raises(
                DataError, match=rf"{name}.*its SHA-256 is not the one in the manifest\. Prepare the dataset again"
            ):
                Dataset(folder).verify()
        (folder / name).write_bytes(data)
    assert everything(Dataset(folder)) == good
    Dataset(folder).verify()


def test_damage_after_the_file_was_compared_is_noticed_by_the_page_checksum(made):
    name = made.manifest.parts["test"].files[0]
    list(made.test.chunks())
    data = bytearray((made.path / name).read_bytes())
    column = pq.ParquetFile(made.path / name).metadata.row_group(0).column(0)
    data[column.data_page_offset + column.total_compressed_size - 1] ^= 1  # the page's last byte
    (made.path / name).write_bytes(data)
    with pytest.raises(DataError, match=f"{name}: a dataset's files must be as `prepare` wrote them"):
        list(made.test.chunks())


def test_the_sha256_of_a_file_is_compared_only_once(made, monkeypatch):
    compared = []
    sha256 = "entirespace.dataset.dataset.sha256"
    monkeypatch.setattr(
        sha256,
        lambda path, real=made.manifest.files: compared.append(path) or real[str(path.relative_to(made.path))].sha256,
    )
    for _ in range(2):
        list(made.test.chunks())
        list(made.test.batches(["click"]))
    assert compared == [made.path / name for name in made.manifest.parts["test"].files]
