"""A bundle's program in onnxruntime: encoded requests and candidates -> pctr, pcvr and pctcvr."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..core.rows import Rows
from ..errors import BundleError
from .inputs import CANDIDATE, OUTPUTS, REQUEST, REQUEST_OF, ProgramInputs, longest, side_arrays

BATCH = 4096  # candidates scored at a time
CELLS = 1 << 21  # ids of one padded input at a time: a row with a bag of many thousand ids is scored with few others


class Program:
    """The session of one process. Make it in each worker: a session that was inherited over a fork may crash.

    Args:
        path: program.onnx; its weights are in the file beside it, and stay on disk until they are used.
        inputs: what the program reads.
        rates: the names of the rates in the order of `Rows.numbers`.
        threads: of one call.

    Raises: BundleError if onnxruntime cannot read the file, or its inputs are others.
    """

    def __init__(self, path: Path, inputs: ProgramInputs, rates: tuple[str, ...], threads: int = 1) -> None:
        self.inputs, self.path = inputs, path
        self._rates = {name: i for i, name in enumerate(rates)}
        self._session = session(path, threads)
        wanted = [each.name for each in inputs.listed()]
        found = [each.name for each in self._session.get_inputs()]
        named = [each.name for each in self._session.get_outputs()]
        if (found, named) != (wanted, list(OUTPUTS)):
            must = f"the program must read {', '.join(wanted)} and give {', '.join(OUTPUTS)}"
            raise BundleError(must, f"it reads {', '.join(found)} and gives {', '.join(named)}", where=str(path))

    def run(self, arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, ...]:
        """One call. Shape: the inputs by name -> pctr, pcvr and pctcvr, float32 (N,) each."""
        return tuple(np.asarray(p) for p in self._session.run(OUTPUTS, dict(arrays)))

    def score(self, request: Rows, candidate: Rows, request_of: np.ndarray) -> tuple[np.ndarray, ...]:
        """The scores of N candidates of U requests. Shape: Rows of U, Rows of N, int (N,) -> float32 (N,) each."""
        return self.run(self.arrays(request, candidate, request_of))

    def arrays(self, request: Rows, candidate: Rows, request_of: np.ndarray) -> dict[str, np.ndarray]:
        """The inputs for `run`. Shape: Rows of U, Rows of N, int (N,)."""
        arrays = side_arrays(REQUEST, self.inputs.request, request, self._rates)
        arrays |= side_arrays(CANDIDATE, self.inputs.candidate, candidate, self._rates)
        if self.inputs.needs_request_of:
            arrays[REQUEST_OF] = request_of.astype(np.int32)
        return arrays

    def score_rows(self, rows: Rows, batch: int = BATCH) -> tuple[np.ndarray, ...]:
        """The scores of N plain rows: each is a request with one candidate. Shape: Rows of N -> float32 (N,) each."""
        pieces = [self._piece(rows.take(np.arange(i, min(i + batch, len(rows))))) for i in range(0, len(rows), batch)]
        if not pieces:
            return tuple(np.zeros(0, np.float32) for _ in OUTPUTS)
        return tuple(np.concatenate(some) for some in zip(*pieces, strict=True))

    def _piece(self, rows: Rows) -> tuple[np.ndarray, ...]:
        n = len(rows)
        most = max(longest(side, rows) for side in (self.inputs.request, self.inputs.candidate))
        if n > 1 and n * most > CELLS:
            halves = [self._piece(rows.take(some)) for some in np.array_split(np.arange(n), 2)]
            return tuple(np.concatenate(some) for some in zip(*halves, strict=True))
        return self.score(rows, rows, np.arange(n))


def session(path: Path, threads: int) -> Any:
    """An onnxruntime session on the CPU. Raises: BundleError if the file cannot be read, or there is no onnxruntime."""
    try:
        import onnxruntime as ort
    except ImportError as error:
        came, do = "it is not installed", "pip install 'entirespace[serve]'"
        raise BundleError("a bundle needs the package onnxruntime", came, where=str(path), do=do) from error

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads  # its own choice ignores the limits of a container
    options.inter_op_num_threads = 1
    options.enable_cpu_mem_arena = False  # the arena keeps the memory of the largest call
    options.log_severity_level = 3
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime has a class of its own for each kind, and no parent of all
        raise BundleError("the program must be readable", str(error).splitlines()[0], where=str(path)) from error
