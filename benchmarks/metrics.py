"""Exact metrics of many impressions: ours against scikit-learn's, and polars's for AUC inside users.

python benchmarks/metrics.py [--scores 10000000] [--rounds 3]

Every figure comes from a process of its own that holds the columns, warms up on a few rows, and then measures. Its
memory is the growth of the process's peak in that.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from common import Plot, Result, publish

USERS = 400_000  # of Ali-CCP, about
USUAL = 0.04
CASES = [  # metric, share of positives, ours, the other, its name
    ("AUC", USUAL, "auc", "sklearn_auc", "scikit-learn"),
    ("AUC", 0.5, "auc", "sklearn_auc", "scikit-learn"),
    ("AUC", 0.0002, "auc", "sklearn_auc", "scikit-learn"),
    ("AUC of float64", USUAL, "auc64", "sklearn_auc64", "scikit-learn"),
    ("AUC inside users", USUAL, "grouped_auc", "polars_grouped_auc", "polars"),
    ("log loss", USUAL, "log_loss", "sklearn_log_loss", "scikit-learn"),
]

TEXT = """
{n:,} impressions: pCTR as float32, spread like a trained network's (a logit with deviation 1), clicks drawn from it,
{users:,} users. Ours uses both cores, scikit-learn's `roc_auc_score` and `log_loss` one. For AUC inside users, which
scikit-learn has not, the rival is polars: mean ranks over each user, then sums by user, on both cores. "MB" is what the
process's memory grows by at its peak: the columns themselves are not in it. The last column is how far the two values
are apart: AUC is exact on both sides; scikit-learn's log loss of float32 is summed in float32.
"""


def auc(p: np.ndarray, label: np.ndarray, user: np.ndarray) -> Any:
    from entirespace.metrics.auc import auc

    return auc(p, label)


def grouped_auc(p: np.ndarray, label: np.ndarray, user: np.ndarray) -> Any:
    from entirespace.metrics.auc import GroupedAUC, grouped_auc

    found = grouped_auc(p, label, user)
    return found.value if isinstance(found, GroupedAUC) else 0.5


def log_loss(p: np.ndarray, label: np.ndarray, user: np.ndarray) -> Any:
    from entirespace.metrics.losses import log_loss

    return log_loss(p, label)


def sklearn_auc(p: np.ndarray, label: np.ndarray, user: np.ndarray) -> Any:
    from sklearn.metrics import roc_auc_score

    return roc_auc_score(label, p)


def sklearn_log_loss(p: np.ndarray, label: np.ndarray, user: np.ndarray) -> Any:
    from sklearn.metrics import log_loss

    return log_loss(label, p)


def polars_grouped_auc(p: np.ndarray, label: np.ndarray, user: np.ndarray) -> Any:
    import polars as pl

    by_user = (
        pl.DataFrame({"p": p, "y": label, "user": user})
        .with_columns(rank=pl.col("p").rank("average").over("user"))
        .group_by("user")
        .agg(n=pl.len(), k=pl.col("y").sum(), ranks=pl.col("rank").filter("y").sum())
        .filter((pl.col("k") > 0) & (pl.col("k") < pl.col("n")))
        .with_columns(pl.col("n", "k").cast(pl.Float64))
    )
    n, k = pl.col("n"), pl.col("k")
    return by_user.select((n * (pl.col("ranks") - k * (k + 1) / 2) / (k * (n - k))).sum() / n.sum()).item()


SIDES: dict[str, Callable[..., Any]] = {
    "auc": auc,
    "auc64": auc,
    "grouped_auc": grouped_auc,
    "log_loss": log_loss,
    "sklearn_auc": sklearn_auc,
    "sklearn_auc64": sklearn_auc,
    "sklearn_log_loss": sklearn_log_loss,
    "polars_grouped_auc": polars_grouped_auc,
}


def simulate(folder: Path, n: int, share: float) -> None:
    """Columns whose share of positives is about `share`, as files that a process reads."""
    rng = np.random.default_rng(0)
    p = rng.standard_normal(n, np.float32)
    odds = share / (1 - share) * np.exp(p, out=p) / np.float32(np.exp(0.5 * (share < 0.5)))  # of a mean near the share
    np.divide(odds, 1 + odds, out=p)
    np.save(folder / "p.npy", p)
    np.save(folder / "p64.npy", p * (1 + rng.random(n) * 1e-7))  # float64 that no float32 is equal to
    np.save(folder / "label.npy", rng.random(n, np.float32) < p)
    np.save(folder / "user.npy", rng.integers(0, USERS, n, np.int32))


def measure(side: str, folder: Path, rounds: int) -> dict[str, Any]:
    """One side's seconds, memory and value, in this process, which is its own."""
    p = np.load(folder / ("p64.npy" if side.endswith("64") else "p.npy"))
    label, user = np.load(folder / "label.npy"), np.load(folder / "user.npy")
    few = np.r_[: 1 << 17]
    SIDES[side](p[few], label[few], user[few])
    before, seconds, value = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, [], 0.0
    for _ in range(rounds):
        began = time.perf_counter()
        value = SIDES[side](p, label, user)
        seconds.append(time.perf_counter() - began)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before  # KiB
    return {"seconds": median(seconds), "mb": grown * 1024 / 1e6, "value": float(value)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3, help="of ours; the slower others have one")
    parser.add_argument("--side", nargs=2, metavar=("SIDE", "FOLDER"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        side, folder = options.side
        print(json.dumps(measure(side, Path(folder), options.rounds)))
        return
    rows: list[list[Any]] = []
    with TemporaryDirectory(prefix="entirespace-metrics-") as folder:
        of_share = None
        for metric, share, ours, other, rival in CASES:
            if share != of_share:
                simulate(Path(folder), options.scores, share)
                of_share = share
            mine, theirs = (
                json.loads(
                    subprocess.run(
                        [sys.executable, __file__, "--side", side, folder, "--rounds", str(rounds)],
                        check=True,
                        capture_output=True,
                        text=True,
                    ).stdout
                )
                for side, rounds in ((ours, options.rounds), (other, 1))
            )
            rows.append(
                [
                    f"{metric}, {share:.2%} positive",
                    mine["seconds"],
                    theirs["seconds"],
                    theirs["seconds"] / mine["seconds"],
                    mine["mb"],
                    theirs["mb"],
                    rival,
                    f"{abs(mine['value'] - theirs['value']):.0e}",
                ]
            )
    publish(
        Result(
            name="metrics",
            title="Exact metrics",
            text=TEXT.strip().format(n=options.scores, users=USERS),
            columns=[
                "metric",
                "ours, s",
                "rival, s",
                "times faster",
                "ours, MB",
                "rival, MB",
                "rival",
                "values differ by",
            ],
            rows=rows,
            plot=Plot("metric", ["ours, s", "rival, s"], "seconds", log=True),
        )
    )


if __name__ == "__main__":
    main()
