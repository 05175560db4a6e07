"""The reader of raw Ali-CCP: genuine lines, bad lines, the two pairs of files, and the truth of simulated logs."""

from __future__ import annotations

import os
import random
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aliccp_lines import (
    A,
    B,
    common_line,
    feature,
    put,
    quarantined,
    read,
    skeleton_line,
    slow_parse,
    small,
)

from entirespace.errors import DataError
from entirespace.kernels.threads import ahead
from entirespace.logs.aliccp.chunks import Chunks, texts
from entirespace.logs.aliccp.source import COMMON_FIELDS, SKELETON_FIELDS, WEIGHTED, AliCCPSource
from entirespace.logs.audit import Audit, Quarantine

# The genuine lines


def genuine(folder: Path, name: str) -> bytes:
    return (folder / "aliccp_raw_fragments" / name).read_bytes()


def test_every_id_and_weight_of_the_genuine_common_lines_is_kept(shared_data, tmp_path):
    text = genuine(shared_data, "common_features_train.2rows.csv")
    skeleton = skeleton_line("0000350f0c2121e7", feature("205", 5662732), click=1)
    log = read(put(tmp_path, (skeleton, text)))
    assert log.audit.kept("common") == 2
    slow = slow_parse(text, skeleton=False)
    assert [sum(map(len, row.bags.values())) for row in slow.rows] == [343, 811]
    for name in COMMON_FIELDS:
        assert log.bags(name) == [row.bags[name] for row in slow.rows]
    assert log.bags("101")[0] == [(31319, 1.0)]
    assert log.bags("150_14")[0][0] == (3878882, float(np.float32(3.28343)))
    assert log.column(lambda b: b.links["common"]) == [1]
    assert text.endswith(b"\n")


def test_truncated_genuine_lines_are_quarantined_and_completed_ones_are_read(shared_data, tmp_path):
    truncated = genuine(shared_data, "sample_skeleton_train.5rows.TRUNCATED.csv")
    completed = []
    for line in truncated.splitlines():
        said, held = int(line.split(b",")[4]), line.count(b"\x01") + 1
        more = b"".join(b"\x01" + feature("210", 9_000_000 + i) for i in range(said - held))
        completed.append(line + more + b"\n")
    common = genuine(shared_data, "common_features.heads.TRUNCATED.csv")
    log = read(put(tmp_path, (truncated + b"".join(completed), common)))
    assert log.audit.rows_with("impressions", "wrong_feature_count") == len(completed)
    assert log.audit.kept("impressions") == len(completed)
    slow = slow_parse(b"".join(completed), skeleton=True)
    for name in SKELETON_FIELDS:
        assert log.bags(name) == [row.bags[name] for row in slow.rows]
    assert log.audit.rows_with("common", "wrong_feature_count") == 10
    aside = [row for row in quarantined(tmp_path) if row["table"] == "impressions"]
    assert [(row["file"], row["line"]) for row in aside] == [("sample_skeleton_train.csv", str(i)) for i in range(1, 6)]
    assert aside[0]["text"].startswith("feature_num = '9', features: 2 in: 1,0,0,bacff91692951881,9,210\\x029052218")
    assert log.audit.rows_with("impressions", "missing_side_row") == len(completed)


def test_the_pairs_become_one_side_table_and_the_impressions_of_both_parts(tmp_path):
    log = read(put(tmp_path, *small()))
    assert log.bags("101") == [[(1, 1.0)], [(2, 1.0)], [(3, 1.0)], [(2, 1.0)]]
    assert log.column(lambda b: b.part) == [0, 0, 0, 1, 1, 1]
    # B is another row in each part, and A is in the training pair only
    assert log.column(lambda b: b.links["common"]) == [1, 0, -1, 2, -1, 3]
    assert log.column(lambda b: b.labels.click) == [True, False, True, False, False, True]
    assert log.column(lambda b: b.labels.conversion) == [True, False, False, False, False, False]
    assert log.bags("205") == [[(50, 1.0), (51, 1.0)], [], [(50, 1.0)], [], [], []]
    assert log.audit.rows_with("impressions", "missing_side_row") == 2
    example = log.audit.as_dict()["tables"]["impressions"]["reasons"]["missing_side_row"]["examples"]
    assert example == ["sample_skeleton_train.csv, line 3", "sample_skeleton_test.csv, line 2"]
    assert log.audit.rows_read("impressions") == log.audit.kept("impressions") == 6
    assert not (tmp_path / Quarantine.NAME).exists()
    assert log.source.ids("205").to_pylist() == [50, 51]


