"""The parity gate: no bundle is finished whose scores are not those of its run.

Rows are drawn at random from the layout, so no dataset is needed: embedding rows of every field, "unseen", empty and
long bags, missing and extreme numbers, and rates. The opened bundle must give the run's scores to 1e-6 for batches of
every size, and for requests with many candidates.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import numpy as np
from torch import nn

from ..batches.batch import Batch
from ..batches.impressions import encoded
from ..core.rows import RATE, PlacedField, Ragged, Rows
from ..errors import BundleError
from ..features.frames import FrameEncoder
from ..network import Ensemble, Heads, Network
from ..network.fields import BatchFields
from ..runs.outputs import Outputs
from ..runs.run import Run
from ..serving.inputs import OUTPUTS, PADDING, REQUEST_OF, joined
from ..serving.manifest import Parity
from ..serving.program import Program

ROWS = 10_000
SIZES = (1, 2, 7, 64, 513, 5000)  # of batches; each scores all rows
REQUESTS = (1, 3, 97, 5000)  # requests that 5000 candidates belong to
TOLERANCE = 1e-6
ROUNDING = 2e-6  # relative, of an uncalibrated probability in float32; see `_Gate`
MOST_ROUNDING = 1e-3  # what differs by more is no rounding


def check_parity(run: Run, program: Program) -> Parity:
    """Compare the scores of a bundle's program with those of its run. Raises: BundleError if they differ."""
    gate, rng = _Gate(run, run.encoder()), np.random.default_rng(0)
    rows = random_rows(gate.encoder.fields, run.layout.rates, ROWS, rng)
    whole = joined(rows, gate.encoder.fields, {})
    wanted = gate.wanted(whole)
    for size in SIZES:
        gate.check(_in_batches(program, whole, size), wanted, f"in batches of {size}")
    gate.check(program.score_rows(whole), wanted, "in the batches of `score`")
    candidates = min(max(SIZES), ROWS)
    for requests in REQUESTS:
        request = whole.take(rng.integers(0, ROWS, requests))
        candidate = whole.take(rng.permutation(ROWS)[:candidates])
        request_of = rng.integers(0, requests, candidates)
        plain = _plain(program, run, request.take(request_of), candidate)
        gate.check(program.score(request, candidate, request_of), gate.wanted(plain), f"with {requests} requests")
    return Parity(
        rows=ROWS,
        batch_sizes=SIZES,
        requests=REQUESTS,
        largest=gate.largest,
        tolerance=TOLERANCE,
        rounding=gate.rounding,
    )


def _in_batches(program: Program, rows: Rows, size: int) -> list[np.ndarray]:
    """The scores of plain rows, the inputs of all of which are made once. Shape: Rows of N -> float32 (N,) each."""
    arrays, pieces = program.arrays(rows, rows, np.arange(len(rows))), []
    bags = {name: name.replace(".weights.", ".bag.", 1) for name in arrays if ".bag." in name or ".weights." in name}
    lengths = {name: (arrays[of] != PADDING).sum(1) for name, of in bags.items()}
    for start in range(0, len(rows), size):
        batch = {name: array[start : start + size] for name, array in arrays.items()}
        for name in bags:  # as short as the bags of these rows
            batch[name] = batch[name][:, : max(1, lengths[name][start : start + size].max())]
        if REQUEST_OF in batch:
            batch[REQUEST_OF] = batch[REQUEST_OF] - start
        pieces.append(program.run(batch))
    return [np.concatenate(some) for some in zip(*pieces, strict=True)]


def _plain(program: Program, run: Run, request: Rows, candidate: Rows) -> Rows:
    """The same candidates as plain rows: the request's fields of one, and the candidate's of the other."""
    side = program.inputs.request
    fields = {**candidate.fields, **{name: request.fields[name] for name in side.fields}}
    numbers = candidate.numbers
    if numbers is not None and request.numbers is not None:
        numbers = numbers.copy()
        columns = [run.layout.rates.index(name) for name in side.rates]
        numbers[:, columns] = request.numbers[:, columns]
    return replace(candidate, fields=fields, numbers=numbers)


@dataclass(frozen=True)
class _Wanted:
    """Rows, and what the run predicts for them, uncalibrated."""

    rows: Rows
    raw: Outputs


