"""Preparing datasets from small logs with known results, and from real logs."""
# ruff: noqa: E501 (one case per line)

from __future__ import annotations

import itertools
import json
import os
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from raw_logs import HEAD, PLAIN, rows

from entirespace.errors import DataError
from entirespace.logs.schema import read_schema

ROOT = Path(__file__).parents[2]
PARTS = ("train", "validation", "test")


def test_fractions_of_a_second_count_in_the_split(log, plain):
    late, early = [f"l,1650900000.{i},0,0" for i in (75, 8, 9)], [f"e,1650900000.{i},0,0" for i in (25, 3, 5)]
    log.write("log.csv", rows(*late, *early, "e,1650900000,0,0", "l,1650900001,0,0"))
    got = plain(log.prepare(PLAIN + "[split]\nvalidation = 0.0\n").path)
    assert sorted(r["order"] % 10**9 for r in got.part("train")) == [0, 250_000, 300_000, 500_000]
    assert [r["order"] for r in got.part("test")][-1] == 1650900001_000000


def test_a_vocabulary_is_fitted_on_the_training_part_only(log, plain):
    # a b b | v | c c c, b: the validation and test parts have more ids, which get no row
    log.write(
        "log.csv",
        rows("b,1,0,0", "a,2,0,0", "b,3,1,1", "v,4,0,0", "c,5,0,0", "c,6,0,0", "b,7,0,0", "c,8,1,0"),
    )
    got = plain(log.prepare(PLAIN + "[split]\nvalidation = 0.25").path)
    assert got.vocabulary["a"] == {"id": ["b", "a"], "count": [2, 1]}
    assert got.raw_ids("train", "a") == [["b"], ["a"], ["b"]]
    assert got.raw_ids("validation", "a") == [[None]]
    assert got.raw_ids("test", "a") == [[None], [None], ["b"], [None]]


def test_one_row_per_part(log, plain):
    log.write("log.csv", rows("a,3,1,0", "b,1,0,0", "c,2,1,1"))
    got = plain(log.prepare(PLAIN).path)
    assert [r["order"] for part in PARTS for r in got.part(part)] == [1, 2, 3]
    assert [r["a"] for part in PARTS for r in got.part(part)] == [[(1, 1.0)], [(0, 1.0)], [(0, 1.0)]]
    assert got.reasons["impressions"] == {"out_of_time_order": 2}


def test_rows_with_equal_times_are_in_one_part_and_in_log_order(log, plain):
    times = [5, 1, 5, 1, 5, 2, 9, 5]
    log.write("log.csv", rows(*(f"r{i},{t},0,0" for i, t in enumerate(times))))
    got = plain(log.prepare(PLAIN).path)
    assert [[r["order"] for r in got.part(part)] for part in PARTS] == [[1, 1], [2], [5, 5, 5, 9, 5]]


@pytest.mark.parametrize(
    ("schema", "log_rows", "message"),
    [
        (PLAIN, ["a,1,0,0"] * 9, r"the train part is empty \(train 0, validation 0, test 9\)\. Is the time column constant"),
        (PLAIN, ["a,1,0,0", "a,2,0,0"], r"the train part is empty \(train 0, validation 1, test 1\)"),
        (PLAIN + "[split]\nby = 'file'\ntrain = ['log*']\ntest = ['test*']", ["a,1,0,0", "a,2,0,0"], r"the test part is empty .*file patterns for each part"),
        (PLAIN + "[split]\nby = 'column'\ncolumn = 'a'\ntrain = ['x']\ntest = ['a']", ["a,1,0,0"], r"the train part is empty .*values of the column for each part"),
        (PLAIN + "[split]\nby = 'column'\ncolumn = 'a'\ntrain = ['x']\ntest = ['y']", ["a,1,0,0"] * 2, r"none of 2 rows can be used: 2 other_part"),
        (PLAIN, ["a,1,0,7", "a,,0,0"], r"none of 2 rows can be used: 1 bad_label .*; 1 bad_order"),
        (PLAIN, [], "none of 0 rows can be used"),
    ],
)  # fmt: skip
def test_an_empty_part_or_log_is_refused(log, schema, log_rows, message):
    log.write("log.csv", rows(*log_rows))
    with pytest.raises(DataError, match=message):
        log.prepare(schema)
    assert not log.out.exists()


