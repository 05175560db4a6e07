"""What a setting that makes training faster costs: AUC and calibration of ESMM on the test part, over seeds.

    python benchmarks/choices.py blocks NAME=DATASET [NAME=DATASET ...] [--seeds 5]
    python benchmarks/choices.py precision NAME=DATASET [NAME=DATASET ...] [--seeds 5]

The first setting is the default; the others are reported as differences from it, paired by seed.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from statistics import mean, stdev
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import torch
from common import Result, publish
from torch import Tensor
from torch.nn import functional

import entirespace as es
from entirespace.config import Config
from entirespace.dataset.dataset import Part
from entirespace.metrics.auc import auc

SETTINGS: dict[str, dict[str, dict[str, object]]] = {
    "blocks": {"block 1": {}, **{f"block {n}": {"block": n} for n in (4, 16, 64)}},
    "precision": {"fp32": {}, "bf16": {"precision": "bf16"}},
}
TITLES = {
    "blocks": "Shuffling rows or blocks",
    "precision": "fp32 or bf16",
}
TEXTS = {
    "blocks": """ESMM with `training.block` = 1 (each impression goes where chance puts it) and more (impressions of
one side row stay together, so that a batch reads the row once), everything else as by default. AUC
in points of 100 on the test part, mean and deviation over seeds; differences are paired by seed.""",
    "precision": """ESMM with `training.precision` = "fp32" and "bf16" (torch's autocast), everything else as by
default. AUC in points of 100 on the test part, mean and deviation over seeds; differences are
paired by seed. On a processor
without bf16 units bf16 is emulated: what the hidden layers multiply, and what comes out, forward and
backward, is rounded to bf16, and products are summed in float32, as such units do. The speed is then
that of the emulation.""",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("choice", choices=SETTINGS)
    parser.add_argument("datasets", nargs="+", metavar="NAME=DATASET")
    parser.add_argument("--seeds", type=int, default=5)
    options = parser.parse_args()
    rows = []
    for name, _, path in (text.partition("=") for text in options.datasets):
        data = es.open(path)
        first: list[tuple[float, float]] = []
        for setting, training in SETTINGS[options.choice].items():
            with nullcontext() if "precision" not in training or has_units() else emulated_bf16():
                how = {} if "precision" in training and not has_units() else training
                came = [_trained(data.train, data.test, seed, how) for seed in range(options.seeds)]
            first = first or [(cvr, ctcvr) for cvr, ctcvr, *_ in came]
            cvr, ctcvr, ratio, speed = (list(column) for column in zip(*came, strict=True))
            against = [
                [mine - other[i] for mine, other in zip(column, first, strict=True)]
                for i, column in enumerate((cvr, ctcvr))
            ]
            rows.append([name, setting, *map(_spread, (cvr, ctcvr, *against, ratio)), mean(speed)])
            print(rows[-1], flush=True)
    columns = ["log", "setting", "CVR AUC", "CTCVR AUC", "CVR, difference", "CTCVR, difference", "PCOC of CTCVR"]
    publish(Result(options.choice, TITLES[options.choice], TEXTS[options.choice], [*columns, "impressions/s"], rows))


def has_units() -> bool:
    """Whether this processor multiplies bf16 faster than by taking it apart."""
    return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()


class _Rounded(torch.autograd.Function):
    """x W' as bf16 units do it: operands and results rounded to bf16, sums in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        x, weight = _round(x), _round(weight)
        ctx.save_for_backward(x, weight)
        return _round(x @ weight.T)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, Tensor]:
        (x, weight), grad = ctx.saved_tensors, _round(grads[0])
        return _round(grad @ weight), _round(grad.T @ x)


def _round(x: Tensor) -> Tensor:
    return x.bfloat16().float()


@contextmanager
def emulated_bf16() -> Iterator[None]:
    """Hidden layers as under autocast on a processor with bf16 units. The logits, two a tower, stay float32."""
    linear, addmm = functional.linear, torch.addmm

    def rounded(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
        if len(weight) == 2:
            return linear(x, weight, bias)
        y = _Rounded.apply(x, weight)
        return y if bias is None else _round(y + bias)

    functional.linear = rounded
    torch.addmm = lambda z, x, weight: _round(z + _Rounded.apply(x, weight.T))
    try:
        yield
    finally:
        functional.linear, torch.addmm = linear, addmm


def _trained(train: Part, test: Part, seed: int, training: dict[str, object]) -> tuple[float, float, float, float]:
    """CVR and CTCVR AUC in points, PCOC of CTCVR, and impressions a second with looks at the validation part."""
    config = Config.model_validate({"training": training, "network": {"history": False}})
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        run = es.fit(es.ESMM(), train, seed=seed, config=config, out=Path(folder) / "run")
        seconds = time.perf_counter() - began
        lines = (Path(folder) / "run" / "metrics.jsonl").read_text().splitlines()
        epochs = max(json.loads(line)["epoch"] for line in lines)
        p = run.predict(test)
    click, conversion = test.column("click"), test.column("conversion")
    return (
        100 * float(auc(p.pcvr[click], conversion[click])),
        100 * float(auc(p.pctcvr, conversion)),
        float(p.pctcvr.mean(dtype=float) / conversion.mean()),  # PCOC
        epochs * len(train) / seconds,
    )


def _spread(values: list[float]) -> str:
    return (
        f"{mean(values):+.2f}±{stdev(values):.2f}"
        if min(values) < 0 or not any(values)
        else f"{mean(values):.2f}±{stdev(values):.2f}"
    )


if __name__ == "__main__":
    main()
