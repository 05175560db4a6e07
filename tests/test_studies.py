"""The studies' own arithmetic: what the scripts in studies/ read out of reports and learning curves."""

from __future__ import annotations

import importlib.util
import math
import sys
from pathlib import Path
from types import ModuleType

import pytest


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"study_{name}", Path(__file__).parents[1] / "studies" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look it up
    spec.loader.exec_module(module)
    return module


def test_the_constant_to_beat_costs_its_entropy_less_the_truths() -> None:
    bias = script("bias")
    truth = {"true_mean": {"mean": 0.5}, "log_loss_of_truth": {"mean": math.log(2) - 0.1}, "log_loss": {"mean": 0.7}}
    assert bias.constant(truth) == pytest.approx(100)  # thousandths of a nat
    assert bias.excess(truth) == pytest.approx(1000 * (0.7 - math.log(2) + 0.1))
    assert bias.excess({**truth, "log_loss": {"undefined": "a prediction exceeds 1"}}) is None


def test_the_kept_epoch_is_the_one_before_the_first_that_is_not_better() -> None:
    study = script("kuairand")

    def at(epoch: float, ctr: float, ctcvr: float) -> dict:
        return {"epoch": epoch, "validation": {"ctr_loss": ctr, "ctcvr_loss": ctcvr}}

    looks = [at(0.5, 0.1, 0.001), at(1.0, 0.6, 0.07), at(2.0, 0.7, 0.06), at(3.0, 0.5, 0.08), at(4.0, 0.1, 0.01)]
    default, alone = study.RULES
    assert study.kept(looks, default, 1.0)["epoch"] == 1.0  # half epochs are not looked at
    assert study.kept(looks, default, 0.01)["epoch"] == 2.0
    assert study.kept(looks, alone, 1.0)["epoch"] == 2.0
    assert study.kept(looks[:3], alone, 1.0)["epoch"] == 2.0
