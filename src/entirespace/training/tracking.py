"""Trackers, which send the scalars of a training to TensorBoard or MLflow in addition to metrics.jsonl.

The trainer only knows the interface `Tracker`; the caller of `fit` chooses the tracker.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from ..dotted import flat
from ..errors import ConfigError
from ..records import save_json
from ..runs.record import MLFLOW, TENSORBOARD

Kind = Literal["tensorboard", "mlflow", "none"]


class Tracker(Protocol):
    """Receives the scalars that metrics.jsonl receives: `start` once, `log` often, `close` once. One run at a time."""

    def start(self, run: Path, about: Mapping[str, Any], step: int) -> None:
        """Training begins after `step`: 0, or the step of the checkpoint that is resumed; later steps are repeated.

        Args:
            run: the run's folder.
            about: method, seed, config and dataset, as in run.json.
        """
        ...

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        """Scalars after a step, by name."""
        ...

    def close(self, finished: bool) -> None:
        """Training has ended; `finished` is False if it was interrupted."""
        ...


class Untracked:
    """No tracker: scalars go to metrics.jsonl only. The library's default."""

    def start(self, run: Path, about: Mapping[str, Any], step: int) -> None: ...
    def log(self, step: int, scalars: Mapping[str, float]) -> None: ...
    def close(self, finished: bool) -> None: ...


UNTRACKED = Untracked()


class TensorBoard:
    """Event files in RUN/tensorboard; `tensorboard --logdir RUN` shows them, with those of RUN/reference.

    Raises: ConfigError if tensorboard is not installed.
    """

    def __init__(self) -> None:
        _needed("tensorboard", "pip install 'entirespace[track]'")

    def start(self, run: Path, about: Mapping[str, Any], step: int) -> None:
        writer = import_module("torch.utils.tensorboard").SummaryWriter
        folder = run / TENSORBOARD
        if step == 0:  # remove the files of a training that stopped before its first checkpoint
            for path in folder.glob("events.out.tfevents.*"):
                path.unlink()
        # TensorBoard ignores the values of older files at purge_step and later steps
        self._writer = writer(folder, purge_step=step + 1 if step else None)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # so that they are kept if the process is killed

    def close(self, finished: bool) -> None:
        self._writer.close()


class MLflow:
    """An MLflow run with the configuration and the scalars, at MLFLOW_TRACKING_URI under MLFLOW_EXPERIMENT_NAME.

    A resumed training continues the same MLflow run, whose id is in RUN/mlflow.json. MLflow cannot delete scalars, so
    the steps that are trained again have two values each.

    Raises: ConfigError if mlflow is not installed.
    """

    def __init__(self) -> None:
        _needed("mlflow", "pip install mlflow")
        self._mlflow: Any = import_module("mlflow")

    def start(self, run: Path, about: Mapping[str, Any], step: int) -> None:
        record = run / MLFLOW
        if step and record.exists():
            self._mlflow.start_run(run_id=json.loads(record.read_bytes())["run_id"], nested=True)
            return
        active = self._mlflow.start_run(run_name=run.name, nested=True)
        save_json(record, {"run_id": active.info.run_id})
        named = {key: about[key] for key in ("method", "seed", "dataset")}
        self._mlflow.log_params(flat({**named, **about["config"]}))

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self._mlflow.log_metrics(dict(scalars), step=step)

    def close(self, finished: bool) -> None:
        self._mlflow.end_run("FINISHED" if finished else "KILLED")


def tracker(kind: Kind | None = None) -> Tracker:
    """The tracker of this kind. By default TensorBoard if it is installed, otherwise none.

    Raises: ConfigError if the package that it needs is not installed.
    """
    if kind is None:
        kind = "tensorboard" if find_spec("tensorboard") else "none"
    return {"tensorboard": TensorBoard, "mlflow": MLflow, "none": Untracked}[kind]()


def _needed(package: str, command: str) -> None:
    if find_spec(package) is None:
        raise ConfigError(f"--track {package} needs the package {package}", "it is not installed", do=command)
