"""Exact AUC: ours against scikit-learn's roc_auc_score, on the same float32 scores, in turn.

python benchmarks/auc.py [--scores 10000000] [--rounds 3]
"""

from __future__ import annotations

import argparse
import statistics
import time

import numpy as np
from sklearn.metrics import roc_auc_score

from entirespace.evaluation.auc import auc
from entirespace.tables import markdown_table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scores", type=int, default=10_000_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    rng = np.random.default_rng(0)
    scores = rng.random(options.scores, np.float32)
    table = []
    for rate in (0.04, 2e-4):
        label = rng.random(options.scores, np.float32) < rate * (0.5 + scores)
        times: dict[str, list[float]] = {"ours": [], "sklearn": []}
        for _ in range(options.rounds):
            began = time.perf_counter()
            mine = auc(scores, label)
            middle = time.perf_counter()
            other = roc_auc_score(label, scores)
            times["ours"].append(middle - began)
            times["sklearn"].append(time.perf_counter() - middle)
        ours, theirs = (statistics.median(times[name]) for name in times)
        same = isinstance(mine, float) and abs(mine - other) < 1e-9
        table.append([f"{options.scores:,}", f"{rate:g}", f"{ours:.2f}", f"{theirs:.2f}", f"{theirs / ours:.1f}", same])
    print(markdown_table(["scores", "rate", "entirespace, s", "scikit-learn, s", "ratio", "same value"], table))


if __name__ == "__main__":
    main()
