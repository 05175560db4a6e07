"""'ds_challenge_v2_1_data.csv': 54,681 drivers of January 2016, and the dates of their steps, m/d/yy."""

from __future__ import annotations

import csv
import datetime
from pathlib import Path

import numpy as np

from .names import names

COLUMNS = names(
    """id city_name signup_os signup_channel signup_date bgc_date vehicle_added_date vehicle_make vehicle_model
    vehicle_year first_completed_date"""
)


def write(folder: Path, rows: int, rng: np.random.Generator) -> None:
    with (folder / "ds_challenge_v2_1_data.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for i in range(rows):
            dates = [datetime.date(2016, 1, 1) + datetime.timedelta(int(rng.integers(0, 30)))]
            paid = rng.random() < 0.4
            for chance in (0.65, 0.5, 0.4 + 0.3 * paid):  # background check, vehicle, first trip
                if rng.random() > chance:
                    break
                dates.append(dates[-1] + datetime.timedelta(int(rng.integers(0, 20))))
            steps = [f"{d.month}/{d.day}/{d:%y}" for d in dates] + [""] * (4 - len(dates))
            car = [rng.choice(["Toyota", "Hyundai"]), rng.choice(["Corolla", "Sonata"]), rng.integers(1998, 2017)]
            table.writerow(
                [i + 1, rng.choice(["Strark", "Berton", "Wrouver"]), rng.choice(["ios web", "android web", ""]),
                 "Paid" if paid else rng.choice(["Organic", "Referral"]), *steps[:3],
                 *(car if steps[2] else ["", "", ""]), steps[3]]
            )  # fmt: skip
