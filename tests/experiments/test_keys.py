"""The key of a compared run: what changes it trains the run again, with the reason; what decides no number does not."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass

import numba
import numpy as np
import pytest
import torch
from history_logs import prepared, random_log, side_tables
from read_back import write_table

import entirespace.experiments.keys as keys_module
import entirespace.experiments.runs as runs_module
from entirespace.errors import RunError
from entirespace.experiments.compare import compare
from entirespace.experiments.keys import Keys
from entirespace.experiments.space import Searched, Space
from entirespace.experiments.tune import tune
from entirespace.methods import BASE, CTR, ESMM, UNBIAS
from entirespace.network.towers import TOWERS, MLPTower
from entirespace.progress import Silent
from entirespace.runs.record import RunRecord
from entirespace.runs.update import update
from entirespace.training import fit

BODY = """
from entirespace.methods import BASE

class Mine(BASE):
    def loss(self, p, batch):
        return super().loss(p, batch) * FACTOR + 0.01 * (p.cvr.log ** 2).mean()
"""


class Lines(Silent):
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    @property
    def again(self) -> list[str]:
        return [line for line in self.lines if line.startswith("trained again")]


@pytest.fixture
def once(quick):
    """One epoch."""
    return quick.model_copy(update={"training": quick.training.model_copy(update={"epochs": 1})})


@pytest.fixture
def trained(monkeypatch):
    """The methods that are trained, the reference CTR network included."""
    found: list[str] = []
    for name in ("fit", "reference_ctr"):
        before = getattr(runs_module, name)

        def noted(*args, before=before, name=name, **options):
            found.append(args[0].label if name == "fit" else "CTR")
            return before(*args, **options)

        monkeypatch.setattr(runs_module, name, noted)
    return found


def mine(monkeypatch, factor: str):
    """The user's class, as it is after an edit of its module."""
    names: dict[str, object] = {"__name__": "of_a_user"}
    monkeypatch.setitem(sys.modules, "of_a_user", type(sys)("of_a_user"))
    exec(BODY.replace("FACTOR", factor), names)
    return names["Mine"]()  # type: ignore[operator]


def again(methods, data, config, out, **options) -> tuple[list[str], dict]:
    """What a comparison says of runs that it trains again, and its report."""
    progress = Lines()
    report = compare(methods, data, seeds=options.pop("seeds", 1), config=config, out=out, jobs=1, progress=progress)
    return progress.again, report.as_dict()


def test_an_edited_loss_is_trained_again_and_named(dataset, once, tmp_path, monkeypatch, trained):
    one = again([mine(monkeypatch, "1"), BASE()], dataset, once, tmp_path, seeds=2)
    trained.clear()
    lines, other = again([mine(monkeypatch, "-1"), BASE()], dataset, once, tmp_path, seeds=2)
    assert lines == ["trained again: Mine (seeds 0, 1), because the code of of_a_user:Mine.loss has changed"]
    assert trained.count("Mine") == 2
    assert "BASE" not in trained
    assert other["methods"][0]["tasks"]["cvr"]["auc"] != one[1]["methods"][0]["tasks"]["cvr"]["auc"]
    assert other["methods"][1] == one[1]["methods"][1]
    trained.clear()
    assert again([mine(monkeypatch, "1"), BASE()], dataset, once, tmp_path, seeds=2) == ([], one[1])
    assert trained == []  # the runs of the earlier code are still there


@pytest.mark.parametrize("library", [torch, np, numba])
def test_another_version_of_a_library_is_trained_again(dataset, once, tmp_path, monkeypatch, trained, library):
    one = again([BASE()], dataset, once, tmp_path)[1]
    trained.clear()
    before = library.__version__
    monkeypatch.setattr(library, "__version__", "9.9.9")
    lines, other = again([BASE()], dataset, once, tmp_path)
    name = f"versions.{library.__name__}"
    assert lines == [f"trained again: BASE (seed 0), because {name} was {before} and is 9.9.9"]
    assert sorted(trained) == ["BASE", "CTR"]
    assert other["methods"] == one["methods"]  # the version is only pretended


def test_another_version_of_this_package_and_another_setting_are_named(dataset, once, tmp_path, monkeypatch):
    again([BASE()], dataset, once, tmp_path)
    monkeypatch.setattr(keys_module, "__version__", "9.9.9")
    slower = once.model_copy(update={"optimizer": once.optimizer.model_copy(update={"learning_rate": 0.001})})
    (line,) = again([BASE()], dataset, slower, tmp_path)[0]
    assert "config.optimizer.learning_rate was 0.01 and is 0.001" in line
    assert "versions.entirespace was" in line


def test_jobs_find_the_runs_of_a_class_of_the_main_program(dataset, once, tmp_path, monkeypatch, trained):
    method = mine(monkeypatch, "1")
    one = compare([method, BASE()], dataset, seeds=1, config=once, out=tmp_path, jobs=2)
    assert trained == []  # in the processes of the jobs
    assert len(list((tmp_path / "runs").iterdir())) == 3
    two = compare([method, BASE()], dataset, seeds=1, config=once, out=tmp_path, jobs=1)
    assert trained == []
    assert two.as_dict() == one.as_dict()


