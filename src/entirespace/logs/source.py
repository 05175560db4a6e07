"""The interface of a reader of raw logs: it gives `prepare` blocks of rows whose ids are integer codes.

A reader (`star` for star schemas, `aliccp` for raw Ali-CCP) numbers the distinct raw ids of each field in the order in
which they appear: 0, 1, 2, ... These *codes* are temporary. Which ids get an embedding row is decided after the whole
log is read, when the training part is known. Then `prepare` asks the reader for the raw id of each code and maps codes
to embedding rows.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal, NoReturn, Protocol

from ..errors import DataError

if TYPE_CHECKING:  # the command line imports this file for `OnOrphan`
    import numpy as np
    import pyarrow as pa

    from ..core.labels import Labels
    from ..core.rows import Field, Ragged
    from ..features.history.keys import HistorySpec
    from ..features.layout import Key
    from .conversions import Late
    from .joins import Join

OnOrphan = Literal["keep", "drop", "error"]
"""A row with a conversion but no click: keep it with conversion = 0 (keep), leave it out (drop), or stop (error)."""


@dataclass(frozen=True)
class Block:
    """Consecutive rows of one table. Every array has one entry per row, in the order of the raw log."""

    fields: dict[str, Ragged]
    rows: int
    # Side tables use only the members above. Impressions also have:
    labels: Labels | None = None  # None: outcomes are not known yet
    order: np.ndarray | None = None  # int64, the time; None: the order of the rows is the order in time
    part: np.ndarray | None = None  # int8: 0 train, 1 test, 2 validation; None: the split is made later
    links: dict[str, np.ndarray] = field(default_factory=dict)  # side table -> int32 row in it; -1: no such row
    truth: tuple[np.ndarray, np.ndarray] | None = None  # float32 (rows,) each: true pCTR and pCVR, if known
    fingerprint: np.ndarray | None = None  # uint64 (rows, 2), equal for exact repeats; None: repeats are kept
    lot: np.ndarray | None = None  # uint64 (rows, 2): what decides the part of each row by chance; None: not needed
    content: np.ndarray | None = None  # uint64 (rows, 2): what decides its fold, no outcome; None: its place in the log
    roles: dict[str, np.ndarray] = field(
        default_factory=dict
    )  # "user", "item", "segment.X", "history.X" -> int32 codes, for columns that are no fields


class Source(Protocol):
    """A reader of raw logs. `side_tables` must be read to the end before `impressions`, which refers to their rows.

    A reader inherits from this class, and so has what most logs need no more of: `on_repeat`, `segments` and `late`.
    """

    fields: tuple[Field, ...]
    """The fields of x, in order."""
    keys: Mapping[str, Key]
    """Side table -> the columns that join it to the impressions."""
    stages: tuple[str, ...]
    """The funnel's stages, in order."""
    user: str | None = None
    """The field or column that identifies a user (for AUC grouped by user, and Table 1), or None."""
    item: str | None = None
    """The field or column that identifies an item (Table 1), or None."""
    request: tuple[str, ...] | None = None
    """The fields that belong to a request, if the log says it; see `features.sides`."""
    on_repeat: Literal["first", "last", "any"] = "first"
    """Of several rows with one fingerprint: the one that is kept, or "any": the first, with the labels of all."""
    segments: tuple[str, ...] = ()
    """Columns of the impressions to measure by, which are no fields."""
    history: HistorySpec | None = None
    """Whose ids impressions are counted by. Keys that are no fields are roles "history.X" of the blocks. It is read
    after all impressions."""
    joins: Mapping[str, Join] = MappingProxyType({})
    """Side table -> how many impressions found their row in it, once all impressions were read."""

    def side_tables(self) -> Iterator[tuple[str, Block]]:
        """(table, block) for all blocks of all side tables. Rows are numbered from 0 across the blocks of a table."""
        ...

    def impressions(self) -> Iterator[Block]:
        """The blocks of the impressions."""
        ...

    def ids(self, field: str) -> pa.Array:
        """The raw ids of a field: entry c is the raw id of code c. Shape: text or int64 (C,), null: the empty id."""
        ...

    def role_ids(self, role: str) -> pa.Array:
        """The raw ids of a role of the blocks: entry c is the raw id of code c. Shape: as `ids`."""
        raise KeyError(role)

    def late(self, clicked: np.ndarray) -> Late | None:
        """Conversions that are only known after all impressions were read, or None.

        Args:
            clicked: the impressions that were clicked and are not left out. Shape: bool (n,).
        """
        return None


def refuse_orphan(where: str) -> NoReturn:
    """Stop at a conversion without a click, as `OnOrphan` "error" asks. Raises: DataError, always."""
    raise DataError(
        "a conversion needs a click",
        "conversion = 1 where click = 0",
        where=where,
        do="--on-orphan keep keeps the row with conversion = 0, --on-orphan drop leaves the row out",
    )
