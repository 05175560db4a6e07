"""The calibrators of a run: fitted on the validation part, and stored in RUN/calibration.json.

    {format, kind, negatives_kept, fitted_on, choices, moved, weights, calibrators: {pctr, pctr_reference, pcvr},
     checksum}

pCTR is calibrated on all impressions against y, then corrected for the sampling of the log. pCVR is calibrated on
clicked impressions against z: what is not clicked is not observed, so there a calibrator of pCVR may help or harm. The
pCTR of the reference CTR network has a separate calibrator: other methods may use
that network too, so its own run stays unchanged. With the kind "auto", `choices` says of each probability what was
chosen and why (`core.choice`). `moved` are warnings: a base rate of the validation part is not that of the training
part. `weights` are the digests of the weights that the calibrators were fitted to; calibrators of other weights are
refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, get_args

import numpy as np

from ..config import digest, nearest
from ..core.calibrators import ENOUGH, Calibrator, FittedKind, Kind, Sampling, fit_calibrator, from_dict
from ..core.choice import NAMES, Choice, choose, folds
from ..core.labels import Counts
from ..dataset.dataset import Part
from ..dataset.moved import moved_rates
from ..errors import ConfigError, RunError
from ..records import read_json, save_json
from .kept import Kept
from .outputs import Outputs
from .record import CALIBRATION

FORMAT = "entirespace-calibration/1"
SPOKEN = {"pctr": "pCTR", "pctr_reference": "pCTR of the reference CTR network", "pcvr": "pCVR"}


@dataclass(frozen=True)
class Calibration:
    """The calibrators of a run's probabilities, and the correction for a log that left out negatives."""

    kind: Kind = "none"
    negatives_kept: float = 1.0  # r: the share of un-clicked impressions that the log holds
    calibrators: Mapping[str, Calibrator] = field(default_factory=dict)  # by "pctr", "pctr_reference" and "pcvr"
    fitted_on: Mapping[str, Any] = field(default_factory=dict)  # "part", "impressions", "clicks", "conversions"
    choices: Mapping[str, Choice] = field(default_factory=dict)  # with the kind "auto": by the names of `calibrators`
    moved: tuple[str, ...] = ()  # warnings on base rates that moved between the training and the validation part

    def of(self, name: str, p: np.ndarray) -> np.ndarray:
        """Calibrate the probability "pctr", "pctr_reference" or "pcvr". Shape: float32 (N,) -> float32 (N,)."""
        calibrator = self.calibrators.get(name)
        p = p if calibrator is None else calibrator(p)
        sampled = name in ("pctr", "pctr_reference") and self.negatives_kept != 1
        return Sampling(self.negatives_kept)(p) if sampled else p

    def apply(self, outputs: Outputs) -> Outputs:
        """The same outputs, calibrated. A calibrated pCTCVR is calibrated pCTR x calibrated pCVR (Eq. 1)."""
        own, pctr = outputs.own, outputs.reference_pctr
        if self.negatives_kept != 1 or self.calibrators.keys() & {"pctr", "pcvr"}:
            own = {name: self.of(name, p) for name, p in own.items() if name != "pctcvr"}
        elif not self.calibrators:
            return outputs
        return Outputs(own, None if pctr is None else self.of("pctr_reference", pctr))

    def as_dict(self) -> dict[str, Any]:
        """Plain values for calibration.json."""
        return {
            "kind": self.kind,
            "negatives_kept": self.negatives_kept,
            "fitted_on": dict(self.fitted_on),
            "calibrators": {name: c.as_dict() for name, c in self.calibrators.items()},
            **self.why(),
        }

    def why(self) -> dict[str, Any]:
        """Plain values for JSON: `choices` and `moved`, those that there are."""
        choices = {name: choice.as_dict() for name, choice in self.choices.items()}
        return {**({"choices": choices} if choices else {}), **({"moved": list(self.moved)} if self.moved else {})}

    @staticmethod
    def of_dict(about: Mapping[str, Any]) -> Calibration:
        """The calibration that `as_dict` described."""
        calibrators = {name: from_dict(one) for name, one in about["calibrators"].items()}
        choices = {name: Choice(**one) for name, one in about.get("choices", {}).items()}
        moved = tuple(about.get("moved", ()))
        return Calibration(about["kind"], about["negatives_kept"], calibrators, about["fitted_on"], choices, moved)

    def without(self, name: str) -> Calibration:
        """This calibration without the calibrator of one probability."""
        calibrators, choices = ({k: v for k, v in of.items() if k != name} for of in (self.calibrators, self.choices))
        return replace(self, calibrators=calibrators, choices=choices)

    def sentences(self) -> list[str]:
        """With the kind "auto": of each probability, what was chosen and why."""
        return [self._sentence(name) for name in self.choices]

    def _sentence(self, name: str) -> str:
        choice, calibrator = self.choices[name], self.calibrators.get(name)
        what = "not calibrated" if calibrator is None else f"calibrated by {calibrator}"
        clicks = ""
        if name == "pcvr" and calibrator is not None:
            clicks = ", on clicked impressions; for un-clicked ones clicks cannot tell whether it helps"
        return f"{SPOKEN[name]}: {what}, because {choice}{clicks}."

    def __str__(self) -> str:
        how = "not calibrated"
        if self.kind == "auto":
            used = [f"{SPOKEN[name]} by {NAMES[c.kind]}" for name, c in self.calibrators.items()]
            how = "calibrated where it helps, chosen on the {part} part ({impressions:,} impressions): {used}".format(
                used=", ".join(used) or "nothing", **self.fitted_on
            )
        elif self.kind != "none":
            how = "calibrated by {}, fitted on the {part} part ({impressions:,} impressions)".format(
                NAMES[self.kind], **self.fitted_on
            )
        if self.negatives_kept != 1:
            how += f"; corrected for a log that kept {self.negatives_kept:g} of un-clicked impressions"
        return how