def test_without_a_validation_part(log, plain):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0"))
    dataset = log.prepare(PLAIN + "[split]\nvalidation = 0")
    assert [len(part) for part in (dataset.train, dataset.validation, dataset.test)] == [1, 0, 1]
    assert plain(dataset.path).manifest["parts"]["validation"]["files"] == []
    assert dataset.validation.column("click").tolist() == []
    assert list(dataset.validation.chunks()) == []


def test_parts_by_column_validate_on_the_last_of_the_training_part(log, plain):
    log.write("log.csv", rows(*(f"{'xy'[i % 2]},{10 - i},0,0" for i in range(8)), "q,1,0,0"))
    split = "[split]\nby = 'column'\ncolumn = 'a'\ntrain = ['x']\ntest = ['y']\nvalidation = 0.5"
    got = plain(log.prepare(PLAIN + split).path)
    assert [[r["order"] for r in got.part(part)] for part in PARTS] == [[6, 4], [10, 8], [9, 7, 5, 3]]
    assert got.reasons["impressions"]["other_part"] == 1
    assert got.manifest["audit"]["tables"]["impressions"]["kept"] == 8


def test_copies_are_left_out_and_the_counts_before_are_noted(log, plain):
    log.write(
        "log.csv",
        rows("a,1,1,1", "b,2,0,1", "a,1,1,1", "a,1,1,0", "c,3,1,0", "d,4,0,0", "b,2,0,0", "e,5,0,0"),
    )
    got = plain(log.prepare(PLAIN.replace('"t"\n', '"t"\nunique = ["a", "t"]\n')).path)
    assert [r["order"] for part in PARTS for r in got.part(part)] == [1, 2, 3, 4, 5]
    assert sum(got.manifest["parts"][p]["reached"]["conversion"] for p in PARTS) == 1
    assert got.reasons["impressions"]["duplicate_impression"] == 3
    (note,) = (n for n in got.manifest["audit"]["notes"] if n.startswith("before"))
    assert note == (
        "before copies were left out: 8 impressions, 4 clicks, 2 conversions; "
        "copies whose labels differ from the first row: 1"
    )


def test_many_copies_are_found_in_pieces(log, plain, monkeypatch, rng):
    """Fingerprints are sorted in pieces, of 500,000 rows usually, of 40 here."""
    monkeypatch.setattr("entirespace.dataset.copies.FINGERPRINTS", 40)
    ids = rng.integers(0, 150, 1000)
    log.write("log.parquet", {"a": ids, "t": np.arange(1000), "y": [0] * 1000, "z": [0] * 1000})
    dataset = log.prepare(PLAIN.replace('"t"\n', '"t"\nunique = ["a"]\n'))
    _, first = np.unique(ids, return_index=True)
    got = [r["order"] for part in PARTS for r in plain(dataset.path).part(part)]
    assert got == sorted(first.tolist())


