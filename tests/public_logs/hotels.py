"""'train.csv' of Expedia's hotel searches (ICDM 2013): 9,917,530 hotels in 399,344 searches. Missing: NULL.

'test.csv' has no outcomes.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from .names import names

COLUMNS = [
    *names(
        """srch_id date_time site_id visitor_location_country_id visitor_hist_starrating visitor_hist_adr_usd
        prop_country_id prop_id prop_starrating prop_review_score prop_brand_bool prop_location_score1
        prop_location_score2 prop_log_historical_price position price_usd promotion_flag srch_destination_id
        srch_length_of_stay srch_booking_window srch_adults_count srch_children_count srch_room_count
        srch_saturday_night_bool srch_query_affinity_score orig_destination_distance random_bool"""
    ),
    *(f"comp{i}_{what}" for i in range(1, 9) for what in ("rate", "inv", "rate_percent_diff")),
    *("click_bool", "gross_bookings_usd", "booking_bool"),
]


def write(folder: Path, rows: int, rng: np.random.Generator) -> None:
    with (folder / "train.csv").open("w", newline="") as file, (folder / "test.csv").open("w", newline="") as later:
        table = csv.DictWriter(file, COLUMNS, restval="NULL", lineterminator="\n")
        unlabelled = csv.DictWriter(later, COLUMNS[:-3], "NULL", "ignore", lineterminator="\n")
        table.writeheader()
        unlabelled.writeheader()
        day, search, left = np.datetime64("2012-11-01T00:08:29"), 0, 0
        shared: dict[str, object] = {}
        for i in range(rows):
            if not left:
                search, left = search + int(rng.integers(1, 4)), int(rng.integers(5, 33))
                day += np.timedelta64(int(rng.integers(10, 40_000)), "s")
                known = rng.random() < 0.1
                shared = {
                    "srch_id": search, "date_time": str(day).replace("T", " "), "site_id": rng.integers(1, 35),
                    "visitor_location_country_id": rng.integers(1, 219), "srch_destination_id": rng.integers(2, 28_400),
                    "visitor_hist_starrating": f"{rng.uniform(2, 5):.2f}" if known else "NULL",
                    "visitor_hist_adr_usd": f"{rng.uniform(50, 400):.2f}" if known else "NULL",
                    "srch_length_of_stay": rng.integers(1, 8), "srch_booking_window": rng.integers(0, 200),
                    "srch_adults_count": rng.integers(1, 5), "srch_children_count": rng.integers(0, 3),
                    "srch_room_count": 1, "srch_saturday_night_bool": rng.integers(2), "random_bool": rng.integers(2),
                    "orig_destination_distance": f"{rng.uniform(1, 9000):.2f}" if rng.random() < 0.7 else "NULL",
                }  # fmt: skip
            left -= 1
            click = rng.random() < 0.25
            booking = bool(click and rng.random() < 0.5)
            price = round(float(rng.lognormal(4.8, 0.6)), 2)
            rivals = {f"comp{i}_rate": rng.integers(-1, 2) for i in range(1, 9) if rng.random() < 0.2}
            rivals |= {
                f"comp{i}_rate_percent_diff": rng.integers(1, 60) for i in range(1, 9) if f"comp{i}_rate" in rivals
            }
            row = (
                {
                    **shared, **rivals, "prop_country_id": 219, "prop_id": rng.integers(1, 1 + max(20, rows // 20)),
                    "prop_starrating": rng.integers(0, 6), "prop_brand_bool": rng.integers(2),
                    "prop_review_score": rng.choice(["NULL", "0", "3.5", "4.0", "4.5", "5.0"]),
                    "prop_location_score1": f"{rng.uniform(0, 6.9):.2f}", "promotion_flag": rng.integers(2),
                    "prop_location_score2": f"{rng.uniform(0, 1):.4f}" if rng.random() < 0.8 else "NULL",
                    "prop_log_historical_price": f"{rng.uniform(3, 6):.2f}", "position": left + 1, "price_usd": price,
                    "click_bool": int(click), "booking_bool": int(booking),
                    "gross_bookings_usd": price if booking else "NULL",
                }
            )  # fmt: skip
            table.writerow(row)
            if i % 6 == 0:
                unlabelled.writerow(row)
