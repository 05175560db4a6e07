"""manifest.json of a dataset: the schema of the log, counts, audit, and the size and SHA-256 of every file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field as Value

from ..config import Model
from ..core.labels import Counts
from ..errors import DataError, no_folder
from ..features.history.store import FOLDER, STATE
from ..logs.audit import Quarantine
from ..records import FileRecord, Record, whole

MANIFEST = "manifest.json"
_FORMAT = "entirespace-dataset"
# Names of columns of the Parquet files:
LINK = "link."  # LINK + side table: int32, the impression's row in it
WEIGHTS = ".weights"  # field + WEIGHTS: list<float32>, the weights of the field's ids
TIME = "time."  # TIME + stage: int64, when it was reached
SEGMENT = "segment."  # SEGMENT + column: int32, the code of its value, for `evaluate --by`
ROLE = "role."  # ROLE + "user", "item" or "segment.X": staged codes of a column that is no field
HISTORY = "history."  # HISTORY + key: int32 or list<int32>, the codes of its ids among those of the history
EARLIER = "earlier."  # EARLIER + key + "." + i: what was counted of its ids strictly earlier, for training impressions
ORDER, USER, WEIGHT, FOLD = "order", "user", "weight", "fold"
TRUTH = ("true_pctr", "true_pcvr")


class PartRecord(Model):
    """One part: its files and its counts for Table 1 of the paper."""

    files: tuple[str, ...]
    impressions: int
    reached: dict[str, int]
    """Stage -> how many impressions reached it."""
    users: int
    """How many different users the part has."""
    items: int
    """How many different items the part has."""

    @property
    def counts(self) -> Counts:
        """Impressions, and how many of them reached each stage."""
        return Counts(self.impressions, self.reached)


class FieldRecord(Model):
    """One field of this dataset."""

    name: str
    table: str
    kind: str
    size: int
    """Its embedding rows, row 0 ("unseen") included."""
    single: bool
    """Every row of its table has exactly one id."""
    weighted: bool
    """Its ids have weights, and some weight is not 1."""
    ids: dict[str, int]
    """Part -> how many ids its impressions have, an id of a side table counted once per impression."""
    unseen: dict[str, int]
    """Part -> how many of these ids are in row 0."""


class TableRecord(Model):
    """One side table."""

    file: str
    rows: int
    """Its rows, the empty row 0 included."""


class Roles(Model):
    """The fields or columns that identify a user and an item."""

    user: str | None
    item: str | None


class Manifest(Record):
    """The content of manifest.json. It is written last, so a folder with a manifest is complete."""

    FORMAT: ClassVar = f"{_FORMAT}/2"

    made_by: str
    """The version of this package that wrote the dataset."""
    digest: str
    """SHA-256 of the content, by which caches of runs identify the dataset."""
    layout: str
    """The digest of the layout that the dataset is encoded with."""
    log: dict[str, Any] = Value(alias="schema")
    """The schema of the log, as it was read."""
    stages: tuple[str, ...]
    """The stages of the funnel, in order."""
    labelled: bool
    """False: outcomes were not known yet, and the columns of all stages are false."""
    roles: Roles
    truth: bool
    """The log gives the true probabilities: impressions have the columns true_pctr and true_pcvr."""
    timed: tuple[str, ...]
    """The stages whose time is known."""
    weighted: bool
    """Impressions have weights."""
    observed_until: int | None
    """The time up to which outcomes are known; None: not recorded."""
    users: int
    """How many different users all parts have together."""
    items: int
    """How many different items all parts have together."""
    parts: dict[str, PartRecord]
    fields: tuple[FieldRecord, ...]
    tables: dict[str, TableRecord]
    vocabularies: dict[str, str]
    """Field -> its file in vocabulary/."""
    segments: dict[str, str] = Value(default_factory=dict)
    """Column to measure by that is no field -> the file of its values, by code."""
    audit: dict[str, Any]
    files: dict[str, FileRecord]
    """All files but those of the history, which `update` replaces; history/state.json names them."""

    @staticmethod
    def open(folder: Path) -> Manifest:
        """Read the manifest of a dataset, and compare the size of every file.

        Raises: DataError if there is no manifest, or a file is missing or damaged.
        """
        if not folder.is_dir():
            do = "`entirespace prepare` makes one"
            raise DataError("a dataset must be a folder", no_folder(folder), where=str(folder), do=do)
        manifest = Manifest.read(
            folder / MANIFEST,
            DataError,
            what="a dataset",
            must=_MUST,
            missing="there is none: this folder is not a dataset, or `prepare` did not finish; "
            "`entirespace prepare` makes a dataset from raw logs",
            do="Prepare the dataset again",
        )
        for name, about in manifest.files.items():
            try:
                size = (folder / name).stat().st_size
            except OSError as error:
                raise damaged(folder / name, "the file is missing") from error
            if size != about.bytes:
                raise damaged(folder / name, f"it has {size:,} bytes, not {about.bytes:,}")
        return manifest


def own_files(folder: Path) -> dict[str, str]:
    """The files of a folder that belong to the dataset in it, of this or an earlier format, with their SHA-256.

    They are those that its manifest names, also if they are missing or damaged. Without a whole manifest there is none.
    """
    content = whole(folder / MANIFEST, _FORMAT)
    if content is None:
        return {}
    files = {name: about["sha256"] for name, about in content["files"].items()}
    empty = dict.fromkeys(("impressions/", "tables/", "vocabulary/", Quarantine.NAME), "")  # maybe empty or absent
    history = {f"{FOLDER}/{path.name}": "" for path in (folder / FOLDER).glob("*") if _of_a_history(path.name)}
    return {**empty, **files, **history, MANIFEST: content["checksum"]}


def _of_a_history(name: str) -> bool:
    return f"{FOLDER}/{name}" == STATE or name.endswith(".parquet")


def damaged(path: Path, what: str) -> DataError:
    """The error for a damaged file; `what` is what is wrong with it."""
    return DataError(_MUST, what, where=str(path), do="Prepare the dataset again")


_MUST = "a dataset's files must be as `prepare` wrote them"
