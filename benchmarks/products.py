"""The matrix products of training: torch's fp32 as it comes, other ways to fp32, and bf16. Speed of whole steps.

    python benchmarks/products.py [--rows 100000] [--batch 1024 2048 8192] [--rounds 5]

Each side is a learner of its own in this process; they take turns of some steps, on the same batches.
"""

from __future__ import annotations

import argparse
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any, Literal

os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import torch
from common import Result, in_turn, publish
from rivals.prepared import prepared
from torch import Tensor
from torch.nn import functional

from entirespace.batches.batch import Batch
from entirespace.batches.feed import Feed
from entirespace.config import Config, TrainingConfig
from entirespace.dataset.dataset import ROW_GROUP, Dataset, open_dataset
from entirespace.methods import ESMM
from entirespace.training.learner import Learner

ROOT = Path(__file__).parent.parent
IMPRESSIONS = 1 << 16  # of a turn, at least
TEXT = """Impressions a second in training ESMM as the paper has it (23 fields of Zipf ids, embedding size 18, towers
360 x 200 x 80), in one process, on the same batches, in turn; batches are made beforehand. Medians of the turns.

- **fp32**: `training.precision = "fp32"`, which is the default. On processors of AMD the products of this build of
  torch run code of MKL for AVX2.
- **fp32 by oneDNN**: the same, but every product of the hidden layers calls oneDNN, which has code for AVX-512, by
  torch's operation `mkldnn::_linear_pointwise`.
- **fp32, "medium"**: `torch.set_float32_matmul_precision("medium")`: torch may round the factors of fp32 products to
  bf16.
- **bf16**: `training.precision = "bf16"`.

"same bits": training twice gives the same weights; "as fp32": they are those of the first line. The second line is not
offered as a setting: the operation is private to torch, its sums are rounded otherwise than those of the default, so
that every figure would change in its last digits, and it brings little next to bf16. The third is no precision of its
own: it is a switch for the whole process, where ours rounds only the hidden layers in training."""


class _OneDNN(torch.autograd.Function):
    """x W' + b and its two backward products, by oneDNN."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.biased = bias is not None
        return _product(x, weight, bias)

    @staticmethod
    def backward(ctx: Any, *grads: Any) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        of_x = _product(grad, weight.t()) if ctx.needs_input_grad[0] else None
        return of_x, _product(grad.t(), x.t()), grad.sum(0) if ctx.biased else None


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


@contextmanager
def one_dnn() -> Iterator[None]:
    """Hidden layers by oneDNN; the logits, two a tower, stay as they are."""
    linear = functional.linear
    functional.linear = lambda x, weight, bias=None: (
        linear(x, weight, bias) if len(weight) == 2 else _OneDNN.apply(x, weight, bias)
    )
    try:
        yield
    finally:
        functional.linear = linear


@contextmanager
def medium() -> Iterator[None]:
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)


SIDES: dict[str, tuple[Literal["fp32", "bf16"], Callable[[], AbstractContextManager[None]]]] = {
    "fp32": ("fp32", nullcontext),
    "fp32 by oneDNN": ("fp32", one_dnn),
    'fp32, "medium"': ("fp32", medium),
    "bf16": ("bf16", nullcontext),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=100_000, help="of all tables")
    parser.add_argument("--batch", type=int, nargs="+", default=[1024, 2048, 8192])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", type=Path, default=ROOT / "bench" / "training", help="for the prepared data")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    data = open_dataset(prepared(options.rows, options.folder) / "dataset")
    rows = [row for size in options.batch for row in _of_a_size(data, size, options.rounds)]
    columns = ["B", "products", "impressions/s", "times fp32", "same bits", "as fp32"]
    publish(Result("products", "The products of a step", TEXT, columns, rows))


def _of_a_size(data: Dataset, size: int, rounds: int) -> Iterator[list[Any]]:
    feed = Feed.of(data)
    shuffled = feed.shuffled(
        data.train, ESMM().samples, batch_size=size, shuffle_rows=ROW_GROUP, rng=np.random.default_rng(0)
    )
    steps = max(1, IMPRESSIONS // size)
    batches = [feed.batch(rows) for rows in itertools.islice(shuffled, steps)]
    trained = {name: [_turn(data, name, batches) for _ in range(2)] for name in SIDES}
    weights: dict[str, list[dict[str, Tensor]]] = {}
    for name, (one, other) in trained.items():
        one[1](), other[1]()
        weights[name] = [learner.network.state_dict() for learner, _ in (one, other)]
        weights[name] = [{key: value.clone() for key, value in state.items()} for state in weights[name]]
    seconds = in_turn({name: turns[0][1] for name, turns in trained.items()}, rounds)
    for name, (one, other) in weights.items():
        speed = steps * size / seconds[name]
        same, as_fp32 = (all(torch.equal(one[k], to[k]) for k in one) for to in (other, weights["fp32"][0]))
        yes = {True: "yes", False: "no"}
        yield [size, name, speed, seconds["fp32"] / seconds[name], yes[same], yes[as_fp32]]


def _turn(data: Dataset, name: str, batches: list[Batch]) -> tuple[Learner, Callable[[], None]]:
    precision, how = SIDES[name]
    learner = Learner(ESMM(), data, Config(training=TrainingConfig(precision=precision)), seed=0)

    def turn() -> None:
        with how():
            for batch in batches:
                learner.step(batch)[0].item()
        learner.finish()

    return learner, turn


if __name__ == "__main__":
    main()
