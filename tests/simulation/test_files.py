"""The files of a simulated log: their bytes, the same log in both formats, and what can go wrong."""

from __future__ import annotations

import hashlib
import itertools
import math
import re
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from simulated_logs import SMALL, log

from entirespace.dataset.prepare import prepare
from entirespace.errors import ConfigError
from entirespace.simulation.log import COMMON_FIELDS, SKELETON_FIELDS, WEIGHTED_FIELDS
from entirespace.simulation.simulate import ALICCP_FIELDS, Simulated, simulate
from entirespace.simulation.text import write_lines

# --- the files -----------------------------------------------------------------------------------------


def test_schema_names_every_field_and_file(made: Simulated) -> None:
    schema = tomllib.loads((made.path / "schema.toml").read_text())
    impressions, common = schema["impressions"], schema["tables"]["common"]
    assert tuple(impressions["fields"]) == SKELETON_FIELDS
    assert tuple(common["fields"]) == COMMON_FIELDS
    assert (schema["split"], schema["roles"]) == (
        {"by": "order", "train": 0.5, "validation": 0.1},
        {"user": "user_id", "item": "item_id"},
    )
    for name, field in (impressions["fields"] | common["fields"]).items():
        weights = {"weights": f"{name}_weights"} if name in WEIGHTED_FIELDS else {}
        assert field == {"kind": "ids"} | weights
    names = set(pl.read_parquet_schema(made.path / "impressions-00000.parquet"))
    assert names >= set(SKELETON_FIELDS) | {
        impressions["order"],
        common["key"],
        *impressions["labels"].values(),
    }
    assert {"schema.toml", *common["files"], *schema["truth"]["files"], "impressions-00000.parquet"} == {
        path.name for path in made.path.iterdir()
    }


def test_a_history_is_added_to_the_schema_and_changes_nothing_else(tmp_path: Path) -> None:
    found = {}
    for rates in (False, True):
        out = tmp_path / str(rates)
        simulate(out, impressions=2000, click_rate=0.3, conversion_rate=0.3, rates=rates, seed=2)
        found[rates] = (tomllib.loads((out / "schema.toml").read_text()), _digest(out))
    plain, with_rates = (found[rates][0] for rates in (False, True))
    assert with_rates.pop("history") == {
        "keys": "all",
        "parents": {"item_id": ["shop", "category"], "user_id": ["profile"]},
    }
    assert with_rates == plain
    files = [{name: digest for name, digest in of.items() if name != "schema.toml"} for _, of in found.values()]
    assert files[0] == files[1]
    data = prepare(tmp_path / "True" / "schema.toml", tmp_path / "True", tmp_path / "data")
    assert len(data.layout.rates) == 3 * 23


def _digest(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir()}


@pytest.mark.parametrize("format", ["parquet", "aliccp"])
def test_the_same_seed_gives_the_same_bytes(tmp_path: Path, format: str) -> None:
    digests = []
    for run, seed in enumerate((5, 5, 6)):
        simulate(tmp_path / str(run), **SMALL, seed=seed, format=format)
        digests.append(_digest(tmp_path / str(run)))
    assert digests[0] == digests[1]
    assert not set(digests[0].values()) & set(digests[2].values())


def naive_aliccp(folder: Path) -> tuple[list[tuple], dict[str, dict]]:
    """Raw files read the slow way: rows (label, label, key, bags), and bags by key."""

    def bags(number: str, text: str) -> dict[str, list[tuple[int, float]]]:
        features = [feature for feature in text.split("\x01") if feature]
        assert len(features) == int(number)
        found: dict[str, list[tuple[int, float]]] = {}
        for feature in features:
            field, rest = feature.split("\x02")
            identity, value = rest.split("\x03")
            found.setdefault(field, []).append((int(identity), float(value)))
        return found

    rows, common = [], {}
    for part in ("train", "test"):
        for line in (folder / f"common_features_{part}.csv").read_text().splitlines():
            key, number, text = line.split(",")
            assert key not in common
            common[key] = bags(number, text)
        with (folder / f"sample_skeleton_{part}.csv").open() as lines:
            for place, line in enumerate(lines, start=1):
                sample, click, conversion, key, number, text = line.rstrip("\n").split(",")
                assert int(sample) == place
                rows.append((int(click), int(conversion), key, bags(number, text)))
    return rows, common


