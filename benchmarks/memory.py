"""Peak memory of training, against the tables and their Adam state, which nothing can do without.

    python benchmarks/memory.py [--impressions 1000000 10000000] [--rows 100000 5000000] [--folder FOLDER]

Each case is a process of its own: it opens the dataset, takes steps through two shuffle windows, brings all rows up to
date and writes a checkpoint, as the trainer does.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from common import Plot, Result, publish

FIELDS = [f"f{i}" for i in range(23)]
CHUNK = 1 << 18
TEXT = """ESMM at the paper's sizes on 23 single-valued fields, batches of 2048, `training.shuffle_rows` as by default.
Tables and Adam: embeddings, both moments and the step of the last touch, 55 words a row. Peak: of the whole process
(`ru_maxrss`), libraries included, from opening the dataset through a window and a checkpoint of all rows."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--impressions", type=int, nargs="+", default=[1_000_000, 10_000_000])
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 5_000_000])
    parser.add_argument("--folder", type=Path, help="where the logs are kept (default: a temporary folder)")
    parser.add_argument("--case", type=Path, help=argparse.SUPPRESS)  # the process of one case
    options = parser.parse_args()
    if options.case:
        print(json.dumps(_case(options.case)))
        return
    rows = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        for impressions in options.impressions:
            for size in options.rows:
                dataset = _prepared(folder, impressions, size)
                came = subprocess.run(
                    [sys.executable, __file__, "--case", dataset], check=True, stdout=subprocess.PIPE, text=True
                )
                found = json.loads(came.stdout)
                over = found["peak"] - found["state"]
                rows.append([impressions, size, *(found[k] / 1e9 for k in ("libraries", "state", "peak")), over / 1e9])
                print(rows[-1], file=sys.stderr, flush=True)
    columns = ["impressions", "rows", "libraries alone, GB", "tables and Adam, GB", "peak, GB", "peak over these, GB"]
    plot = Plot(x="rows", y=columns[3:5], label="GB", panel="impressions")
    publish(Result("memory", "Memory of training", TEXT, columns, rows, plot))


def _prepared(folder: Path, impressions: int, rows: int) -> Path:
    """A dataset of so many impressions, the first half of them to train on, and about so many rows in its table."""
    out = folder / f"memory-{impressions}-{rows}"
    if out.exists():
        return out
    rng, each = np.random.default_rng(0), rows // len(FIELDS)
    with tempfile.TemporaryDirectory(dir=folder) as log:
        columns = pa.schema([("y", pa.bool_()), ("z", pa.bool_()), *((name, pa.int32()) for name in FIELDS)])
        with pq.ParquetWriter(Path(log) / "log.parquet", columns) as file:
            for start in range(0, impressions, CHUNK):
                n = min(CHUNK, impressions - start)
                click = rng.random(n) < 0.04
                ids = [(each * rng.random(n, np.float32) ** 4).astype(np.int32) for _ in FIELDS]
                file.write_table(pa.table([click, click & (rng.random(n) < 0.1), *ids], schema=columns))
        fields = "\n".join(f'{name} = {{ kind = "id", hash = {each - 1} }}' for name in FIELDS)
        schema = '[impressions]\nfiles = ["log.parquet"]\nlabels = { click = "y", conversion = "z" }\n'
        (Path(log) / "schema.toml").write_text(f"{schema}[impressions.fields]\n{fields}\n")
        run = [sys.executable, "-c", "from entirespace.cli import main; main()", "prepare"]
        began = time.perf_counter()
        subprocess.run([*run, f"{log}/schema.toml", log, out, "-q"], check=True, stdout=subprocess.DEVNULL)
        print(f"prepared {impressions:,} in {time.perf_counter() - began:.1f} s", file=sys.stderr)
    return out


def _case(path: Path) -> dict[str, float]:
    """Bytes: of the libraries alone, of tables and Adam, and at the peak."""
    from entirespace.batches.feed import Feed
    from entirespace.config import Config
    from entirespace.dataset.dataset import Dataset
    from entirespace.methods import ESMM
    from entirespace.runs.checkpoint import save_tensors
    from entirespace.training.learner import Learner

    libraries = _peak()
    data, method, training = Dataset(path), ESMM(), Config().training
    learner, feed, seen = Learner(method, data, Config(), seed=0), Feed.of(data), 0
    how = {"batch_size": 2048, "shuffle_rows": training.shuffle_rows, "block": training.block}
    shuffled = feed.shuffled(data.train, method.samples, **how, rng=np.random.default_rng(0))
    for i, batch in enumerate(map(feed.batch, shuffled)):
        if i % 16 == 0:  # every batch is made; a step of some of them is as large as a step of all
            learner.step(batch)[0].item()
        seen += len(batch)
        if seen > 2.5 * training.shuffle_rows:
            break
    learner.finish()
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        save_tensors(Path(folder) / "step.safetensors", learner.state())
    tables = [t for name, t in learner.state().items() if name.startswith(("network.embeddings", "rows."))]
    return {"libraries": libraries, "state": sum(t.numel() * t.element_size() for t in tables), "peak": _peak()}


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


if __name__ == "__main__":
    main()