def test_the_fields_and_their_roles(tmp_path):
    log = read(put(tmp_path, *small()), min_count=3)
    assert [f.name for f in log.source.fields if f.table == "common"] == list(COMMON_FIELDS)
    assert [f.name for f in log.source.fields if f.table == "impressions"] == list(SKELETON_FIELDS)
    assert {(f.kind, f.min_count) for f in log.source.fields} == {("ids", 3)}
    assert (log.source.user, log.source.item) == ("101", "205")
    assert log.source.has_test


def test_weights_are_given_for_the_weighted_fields_and_where_one_is_not_1(tmp_path):
    log = read(put(tmp_path, *small()))
    train, test = log.impressions
    assert {name for name, bags in train.fields.items() if bags.weights is not None} == {
        "508",
        "509",
        "702",
        "853",
    }
    assert {name for name, bags in test.fields.items() if bags.weights is not None} == {
        "508",
        "509",
        "702",
        "853",
        "301",
    }
    assert log.common[0].fields["109_14"].weights.dtype == np.float32
    assert log.common[1].fields["109_14"].weights is not None


@pytest.mark.parametrize(("on_orphan", "kept"), [("keep", 3), ("drop", 2)])
def test_a_conversion_without_a_click(tmp_path, on_orphan, kept):
    lines = [skeleton_line(A, feature("205", i), click=y, conversion=z) for i, (y, z) in enumerate(["11", "01", "00"])]
    log = read(put(tmp_path, (b"".join(lines), common_line(A))), max_bad=0, on_orphan=on_orphan)
    assert log.audit.rows_with("impressions", "conversion_without_click") == 1
    assert log.audit.kept("impressions") == kept
    assert log.column(lambda b: b.labels.conversion) == [True, False, False][:kept]
    assert [bag[0][0] for bag in log.bags("205")] == ([0, 1, 2] if on_orphan == "keep" else [0, 2])
    reason = log.audit.as_dict()["tables"]["impressions"]["reasons"]["conversion_without_click"]
    assert reason["outcome"] == ("changed" if on_orphan == "keep" else "left out")
    assert reason["examples"] == ["sample_skeleton_train.csv, line 2"]


def test_a_conversion_without_a_click_can_be_an_error(tmp_path):
    put(tmp_path, (skeleton_line(A) + skeleton_line(A, conversion=1), common_line(A)))
    with pytest.raises(DataError, match=r"sample_skeleton_train.csv, line 2: .*--on-orphan keep"):
        read(tmp_path, on_orphan="error")


BROKEN = {
    "unknown_field": (
        skeleton_line(A, feature("301", 1), feature("999", 5)),
        "feature = '999\\\\x025\\\\x031.0' in: 1,0,0,",
    ),
    "bad_weight": (skeleton_line(A, feature("508", 5, "NaN")), "feature = '508\\\\x025\\\\x03NaN' in: 1,0,0,"),
    "bad_label": (skeleton_line(A, click=2), "click = '2' in: 1,2,0,"),
    "wrong_feature_count": (skeleton_line(A, feature("301", 1), said=7), "feature_num = '7', features: 1 in: 1,0,0,"),
    "unparsable_line": (b"1;0;0;k;0;\n", "1;0;0;k;0;"),
}


@pytest.mark.parametrize("reason", BROKEN)
def test_a_bad_line_is_quarantined_with_its_line_number_and_reason(tmp_path, reason):
    line, shown = BROKEN[reason]
    log = read(put(tmp_path, (skeleton_line(A) + line + skeleton_line(A), common_line(A))))
    (row,) = quarantined(tmp_path)
    assert (row["file"], row["line"], row["table"], row["reason"]) == (
        "sample_skeleton_train.csv",
        "2",
        "impressions",
        reason,
    )
    assert row["text"].startswith(shown)
    assert log.audit.kept("impressions") == 2


@pytest.mark.parametrize("reason", BROKEN)
def test_too_many_bad_lines_are_an_error_that_lists_the_reasons(tmp_path, reason):
    line, shown = BROKEN[reason]
    put(tmp_path, (skeleton_line(A) * 10 + line, common_line(A)))
    with pytest.raises(DataError) as error:
        read(tmp_path, max_bad=0.05)
    assert f"1 of 11 (9.09 %) are: 1 {reason}" in str(error.value)
    assert f"sample_skeleton_train.csv, line 11: {shown}" in str(error.value)
    assert "--max-bad 0.1" in str(error.value)


