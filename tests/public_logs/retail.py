"""Hillstrom's test of e-mails (2008): 64,000 customers; a third of them got no e-mail. $1,000 is quoted."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from .names import names

COLUMNS = names("recency history_segment history mens womens zip_code newbie channel segment visit conversion spend")
SEGMENTS = ["1) $0 - $100", "2) $100 - $200", "3) $200 - $350", "4) $350 - $500", "5) $500 - $750", "6) $750 - $1,000",
            "7) $1,000 +"]  # fmt: skip
FROM = np.array([30, 100, 200, 350, 500, 750, 1000])


def write(folder: Path, rows: int, rng: np.random.Generator) -> None:
    with (folder / "Kevin_Hillstrom_MineThatData_E-MailAnalytics_DataMiningChallenge_2008.03.20.csv").open(
        "w", newline=""
    ) as file:
        table = csv.writer(file)
        table.writerow(COLUMNS)
        for _ in range(rows):
            history = round(30 + float(rng.exponential(210)), 2)
            got = int(rng.integers(3))
            visit = int(rng.random() < 0.25 + 0.15 * (got > 0))
            conversion = int(visit and rng.random() < 0.3)
            mens = int(rng.integers(2))
            table.writerow(
                [rng.integers(1, 13), SEGMENTS[int((history >= FROM).sum()) - 1], f"{history:g}", mens,
                 1 - mens or rng.integers(2), rng.choice(["Surburban", "Rural", "Urban"]), rng.integers(2),
                 rng.choice(["Phone", "Web", "Multichannel"]), ["No E-Mail", "Mens E-Mail", "Womens E-Mail"][got],
                 visit, conversion, f"{29.99 + 10 * rng.random():.2f}" if conversion else "0"]
            )  # fmt: skip
