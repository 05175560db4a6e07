"""What the history of a log costs: preparing, memory, and reading rates.

python benchmarks/history.py [--impressions 1000000 2000000 4000000] [--rounds 3] [--folder /tmp]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import Result, publish

import entirespace as es

BLOCK = 500_000
QUIET = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
IDS = {"user_id": 200_000, "item_id": 50_000, "shop_id": 3_000, "category": 300, "page": 10}
SCHEMA = """
[impressions]
files = ["log.parquet"]
order = "t"
labels = { click = "y", conversion = "z" }
[impressions.fields]
user_id = {}
item_id = {}
shop_id = {}
category = {}
page = {}
"""
HISTORY = '[history]\nkeys = "all"\n'
WAYS = {"none": "", "folds": HISTORY, "time": HISTORY + 'cross_fit = "time"\n'}
TEXT = f"""
A log of one Parquet file with five fields of ids ({", ".join(f"{n:,}" for n in IDS.values())} different ones),
prepared without a history and with one of five keys, whose 15 rates are fields. The three take turns. *prepare* is
the median; *processor* the least time of all cores together; *history* the impressions that two cores get through in a
second, by the processor time that the history adds: folds, counts, strengths, knots and codes. *read* is what
`Part.chunks` gives in a second, rates and their positions included.
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--impressions", type=int, nargs="+", default=[1_000_000, 2_000_000, 4_000_000])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--folder", type=Path)
    options = parser.parse_args()
    folder, rows = Path(tempfile.mkdtemp(dir=options.folder)), []
    small = written(folder, 1000)
    for way in WAYS:
        prepared(small, way)  # compiles
    for n in options.impressions:
        raw = written(folder, n)
        taken: dict[str, list[tuple[float, float, float]]] = {way: [] for way in WAYS}
        for _ in range(options.rounds):
            for way in WAYS:
                taken[way].append(prepared(raw, way))
        plain = min(processor for _, processor, _ in taken["none"])
        for way, some in taken.items():
            processor = min(p for _, p, _ in some)
            added = 2 * n / 1e6 / (processor - plain) if way != "none" else ""
            memory = max(m for _, _, m in some)
            rows.append([n, way, median(s for s, _, _ in some), processor, memory, added, read(raw / way)])
            print(rows[-1], flush=True)
    shutil.rmtree(folder)
    columns = [
        *("impressions", "history", "prepare, s", "processor, s", "memory, GB"),
        *("history, M/s on 2 cores", "read, M/s"),
    ]
    publish(Result("history", "The history of a log", TEXT, columns, rows))


def written(folder: Path, n: int) -> Path:
    """A log of n impressions."""
    raw, rng = folder / str(n), np.random.default_rng(0)
    raw.mkdir()
    writer = None
    for start in range(0, n, BLOCK):
        m = min(BLOCK, n - start)
        y = rng.random(m) < 0.1
        ids = {name: rng.integers(0, size, m) for name, size in IDS.items()}
        z = y & (rng.random(m) < 0.1)
        table = pa.table({"t": np.arange(start, start + m), "y": y.astype(np.int8), "z": z.astype(np.int8), **ids})
        writer = writer or pq.ParquetWriter(raw / "log.parquet", table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()
    for way, history in WAYS.items():
        (raw / f"{way}.toml").write_text(SCHEMA + history)
    return raw


def prepared(raw: Path, way: str) -> tuple[float, float, float]:
    """(seconds, seconds of the processor, peak memory in GB) of preparing the log."""
    command = [sys.executable, "-m", "entirespace", "prepare", str(raw / f"{way}.toml"), str(raw), str(raw / way)]
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], [*command, "--force", "-q"], os.environ, file_actions=QUIET)
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return time.perf_counter() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024 / 1e9


def read(dataset: Path) -> float:
    """Millions of training impressions that are read in a second, the best of three times."""
    part, best = es.open(dataset).train, 0.0
    for _ in range(3):
        began = time.perf_counter()
        rows = sum(len(chunk) for chunk in part.chunks())
        best = max(best, rows / 1e6 / (time.perf_counter() - began))
    return best


if __name__ == "__main__":
    main()