def as_bags(row: dict, names: tuple[str, ...]) -> dict[str, list[tuple[int, float]]]:
    """A row of a Parquet table as Ali-CCP's fields."""
    found = {}
    for name in names:
        value = row[name]
        ids = [] if value is None else value if isinstance(value, list) else [value]
        weights = row.get(f"{name}_weights") or [1.0] * len(ids)
        if ids:
            found[ALICCP_FIELDS[name]] = list(zip(ids, weights, strict=True))
    return found


def test_both_formats_hold_the_same_log(pair: tuple[Path, Path]) -> None:
    parquet, aliccp = pair
    rows, common = naive_aliccp(aliccp)
    table = pl.read_parquet(parquet / "impressions-*.parquet")
    assert rows == [
        (row["click"], row["conversion"], row["common"], as_bags(row, SKELETON_FIELDS))
        for row in table.iter_rows(named=True)
    ]
    side = pl.read_parquet(parquet / "common.parquet")
    assert list(common) == side["common"].to_list()
    assert list(common.values()) == [as_bags(row, COMMON_FIELDS) for row in side.iter_rows(named=True)]
    assert (parquet / "truth.parquet").read_bytes() == (aliccp / "truth.parquet").read_bytes()
    assert pl.read_parquet(aliccp / "truth.parquet")["impression"].to_list() == list(range(3001))
    assert len((aliccp / "sample_skeleton_train.csv").read_text().splitlines()) == 1500


def test_raw_lines_look_like_the_real_ones(pair: tuple[Path, Path]) -> None:
    """Order of fields differs from line to line; weights are "1.0" or logs of counts such as "0.69315"."""
    lines = (pair[1] / "common_features_train.csv").read_text().splitlines()
    first_fields = {line.split(",")[2].split("\x02")[0] for line in lines}
    assert len(first_fields) >= 10
    texts = {f.split("\x03")[1] for line in lines for f in line.split(",")[2].split("\x01") if f}
    assert {"1.0", "0.69315", "1.09861", "2.3979"} < texts
    pieces = [[k for k, _ in itertools.groupby(f.split("\x02")[0] for f in line.split("\x01"))] for line in lines]
    assert any(len(set(fields)) < len(fields) for fields in pieces)  # a bag in two pieces


def test_orphans_only_when_asked_for(pair: tuple[Path, Path], tmp_path: Path) -> None:
    """They change nothing else of the log."""
    with_orphans = pl.read_parquet(pair[0] / "impressions-*.parquet")
    orphan = (with_orphans["click"] == 0) & (with_orphans["conversion"] == 1)
    assert 5 < orphan.sum() < 60
    made = simulate(tmp_path / "log", **SMALL, orphans=0.01)
    again = simulate(tmp_path / "none", **SMALL)
    frames = [log(m.path) for m in (made, again)]
    assert made.orphans > 5
    assert again.orphans == 0
    assert (made.clicks, made.conversions) == (again.clicks, again.conversions)
    assert frames[0].drop("conversion").equals(frames[1].drop("conversion"))


def test_a_number_of_ten_digits_and_an_empty_line_are_written(tmp_path: Path) -> None:
    """The text writer alone, on what a small log does not have."""
    text = np.zeros(200, np.uint8)
    tags, ends = np.frombuffer(b"109_14205", np.uint8), np.array([0, 6, 9])
    keys = np.frombuffer(b"00000000000000001111111111111111", np.uint8).reshape(2, 16).copy()
    offsets = np.array([[0, 1, 1], [1, 2, 2]])
    weights, weight_ends = np.frombuffer(b"1.00.69315", np.uint8), np.array([0, 3, 10])
    length = write_lines(
        text, np.array([2**31 - 1, 7], np.int32), np.array([1, 0], np.int32), offsets, tags, ends, keys,
        np.arange(2), np.zeros(0, bool), np.zeros(0, bool), 0, 0, 2, weights, weight_ends,
    )  # fmt: skip
    assert text[:length].tobytes().decode().splitlines() == [
        "0000000000000000,2,109_14\x022147483647\x030.69315\x01205\x027\x031.0",
        "1111111111111111,0,",
    ]


def test_one_impression_is_a_log_too(tmp_path: Path) -> None:
    for format in ("parquet", "aliccp"):
        assert simulate(tmp_path / format, impressions=1, format=format).sessions == 1
    assert (tmp_path / "aliccp" / "sample_skeleton_train.csv").read_bytes() == b""
    assert len((tmp_path / "aliccp" / "sample_skeleton_test.csv").read_bytes().splitlines()) == 1


