"""The probabilities of impressions, as a run and a bundle give them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from ..features.frames import Unseen
from ..tables import text_table


@dataclass(frozen=True)
class Predictions:
    """Probabilities of N impressions, in the order of the input; `str()` shows how many ids were unseen, by field.

    `pctr` is the method's own pCTR, or that of the reference CTR network if the method has none.
    Shape: float32 (N,) each.
    """

    pctr: np.ndarray
    pcvr: np.ndarray
    pctcvr: np.ndarray
    unseen: Mapping[str, Unseen] = field(default_factory=dict)  # field -> ids and unseen ids, or missing numbers

    def __str__(self) -> str:
        return f"{len(self.pcvr):,} impressions\n{unseen_text(self.unseen)}"


def unseen_text(unseen: Mapping[str, Unseen]) -> str:
    """A table of ids and unseen ids, or of numbers and missing ones, one line for each field."""

    def share(part: int, of: int) -> str:
        return f"{100 * part / of:.2f}" if of else "-"

    rows = [
        [name, "-", "-", "-", f"{u.ids:,}", f"{u.missing:,}", share(u.missing, u.ids)]
        if u.missing is not None
        else [name, f"{u.ids:,}", f"{u.unseen:,}", share(u.unseen, u.ids), "-", "-", "-"]
        for name, u in unseen.items()
    ]
    numbers = any(u.missing is not None for u in unseen.values())
    heads = ["field", "ids", "unseen", "unseen %", "numbers", "missing", "missing %"][: 7 if numbers else 4]
    return text_table(heads, [row[: len(heads)] for row in rows])
