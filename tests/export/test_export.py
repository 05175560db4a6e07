"""`export`: what a bundle holds, where it may be written, and that it is whole or not there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from exported import configured, random_run, small_dataset

import entirespace as es
from entirespace.errors import BundleError
from entirespace.records import FileRecord
from entirespace.runs.run import Run
from entirespace.serving.bundle import Bundle
from entirespace.serving.card import ModelCard
from entirespace.serving.manifest import BundleManifest


@pytest.fixture(scope="module")
def quick_export(exported):
    """Export without torch's exporter: the program of the shared bundle is that of the run already."""
    import entirespace.export.export as room
    import entirespace.export.gate as gate

    run, folder = exported

    def write(program, inputs, path: Path) -> None:
        for name in ("program.onnx", "program.onnx.data"):
            shutil.copyfile(folder / name, path.with_name(name))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(room, "write_program", write)
        patch.setattr(gate, "ROWS", 200)
        patch.setattr(gate, "SIZES", (1, 64))
        yield run


def test_what_a_bundle_holds(exported):
    run, folder = exported
    manifest = BundleManifest.open(folder)
    there = {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
    assert there == {*manifest.files, "manifest.json"}
    for name, record in manifest.files.items():
        assert FileRecord.of(folder / name) == record
        own = run.folder / name
        assert not (own.exists() and own.samefile(folder / name)), "no file is shared with the run"
    for name in ("program.onnx", "program.onnx.data"):  # onnx refuses external data of several names
        assert (folder / name).stat().st_nlink == 1
    for name in (*run.layout.files, "layout.json", "history/state.json", "history/counted.parquet"):
        assert (folder / name).read_bytes() == (run.folder / name).read_bytes()
    assert manifest.method == {"name": "BASE"}
    assert manifest.parity.rows == 500
    assert manifest.parity.batch_sizes == (1, 2, 7, 64, 513, 5000)
    assert manifest.layout == run.layout.digest
    assert {"entirespace", "torch", "onnx", "onnxruntime"} <= {*manifest.versions}


def test_the_model_card(exported):
    run, folder = exported
    card = ModelCard.open(folder)
    data = es.open(run.folder.parent / "data")
    assert card.trained_on.impressions == len(data.train)
    assert card.trained_on.rates["ctr"] == pytest.approx(data.train.counts["click"] / len(data.train))
    assert card.validation is not None
    measured = run.evaluate(data.validation).tasks
    for task, values in card.validation.tasks.items():
        assert values["auc"] == pytest.approx(measured[task].auc)
        assert values["log_loss"] == pytest.approx(measured[task].log_loss)
    assert card.calibration["kind"] == "platt"
    p = run.predict(data.validation)
    for name, histogram in card.drift.items():
        scores = getattr(p, name)
        assert sum(histogram.counts) == len(scores)
        assert len(histogram.counts) == len(histogram.edges) + 1
        assert histogram.mean == pytest.approx(scores.mean(), rel=1e-5)
        assert histogram.counts[0] == int((scores <= histogram.edges[0]).sum())
    text = (folder / "model_card.md").read_text()
    assert "holds raw ids" in text
    assert "CVR on clicked impressions" in text
    assert "Platt scaling" in text
    json.loads((folder / "model_card.json").read_text(), parse_constant=pytest.fail)  # no NaN and no Infinity


def test_the_card_of_a_run_whose_dataset_is_gone_says_so(exported, tmp_path):
    from entirespace.export.card import card_text, model_card

    _, folder = exported
    data = small_dataset(tmp_path / "data", history=False)
    made = es.fit(es.ESMM(), data.train, config=configured(), out=tmp_path / "run")
    data.path.rename(tmp_path / "moved")
    parity = BundleManifest.open(folder).parity
    card = model_card(made, parity, None, {"entirespace": "1"}, "now")
    assert card.validation is None
    assert str(data.path) in card.no_validation
    assert f"None: {card.no_validation}" in card_text(card)
    (tmp_path / "moved").rename(data.path)
    refit = configured().model_copy(update={"training": configured().training.model_copy(update={"refit": True})})
    kept = es.fit(es.ESMM(), data.train, config=refit, out=tmp_path / "refit")
    shutil.rmtree(data.path)
    card = model_card(kept, parity, None, {"entirespace": "1"}, "now")
    assert card.validation is not None
    assert "selection model" in card.validation.scores


def test_the_schema_names_the_columns_and_their_sides(exported):
    schema = Bundle.open(exported[1]).schema
    found = {(c.table, c.name): (c.holds, c.sides) for c in schema.columns}
    assert found["impressions", "tab"] == ("id", ("request",))
    assert found["impressions", "price"] == ("number", ("request",))
    assert found["user", "liked"] == ("ids", ("request",))
    assert found["user", "liked_weights"] == ("weights", ("request",))
    assert found["item", "vid"] == ("id", ("candidate",))
    assert (schema.tables["user"].side, schema.tables["item"].side) == ("request", "candidate")


def test_the_weights_stay_outside_the_program(exported):
    """The embedding is external data, at an offset that can be mapped; program.onnx has less than it."""
    import onnx

    run, folder = exported
    model = onnx.load(str(folder / "program.onnx"), load_external_data=False)
    tables = [t for t in model.graph.initializer if t.name.endswith("embeddings.cvr.weight")]
    assert len(tables) == 1
    external = {entry.key: entry.value for entry in tables[0].external_data}
    assert external["location"] == "program.onnx.data"
    want = run.network.state_dict()["embeddings.cvr.weight"].numpy()
    assert int(external["length"]) == want.nbytes
    data = np.memmap(folder / "program.onnx.data", np.float32, "r", int(external["offset"]), want.shape)
    np.testing.assert_array_equal(data, want)


def test_where_a_bundle_may_be_written(quick_export, tmp_path):
    run: Run = quick_export
    out = tmp_path / "bundle"
    made = run.export(out)
    assert made.folder == out
    with pytest.raises(BundleError, match=r"must be new, empty or hold only a bundle.*it holds .*history/00\.parquet"):
        run.export(out)
    run.export(out, force=True)
    (out / "notes.txt").write_text("precious")
    with pytest.raises(BundleError, match=r"it holds notes\.txt"):
        run.export(out, force=True)
    assert (out / "notes.txt").read_text() == "precious"
    Bundle.open(out)
    (tmp_path / "file").write_text("x")
    with pytest.raises(BundleError, match="it is a file"):
        run.export(tmp_path / "file")
    with pytest.raises(BundleError, match=r"it holds .*calibration\.json"):
        run.export(run.folder, force=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "manifest.json").write_text('{"format": "entirespace-dataset/2"}')
    with pytest.raises(BundleError, match=r"it holds manifest\.json"):
        run.export(other, force=True)


def test_scores_that_differ_leave_nothing(quick_export, tmp_path, monkeypatch):
    """A weight that is changed behind the back of the gate."""
    import entirespace.export.export as room

    copy = room.write_program

    def changed(program, inputs, path: Path) -> None:
        copy(program, inputs, path)
        weights = np.memmap(path.with_name("program.onnx.data"), np.float32, "r+")
        weights[:64] += 0.5
        weights.flush()

    monkeypatch.setattr(room, "write_program", changed)
    with pytest.raises(BundleError, match="the scores of a bundle must be those of its run"):
        quick_export.export(tmp_path / "bundle")
    assert list(tmp_path.iterdir()) == []


KILLED = """
import os, signal, sys
from pathlib import Path
import shutil
import entirespace as es
import entirespace.export.export as room
run, bundle, out = sys.argv[1:]
room.write_program = lambda program, inputs, path: [
    shutil.copyfile(Path(bundle) / name, path.with_name(name)) for name in ("program.onnx", "program.onnx.data")]
room.check_parity = lambda run, program: os.kill(os.getpid(), signal.SIGKILL)
es.load(run).export(out)
"""


def test_a_killed_export_leaves_no_bundle(quick_export, exported, tmp_path):
    run, folder = exported
    out = tmp_path / "bundle"
    command = [sys.executable, "-c", KILLED, str(run.folder), str(folder), str(out)]
    ran = subprocess.run(command, capture_output=True, env={**os.environ})
    assert ran.returncode == -signal.SIGKILL, ran.stderr.decode()
    assert not out.exists()
    assert [p.suffix for p in tmp_path.iterdir()] == [".partial"]
    quick_export.export(out)
    assert [p.name for p in tmp_path.iterdir()] == ["bundle"], "the next export removes what was left"


def test_the_command(quick_export, tmp_path):
    from entirespace.cli import main

    run: Run = quick_export
    code, out, err = _main(main, "export", run.folder, tmp_path / "bundle", "-q")
    assert code == 0, err
    assert "next: entirespace score" in out
    assert "fields of a request: 20, of each candidate: 6" in out
    code, out, err = _main(main, "export", run.folder, tmp_path / "bundle", "-q", "--force", "--json")
    assert json.loads(out)["format"] == "entirespace-bundle/1"
    code, out, err = _main(main, "export", run.folder, tmp_path / "new", "-q", "--request", "uid,agge")
    assert (code, "must be fields of the run, however: 'agge'. Did you mean 'age'?" in err) == (1, True)
    assert not (tmp_path / "new").exists()


def _main(main, *words: object) -> tuple[object, str, str]:
    import contextlib
    import io
    from unittest.mock import patch

    out, err, code = io.StringIO(), io.StringIO(), 0
    arguments = ["entirespace", *map(str, words)]
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err), patch.object(sys, "argv", arguments):
        try:
            main()
        except SystemExit as stop:
            code = stop.code or 0
    return code, out.getvalue(), err.getvalue()


def test_a_table_without_the_packages_of_export(exported, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    with pytest.raises(BundleError, match=r"export needs the package onnxscript.*pip install 'entirespace\[export\]'"):
        random_run(es.open(exported[0].folder.parent / "data"), es.ESMM()).export(tmp_path / "bundle")