def test_bags_keep_all_ids_with_weights_in_order(log, plain):
    schema = (
        HEAD
        + '[impressions.fields]\nb = { kind = "ids", separator = "|", weights = "w" }\nc = { kind = "ids", from = "b" }\n'
    )
    bags = [("7|7|8", "0.1|0.2|1"), ("", ""), ("8|7|8", "1|1|1"), ("7", "0"), ("9|7", "3|4")]
    log.write("log.csv", "b,w,t,y,z\n" + "".join(f"{b},{w},{t},0,0\n" for t, (b, w) in enumerate(bags)))
    got = plain(log.prepare(schema + "[split]\ntrain = 0.8\nvalidation = 0.25").path)
    assert got.vocabulary["b"] == {"id": ["7", "8"], "count": [3, 3]}  # an id is counted each time it occurs
    one = [r["b"] for part in PARTS for r in got.part(part)]
    f = np.float32
    assert one == [
        [(1, f(0.1)), (1, f(0.2)), (2, 1)],
        [],
        [(2, 1), (1, 1), (2, 1)],
        [(1, 0)],
        [(0, 3), (1, 4)],
    ]
    # without a separator the text is one id
    assert [r["c"] for r in got.part("train")] == [[(1, 1.0)], [], [(2, 1.0)]]


def test_a_bag_field_with_one_id_per_row_and_no_weights_is_stored_as_a_flat_column(log, plain):
    fields = '[impressions.fields]\nb = { kind = "ids", weights = "w" }\n'
    log.write("log.csv", "b,w,t,y,z\n" + "".join(f"x,1,{t},0,0\n" for t in range(4)))
    got = plain(log.prepare(HEAD + fields).path)
    (about,) = got.manifest["fields"]
    assert about["weighted"] is False
    columns = pq.read_schema(got.folder / got.manifest["parts"]["train"]["files"][0]).names
    assert sorted(columns) == ["b", "click", "conversion", "order", "user"]


SIDE = """
[tables.user]
files = ["user*"]
key = "uid"
[tables.user.fields]
uid = { min_count = 2 }
tags = { kind = "ids", separator = "|" }
age = { kind = "number", buckets = 2 }
"""


def test_an_id_of_a_side_table_is_counted_once_per_training_impression(log, plain):
    log.write("user.csv", "uid,tags,age\nu1,a|b,10\nu2,a,20\nu3,c,30\nu4,d,40\n")
    of = ["u1", "u1", "u2", "u9", "u1", "u3", "u3", "u9"]  # only test impressions have u3
    log.write("log.csv", "uid,t,y,z\n" + "".join(f"{u},{t},0,0\n" for t, u in enumerate(of)))
    dataset = log.prepare(HEAD + SIDE + '[split]\nvalidation = 0.0\n[roles]\nuser = "uid"')
    got = plain(dataset.path)
    assert got.vocabulary == {
        "uid": {"id": ["u1"], "count": [2]},
        "tags": {"id": ["a", "b"], "count": [3, 2]},
        "age": {"edge": [10.0]},
    }
    # stored once, in the order of the log, with an empty row 0
    just_below_2 = float(np.nextafter(np.float32(2), np.float32(0)))  # bucket 1, at its upper end
    assert got.tables["user"] == [
        {"uid": 0, "tags": [], "age": 0},
        {"uid": 1, "tags": [1, 2], "age": just_below_2},
        {"uid": 0, "tags": [1], "age": 2},
        {"uid": 0, "tags": [0], "age": 2},
        {"uid": 0, "tags": [0], "age": 2},
    ]
    assert got.manifest["tables"]["user"]["rows"] == 5
    # u2 and u3 share row 0 of the embedding, but are two users; u9 has no side-table row, so it is no user
    assert dataset.train.column("user").tolist() == [1, 1, 2, -1]
    assert (got.manifest["users"], got.manifest["parts"]["test"]["users"]) == (3, 2)
    fields = {f["name"]: f for f in got.manifest["fields"]}
    assert fields["tags"]["ids"] == {"train": 5, "validation": 0, "test": 4}
    assert fields["tags"]["unseen"] == {"train": 0, "validation": 0, "test": 2}