# --- what can go wrong ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"impressions": 0}, "impressions must be a whole number, at least 1, however: 0"),
        ({"impressions": 1000.5}, "impressions must be a whole number"),
        ({"impressions": True}, "impressions must be a whole number"),
        ({"users": 99}, "users must be a whole number, at least 100, however: 99"),
        ({"items": 5}, "items must be a whole number, at least 100"),
        ({"click_rate": 0.0}, "click_rate must be above 0 and below 1, however: 0.0"),
        ({"click_rate": 1}, "click_rate must be above 0 and below 1"),
        ({"click_rate": 1e-15}, "click_rate must be between 1e-12 and 1 - 1e-12, however: 1e-15"),
        ({"conversion_rate": 1.5}, "conversion_rate must be above 0 and below 1"),
        ({"conversion_rate": math.nan}, "conversion_rate must be above 0 and below 1"),
        ({"conversion_rate": "much"}, "conversion_rate must be above 0 and below 1"),
        ({"bias": -1.0}, "bias must be a number, at least 0, however: -1.0"),
        ({"bias": math.inf}, "bias must be a number"),
        ({"drift": 2}, "drift must be between 0 and 1"),
        ({"history": 0}, "history must be a number, at least 1"),
        ({"history": 2000, "items": 100}, "history must be small enough for the number of items"),
        ({"session": 0.5}, "session must be a number, at least 1"),
        ({"orphans": 1.0}, "orphans must be at least 0 and below 1"),
        ({"seed": -1}, "seed must be a whole number, at least 0"),
        ({"format": "csv"}, 'format must be "parquet" or "aliccp"'),
        (
            {"format": "aliccp", "rates": True},
            'simulate: rates need a schema file, however: format "aliccp" has none. '
            "Name the fields when you prepare the log: prepare aliccp RAW OUT --history all.",
        ),
    ],
)
def test_bad_arguments_are_named(tmp_path: Path, given: dict, says: str) -> None:
    with pytest.raises(ConfigError) as error:
        simulate(tmp_path / "log", **({"impressions": 1000} | given))
    assert says in str(error.value)
    assert not list(tmp_path.iterdir())


def test_a_folder_with_something_in_it_is_refused(tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "mine.txt").write_text("keep")
    with pytest.raises(ConfigError, match=r"log: the folder .* must be new or empty, however: it holds mine.txt"):
        simulate(tmp_path / "log", impressions=100)
    with pytest.raises(ConfigError, match="it is a file"):
        simulate(tmp_path / "log" / "mine.txt", impressions=100)
    assert [p.name for p in tmp_path.rglob("*")] == ["log", "mine.txt"]


def test_an_interrupted_run_leaves_nothing(tmp_path: Path) -> None:
    def stop(done: int, of: int) -> None:
        (hidden,) = tmp_path.iterdir()
        assert re.fullmatch(r"\.log\.[0-9a-f]{8}\.partial", hidden.name)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "log", impressions=1000, progress=stop)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_replaced(tmp_path: Path) -> None:
    left = tmp_path / "log" / ".entirespace.0123abcd.partial"
    (left / "new").mkdir(parents=True)
    (left / ".entirespace.lock").touch()
    (left / "new" / "impressions-00009.parquet").write_text("half a file")
    seen: list[tuple[int, int]] = []
    simulate(tmp_path / "log", impressions=1000, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1000, 1000)]
    assert [p.name for p in tmp_path.iterdir()] == ["log"]
    assert not left.exists()
    assert not (tmp_path / "log" / "impressions-00009.parquet").exists()


def test_a_folder_of_the_user_beside_the_log_stays(tmp_path: Path) -> None:
    """simulate once wrote to log.partial, and emptied it first."""
    (tmp_path / "log.partial").mkdir()
    (tmp_path / "log.partial" / "mine.txt").write_text("keep")
    simulate(tmp_path / "log", impressions=100)
    assert (tmp_path / "log.partial" / "mine.txt").read_text() == "keep"


def test_the_working_folder_and_a_link_can_be_written_to(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "link").symlink_to("here")
    monkeypatch.chdir(tmp_path / "here")
    simulate(Path("."), impressions=100)
    wanted = ["common.parquet", "impressions-00000.parquet", "schema.toml", "truth.parquet"]
    assert sorted(p.name for p in Path(".").iterdir()) == wanted
    with pytest.raises(ConfigError, match=r"it holds common\.parquet"):
        simulate(tmp_path / "link", impressions=100)
    (tmp_path / "nowhere").symlink_to("gone")
    with pytest.raises(ConfigError, match="nowhere is a link to gone, which does not exist"):
        simulate(tmp_path / "nowhere", impressions=100)
