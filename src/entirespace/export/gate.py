"""The parity gate: no bundle is finished whose scores are not those of its run.

Rows are drawn at random from the layout, so no dataset is needed: embedding rows of every field, "unseen", empty and
long bags, missing and extreme numbers, and rates. The opened bundle must give the run's scores to 1e-6 for batches of
every size, and for requests with many candidates.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ..batches.impressions import encoded
from ..core.rows import RATE, PlacedField, Ragged, Rows
from ..errors import BundleError
from ..features.frames import FrameEncoder
from ..runs.outputs import Outputs
from ..runs.run import Run
from ..serving.inputs import OUTPUTS, PADDING, REQUEST_OF, joined
from ..serving.manifest import Parity
from ..serving.program import Program

ROWS = 10_000
SIZES = (1, 2, 7, 64, 513, 5000)  # of batches; each scores all rows
REQUESTS = (1, 3, 97, 5000)  # requests that 5000 candidates belong to
TOLERANCE = 1e-6
NOISE = 2e-6  # relative, of an uncalibrated probability in float32; see `_allowed`


def check_parity(run: Run, program: Program) -> Parity:
    """Compare the scores of a bundle's program with those of its run. Raises: BundleError if they differ."""
    encoder, rng = run.encoder(), np.random.default_rng(0)
    rows = random_rows(encoder.fields, run.layout.rates, ROWS, rng)
    allowed = _allowed(run, encoder, rows)
    largest = 0.0
    whole = joined(rows, encoder.fields, {})
    for size in SIZES:
        found = _in_batches(program, whole, size)
        largest = max(largest, allowed.check(found, f"in batches of {size}"))
    allowed.check(program.score_rows(whole), "in batches of `score`")
    candidates = min(max(SIZES), ROWS)
    for requests in REQUESTS:
        request = whole.take(rng.integers(0, ROWS, requests))
        candidate = whole.take(rng.permutation(ROWS)[:candidates])
        request_of = rng.integers(0, requests, candidates)
        plain = _plain(program, run, request.take(request_of), candidate)
        found = program.score(request, candidate, request_of)
        largest = max(largest, _allowed(run, encoder, plain).check(found, f"with {requests} requests"))
    return Parity(rows=ROWS, batch_sizes=SIZES, requests=REQUESTS, largest=largest, tolerance=TOLERANCE)


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
class _Allowed:
    """What the scores of the same rows may be: the run's own, and the least and the most. Shape: float32 (N,) each."""

    own: Mapping[str, np.ndarray]
    least: Mapping[str, np.ndarray]
    most: Mapping[str, np.ndarray]

    def check(self, found: Sequence[np.ndarray], how: str) -> float:
        """The largest difference. Raises: BundleError if one is too large."""
        largest = 0.0
        for name, p in zip(OUTPUTS, found, strict=True):
            own = self.own[name].astype(np.float64)
            slack = TOLERANCE * np.maximum(1, own)  # a quotient may exceed 1 (Eq. 2)
            good = (p >= self.least[name] - slack) & (p <= self.most[name] + slack)
            differ = np.abs(p - own)
            if not good.all():
                row = int(np.argmin(good))
                raise BundleError(
                    f"the scores of a bundle must be those of its run, to {TOLERANCE:g}",
                    f"{name} of row {row + 1} is {p[row]:.9g} and not {own[row]:.9g}, {how}",
                    do="Nothing was written. Report it with the run's configuration",
                )
            largest = max(largest, float((differ / np.maximum(1, own)).max(initial=0)))
        return largest


def _allowed(run: Run, encoder: FrameEncoder, rows: Rows) -> _Allowed:
    """A step of isotonic regression can turn the rounding of a probability into a jump. So a calibrated score may also
    be that of an uncalibrated probability which differs by a rounding; calibrators keep the order."""
    raw = run.uncalibrated(encoded(encoder, rows, {}))
    calibrated = run.calibration.apply
    own = calibrated(raw)
    if run.calibration.calibrators:
        least, most = calibrated(_scaled(raw, 1 - NOISE)), calibrated(_scaled(raw, 1 + NOISE))
    else:
        least = most = own
    return _Allowed(*({name: getattr(p, name) for name in OUTPUTS} for p in (own, least, most)))


def _scaled(outputs: Outputs, factor: float) -> Outputs:
    def scaled(p: np.ndarray) -> np.ndarray:
        found = (p.astype(np.float64) * factor).astype(np.float32)
        return np.minimum(found, np.maximum(p, 1))

    pctr = outputs.reference_pctr
    return Outputs({name: scaled(p) for name, p in outputs.own.items()}, None if pctr is None else scaled(pctr))


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
