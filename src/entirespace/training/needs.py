"""What a method needs of its training part, and what a reader must know of a dataset before trusting a run on it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping

from ..config import Config
from ..dataset.dataset import Dataset, Part
from ..dataset.leaks import leaks
from ..dataset.moved import moved_rates
from ..errors import ConfigError, DataError
from ..features.chosen import ChosenFields
from ..methods._method import Method
from ..runs.build import fields_of
from ..runs.run import Run
from .calibrating import reads_validation
from .watch import watched

REFERENCE_PCTR = "reference_pctr"  # the name in `Method.reads` of the reference CTR network's pCTR
DO = "Check the labels of the schema and the split with `entirespace describe`, or use a longer log"
LARGEST = 5  # fields that are named


def check_training(method: Method, train: Part, config: Config, validation: Part | None = None) -> None:
    """All checks of a method on a training part.

    Args:
        validation: absent: the validation part of the dataset.

    Raises: as `check_validation`, `check_labels`, `check_history` and `check_memory`.
    """
    check_validation(method, train.dataset.validation if validation is None else validation, config)
    check_labels(method, train)
    check_history(method, train.dataset, config)
    check_memory(method, train.dataset, config)


def check_validation(method: Method, validation: Part, config: Config) -> None:
    """Check that the validation part has what training.refit, training.calibrate and training.watch need.

    Raises: DataError if it has not. ConfigError for a refit or calibrators with another part than validation.
    """
    if config.training.refit and not len(validation):
        raise DataError(
            "training.refit needs a validation part, which says how long to train",
            "it is empty",
            where=str(validation.dataset.path),
            do="Prepare the dataset with a [split] validation above 0, or set training.refit to false",
        )
    if reads_validation(config) and validation.name != "validation":
        name, off = ("refit", "false") if config.training.refit else ("calibrate", "none")
        raise ConfigError(
            f"training.{name} must be given the validation part of a dataset",
            f"the {validation.name} part was given",
            where=str(validation.dataset.path),
            do=f"Leave out validation=, or set training.{name} to {off}",
        )
    if watched(method, config) == "cvr" and len(validation) and not validation.counts["click"]:
        raise DataError(
            'to watch pCVR (training.watch = "cvr"), the validation part must hold clicked impressions',
            f"none of its {validation.counts}",
            where=str(validation.dataset.path),
            do="Prepare the dataset with a larger [split] validation, or set training.watch to ctcvr or own",
        )


def check_labels(method: Method, train: Part) -> None:
    """Check that the training part has both outcomes of everything that the method predicts.

    pCTR is learned from clicked and un-clicked impressions; pCVR from clicked impressions with and without conversion.

    Raises: DataError with the counts if one of them does not occur, or if outcomes are not known.
    """
    train.must_be_labelled()
    clicks, conversions = train.counts["click"], train.counts["conversion"]
    needed: list[tuple[str, str, int]] = []
    if "pctr" in method.predicts:
        needed += [("pCTR", "clicked", clicks), ("pCTR", "un-clicked", len(train) - clicks)]
    if method.predicts & {"pcvr", "pctcvr"}:
        needed += [("pCVR", "converted", conversions), ("pCVR", "clicked but not converted", clicks - conversions)]
    for what, which, count in needed:
        if not count:
            share = "" if train.share == 1 else f" ({100 * train.share:g} % of it, by training.share)"
            raise DataError(
                f"to learn {what} with {method.label}, the training part{share} must hold impressions that are {which}",
                f"none of its {train.counts}",
                where=str(train.dataset.path),
                do=DO,
            )


def check_history(method: Method, data: Dataset, config: Config) -> None:
    """Check that the dataset has the rates that the method's network reads.

    Raises: ConfigError if it has none.
    """
    if data.layout.rates:
        return
    needs = method.label if method.baseline is not None else 'network.offset = "rates"'
    if method.baseline is not None or config.network.offset == "rates":
        raise ConfigError(
            f"{needs} needs a dataset with rates of the history",
            "the dataset has none",
            where=str(data.path),
            do="Add a table [history] to the schema, and prepare the log again",
        )


def check_start(method: Method, start: Run | None) -> None:
    """Check that training starts from a single run, and that a method that is solved exactly starts from none.

    Raises: ConfigError if not.
    """
    if start is not None and method.baseline is not None:
        must = f"{method.label} must get no run to start from, because it is solved exactly"
        raise ConfigError(must, str(start.folder), do="Leave out the run")
    if start is not None and start.members:
        must, came = "the run to start from must be a single run", f"it is an ensemble of {len(start.members)}"
        do = "Start from one of its members, or train an ensemble of as many members, each of which starts from one"
        raise ConfigError(must, came, where=str(start.folder), do=do)


def check_memory(method: Method, data: Dataset, config: Config) -> None:
    """Check that the embedding tables of a method, with Adam's two moments, fit into the memory of this machine.

    Raises: ConfigError with the rows of the largest fields. ConfigError as `ChosenFields.of`.
    """
    chosen = fields_of(method, data.layout, config, str(data.path))
    size, tables = config.network.embedding_size, 1 if method.share_embedding else len(method.heads)
    needed, there = 3 * 4 * size * tables * chosen.rows, memory()
    if needed <= there:
        return
    sizes = sorted(zip(chosen.names, chosen.sizes, strict=True), key=lambda pair: -pair[1])
    others = " and others" if len(sizes) > LARGEST else ""
    fields = ", ".join(f"{name} {rows:,}" for name, rows in sizes[:LARGEST]) + others
    of = f"{tables} x {chosen.rows:,} rows x {size} numbers"
    raise ConfigError(
        "the embedding and its optimizer must fit into memory",
        f"{method.label} needs {needed / 2**30:,.3g} GiB ({of}), and there are {there / 2**30:,.3g} GiB. "
        f"Rows of the largest fields: {fields}",
        where=str(data.path),
        do="Lower hash or raise min_count of these fields in the schema, leave some out with network.exclude, or lower "
        "network.embedding_size",
    )


def given_runs(method: Method, dataset: Dataset, reference: Run | None, given: Mapping[str, Run]) -> dict[str, Run]:
    """The runs that the method reads, by name. Raises: ConfigError if they are not those that it reads."""
    for name in given:
        if name not in method.reads:
            do = f"Leave it out: it reads {', '.join(method.reads) or 'none'}"
            raise ConfigError(f"every run in `given` must be read by {method.label}", f"'{name}'", do=do)
    if reference is not None and REFERENCE_PCTR in method.reads:
        given = {REFERENCE_PCTR: reference, **given}
    for name in method.reads:
        if name not in given:
            what = "the reference CTR network" if name == REFERENCE_PCTR else name
            how = "Train one with reference_ctr(...) and give it to fit as reference="
            do = how if name == REFERENCE_PCTR else f"Give it to fit as given={{'{name}': ...}}"
            raise ConfigError(f"{method.label} learns from {what}", "none was given", do=do)
    for name, run in given.items():
        run.impressions(dataset)
        if "pctr" not in run.method.predicts:
            came = f"a run of {run.method.label}, which does not"
            raise ConfigError(f"the run given as {name} must predict pCTR", came, do="Give the run of a CTR network")
    return dict(given)


def memory() -> int:
    """The memory of this machine, in bytes."""
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def warnings_of(data: Dataset, config: Config, validation: Part | None = None) -> tuple[str, ...]:
    """What is suspicious in a dataset to be trained on with this configuration: plain sentences, each a warning.

    Args:
        validation: the part that calibrators are fitted on. Absent: the validation part of the dataset.
    """
    found = _warnings(data, ChosenFields.of(data.layout.fields, config.network, str(data.path)))
    if config.training.calibrate == "none":
        return tuple(found)
    part = data.validation if validation is None else validation
    return (*found, *moved_rates(data.train.counts, part.counts))


def _warnings(data: Dataset, chosen: ChosenFields) -> Iterator[str]:
    for leak in leaks(data):
        if leak.field in chosen.names:
            yield str(leak)
    if len(data.validation):
        for stage, reached in data.validation.counts.reached.items():
            if not reached:
                yield f"The validation part has no {stage}: when training should stop cannot be told by {stage}s."
    yield from data.manifest.audit.get("warnings", ())
