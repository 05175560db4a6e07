"""Why ESMM is last on KuaiRand-Pure: Eq. (3) with weights, embeddings and sizes varied, looked at as it learns.

`python studies/kuairand.py DATASET OUT.jsonl` trains and looks; what OUT.jsonl holds is not done again.
`python studies/kuairand.py DATASET OUT.jsonl --draw docs/study` draws it, and prints the table.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from entirespace.batches.feed import Feed
from entirespace.config import Config, NetworkConfig
from entirespace.dataset.dataset import Dataset, Part, open_dataset
from entirespace.features.chosen import ChosenFields
from entirespace.methods import ESMM, Method
from entirespace.methods._method import once
from entirespace.metrics.auc import auc
from entirespace.metrics.correlation import rank_correlation
from entirespace.metrics.losses import log_loss
from entirespace.network.probability import bce
from entirespace.training.learner import Learner

EPOCHS, LOOKS = 4, 2  # epochs without a stop; looks an epoch
SEEDS = (0, 1, 2)


@dataclass(frozen=True)
class Weighted(Method):
    """w l(y, pCTR) + l(y&z, pCTR * pCVR): ESMM for w = 1."""

    share_embedding: bool = True
    weight: float = 1.0

    heads: ClassVar = ("ctr", "cvr")

    def samples(self, labels, rng):
        return once(labels)

    def loss(self, p, batch):
        return self.weight * bce(batch.click, p.ctr) + bce(batch.conversion, p.ctr * p.cvr)

    def base_rates(self, counts):
        return ESMM().base_rates(counts)

    def predict(self, p):
        return ESMM().predict(p)


VARIANTS: dict[str, tuple[Weighted, int]] = {  # method, embedding size
    "ESMM": (Weighted(), 18),
    "ESMM-NS": (Weighted(share_embedding=False), 18),
    "ESMM, CTR loss x 0.1": (Weighted(weight=0.1), 18),
    "ESMM, CTR loss x 0.01": (Weighted(weight=0.01), 18),
    "ESMM, embedding size 36": (Weighted(), 36),
}


def learn(data: Dataset, method: Weighted, size: int, seed: int) -> Iterator[dict[str, Any]]:
    """Train as `fit` does, without a stop, and look at both parts as it goes."""
    config = Config.model_validate({"network": {"embedding_size": size, "history": False}})
    settings = config.training
    learner, feed = Learner(method, data, config, seed), Feed.of(data, without_history(data))
    batches = -(-len(data.train) // settings.batch_size)
    looks = {round(batches * (k + 1) / LOOKS): (k + 1) / LOOKS for k in range(LOOKS)}
    for epoch in range(EPOCHS):
        rng, losses = np.random.default_rng([seed, epoch]), []
        done = feed.epoch(
            data.train, method.samples, batch_size=settings.batch_size, shuffle_rows=settings.shuffle_rows, rng=rng
        )
        for k, batch in enumerate(done, start=1):
            losses.append(learner.step(batch)[0].item())
            if k in looks:
                learner.finish()
                yield {
                    "epoch": epoch + looks[k],
                    "train_loss": float(np.mean(losses)),
                    "validation": look(learner, data.validation),
                    "test": look(learner, data.test),
                }


def without_history(data: Dataset) -> ChosenFields:
    """All fields but the rates of the history, as the study was made."""
    return ChosenFields.of(data.layout.fields, NetworkConfig(history=False))


def look(learner: Learner, part: Part) -> dict[str, Any]:
    """Both losses, both AUCs, and how pCTR and pCVR rank together."""
    pctr, pcvr = [], []
    with torch.inference_mode():
        for batch in Feed.of(part.dataset, without_history(part.dataset)).in_order(part.chunks(), 8192):
            p = learner.network(batch)
            pctr.append(p.ctr.value.numpy())
            pcvr.append(p.cvr.value.numpy())
    ctr, cvr = np.concatenate(pctr), np.concatenate(pcvr)
    y, z = part.column("click"), part.column("conversion")
    return {
        "ctr_loss": log_loss(ctr, y),
        "ctcvr_loss": log_loss(ctr * cvr, z),
        "ctr_auc": auc(ctr, y),
        "cvr_auc": auc(cvr[y], z[y]),
        "ctcvr_auc": auc(ctr * cvr, z),
        "pctr_pcvr_rank_correlation": rank_correlation(ctr, cvr),
    }


def train(data: Dataset, out: Path) -> None:
    lines = [json.loads(line) for line in out.read_text().splitlines()] if out.exists() else []
    there = {(line["variant"], line["seed"]) for line in lines}
    for seed in SEEDS:
        for name, (method, size) in VARIANTS.items():
            if (name, seed) in there:
                continue
            looks = list(learn(data, method, size, seed))
            with out.open("a") as file:
                file.write(json.dumps({"variant": name, "seed": seed, "looks": looks}) + "\n")
            last = looks[-1]["test"]
            print(f"{name}, seed {seed}: CVR AUC {100 * last['cvr_auc']:.2f} % after {EPOCHS} epochs", flush=True)


# Which look each rule of stopping would have kept

RULES: dict[str, Any] = {
    "sum of both losses (the default)": lambda v, weight: weight * v["ctr_loss"] + v["ctcvr_loss"],
    "CTCVR loss alone": lambda v, weight: v["ctcvr_loss"],
}


def kept(looks: list[dict[str, Any]], rule: str, weight: float) -> dict[str, Any]:
    """Of the looks at the ends of epochs, the first before one that is worse: patience 1."""
    ends = [one for one in looks if float(one["epoch"]).is_integer()]
    values = [RULES[rule](one["validation"], weight) for one in ends]
    for before, (k, value) in zip(values, enumerate(values[1:], start=1), strict=False):
        if value >= before:
            return ends[k - 1]
    return ends[-1]


def table(lines: list[dict[str, Any]]) -> str:
    head = ["variant", *RULES, *(f"after {n + 1} epochs" for n in range(EPOCHS))]
    rows = []
    for name, (method, _) in VARIANTS.items():
        runs = [line["looks"] for line in lines if line["variant"] == name]
        if not runs:
            continue
        picked = [[kept(looks, rule, method.weight) for looks in runs] for rule in RULES]
        picked += [[looks[LOOKS * (n + 1) - 1] for looks in runs] for n in range(EPOCHS)]
        rows.append([name, *map(_both, picked)])
    text = [" | ".join(row) for row in (head, ["---"] + ["---:"] * (len(head) - 1), *rows)]
    return "\n".join(f"| {line} |" for line in text)


def _both(looks: list[dict[str, Any]]) -> str:
    cells = []
    for task in ("cvr_auc", "ctcvr_auc"):
        values = np.array([100 * one["test"][task] for one in looks])
        cells.append(f"{values.mean():.2f}±{values.std(ddof=1) if len(values) > 1 else 0:.2f}")
    return " / ".join(cells)


COLOURS = ("#4477aa", "#ee6677", "#228833", "#b58900", "#3fa7c4", "#aa3377", "#444444")  # Tol's
MARKS = "osD^vPX"
PANELS = {
    "CTR loss, validation": ("validation", "ctr_loss", 1),
    "CTCVR loss, validation": ("validation", "ctcvr_loss", 1),
    "CVR AUC %, test": ("test", "cvr_auc", 100),
    "CTCVR AUC %, own pCTR, test": ("test", "ctcvr_auc", 100),
}


STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "kuairand",
    "font.family": "sans-serif",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
}


def draw(lines: list[dict[str, Any]], path: Path) -> None:
    figure, axes = plt.subplots(2, 2, figsize=(9.5, 6.6), layout="constrained", sharex=True)
    for axis, (title, (part, metric, scale)) in zip(axes.ravel(), PANELS.items(), strict=True):
        for i, name in enumerate(VARIANTS):
            runs = [line["looks"] for line in lines if line["variant"] == name]
            if not runs:
                continue
            values = scale * np.array([[one[part][metric] for one in looks] for looks in runs])
            std = values.std(0, ddof=1) if len(values) > 1 else 0 * values[0]
            band(axis, i, name, [one["epoch"] for one in runs[0]], values.mean(0), std)
        axis.set_title(title)
    for axis in axes[-1]:
        axis.set_xlabel("epochs")
    finish(figure, axes[0][0], 3, path)


def draw_curve(curve: list[dict[str, Any]], path: Path) -> None:
    """The paper's Fig. 3, of `entirespace compare --sampling-rates`."""
    figure, axes = plt.subplots(1, 2, figsize=(9.5, 4.2), layout="constrained")
    shares = [100 * point["share"] for point in curve]
    for axis, task in zip(axes, ("cvr", "ctcvr"), strict=True):
        for i, name in enumerate(curve[0]["auc"]):
            found = [point["auc"][name][task] for point in curve]
            mean, std = (100 * np.array([one[key] or 0.0 for one in found]) for key in ("mean", "std"))
            band(axis, i, name, shares, mean, std)
        axis.set(title=f"{task.upper()} task", xscale="log", xlabel="% of the training impressions", ylabel="AUC %")
        axis.set_xticks(shares, [f"{share:g}" for share in shares])
        axis.minorticks_off()
    finish(figure, axes[0], 4, path)


