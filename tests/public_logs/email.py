"""'Train.csv' of the e-mail campaign of corefactors.in: 68,353 e-mails; status 0 ignored, 1 read, 2 acknowledged."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from .names import names

COLUMNS = names(
    """Email_ID Email_Type Subject_Hotness_Score Email_Source_Type Customer_Location Email_Campaign_Type
    Total_Past_Communications Time_Email_sent_Category Word_Count Total_Links Total_Images Email_Status"""
)


def write(folder: Path, rows: int, rng: np.random.Generator) -> None:
    with (folder / "Train.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for i in range(rows):
            hot = round(float(rng.exponential(1.1)), 1)
            status = int(rng.random() < 0.35) + int(rng.random() < 0.3)
            status = 2 if status == 2 and hot < 2 else min(status, 1)

            def maybe(value: object, missing: float) -> object:
                return "" if rng.random() < missing else value

            table.writerow(
                [f"EMA{i + 81:011d}", rng.integers(1, 3), hot, rng.integers(1, 3),
                 maybe(rng.choice(list("ABCDEFG")), 0.17), rng.integers(1, 4), maybe(float(rng.integers(0, 60)), 0.1),
                 rng.integers(1, 4), rng.integers(40, 1300),
                 maybe(float(rng.integers(1, 49)), 0.03), maybe(float(rng.integers(0, 45)), 0.02), status]
            )  # fmt: skip
