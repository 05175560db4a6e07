"""Scoring a dataset with a trained network: `Run.predict` against its parts and a page of torch.

python benchmarks/scoring.py [--rows 100000 5000000] [--rounds 3] [--aliccp IMPRESSIONS]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import aliccp_structure
import numpy as np
import torch
from common import Plot, Result, in_turn, publish
from rivals.prepared import prepared

from entirespace.batches.feed import Feed
from entirespace.config import Config
from entirespace.dataset.dataset import Dataset, Part
from entirespace.methods import ESMM
from entirespace.runs.build import build_network
from entirespace.runs.run import PREDICT_ROWS, Run

TEXT = """Impressions a second in scoring the training part in the log's order with ESMM at the paper's sizes, in
float32: from the dataset's files to pCTR, pCVR and pCTCVR in memory.

- **predict**: `Run.predict`.
- **reading**: the same batches, without a network.
- **plain torch**: the network on ids in memory: a gather from one table, both towers, two softmaxes.
- **floor**: the matrix products alone, no row shared.

On Ali-CCP's structure the log's order keeps the impressions of a common line together: its part of the first layer is
computed once, so that scoring can be faster than the floor."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 5_000_000])
    parser.add_argument("--aliccp", type=int, default=600_000, help="impressions of the log of Ali-CCP's structure")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the logs are kept (default: a temporary folder)")
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        for size in options.rows:
            rows.append(
                _measured(f"23 fields, {size:,} rows", Dataset(prepared(size, folder) / "dataset"), options.rounds)
            )
        data = aliccp_structure.prepared(folder, options.aliccp)
        rows.append(_measured("Ali-CCP's structure", data, options.rounds))
    columns = ["log", "predict", "reading", "plain torch", "floor", "share of the floor"]
    plot = Plot(x="log", y=columns[1:5], label="impressions/s", log=True)
    publish(Result("scoring", "Scoring", TEXT, columns, rows, plot))


def _measured(name: str, data: Dataset, rounds: int) -> list[object]:
    part = data.train
    network = build_network(ESMM(), data.layout, data.train.counts, Config(), 0).eval()
    run = Run(Path("-"), ESMM(), 0, Config(), data.layout, network, None)
    sides: dict[str, Callable[[], object]] = {
        "predict": lambda: run.predict(part),
        "reading": lambda: sum(len(batch) for batch in Feed.of(data).in_order(part.chunks(), PREDICT_ROWS)),
        "floor": lambda: _floor(data, len(part)),
    }
    if data.side_tables == ():
        ids = _ids(part)
        sides["plain torch"] = lambda: _plain(network, ids)
    seconds = in_turn(sides, rounds)
    speed = {side: len(part) / taken for side, taken in seconds.items()}
    return [
        name,
        *(speed.get(side, "-") for side in ("predict", "reading", "plain torch", "floor")),
        speed["predict"] / speed["floor"],
    ]


def _ids(part: Part) -> torch.Tensor:
    """Rows of the table. Shape: int64 (N, F)."""
    fields = part.dataset.fields
    chunks = [np.stack([c.fields[f.name].values + f.offset for f in fields], axis=1) for c in part.chunks()]
    return torch.from_numpy(np.concatenate(chunks).astype(np.int64))


@torch.inference_mode()
def _plain(network: torch.nn.Module, ids: torch.Tensor) -> torch.Tensor:
    """What a page of torch code does, with its network's weights. Shape: -> (N, 2)."""
    table, scores = network.embedding("shared").weight, []
    for some in ids.split(PREDICT_ROWS):
        x, p = table[some].flatten(1), []
        for tower in network.towers.values():
            h = x
            for layer in tower.hidden:
                h = torch.relu(layer(h))
            p.append(tower.logits(h).softmax(1)[:, 1])
        scores.append(torch.stack([p[0], p[0] * p[1]], dim=1))
    return torch.cat(scores)


def _floor(data: Dataset, impressions: int) -> None:
    config = Config().network
    widths = (len(data.fields) * config.embedding_size, *config.tower.hidden, 2)
    made = [
        (torch.empty(PREDICT_ROWS, wide), torch.empty(wide, narrow), torch.empty(PREDICT_ROWS, narrow))
        for wide, narrow in pairwise(widths)
    ] * 2
    for _ in range(0, impressions, PREDICT_ROWS):
        for a, b, out in made:
            torch.mm(a, b, out=out)


if __name__ == "__main__":
    main()
