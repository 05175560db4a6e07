"""Columns in pieces: metrics read them piece by piece and make no copy of a whole column."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np

from ..kernels.radix import PIECE

Chunks: TypeAlias = np.ndarray | Sequence[np.ndarray]
"""A column: one array, or a list of chunks."""


def pieces(**columns: Chunks) -> list[list[np.ndarray]]:
    """Each column as views of at most PIECE impressions; all columns are cut at the same places.

    Raises: ValueError for columns of different lengths, or chunks of different lengths.

    >>> pieces(scores=[np.zeros(2), np.zeros(1)], label=[np.ones(2, bool), np.ones(1, bool)])
    [[array([0., 0.]), array([0.])], [array([ True,  True]), array([ True])]]
    """
    chunks = {name: [given] if isinstance(given, np.ndarray) else list(given) for name, given in columns.items()}
    first, *others = ([chunk.shape for chunk in held] for held in chunks.values())
    if any(len(shape) != 1 for shape in first) or any(other != first for other in others):
        came = ", ".join(
            f"{name} {sum(chunk.size for chunk in held):,} in {len(held)}" for name, held in chunks.items()
        )
        raise ValueError(f"columns must be flat and of the same length, chunk by chunk, however: {came} chunks")
    return [
        [np.ascontiguousarray(chunk[i : i + PIECE]) for chunk in held for i in range(0, len(chunk), PIECE)]
        for held in chunks.values()
    ]


def refuse_nan(values: Sequence[np.ndarray], name: str) -> None:
    """Raises: ValueError if there are NaNs, with their number."""
    if any(np.isnan(piece.min()) for piece in values):  # the minimum is NaN if any value is NaN
        unknown, n = sum(int(np.isnan(piece).sum()) for piece in values), sum(map(len, values))
        raise ValueError(f"{name} must be numbers, however: {unknown:,} of {n:,} are NaN")
