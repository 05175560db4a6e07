"""Training speed of ESMM, the paper's network: ours against DeepCTR, deepctr-torch, torch-rechub and a page of torch.

    make rivals                          once: the rivals' environments
    python benchmarks/training.py [--rows 100000 1000000 5000000] [--batch 2048 8192] [--rounds 3] [--rivals DeepCTR]

Each side is a process of its own (benchmarks/rivals/) that trains on the same prepared data; they take turns of some
seconds, round by round. Where a side can train in several ways, all are tried, and the fastest goes on; so does a
library as it comes, with its own loop and Adam, for a table of its own. The floor is a side like the others.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any, Self

from common import RESULTS, Plot, Result, publish
from rivals.prepared import prepared

HERE = Path(__file__).parent
ROOT = HERE.parent
OURS, FLOOR = "ours", "floor"
RIVALS = {  # name -> script and environment; None: our own
    "DeepCTR": ("esmm_deepctr.py", "tensorflow"),
    "deepctr-torch": ("esmm_deepctr_torch.py", "torch"),
    "torch-rechub": ("esmm_torch_rechub.py", "torch"),
    "plain torch": ("esmm_plain_torch.py", None),
}
LIBRARIES = [name for name, (_, environment) in RIVALS.items() if environment]
COLUMNS = ["V", "B", OURS, *RIVALS, "fastest rival", "times the fastest", FLOOR, "share of the floor", "spread of ours"]
AS_IT_COMES = "as it comes"  # a way
STEPS = 3  # of a turn, at least
LONGEST = 1 << 18  # impressions of a turn

TEXT = """Impressions a second in training ESMM as the paper has it: 23 single-valued fields of Zipf ids, embedding size
18, two towers 360 x 200 x 80, Adam with a rate of 0.001. V: rows of all embedding tables; B: batch size. Two threads
for each side.

- **ours**: as `entirespace train` runs it, from the dataset's Parquet files to the step, exact Adam on every row.
- **DeepCTR** 0.9.4 (TensorFlow 2.21, Keras 2), **deepctr-torch** 0.3.0, **torch-rechub** 0.9.0: each library's own
  ESMM, from arrays in memory, without the L2 terms and batch normalisation that the paper's network has not. The figure
  is the faster of the library as it comes and of a plain loop, without a DataLoader and with torch's fused Adam.
- **plain torch**: a page of torch code with one `nn.Embedding`, in the plain loop.
- **floor**: the matrix products of a step alone, in the fastest precision that the processor has units for.

