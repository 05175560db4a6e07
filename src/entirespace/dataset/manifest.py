"""manifest.json of a dataset: what the log was, what became of it, and what every file must be."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from pydantic import Field as Value

from ..config import Model
from ..core.labels import Counts
from ..errors import DataError
from ..records import FileRecord, Record

MANIFEST = "manifest.json"
LINK = "link."  # + side table: int32, the impression's row in it
WEIGHTS = ".weights"  # field + this: list<float32>, beside the field's ids
TIME = "time."  # + stage: int64, when it was reached
ORDER, USER, WEIGHT = "order", "user", "weight"
TRUTH = ("true_pctr", "true_pcvr")


class PartRecord(Model):
    """One part: its files and its line of the paper's Table 1."""

    files: tuple[str, ...]
    impressions: int
    reached: dict[str, int]
    """Stage -> the impressions that reached it."""
    users: int
    items: int

    @property
    def counts(self) -> Counts:
        return Counts(self.impressions, self.reached)


class FieldRecord(Model):
    """One field as this dataset holds it."""

    name: str
    table: str
    kind: str
    size: int
    """Rows of the embedding, row 0 ("unseen") included."""
    single: bool
    """Every row has exactly one id."""
    weighted: bool
    """Some weight is not 1."""
    ids: dict[str, int]
    """Part -> ids, each counted as often as an impression holds it."""
    unseen: dict[str, int]
    """Part -> those of them that are in row 0."""


class TableRecord(Model):
    """A side table: its file, and its rows, row 0 included."""

    file: str
    rows: int


class Roles(Model):
    """The fields that name a user and an item."""

    user: str | None
    item: str | None


class Manifest(Record):
    """A dataset's content; written last, so that a folder with a manifest is whole."""

    FORMAT: ClassVar = "entirespace-dataset/2"

    made_by: str
    digest: str
    """SHA-256 of the content: it names the dataset in run caches."""
    layout: str
    """The digest of the layout that its rows are rows of."""
    log: dict[str, Any] = Value(alias="schema")
    """The schema of the log, as it was read."""
    stages: tuple[str, ...]
    labelled: bool
    """False: outcomes were not known, and no stage counts as reached."""
    roles: Roles
    truth: bool
    """The log is simulated: true_pctr and true_pcvr stand beside each impression."""
    timed: tuple[str, ...]
    """The stages whose time is known."""
    weighted: bool
    """Impressions have weights."""
    observed_until: int | None
    """The time up to which outcomes are known."""
    users: int
    items: int
    parts: dict[str, PartRecord]
    fields: tuple[FieldRecord, ...]
    tables: dict[str, TableRecord]
    vocabularies: dict[str, str]
    """Field -> its file in vocabulary/."""
    audit: dict[str, Any]
    files: dict[str, FileRecord]

    @staticmethod
    def open(folder: Path) -> Manifest:
        """The manifest of a dataset. Raises: DataError where there is none, or the dataset is not whole."""
        if not folder.is_dir():
            do = "`entirespace prepare` makes one"
            raise DataError("a dataset is a folder", "no such folder", where=str(folder), do=do)
        manifest = Manifest.read(
            folder / MANIFEST,
            DataError,
            what="a dataset",
            must=_MUST,
            missing="there is none: this is another folder, or `prepare` did not finish; "
            "`entirespace prepare` makes a dataset from raw logs",
            do="Prepare the dataset again",
        )
        for name, about in manifest.files.items():
            try:
                size = (folder / name).stat().st_size
            except OSError as error:
                raise damaged(folder / name, "the file is missing") from error
            if size != about.bytes:
                raise damaged(folder / name, f"{size:,} bytes, not {about.bytes:,}")
        return manifest


def damaged(path: Path, what: str) -> DataError:
    return DataError(_MUST, what, where=str(path), do="Prepare the dataset again")


_MUST = "a dataset's files must be as `prepare` wrote them"
