"""Where a run's scalars go beside metrics.jsonl: TensorBoard, MLflow, or nowhere.

The trainer knows `Tracker` and no service; whoever calls `fit` puts one on from outside.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal, Protocol

from ..dotted import flat
from ..errors import ConfigError
from ..records import save_json

Kind = Literal["tensorboard", "mlflow", "none"]
TENSORBOARD, MLFLOW = "tensorboard", "mlflow.json"  # in the run's folder


class Tracker(Protocol):
    """Told what metrics.jsonl is told: `start`, then `log` often, then `close`. One run at a time."""

    def start(self, run: Path, about: Mapping[str, Any], step: int) -> None:
        """Training begins after `step`: 0, or where it goes on; what came later is trained again.

        run: the folder. about: method, seed, config and dataset, as in run.json.
        """
        ...

    def log(self, step: int, scalars: Mapping[str, float]) -> None: ...
    def close(self, finished: bool) -> None:
        """Training is over: finished, or broken off."""
        ...


class Untracked:
    """Nothing but metrics.jsonl: the library's default."""

    def start(self, run: Path, about: Mapping[str, Any], step: int) -> None: ...
    def log(self, step: int, scalars: Mapping[str, float]) -> None: ...
    def close(self, finished: bool) -> None: ...


UNTRACKED = Untracked()


class TensorBoard:
    """Event files in RUN/tensorboard: `tensorboard --logdir RUN` shows them, those of RUN/reference beside them.

    Raises: ConfigError where tensorboard is not installed.
    """

    def __init__(self) -> None:
        _needed("tensorboard", "pip install 'entirespace[track]'")

    def start(self, run: Path, about: Mapping[str, Any], step: int) -> None:
        writer = import_module("torch.utils.tensorboard").SummaryWriter
        folder = run / TENSORBOARD
        if step == 0:
            shutil.rmtree(folder, ignore_errors=True)  # of a training that stopped before its first checkpoint
        # readers drop what other files of the folder say of purge_step and later
        self._writer = writer(folder, purge_step=step + 1 if step else None)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()  # a killed run keeps them

    def close(self, finished: bool) -> None:
        self._writer.close()


class MLflow:
    """A run under MLFLOW_TRACKING_URI and MLFLOW_EXPERIMENT_NAME: the flattened configuration, and the scalars.

    A resumed training goes on in the same run, whose id RUN/mlflow.json keeps. MLflow forgets nothing: a step that is
    trained again has its scalars twice there.
    Raises: ConfigError where mlflow is not installed.
    """

    def __init__(self) -> None:
        _needed("mlflow", "pip install mlflow")
        self._mlflow: Any = import_module("mlflow")

    def start(self, run: Path, about: Mapping[str, Any], step: int) -> None:
        record = run / MLFLOW
        if step and record.exists():
            self._mlflow.start_run(run_id=json.loads(record.read_text())["run_id"], nested=True)
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
    """The tracker of that name; absent: TensorBoard where it is installed. Raises: ConfigError where it is not."""
    if kind is None:
        kind = "tensorboard" if find_spec("tensorboard") else "none"
    return {"tensorboard": TensorBoard, "mlflow": MLflow, "none": Untracked}[kind]()


def _needed(package: str, command: str) -> None:
    if find_spec(package) is None:
        raise ConfigError(f"--track {package} needs the package {package}", "it is not installed", do=command)
