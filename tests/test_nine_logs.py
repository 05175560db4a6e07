"""The schemas of docs/logs.md read look-alikes of nine public logs, and all counts equal those of the csv module."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import documents
import public_logs
import pytest
from documents import ROOT
from public_logs.by_hand import (
    Hand,
    aliccp,
    aliexpress,
    drivers,
    email,
    hotels,
    kuairand,
    ratings,
    retail,
    speed_dating,
    table,
)

import entirespace as es
from entirespace.dataset.dataset import Dataset

SCHEMAS = {
    Path(block.file).stem: block.text
    for block in documents.blocks((ROOT / "docs" / "logs.md").read_text(), "docs/logs.md")
    if block.file is not None
}


def found(data: Dataset) -> dict[str, Counter[str]]:
    return {
        name: Counter(impressions=part.counts.impressions, **part.counts.reached)
        for name, part in data.manifest.parts.items()
    }


def check(data: Dataset, hand: Hand) -> None:
    """The dataset holds what was counted by hand, and no row was lost or is bad."""
    parts = found(data)
    if "validation" not in hand.parts:
        parts["train"] += parts.pop("validation")
    if "all" in hand.parts:  # a split by chance
        train, test = parts["train"]["impressions"], parts["test"]["impressions"]
        assert min(train, test) > 0.2 * (train + test)
        parts = {"all": parts["train"] + parts["test"]}
    assert parts == hand.parts
    tables = data.manifest.audit["tables"].values()
    assert all(t["quarantined"] == 0 for t in tables)
    fields = {f.name: f for f in data.manifest.fields}
    assert {name: fields[name].size - 1 for name in hand.different} == hand.different
    assert {name: fields[name].unseen["test"] for name in hand.missing} == hand.missing


LOGS = {
    "speed_dating": ("speed_dating", "", speed_dating),
    "ratings_empty": ("ratings", "empty", ratings),
    "ratings_zero": ("ratings", "zero", ratings),
    "ratings_ninety_nine": ("ratings", "ninety_nine", ratings),
    "email": ("email", "", email),
    "retail": ("retail", "", retail),
    "hotels": ("hotels", "", hotels),
    "drivers": ("drivers", "", drivers),
    "kuairand": ("kuairand", "", kuairand),
    "aliexpress": ("aliexpress", "", aliexpress),
}
"""Schema of docs/logs.md -> its look-alike, a folder in it, and the count by hand."""


def test_every_schema_of_the_page_is_tried() -> None:
    assert SCHEMAS.keys() == LOGS.keys()


@pytest.mark.parametrize("name", LOGS)
def test_a_public_log_is_read_as_it_is(name: str, tmp_path: Path) -> None:
    log, inside, by_hand = LOGS[name]
    folder = public_logs.write(log, tmp_path / "raw", 400) / inside
    (tmp_path / "schema.toml").write_text(SCHEMAS[name])
    check(es.prepare(tmp_path / "schema.toml", folder, tmp_path / "data"), by_hand(folder))


@pytest.mark.parametrize(("schema", "by_hand"), [("kuairand", kuairand), ("aliccp", aliccp)])
def test_a_log_that_needs_no_schema(schema: str, by_hand: Callable[[Path], Hand], tmp_path: Path) -> None:
    folder = public_logs.write(schema, tmp_path / "raw", 400)
    check(es.prepare(schema, folder, tmp_path / "data"), by_hand(folder))


def test_one_schema_trains_and_scores_its_own_files(tmp_path: Path, quick) -> None:
    """Latin-1 from the log to the scored rows: what `score` reads is what `prepare` read."""
    from entirespace.logs.csvform import CsvForm
    from entirespace.scoring.score import score

    folder = public_logs.write("speed_dating", tmp_path / "raw", 400)
    (tmp_path / "schema.toml").write_text(SCHEMAS["speed_dating"])
    data = es.prepare(tmp_path / "schema.toml", folder, tmp_path / "data")
    run = es.fit(es.ESMM(), data.train, config=quick, out=tmp_path / "run")
    done = score(
        run, [str(folder / "Speed Dating Data.csv")], str(tmp_path / "out.csv"), form=CsvForm(encoding="latin-1")
    )
    assert done.rows == 400
    assert done.unseen["home"].unseen == 0
    scored = table(tmp_path / "out.csv")
    assert {row["from"] for row in scored} >= {"Köln", "Montréal, Canada"}
