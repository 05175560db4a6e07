"""Training that starts from the weights of an earlier run (`train --from`), mapped by field and id."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from ..dataset.dataset import Dataset
from ..errors import RunError
from ..features.chosen import ChosenFields
from ..features.encoders import Encoder, Hashed, Knots, Vocabulary
from ..network import Network
from ..runs.run import Run


def start_from(network: Network, chosen: ChosenFields, data: Dataset, run: Run) -> None:
    """Copy a run's weights into a network, which reads the chosen fields of the data, in place.

    The row of an id is copied to the row of the same id. An id that the run does not know keeps its initial row, and so
    do the rows of a number whose knots changed and of a hashed field whose size changed. All other weights are copied.

    Raises: RunError if the run has other fields, or a network of another shape.
    """
    mine, theirs = network.state_dict(), run.network.state_dict()
    must = "the run to start from must have the same fields and the same network as this training"
    if chosen.names != run.chosen.names:
        came = f"its fields are {', '.join(run.chosen.names)}, not {', '.join(chosen.names)}"
        do = "Use the network.exclude and network.history of that run, and a dataset of the same fields"
        raise RunError(must, came, where=str(run.folder), do=do)
    tables = {f"embeddings.{name}.weight" for name in network.embeddings}
    for key in sorted({*mine, *theirs}):
        shapes = [tuple(state[key].shape[1 if key in tables else 0 :]) for state in (mine, theirs) if key in state]
        if len(shapes) != 2 or shapes[0] != shapes[1]:
            both, one = f"{key} has the shapes {' and '.join(map(str, shapes))}", f"only one of them has {key}"
            do = "Use the method and the configuration of that run"
            raise RunError(must, both if len(shapes) == 2 else one, where=str(run.folder), do=do)
    with torch.no_grad():
        for key, weight in mine.items():
            if key in tables:
                _take_rows(weight, theirs[key], chosen, data, run)
            else:
                weight.copy_(theirs[key])


def _take_rows(weight: Tensor, earlier: Tensor, chosen: ChosenFields, data: Dataset, run: Run) -> None:
    """Copy the rows of the ids that both layouts know. Shape: weight (rows, D), earlier (rows of the run, D)."""
    if data.layout.digest == run.layout.digest:
        weight.copy_(earlier)
        return
    for name, mine, theirs in zip(chosen.names, chosen.offsets, run.chosen.offsets, strict=True):
        rows = earlier_rows(data.encoders[name], run.encoders[name])
        known = torch.from_numpy(np.flatnonzero(rows >= 0))
        weight[mine + known] = earlier[theirs + torch.from_numpy(rows[rows >= 0])].to(weight.device)


def earlier_rows(encoder: Encoder, earlier: Encoder) -> np.ndarray:
    """For each row of an encoder, the row of the same id in an earlier encoder; -1 if there is none.

    Row 0, "unseen", is row 0 in both. Shape: -> int64 (encoder.size,).

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
