"""What a reader of raw logs hands to `prepare`: blocks of rows whose ids are already provisional codes.

A reader (`logs` for star schemas, `aliccp` for the raw Ali-CCP pair) numbers the raw ids of each field as they
appear: 0, 1, 2, ... These *codes* are provisional: which ids get a row of the embedding is known only when the
training part is. `prepare` turns codes into vocabulary rows, and asks the reader for the raw ids by code.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, NoReturn, Protocol

from ..errors import DataError

if TYPE_CHECKING:  # the command line imports this file for `OnOrphan`
    import numpy as np
    import pyarrow as pa

    from ..core.labels import Labels
    from ..core.rows import Field, Ragged
    from ..features.layout import Key

OnOrphan = Literal["keep", "drop", "error"]
"""A conversion without a click becomes no conversion, its row is left out, or it ends the reading."""


@dataclass(frozen=True)
class Block:
    """A run of rows of one table. All members have one entry a row, in the order of the raw log."""

    fields: dict[str, Ragged]
    rows: int
    # side tables: nothing more. Impressions:
    labels: Labels | None = None  # None: outcomes are not known
    order: np.ndarray | None = None  # int64; None: the order of the rows
    part: np.ndarray | None = None  # int8, 0 train / 1 test, where a column or the file says it
    links: dict[str, np.ndarray] = field(default_factory=dict)  # side table -> int32 row in it; -1: no such row
    truth: tuple[np.ndarray, np.ndarray] | None = None  # float32 true pCTR, true pCVR (simulated logs)
    fingerprint: np.ndarray | None = None  # uint64 (rows, 2): equal for exact repeats, where repeats are dropped


class Source(Protocol):
    """A reader: side tables first (each row numbered as it comes), then the impressions."""

    @property
    def fields(self) -> tuple[Field, ...]: ...
    @property
    def keys(self) -> Mapping[str, Key]:
        """Side table -> the columns that join it."""
        ...

    @property
    def stages(self) -> tuple[str, ...]:
        """The funnel's stages, in order."""
        ...

    @property
    def user(self) -> str | None:
        """The field that names a user (grouped AUC, Table 1), or None."""
        ...

    @property
    def item(self) -> str | None: ...
    def side_tables(self) -> Iterator[tuple[str, Block]]: ...
    def impressions(self) -> Iterator[Block]: ...
    def ids(self, field: str) -> pa.Array:
        """The raw ids of a field by code, as text or int64: entry c is the raw id of code c."""
        ...


def refuse_orphan(file: str, line: int) -> NoReturn:
    """What `OnOrphan` "error" does."""
    raise DataError(
        "a conversion needs a click",
        "conversion = 1 where click = 0",
        where=f"{file}, line {line}",
        do="--on-orphan keep reads it as no conversion, --on-orphan drop leaves the row out",
    )
