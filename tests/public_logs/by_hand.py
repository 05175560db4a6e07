"""What the logs hold, counted with the csv module: impressions, clicks, conversions, ids and missing numbers."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path

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

    @property
    def all(self) -> tuple[int, int, int]:
        """Impressions, clicks and conversions of all parts."""
        total = sum(self.parts.values(), start=Counter[str]())
        return total["impressions"], total["click"], total["conversion"]


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


def checked_drivers(folder: Path) -> Hand:
    """As `drivers`, with the background check as the click."""
    rows = table(folder / "ds_challenge_v2_1_data.csv")
    return count(rows, lambda r: (r["bgc_date"] != "", r["first_completed_date"] != ""))


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
