"""Training that starts from the weights of an earlier run (`train --from`), mapped by field and id."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..dataset.dataset import Dataset
from ..errors import RunError
from ..features.encoders import Encoder, Hashed, Knots, Vocabulary
from ..network import Network
from ..runs.run import Run


def start_from(network: Network, data: Dataset, run: Run) -> None:
    """Take over a run's weights, in place.

    An id takes the row that it had; an id that the run never saw, or a field that it did not have, keeps its fresh
    row. Numbers take their rows if their knots are the same. Everything else is taken as it is.

    Raises: RunError where the two networks are not of one shape.
    """
    mine, theirs = network.state_dict(), run.network.state_dict()
    names = [f.name for f in data.layout.fields]
    must = "the run to start from must have the network and the fields of this training"
    if names != [f.name for f in run.layout.fields]:
        came = f"its fields are {', '.join(f.name for f in run.layout.fields)}, not {', '.join(names)}"
        raise RunError(must, came, where=str(run.folder))
    tables = {f"embeddings.{name}.weight" for name in network.embeddings}
    for key in sorted({*mine, *theirs}):
        shapes = [tuple(state[key].shape[1 if key in tables else 0 :]) for state in (mine, theirs) if key in state]
        if len(shapes) != 2 or shapes[0] != shapes[1]:
            came = f"{key} is {' and '.join(map(str, shapes))}" if len(shapes) == 2 else f"only one of them has {key}"
            raise RunError(must, came, where=str(run.folder), do="Give the method and the configuration of that run")
    with torch.no_grad():
        for key, weight in mine.items():
            if key in tables:
                _take_rows(weight, theirs[key], data, run)
            else:
                weight.copy_(theirs[key])


def _take_rows(weight: Tensor, earlier: Tensor, data: Dataset, run: Run) -> None:
    """Copy the rows of the ids that both layouts know. Shape: (rows, D), (rows of the run, D)."""
    if data.layout.digest == run.layout.digest:
        weight.copy_(earlier)
        return
    places = zip(data.layout.fields, data.layout.offsets, run.layout.offsets, strict=True)
    for field, mine, theirs in places:
        rows = earlier_rows(data.encoders[field.name], run.encoders[field.name])
        known = torch.from_numpy(np.flatnonzero(rows >= 0))
        weight[mine + known] = earlier[theirs + torch.from_numpy(rows[rows >= 0])].to(weight.device)


def earlier_rows(encoder: Encoder, earlier: Encoder) -> np.ndarray:
    """The row that each row of an encoder had in an earlier one; -1: none. Row 0, "unseen", had row 0.

    Shape: -> int64 (encoder.size,).

    >>> import polars as pl
    >>> old, new = (Vocabulary(pl.Series(ids), np.ones(2)) for ids in (["a", "b"], ["b", "c"]))
    >>> earlier_rows(new, old)
    array([ 0,  2, -1])
    """
    rows = np.full(encoder.size, -1, np.int64)
    rows[0] = 0
    if isinstance(encoder, Vocabulary) and isinstance(earlier, Vocabulary):
        found = earlier.encode(encoder.ids)
        rows[1:] = np.where(found > 0, found, -1)
    elif isinstance(encoder, Knots) and isinstance(earlier, Knots):
        if np.array_equal(encoder.edges, earlier.edges):
            rows = np.arange(encoder.size)
    elif isinstance(encoder, Hashed) and encoder == earlier:
        rows = np.arange(encoder.size)
    return rows
