"""A request for a bundle, made of its vocabularies, for the OpenAPI page and to warm up."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from ...core.rows import RATE
from ...features.encoders import Knots, Vocabulary
from ...features.idtable import IdTable
from ..encoders import MappedVocabulary
from ..ranker import Ranker
from ..requests import Sent


def example_request(ranker: Ranker) -> dict[str, Any]:
    """A request that the bundle scores, with values that it knows where it has a vocabulary."""
    columns = ranker.form.columns
    items = [value for value in (_known(ranker, pair, 2) for pair in ranker.form.item) if value] or [["1", "2"]]
    user = {name: _value(ranker, sent) for name, sent in columns["user"].items()}
    context = {name: _value(ranker, sent) for name, sent in columns["context"].items()}
    item_columns = {name for _, name in ranker.form.item}
    candidates = [
        {"id": item, **{name: _value(ranker, sent) for name, sent in columns["candidate"].items()
                        if name not in item_columns}}
        for item in items[0]
    ]  # fmt: skip
    return {"user": user, "context": context, "candidates": candidates}


def _value(ranker: Ranker, sent: Sent) -> Any:
    found = next((value for value in (_known(ranker, pair, 2) for pair in sent.of) if value), None)
    if sent.holds in ("id", "ids"):
        ids = found or ["1"]
        return ids if sent.holds == "ids" else ids[0]
    if sent.holds == "weights":
        return [1.0] * len(_ids_of(ranker, sent))
    if sent.holds == "time":
        return "2026-01-31T18:30:00Z"
    encoders = ranker.bundle.encoders
    for f in encoders.fields:
        encoder = encoders[f.name]
        if (f.table, f.source) in sent.of and isinstance(encoder, Knots) and len(encoder.edges) and sent.plain:
            return round(float(encoder.edges[len(encoder.edges) // 2]), 6)
    return 1 if sent.plain else None


def _ids_of(ranker: Ranker, sent: Sent) -> list[Any]:
    """The example of the ids that some weights belong to."""
    for f in ranker.bundle.encoders.fields:
        if (f.table, f.weights) in sent.of:
            return _known(ranker, (f.table, f.source), 2) or ["1"]
    return []


def _known(ranker: Ranker, column: tuple[str, str], count: int) -> list[str]:
    """The most frequent ids of a column."""
    encoders = ranker.bundle.encoders
    for f in encoders.fields:
        if (f.table, f.source) != column or f.kind == RATE or f.part is not None:
            continue
        encoder = encoders[f.name]
        if isinstance(encoder, Vocabulary):
            return [value for value in encoder.ids.head(count + 1).to_list() if value][:count]
        if isinstance(encoder, MappedVocabulary):
            return [value for value in _texts(encoder.table, count + 1) if value][:count]
    return []


def _texts(table: IdTable, count: int) -> list[str]:
    ends = table.ends[: min(count, len(table)) + 1].tolist()
    return [bytes(table.text[start:end]).decode() for start, end in pairwise(ends)]