def test_a_log_whose_fields_are_all_in_side_tables_and_a_side_table_without_rows(log, plain):
    log.write("user.csv", "uid,tags,age\n")
    log.write("log.csv", "uid,t,y,z\n" + "".join(f"u,{t},0,0\n" for t in range(4)))
    got = plain(log.prepare(HEAD + SIDE).path)
    assert got.tables["user"] == [{"uid": 0, "tags": 0, "age": 0}]
    assert got.part("test") == [
        {"click": False, "conversion": False, "order": t, "uid": [(0, 1)], "tags": [(0, 1)], "age": [(0, 1)]}
        for t in (2, 3)
    ]


def test_row_groups_and_files_have_a_fixed_size(log, plain, small_pieces):
    log.write("log.csv", rows(*(f"{i},{i},0,0" for i in range(200))))
    dataset = log.prepare(PLAIN)
    got = plain(dataset.path)
    names = got.manifest["parts"]["test"]["files"]
    assert names == [f"impressions/test-0000{i}.parquet" for i in range(len(names))]
    assert len(names) >= 3
    for name in names:
        about = pq.ParquetFile(dataset.path / name).metadata
        sizes = [about.row_group(g).num_rows for g in range(about.num_row_groups)]
        assert sizes[:-1] == [8] * (len(sizes) - 1)
        assert about.row_group(0).column(0).compression == "ZSTD"
    assert [r["order"] for r in got.part("test")] == list(range(100, 200))


# --- real logs ----------------------------------------------------------------------------------------


def test_kuairand_agrees_with_its_readme(shared_data, log, plain):
    """README.txt of the folder: 228,329 rows, 5,885 of them exact copies; 25,156 users, 6,361 videos."""
    folder = shared_data / "kuairand_pure"
    log.raw = folder
    recipe = (ROOT / "src" / "entirespace" / "recipes" / "kuairand.toml").read_text()
    began = time.perf_counter()
    dataset = log.prepare(recipe, max_bad=0.0)
    assert time.perf_counter() - began < 60
    got = plain(dataset.path)
    audit = got.manifest["audit"]
    table = audit["tables"]["impressions"]
    assert (table["read"], table["kept"], table["quarantined"]) == (228_329, 222_444, 0)
    reasons = got.reasons["impressions"]
    assert (reasons.pop("duplicate_impression"), reasons.pop("conversion_without_click")) == (5_885, 703)
    assert reasons == {"out_of_time_order": 62}  # counted separately with numpy
    (note,) = (n for n in audit["notes"] if n.startswith("before"))
    assert note == (
        "before copies were left out: 228,329 impressions, 100,900 clicks, 3,212 conversions; "
        "copies whose labels differ from the first row: 1"
    )
    assert (got.manifest["users"], got.manifest["items"]) == (25_156, 6_361)
    assert sum(len(part) for part in (dataset.train, dataset.validation, dataset.test)) == 222_444
    assert len(dataset.test) in range(111_222 - 50, 111_222 + 50)  # half, except for rows with equal milliseconds
    orders = [dataset.train.column("order"), dataset.validation.column("order"), dataset.test.column("order")]
    assert orders[0].max() < orders[1].min() <= orders[1].max() < orders[2].min()
    sizes = {f["name"]: f["size"] for f in got.manifest["fields"]}
    assert sizes["tab"] == 16  # README.txt: 15 tabs
    dataset.verify()
    assert read_schema(ROOT / "src" / "entirespace" / "recipes" / "kuairand.toml").roles.item == "video_id"


def test_the_manifest_is_json_that_any_tool_can_read(log):
    log.write("log.csv", rows("a,1,0,0", "b,2,0,0", "c,3,0,0"))
    dataset = log.prepare(PLAIN)
    manifest = json.loads((dataset.path / "manifest.json").read_text())
    assert manifest["format"] == "entirespace-dataset/2"
    on_disk = {str(p.relative_to(dataset.path)) for p in dataset.path.rglob("*") if p.is_file()}
    assert on_disk == {"manifest.json", *manifest["files"]}
    assert manifest["schema"]["impressions"]["order"] == "t"
    assert os.stat(dataset.path).st_mode & 0o777 == 0o755
    assert list(itertools.chain(*(manifest["parts"][p]["files"] for p in PARTS)))