def band(axis: Axes, i: int, name: str, x: list[float], mean: np.ndarray, std: np.ndarray) -> None:
    """A line, and one deviation around it."""
    axis.plot(x, mean, color=COLOURS[i], marker=MARKS[i], markersize=4, label=name)
    axis.fill_between(x, mean - std, mean + std, color=COLOURS[i], alpha=0.12, linewidth=0)


def finish(figure: Figure, axis: Axes, columns: int, path: Path) -> None:
    figure.legend(*axis.get_legend_handles_labels(), loc="outside lower center", ncols=columns)
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path, help="of `entirespace prepare kuairand`")
    parser.add_argument("out", type=Path, help="a line of JSON a run")
    parser.add_argument("--draw", type=Path, help="draw what stands in OUT to this folder instead")
    parser.add_argument("--curve", type=Path, help="a comparison's report.json, whose sampling curve is drawn, too")
    given = parser.parse_args()
    if not given.draw:
        torch.set_num_threads(1)
        train(open_dataset(given.dataset), given.out)
        return
    lines = [json.loads(line) for line in given.out.read_text().splitlines()]
    given.draw.mkdir(parents=True, exist_ok=True)
    with plt.rc_context(STYLE):
        draw(lines, given.draw / "kuairand-learning.svg")
        if given.curve:
            draw_curve(json.loads(given.curve.read_text())["sampling_curve"], given.draw / "kuairand-curve.svg")
    print(table(lines))


if __name__ == "__main__":
    main()
