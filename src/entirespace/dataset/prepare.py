"""Raw logs -> a dataset: read once, stage, assign parts, fit encoders on the training part, write.

    reader (logs) --codes--> stage --> leave out exact copies --> split in time --> count in the training part
                               `-----> embedding rows --> Parquet, by part --> manifest

Memory holds the distinct raw ids and one block of rows, never all impressions. The dataset gets its final name only
when it is complete.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ..config import nearest
from ..core.rows import IMPRESSIONS
from ..errors import ConfigError, DataError, no_folder
from ..features.layout import Encoders
from ..folders import foreign, listed
from ..kernels.threads import ahead
from ..logs.aliccp.source import AliCCPSource
from ..logs.audit import Audit, Quarantine, values_of
from ..logs.find import local_paths
from ..logs.schema import Schema, SplitSchema, read_schema
from ..logs.source import OnOrphan, Source
from ..logs.star import LogSource
from ..places import Rule, whole_folder
from ..progress import SILENT, Progress
from .assign import assign
from .copies import complete
from .dataset import Dataset
from .fit import fit
from .history import StagedHistory
from .jobs import Jobs
from .manifest import MANIFEST, own_files
from .stage import Stage
from .writer import Writer

ALICCP = "aliccp"
PartName = Literal["train", "validation", "test"]
OUT = Rule("the dataset's folder must be new or empty", DataError)


def prepare(
    schema: Schema | Path | str,
    raw: Path | str,
    out: Path | str,
    *,
    encoders: Dataset | Path | str | None = None,
    grow: bool = False,
    part: PartName | None = None,
    labelled: bool = True,
    on_orphan: OnOrphan = "keep",
    max_bad: float = 0.001,
    min_count: int | None = None,
    validation: float | None = None,
    history: Sequence[str] = (),
    allow_outside: bool = False,
    force: bool = False,
    progress: Progress = SILENT,
) -> Dataset:
    """Prepare a dataset from a raw log.

    Args:
        schema: a schema file, a `Schema`, the name of a recipe of this package, or "aliccp".
        raw: the folder of the raw log.
        out: the dataset's folder. It must be new or empty; with `force` it may also hold a dataset, and nothing else.
        encoders: a dataset or a run whose layout is used instead of fitting a new one, to prepare a later log for the
            same model.
        grow: with `encoders`: add ids of the training part that its vocabularies do not have.
        part: put all impressions into this part instead of splitting them.
        labelled: False if outcomes are not known yet; the log then needs no columns for them.
        on_orphan: what to do with a conversion without a click: keep the row with conversion = 0 (keep), leave the
            row out (drop), or raise an error (error).
        max_bad: the largest share of a table's rows, from 0 to 1, that may be bad.
        min_count: "aliccp" only: an id in fewer training impressions shares row 0 of its field. Default: 1.
        validation: "aliccp" only: the last share of the training file, for validation. Default: 0.1.
        history: "aliccp" only: the fields by whose ids clicks and conversions are counted, or ("all",). Default: none.
        allow_outside: a schema may name files of this machine that are not in `raw`.
        force: replace a dataset that is at `out` already.

    Raises: ConfigError for an invalid schema or option, DataError for a log that cannot be read. After an error `out`
    is as it was before.
    """
    if grow and encoders is None:
        raise ConfigError("grow can only be set with encoders", "no encoders are given")
    if grow and part not in (None, "train"):
        raise ConfigError("grow needs training impressions", f"all impressions are in the {part} part")
    known, folder = None, encoders.path if isinstance(encoders, Dataset) else encoders
    if folder is not None:
        known = encoders.encoders if isinstance(encoders, Dataset) else Encoders.open(Path(folder))
    log = open_log(
        schema,
        Path(raw),
        encoders=known,
        part=part,
        labelled=labelled,
        on_orphan=on_orphan,
        min_count=min_count,
        validation=validation,
        history=history,
        allow_outside=allow_outside,
        progress=progress,
    )
    return prepare_source(
        log.source,
        Path(out),
        split=log.split,
        schema=log.about,
        known=known,
        grow=grow,
        on_orphan=on_orphan,
        max_bad=max_bad,
        force=force,
        reads=(*log.reads, *(() if folder is None else (Path(folder),))),
        progress=progress,
    )


@dataclass(frozen=True)
class Log:
    """A raw log that is to be read."""

    source: Callable[[Audit, Quarantine], Source]
    """Makes the reader, given the audit and quarantine that it must use."""
    split: SplitSchema
    about: dict[str, Any]
    """Its description, by which `open_log` opens a later log of the same form."""
    reads: tuple[Path, ...]
    """The files and folders that it reads."""


def open_log(
    schema: Path | str | Schema | Mapping[str, Any],
    raw: Path,
    *,
    encoders: Encoders | None = None,
    part: PartName | None = None,
    labelled: bool = True,
    on_orphan: OnOrphan = "keep",
    min_count: int | None = None,
    validation: float | None = None,
    history: Sequence[str] = (),
    allow_outside: bool = False,
    progress: Progress = SILENT,
) -> Log:
    """Open a raw log. Arguments that are not listed are as in `prepare`.

    Args:
        schema: as in `prepare`; or the description of an earlier log.
        encoders: of an earlier layout.

    Raises: ConfigError for an invalid schema or option.
    """
    reads, about = [raw], dict[str, Any]()
    if isinstance(schema, Mapping):
        about = {name: value for name, value in schema.items() if name != "split"}
        if ALICCP in about:
            schema, min_count, history = ALICCP, about[ALICCP]["min_count"], about[ALICCP].get("history", ())
        else:
            schema = Schema.model_validate(about)
    options: dict[str, Any] = {"on_orphan": on_orphan, "labelled": labelled, "encoders": encoders, "progress": progress}
    if schema == ALICCP:
        share = 0.1 if validation is None else validation
        split = _aliccp_split(raw, share)
        least = 1 if min_count is None else min_count
        if least < 1:
            raise ConfigError("min_count must be 1 or more", f"{least}")
        about = {ALICCP: {"min_count": least, **({"history": list(history)} if history else {})}}
        options |= {"min_count": least, "history": history}
        reads += local_paths(("*.csv",), raw)

        def source(audit: Audit, quarantine: Quarantine) -> Source:
            return AliCCPSource(raw, audit, quarantine, **options)
    else:
        if not (min_count is None and validation is None and not history):
            must = "min_count, validation and history can only be set for aliccp"
            raise ConfigError(must, "a schema file sets them itself")
        if not isinstance(schema, Schema):
            reads.append(schema_file(schema))
        log = schema if isinstance(schema, Schema) else read_schema(reads[-1])
        reads += local_paths(log.files(), raw)
        split = log.split
        about = log.model_dump(mode="json", by_alias=True, exclude_none=True)

        def source(audit: Audit, quarantine: Quarantine) -> Source:
            return LogSource(log, raw, audit, quarantine, split=split, allow_outside=allow_outside, **options)

    if part is not None:
        split = SplitSchema(by="all", part=part)
    about["split"] = split.model_dump(mode="json", exclude_none=True)
    return Log(source, split, about, tuple(reads))


def _aliccp_split(raw: Path, validation: float) -> SplitSchema:
    """Train and test as in the file names; if there is no test pair, the training pair is split in half."""
    if not raw.is_dir():
        raise ConfigError("RAW must be the folder of the raw log", no_folder(raw), where=str(raw))
    if (raw / "sample_skeleton_test.csv").exists():
        return SplitSchema(by="file", train=("*_train.csv",), test=("*_test.csv",), validation=validation)
    return SplitSchema(validation=validation)


def schema_file(name: Path | str) -> Path:
    """The path of a schema file, or of the recipe of this name. Raises: ConfigError if there is neither."""
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():  # not exists(): a folder may have the name of a recipe
        return path
    recipes = {Path(str(entry)).stem: Path(str(entry)) for entry in files("entirespace.recipes").iterdir()}
    recipes = {stem: file for stem, file in recipes.items() if file.suffix == ".toml"}
    if str(name) not in recipes:
        must = "SCHEMA must be a schema file, the name of a recipe, or aliccp"
        came = f"'{name}'" + (" is a folder" if path.is_dir() else "")
        raise ConfigError(must, came, do=nearest(str(name), [*recipes, ALICCP]))
    return recipes[str(name)]


def prepare_source(
    open_source: Callable[[Audit, Quarantine], Source],
    out: Path,
    *,
    split: SplitSchema,
    schema: dict[str, Any],
    known: Encoders | None = None,
    grow: bool = False,
    on_orphan: OnOrphan = "keep",
    max_bad: float = 0.001,
    force: bool = False,
    reads: Sequence[Path] = (),
    progress: Progress = SILENT,
) -> Dataset:
    """Prepare a dataset from any reader; see `logs.source.Source`. Arguments that are not listed are as in `prepare`.

    Args:
        open_source: makes the reader, given the audit and quarantine that it must use.
        split: how to split impressions into parts.
        schema: a description of the log, stored in the manifest.
        known: encoders of an earlier layout, to use instead of fitting new ones.
        reads: files and folders that are read, which must not be in `out`.

    Raises: DataError as `prepare`.
    """
    replaceable = partial(_replaceable, out=out, force=force)
    with whole_folder(out, OUT, last=MANIFEST, own=replaceable, inputs=reads) as work:
        audit = Audit(max_bad)
        (work / "stage").mkdir()
        with Quarantine(work, audit) as quarantine:
            source = open_source(audit, quarantine)
            stages = staged(source, work / "stage", audit)
        impressions = stages[IMPRESSIONS]
        rows = sum(stages[f.table].rows for f in source.fields)
        progress.start("fitting vocabularies", 2 * impressions.rows + rows, "rows")
        parts = complete(impressions, source, on_orphan, work / "stage", audit)
        assign(impressions, split, parts, work / "stage", progress)
        jobs = Jobs(progress)
        fitted = fit(source, stages, parts, jobs, known, grow)
        history, earlier = None, None if known is None else known.history
        if source.history is not None:
            history = StagedHistory(source, stages, parts, work / "stage", earlier, schema)
            fitted = fitted.with_history(history, known)
            if history.repeated:
                audit.warn(
                    f"{history.repeated:,} impressions are counted in the history of the encoders already, so their "
                    "rates know their own outcomes. Evaluate on other impressions."
                )
        progress.done(f"{fitted.encoders.rows:,} rows of the embedding")
        Writer(source, stages, parts, fitted, work, jobs, history).write(schema, audit, progress)
        shutil.rmtree(work / "stage")
    for warning in audit.warnings:
        progress.warn(warning)
    return Dataset(out)


def _replaceable(folder: Path, out: Path, force: bool) -> dict[str, str]:
    """The files in `folder`, which may be replaced. Raises: DataError if there are others, or any without `force`."""
    own = own_files(folder)
    strange = foreign(folder, own.__contains__)
    if strange and own:
        OUT.refuse(out, f"beside a dataset it holds {listed(strange)}", "Move them elsewhere, or name another folder")
    if strange:
        OUT.refuse(out, f"it is not a dataset, and holds {listed(strange)}")
    if own and not force:
        OUT.refuse(out, "it holds a dataset", "--force replaces it")
    return own


def staged(source: Source, folder: Path, audit: Audit) -> dict[str, Stage]:
    """Read the log and write its codes to disk: table -> stage, the impressions first.

    Raises: DataError if no impression can be used, or most do not find their row in a side table.
    """
    names = dict.fromkeys([IMPRESSIONS, *(f.table for f in source.fields)])
    stages = {
        name: Stage(folder / f"{name}.arrow", tuple(f for f in source.fields if f.table == name)) for name in names
    }
    for table, block in source.side_tables():
        if table in stages:
            stages[table].write(block)
    for block in ahead(source.impressions()):
        if block.rows:
            stages[IMPRESSIONS].write(block)
    for stage in stages.values():
        stage.close()
    if not stages[IMPRESSIONS].rows:
        counted = audit.as_dict()["tables"].get(IMPRESSIONS, {"read": 0, "reasons": {}})
        why = [
            f"{r['rows']:,} {slug} ({r['sentence']}{'; ' if 'values' in r else ''}{values_of(r)})"
            for slug, r in counted["reasons"].items()
        ]
        came = f"none of {counted['read']:,} rows can be used" + (f": {'; '.join(why)}" if why else "")
        raise DataError("a log must hold impressions", came)
    for join in source.joins.values():
        join.check(audit)
    return stages
