"""Fit an ensemble: one method from several seeds, as one run whose log odds are the mean of its members'."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ..config import Config
from ..dataset.dataset import Dataset, Part
from ..errors import ConfigError, RunError
from ..features.layout import link_layout
from ..methods._method import Method
from ..network import Ensemble, Network
from ..presets import preset
from ..progress import SILENT, Progress
from ..runs.calibration import save_calibration
from ..runs.kept import Kept
from ..runs.outputs import Outputs
from ..runs.record import (
    CALIBRATION,
    MEMBERS,
    REFERENCE,
    RUN,
    Member,
    Position,
    RunRecord,
    digest_of,
    link_run,
    member_folder,
    weights_sha256,
)
from ..runs.run import Run
from .calibrating import calibrated
from .fit import fit
from .folder import alone, refuse_foreign
from .needs import REFERENCE_PCTR, check_start
from .precision import configurations, resolved
from .tracking import UNTRACKED, Tracker


def fit_ensemble(
    method: Method,
    train: Part,
    *,
    seeds: int = 3,
    seed: int = 0,
    config: Config | None = None,
    validation: Part | None = None,
    reference: Run | None = None,
    given: Mapping[str, Run] | None = None,
    start: Run | None = None,
    out: Path | str | None = None,
    tracker: Tracker = UNTRACKED,
    progress: Progress = SILENT,
) -> Run:
    """Fit a method from several seeds, as one run. Its members share the reference CTR network.

    Each member is what `fit` gives for its seed. The log odds of each head are averaged over members; the method then
    reads its probabilities from the averages. The pCTCVR of ESMM is the product of the averaged pCTR and pCVR.

    Args:
        seeds: the number of members. Their seeds are `seed`, `seed` + 1, ...
        start: a run that all members start from; or an ensemble of as many members, each of which starts from one.
        out: the folder of the ensemble. If training was interrupted, finished members are kept, and the next one is
            resumed.
        config, validation, reference, given, tracker, progress: as for `fit`.

    Raises: as `fit`. ConfigError if there are no seeds, if the method is solved exactly and depends on no seed, or if
    `start` is an ensemble of another size. RunError if the folder holds a single run, an ensemble of another size, or
    members that were trained with another reference.
    """
    starts = starts_of(method, seeds, start)
    keep = None
    if out is None:
        keep = tempfile.TemporaryDirectory(prefix="entirespace-run-")
        out = keep.name
    out, given = Path(out), given or {}
    read = (run for run in (start, reference, *given.values()) if run is not None)
    refuse_foreign(out, [train.dataset.path, *(run.folder for run in read)], members=True)
    reference = given.get(REFERENCE_PCTR, reference)
    folders = [member_folder(out, number) for number in range(seeds)]
    config = resolved(config or preset("best", train.dataset), configurations(folders))
    with alone(out):
        _refuse_others(out, seeds, reference)
        members = [
            fit(
                method,
                train,
                seed=seed + number,
                config=config,
                validation=validation,
                reference=reference,
                given=given,
                start=starts[number],
                out=folders[number],
                tracker=tracker,
                progress=progress,
            )
            for number in range(seeds)
        ]
        if not (out / RUN).exists():
            _finish(out, members, train.dataset, validation, start)
    return replace(Run.open(out, reference=reference, method=method), keep=keep)


def starts_of(method: Method, seeds: int, start: Run | None) -> list[Run | None]:
    """The run that each member of an ensemble starts from. Raises: ConfigError as `fit_ensemble`."""
    if seeds < 1:
        raise ConfigError("an ensemble must have at least one member", f"seeds = {seeds}")
    if seeds > 1 and method.baseline is not None:
        must = f"{method.label} must be trained from one seed, because it is solved exactly and depends on no seed"
        raise ConfigError(must, f"{seeds} seeds", do="Leave out the number of seeds")
    if start is None or not start.members:
        check_start(method, start)
        return [start] * seeds
    if len(start.members) != seeds:
        must = "an ensemble must start from a single run, or from an ensemble of as many members"
        came = f"{len(start.members)} members, not {seeds}"
        raise ConfigError(must, came, where=str(start.folder), do=f"Train from {len(start.members)} seeds")
    return list(start.members)


def _refuse_others(out: Path, seeds: int, reference: Run | None) -> None:
    """Raises: RunError if a folder holds a single run, an ensemble of another size, or members of another reference."""
    must, do = f"the run in this folder must be an ensemble of {seeds}", "Choose another folder, or delete this one"
    if (out / RUN).exists():
        record = RunRecord.open(out)
        if len(record.members) == seeds:
            return
        came = f"it is an ensemble of {len(record.members)}" if record.members else "it is a single run"
        raise RunError(must, came, where=str(out), do=do)
    wanted = {member_folder(out, number) for number in range(seeds)}
    if more := sorted(path for path in (out / MEMBERS).glob("*") if path not in wanted):
        raise RunError(must, f"an ensemble with {MEMBERS}/{more[-1].name} was begun in it", where=str(out), do=do)
    shared = None if reference is None else weights_sha256(reference.folder)
    for folder in sorted(wanted):
        if (folder / RUN).exists() and RunRecord.open(folder).reference != shared:
            must = "the members of an ensemble must have the same reference CTR network"
            do = "Give the one that training began with, or choose another folder"
            raise RunError(must, f"{MEMBERS}/{folder.name} was trained with another one", where=str(out), do=do)


def _finish(out: Path, members: Sequence[Run], data: Dataset, validation: Part | None, start: Run | None) -> None:
    """Write the files of the ensemble; run.json last: where it is, the others are complete."""
    first, records = members[0], [RunRecord.finished(member.folder) for member in members]
    (out / CALIBRATION).unlink(missing_ok=True)
    link_layout(first.folder, out)
    if first.reference is not None:
        link_run(first.reference.folder, out / REFERENCE)
    kept = [one for member in members if (one := member.kept_validation) is not None]
    mean = Kept.average(kept, first.method.divides, out) if kept else None
    weights = [weights_sha256(member.folder) for member in members]
    record = records[0].model_copy(
        update={
            "start": None if start is None else weights_sha256(start.folder),
            "position": Position(
                stage=records[0].position.stage,
                passes=sum(record.position.passes for record in records) / len(members),
                finished=True,
            ).record(),
            "weights": None,
            "validation": mean.save(out) if mean else None,
            "members": tuple(
                Member(seed=member.seed, sha256=sha256) for member, sha256 in zip(members, weights, strict=True)
            ),
            "warnings": tuple(dict.fromkeys(warning for record in records for warning in record.warnings)),
        }
    )
    part = mean or (data.validation if validation is None else validation)
    found = calibrated(first.config, data, part, lambda: _scores(members, part))
    if found is not None:
        save_calibration(out, found, [digest_of(record), *([record.reference] if record.reference else [])])
    record.write(out / RUN)


def _scores(members: Sequence[Run], part: Part | Kept) -> Outputs:
    """The uncalibrated scores of the validation part by the ensemble, which has no record yet."""
    if isinstance(part, Kept):
        return part.outputs
    first = members[0]
    network = Ensemble([member.network for member in members if isinstance(member.network, Network)])
    own = replace(first, network=network.eval(), members=tuple(members)).own_scores(part)
    return own if first.reference is None else own.beside(first.reference.own_pctr(part))
