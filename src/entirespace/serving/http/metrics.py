"""What a server counts, for Prometheus; and how far the scores are from those that the model card has.

With several workers the counts are in files of a folder that all workers share (PROMETHEUS_MULTIPROC_DIR).
"""

from __future__ import annotations

import math
import os
from collections.abc import Mapping

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

from ..card import ModelCard
from ..inputs import OUTPUTS
from ..ranker import Ranked

SECONDS = (0.001, 0.002, 0.003, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
TEXT = "text/plain; version=0.0.4; charset=utf-8"
SHARED = "PROMETHEUS_MULTIPROC_DIR"


class Metrics:
    """The counters of one app. All workers of a server share them."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        self._registry = registry
        self.seconds = Histogram(
            "entirespace_request_seconds",
            "From the first byte of a request to its answer",
            ["path", "status"],
            buckets=SECONDS,
            registry=registry,
        )
        self.candidates = Counter("entirespace_candidates", "Candidates that were scored", registry=registry)
        self.unseen = Counter("entirespace_unseen_ids", "Unknown ids and missing numbers", ["field"], registry=registry)
        self.errors = Counter("entirespace_errors", "Answers that are errors", ["code"], registry=registry)
        self.reloads = Counter(
            "entirespace_reloads", "Versions that were swapped in or refused", ["result"], registry=registry
        )
        self._scores = Counter(
            "entirespace_scores",
            "Scores between the edges of the model card's histogram; bin 0 is below the first edge",
            ["version", "output", "bin"],
            registry=registry,
        )
        self._sums = Counter("entirespace_score_sum", "The sum of scores", ["version", "output"], registry=registry)

    def ranked(self, found: Ranked, card: ModelCard, version: str) -> None:
        """Count the scores of a request."""
        self.candidates.inc(len(found.ids))
        for field, count in found.unseen.items():
            self.unseen.labels(field).inc(count)
        for output in OUTPUTS:
            scores, histogram = getattr(found, output), card.drift.get(output)
            if not len(scores):
                continue
            self._sums.labels(version, output).inc(float(scores.sum(dtype=np.float64)))
            if histogram is not None:
                places = np.searchsorted(np.array(histogram.edges), scores, side="right")
                for place, count in enumerate(np.bincount(places).tolist()):
                    if count:
                        self._scores.labels(version, output, str(place)).inc(count)

    def text(self, card: ModelCard, version: str) -> bytes:
        """All counts, and the drift of the version that is served, in Prometheus' text format."""
        registry = self._registry
        if os.environ.get(SHARED):
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        bins: dict[str, dict[int, float]] = {}
        for family in registry.collect():
            for sample in family.samples:
                if sample.name == "entirespace_scores_total" and sample.labels["version"] == version:
                    bins.setdefault(sample.labels["output"], {})[int(sample.labels["bin"])] = sample.value
        lines = [
            "# HELP entirespace_score_drift Population stability index of the scores since the start, against the "
            "model card; above 0.2 they have changed much",
            "# TYPE entirespace_score_drift gauge",
        ]
        for output, counts in bins.items():
            drift = stability_index(card.drift[output].counts, counts)
            lines.append(f'entirespace_score_drift{{output="{output}"}} {drift:.6g}')
        name = card.name.replace("\\", "\\\\").replace('"', '\\"')
        shown = version.replace("\\", "\\\\").replace('"', '\\"')
        lines += [
            "# HELP entirespace_model The model that is served",
            "# TYPE entirespace_model gauge",
            f'entirespace_model{{name="{name}",version="{shown}"}} 1',
        ]
        return generate_latest(registry) + "\n".join([*lines, ""]).encode()


def stability_index(expected: tuple[int, ...], counts: Mapping[int, float]) -> float:
    """The population stability index of counts by bin: the sum of (q - p) log(q / p). Each bin has half a score more.

    >>> stability_index((10, 10), {0: 10, 1: 10}), round(stability_index((90, 10), {0: 10, 1: 90}), 2)
    (0.0, 3.41)
    """
    n = len(expected)
    found = [counts.get(i, 0.0) for i in range(n)]
    p = [(count + 0.5) / (sum(expected) + 0.5 * n) for count in expected]
    q = [(count + 0.5) / (sum(found) + 0.5 * n) for count in found]
    return sum((b - a) * math.log(b / a) for a, b in zip(p, q, strict=True))
