"""Golden losses: ten steps of each method on a small fixed log. If they change, training has changed.

Was that meant? Then say why in the commit, and write them anew:
    python tests/methods/test_golden.py > tests/methods/golden_losses.txt
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import support
import torch
from torch import nn

from entirespace.config import MLPTowerConfig, NetworkConfig
from entirespace.methods import METHODS, Counts, Method
from entirespace.network import Network

GOLDEN = Path(__file__).with_name("golden_losses.txt")
OFFSETS, ROWS = (0, 9, 22), 40
N, B, STEPS = 96, 16, 10

# The log is computed without random numbers. Only initial weights and AMAN's samples are random.
AT = np.arange(N)
CLICK = (AT * AT * 7 + 3 * AT) % 11 < 4
CONVERSION = CLICK & (AT % 3 == 1)
USER, ITEM = AT * 5 % 9, (AT * AT + AT) % 13
TAGS = [[((i * k) % 18, 0.5 * k) for k in range(1, 1 + i % 4)] for i in range(N)]
REFERENCE = 0.02 + 0.9 * (AT % 10) / 10


def losses(method: Method) -> list[float]:
    """The losses of ten steps of the paper's Adam, in float64 from float32 starts: alike on any processor."""
    rng = np.random.default_rng(0)
    labels = support.labels(CLICK, CONVERSION)
    network = Network(
        method.heads,
        OFFSETS,
        ROWS,
        NetworkConfig(embedding_size=4, tower=MLPTowerConfig(hidden=(12, 6)), embedding_std=0.1),
        share_embedding=method.share_embedding,
        base_rates=method.base_rates(Counts.of(labels)),
        seed=1,
    ).double()
    tables = {name: nn.Parameter(network.embedding(name).weight) for name in network.embeddings}
    adam = torch.optim.Adam([*network.towers.parameters(), *tables.values()], lr=0.01)
    rows = np.concatenate([np.repeat(AT, method.samples(labels, rng)) for _ in range(5)])
    came = []
    for step in range(STEPS):
        r = rows[step * B : (step + 1) * B]
        batch = support.make_batch(
            [
                support.ids(USER[r].tolist(), ITEM[r].tolist(), fields=(0, 1)),
                support.Table((2,), [[TAGS[i] for i in r]]),
            ],
            OFFSETS,
            CLICK[r].tolist(),
            CONVERSION[r].tolist(),
            REFERENCE[r].tolist(),
            all_rows=ROWS,
        )
        adam.zero_grad()
        loss = method.loss(network(batch, tables), batch)
        loss.backward()
        adam.step()
        came.append(loss.item())
    return came


TRAINED = {name: method for name, method in METHODS.items() if method.baseline is None}


@pytest.mark.parametrize("method", TRAINED.values(), ids=TRAINED)
def test_golden_losses(method: Method) -> None:
    lines = [line.split() for line in GOLDEN.read_text().splitlines() if not line.startswith("#")]
    golden = [float(loss) for name, _, loss in lines if name == method.label]
    assert len(golden) == STEPS
    assert losses(method) == pytest.approx(golden, rel=1e-6)


if __name__ == "__main__":
    print("# method step loss, in nats. To write them anew:")
    print("# python tests/methods/test_golden.py > tests/methods/golden_losses.txt")
    for one in TRAINED.values():
        for number, value in enumerate(losses(one)):
            print(one.label, number, f"{value:.9f}")