def test_the_second_line_with_a_key_is_quarantined(tmp_path):
    common = common_line(A, feature("101", 1)) + common_line(B) + common_line(A, feature("101", 2))
    log = read(put(tmp_path, (skeleton_line(A), common), (skeleton_line(A), common_line(A, feature("101", 3)))))
    assert log.bags("101") == [[(1, 1.0)], [], [(3, 1.0)]]
    assert [(r["line"], r["reason"]) for r in quarantined(tmp_path)] == [("3", "duplicate_key")]
    assert log.column(lambda b: b.links["common"]) == [0, 2]


def test_line_ends_of_every_kind(tmp_path):
    line = skeleton_line(A, feature("205", 5, "1.0"))
    text = line.replace(b"\n", b"\r\n") + b"\n" + b"\r\n" + skeleton_line(A).replace(b"\n", b"\r\n") + line[:-1]
    log = read(put(tmp_path, (text, common_line(A)[:-1])))
    assert log.bags("205") == [[(5, 1.0)], [], [(5, 1.0)]]
    assert log.audit.rows_with("impressions", "unparsable_line") == 2  # the empty lines
    assert log.column(lambda b: b.links["common"]) == [0, 0, 0]


def test_an_empty_file_has_no_rows(tmp_path):
    log = read(put(tmp_path, (b"", b"")))
    assert log.audit.rows_read("impressions") == 0
    assert log.impressions == []


def test_codes_do_not_depend_on_chunks_and_threads(tmp_path):
    (tmp_path / "raw.csv").write_bytes(b"".join(skeleton_line(A, feature("205", i * 7919 % 997)) for i in range(3000)))
    codes = []
    for chunk, threads in ((1000, 1), (5000, 2), (1 << 20, 3)):
        chunks = Chunks(SKELETON_FIELDS, WEIGHTED, skeleton=True, chunk=chunk, threads=threads)
        values = [c.fields["205"].values for _, c in chunks.read([tmp_path / "raw.csv"])]
        codes.append((np.concatenate(values).tolist(), chunks.codes["205"].keys.tolist()))
    assert codes[0] == codes[1] == codes[2]
    assert codes[0][1][:3] == [0, 7919 % 997, 2 * 7919 % 997]


def test_a_line_longer_than_a_chunk_is_refused_with_its_number(tmp_path):
    (tmp_path / "raw.csv").write_bytes(b"short\n" * 50 + b"x" * 500)
    with pytest.raises(DataError, match=r"raw.csv, line 51: a line must be shorter than 200 bytes"):
        list(texts(tmp_path / "raw.csv", 200))


@pytest.mark.parametrize("change", [lambda size: size // 2, lambda size: size + 6])
def test_a_file_that_changes_while_it_is_read_is_an_error(tmp_path, change):
    path = tmp_path / "raw.csv"
    path.write_bytes(b"short\n" * 500)
    chunks = texts(path, 200)
    next(chunks)
    os.truncate(path, change(path.stat().st_size))
    with pytest.raises(DataError, match=r"^raw\.csv: a file must not change while it is read"):
        list(chunks)


def test_a_bad_line_says_which_column_has_which_value(tmp_path):
    """Each line has another fault, in both kinds of files."""
    good = skeleton_line(A, feature("205", 1))
    bad = [good.replace(b",0,0,", b",0,x,"), good.replace(b",1,205", b",one,205"), good.replace(A.encode(), b"")]
    common = [common_line(A), common_line(A), common_line(A, said=3)]
    put(tmp_path, (b"".join([good, *bad]), b"".join(common)))
    read(tmp_path)
    assert [row["text"].partition(" in: ")[0] for row in quarantined(tmp_path)] == [
        f"common_feature_index = '{A}'",
        "feature_num = '3', features: 0",
        "conversion = 'x'",
        "feature_num = 'one'",
        "common_feature_index = ''",
    ]


def test_an_error_while_reading_ahead_is_raised_after_the_blocks_before_it():
    def blocks():
        yield 1
        raise DataError("must", "came")

    coming = ahead(blocks())
    assert next(coming) == 1
    with pytest.raises(DataError):
        next(coming)


# Files


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (["sample_skeleton_train.csv"], "no sample_skeleton_train.csv"),
        (["common_features_train.csv"], "no common_features_train.csv"),
        (["common_features_test.csv"], "no common_features_test.csv"),
        (
            ["sample_skeleton_train.csv", "common_features_train.csv"],
            "no sample_skeleton_train.csv and no common",
        ),
    ],
)
def test_a_missing_file_is_named(tmp_path, missing, message):
    put(tmp_path, *small())
    for name in missing:
        (tmp_path / name).unlink()
    with pytest.raises(DataError, match=message):
        read(tmp_path)


