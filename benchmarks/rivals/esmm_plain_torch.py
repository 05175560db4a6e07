"""What a page of torch code does: one nn.Embedding for all fields, two towers, and Adam over all parameters."""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import logsigmoid
from torch_loop import plain_loops
from worker import EMBEDDING, FIELDS, HIDDEN, LEARNING_RATE, read, serve, threads


class ESMM(nn.Module):
    def __init__(self, sizes: list[int]) -> None:
        super().__init__()
        self.first = torch.from_numpy(np.concatenate(([0], np.cumsum(sizes)[:-1])))
        self.embedding = nn.Embedding(sum(sizes), EMBEDDING)
        widths = (FIELDS * EMBEDDING, *HIDDEN)
        self.towers = nn.ModuleList(
            nn.Sequential(*(m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())), nn.Linear(80, 2))
            for _ in range(2)
        )

    def forward(self, ids: Tensor) -> list[Tensor]:
        """The logits of CTR and CVR. Shape: int (B, F) -> two of (B,)."""
        x = self.embedding(ids + self.first).flatten(1)
        two_way = (tower(x).float() for tower in self.towers)
        return [logits[:, 1] - logits[:, 0] for logits in two_way]


def loss(ids: Tensor, click: Tensor, conversion: Tensor) -> Tensor:
    """Cross entropies of click and of click & conversion, in log space."""
    ctr, cvr = model(ids)
    log_ctcvr = logsigmoid(ctr) + logsigmoid(cvr)
    log_not = torch.logaddexp(logsigmoid(-ctr), logsigmoid(ctr) + logsigmoid(-cvr))
    ctcvr = torch.where(conversion.bool(), log_ctcvr, log_not)
    return nn.functional.binary_cross_entropy_with_logits(ctr, click) - ctcvr.mean()


torch.set_num_threads(threads())
data = read()
model = ESMM(data.sizes)
adam = torch.optim.Adam(model.parameters(), lr=LEARNING_RATE, fused=True)
serve(plain_loops(loss, adam, data), len(data.ids))
