"""A bundle scores as its run, without torch, and a damaged one is refused by the name of the file."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from exported import small_log

from entirespace.config import digest
from entirespace.errors import BundleError, DataError
from entirespace.features.frames import FrameEncoder
from entirespace.runs.run import Run
from entirespace.serving.bundle import Bundle
from entirespace.serving.encoders import MappedVocabulary, ServedHistory
from entirespace.serving.manifest import is_bundle

NAMES = ("pctr", "pcvr", "pctcvr")


@pytest.fixture(scope="module")
def opened(exported) -> tuple[Run, Bundle]:
    run, folder = exported
    return run, Bundle.open(folder)


@pytest.fixture
def copied(exported, tmp_path) -> Path:
    shutil.copytree(exported[1], tmp_path / "copy")
    return tmp_path / "copy"


def later_rows() -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Rows with ids that the run has never seen, empty lists and missing numbers."""
    rows, tables = small_log(300, seed=5)
    odd = pl.int_range(pl.len()) % 7 == 0
    rows = rows.with_columns(
        uid=pl.when(odd).then(pl.lit("nobody")).otherwise("uid"),
        vid=pl.when(pl.int_range(pl.len()) % 11 == 0).then(999).otherwise("vid"),
        price=pl.when(odd).then(None).otherwise("price"),
    )
    return rows.drop("y", "z"), tables


def assert_same(found, want) -> None:
    for name in NAMES:
        values = getattr(found, name)
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, getattr(want, name), rtol=0, atol=1e-6)
    assert found.unseen == want.unseen


def test_frames_score_as_the_run_scores_them(opened):
    """With side tables, and with their columns in the rows; with a history."""
    run, bundle = opened
    rows, tables = later_rows()
    assert_same(bundle.predict(rows, tables=tables), run.predict(rows, tables=tables))
    assert bundle.predict(rows, tables=tables).unseen["uid"].unseen > 0
    joined = rows.join(tables["user"], on="uid", how="left").join(tables["item"], on="vid", how="left")
    joined = joined.with_columns(pl.col("liked", "liked_weights").fill_null([]))
    assert_same(bundle.predict(joined), run.predict(joined))
    assert len(bundle.predict(rows[:0], tables=tables).pctr) == 0


def test_tables_of_ids_in_files_give_the_rows_of_the_run(opened):
    run, bundle = opened
    assert isinstance(bundle.encoders["uid"], MappedVocabulary)
    assert not isinstance(bundle.encoders["tab"], MappedVocabulary)
    assert isinstance(bundle.encoders.history, ServedHistory)
    assert (bundle.folder / "lookup" / "history" / "00" / "now.npy").is_file()
    rows, tables = later_rows()
    found, _, unseen = bundle.encoder(tables).encode(rows)
    want, _, also = FrameEncoder(run.encoders, tables, run.read).encode(rows)
    assert unseen == also
    np.testing.assert_array_equal(found.numbers, want.numbers)
    for name, bags in want.fields.items():
        np.testing.assert_array_equal(found.fields[name].values, bags.values)
    assert bundle.encoder().layout == run.layout.digest


def test_many_candidates_of_one_request(opened):
    """The scores of U requests with N candidates are those of the N plain rows."""
    _, bundle = opened
    rows, tables = later_rows()
    joined = rows.join(tables["user"], on="uid", how="left").join(tables["item"], on="vid", how="left")
    joined = joined.with_columns(pl.col("liked", "liked_weights").fill_null([]))
    request, candidates = joined[:3], joined[3:203]
    request_of = np.arange(200) % 3
    of_item = [c.name for c in bundle.schema.columns if c.sides == ("candidate",)]
    plain = request[request_of].with_columns(candidates[name] for name in of_item)
    parts = [bundle.encoder().encode(frame)[0] for frame in (request, plain)]
    found = bundle.program.score(*parts, request_of)
    want = bundle.predict(plain)
    for p, name in zip(found, NAMES, strict=True):
        np.testing.assert_allclose(p, getattr(want, name), rtol=0, atol=1e-6)


def test_what_a_row_lacks_is_an_error_that_names_it(opened):
    _, bundle = opened
    rows, tables = later_rows()
    with pytest.raises(DataError, match="must have the column 'price'"):
        bundle.predict(rows.drop("price"), tables=tables)
    with pytest.raises(DataError, match="row 2: field 'price' must hold a number, however: 'dear'"):
        bundle.predict(
            rows[:3].with_columns(price=pl.Series(["1", "dear", "2"])),
            tables=tables,
        )
    with pytest.raises(DataError, match="a side table must be one of the layout's"):
        bundle.predict(rows, tables={"usr": tables["user"]})


# Damage


