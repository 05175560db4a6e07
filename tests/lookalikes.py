"""Small logs that look like public ones, written by numpy with a fixed seed; and what they hold, counted by hand.

Each function writes the files of one log into a folder, and returns its counts.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np

N = 300


@dataclass(frozen=True)
class Counts:
    impressions: int
    clicks: int
    conversions: int  # of clicked impressions
    split: str
    fields: tuple[str, ...]  # some of the columns that must be fields
    out: tuple[str, ...] = ()  # some of the columns that must not


def _write(path: Path, header: Sequence[str] | None, rows: Iterable[Sequence[object]], encoding: str = "utf-8") -> None:
    with path.open("w", newline="", encoding=encoding) as file:
        writer = csv.writer(file, lineterminator="\n")
        if header is not None:
            writer.writerow(header)
        writer.writerows(rows)


def speed_dating(folder: Path) -> Counts:
    rng = np.random.default_rng(0)
    header = ["iid", "id", "gender", "wave", "order", "pid", "match", "int_corr", "samerace", "age_o", "dec_o", "dec"]
    header += ["attr", "like", "age", "field", "zipcode", "income", "tuition", *(f"extra{i}_1" for i in range(40))]
    rows, clicks, conversions = [], 0, 0
    for i in range(N):
        dec, dec_o = int(rng.random() < 0.45), int(rng.random() < 0.45)
        clicks, conversions = clicks + dec, conversions + dec * dec_o
        person = i // 10
        row = [person + 1, person % 15 + 1, person % 2, 1 + i // 50, i % 10 + 1, 31 + i % 10, dec * dec_o]
        row += [round(rng.normal(0, 0.3), 2), int(rng.random() < 0.4), rng.integers(20, 35), dec_o, dec]
        row += [rng.integers(1, 11), rng.integers(1, 11), 20 + person % 12, ["Law", "Économie", "Music"][person % 3]]
        row += [f"{10 + person},{person:03d}", f"{30 + person},{100 + person}.00", "" if person % 4 else "26,908.00"]
        rows.append([*row, *("" if rng.random() < 0.3 else rng.integers(1, 11) for _ in range(40))])
    _write(folder / "Speed Dating Data.csv", header, rows, "latin-1")
    fields = ("iid", "pid", "gender", "income", "samerace", "field")
    return Counts(N, clicks, conversions, "column", fields, ("dec_o", "like", "match", "wave"))


def ratings(folder: Path) -> Counts:
    rng = np.random.default_rng(1)
    stars = rng.choice([0.5, 1, 2, 3, 3.5, 4, 4.5, 5], N)
    at = 1_100_000_000 + rng.permutation(N) * 1000
    movies = rng.integers(1, 41, N)
    _write(
        folder / "ratings.csv",
        ["userId", "movieId", "rating", "timestamp"],
        zip(rng.integers(1, 31, N), movies, stars, at, strict=True),
    )
    genres = ["Action", "Comedy", "Drama", "Horror"]
    _write(
        folder / "movies.csv",
        ["movieId", "title", "genres"],
        ((i, f"Film, The {i} (1999)", "|".join(genres[: 1 + i % 4])) for i in range(1, 41)),
    )
    _write(folder / "links.csv", ["movieId", "imdbId"], ((i, 1000 + i) for i in range(1, 41)))
    _write(folder / "tags.csv", ["userId", "movieId", "tag", "timestamp"], ((1, i % 5, "x", 5 + i) for i in range(40)))
    return Counts(N, N, int((stars >= 4).sum()), "order", ("userId", "movieId", "genres"), ("rating", "title"))


def email(folder: Path) -> Counts:
    rng = np.random.default_rng(2)
    status = rng.choice(3, N, p=[0.7, 0.2, 0.1])
    header = ["Email_ID", "Email_Type", "Subject_Hotness_Score", "Customer_Location", "Total_Past_Communications"]
    header += ["Time_Email_sent_Category", "Word_Count", "Email_Status"]
    rows = [
        [
            f"EMA{i:08d}",
            rng.integers(1, 3),
            round(rng.random() * 5, 1),
            rng.choice(["A", "B", "G", ""]),
            "" if i % 9 == 0 else int(rng.integers(0, 60)),
            rng.integers(1, 4),
            rng.integers(100, 1300),
            status[i],
        ]
        for i in range(N)
    ]
    _write(folder / "emails.csv", header, rows)
    fields = ("Customer_Location", "Time_Email_sent_Category", "Word_Count")
    out = ("Email_ID", "Email_Status")
    return Counts(N, int((status >= 1).sum()), int((status == 2).sum()), "random", fields, out)


def retail(folder: Path) -> Counts:
    rng = np.random.default_rng(3)
    visit, buy = rng.random(N) < 0.4, rng.random(N) < 0.3
    conversion = visit & buy
    header = ["recency", "history_segment", "history", "mens", "womens", "zip_code", "newbie", "channel", "segment"]
    rows = [
        [
            rng.integers(1, 13),
            "2) $100 - $200",
            round(rng.random() * 900 + 30, 2),
            i % 2,
            1 - i % 2,
            rng.choice(["Rural", "Urban"]),
            int(rng.random() < 0.5),
            rng.choice(["Web", "Phone"]),
            "Mens E-Mail",
            int(visit[i]),
            int(conversion[i]),
            29.99 if conversion[i] else 0.0,
        ]
        for i in range(N)
    ]
    _write(folder / "hillstrom.csv", [*header, "visit", "conversion", "spend"], rows)
    fields = ("recency", "history", "zip_code", "channel")
    return Counts(N, int(visit.sum()), int(conversion.sum()), "random", fields, ("spend", "visit", "conversion"))


def hotels(folder: Path) -> Counts:
    rng = np.random.default_rng(4)
    click = rng.random(N) < 0.3
    book = click & (rng.random(N) < 0.5)
    header = ["srch_id", "date_time", "visitor_location_country_id", "visitor_hist_starrating", "prop_id"]
    header += ["prop_brand_bool", "price_usd", "srch_booking_window", "comp1_rate", "click_bool"]
    header += ["gross_bookings_usd", "booking_bool"]
    start, rows = datetime(2013, 4, 4, 8), []
    for i in range(N):
        when = start + timedelta(hours=int(np.random.default_rng(i // 6).integers(0, 2000)))
        row = [i // 6 + 1, when, rng.integers(100, 105), "NULL" if rng.random() < 0.9 else 3.5, rng.integers(1, 60)]
        row += [rng.integers(0, 2), round(rng.random() * 300 + 20, 2), rng.integers(0, 90)]
        row += [rng.choice(["NULL", "0", "1", "-1"]), int(click[i])]
        rows.append([*row, round(rng.random() * 300 + 50, 2) if book[i] else "NULL", int(book[i])])
    _write(folder / "train.csv", header, rows)
    _write(folder / "test.csv", header[:-3], (row[:-3] for row in rows[:50]))
    fields = ("prop_id", "price_usd", "visitor_hist_starrating", "srch_booking_window")
    return Counts(N, int(click.sum()), int(book.sum()), "order", fields, ("gross_bookings_usd", "srch_id", "date_time"))


def drivers(folder: Path) -> Counts:
    rng = np.random.default_rng(5)
    checked = rng.random(N) < 0.6
    vehicle = checked & (rng.random(N) < 0.5)
    first = vehicle & (rng.random(N) < 0.6)

    def short(there: bool, i: int, later: int) -> str:
        day = date(2016, 1, 2) + timedelta(days=i % 29 + later)
        return f"{day.month}/{day.day}/{day:%y}" if there else ""

    header = ["id", "city_name", "signup_os", "signup_channel", "signup_date", "bgc_date", "vehicle_added_date"]
    header += ["vehicle_make", "first_completed_date"]
    rows = [
        [
            i + 1,
            rng.choice(["Strark", "Berton"]),
            rng.choice(["ios web", "NA", ""]),
            rng.choice(["Paid", "Referral"]),
            short(True, i, 0),
            short(bool(checked[i]), i, 3),
            short(bool(vehicle[i]), i, 5),
            "Toyota" if vehicle[i] else "",
            short(bool(first[i]), i, 9),
        ]
        for i in range(N)
    ]
    _write(folder / "drivers.csv", header, rows)
    out = ("id", "vehicle_added_date", "vehicle_make", "signup_date")
    return Counts(N, int(checked.sum()), int(first.sum()), "order", ("city_name", "signup_os", "signup_channel"), out)


def videos(folder: Path) -> Counts:
    rng = np.random.default_rng(6)
    click = rng.random(N) < 0.5
    like = rng.random(N) < 0.2
    header = ["user_id", "video_id", "date", "hourmin", "time_ms", "is_click", "is_like", "is_follow", "long_view"]
    header += ["play_time_ms", "duration_ms", "is_rand", "tab"]
    rows = [
        [
            rng.integers(0, 40),
            rng.integers(0, 60),
            20220408 + i // 100,
            100 * (i % 24),
            1649400000000 + 7000000 * i,
            int(click[i]),
            int(like[i]),
            0,
            int(rng.random() < 0.3),
            int(rng.integers(0, 90000)),
            60000 + 10 * i,
            0,
            rng.integers(0, 5),
        ]
        for i in range(N)
    ]
    _write(folder / "log_standard_4_08_to_4_21_pure.csv", header, rows[:200])
    _write(folder / "log_standard_4_22_to_5_08_pure.csv", header, rows[200:])
    users = [[i, ["full_active", "UNKNOWN"][i % 2], ["[10,100)", "(250,500]", "500+"][i % 3], i * 7] for i in range(40)]
    _write(folder / "user_features_pure.csv", ["user_id", "user_active_degree", "fans_range", "register_days"], users)
    tags = [[i, 50 + i % 9, "2022-03-12", ["39", "39,1", "2,7,9"][i % 3]] for i in range(60)]
    _write(folder / "video_features_basic_pure.csv", ["video_id", "author_id", "upload_dt", "tag"], tags)
    fields = ("user_id", "video_id", "author_id", "tag", "register_days", "tab")
    out = ("is_follow", "long_view", "play_time_ms", "time_ms")
    return Counts(N, int(click.sum()), int((click & like).sum()), "order", fields, out)


def pages(folder: Path) -> Counts:
    rng = np.random.default_rng(7)
    click = rng.random(N) < 0.3
    buy = click & (rng.random(N) < 0.3)
    header = ["search_id", *(f"categorical_{i}" for i in range(1, 17)), *(f"numerical_{i}" for i in range(1, 64))]
    rows = [
        [i // 5, *rng.integers(0, 9, 16), *np.round(rng.normal(size=63), 3), int(click[i]), int(buy[i])]
        for i in range(N)
    ]
    _write(folder / "train.csv", [*header, "click", "conversion"], rows[:200])
    _write(folder / "test.csv", [*header, "click", "conversion"], rows[200:])
    return Counts(
        N, int(click.sum()), int(buy.sum()), "file", ("categorical_16", "numerical_63"), ("search_id", "click")
    )


LOGS: dict[str, Callable[[Path], Counts]] = {
    f.__name__: f for f in (speed_dating, ratings, email, retail, hotels, drivers, videos, pages)
}