def test_the_test_pair_may_be_missing(tmp_path):
    log = read(put(tmp_path, small()[0]))
    assert not log.source.has_test
    assert log.column(lambda b: b.part) == [0, 0, 0]
    assert any("no test pair" in note for note in log.audit.notes)


def test_a_missing_folder_and_packed_files_are_refused(tmp_path):
    with pytest.raises(DataError, match="must be a folder"):
        read_nothing(tmp_path / "absent")
    (tmp_path / "sample_train.tar.gz").touch()
    with pytest.raises(DataError, match=r"Unpack sample_train\.tar\.gz"):
        read_nothing(tmp_path)


def read_nothing(raw: Path) -> None:
    audit = Audit()
    AliCCPSource(raw, audit, Quarantine(raw, audit))


# Truth


def write_truth(file: Path, rows: int, **columns) -> np.ndarray:
    pctr = np.arange(rows) / 1000
    pq.write_table(pa.table({"pctr": pctr, "pcvr": pctr / 2, **columns}), file, row_group_size=7)
    return pctr.astype(np.float32)


def test_the_truth_of_a_row_does_not_shift_when_other_rows_are_quarantined(tmp_path):
    rng = random.Random(1)
    wrong = [rng.random() < 0.3 for _ in range(40)]
    lines = [b"broken\n" if w else skeleton_line(A, feature("205", i)) for i, w in enumerate(wrong)]
    put(tmp_path, (b"".join(lines[:25]), common_line(A)), (b"".join(lines[25:]), common_line(A)))
    pctr = write_truth(tmp_path / "truth.parquet", 40)
    log = read(tmp_path)
    ids = [bag[0][0] for bag in log.bags("205")]
    assert ids == [i for i, w in enumerate(wrong) if not w]
    assert log.column(lambda b: b.truth[0]) == pctr[ids].tolist()
    assert log.column(lambda b: b.truth[1]) == (pctr[ids] / 2).tolist()


def test_the_truth_may_be_in_another_folder(tmp_path):
    put(tmp_path, small()[0])
    pctr = write_truth(tmp_path / "elsewhere.parquet", 3)
    assert read(tmp_path).impressions[0].truth is None
    log = read(tmp_path, truth=tmp_path / "elsewhere.parquet")
    assert log.column(lambda b: b.truth[0]) == pctr.tolist()


@pytest.mark.parametrize("rows", [2, 4])
def test_a_truth_of_another_length_is_refused(tmp_path, rows):
    put(tmp_path, small()[0])
    write_truth(tmp_path / "truth.parquet", rows)
    with pytest.raises(DataError, match=f"it has {rows} rows, and there are"):
        read(tmp_path)


def test_a_truth_without_its_columns_is_refused(tmp_path):
    put(tmp_path, small()[0])
    pq.write_table(pa.table({"pctr": [0.1] * 3}), tmp_path / "truth.parquet")
    with pytest.raises(DataError, match=r"truth\.parquet: the truth must have a column 'pcvr', however: it has pctr"):
        read(tmp_path)


class Steps:
    def __init__(self) -> None:
        self.reported: list = []

    def start(self, what, total, unit):
        self.reported.append((what, total, unit))

    def advance(self, amount, note=""):
        self.reported.append(amount)

    def done(self, note=""):
        self.reported.append(note)

    def say(self, line): ...


def test_progress_is_reported_in_bytes(tmp_path):
    put(tmp_path, *small())
    steps = Steps()
    read(tmp_path, progress=steps)
    start, *bytes_read, done = steps.reported[len(steps.reported) // 2 :]
    assert start == ("reading impressions", sum(f.stat().st_size for f in tmp_path.glob("sample_*")), "B")
    assert sum(bytes_read) == start[1]
    assert done == "6 rows"
