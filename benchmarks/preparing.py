"""Raw logs -> a dataset: the whole of `entirespace prepare`, against readers that keep less.

python benchmarks/preparing.py [--sizes 0.5 1 2 4] [--plain 0.1] [--impressions 5] [--folder /tmp]
"""

from __future__ import annotations

import argparse
import os
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np
import preparing_log
from common import Plot, Result, publish

GB = 10**9
IDS = 6_500_000

ALICCP = """
`entirespace prepare aliccp RAW DATASET`, whole: parsing, vocabularies, the dataset's Parquet files with their
checksums, the manifest. The raw logs are generated with the shape of the real ones (518 features a common line, 58
skeleton lines of 12 features to it; `benchmarks/preparing_log.py`) and lie in the page cache. The plain reader is
written as the public scripts for this data are: line by line, a dictionary of the common features by index, one id a
field kept, conversions without a click dropped, ids counted in a dictionary and numbered in a second pass, CSV out. It
reads {plain} GB, and larger sizes would take as much longer, and more memory. Ours keeps every id and every weight.
"""
STAR = """
A log of {millions} million impressions as one Parquet file of ten columns: time, two labels, six ids (1,000,000
users, 500,000 items), a number in 20 quantile buckets. Ours sorts out who trains and who tests, fits vocabularies on
the training part, and writes checked files. The polars script holds the log in memory whole and does the least: it
numbers the ids of each column over all rows, cuts the number at quantiles, and writes one Parquet file.
"""


def measured(command: list[str]) -> tuple[float, float]:
    """(seconds, peak memory in GB) of a command. Raises: SystemExit where it fails."""
    began = time.perf_counter()
    pid = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_OPEN, 1, os.devnull, 1, 0)])
    _, status, usage = os.wait4(pid, 0)
    if status:
        sys.exit(f"failed: {' '.join(command)}")
    return time.perf_counter() - began, usage.ru_maxrss * 1024 / GB


def ours(schema: str, raw: Path) -> tuple[float, float]:
    entirespace = str(Path(sys.executable).with_name("entirespace"))
    return measured([entirespace, "prepare", schema, str(raw), str(raw / "dataset"), "--force", "-q"])


def side(name: str, raw: Path) -> tuple[float, float]:
    return measured([sys.executable, __file__, "--side", name, "--folder", str(raw)])


def size_of(raw: Path) -> float:
    return sum(file.stat().st_size for file in raw.glob("*.csv")) / GB


# Raw Ali-CCP


def aliccp(folder: Path, sizes: list[float], plain_size: float) -> Result:
    rows, speeds = [], []
    ours("aliccp", generated(folder, 0.02))  # compiles
    raw = generated(folder, plain_size)
    seconds, memory = side("plain", raw)
    plain = size_of(raw) * 1000 / seconds
    rows.append(["plain reader", size_of(raw), seconds, plain, memory, 0])
    shutil.rmtree(raw)
    for size in sizes:
        raw = generated(folder, size)
        seconds, memory = ours("aliccp", raw)
        speeds.append(size_of(raw) * 1000 / seconds)
        rows.append(["entirespace", size_of(raw), seconds, speeds[-1], memory, ids_in(raw / "dataset")])
        shutil.rmtree(raw)
    return Result(
        "preparing",
        "Preparing raw Ali-CCP",
        ALICCP.format(plain=plain_size) + f"\nAt the largest size ours is {speeds[-1] / plain:.0f} times as fast.\n",
        ["reader", "input (GB)", "seconds", "MB/s", "peak memory (GB)", "rows of the embedding"],
        rows,
        Plot("input (GB)", ["MB/s"], "MB/s of input (the first: the plain reader)"),
    )


def generated(folder: Path, size: float) -> Path:
    raw = folder / f"aliccp-{size}"
    preparing_log.write(raw, size * GB, IDS)
    return raw


def ids_in(dataset: Path) -> int:
    from entirespace.dataset.dataset import open_dataset

    return open_dataset(dataset).rows


FIELDS = ("101", "121", "122", "124", "125", "126", "127", "128", "129")
FIELDS += ("205", "206", "207", "210", "216", "508", "509", "702", "853", "301")


