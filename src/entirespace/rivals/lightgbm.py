"""LightGBM on the columns of a dataset: what a careful user of boosted trees would do with the same log.

    pCTR   trees on all impressions against y
    pCVR   trees on the clicked impressions against z
    pCTCVR = pCTR x pCVR

Each of the two has its own setting of a fixed grid and its own number of trees, those with the lowest log loss on the
validation part. Then both are trained again on training and validation part, with as many trees.
"""

from __future__ import annotations

import importlib.metadata
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, NamedTuple, TypeAlias

import numpy as np

from ..config import Config, Model
from ..core.labels import Labels
from ..dataset.dataset import Dataset, Part
from ..errors import ConfigError, DataError
from ..kernels.threads import threads
from ..progress import SILENT, Progress
from ..runs.outputs import Outputs
from ..training.needs import DO, memory
from .columns import CATEGORIES, COUNTED, Columns

Booster: TypeAlias = Any
"""lightgbm.Booster; the package is an extra, and has no types."""

HEADS = ("ctr", "cvr")
GRID = tuple((leaves, least) for leaves in (4, 8, 31) for least in (20, 200))
"""The settings: the leaves of a tree, and the impressions of a leaf, at least."""
FIXED: Mapping[str, Any] = {
    "objective": "binary",
    "learning_rate": 0.1,
    "feature_fraction": 0.5,
    "bagging_fraction": 0.8,
    "bagging_freq": 1,
    "lambda_l2": 1.0,
    "max_bin": 255,
    "feature_pre_filter": False,  # one binned matrix serves all settings
    "deterministic": True,  # the same trees with any number of threads
    "force_col_wise": True,
    "verbosity": -1,
}
MOST, PATIENCE = 1000, 30  # trees; without a lower log loss
CELL = 6  # bytes of memory for each number of the matrix: float32, and its bin while trees grow


class Chosen(Model):
    """What was chosen for one head on the validation part."""

    leaves: int
    least: int
    trees: int
    log_loss: float


@dataclass(frozen=True)
class LightGBM:
    """Boosted trees of the package lightgbm; not in the paper, and no method: only `compare` trains it.

    >>> LightGBM().label
    'LightGBM'
    """

    name: ClassVar[str] = "LightGBM"
    kind: ClassVar[Literal["rival"]] = "rival"

    @property
    def label(self) -> str:
        """The name in tables."""
        return self.name

    def spec(self) -> dict[str, Any]:
        """The rival as plain values for JSON."""
        return {"name": self.name}

    def settings(self) -> dict[str, Any]:
        """What its scores depend on beside the data, the seed and the configuration."""
        grid = [list(setting) for setting in GRID]
        most = {"trees": MOST, "patience": PATIENCE, "categories": CATEGORIES, "counted": COUNTED}
        return {"lightgbm": importlib.metadata.version("lightgbm"), "grid": grid, **FIXED, **most}

    def check(self, data: Dataset, config: Config) -> None:
        """Check that it can be trained on a dataset.

        Raises: ConfigError if the package lightgbm is missing, if the matrix does not fit into memory, and as
        `Columns.of`. DataError if the training or the validation part lacks a label.
        """
        _package()
        for part in (data.train.sampled(config.training.share), data.validation):
            part.must_be_labelled()
            clicks, conversions = part.counts["click"], part.counts["conversion"]
            of = {
                "clicked": clicks,
                "un-clicked": len(part) - clicks,
                "converted": conversions,
                "clicked but not converted": clicks - conversions,
            }
            for which, count in of.items():
                if not count:
                    must = f"for {self.name} the {part.name} part must hold impressions that are {which}"
                    raise DataError(must, f"none of its {part.counts}", where=str(data.path), do=DO)
        needed, there = self.bytes(data, config), memory()
        if needed > there:
            columns = Columns.of(data, config.network).count
            rows = len(data.train.sampled(config.training.share)) + len(data.validation)
            raise ConfigError(
                f"the matrix of {self.name} must fit into memory",
                f"{rows:,} impressions x {columns:,} columns need {needed / 2**30:,.3g} GiB, "
                f"and there are {there / 2**30:,.3g} GiB",
                where=str(data.path),
                do="Lower training.share, leave fields out with network.exclude, or do not compare it",
            )

    def bytes(self, data: Dataset, config: Config) -> int:
        """About how much memory training needs, in bytes."""
        share = config.training.share
        rows = sum(len(p) + p.counts["click"] for p in (data.train.sampled(share), data.validation))
        return CELL * Columns.of(data, config.network).count * rows

    def warnings(self, data: Dataset, config: Config) -> tuple[str, ...]:
        """What a reader must know before comparing with it: plain sentences."""
        left = Columns.of(data, config.network).left
        if not left:
            return ()
        return (
            f"{self.name} does not read the ids of {', '.join(left)}: more than {CATEGORIES:,} ids, and no rates of "
            "them. With a [history] in the schema it would read their rates.",
        )

    def fit(self, data: Dataset, *, seed: int = 0, config: Config | None = None, progress: Progress = SILENT) -> Trees:
        """Choose settings on the validation part, and train on training and validation part. Raises: as `check`."""
        config = config or Config()
        self.check(data, config)
        share, columns = config.training.share, Columns.of(data, config.network)
        train, validation = data.train.sampled(share), data.validation
        x = columns.matrix(train, validation)
        labels = Labels.concatenate([*train.labels(), *validation.labels()])
        known = (
            len(train),
            len(train) + int(share * len(validation)),
            len(x),
        )  # of a share of a log, the same share of both
        options = {**FIXED, "seed": seed, "num_threads": config.training.threads or threads()}
        fitted: dict[str, _Fitted] = {}
        progress.start(f"training {self.name}", len(HEADS) * (len(GRID) + 1), "settings")
        for head in HEADS:
            fitted[head] = _fit(_Samples.of(x, labels, head), known, columns.categories, options, progress)
        progress.done()
        return Trees(columns, validation, fitted)


