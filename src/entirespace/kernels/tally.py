"""Counts of impressions and stages by key, and rates from these counts, each leaning on the rate of its parent."""

from __future__ import annotations

import numpy as np
from numba import njit

FEW = 12  # trials of an id whose likelihood is a product, without a logarithm of its own
_jit = njit(cache=True, nogil=True, error_model="numpy")


@_jit
def tally(values, offsets, group, reached, weights, counts):
    """Add each row to the counts of its ids; rows whose group is negative are left out.

    Shape: values int32 (L,), offsets int64 (n + 1,) or (0,) for one id a row, group int8 (n,), reached bool (n, S),
    weights float64 (n,) or (0,), counts (C, G, S + 1): impressions, then those that reached each stage.
    """
    single, even = offsets.shape[0] == 0, weights.shape[0] == 0
    for i in range(group.shape[0]):
        g = group[i]
        if g < 0:
            continue
        for j in range(i if single else offsets[i], i + 1 if single else offsets[i + 1]):
            if even:
                counts[values[j], g, 0] += 1
                for s in range(reached.shape[1]):
                    counts[values[j], g, s + 1] += reached[i, s]
            else:
                counts[values[j], g, 0] += weights[i]
                for s in range(reached.shape[1]):
                    counts[values[j], g, s + 1] += weights[i] * reached[i, s]


@_jit
def _groups_known(variant, folds, causal):
    """The groups that a variant knows, from the first to before the second, but for its own fold; see `pooled`."""
    if variant < folds:
        return 0, variant + 1 if causal else folds + 1
    if variant <= folds + 1:
        return 0, variant + 1
    return folds + 3, folds + 4


@_jit
def pooled(values, offsets, variant, folds, causal, counts, out):
    """What is counted for the ids of each row, as its variant may know it; a bag pools its ids.

    The variants 0 .. folds - 1 are training rows of these folds, which know all other folds; or with `causal`, all
    folds before their own. `folds`: validation rows, which know all folds. `folds + 1`: test rows, which know the
    validation part too. `folds + 2`: later rows, which know the last group.

    Shape: values int32 (L,), -1: an unknown id; offsets as in `tally`; variant uint8 (n,); counts (C, G, W) with the
    groups: earlier, the folds, validation, test, now -> out float64 (n, W).
    """
    single = offsets.shape[0] == 0
    for i in range(variant.shape[0]):
        for w in range(counts.shape[2]):
            out[i, w] = 0.0
        v = variant[i]
        start, stop = _groups_known(v, folds, causal)
        for j in range(i if single else offsets[i], i + 1 if single else offsets[i + 1]):
            id_ = values[j]
            if id_ < 0:
                continue
            for g in range(start, stop):
                if g != v + 1 or v >= folds:
                    for w in range(counts.shape[2]):
                        out[i, w] += counts[id_, g, w]


@_jit
def from_table(codes, variant, table, out):
    """The numbers of each row's id for its variant. Code -1, an unknown id, has the last row of the table.

    Shape: codes int32 (n,), variant uint8 (n,), table float32 (C + 1, V, R) -> out float32 (n, R).
    """
    for i in range(codes.shape[0]):
        for r in range(table.shape[2]):
            out[i, r] = table[codes[i], variant[i], r]


@_jit
def none_known(values, offsets, variant, folds, causal, counts, out):
    """Whether nothing is counted for the ids of a row, as its variant may know it. Shape: as `pooled` -> bool (n,)."""
    single = offsets.shape[0] == 0
    for i in range(variant.shape[0]):
        v = variant[i]
        start, stop = _groups_known(v, folds, causal)
        known = False
        for j in range(i if single else offsets[i], i + 1 if single else offsets[i + 1]):
            g = start
            while values[j] >= 0 and g < stop and not known:
                known = counts[values[j], g, 0] > 0 and (g != v + 1 or v >= folds)
                g += 1
        out[i] = not known


@_jit
def earlier(values, offsets, order, time, delay, half_life, reached, running, last, out):
    """What was known of the ids of each row at its time: rows whose time + delay is before it, and no ties.

    Shape: values and offsets as in `tally`, order int64 (n,): the rows by time, time int64 (n,), half_life: 0 for none,
    reached bool (n, S), running (C, S + 1) zeros, last int64 (C,): of each id, the time to which `running` decayed ->
    out (n, S + 1).
    """
    single, j = offsets.shape[0] == 0, 0
    for q in order:
        now = time[q]
        while time[order[j]] + delay < now:
            i = order[j]
            for k in range(i if single else offsets[i], i + 1 if single else offsets[i + 1]):
                id_ = values[k]
                if half_life > 0:
                    decay = np.exp2((last[id_] - time[i]) / half_life)
                    last[id_] = time[i]
                    for w in range(running.shape[1]):
                        running[id_, w] *= decay
                running[id_, 0] += 1
                for s in range(reached.shape[1]):
                    running[id_, s + 1] += reached[i, s]
            j += 1
        for k in range(q if single else offsets[q], q + 1 if single else offsets[q + 1]):
            id_ = values[k]
            decay = np.exp2((last[id_] - now) / half_life) if half_life > 0 else 1.0
            for w in range(running.shape[1]):
                out[q, w] += running[id_, w] * decay


@_jit
def lean(known, hits, trials, variant, strength, rates, others):
    """One level of back-off, in place: rate = (hits + strength * rate) / (trials + strength), and other = 1 - rate.

    Both are kept, so that nothing is subtracted from 1 where a rate is near to 0 or 1.
    Shape: known float64 (n, W), hits and trials int64 (R,): columns of `known`, variant uint8 (n,), strength float64
    (V, R), rates and others float64 (n, R).
    """
    for i in range(rates.shape[0]):
        for r in range(rates.shape[1]):
            s, k, n = strength[variant[i], r], known[i, hits[r]], known[i, trials[r]]
            rates[i, r] = (k + s * rates[i, r]) / (n + s)
            others[i, r] = (n - k + s * others[i, r]) / (n + s)


@_jit
def beta_binomial(hits, trials, rates, strength):
    """The log likelihood of n ids whose rates are beta distributed with mean `rates` and this strength, less terms
    that do not depend on the strength.

    Shape: float64 (n,) each, rates in (0, 1).
    """
    total, likelihood, of_none = 0.0, 1.0, _lgamma(strength)
    for i in range(hits.shape[0]):
        a = strength * rates[i]
        b = strength - a
        k, n = hits[i], trials[i]
        if n <= FEW and k == np.floor(k) and n == np.floor(n):
            over = 1.0
            for step in range(int(k)):
                likelihood *= a + step
            for step in range(int(n - k)):
                likelihood *= b + step
            for step in range(int(n)):
                over *= strength + step
            likelihood /= over
            if likelihood < 1e-150:  # one logarithm for many ids
                total += np.log(likelihood)
                likelihood = 1.0
        else:
            total += _lgamma(a + k) - _lgamma(a) + _lgamma(b + n - k) - _lgamma(b) - _lgamma(strength + n) + of_none
    return total + np.log(likelihood)


@_jit
def _lgamma(x):
    """log Gamma by Stirling's series, for x > 0, to about 1e-13."""
    shift = 1.0
    while x < 12.0:
        shift *= x
        x += 1.0
    z = 1.0 / (x * x)
    series = (1 / 12 - z * (1 / 360 - z * (1 / 1260 - z * (1 / 1680 - z / 1188)))) / x
    return (x - 0.5) * np.log(x) - x + 0.9189385332046727 + series - np.log(shift)