def plain(raw: Path) -> None:
    """What the public scripts do: of each part a table of one id a field, then ids that occur often numbered."""
    counts: dict[str, Counter[str]] = {field: Counter() for field in FIELDS}
    for part in ("train", "test"):
        common = {}
        with (raw / f"common_features_{part}.csv").open() as lines:
            for line in lines:
                columns = line.strip().split(",")
                common[columns[0]] = one_id_a_field(columns[2])
        with (raw / f"sample_skeleton_{part}.csv").open() as lines, (raw / f"{part}.joined").open("w") as joined:
            for line in lines:
                columns = line.strip().split(",")
                if columns[1] == "0" and columns[2] == "1":
                    continue
                features = one_id_a_field(columns[5])
                features.update(common[columns[3]])
                ids = [features.get(field, "0") for field in FIELDS]
                for field, value in zip(FIELDS, ids, strict=True):
                    counts[field][value] += 1
                joined.write(",".join([*columns[1:3], *ids]) + "\n")
    number = {f: {i: n for n, i in enumerate((i for i, k in c.items() if k > 10), 1)} for f, c in counts.items()}
    for part in ("train", "test"):
        with (raw / f"{part}.joined").open() as joined, (raw / f"{part}.out").open("w") as out:
            for line in joined:
                click, buy, *ids = line.strip().split(",")
                coded = [str(number[field].get(value, 0)) for field, value in zip(FIELDS, ids, strict=True)]
                out.write(",".join([click, buy, *coded]) + "\n")


def one_id_a_field(text: str) -> dict[str, str]:
    """The last id of each field."""
    features = {}
    for feature in text.split("\x01"):
        field, rest = feature.split("\x02")
        features[field] = rest.split("\x03")[0]
    return features


# Parquet

SCHEMA = """
[impressions]
files = ["log.parquet"]
order = "time_ms"
labels = { click = "click", conversion = "buy" }
[impressions.fields]
user_id = {}
item_id = {}
shop = {}
category = {}
tab = {}
hour = {}
price = { kind = "number", buckets = 20 }
[split]
by = "order"
[roles]
user = "user_id"
item = "item_id"
"""
ID_COLUMNS = ("user_id", "item_id", "shop", "category", "tab", "hour")


def star(folder: Path, millions: int) -> Result:
    raw = folder / "star"
    raw.mkdir()
    write_star(raw / "log.parquet", millions)
    (raw / "schema.toml").write_text(SCHEMA)
    rows = []
    for name, run in (
        ("entirespace", lambda: ours(str(raw / "schema.toml"), raw)),
        ("polars script", lambda: side("polars", raw)),
    ):
        seconds, memory = min(run() for _ in range(2))
        rows.append([name, millions * 10**6, seconds, millions / seconds, memory])
    return Result(
        "preparing_star",
        "Preparing a star-schema log in Parquet",
        STAR.format(millions=millions),
        ["reader", "impressions", "seconds", "million impressions/s", "peak memory (GB)"],
        rows,
        Plot("reader", ["million impressions/s"], "million impressions/s"),
    )


def write_star(path: Path, millions: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, writer, n = np.random.default_rng(0), None, 10**6
    for i in range(millions):
        click = rng.random(n) < 0.04
        table = pa.table(
            {
                "time_ms": 1_650_000_000_000 + 100 * np.arange(i * n, i * n + n) + rng.integers(0, 1000, n),
                "click": click.astype(np.int8),
                "buy": (click & (rng.random(n) < 0.05)).astype(np.int8),
                "user_id": 10**9 + (1_000_000 * rng.random(n) ** 2).astype(np.int64),
                "item_id": (500_000 * rng.random(n) ** 2).astype(np.int64),
                "shop": (50_000 * rng.random(n) ** 2).astype(np.int64),
                "category": (300 * rng.random(n) ** 2).astype(np.int32),
                "tab": pa.array(rng.integers(0, 8, n)).cast(pa.string()),
                "hour": rng.integers(0, 24, n),
                "price": rng.lognormal(3, 1, n),
            }
        )
        writer = writer or pq.ParquetWriter(path, table.schema)
        writer.write_table(table)
    assert writer is not None
    writer.close()


def polars_script(raw: Path) -> None:
    import polars as pl

    log = pl.read_parquet(raw / "log.parquet")
    codes = [pl.col(c).cast(pl.String).cast(pl.Categorical(pl.Categories(c))).to_physical() for c in ID_COLUMNS]
    edges = log["price"].qcut(20).to_physical()
    log.with_columns(*codes, edges.alias("price")).write_parquet(raw / "out.parquet")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=float, nargs="+", default=[0.5, 1, 2, 4.2], help="GB of raw Ali-CCP")
    parser.add_argument("--plain", type=float, default=0.1, help="GB that the plain reader reads")
    parser.add_argument("--impressions", type=int, default=5, help="millions, of the star-schema log")
    parser.add_argument("--folder", type=Path, help="where logs and datasets are put, and removed again")
    parser.add_argument("--side", choices=["plain", "polars"], help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        {"plain": plain, "polars": polars_script}[options.side](options.folder)
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        publish(aliccp(Path(folder), options.sizes, options.plain))
        publish(star(Path(folder), options.impressions))


if __name__ == "__main__":
    main()
