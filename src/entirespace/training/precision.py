"""The precision of training: what "auto" stands for on this machine, decided once when a run begins."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from ..config import Config
from ..runs.record import RUN, RunRecord
from .folder import completed

BF16_UNITS = ("avx512_bf16", "amx_bf16")
"""Flags of processors that multiply bf16 in units of their own."""


def has_bf16_units(device: str) -> bool:
    """Whether the device multiplies bf16 faster than float32: by the processor's flags, or what the GPU supports."""
    if device == "cuda":
        return torch.cuda.is_available() and torch.cuda.is_bf16_supported(including_emulation=False)
    return any(torch.cpu.get_capabilities().get(flag, False) for flag in BF16_UNITS)


def resolved(config: Config, begun: Iterable[Mapping[str, Any]] = ()) -> Config:
    """The configuration with bf16 or fp32 in place of "auto".

    What was begun goes on in the precision of its record, also on another machine. What is new takes bf16 if the device
    has units for it, else fp32.

    Args:
        begun: recorded configurations. One that is the same but for the precision decides.
    """
    if config.training.precision != "auto":
        return config
    mine = "bf16" if has_bf16_units(config.training.device) else "fp32"
    wanted = _without(config.model_dump(mode="json"))
    recorded = [completed(dict(one), config) for one in begun]
    same = {one["training"]["precision"] for one in recorded if _without(one) == wanted}
    precision = mine if mine in same or not same else same.pop()
    return config.model_copy(update={"training": config.training.model_copy(update={"precision": precision})})


def configurations(folders: Iterable[Path]) -> Iterator[dict[str, Any]]:
    """The recorded configurations of the runs in these folders. Raises: RunError if a record is damaged."""
    return (RunRecord.open(folder).config for folder in folders if (folder / RUN).exists())


def slow_precision(config: Config) -> str | None:
    """A warning if training in bf16 is slower on this machine than in fp32."""
    if config.training.precision != "bf16" or has_bf16_units(config.training.device):
        return None
    return (
        "training.precision is bf16, but this machine has no units for it, so training is several times slower than in "
        "fp32. The results are about the same. New runs can use --precision auto or fp32"
    )


def _without(config: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration without its precision."""
    return {**config, "training": {key: v for key, v in config["training"].items() if key != "precision"}}