def test_the_key_of_a_run_holds_all_that_decides_it(dataset, once, tmp_path):
    again([UNBIAS()], dataset, once, tmp_path)
    (file,) = tmp_path.glob("runs/UNBIAS-seed0-*/key.json")
    key = json.loads(file.read_text())
    (reference,) = tmp_path.glob("runs/CTR-seed0-*")
    weights = RunRecord.open(reference).weights
    assert weights is not None
    assert key["members"] == {"reference": weights.sha256}
    assert key["dataset"] == dataset.digest
    assert key["layout"] == dataset.layout.digest
    assert key["config"] == once.model_dump(mode="json")
    assert key["versions"]["torch"] == torch.__version__
    assert any(name.endswith("UNBIAS.loss") for name in key["code"])


def test_another_reference_network_is_another_member(dataset, once, tmp_path, trained):
    again([BASE()], dataset, once, tmp_path)
    (reference,) = tmp_path.glob("runs/CTR-seed0-*")
    record = RunRecord.open(reference)
    assert record.weights is not None
    other = record.weights.model_copy(update={"sha256": "0" * 64})
    keys = Keys.of(dataset, once, [CTR(), BASE()])
    runs = runs_module.Runs(dataset, once, tmp_path / "runs", keys)
    assert runs.there(BASE(), 0) is not None
    record.model_copy(update={"weights": other}).write(reference / "run.json")
    assert runs.there(BASE(), 0) is None
    assert runs.changed(BASE(), 0) == "the run of reference is another one"


def test_an_edited_tower_is_another_key(dataset, once, monkeypatch):
    before = Keys.of(dataset, once, [BASE()]).key(BASE(), 0, {})

    class Doubled(MLPTower):
        def forward(self, fields):
            return 2 * super().forward(fields)

    monkeypatch.setitem(TOWERS, type(once.network.tower), Doubled)
    after = Keys.of(dataset, once, [BASE()]).key(BASE(), 0, {})
    assert {name for name in before if before[name] != after[name]} == {"code"}


def test_an_update_of_the_history_trains_nothing_again(once, tmp_path, trained):
    rows = random_log(400, seed=2)
    data = prepared(tmp_path / "a", rows)
    one = again([BASE()], data, once, tmp_path / "report")[1]
    for name, table in {**side_tables(), "log.csv": [row | {"t": row["t"] + 1000} for row in rows]}.items():
        write_table(tmp_path / "day" / name, table)
    assert update(data.path, tmp_path / "day").added > 0
    trained.clear()
    lines, two = again([BASE()], type(data)(data.path), once, tmp_path / "report")
    assert lines == []
    assert trained == []
    assert two["methods"] == one["methods"]
    other = prepared(
        tmp_path / "b", [row | {"y": 1 - row["y"], "z": 0} if k == 7 else row for k, row in enumerate(rows)]
    )
    digests = [d.history.history.digest_of_its_log() for d in (data, type(data)(data.path), other)]
    assert digests[0] == digests[1]
    assert digests[2] != digests[0]


def test_a_run_whose_loss_was_edited_is_not_resumed(dataset, once, tmp_path, monkeypatch):
    fit(mine(monkeypatch, "1"), dataset.train, config=once, out=tmp_path / "run")
    fit(mine(monkeypatch, "1"), dataset.train, config=once, out=tmp_path / "run")  # it is only opened
    with pytest.raises(RunError, match=r"same code.*of_a_user:Mine\.loss has changed.*Choose another folder"):
        fit(mine(monkeypatch, "2"), dataset.train, config=once, out=tmp_path / "run")


def test_a_study_whose_loss_was_edited_is_not_resumed(dataset, once, tmp_path, monkeypatch):
    pytest.importorskip("optuna")

    def study(method, trials):
        space = Space(method, once, {"optimizer.learning_rate": Searched(choices=(0.01, 0.02))})
        return tune(space, dataset, trials=trials, objective="cvr_log_loss", out=tmp_path / "study")

    study(mine(monkeypatch, "1"), 1)
    assert len(study(mine(monkeypatch, "1"), 2).trials) == 2
    with pytest.raises(RunError, match=r"the study.*same code.*of_a_user:Mine\.loss has changed"):
        study(mine(monkeypatch, "2"), 3)
    record = json.loads((tmp_path / "study" / "study.json").read_text())
    del record["code"]
    (tmp_path / "study" / "study.json").write_text(json.dumps(record))
    assert len(study(mine(monkeypatch, "2"), 3).trials) == 3, "a study of an earlier version recorded no code"


def test_parameters_of_a_method_are_in_its_spec_not_in_its_code(dataset, once):
    @dataclass(frozen=True)
    class Weighted(ESMM):
        weight: float = 1.0

    keys = Keys.of(dataset, once, [Weighted(weight=1.0), Weighted(weight=2.0)])
    one, other = (keys.key(Weighted(weight=weight), 0, {}) for weight in (1.0, 2.0))
    assert {name for name in one if one[name] != other[name]} == {"method"}
