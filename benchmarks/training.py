"""Training speed of ESMM, the paper's network: ours against plain torch (nn.Embedding and dense torch.optim.Adam).

    python benchmarks/training.py [--rows 100000 1000000] [--batch 2048] [--steps 12] [--rounds 3]

Both sides train the same towers on the same 23 single-valued fields of Zipf ids; batches are made beforehand on both
sides, so what is timed is the step: gather, forward, loss, backward, both optimizers. The two take turns, round by
round, and the medians of impressions a second are printed with their ratio. The machine may be noisy: read the ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import time
from itertools import pairwise

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from torch import nn

from entirespace.config import NetworkConfig
from entirespace.data.batches import Batch, Group
from entirespace.data.compact import Compactor
from entirespace.methods import ESMM
from entirespace.network import Network
from entirespace.network.towers import Heads
from entirespace.probability import Prob
from entirespace.tables import markdown_table
from entirespace.training.embedding_kernels import KernelLookups
from entirespace.training.optimizer import RowAdam

FIELDS = 23


def make_batches(rows: int, size: int, count: int, seed: int) -> list[tuple[np.ndarray, Batch]]:
    """Batches of Zipf ids, and the ids themselves."""
    rng = np.random.default_rng(seed)
    each = rows // FIELDS
    compact = Compactor(rows)
    batches = []
    for _ in range(count):
        ids = (rng.zipf(1.2, (size, FIELDS)) - 1) % each + np.arange(FIELDS) * each
        distinct, position = compact(ids.ravel())
        click = torch.from_numpy(rng.random(size) < 0.04)
        conversion = click & torch.from_numpy(rng.random(size) < 0.1)
        group = Group(tuple(range(FIELDS)), torch.from_numpy(position), None, None, None, size)
        batches.append((ids, Batch(click, conversion, torch.from_numpy(distinct), (group,))))
    return batches


class Ours:
    """The trainer's step."""

    def __init__(self, rows: int) -> None:
        offsets = tuple(range(0, rows // FIELDS * FIELDS, rows // FIELDS))
        self.network = Network(
            ("ctr", "cvr"),
            offsets,
            rows,
            NetworkConfig(),
            share_embedding=True,
            base_rates={"ctr": 0.04, "cvr": 0.1},
            seed=0,
        )
        self.network.lookups = KernelLookups()
        self.towers = torch.optim.Adam(self.network.towers.parameters(), fused=True)
        self.rows = RowAdam(self.network.embedding("shared").weight, lr=1e-3)
        self.method = ESMM()

    def step(self, _: np.ndarray, batch: Batch) -> None:
        gathered = {"shared": self.rows.gather(batch.rows).requires_grad_()}
        loss = self.method.loss(self.network(batch, gathered), batch)
        self.towers.zero_grad()
        loss.backward()
        self.towers.step()
        grad = gathered["shared"].grad
        assert grad is not None
        self.rows.step(batch.rows, grad)


class PlainTorch:
    """What a page of torch code does: one nn.Embedding, and Adam over all parameters."""

    def __init__(self, rows: int) -> None:
        self.embedding = nn.Embedding(rows, 18)
        widths = (FIELDS * 18, 360, 200, 80)
        self.towers = nn.ModuleList(
            nn.Sequential(
                *(m for a, b in pairwise(widths) for m in (nn.Linear(a, b), nn.ReLU())),
                nn.Linear(80, 2),
            )
            for _ in range(2)
        )
        parameters = [*self.embedding.parameters(), *self.towers.parameters()]
        self.adam = torch.optim.Adam(parameters, fused=True)
        self.method = ESMM()

    def step(self, ids: np.ndarray, batch: Batch) -> None:
        x = self.embedding(torch.from_numpy(ids)).flatten(1)
        ctr, cvr = (Prob.of_logits(tower(x)) for tower in self.towers)
        loss = self.method.loss(Heads(ctr=ctr, cvr=cvr), batch)
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--batch", type=int, default=2048)
    parser.add_argument("--steps", type=int, default=12, help="a round")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    table = []
    for rows in options.rows:
        batches = make_batches(rows, options.batch, options.steps, seed=1)
        sides = {"entirespace": Ours(rows), "plain torch": PlainTorch(rows)}
        speeds: dict[str, list[float]] = {name: [] for name in sides}
        for round_ in range(options.rounds + 1):  # the first warms up
            for name, side in sides.items():
                began = time.perf_counter()
                for ids, batch in batches:
                    side.step(ids, batch)
                if round_:
                    speeds[name].append(options.batch * options.steps / (time.perf_counter() - began))
        ours, theirs = (statistics.median(speeds[name]) for name in sides)
        table.append([f"{rows:,}", f"{options.batch:,}", f"{ours:,.0f}", f"{theirs:,.0f}", f"{ours / theirs:.2f}"])
    print(markdown_table(["rows", "batch", "entirespace, impressions/s", "plain torch", "ratio"], table))


if __name__ == "__main__":
    main()