def test_the_recipe_for_kuairand_reads_the_official_names(log, plain):
    """Several files of the standard log; the random log and the statistics of the whole period are not read."""
    head = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,long_view,tab\n"
    for k, name in enumerate(("log_standard_4_08_to_4_21_pure.csv", "log_standard_4_22_to_5_08_pure.csv")):
        lines = [f"u{t % 3},v{t % 2},20220408,1400,{100 * k + t},{t % 2},{t % 2},1,1" for t in range(20)]
        log.write(name, head + "\n".join(lines))
    for name in ("log_random_4_22_to_5_08_pure.csv", "video_features_statistic_pure.csv"):
        log.write(name, "not,to,be,read\n")
    recipe = (ROOT / "src" / "entirespace" / "recipes" / "kuairand.toml").read_text()
    tables = read_schema(ROOT / "src" / "entirespace" / "recipes" / "kuairand.toml").tables
    for table, name, key in (("user", "user_features_pure.csv", "u"), ("video", "video_features_basic_pure.csv", "v")):
        columns = sorted({f.source or n for n, f in tables[table].fields.items()})
        values = [",".join(f"{key}{i}" if c == f"{table}_id" else str(i) for c in columns) for i in range(3)]
        log.write(name, "\n".join([",".join(columns), *values]))
    dataset = log.prepare(recipe, max_bad=0.0)
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [18, 2, 20]
    got = plain(dataset.path)
    assert (got.manifest["users"], got.manifest["items"]) == (3, 2)
    assert got.raw_ids("test", "video_id")[:2] == [["v0"], ["v1"]]
    assert sum(row["conversion"] for row in got.part("test")) == 10
    history = dataset.layout.history
    assert history is not None
    assert len(history.rated) == len(history.keys) == 37  # every id, and a pair
    assert {key.name: key.parents for key in history.keys if key.parents} == {
        "user_id": ("user_active_degree",),
        "video_id": ("author_id", "tags"),
        "author_id": ("tags",),
        "music_id": ("music_type",),
        "user_id x tab": ("user_id", "user_active_degree"),
    }


def test_the_recipe_for_aliexpress_reads_its_four_files(log, plain):
    """A label of levels, no header, a split by file, and pages that an item's column 1 names."""
    for part, pages in (("train", range(6)), ("test", range(6, 9))):
        users = [",".join([str(page), *(str((page * c) % 5) for c in range(2, 34))]) for page in pages]
        log.write(f"NL_user_{part}.csv", "\n".join(users))
        items = [
            ",".join([str(page), *(str((page + c + k) % 4) for c in range(2, 49)), str(k % 3)])
            for page in pages
            for k in range(5)
        ]
        log.write(f"NL_item_{part}.csv.gz", "\n".join(items))
    dataset = log.prepare((ROOT / "src" / "entirespace" / "recipes" / "aliexpress.toml").read_text(), max_bad=0.0)
    assert [len(p) for p in (dataset.train, dataset.validation, dataset.test)] == [27, 3, 15]
    got = plain(dataset.path)
    # of five items a page the labels are 0 1 2 0 1: three clicks, one purchase
    assert [(row["click"], row["conversion"]) for row in got.part("test")[:5]] == [
        (False, False),
        (True, False),
        (True, True),
        (False, False),
        (True, False),
    ]
    assert "missing_side_row" not in got.reasons["impressions"]
    ids = [f["name"] for f in got.manifest["fields"] if f["kind"] == "id"]
    assert len([f for f in got.manifest["fields"] if f["kind"] != "rate"]) == 47 + 32
    assert len(dataset.layout.rates) == 3 * len(ids) == 3 * 16  # by every id
    assert got.raw_ids("train", "user_2")[5 * 3] == [str(3 * 2 % 5)]