def damages(path: Path):
    """Ways to damage a file, each as (what, do)."""
    content = path.read_bytes()
    yield "truncated", lambda: path.write_bytes(content[:-1])
    yield "longer", lambda: path.write_bytes(content + b"\0")
    flipped = bytearray(content)
    flipped[len(content) // 2] ^= 1
    yield "flipped", lambda: path.write_bytes(flipped)
    yield "missing", path.unlink
    aside = path.with_name("aside")
    yield "linked", lambda: (path.rename(aside), path.symlink_to(aside))
    yield "a folder", lambda: (path.unlink(), path.mkdir())


def restore(path: Path, content: bytes) -> None:
    if path.is_dir() and not path.is_symlink():
        path.rmdir()
    path.unlink(missing_ok=True)
    path.with_name("aside").unlink(missing_ok=True)
    path.write_bytes(content)


def test_every_damage_of_every_file_is_refused_by_name(copied):
    names = sorted(p.relative_to(copied).as_posix() for p in copied.rglob("*") if p.is_file())
    assert {"manifest.json", "program.onnx", "program.onnx.data", "layout.json", "model_card.md", "schema.json"} < {
        *names
    }
    assert "history/state.json" in names
    refused = 0
    for name in names:
        path = copied / name
        content = path.read_bytes()
        for what, damage in damages(path):
            if (name, what) == ("manifest.json", "linked"):  # it is read as it is, and its checksum holds
                continue
            damage()
            with pytest.raises(BundleError) as error:
                Bundle.open(copied)
            assert name in str(error.value) or name == "manifest.json"
            restore(path, content)
            refused += 1
    assert refused >= 200
    one, other = copied / "vocabulary" / "city.parquet", copied / "vocabulary" / "shop.parquet"
    aside = one.read_bytes()
    one.write_bytes(other.read_bytes())
    other.write_bytes(aside)
    with pytest.raises(BundleError, match=r"vocabulary/city\.parquet: the files of a bundle must not change"):
        Bundle.open(copied)


def rewrite(folder: Path, **change) -> None:
    """Change the manifest, with a checksum that fits."""
    content = json.loads((folder / "manifest.json").read_text())
    content = {**content, **change}
    del content["checksum"]
    (folder / "manifest.json").write_text(json.dumps({**content, "checksum": digest(content)}))


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "a/../../b", "a\\b", "./program.onnx"])
def test_a_path_that_leaves_the_folder_is_refused(copied, name):
    files = json.loads((copied / "manifest.json").read_text())["files"]
    rewrite(copied, files={**files, name: files["program.onnx"]})
    with pytest.raises(BundleError, match="a file of a bundle must be inside its folder"):
        Bundle.open(copied)


def test_another_format_or_folder_is_refused(copied, tmp_path):
    rewrite(copied, format="entirespace-bundle/2")
    assert is_bundle(copied)
    with pytest.raises(BundleError, match="format must be entirespace-bundle/1, however: entirespace-bundle/2"):
        Bundle.open(copied)
    with pytest.raises(BundleError, match="a bundle must be a folder, however: there is no such folder"):
        Bundle.open(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BundleError, match=r"must hold manifest\.json, which is written last"):
        Bundle.open(tmp_path / "empty")
    assert not is_bundle(tmp_path / "empty")


def test_a_program_that_is_not_of_the_manifest_is_refused(copied):
    """Even if all checksums fit."""
    content = json.loads((copied / "manifest.json").read_text())
    inputs = content["inputs"]
    inputs["request"]["ids"], inputs["request"]["rates"] = [], ["rate.click.tab"]
    rewrite(copied, inputs=inputs)
    with pytest.raises(BundleError, match=r"program\.onnx: the program must read request_of, request\.positions"):
        Bundle.open(copied)


def test_without_onnxruntime_an_error_says_what_to_install(exported, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(BundleError, match=r"needs the package onnxruntime.*pip install 'entirespace\[serve\]'"):
        Bundle.open(exported[1])


# Without torch

WITHOUT_TORCH = """
import sys
import entirespace
from entirespace.cli import main
from entirespace.serving.bundle import Bundle
try:
    main()
finally:
    assert not [name for name in sys.modules if name.split(".")[0] in ("torch", "onnx", "onnxscript")]
    assert "onnxruntime" in sys.modules
"""


def test_score_imports_no_torch_and_gives_the_scores_of_the_run(exported, tmp_path):
    """From standard input, in a process of its own."""
    run, folder = exported
    rows, tables = later_rows()
    sides = []
    for name, table in tables.items():
        table.write_parquet(tmp_path / f"{name}.parquet")
        sides += ["--side", f"{name}={tmp_path / f'{name}.parquet'}"]
    command = [sys.executable, "-c", WITHOUT_TORCH, "score", str(folder), "-", "--format", "jsonl", *sides, "-o", "-"]
    ran = subprocess.run(command, input=rows.write_ndjson().encode(), capture_output=True, env={**os.environ})
    assert ran.returncode == 0, ran.stderr.decode()
    found = pl.read_ndjson(ran.stdout)
    want = run.predict(rows, tables=tables)
    for name in NAMES:
        np.testing.assert_allclose(found[name].to_numpy(), getattr(want, name), rtol=0, atol=1e-6)
    assert b"unseen %" in ran.stderr
    assert b"scoring with BASE" in ran.stderr
