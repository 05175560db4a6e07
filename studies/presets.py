"""Which settings the preset `best` has: development logs, the settings tried, and what came out.

`python studies/presets.py logs FOLDER [--kuairand RAW]` makes the development logs. None has an impression of the test
half of KuaiRand by its recipe: the logs from it are its first half, divided again.
`python studies/presets.py run FOLDER OUT.jsonl [--only NAME,...]` trains what OUT.jsonl does not hold yet.
`python studies/presets.py table OUT.jsonl` prints the means. docs/study.md has the rule of choice, and what came out.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import polars as pl
from scipy.optimize import brentq
from scipy.special import expit

import entirespace as es
from entirespace.config import Config, parse, with_settings
from entirespace.dataset.dataset import Dataset
from entirespace.methods import BASE, ESMM, RATES, Method
from entirespace.metrics.auc import auc
from entirespace.metrics.losses import log_loss
from entirespace.rivals import LightGBM
from entirespace.runs.outputs import Outputs, average
from entirespace.runs.record import RunRecord
from entirespace.simulation.simulate import simulate
from entirespace.training import fit

PLAIN: Mapping[str, Any] = {"network.history": False}
CHECKS = {"training.watch": "ctcvr", "training.checks_per_epoch": 4, "training.patience": 2, "training.refit": True}
OFFSET: Mapping[str, Any] = {"network.offset": "rates"}
SMALL = {"network.hidden": [64, 32], "network.embedding_size": 8}
BY_RATES = {
    **OFFSET,
    **CHECKS,
    **SMALL,
    "network.offset_hidden": [64],
    "network.history": False,
    "network.rated_ids": False,
    "network.numbers": "interpolate",
}
P1 = {**PLAIN, **CHECKS, "network.numbers": "interpolate"}
SETTINGS: dict[str, tuple[Method, Mapping[str, Any]]] = {
    # with a history
    "RATES": (RATES(), {"training.refit": True}),
    "offset": (ESMM(), OFFSET),
    "offset, validated, refit": (ESMM(), {**OFFSET, **CHECKS}),
    "by rates": (ESMM(), BY_RATES),
    "by rates, with ids": (ESMM(), {**BY_RATES, "network.rated_ids": True}),
    "by rates, BASE": (BASE(), BY_RATES),
    # without
    "paper": (ESMM(), PLAIN),
    "paper, BASE": (BASE(), PLAIN),
    "validated, refit": (ESMM(), P1),
    "own loss, refit": (ESMM(), {**PLAIN, "network.numbers": "interpolate", "training.refit": True}),
    "own loss, refit, 1024": (
        ESMM(),
        {**PLAIN, "network.numbers": "interpolate", "training.refit": True, "training.batch_size": 1024},
    ),
    "validated, refit, lr 3e-4": (ESMM(), {**P1, "optimizer.learning_rate": 3e-4}),
    "validated, refit, small": (ESMM(), {**P1, **SMALL}),
    "validated, refit, decay": (ESMM(), {**P1, "optimizer.weight_decay": 1.0}),
}
SCREENED = ("kr_long", "small_world")
STEPS = 500

SCHEMA = """[impressions]
files = ["log.parquet"]
order = "time"
labels = { click = "click", conversion = "conversion" }
[impressions.fields]
%s
[split]
by = "order"
train = 0.5
validation = 0.1
[history]
keys = "all"
"""


def mixed(rows: int, seed: int, click: float, conversion: float) -> pl.DataFrame:
    """Five numbers and five categories; log odds with main effects, bends and products of two columns."""
    rng = np.random.default_rng(seed)
    numbers = [
        rng.normal(size=rows),
        rng.lognormal(0, 1, rows),
        rng.gamma(2, 2, rows),
        rng.uniform(0, 24, rows),
        rng.poisson(3, rows).astype(float),
    ]
    levels = [3, 5, 8, 20, 40]
    categories = [np.minimum((rng.pareto(1.0, rows) * k / 6).astype(int), k - 1) for k in levels]
    z = [(x - x.mean()) / x.std() for x in numbers]

    def score(of: int) -> np.ndarray:
        g, total = np.random.default_rng(of), np.zeros(rows)
        for x in z:
            total += g.normal() * 0.35 * x + g.normal() * 0.3 * np.sin(2 * x)
        for c, k in zip(categories, levels, strict=True):
            total += (g.normal(size=k) * 0.5)[c]
        total += 0.5 * z[0] * z[3] + g.normal() * 0.4 * z[1] * (categories[1] == 0)
        return total + (g.normal(size=(3, 8)) * 0.5)[categories[0], categories[2]]

    a, b = score(1), 0.5 * score(1) + score(2)
    y = rng.random(rows) < expit(a + brentq(lambda c: expit(a + c).mean() - click, -20, 20))
    pcvr = expit(b + brentq(lambda c: expit(b + c)[y].mean() - conversion, -20, 20))
    columns = {"click": y, "conversion": y & (rng.random(rows) < pcvr), "time": np.arange(rows)}
    columns |= {f"n{i}": x for i, x in enumerate(numbers)} | {f"c{i}": x for i, x in enumerate(categories)}
    return pl.DataFrame(columns)


def logs(folder: Path, kuairand: Path | None) -> None:
    """Make the development logs."""
    for bias in (0, 1, 3):
        _world(folder, f"world{bias}", impressions=1_000_000, conversion_rate=0.1, bias=bias, seed=11)
    _world(folder, "small_world", impressions=200_000, conversion_rate=0.1, bias=1, seed=12)
    _world(folder, "large", impressions=5_000_000, seed=13)
    for name, rows, click, conversion in (("mixed", 200_000, 0.2, 0.18), ("few", 5_000, 0.3, 0.1)):
        raw = _raw(folder, name)
        mixed(rows, 1, click, conversion).write_parquet(raw / "log.parquet")
        fields = [f'n{i} = {{ kind = "number", buckets = 20 }}\nc{i} = {{ kind = "id" }}' for i in range(5)]
        (raw / "schema.toml").write_text(SCHEMA % "\n".join(fields))
        _prepared(folder, name)
    if kuairand is None:
        return
    log = pl.read_csv(next(kuairand.glob("kuairand_pure_std_*.csv*")), infer_schema_length=None)
    half = log.sort("time_ms", maintain_order=True).head(log.height // 2)
    recipe = (Path(es.__file__).parent / "recipes" / "kuairand.toml").read_text()
    for name, label in (("kr_like", "is_like"), ("kr_long", "long_view")):
        raw = _raw(folder, name)
        half.write_csv(raw / "kuairand_pure_std_half.csv")
        for side in (*kuairand.glob("user_features_pure.csv*"), *kuairand.glob("video_features_basic_pure.csv*")):
            shutil.copy(side, raw)
        schema = recipe.replace('conversion = "is_like"', f'conversion = "{label}"')
        (raw / "schema.toml").write_text(schema.replace("train = 0.5", "train = 0.6"))
        _prepared(folder, name)


def _raw(folder: Path, name: str) -> Path:
    raw = folder / f"{name}_raw"
    raw.mkdir(parents=True, exist_ok=True)
    return raw


def _world(folder: Path, name: str, **options: Any) -> None:
    if not (folder / f"{name}_raw").exists():
        folder.mkdir(parents=True, exist_ok=True)
        simulate(folder / f"{name}_raw", rates=True, **options)
    _prepared(folder, name)


def _prepared(folder: Path, name: str) -> None:
    if not (folder / name).exists():
        es.prepare(folder / f"{name}_raw" / "schema.toml", folder / f"{name}_raw", folder / name)


def measured(data: Dataset, outputs: Outputs) -> dict[str, float]:
    """AUC (%) and log loss on the test part of a development log; with the truth, the excess on un-clicked ones."""
    test = data.test
    y, z, both = test.column("click"), test.column("conversion"), outputs.bid()
    pcvr = np.minimum(both["cvr"], 1)
    found = {
        "cvr_auc": 100 * float(auc(pcvr[y], z[y])),
        "ctcvr_auc": 100 * float(auc(both["ctcvr"], z)),
        "ctcvr_log_loss": float(log_loss(both["ctcvr"], z)),
        "cvr_log_loss": float(log_loss(pcvr[y], z[y])),
    }
    if (truth := test.truth()) is not None:
        q, p = truth[1][~y].astype(np.float64), pcvr[~y].astype(np.float64)
        found["excess_unclicked"] = float((q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))).mean())
    return found


def batch_size(data: Dataset, passes: float = 6.0) -> int:
    """The largest power of two, from 64 to 1024, with which this many passes are at least `STEPS` steps."""
    most = len(data.train) * passes / STEPS
    return int(2 ** np.clip(np.floor(np.log2(max(1.0, most))), 6, 10))


def trained(data: Dataset, name: str, seed: int) -> tuple[dict[str, float], Outputs]:
    """Train a setting and measure it."""
    start = time.monotonic()
    if name == "LightGBM":
        outputs = LightGBM().fit(data, seed=seed).outputs(data.test)
        return {"seconds": time.monotonic() - start, **measured(data, outputs)}, outputs
    method, settings = SETTINGS[name]
    more: dict[str, Any] = {"training.precision": "auto", "training.threads": int(os.environ.get("THREADS", "1"))}
    if "training.refit" in settings:
        more["training.batch_size"] = batch_size(data)
    config = parse(Config, with_settings(Config().model_dump(mode="json"), {**more, **settings}), name)
    reference = None
    if "pctr" not in method.predicts:
        reference = es.reference_ctr(data.train, seed=seed, config=config)
    run = fit(method, data.train, seed=seed, config=config, reference=reference)
    seconds = time.monotonic() - start
    outputs = run.own_scores(data.test)
    if run.reference is not None:
        outputs = outputs.beside(run.reference.own_pctr(data.test))
    passes = RunRecord.open(run.folder).position.passes
    return {"seconds": seconds, "passes": passes, **measured(data, outputs)}, outputs


def wanted(folder: Path, only: set[str] | None, stage: str, seeds: int) -> Iterator[tuple[str, str, tuple[int, ...]]]:
    """(log, setting, seeds) of a stage."""
    there = sorted(p.name for p in folder.iterdir() if (p / "manifest.json").exists())
    for log in there:
        if stage == "screen" and log not in SCREENED:
            continue
        for name in ("LightGBM", *SETTINGS):
            if only is None or name in only:
                one = name in ("RATES", "LightGBM")
                yield log, name, (0,) if one else tuple(range(2 if stage == "screen" else seeds))


def run(folder: Path, out: Path, only: set[str] | None, stage: str, logs_: set[str] | None, seeds_: int) -> None:
    """Train everything that is missing, and the ensemble of the first three seeds."""
    done = {(r["log"], r["setting"], r["seed"]) for r in _read(out)}
    for log, name, seeds in wanted(folder, only, stage, seeds_):
        if logs_ is not None and log not in logs_:
            continue
        data, kept = es.open(folder / log), list[Outputs]()
        todo = [seed for seed in seeds if (log, name, seed) not in done]
        together = len(seeds) > 2 and (log, name, "0-2") not in done
        for seed in seeds:
            if seed not in todo and not (together and seed < 3):
                continue
            found, outputs = trained(data, name, seed)
            if seed < 3:
                kept.append(outputs)
            if seed in todo:
                _write(out, {"log": log, "setting": name, "seed": seed, **found})
            if together and len(kept) == 3:
                _write(out, {"log": log, "setting": name, "seed": "0-2", **measured(data, average(kept, False))})
                together = False


def _read(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []


def _write(out: Path, row: Mapping[str, Any]) -> None:
    with out.open("a") as file:
        file.write(json.dumps(row) + "\n")
    print(json.dumps(row), flush=True)


def table(out: Path) -> None:
    """Print the mean over seeds of each log and setting, as Markdown."""
    rows = pl.DataFrame(_read(out), infer_schema_length=None)
    rows = rows.with_columns(pl.col("seed").cast(pl.String), (pl.col("seed").cast(pl.String) == "0-2").alias("three"))
    means = rows.group_by("log", "setting", "three", maintain_order=True).agg(
        pl.len().alias("seeds"), pl.selectors.float().mean()
    )
    print("| log | setting | seeds | CVR / CTCVR AUC | CTCVR log loss | excess, un-clicked | passes | seconds |")
    print("|---|---|---|---|---|---|---|---|")
    for r in means.sort("log", maintain_order=True).iter_rows(named=True):
        name = f"{r['setting']}, ensemble of 3" if r["three"] else r["setting"]
        excess = "" if r.get("excess_unclicked") is None else f"{r['excess_unclicked']:.4f}"
        passes = "" if r["passes"] is None else f"{r['passes']:.2f}"
        seconds = "" if r["seconds"] is None else f"{r['seconds']:.0f}"
        print(
            f"| {r['log']} | {name} | {r['seeds']} | {r['cvr_auc']:.2f} / {r['ctcvr_auc']:.2f} "
            f"| {r['ctcvr_log_loss']:.5f} | {excess} | {passes} | {seconds} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    one = verbs.add_parser("logs")
    one.add_argument("folder", type=Path)
    one.add_argument("--kuairand", type=Path)
    two = verbs.add_parser("run")
    two.add_argument("folder", type=Path)
    two.add_argument("out", type=Path)
    two.add_argument("--only", type=lambda text: set(text.split(";")))
    two.add_argument("--logs", type=lambda text: set(text.split(",")))
    two.add_argument("--seeds", type=int, default=5)
    two.add_argument("--stage", choices=["screen", "final"], default="screen")
    three = verbs.add_parser("table")
    three.add_argument("out", type=Path)
    args = parser.parse_args()
    if args.verb == "logs":
        logs(args.folder, args.kuairand)
    elif args.verb == "run":
        run(args.folder, args.out, args.only, args.stage, args.logs, args.seeds)
    else:
        table(args.out)


if __name__ == "__main__":
    main()
