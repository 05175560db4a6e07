"""The schemas of docs/logs.md read look-alikes of nine public logs, and all counts equal those of the csv module."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

import documents
import public_logs
import pytest
from documents import ROOT

import entirespace as es
from entirespace.dataset.dataset import Dataset

SCHEMAS = {
    Path(block.file).stem: block.text
    for block in documents.blocks((ROOT / "docs" / "logs.md").read_text(), "docs/logs.md")
    if block.file is not None
}
Row = dict[str, str]


@dataclass
class Hand:
    """What a log holds, counted by hand."""

    parts: dict[str, Counter[str]] = field(default_factory=dict)
    """Part -> impressions, click, conversion. "train" is the training part with the validation part."""
    different: dict[str, int] = field(default_factory=dict)
    """Field -> how many different ids the training part has."""
    missing: dict[str, int] = field(default_factory=dict)
    """Number field -> missing values in the test part."""


def table(path: Path, encoding: str = "utf-8") -> list[Row]:
    with path.open(encoding=encoding, newline="") as file:
        return list(csv.DictReader(file))


def count(
    rows: Iterable[Row],
    labels: Callable[[Row], tuple[bool, bool]],
    part: Callable[[Row], str] = lambda _: "all",
    ids: Iterable[str] = (),
    numbers: Iterable[str] = (),
    missing: str = "",
) -> Hand:
    """Count rows; `part` names the part of a row, `ids` and `numbers` the fields to look into."""
    hand, seen = Hand(missing=dict.fromkeys(numbers, 0)), {name: set[str]() for name in ids}
    for row in rows:
        click, conversion = labels(row)
        where = hand.parts.setdefault(part(row), Counter())
        where.update(impressions=1, click=int(click), conversion=int(click and conversion))
        if part(row) == "train":
            for name, found in seen.items():
                found.add(row[name])
        if part(row) == "test":
            for name in hand.missing:
                hand.missing[name] += row[name] == missing
    hand.different = {name: len(found) for name, found in seen.items()}
    return hand


def half(rows: list[Row], time: Callable[[Row], object]) -> Callable[[Row], str]:
    """The first half in time trains; rows of one time stay together."""
    times = sorted((time(row) for row in rows), key=lambda t: t)  # type: ignore[arg-type, return-value]
    first_of_test = times[len(times) // 2]
    return lambda row: "train" if time(row) < first_of_test else "test"  # type: ignore[operator]


def speed_dating(folder: Path) -> Hand:
    rows = table(folder / "Speed Dating Data.csv", "latin-1")
    wave = {str(w): "train" if w <= 12 else "validation" if w <= 14 else "test" for w in range(1, 22)}
    part = lambda row: wave[row["wave"]]  # noqa: E731
    numbers = ("age", "income", "mn_sat", "tuition")
    return count(rows, lambda r: (r["dec"] == "1", r["match"] == "1"), part, ("field", "race", "goal"), numbers)


def email(folder: Path) -> Hand:
    return count(table(folder / "Train.csv"), lambda r: (r["Email_Status"] in "12", r["Email_Status"] == "2"))


def retail(folder: Path) -> Hand:
    (file,) = folder.glob("*.csv")
    return count(table(file), lambda r: (r["visit"] == "1", r["conversion"] == "1"))


def hotels(folder: Path) -> Hand:
    rows = table(folder / "train.csv")
    numbers = ("visitor_hist_adr_usd", "orig_destination_distance", "prop_review_score", "comp2_rate_percent_diff")
    labels = lambda r: (r["click_bool"] == "1", r["booking_bool"] == "1")  # noqa: E731
    return count(rows, labels, half(rows, lambda r: r["date_time"]), (), numbers, "NULL")


def drivers(folder: Path) -> Hand:
    def signed_up(row: Row) -> list[int]:
        month, day, year = map(int, row["signup_date"].split("/"))
        return [year, month, day]

    rows = table(folder / "ds_challenge_v2_1_data.csv")
    return count(
        rows, lambda r: (r["vehicle_added_date"] != "", r["first_completed_date"] != ""), half(rows, signed_up)
    )


def kuairand(folder: Path) -> Hand:
    shown: dict[tuple[str, ...], Row] = {}
    for file in sorted(folder.glob("log_standard_*")):
        for row in table(file):
            shown.setdefault((row["user_id"], row["video_id"], row["time_ms"]), row)
    rows = list(shown.values())
    return count(rows, lambda r: (r["is_click"] == "1", r["is_like"] == "1"), half(rows, lambda r: int(r["time_ms"])))


def aliexpress(folder: Path) -> Hand:
    rows = [{**row, "part": part} for part in ("train", "test") for row in table(folder / f"{part}.csv")]
    return count(rows, lambda r: (r["click"] == "1", r["conversion"] == "1"), lambda r: r["part"])


def ratings(folder: Path) -> Hand:
    rows = table(folder / "ratings.csv")
    unrated = ("", "0", "99")
    labels = lambda r: (r["rating"] not in unrated, r["rating"] not in unrated and float(r["rating"]) >= 4)  # noqa: E731
    return count(rows, labels, half(rows, lambda r: int(r["timestamp"])))


def aliccp(folder: Path) -> Hand:
    rows = []
    for part in ("train", "test"):
        with (folder / f"sample_skeleton_{part}.csv").open(newline="") as file:
            rows += [{"y": line[1], "z": line[2], "part": part} for line in csv.reader(file)]
    return count(rows, lambda r: (r["y"] == "1", r["z"] == "1"), lambda r: r["part"])


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
    from entirespace.runs.scoring import score

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
