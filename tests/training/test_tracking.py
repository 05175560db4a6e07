"""A tracker receives the scalars of metrics.jsonl, at the same steps, also from a resumed training."""

from __future__ import annotations

import importlib.machinery
import json
import sys
import time
import types
from pathlib import Path

import pytest

import entirespace.training.tracking as tracking
from entirespace.errors import ConfigError
from entirespace.methods import BASE, CTR
from entirespace.training import fit
from entirespace.training.tracking import tracker

trainer_module = sys.modules["entirespace.training.trainer"]


def told(run: Path) -> dict[str, list[tuple[int, float]]]:
    """metrics.jsonl: name -> (step, value)."""
    scalars: dict[str, list[tuple[int, float]]] = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        values = json.loads(line)
        step = values.pop("step")
        for name, value in values.items():
            if value is not None:
                scalars.setdefault(name, []).append((step, float(value)))
    return scalars


def shown(run: Path) -> dict[str, list[tuple[int, float]]]:
    """What TensorBoard shows: name -> (step, value)."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run / "tensorboard"))
    events.Reload()
    return {name: [(e.step, e.value) for e in events.Scalars(name)] for name in events.Tags()["scalars"]}


class Killed(Exception):
    pass


@pytest.fixture
def talkative(monkeypatch, quick):
    """A configuration that saves and logs after each step and validates twice per epoch."""
    monkeypatch.setattr(trainer_module, "LOG_SECONDS", 0.0)
    training = quick.training.model_copy(update={"checks_per_epoch": 2, "checkpoint_minutes": 1e-9})
    return quick.model_copy(update={"training": training})


def killed(monkeypatch, after, *arguments, **named) -> None:
    """Train until step `after`, then fail."""
    step, steps = trainer_module.Trainer._step, 0

    def dying(self, batch):
        nonlocal steps
        steps += 1
        if steps > after:
            raise Killed
        return step(self, batch)

    with monkeypatch.context() as patch:
        patch.setattr(trainer_module.Trainer, "_step", dying)
        with pytest.raises(Killed):
            fit(*arguments, **named)


def test_tensorboard_shows_the_json_lines(dataset, quick, tmp_path):
    pytest.importorskip("tensorboard")
    fit(CTR(), dataset.train, config=quick, out=tmp_path / "run", tracker=tracker())
    lines, events = told(tmp_path / "run"), shown(tmp_path / "run")
    assert {"loss", "validation_loss", "best", "epoch"} <= lines.keys()
    assert events.keys() == lines.keys()
    for name, values in lines.items():
        assert events[name] == [(step, pytest.approx(value)) for step, value in values], name


def next_second() -> None:
    """Wait for the next second: TensorBoard orders event files by name, which begins with the second."""
    time.sleep(1.0 - time.time() % 1.0 + 0.01)


@pytest.mark.parametrize("after", [0, 3, 9])
def test_a_resumed_run_shows_each_step_once(after, dataset, talkative, tmp_path, monkeypatch):
    pytest.importorskip("tensorboard")
    run = tmp_path / "run"
    same = {"config": talkative, "out": run, "tracker": tracker("tensorboard")}
    killed(monkeypatch, after, CTR(), dataset.train, **same)
    # what was told after the last checkpoint is told again: here, as if the checkpoint were older
    if after:
        about = json.loads((run / "run.json").read_text())
        for line in (about["position"]["step"] + 1, about["position"]["step"] + 2):
            with (run / "metrics.jsonl").open("a") as file:
                file.write(json.dumps({"step": line, "epoch": 7, "loss": 99.0}) + "\n")
        next_second()
        late = tracking.TensorBoard()
        late.start(run, {}, about["position"]["step"])
        late.log(about["position"]["step"] + 2, {"loss": 99.0})
        late.close(False)
    next_second()
    fit(CTR(), dataset.train, **same)
    lines, events = told(run), shown(run)
    assert max(value for _, value in events["loss"]) < 99
    for name, values in lines.items():
        assert events[name] == [(step, pytest.approx(value)) for step, value in values], name


class FakeMLflow(types.ModuleType):
    """The part of mlflow that the tracker uses."""

    def __init__(self) -> None:
        super().__init__("mlflow")
        self.__spec__ = importlib.machinery.ModuleSpec("mlflow", None)
        self.runs: dict[str, dict] = {}
        self.active = ""

    def start_run(self, run_id=None, run_name=None, nested=False):
        self.active = run_id or f"id{len(self.runs)}"
        self.runs.setdefault(self.active, {"name": run_name, "params": {}, "metrics": []})
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=self.active))

    def log_params(self, params):
        self.runs[self.active]["params"] |= params

    def log_metrics(self, metrics, step):
        self.runs[self.active]["metrics"] += [(name, step, value) for name, value in metrics.items()]

    def end_run(self, status):
        self.runs[self.active]["status"] = status


def test_mlflow_gets_parameters_and_scalars_also_of_a_resumed_training(dataset, talkative, tmp_path, monkeypatch):
    mlflow = FakeMLflow()
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    same = {"seed": 4, "config": talkative, "out": tmp_path / "run", "tracker": tracker("mlflow")}
    killed(monkeypatch, 3, BASE(), dataset.train, **same)
    assert mlflow.runs["id0"]["status"] == "KILLED"
    fit(BASE(), dataset.train, **same)
    assert mlflow.runs.keys() == {"id0"}
    found = mlflow.runs["id0"]
    assert found["name"] == "run"
    assert found["status"] == "FINISHED"
    assert found["params"]["method.name"] == "BASE"
    assert found["params"]["seed"] == 4
    assert found["params"]["training.batch_size"] == 256
    assert found["params"]["dataset.digest"] == dataset.digest
    lines = {(name, step, value) for name, values in told(tmp_path / "run").items() for step, value in values}
    assert lines <= set(found["metrics"])


def test_a_tracker_that_is_not_installed_is_an_error_only_if_it_is_named(monkeypatch):
    monkeypatch.setattr(tracking, "find_spec", lambda name: None)
    assert isinstance(tracker(), tracking.Untracked)
    with pytest.raises(ConfigError, match=r"needs the package tensorboard.*pip install 'entirespace\[track\]'"):
        tracker("tensorboard")
    with pytest.raises(ConfigError, match=r"needs the package mlflow.*pip install mlflow"):
        tracker("mlflow")


def test_none_writes_no_tracker_files(dataset, quick, tmp_path):
    fit(BASE(), dataset.train, config=quick, out=tmp_path / "run", tracker=tracker("none"))
    there = {p.name for p in (tmp_path / "run").iterdir()}
    assert there == {"run.json", "layout.json", "vocabulary", "metrics.jsonl", "weights.safetensors"}
