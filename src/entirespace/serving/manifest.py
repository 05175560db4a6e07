"""manifest.json of a bundle: what it holds, and the SHA-256 of every file. It is written last."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar, NoReturn

from pydantic import field_validator

from ..config import Model
from ..errors import BundleError
from ..records import FileRecord, Record, read_json, sha256
from .inputs import ProgramInputs

MANIFEST, PROGRAM, CARD, CARD_TEXT, SCHEMA = (
    "manifest.json",
    "program.onnx",
    "model_card.json",
    "model_card.md",
    "schema.json",
)
WEIGHTS = f"{PROGRAM}.data"
_MUST = "the files of a bundle must not change after they are written"
_DO = "Export the run again, or copy the whole folder again"


class Parity(Model):
    """How the scores of the bundle were compared with those of its run."""

    rows: int
    """Random rows and edge cases."""
    batch_sizes: tuple[int, ...]
    requests: tuple[int, ...]
    """How many requests the candidates of a call belonged to."""
    largest: float
    """The largest difference of a probability."""
    tolerance: float
    """How much a score may differ."""
    rounding: float
    """How much an uncalibrated probability may differ, as a share of it, before it is calibrated. Above 0 if there are
    calibrators, or if the network's own float32 rounds by more than the tolerance."""


class BundleManifest(Record):
    """The content of manifest.json."""

    FORMAT: ClassVar = "entirespace-bundle/1"

    name: str
    """Method and seeds, as a title."""
    method: dict[str, Any]
    label: str
    """The method with its parameters."""
    layout: str
    """Digest of the layout, which decides the embedding row of every raw value."""
    history: str | None
    """Digest of the counts of the history; null if the layout has none."""
    weights: tuple[str, ...]
    """SHA-256 of the weights of the run, and of its reference CTR network if it has one."""
    fields: tuple[str, ...]
    """The fields that a row must have, in the layout's order."""
    inputs: ProgramInputs
    """The inputs of the program, and which of them belong to a request."""
    parity: Parity
    made: str
    """When it was exported, in UTC."""
    versions: dict[str, str]
    """Of entirespace and the libraries that it was exported with."""
    files: dict[str, FileRecord]
    """Every file of the bundle but this one."""

    @field_validator("files")
    @classmethod
    def _paths_stay_inside(cls, files: dict[str, FileRecord]) -> dict[str, FileRecord]:
        for name in files:
            path = PurePosixPath(name)
            if path.is_absolute() or ".." in path.parts or "\\" in name or "\0" in name or str(path) != name:
                raise ValueError(f"a file of a bundle must be inside its folder, and not at '{name}'")
        return files

    @staticmethod
    def open(folder: Path) -> BundleManifest:
        """Read the manifest of a bundle. Raises: BundleError if there is none, or if it is damaged."""
        missing = "there is none: it is not a bundle's folder, or its export was interrupted"
        return BundleManifest.read(folder / MANIFEST, BundleError, what="a bundle", must=_MUST, missing=missing, do=_DO)

    def verify(self, folder: Path, names: Iterable[str] | None = None) -> None:
        """Compare size and SHA-256 of the files, several at a time. Raises: BundleError that names the first one that
        is missing or damaged."""
        names = sorted(self.files if names is None else names)
        with ThreadPoolExecutor(4) as pool:
            for _ in pool.map(lambda name: _checked(folder / name, self.files[name]), names):
                pass


def is_bundle(folder: Path) -> bool:
    """Whether a folder holds the manifest of a bundle, of any version, and not that of a dataset."""
    try:
        content = read_json(folder / MANIFEST, BundleError, must=_MUST, do=_DO)
        return str(content["format"]).startswith(BundleManifest.FORMAT.partition("/")[0] + "/")
    except (OSError, BundleError, LookupError, TypeError):
        return False


def _checked(path: Path, record: FileRecord) -> None:
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode):
            _refuse(path, "it is a link, and must be a file" if path.is_symlink() else "it is no file")
        if about.st_size != record.bytes:
            _refuse(path, f"it has {about.st_size:,} bytes, not {record.bytes:,}")
        if sha256(path) != record.sha256:
            _refuse(path, "its SHA-256 does not match manifest.json")
    except OSError as error:
        came = "the file is missing" if isinstance(error, FileNotFoundError) else str(error.strerror)
        raise BundleError(_MUST, came, where=str(path), do=_DO) from error


def _refuse(path: Path, came: str) -> NoReturn:
    raise BundleError(_MUST, came, where=str(path), do=_DO)
