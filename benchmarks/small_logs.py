"""What the paper's comparison costs on small logs: `entirespace compare` as a person runs it, with all its files.

python benchmarks/small_logs.py NAME=DATASET [NAME=DATASET ...] [--seeds 1 3]
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from common import Result, publish

import entirespace as es

TEXT = """`entirespace compare DATASET -o REPORT --seeds S`: the 13 methods of the paper and the reference CTR network
from each seed, by default settings, with the runs, the evaluations, the pictures and the report. Seconds of both cores
together say what it costs; seconds by the clock are longer where other work shares the cores. About ten
seconds are the same for every log: imports, pictures and, where several processes train, their start."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="+", metavar="NAME=DATASET")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 3])
    options = parser.parse_args()
    rows: list[list[object]] = []
    for name, _, path in (text.partition("=") for text in options.datasets):
        data = es.open(path)
        for seeds in options.seeds:
            cores, clock = _compared(path, seeds)
            runs = 13 * seeds
            rows.append([name, len(data.train), len(data.fields), runs, cores, clock, cores / runs])
            print(rows[-1], flush=True)
    columns = ["log", "training impressions", "fields", "runs", "seconds of the cores", "seconds by the clock"]
    publish(Result("small_logs", "Comparing on small logs", TEXT, [*columns, "of the cores, a run"], rows))


def _compared(dataset: str, seeds: int) -> tuple[float, float]:
    """Seconds of all cores, and by the clock."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "report"
        command = [sys.executable, "-m", "entirespace", "compare", dataset, "-o", str(out), "--seeds", str(seeds), "-q"]
        before, began = _used(), time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        return _used() - before, time.perf_counter() - began


def _used() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