def calibrate(
    current: Calibration,
    outputs: Callable[[], Outputs],
    validation: Part | Kept,
    kind: Kind | None = None,
    negatives_kept: float | None = None,
    trained_on: Counts | None = None,
) -> Calibration:
    """Fit calibrators on the validation part.

    Args:
        current: what the run has.
        outputs: gives what the run and its reference CTR network, if it has one, predict for the part, uncalibrated.
        validation: the part; or its outcomes, as a run with training.refit keeps them.
        kind: None keeps the calibrators that the run has. "auto" fits those that lower the log loss over folds of the
            part (`core.choice`).
        negatives_kept: None keeps the rate that the run has.
        trained_on: the counts of the training part, whose base rates are compared with those of the validation part.

    Raises: ConfigError for a part other than validation, an unknown kind, or a rate outside (0, 1]. RunError if the
    validation part has too few positives or negatives to fit on, or if a slope would be negative; not with "auto".
    """
    if negatives_kept is None:
        negatives_kept = current.negatives_kept
    if kind is not None and kind not in get_args(Kind):
        raise ConfigError("the kind of calibrator must be known", f"{kind!r}", do=nearest(kind, get_args(Kind)))
    if not 0 < negatives_kept <= 1:
        raise ConfigError("the share of un-clicked impressions kept must be in (0, 1]", f"{negatives_kept}")
    if validation.name != "validation":
        raise ConfigError("calibrators must be fitted on the validation part", f"the {validation.name} part was given")
    if kind is None:
        return replace(current, negatives_kept=negatives_kept)
    if kind == "none":
        return Calibration("none", negatives_kept)
    counts = {
        "impressions": len(validation),
        "clicks": validation.counts["click"],
        "conversions": validation.counts["conversion"],
    }
    fitted_on = {"part": validation.name, **counts}
    moved = () if trained_on is None else moved_rates(trained_on, validation.counts)
    predicted, where = outputs(), validation.where if isinstance(validation, Kept) else str(validation.dataset.path)
    y, z = validation.column("click"), validation.column("conversion")
    if kind == "auto":
        return replace(choose_all(predicted, y, z), negatives_kept=negatives_kept, fitted_on=fitted_on, moved=moved)
    fitted = _fitted(predicted, y, z)
    found: dict[str, Calibrator] = {}
    for name, (p, label) in fitted.items():
        _must_be_enough(kind, name, label, where)
        try:
            found[name] = fit_calibrator(kind, p, label)
        except ValueError as error:
            raise RunError(
                f"the predictions for the validation part must be fit to calibrate {_short(name)}",
                str(error),
                where=where,
                do="Use the run uncalibrated, choose another calibrator, or train it better",
            ) from error
    return Calibration(kind, negatives_kept, found, fitted_on, moved=moved)


