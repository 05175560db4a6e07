"""A small log with every kind of field, and runs with random weights, for tests of bundles."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch

import entirespace as es
from entirespace.config import Config
from entirespace.core.labels import Counts
from entirespace.dataset.dataset import Dataset
from entirespace.methods import Method
from entirespace.network import Ensemble
from entirespace.runs.build import build_network
from entirespace.runs.calibration import Calibration
from entirespace.runs.run import Run

COUNTS = Counts(4000, {"click": 1200, "conversion": 240})


def small_log(n: int = 900, seed: int = 0) -> tuple[pl.DataFrame, dict[str, pl.DataFrame]]:
    """Impressions in order of time, and the side tables "user" and "item"."""
    rng = np.random.default_rng(seed)
    users, items = rng.integers(0, 40, n), rng.integers(0, 30, n)
    click = rng.random(n) < 0.25 + 0.4 * (users % 2)
    impressions = pl.DataFrame(
        {
            "t": np.arange(n),
            "uid": [f"u{i}" for i in users],
            "vid": items,
            "tab": rng.choice(["home", "search", "feed"], n),
            "price": np.where(rng.random(n) < 0.1, np.nan, rng.lognormal(2, 1, n)),
            "words": [list(map(str, rng.integers(0, 12, k))) for k in rng.integers(0, 5, n)],
            "session": rng.integers(0, 10**6, n),
            "y": click.astype(int),
            "z": (click & (rng.random(n) < 0.4)).astype(int),
        }
    )
    liked = [list(map(int, rng.integers(0, 30, k))) for k in rng.integers(0, 6, 40)]
    user = pl.DataFrame(
        {
            "uid": [f"u{i}" for i in range(40)],
            "age": rng.integers(18, 80, 40).astype(float),
            "city": rng.choice(["Berlin", "Paris", "Rome"], 40),
            "liked": liked,
            "liked_weights": [rng.random(len(some)).round(2).tolist() for some in liked],
        }
    )
    item = pl.DataFrame(
        {"vid": range(30), "shop": rng.choice(["s1", "s2", "s3"], 30), "length": rng.random(30).round(3)}
    )
    return impressions, {"user": user, "item": item}


def small_dataset(out: Path, history: bool = True, **options: Any) -> Dataset:
    """The small log, prepared."""
    impressions, tables = small_log()
    keys = {"keys": ["uid", "vid", "tab", "words", ["uid", "tab"]], "parents": {"vid": ["shop"]}}
    return es.from_frame(
        impressions,
        click="y",
        conversion="z",
        order="t",
        fields={"tab": "id", "price": {"kind": "number", "buckets": 6}, "words": "ids", "session": {"hash": 50}},
        tables={
            "user": es.SideTable(
                tables["user"],
                key="uid",
                fields={
                    "uid": {"min_count": 2},
                    "age": {"kind": "number", "buckets": 4},
                    "city": "id",
                    "liked": {"kind": "ids", "weights": "liked_weights"},
                },
            ),
            "item": es.SideTable(
                tables["item"], key="vid", fields={"vid": "id", "shop": "id", "length": {"kind": "number"}}
            ),
        },
        user="uid",
        item="vid",
        history=keys if history else None,
        out=out,
        **options,
    )


def configured(**network: Any) -> Config:
    """A small network, with these settings; training takes a moment."""
    training = {"batch_size": 128, "epochs": 1, "threads": 1}
    return Config.model_validate(
        {
            "network": {"embedding_size": 4, "hidden": [8, 6], **network},
            "optimizer": {"learning_rate": 0.01},
            "training": training,
        }
    )


def random_run(
    data: Dataset,
    method: Method,
    config: Config | None = None,
    *,
    reference: Run | None = None,
    calibration: Calibration | None = None,
    members: int = 1,
    seed: int = 0,
) -> Run:
    """A run that was not trained: its weights are random, and its scores between 0 and 1. Its folder is the dataset's,
    which has the layout."""
    config = config or configured()
    networks = []
    for number in range(members):
        network = build_network(method, data.layout, COUNTS, config, seed + number)
        state, generator = network.state_dict(), torch.Generator().manual_seed(seed + number)
        for name, value in state.items():
            drawn = torch.randn(value.shape, generator=generator) * 0.3
            state[name] = drawn.abs() + 0.1 if name.endswith("scale") else drawn
        network.load_state_dict(state)
        networks.append(network.eval())
    network = networks[0] if members == 1 else Ensemble(networks)
    calibration = calibration or Calibration()
    return Run(data.path, method, seed, config, data.layout, network, reference, calibration)
