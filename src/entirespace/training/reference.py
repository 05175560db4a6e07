"""The "same independently trained CTR network" of the paper's CTCVR task: one for each (dataset, seed)."""

from __future__ import annotations

import hashlib
from pathlib import Path

from ..config import Config
from ..dataset.dataset import Part
from ..methods import CTR
from ..progress import SILENT, Progress
from ..runs.run import Run
from .fit import fit
from .tracking import UNTRACKED, Tracker


def reference_ctr(
    train: Part,
    *,
    seed: int = 0,
    config: Config | None = None,
    start: Run | None = None,
    out: Path | None = None,
    tracker: Tracker = UNTRACKED,
    progress: Progress = SILENT,
) -> Run:
    """Train the reference CTR network, whose pCTR multiplies every method's pCVR (paper, section 3.1, "Metric").

    It is trained from another seed, `reference_seed(seed)`. With the same seed it would be equal to DIVISION's CTR
    network, bit for bit, and not independent of it.

    Args and Raises: as `fit`.
    """
    ctr_seed = reference_seed(seed)
    return fit(CTR(), train, seed=ctr_seed, config=config, start=start, out=out, tracker=tracker, progress=progress)


def reference_seed(seed: int) -> int:
    """The seed of the reference CTR network that belongs to `seed`: a number below 2^31."""
    return int.from_bytes(hashlib.sha256(f"reference {seed}".encode()).digest()[:4], "little") >> 1