class _Gate:
    """Compares scores, and keeps the largest difference.

    A score may differ by TOLERANCE. It may also be that of an uncalibrated probability which differs by a rounding of
    float32, for a step of isotonic regression can turn a rounding into a jump; calibrators keep the order, so two
    probabilities bound the scores. A network with very large weights rounds by more than TOLERANCE: if a score
    differs, the run is computed in float64, and four times what its own float32 differs from that is the rounding.
    """

    def __init__(self, run: Run, encoder: FrameEncoder) -> None:
        self.encoder, self._run = encoder, run
        self.largest = 0.0
        self.rounding = ROUNDING if run.calibration.calibrators else 0.0  # relative

    def wanted(self, rows: Rows) -> _Wanted:
        return _Wanted(rows, self._run.uncalibrated(encoded(self.encoder, rows, {})))

    def check(self, found: Sequence[np.ndarray], wanted: _Wanted, how: str) -> None:
        """Raises: BundleError if a score differs."""
        said = self._differs(found, wanted)
        if said is not None:
            self.rounding = max(self.rounding, self._measured(wanted))
            said = self._differs(found, wanted)
        if said is not None:
            raise BundleError(
                f"the scores of a bundle must be those of its run, to {TOLERANCE:g}",
                f"{said}, {how}",
                do="Nothing was written. Report it with the run's configuration",
            )

    def _differs(self, found: Sequence[np.ndarray], wanted: _Wanted) -> str | None:
        calibrated, raw = self._run.calibration.apply, wanted.raw
        own, least, most = (calibrated(_scaled(raw, 1 + sign * self.rounding)) for sign in (0, -1, 1))
        for name, p in zip(OUTPUTS, found, strict=True):
            here, low, high = (np.asarray(getattr(one, name), np.float64) for one in (own, least, most))
            slack = TOLERANCE * np.maximum(1, here)  # a quotient may exceed 1 (Eq. 2)
            good = (p >= low - slack) & (p <= high + slack)  # NaN is not
            if p.shape != here.shape or not good.all():
                row = int(np.argmin(good))
                return f"{name} of row {row + 1} is {p[row]:.9g} and not {here[row]:.9g}"
            self.largest = max(self.largest, float((np.abs(p - here) / np.maximum(1, here)).max(initial=0)))
        return None

    def _measured(self, wanted: _Wanted) -> float:
        """Four times the largest relative rounding of the run's own float32; 0 if a part of the user's own has none."""
        try:
            exact = exactly(self._run).uncalibrated(encoded(self.encoder, wanted.rows, {}))
        except (RuntimeError, TypeError, ValueError):
            return 0.0
        pairs = [(exact.own[name], p) for name, p in wanted.raw.own.items()]
        if exact.reference_pctr is not None and wanted.raw.reference_pctr is not None:
            pairs.append((exact.reference_pctr, wanted.raw.reference_pctr))
        return min(4 * max(float(_relative(one, p)) for one, p in pairs), MOST_ROUNDING)


def _relative(exact: np.ndarray, p: np.ndarray) -> float:
    there = exact > 1e-30
    return float((np.abs(exact[there].astype(np.float64) - p[there]) / exact[there]).max(initial=0))


def _scaled(outputs: Outputs, factor: float) -> Outputs:
    """Probabilities times a factor; those up to 1 stay at most 1. A quotient may exceed 1 (Eq. 2)."""

    def scaled(p: np.ndarray) -> np.ndarray:
        found = (p.astype(np.float64) * factor).astype(np.float32)
        return np.where(p <= 1, np.minimum(found, 1), found)

    if factor == 1:
        return outputs
    pctr = outputs.reference_pctr
    return Outputs({name: scaled(p) for name, p in outputs.own.items()}, None if pctr is None else scaled(pctr))


def exactly(run: Run) -> Run:
    """The run with its layers in float64; embeddings stay in float32, and their rows are converted when they are read.

    Its outputs are still rounded to float32, at the end.
    """
    own = run.network
    members = list(own.members) if isinstance(own, Ensemble) else [own]
    doubles = [_Double(member) for member in members if isinstance(member, Network)]
    network: Any = doubles[0] if len(doubles) == 1 else Ensemble(cast("list[Network]", doubles))
    return replace(run, network=network, reference=None if run.reference is None else exactly(run.reference))


class _Double(nn.Module):
    """A network in float64 that shares its embeddings with the network itself."""

    def __init__(self, network: Network) -> None:
        super().__init__()
        self._own, self.heads, self.baseline = network, network.heads, network.baseline
        memo = {id(network.embeddings): nn.ModuleDict()}
        self._network = copy.deepcopy(network, memo).double().eval()
        self.device = network.device

    def forward(self, batch: Batch) -> Heads:
        fields = {
            name: BatchFields(self._own.embedding(name).weight.index_select(0, batch.rows).double(), batch)
            for name in self._own.embeddings
        }
        return self._network.heads_of(fields, batch.numbers)


def random_rows(fields: Sequence[PlacedField], rates: Sequence[str], n: int, rng: np.random.Generator) -> Rows:
    """Rows of a layout, drawn at random; the first ones are edge cases. Shape: Rows of n."""
    found: dict[str, Ragged] = {}
    for f in fields:
        if f.is_position:
            found[f.name] = Ragged(_positions(f.size, n, rng))
        elif f.single:
            found[f.name] = Ragged(_ids(f.size, n, rng))
        else:
            found[f.name] = _bags(f, n, rng)
    numbers = None
    if any(f.kind == RATE for f in fields):
        numbers = rng.normal(0, 2, (n, len(rates))).astype(np.float32)
        numbers[: n // 100] = rng.choice(np.array([0, -12, 12], np.float32), (n // 100, len(rates)))
    return Rows(n, found, {}, numbers=numbers)


def _ids(size: int, n: int, rng: np.random.Generator) -> np.ndarray:
    rows = rng.integers(0, size, n)
    rows[rng.random(n) < 0.1] = 0
    rows[0], rows[1 : n // 500] = 0, size - 1
    return rows.astype(np.int32)


def _positions(size: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """Positions as `Knots` gives them: 0, the first bucket at its end, the last at its beginning, and all between."""
    low = rng.integers(0, size, n)
    share = rng.choice(np.array([0, 0.5, 0.999]), n) * (rng.random(n) < 0.3) + rng.random(n) * 0.5
    share[(low == 0) | (low == size - 1)] = 0
    found = (low + share).astype(np.float32)
    found[low == 1] = np.nextafter(np.float32(2), np.float32(0))
    found[0], found[1 : n // 500] = 0, size - 1
    return np.minimum(found, np.float32(size - 1))


def _bags(f: PlacedField, n: int, rng: np.random.Generator) -> Ragged:
    lengths = rng.choice([0, 1, 2, 5, 12], n)
    lengths[rng.random(n) < 0.002] = 60
    lengths[0], lengths[1] = 0, 200
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
    total = int(offsets[-1])
    weights = None
    if f.weighted:
        weights = (rng.random(total) * 2).astype(np.float32)
        weights[rng.random(total) < 0.1] = 0
    return Ragged(_ids(f.size, total, rng), offsets, weights)
