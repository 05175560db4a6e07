"""The floor of a step: its matrix products alone, forward, for the weights and for the inputs, of both towers.

Each is a torch.mm into a matrix that is there already, in the paper's sizes. Nothing else is done: no embedding, no
bias, no activation, no loss, no optimizer. In the fastest precision; the two first layers, which read the same inputs,
as two products or as one.
"""

from itertools import pairwise

import torch
from torch_loop import precisions
from worker import EMBEDDING, FIELDS, HIDDEN, Train, serve, threads

WIDTHS = (FIELDS * EMBEDDING, *HIDDEN, 2)


def products(batch: int, precision: torch.dtype, joined: bool) -> list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """(a, b, out) of all products of a step."""

    def matrix(rows: int, columns: int) -> torch.Tensor:
        return torch.randn(rows, columns).to(precision)

    first, *others = pairwise(WIDTHS)
    layers = [(first[0], 2 * first[1])] if joined else [first, first]
    layers += [layer for layer in others for _ in range(2)]
    made = []
    for wide, narrow in layers:
        x, w, y = matrix(batch, wide), matrix(narrow, wide), matrix(batch, narrow)
        made += [(x, w.T, y), (y.T, x, matrix(narrow, wide)), (y, w, matrix(batch, wide))]
    return made


def way(precision: torch.dtype, joined: bool) -> Train:
    made: dict[int, list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]] = {}

    def train(batch: int, rows: slice) -> None:
        if batch not in made:
            made[batch] = products(batch, precision, joined)
        for _ in range(0, rows.stop - rows.start, batch):
            for a, b, out in made[batch]:
                torch.mm(a, b, out=out)

    return train


torch.set_num_threads(threads())
ways: dict[str, Train] = {}
for name, precision in precisions().items():
    ways |= {name: way(precision, joined=False), f"{name}, first layers joined": way(precision, joined=True)}
serve(ways, impressions=1 << 30)
