"""Raw logs -> a dataset: read once, stage, assign parts, fit encoders on the training part, write.

    reader (logs) --codes--> stage --> leave out exact copies --> split in time --> count in the training part
                               `-----> rows of the embedding --> Parquet, by part --> manifest

Memory holds the distinct raw ids and one block of rows, never the impressions. The folder appears under its
name only when it is whole.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from ..config import nearest
from ..core.rows import IMPRESSIONS
from ..errors import ConfigError, DataError
from ..features.layout import Encoders
from ..kernels.threads import ahead
from ..logs.aliccp.source import AliCCPSource
from ..logs.audit import Audit, Quarantine
from ..logs.schema import Schema, SplitSchema, read_schema
from ..logs.source import OnOrphan, Source
from ..logs.star import LogSource
from ..progress import SILENT, Progress
from .aside import folder_beside
from .assign import assign
from .dataset import Dataset
from .fit import fit
from .jobs import Jobs
from .manifest import MANIFEST
from .stage import Stage
from .writer import Writer

ALICCP = "aliccp"
PartName = Literal["train", "validation", "test"]


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
    force: bool = False,
    progress: Progress = SILENT,
) -> Dataset:
    """Prepare a dataset from a raw log.

    Args:
        schema: a schema file, its content, the name of a recipe that comes with the package, or "aliccp".
        raw: the folder of the raw log.
        out: the dataset's folder; it must not exist, be empty, or hold a dataset to replace if `force`.
        encoders: a dataset or a run whose layout is used instead of fitting one: a later log for the same model.
        grow: with `encoders`: append the ids to its vocabularies that are new in the training part.
        part: put all rows into this part instead of splitting them.
        labelled: False: outcomes are not known yet; the log needs no columns for them.
        on_orphan: a conversion without a click becomes no conversion (keep), its row is left out (drop), or it ends
            the reading (error).
        max_bad: the share of a table's rows that may be put aside as bad.
        min_count: "aliccp" only: an id in fewer training impressions shares its field's row 0.
        validation: "aliccp" only: the last share of the training file that validates (default 0.1).

    Raises: ConfigError for a schema or an option that is not valid. DataError for a log that cannot be read; then
    nothing is left at `out`, and what was there before still is.
    """
    raw, out = Path(raw), Path(out)
    if grow and encoders is None:
        raise ConfigError("grow goes with encoders", "there are none to grow")
    if grow and part not in (None, "train"):
        raise ConfigError("grow appends ids of training impressions", f"all impressions are in the {part} part")
    known = None
    if encoders is not None:
        known = encoders.encoders if isinstance(encoders, Dataset) else Encoders.open(Path(encoders))
    options: dict[str, Any] = {"on_orphan": on_orphan, "labelled": labelled, "encoders": known, "progress": progress}
    if schema == ALICCP:
        share = 0.1 if validation is None else validation
        split = _aliccp_split(raw, share)
        about: dict[str, Any] = {"aliccp": {"min_count": min_count or 1}}
        options["min_count"] = min_count or 1

        def source(audit: Audit, quarantine: Quarantine) -> Source:
            return AliCCPSource(raw, audit, quarantine, **options)
    else:
        if not (min_count is None and validation is None):
            raise ConfigError("min_count and validation go with aliccp", "a schema file says them itself")
        log = schema if isinstance(schema, Schema) else read_schema(schema_file(schema))
        split = log.split
        about = log.model_dump(mode="json", by_alias=True, exclude_none=True)

        def source(audit: Audit, quarantine: Quarantine) -> Source:
            return LogSource(log, raw, audit, quarantine, split=split, **options)

    if part is not None:
        split = SplitSchema(by="all", part=part)
    about["split"] = split.model_dump(mode="json", exclude_none=True)
    return prepare_source(
        source, out, split=split, schema=about, known=known, grow=grow, max_bad=max_bad, force=force, progress=progress
    )


def _aliccp_split(raw: Path, validation: float) -> SplitSchema:
    """The files' own split; the training pair alone is split in half."""
    if not raw.is_dir():
        raise ConfigError("RAW must be the folder with the raw log", "no such folder", where=str(raw))
    if (raw / "sample_skeleton_test.csv").exists():
        return SplitSchema(by="file", train=("*_train.csv",), test=("*_test.csv",), validation=validation)
    return SplitSchema(validation=validation)


