"""'Speed Dating Data.csv' (Kaggle): 8,378 meetings of 551 people in 21 waves, 195 columns.

Latin-1 with CR LF. Names of fields of study and of schools have accents and commas, so they are in quotes. Income,
tuition and scores of tests are written as "69,487.00". Many answers are missing.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np

from .names import names

SIX = ("attr", "sinc", "intel", "fun", "amb", "shar")
FIRST = names(
    """iid id gender idg condtn wave round position positin1 order partner pid match int_corr samerace age_o race_o
    pf_o_att pf_o_sin pf_o_int pf_o_fun pf_o_amb pf_o_sha dec_o attr_o sinc_o intel_o fun_o amb_o shar_o like_o prob_o
    met_o age field field_cd undergra mn_sat tuition race imprace imprelig from zipcode income goal date go_out career
    career_c sports tvsports exercise dining museums art hiking gaming clubbing reading tv theater movies concerts
    music shopping yoga exphappy expnum"""
)
COLUMNS = [
    *FIRST,
    *(f"{trait}{n}_1" for n in (1, 4, 2) for trait in SIX),
    *(f"{trait}{n}_1" for n in (3, 5) for trait in SIX[:5]),
    *("dec", *SIX, "like", "prob", "met", "match_es"),
    *(f"{trait}1_s" for trait in SIX),
    *(f"{trait}3_s" for trait in SIX[:5]),
    *("satis_2", "length", "numdat_2"),
    *(f"{trait}{n}_2" for n in (7, 1, 4, 2) for trait in SIX),
    *(f"{trait}{n}_2" for n in (3, 5) for trait in SIX[:5]),
    *("you_call", "them_cal", "date_3", "numdat_3", "num_in_3"),
    *(f"{trait}{n}_3" for n in (1, 7, 4, 2) for trait in SIX),
    *(f"{trait}{n}_3" for n in (3, 5) for trait in SIX[:5]),
]
FIELDS = ["Law", "law", "Economics, Finance", "Études françaises", "Applied Maths/Econs", 'Art "History"', "MBA"]
SCHOOLS = ["Harvard College", "École Normale Supérieure, Paris", "Universidad de São Paulo", "UC, Berkeley", ""]
PLACES = ["Chicago", "Montréal, Canada", "New York, NY", "Köln", ""]


def write(folder: Path, rows: int, rng: np.random.Generator) -> None:
    people = max(10, rows // 15)
    person = [_person(iid, rng) for iid in range(1, people + 1)]
    waves = np.sort(rng.integers(1, 22, rows))
    with (folder / "Speed Dating Data.csv").open("w", encoding="latin-1", newline="") as file:
        table = csv.DictWriter(file, COLUMNS, restval="", lineterminator="\r\n")
        table.writeheader()
        for i in range(rows):
            one, other = person[i * people // rows], person[int(rng.integers(people))]
            dec, dec_o = (int(x) for x in rng.random(2) < (0.3 + 0.03 * rng.integers(0, 10), 0.42))
            seen = {trait: _maybe(rng, int(rng.integers(1, 11)) + (dec and trait == "attr")) for trait in SIX}
            meeting = {
                "wave": waves[i], "round": 10, "position": rng.integers(1, 22), "order": rng.integers(1, 23),
                "partner": rng.integers(1, 23), "pid": _maybe(rng, other["iid"], 0.01), "match": dec & dec_o,
                "int_corr": _maybe(rng, round(float(rng.uniform(-1, 1)), 2)), "samerace": rng.integers(0, 2),
                "age_o": other["age"], "race_o": other["race"], "dec_o": dec_o, "dec": dec,
                "like": _maybe(rng, rng.integers(1, 11)), "prob": _maybe(rng, rng.integers(1, 11)),
                **{f"pf_o_{trait[:3]}": _maybe(rng, round(float(rng.uniform(0, 40)), 2)) for trait in SIX},
            }  # fmt: skip
            table.writerow({**one, **seen, **meeting})


def _person(iid: int, rng: np.random.Generator) -> dict[str, object]:
    return {
        "iid": iid, "id": _maybe(rng, iid % 20 + 1, 0.01), "gender": iid % 2, "idg": iid, "condtn": 1 + iid % 2,
        "age": _maybe(rng, int(rng.integers(18, 42))), "race": _maybe(rng, int(rng.integers(1, 7))),
        "field": rng.choice(FIELDS), "field_cd": rng.integers(1, 19), "undergra": rng.choice(SCHOOLS),
        "mn_sat": _maybe(rng, f"{rng.integers(900, 1490):,}.00", 0.6),
        "tuition": _maybe(rng, f"{rng.integers(2000, 34300):,}.00", 0.6), "from": rng.choice(PLACES),
        "zipcode": _maybe(rng, f"{rng.integers(0, 99999):,}", 0.1),
        "income": _maybe(rng, f"{rng.integers(8607, 109031):,}.00", 0.5), "goal": rng.integers(1, 7),
        "career": rng.choice(["lawyer", "Informatics, consulting", "cinéaste"]), "exphappy": rng.integers(1, 11),
    }  # fmt: skip


def _maybe(rng: np.random.Generator, value: object, missing: float = 0.03) -> object:
    """The value, or an empty cell."""
    return "" if rng.random() < missing else value
