"""Time, memory and disk over the size of a log of Ali-CCP's structure, and what a straight line through them says.

    python benchmarks/scale.py [--impressions 500000 1000000 2000000 4000000] [--folder FOLDER]

Each step is a process of its own, as a user runs it: `simulate`, `prepare`, one epoch of ESMM with its look at the
validation part, and scoring the test part.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
from common import Plot, Result, publish

from entirespace.dataset.dataset import Dataset

TEXT = """A simulated raw Ali-CCP pair (58 impressions a common line of about 530 features), half of it for
training, and what each step takes: seconds and peak memory of the process. Training is one epoch of ESMM
by default settings. The last two lines are what a least squares line over the lines above them says for
the paper's Public data (84 million impressions, half of them for training) and for its Product data (8.9
billion), had they this structure. Memory and embedding rows depend on the number of distinct ids, not
on the number of impressions, so the line does not cover them."""
PAPER = {"Public, by the line": 84_000_000, "Product, by the line": 8_950_000_000}
BY_LINE = ("raw, GB", "dataset, GB", "prepare, s", "train an epoch, s", "score the test half, s")
FIT = """
import sys, entirespace as es
from entirespace.config import Config
data = es.open(sys.argv[1])
es.fit(es.ESMM(), data.train, config=Config.model_validate({"training": {"epochs": 1}}), out=sys.argv[2])
"""
SCORE = """
import sys, entirespace as es
from entirespace.training import Run
data = es.open(sys.argv[1])
Run.open(sys.argv[2]).outputs(data.test)
"""
VERB = "from entirespace.cli import main; main()"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--impressions", type=int, nargs="+", default=[500_000, 1_000_000, 2_000_000, 4_000_000])
    parser.add_argument("--folder", type=Path, help="where the logs are made (default: a temporary folder)")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        measured = [_measured(Path(folder) / f"{n}", n) for n in options.impressions]
    rows = [[f"{n:,}", *row] for n, row in zip(options.impressions, measured, strict=True)]
    names = ["raw, GB", "dataset, GB", "embedding rows, million", "prepare, s", "prepare, GB of memory"]
    names += ["train an epoch, s", "train, GB of memory", "score the test half, s"]
    columns = dict(zip(names, np.array(measured).T, strict=True))
    lines = {name: np.polyfit(np.array(options.impressions, float), columns[name], 1) for name in BY_LINE}
    for data, n in PAPER.items():
        rows.append([data, *(float(np.polyval(lines[name], n)) if name in lines else "-" for name in names)])
    plot = Plot(
        x="impressions", y=["prepare, s", "train an epoch, s", "score the test half, s"], label="seconds", log=True
    )
    publish(Result("scale", "Scale", TEXT, ["impressions", *names], rows, plot))


def _measured(folder: Path, impressions: int) -> list[float]:
    raw, out, run = folder / "raw", folder / "dataset", folder / "run"
    structure = ["--format", "aliccp", "--history", "130", "--session", "58", "--conversion-rate", "0.02"]
    _run(VERB, "simulate", raw, "--impressions", impressions, *structure, "-q")
    prepare = _run(VERB, "prepare", "aliccp", raw, out, "-q")
    train, score = _run(FIT, out, run), _run(SCORE, out, run)
    sizes = [sum(f.stat().st_size for f in where.rglob("*") if f.is_file()) / 1e9 for where in (raw, out)]
    found = [*sizes, Dataset(out).rows / 1e6, *prepare, *train, score[0]]
    print(impressions, [round(x, 2) for x in found], file=sys.stderr, flush=True)
    return found


def _run(program: str, *arguments: object) -> tuple[float, float]:
    """Seconds and peak memory in GB of a Python program."""
    began = time.perf_counter()
    process = subprocess.Popen([sys.executable, "-c", program, *map(str, arguments)], stdout=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{program.strip().splitlines()[-1]} {arguments} failed")
    return time.perf_counter() - began, used.ru_maxrss * 1024 / 1e9


if __name__ == "__main__":
    main()
