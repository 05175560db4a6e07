"""A training step with numbers that are interpolated, against the same step with numbers in buckets.

python benchmarks/interpolation.py [--impressions 200000] [--batch 1024 4096] [--rounds 40]
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from statistics import median

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import polars as pl
import torch
from common import Result, in_turn, publish

import entirespace as es
from entirespace.batches.feed import Feed
from entirespace.config import Config, NetworkConfig
from entirespace.core.rows import Rows
from entirespace.dataset.dataset import Dataset
from entirespace.features.chosen import ChosenFields
from entirespace.methods import ESMM
from entirespace.training.learner import Learner

IDS = ("item_id", "category", "shop", "brand", "scenario")  # of an impression
USER = ("user_id", "profile", "group", "age", "occupation")
STEPS = 4  # of a turn

TEXT = """Milliseconds of a training step of ESMM with `network.numbers` = "bucket" and "interpolate":
from encoded rows in memory to Adam. A simulated log: ten fields of ids, and numbers with 32 buckets such as rates of
ids. The user's fields are columns of the impressions, or a side table. The two take turns of four steps; the ratio is
the median over pairs of turns."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--impressions", type=int, default=200_000)
    parser.add_argument("--batch", type=int, nargs="+", default=[1024, 4096])
    parser.add_argument("--numbers", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        es.simulate(Path(folder) / "log", impressions=options.impressions, click_rate=0.1, conversion_rate=0.1)
        for star in (False, True):
            for numbers in options.numbers:
                data = prepared(Path(folder) / "log", numbers, star)
                for batch in options.batch:
                    where = "impressions and a side table" if star else "impressions"
                    rows.append([where, numbers, batch, *measured(data, batch, options.rounds)])
                    print(rows[-1], flush=True)
    columns = ["fields of", "numbers", "B", "bucket, ms a step", "interpolate, ms a step", "ratio"]
    publish(Result("interpolation", "Numbers: buckets and interpolation", TEXT, columns, rows))


def prepared(log: Path, numbers: int, star: bool) -> Dataset:
    """The log with so many fields of numbers, half of them the user's."""
    rng = np.random.default_rng(0)
    impressions = pl.read_parquet(log / "impressions-*.parquet").select(
        "time_ms", "click", "conversion", "common", *IDS
    )
    users = pl.read_parquet(log / "common.parquet").select("common", *USER)
    mine, theirs = ([f"{of}_{i}" for i in range(numbers // 2)] for of in ("item_rate", "user_rate"))
    of_items = rng.normal(size=(int(impressions["item_id"].max()) + 1, len(mine)))  # type: ignore[arg-type]
    of_item = of_items[impressions["item_id"].to_numpy()] + 0.1 * rng.normal(size=(len(impressions), len(mine)))
    impressions = impressions.with_columns(pl.Series(name, of_item[:, i]) for i, name in enumerate(mine))
    users = users.with_columns(pl.Series(name, rng.normal(size=len(users))) for name in theirs)
    if not star:
        impressions = impressions.join(users, on="common", how="left", maintain_order="left")
    number = {"kind": "number", "buckets": 32}
    fields = {**dict.fromkeys(IDS, "id"), **dict.fromkeys(mine, number)}
    of_user = {**dict.fromkeys(USER, "id"), **dict.fromkeys(theirs, number)}
    return es.from_frame(
        impressions,
        click="click",
        conversion="conversion",
        order="time_ms",
        fields=fields if star else fields | of_user,
        tables={"common": es.SideTable(users, key="common", fields=of_user)} if star else None,
    )


def measured(data: Dataset, batch: int, rounds: int) -> list[float]:
    """Milliseconds of a step with buckets, and interpolated; and their ratio."""
    held = Rows.concatenate(list(data.train.chunks()))
    rng = np.random.default_rng(0)
    turns = [rng.permutation(len(held))[: STEPS * batch].reshape(STEPS, -1) for _ in range(8)]
    sides: dict[str, Callable[[], None]] = {}
    seconds: dict[str, list[float]] = {"bucket": [], "interpolate": []}
    for numbers in seconds:
        config = Config(network=NetworkConfig(numbers=numbers))  # type: ignore[arg-type]
        feed = Feed.of(data, ChosenFields.of(data.layout.fields, config.network))
        sides[numbers] = _turns(Learner(ESMM(), data, config, seed=0), feed, held, turns)
    for round_ in range(rounds):
        for numbers, taken in in_turn(sides, rounds=1, warm_up=3 if round_ == 0 else 0).items():
            seconds[numbers].append(taken)
        sides = dict(reversed(sides.items()))  # neither is always the first
    ratio = median(two / one for one, two in zip(*seconds.values(), strict=True))
    return [*(1000 * median(taken) / STEPS for taken in seconds.values()), ratio]


def _turns(learner: Learner, feed: Feed, held: Rows, turns: list[np.ndarray]) -> Callable[[], None]:
    """A function that makes the steps of one turn after the other."""
    done = 0

    def turn() -> None:
        nonlocal done
        for rows in turns[done % len(turns)]:
            learner.step(feed.batch(held.take(rows)))[0].item()
        done += 1

    return turn


if __name__ == "__main__":
    main()