The spread is from the slowest to the fastest turn of ours, as a share of the median."""


TEXT_LIBRARIES = """The same run, with each library as most of its users have it: its own training loop and data
loader, and Adam as it makes it, not fused. Here, too, without L2 terms and batch normalisation."""


class Side:
    """A process that trains in turns, and the speeds it reached."""

    def __init__(self, name: str, python: Path, script: str, folder: Path, threads: int) -> None:
        self.name, self._log = name, folder / f"{script}.log"
        environment = os.environ | {"OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        reads, writes = os.pipe()  # not stdout, on which the libraries print
        with self._log.open("w") as log:
            self._process = subprocess.Popen(
                [python, HERE / "rivals" / script, folder, str(threads), str(writes)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                pass_fds=[writes],
                text=True,
                env=environment,
            )
        os.close(writes)
        self._answers = os.fdopen(reads)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._process.kill()
        self._process.wait()
        self._answers.close()

    def get_ready(self) -> None:
        """Wait until it is."""
        about = self._answer()
        self._ways, self._least = about["ways"], about["turn"]

    def warm_up(self, batch: int, seconds: float) -> None:
        """Try all ways with this batch size, keep the fastest, and see how many impressions make a turn of so long."""
        self._batch = batch
        speeds = {way: self._tried(way, seconds / 2) for way in self._ways}
        self.way = max(speeds, key=lambda way: speeds[way])
        self.turns: dict[str, list[float]] = {way: [] for way in self._ways if way in (self.way, AS_IT_COMES)}
        self._turns = {way: self._impressions(speeds[way], seconds) for way in self.turns}
        ways = ", ".join(f"{way} {speed:,.0f}/s" for way, speed in speeds.items())
        print(f"  {self.name}: {ways}", file=sys.stderr, flush=True)

    def turn(self) -> None:
        """One turn of the fastest way, and of the library as it comes."""
        for way, turns in self.turns.items():
            turns.append(self._train(way, self._turns[way]))

    def speed(self, way: str | None = None) -> float:
        """Impressions a second of a way, else of the fastest: the median of the turns."""
        return median(self.turns[way or self.way])

    def _tried(self, way: str, seconds: float) -> float:
        """Impressions a second: over a few steps, or as many as fill the time, for a loop takes time to begin."""
        done, wanted = 0, max(self._batch, self._least)
        speed = 0.0
        while wanted > 1.5 * done:
            speed = self._train(way, wanted)
            done, wanted = wanted, self._impressions(speed, seconds)
        return speed

    def _impressions(self, speed: float, seconds: float) -> int:
        """Whole turns of at least a few steps, which at this speed take at least so long."""
        once = max(self._batch, self._least)
        return min(max(math.ceil(STEPS * self._batch / once), math.ceil(seconds * speed / once)) * once, LONGEST)

    def _train(self, way: str, impressions: int) -> float:
        assert self._process.stdin
        asked = {"way": way, "batch": self._batch, "impressions": impressions}
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        return impressions / self._answer()["seconds"]

    def _answer(self) -> dict[str, Any]:
        line = self._answers.readline()
        if not line:
            raise SystemExit(f"{self.name} ended. {self._log}:\n{self._log.read_text()[-2000:]}")
        return json.loads(line)


@dataclass(frozen=True)
class Options:
    rows: list[int]
    batch: list[int]
    rounds: int
    rivals: list[str]
    seconds: float
    threads: int
    folder: Path
    keep: bool


def main() -> None:
    options = _options()
    rows: list[list[Any]] = []
    as_they_come: list[list[Any]] = []
    for v in options.rows:
        for batch, sides in _measure(v, options):
            rows.append([v, batch, *_told(sides)])
            as_they_come.append([v, batch, *_told_as_they_come(sides)])
    plot = Plot(x="V", y=[OURS, *RIVALS, FLOOR], label="impressions/s", panel="B", log=True)
    other = replace(plot, y=[OURS, *LIBRARIES])
    columns = ["V", "B", OURS, *LIBRARIES, "times the fastest"]
    for result in (
        Result("training", "Training", TEXT, COLUMNS, rows, plot),
        Result("training_libraries", "Training, libraries as they come", TEXT_LIBRARIES, columns, as_they_come, other),
    ):
        publish(_with_kept(result) if options.keep else result)


def _measure(v: int, options: Options) -> Iterator[tuple[int, dict[str, Side]]]:
    """Batch size after batch size, the sides with their turns taken."""
    folder = prepared(v, options.folder)
    scripts = {
        OURS: ("esmm_ours.py", None),
        **{name: RIVALS[name] for name in options.rivals},
        FLOOR: ("floor.py", None),
    }
    with ExitStack() as stack:
        sides = {
            name: stack.enter_context(Side(name, _python(environment), script, folder, options.threads))
            for name, (script, environment) in scripts.items()
        }
        for side in sides.values():
            side.get_ready()
        for batch in options.batch:
            print(f"V {v:,}, B {batch:,}", file=sys.stderr)
            for side in sides.values():
                side.warm_up(batch, options.seconds)
            for _ in range(options.rounds):
                for side in sides.values():
                    side.turn()
            yield batch, sides


def _told(sides: dict[str, Side]) -> list[Any]:
    """The columns after V and B."""
    ours, floor = sides[OURS], sides[FLOOR]
    fastest = max((sides[name] for name in RIVALS if name in sides), key=lambda side: side.speed(), default=None)
    turns = ours.turns[ours.way]
    return [
        ours.speed(),
        *(sides[name].speed() if name in sides else "n/a" for name in RIVALS),
        f"{fastest.name}, {fastest.way}" if fastest else "n/a",
        ours.speed() / fastest.speed() if fastest else "n/a",
        floor.speed(),
        f"{ours.speed() / floor.speed():.0%} of {floor.way}",
        f"{(max(turns) - min(turns)) / ours.speed():.0%}",
    ]


def _told_as_they_come(sides: dict[str, Side]) -> list[Any]:
    speeds = [sides[name].speed(AS_IT_COMES) for name in LIBRARIES if name in sides]
    return [
        sides[OURS].speed(),
        *(sides[name].speed(AS_IT_COMES) if name in sides else "n/a" for name in LIBRARIES),
        sides[OURS].speed() / max(speeds) if speeds else "n/a",
    ]


def _with_kept(result: Result) -> Result:
    """The result with what an earlier run measured for other V and B."""
    path = RESULTS / f"{result.name}.json"
    earlier = json.loads(path.read_text())["rows"] if path.exists() else []
    measured = [row[:2] for row in result.rows]
    rows = result.rows + [row for row in earlier if row[:2] not in measured]
    return replace(result, rows=sorted(rows, key=lambda row: (row[1], row[0])))


def _python(environment: str | None) -> Path:
    return Path(sys.executable) if environment is None else ROOT / ".rivals" / environment / "bin" / "python"


def _options() -> Options:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[100_000, 1_000_000, 5_000_000], help="of all tables")
    parser.add_argument("--batch", type=int, nargs="+", default=[2048, 8192])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--rivals", nargs="*", default=list(RIVALS), choices=list(RIVALS))
    parser.add_argument("--seconds", type=float, default=1.5, help="a turn takes at least")
    parser.add_argument("--threads", type=int, default=2, help="of each side")
    parser.add_argument("--folder", type=Path, default=ROOT / "bench" / "training", help="for the prepared data")
    parser.add_argument("--keep", action="store_true", help="keep an earlier run's figures for other V and B")
    options = Options(**vars(parser.parse_args()))
    there = [name for name in options.rivals if _python(RIVALS[name][1]).exists()]
    for name in options.rivals:
        if name not in there:
            print(f"{name} is left out: `make rivals` makes its environment", file=sys.stderr)
    options.rivals[:] = there
    return options


if __name__ == "__main__":
    main()
