"""`simulate` writes a Taobao-like log, and the true probabilities of its impressions in `truth.parquet`.

`world` explains the world, `build` makes it, `log` draws chunks of impressions, and `write` writes the files.
Memory holds the world and a few chunks of 262,144 impressions.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from entirespace.errors import ConfigError
from entirespace.places import Rule, whole_folder
from entirespace.simulation.build import build
from entirespace.simulation.log import ALICCP_FIELDS, CHUNK, Chunk, chunk, id_bases
from entirespace.simulation.write import AliccpLog, ParquetLog, Truth

__all__ = ["ALICCP_FIELDS", "Format", "Simulated", "simulate"]

Format = Literal["parquet", "aliccp"]
OUT = Rule("the folder to write to must be new or empty", ConfigError)
FEWEST = 100  # users, and items, at least


@dataclass(frozen=True)
class Simulated:
    """What was written: counts and rates of this log, and means of the true probabilities."""

    path: Path
    format: Format
    impressions: int
    clicks: int
    conversions: int  # y & z
    orphans: int  # conversions without a click
    sessions: int  # lines of the common features
    users: int  # users that occur in the log
    items: int  # items that occur in the log
    mean_pctr: float
    mean_pcvr_clicked: float  # nan if nothing was clicked
    mean_pcvr_unclicked: float

    @property
    def click_rate(self) -> float:
        """Clicks per impression."""
        return self.clicks / self.impressions

    @property
    def conversion_rate(self) -> float:
        """Conversions per click; nan if nothing was clicked."""
        return self.conversions / self.clicks if self.clicks else math.nan


def simulate(
    out: Path,
    *,
    impressions: int = 1_000_000,
    users: int | None = None,
    items: int | None = None,
    click_rate: float = 0.04,
    conversion_rate: float = 0.005,
    bias: float = 1.0,
    drift: float = 0.2,
    history: float = 7.0,
    session: float = 14.0,
    orphans: float = 0.0,
    seed: int = 0,
    rates: bool = False,
    format: Format = "parquet",
    progress: Callable[[int, int], None] | None = None,
) -> Simulated:
    """Write a log to the new folder `out`, with the true pCTR and pCVR of every impression.

    The same arguments give the same bytes, and both formats hold the same log: rows, ids, weights, labels.
    The files appear in `out` when all are written; until then they are in `out` + ".partial".

    Args:
        out: a folder that does not exist, or is empty.
        impressions: number of rows.
        users: number of users in the world; default impressions / 100, but at least 100.
        items: number of items in the world; default impressions / 20, but at least 100. The popularity of both
            follows Zipf's law.
        click_rate: mean pCTR.
        conversion_rate: mean pCVR of clicked impressions, that is, conversions per click.
        bias: strength of the selection bias. The correlation of the logits of pCTR and pCVR is
            bias / (1 + bias). At 0 the mean pCVR is the same for clicked and un-clicked impressions; at 1 it is
            about 1.6 times as high for clicked ones, at 3 about 2.2 times (over seeds +-0.2, small rates).
        drift: 0 to 1, how much the world changes from the log's start to its end: the share of the exposure
            that moves to other items, the fall of the logit of pCTR, and the strength of categories' seasons.
        history: ids per bag of the four histories, on average over bags and sessions.
        session: consecutive impressions that share their user and common features, on average.
        orphans: share of the un-clicked impressions that are logged with a conversion; raw Ali-CCP has some.
        seed: 0 or more.
        rates: schema.toml has a [history], so that `prepare` makes click and conversion rates of every id.
        format: "parquet" (impressions and a side table, with schema.toml) or "aliccp" (the four raw files).
        progress: called after each chunk with (impressions done, impressions in all).

    Raises:
        ConfigError: an argument is invalid, or `out` is neither new nor empty.

    ```
    simulate(Path("log"), impressions=200_000, click_rate=0.1, conversion_rate=0.1)
    ```
    """
    if format not in get_args(Format):
        raise _wrong("format", 'must be "parquet" or "aliccp"', format)
    if rates and format != "parquet":
        raise ConfigError(
            "rates need a schema file",
            f'format "{format}" has none',
            where="simulate",
            do="Name the fields when you prepare the log: prepare aliccp RAW OUT --history all",
        )
    _check(impressions=impressions)
    users = max(FEWEST, impressions // 100) if users is None else users
    items = max(FEWEST, impressions // 20) if items is None else items
    _check(
        users=users, items=items, click_rate=click_rate, conversion_rate=conversion_rate, bias=bias,
        drift=drift, history=history, session=session, orphans=orphans, seed=seed,
    )  # fmt: skip
    with whole_folder(Path(out), OUT, last="schema.toml") as folder:
        world = build(seed, users, items, click_rate, conversion_rate, bias, drift, history)
        if max(id_bases(world.sizes).values()) + items > 2**31 - 1:
            raise _wrong("users, items", "must give fewer than 2 ** 31 ids in all", f"{users}, {items}")
        about = (
            f"simulated: {impressions} impressions, {users} users, {items} items, click rate {click_rate:g}, "
            f"conversion rate {conversion_rate:g}, bias {bias:g}, drift {drift:g}, history {history:g}, "
            f"session {session:g}, orphans {orphans:g}, seed {seed}"
        )
        tally = _Tally(users, items, id_bases(world.sizes)["item_id"])
        log = ParquetLog(folder, about, rates) if format == "parquet" else AliccpLog(folder, impressions // 2)
        with closing(log), closing(Truth(folder)) as truth, ThreadPoolExecutor(1) as pool:
            written: list[Future[None]] = []
            for k in range(-(-impressions // CHUNK)):
                part = chunk(world, k, impressions, session, orphans)
                for earlier in written:  # one chunk is written while the next is drawn
                    earlier.result()
                written = [pool.submit(log.write, part), pool.submit(truth.write, part)]
                tally.add(part)
                if progress is not None:
                    progress(part.first + len(part), impressions)
            for last in written:
                last.result()
    return tally.result(Path(os.path.realpath(out)), format)


class _Tally:
    """Sums over the chunks; the means are computed at the end."""

    def __init__(self, users: int, items: int, first_item: int) -> None:
        self._users, self._items, self._first_item = np.zeros(users, bool), np.zeros(items, bool), first_item
        self._sums = np.zeros(5, np.int64)
        self._means = np.zeros(3)

    def add(self, c: Chunk) -> None:
        self._users[c.user] = True
        self._items[c.skeleton["item_id"].ids - self._first_item] = True
        bought = np.count_nonzero(c.click & c.conversion)
        orphans = np.count_nonzero(c.conversion) - bought
        self._sums += [len(c), np.count_nonzero(c.click), bought, orphans, len(c.keys)]
        self._means += [c.pctr.sum(), c.pcvr[c.click].sum(), c.pcvr[~c.click].sum()]

    def result(self, path: Path, format: Format) -> Simulated:
        impressions, clicks, conversions, orphans, sessions = self._sums.tolist()
        pctr, clicked, unclicked = self._means.tolist()
        users, items = int(self._users.sum()), int(self._items.sum())
        unclicks = impressions - clicks
        return Simulated(
            path, format, impressions, clicks, conversions, orphans, sessions, users, items,
            mean_pctr=pctr / impressions,
            mean_pcvr_clicked=clicked / clicks if clicks else math.nan,
            mean_pcvr_unclicked=unclicked / unclicks if unclicks else math.nan,
        )  # fmt: skip


def _wrong(name: str, must: str, came: object) -> ConfigError:
    return ConfigError(f"{name} {must}", repr(came), where="simulate")


def _check(**given: float) -> None:
    """Raises: ConfigError if a value is no number, no whole number where one is needed, or out of range."""
    for name, value in given.items():
        least, most, whole, must = _RANGES[name]
        kinds = (int, np.integer) if whole else (int, float, np.integer, np.floating)
        if isinstance(value, bool) or not isinstance(value, kinds) or not least <= value <= most:
            raise _wrong(name, must, value)


_TINY = math.ulp(0.0)
_BELOW_1 = math.nextafter(1.0, 0.0)
_RANGES: dict[str, tuple[float, float, bool, str]] = {
    "impressions": (1, 2**40, True, "must be a whole number, at least 1"),
    "users": (FEWEST, 2**31, True, f"must be a whole number, at least {FEWEST}"),
    "items": (FEWEST, 2**31, True, f"must be a whole number, at least {FEWEST}"),
    "click_rate": (_TINY, _BELOW_1, False, "must be above 0 and below 1"),
    "conversion_rate": (_TINY, _BELOW_1, False, "must be above 0 and below 1"),
    "bias": (0, 1e12, False, "must be a number, at least 0"),
    "drift": (0, 1, False, "must be between 0 and 1"),
    "history": (1, 1e5, False, "must be a number, at least 1"),
    "session": (1, 1e5, False, "must be a number, at least 1"),
    "orphans": (0, _BELOW_1, False, "must be at least 0 and below 1"),
    "seed": (0, 2**63 - 1, True, "must be a whole number, at least 0"),
}
