"""Ratings of films: userId,movieId,rating,timestamp as in MovieLens, with lines for films that were not rated.

Three files say "not rated" in the three customary ways: an empty rating, 0, and 99 (as in Jester). The folder `films`
is MovieLens: only films that were rated, with their titles, links and tags.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np


def write(folder: Path, rows: int, rng: np.random.Generator) -> None:
    seconds = np.sort(rng.integers(1_100_000_000, 1_500_000_000, rows))
    users, films = 1 + rng.integers(0, max(5, rows // 12), rows), 1 + rng.integers(0, max(5, rows // 15), rows)
    ratings = np.clip(np.round(2 * rng.normal(3.2 + 0.8 * np.sin(films), 1.0)) / 2, 0.5, 5)
    rated = rng.random(rows) < 0.4 + 0.3 * np.sin(users)
    for name, unrated in (("empty", ""), ("zero", "0"), ("ninety_nine", "99")):
        (folder / name).mkdir()
        with (folder / name / "ratings.csv").open("w") as file:
            file.write("userId,movieId,rating,timestamp\n")
            for i in range(rows):
                file.write(f"{users[i]},{films[i]},{ratings[i] if rated[i] else unrated},{seconds[i]}\n")
    _films(folder / "films", [*zip(users, films, ratings, seconds, strict=True)], int(films.max()))


def _films(folder: Path, ratings: list[tuple[object, ...]], films: int) -> None:
    folder.mkdir()
    genres = ["Action", "Comedy", "Drama", "Horror"]
    ids = range(1, max(40, films) + 1)
    tables = {
        "ratings": (["userId", "movieId", "rating", "timestamp"], ratings),
        "movies": (
            ["movieId", "title", "genres"],
            [(i, f"Film, The {i} (1999)", "|".join(genres[i % 4 :])) for i in ids],
        ),
        "links": (["movieId", "imdbId"], [(i, 1000 + i) for i in ids]),
        "tags": (["userId", "movieId", "tag", "timestamp"], [(1, i % 5, "x", 5 + i) for i in range(40)]),
    }
    for name, (header, rows) in tables.items():
        with (folder / f"{name}.csv").open("w", newline="") as file:
            table = csv.writer(file, lineterminator="\n")
            table.writerow(header)
            table.writerows(rows)