def choose_all(outputs: Outputs, click: np.ndarray, conversion: np.ndarray) -> Calibration:
    """The calibrators that lower the log loss over folds, of each probability.

    Args:
        outputs: what was predicted for the validation part, uncalibrated.
        click, conversion: its outcomes. Shape: bool (N,).
    """
    found: dict[str, Calibrator] = {}
    choices: dict[str, Choice] = {}
    fold = folds(len(click))
    for name, (p, label) in _fitted(outputs, click, conversion).items():
        calibrator, choices[name] = choose(p, label, fold[click] if name == "pcvr" else fold)
        if calibrator is not None:
            found[name] = calibrator
    return Calibration("auto", calibrators=found, choices=choices)


def _fitted(outputs: Outputs, click: np.ndarray, conversion: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The predictions and the labels that each calibrator is fitted on; those of pCVR on clicked impressions."""
    fitted: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    if "pctr" in outputs.own:
        fitted["pctr"] = outputs.own["pctr"], click
    if outputs.reference_pctr is not None:
        fitted["pctr_reference"] = outputs.reference_pctr, click
    if outputs.pcvr is not None:
        fitted["pcvr"] = outputs.pcvr[click], conversion[click]
    return fitted


def _must_be_enough(kind: FittedKind, name: str, label: np.ndarray, where: str) -> None:
    """Raises: RunError if there are too few positives or negatives for this kind of calibrator."""
    positives = int(np.count_nonzero(label))
    negatives = len(label) - positives
    if min(positives, negatives) >= ENOUGH[kind]:
        return
    fewer = [other for other, least in ENOUGH.items() if min(positives, negatives) >= least]
    instead = f"use --calibrate {fewer[-1]}, for which they are enough" if fewer else "use the run uncalibrated"
    least = f"{ENOUGH[kind]} positives and {ENOUGH[kind]} negatives"
    raise RunError(
        f"to calibrate {_short(name)} by {NAMES[kind]}, the validation part must hold at least {least}",
        f"{positives:,} positives and {negatives:,} negatives",
        where=where,
        do=f"Prepare the dataset with a larger [split] validation, or {instead}",
    )


def _short(name: str) -> str:
    return name.removesuffix("_reference")


def save_calibration(folder: Path, calibration: Calibration, weights: list[str]) -> None:
    """Write a calibration into the run's folder.

    Args:
        weights: the SHA-256 of the run's weights, and of its reference's weights if it has one.
    """
    content = {"format": FORMAT, "weights": weights, **calibration.as_dict()}
    save_json(folder / CALIBRATION, {**content, "checksum": digest(content)})


def load_calibration(folder: Path, weights: list[str]) -> Calibration:
    """The calibration stored in a run's folder, or `Calibration()` if the folder has none.

    Args:
        weights: as in `save_calibration`.

    A calibrator of the reference CTR network is left out if the run is used without one. Without a calibrator of it,
    any may be used.

    Raises: RunError if the file is damaged, or if the calibrators were fitted to other weights.
    """
    path = folder / CALIBRATION
    if not path.exists():
        return Calibration()
    do = "Delete the file, then run `entirespace evaluate RUN DATASET --calibrate KIND --save` again"
    try:
        content = dict(read_json(path, RunError, must=f"{CALIBRATION} must be as it was written", do=do))
        checksum = content.pop("checksum")
    except (ValueError, KeyError, TypeError) as error:
        raise RunError(f"{CALIBRATION} must be as it was written", str(error), where=str(path), do=do) from error
    if content.get("format") != FORMAT or checksum != digest(content):
        raise RunError(f"{CALIBRATION} must be as it was written", "its checksum differs", where=str(path), do=do)
    (own, *reference), (fitted, *fitted_reference) = weights, content["weights"]
    if own != fitted or (reference and fitted_reference and reference != fitted_reference):
        must = "calibrators must be used with the weights that they were fitted to"
        raise RunError(must, "the run has other weights", where=str(path), do=do)
    found = Calibration.of_dict(content)
    return found if reference else found.without("pctr_reference")
