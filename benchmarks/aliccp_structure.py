"""Training on a log of Ali-CCP's structure: ours with rows shuffled and with blocks, against a page of torch.

    python benchmarks/aliccp_structure.py [--impressions 1000000] [--batch 2048 8192] [--rounds 3] [--folder FOLDER]

`entirespace simulate --format aliccp` writes the raw log and `entirespace prepare` reads it, once for a folder.
"""

from __future__ import annotations

import argparse
import itertools
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from common import Plot, Result, publish
from torch.nn import functional as F

from entirespace.batches.batch import Batch, Group
from entirespace.batches.feed import Feed
from entirespace.config import Config
from entirespace.core.rows import Ragged
from entirespace.dataset.dataset import Dataset
from entirespace.methods import ESMM
from entirespace.network import Heads
from entirespace.network.fields import VectorFields
from entirespace.network.probability import Prob
from entirespace.runs.build import build_network
from entirespace.training.learner import Learner

SECONDS = 4.0  # of a turn
TEXT = """ESMM at the paper's sizes on a simulated raw Ali-CCP pair: 13 common fields, four of them bags of about 130
weighted ids each, 58 impressions a common line; 10 skeleton fields. Impressions a second, batch making included.

- **block n**: ours with `training.block = n`: at most n impressions of one common line stay together in a batch.
- **plain torch**: the common line's ids copied onto each impression, `F.embedding_bag` over one table with
  `torch.optim.Adam(fused=True)` over all rows; its batches are made beforehand.
- **floor**: the matrix products of a step alone, where no row is shared. Blocks go below that work: a common line's
  part of the first layer is computed once in a batch."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--impressions", type=int, default=1_000_000)
    parser.add_argument("--batch", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 16, 64])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the log is kept (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        data = prepared(options.folder or Path(temporary), options.impressions)
        rows = [row for batch in options.batch for row in _measured(data, batch, options.blocks, options.rounds)]
    columns = ["batch", "side", "impressions/s", "times plain torch", "share of the floor"]
    plot = Plot(x="side", y=["impressions/s"], label="impressions/s", panel="batch")
    publish(Result("aliccp_structure", "Training on Ali-CCP's structure", TEXT, columns, rows, plot))


def prepared(folder: Path, impressions: int) -> Dataset:
    """The dataset, made where it is not there yet."""
    raw, out = folder / f"raw-{impressions}", folder / f"dataset-{impressions}"
    if not out.exists():
        run = [sys.executable, "-c", "from entirespace.cli import main; main()"]
        structure = ["--history", "130", "--session", "58", "--conversion-rate", "0.02", "--seed", "1"]
        if not raw.exists():
            simulate = ["simulate", raw, "--format", "aliccp", "--impressions", f"{impressions}", *structure]
            subprocess.run([*run, *simulate, "-q"], check=True, stdout=subprocess.DEVNULL)
        subprocess.run([*run, "prepare", "aliccp", raw, out, "-q"], check=True, stdout=subprocess.DEVNULL)
    return Dataset(out)


def _measured(data: Dataset, batch: int, blocks: list[int], rounds: int) -> list[list[object]]:
    feed = Feed.of(data)
    sides: dict[str, Callable[[], int]] = {f"block {n}": _ours(data, feed, batch, n) for n in blocks}
    sides |= {"plain torch": _plain(data, feed, batch), "floor": _floor(data, batch)}
    speeds: dict[str, list[float]] = {name: [] for name in sides}
    for side in sides.values():
        side()
    for _ in range(rounds):
        for name, side in sides.items():
            began, done = time.perf_counter(), 0
            while time.perf_counter() - began < SECONDS:
                done += side()
            speeds[name].append(done / (time.perf_counter() - began))
    found = {name: median(values) for name, values in speeds.items()}
    return [[batch, name, s, s / found["plain torch"], s / found["floor"]] for name, s in found.items()]


def _ours(data: Dataset, feed: Feed, batch: int, block: int) -> Callable[[], int]:
    method, learner = ESMM(), Learner(ESMM(), data, Config(), seed=0)

    def batches() -> Iterator[Batch]:
        for epoch in itertools.count():
            how = {"batch_size": batch, "shuffle_rows": 1 << 17, "block": block}
            yield from map(
                feed.batch, feed.shuffled(data.train, method.samples, **how, rng=np.random.default_rng(epoch))
            )

    source = batches()

    def step() -> int:
        made = next(source)
        learner.step(made)[0].item()
        return len(made)

    return step


def _plain(data: Dataset, feed: Feed, size: int) -> Callable[[], int]:
    """One table, bags copied onto the impressions, dense Adam; the towers and the loss are ours."""
    rng = np.random.default_rng(0)
    source = map(feed.batch, feed.shuffled(data.train, ESMM().samples, batch_size=size, shuffle_rows=1 << 17, rng=rng))
    batches = [(made, [_exploded(made, g) for g in made.groups]) for made in itertools.islice(source, 4)]
    network = build_network(ESMM(), data.layout, data.train.counts, Config(), 0)
    table = torch.nn.Parameter(network.embedding("shared").weight.clone())
    adam = torch.optim.Adam([table, *network.towers.parameters()], fused=True)
    turn = itertools.cycle(batches)

    def step() -> int:
        made, groups = next(turn)
        x = torch.cat([_bags(table, len(made), *group) for group in groups], dim=1)
        fields = VectorFields(x.unflatten(1, (-1, table.shape[1])))
        p = {head: Prob.of_logits(tower(fields)) for head, tower in network.towers.items()}
        loss = ESMM().loss(Heads(**p), made)
        adam.zero_grad()
        loss.backward()
        adam.step()
        return len(made)

    return step


Bags = tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]  # ids, offsets, weights


def _bags(table: torch.Tensor, size: int, ids: torch.Tensor, offsets: torch.Tensor, weights: torch.Tensor | None):
    """Shape: bags of F_g fields, field-major -> (size, F_g * D)."""
    how = {"mode": "sum", "per_sample_weights": weights, "include_last_offset": True}
    pooled = F.embedding_bag(ids, table, offsets, **how)
    return pooled.view(-1, size, table.shape[1]).transpose(0, 1).flatten(1)


def _exploded(batch: Batch, group: Group) -> Bags:
    """The group's bags, copied onto each impression that shares them."""
    fields, expand = len(group.fields), np.arange(len(batch)) if group.expand is None else group.expand.numpy()
    ids, weights = batch.rows[group.position].numpy(), None if group.weights is None else group.weights.numpy()
    if group.offsets is None:  # row-major, one id each
        bags = Ragged(ids, np.arange(len(ids) + 1), weights)
        order = (expand[None, :] * fields + np.arange(fields)[:, None]).ravel()
    else:
        bags = Ragged(ids, group.offsets.numpy(), weights)
        order = (np.arange(fields)[:, None] * group.size + expand[None, :]).ravel()
    bags = bags.take(order)
    assert bags.offsets is not None
    weights = None if bags.weights is None else torch.from_numpy(bags.weights)
    return torch.from_numpy(bags.values), torch.from_numpy(bags.offsets), weights


def _floor(data: Dataset, size: int) -> Callable[[], int]:
    """The matrix products of both towers, forward and backward, in float32."""
    config = Config().network
    layers = list(itertools.pairwise((len(data.fields) * config.embedding_size, *config.tower.hidden, 2)))
    made = []
    for wide, narrow in layers * 2:
        x, w, y = torch.randn(size, wide), torch.randn(narrow, wide), torch.randn(size, narrow)
        made += [(x, w.T, y), (y.T, x, torch.empty(narrow, wide)), (y, w, torch.empty(size, wide))]

    def step() -> int:
        for a, b, out in made:
            torch.mm(a, b, out=out)
        return size

    return step


if __name__ == "__main__":
    main()
