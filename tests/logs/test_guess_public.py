"""First schemas of public logs: `prepare` reads them as they are, with the counts that were made by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import public_logs
import pytest
from guessed import counts, schema_of
from public_logs import by_hand


@dataclass(frozen=True)
class Wanted:
    """What the first schema of a public log must say."""

    by_hand: Callable[[Path], by_hand.Hand]
    split: str
    fields: tuple[str, ...]  # some of the columns that must be fields
    out: tuple[str, ...]  # some of the columns that must not
    folder: str = ""


PUBLIC = {
    "speed_dating": Wanted(
        by_hand.speed_dating,
        "column",
        ("iid", "pid", "gender", "income", "samerace", "field"),
        ("dec_o", "like", "match", "wave"),
    ),
    "ratings": Wanted(by_hand.ratings, "order", ("userId", "movieId", "genres"), ("rating", "title"), "films"),
    "email": Wanted(
        by_hand.email,
        "random",
        ("Customer_Location", "Time_Email_sent_Category", "Word_Count"),
        ("Email_ID", "Email_Status"),
    ),
    "retail": Wanted(
        by_hand.retail, "random", ("recency", "history", "zip_code", "channel"), ("spend", "visit", "conversion")
    ),
    "hotels": Wanted(
        by_hand.hotels,
        "order",
        ("prop_id", "price_usd", "visitor_hist_starrating", "srch_booking_window"),
        ("gross_bookings_usd", "srch_id", "date_time"),
    ),
    "drivers": Wanted(
        by_hand.checked_drivers,
        "order",
        ("city_name", "signup_os", "signup_channel"),
        ("id", "vehicle_added_date", "vehicle_make", "signup_date"),
    ),
    "kuairand": Wanted(
        by_hand.kuairand,
        "order",
        ("user_id", "video_id", "author_id", "tag", "register_days", "tab"),
        ("is_follow", "long_view", "play_time_ms", "time_ms"),
    ),
    "aliexpress": Wanted(by_hand.aliexpress, "file", ("categorical_16", "numerical_63"), ("search_id", "click")),
}


@pytest.mark.parametrize("name", PUBLIC)
def test_prepare_reads_the_first_schema_of_a_log_like(name: str, tmp_path: Path) -> None:
    expected = PUBLIC[name]
    raw = public_logs.write(name, tmp_path / "log", 400) / expected.folder
    assert counts(raw, tmp_path) == expected.by_hand(raw).all
    schema = schema_of(raw)
    read = {f.source for f in schema.fields()}
    assert set(expected.fields) <= read
    assert not set(expected.out) & read
    assert schema.split.by == expected.split