Rival: TypeAlias = LightGBM
"""The rivals. With a second one: LightGBM | Other."""


@dataclass(frozen=True, eq=False)
class Trees:
    """LightGBM, trained for both heads."""

    columns: Columns
    validation: Part
    fitted: Mapping[str, _Fitted]

    @property
    def version(self) -> str:
        """The version of the package lightgbm."""
        return importlib.metadata.version("lightgbm")

    @property
    def chosen(self) -> dict[str, Chosen]:
        """What was chosen, by head."""
        return {head: fitted.chosen for head, fitted in self.fitted.items()}

    def outputs(self, part: Part) -> Outputs:
        """The scores of the trees that were trained again on training and validation part. Shape: float32 (N,) each."""
        return self._outputs(part, {head: fitted.final for head, fitted in self.fitted.items()})

    def validation_scores(self) -> Outputs:
        """The scores of the trees that had not seen the validation part, for that part. Shape: float32 (N,) each."""
        return self._outputs(self.validation, {head: fitted.selection for head, fitted in self.fitted.items()})

    def _outputs(self, part: Part, boosters: Mapping[str, Booster]) -> Outputs:
        pieces: dict[str, list[np.ndarray]] = {head: [np.zeros(0, np.float32)] for head in boosters}
        for x in self.columns.chunks(part):
            for head, booster in boosters.items():
                pieces[head].append(np.asarray(booster.predict(x), np.float32))
        return Outputs({f"p{head}": np.concatenate(found) for head, found in pieces.items()})


@dataclass(frozen=True, eq=False)
class _Fitted:
    """The trees of one head."""

    chosen: Chosen
    selection: Booster  # of the training part
    final: Booster  # of training and validation part


class _Samples(NamedTuple):
    """The impressions that a head learns from: of the training part, then of the validation part."""

    rows: np.ndarray  # int64 (n,): their places in the matrix, ascending
    x: np.ndarray  # float32 (n, C)
    y: np.ndarray  # bool (n,)
    weight: np.ndarray | None  # float32 (n,)

    @staticmethod
    def of(x: np.ndarray, labels: Labels, head: str) -> _Samples:
        """All impressions with the click for "ctr"; the clicked ones with the conversion for "cvr"."""
        if head == "ctr":
            return _Samples(np.arange(len(x)), x, labels.click, labels.weight)
        clicked = np.flatnonzero(labels.click)
        weight = None if labels.weight is None else labels.weight[clicked]
        return _Samples(clicked, x[clicked], labels.conversion[clicked], weight)

    def between(self, start: int, stop: int) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
        """x, y and weight of the samples whose places in the matrix are in a range."""
        low, high = np.searchsorted(self.rows, (start, stop))
        return self.x[low:high], self.y[low:high], None if self.weight is None else self.weight[low:high]


def _fit(
    samples: _Samples,
    known: tuple[int, int, int],
    categories: list[int],
    options: Mapping[str, Any],
    progress: Progress,
) -> _Fitted:
    """Choose on the validation part, then train again.

    Args:
        known: how many impressions the training part has; are trained on in the end; and there are.
    """
    package, params = _package(), dict(options)

    def binned(start: int, stop: int, like: Any = None) -> Any:
        x, y, weight = samples.between(start, stop)
        return package.Dataset(
            x, y, weight=weight, reference=like, categorical_feature=categories, params=params, free_raw_data=True
        )

    train = binned(0, known[0])
    validation = binned(known[0], known[2], train)
    best: tuple[Chosen, Booster] | None = None
    for leaves, least in GRID:
        stop = package.early_stopping(PATIENCE, verbose=False)
        booster = package.train(
            {**params, "num_leaves": leaves, "min_data_in_leaf": least},
            train,
            MOST,
            valid_sets=[validation],
            callbacks=[stop],
        )
        loss = float(booster.best_score["valid_0"]["binary_logloss"])
        if best is None or loss < best[0].log_loss:
            best = Chosen(leaves=leaves, least=least, trees=booster.best_iteration, log_loss=loss), booster
        progress.advance(1)
    assert best is not None
    chosen, selection = best
    final = package.train(
        {**params, "num_leaves": chosen.leaves, "min_data_in_leaf": chosen.least}, binned(0, known[1]), chosen.trees
    )
    progress.advance(1)
    return _Fitted(chosen, selection, final)


def _package() -> Any:
    """The package lightgbm. Raises: ConfigError if it is not installed."""
    try:
        import lightgbm
    except ImportError as error:
        raise ConfigError(
            "to compare with LightGBM, the package lightgbm must be installed",
            str(error),
            do="pip install 'entirespace[rivals]'",
        ) from error
    return lightgbm