def schema_file(name: Path | str) -> Path:
    """A file, or the recipe of that name that comes with the package. Raises: ConfigError where there is neither."""
    path = Path(name)
    if path.suffix == ".toml" or path.is_file():  # a folder of that name may be the dataset of an earlier run
        return path
    recipes = {Path(str(entry)).stem: Path(str(entry)) for entry in files("entirespace.recipes").iterdir()}
    recipes = {stem: file for stem, file in recipes.items() if file.suffix == ".toml"}
    if str(name) not in recipes:
        must = "SCHEMA must be a schema file, a recipe's name or the word aliccp"
        raise ConfigError(must, f"'{name}'", do=nearest(str(name), [*recipes, ALICCP]))
    return recipes[str(name)]


def prepare_source(
    open_source: Callable[[Audit, Quarantine], Source],
    out: Path,
    *,
    split: SplitSchema,
    schema: dict[str, Any],
    known: Encoders | None = None,
    grow: bool = False,
    max_bad: float = 0.001,
    force: bool = False,
    progress: Progress = SILENT,
) -> Dataset:
    """Prepare a dataset from a reader of one's own.

    Args:
        open_source: opens the reader over an audit and a quarantine.
        split: who trains, validates and tests.
        schema: what the manifest says of the log's schema.
        known: encoders of an earlier layout. Its other arguments are those of `prepare`.

    Raises: DataError as `prepare`.
    """
    _check_place(out, force)
    out.parent.mkdir(parents=True, exist_ok=True)
    with folder_beside(out) as work:
        audit = Audit(max_bad)
        (work / "stage").mkdir()
        with Quarantine(work, audit) as quarantine:
            source = open_source(audit, quarantine)
            stages = _staged(source, work / "stage", audit)
        impressions = stages[IMPRESSIONS]
        rows = sum(stages[f.table].rows for f in source.fields)
        progress.start("fitting vocabularies", 2 * impressions.rows + rows, "rows")
        stages_there = tuple(stage for stage in source.stages if stage in impressions.columns)
        parts = assign(impressions, stages_there, split, work / "stage", audit, progress)
        jobs = Jobs(progress)
        fitted = fit(source, stages, parts, jobs, known, grow)
        progress.done(f"{sum(e.size for e in fitted.encoders.encoders.values()):,} rows of the embedding")
        Writer(source, stages, parts, fitted, work, jobs).write(schema, audit, progress)
        shutil.rmtree(work / "stage")
        work.chmod(0o755)
        old = work.with_suffix(".old")
        if out.exists():  # aside first: at no time is half a dataset under its name
            out.rename(old)
        work.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    return Dataset(out)


def _check_place(out: Path, force: bool) -> None:
    """Raises: DataError where something else than a dataset to replace stands at `out`."""
    must = "the dataset's folder must be new or empty"
    for parent in out.parents:
        if parent.exists() and not parent.is_dir():
            raise DataError(must, f"{parent} is a file", where=str(out), do="Name another")
    if out.exists() and not out.is_dir():
        raise DataError(must, "it is a file", where=str(out), do="Name another")
    if not out.exists() or not any(out.iterdir()):
        return
    if not (out / MANIFEST).exists():
        here = ", ".join(sorted(p.name for p in out.iterdir())[:5])
        raise DataError(must, f"it is no dataset, and holds {here}", where=str(out), do="Name another")
    if not force:
        raise DataError(must, "it holds a dataset", where=str(out), do="--force replaces it")


def _staged(source: Source, folder: Path, audit: Audit) -> dict[str, Stage]:
    """The log as codes on disk: each table under its name, the impressions first.

    Raises: DataError where no impression can be used.
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
        why = [f"{r['rows']:,} are {slug} ({r['sentence']})" for slug, r in counted["reasons"].items()]
        came = f"of {counted['read']:,} rows not one can be used" + (f": {'; '.join(why)}" if why else "")
        raise DataError("a log must hold impressions", came)
    return stages
