"""The simulated log: its rates, its bias, its labels, its bytes, and the same log in both formats."""

from __future__ import annotations

import hashlib
import itertools
import math
import tomllib
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.metrics import roc_auc_score

from entirespace.errors import ConfigError
from entirespace.simulation import log as simulate_log
from entirespace.simulation.log import COMMON_FIELDS, SKELETON_FIELDS, WEIGHTED_FIELDS
from entirespace.simulation.simulate import ALICCP_FIELDS, Simulated, simulate
from entirespace.simulation.text import write_lines

SMALL = {"impressions": 3001, "users": 200, "items": 400, "click_rate": 0.2, "conversion_rate": 0.3}


def log(folder: Path) -> pl.DataFrame:
    """Impressions with the truth beside them."""
    return pl.concat(
        [pl.read_parquet(folder / "impressions-*.parquet"), pl.read_parquet(folder / "truth.parquet")],
        how="horizontal",
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Simulated:
    """One log that several tests read."""
    out = tmp_path_factory.mktemp("simulated") / "log"
    return simulate(out, impressions=300_000, click_rate=0.1, conversion_rate=0.1, users=5000, items=8000)


@pytest.fixture(scope="module")
def frame(made: Simulated) -> pl.DataFrame:
    return log(made.path)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The same small log of several chunks in both formats; the middle of the log falls within a chunk."""
    folder = tmp_path_factory.mktemp("pair")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("entirespace.simulation.simulate.CHUNK", 700)
        patch.setattr(simulate_log, "CHUNK", 700)
        for format in ("parquet", "aliccp"):
            simulate(folder / format, **SMALL, format=format, orphans=0.01)
    return folder / "parquet", folder / "aliccp"


# --- the world -----------------------------------------------------------------------------------------


def test_many_items_are_drawn_from_many_categories(tmp_path: Path) -> None:
    """No number of a category is too large for its column: the largest one would then take what overflows."""
    made = simulate(tmp_path / "log", impressions=20_000, users=500, items=300_000)
    shown = log(made.path)["category"].value_counts()["count"]
    assert shown.max() < 0.06 * 20_000  # 749; 8,471 with numbers of 16 bits


def test_summary_is_what_the_files_hold(made: Simulated, frame: pl.DataFrame) -> None:
    common = pl.read_parquet(made.path / "common.parquet")
    click, conversion = frame["click"].cast(bool), frame["conversion"].cast(bool)
    assert made.impressions == len(frame) == 300_000
    assert (made.clicks, made.conversions) == (click.sum(), (click & conversion).sum())
    assert made.orphans == (conversion & ~click).sum() == 0
    assert made.sessions == len(common) == common["common"].n_unique()
    assert made.items == frame["item_id"].n_unique()
    # a few lines say nothing of their user, as in Ali-CCP
    assert 0 <= made.users - common["user_id"].drop_nulls().n_unique() < 0.01 * made.users
    assert math.isclose(made.mean_pctr, frame["pctr"].mean(), rel_tol=1e-6)  # type: ignore[arg-type]
    assert math.isclose(made.mean_pcvr_clicked, frame.filter(click)["pcvr"].mean(), rel_tol=1e-6)  # type: ignore[arg-type]
    assert math.isclose(made.mean_pcvr_unclicked, frame.filter(~click)["pcvr"].mean(), rel_tol=1e-6)  # type: ignore[arg-type]


@pytest.mark.parametrize(("click_rate", "conversion_rate"), [(0.04, 0.005), (0.3, 0.6), (0.001, 0.1)])
def test_rates_are_those_asked_for(tmp_path: Path, click_rate: float, conversion_rate: float) -> None:
    simulate(
        tmp_path / "log",
        impressions=100_000,
        users=5000,
        click_rate=click_rate,
        conversion_rate=conversion_rate,
    )
    truth = log(tmp_path / "log")
    p, q = truth["pctr"].to_numpy().astype(float), truth["pcvr"].to_numpy().astype(float)
    assert abs(p.mean() / click_rate - 1) < 0.05
    assert abs((p * q).sum() / p.sum() / conversion_rate - 1) < 0.1


def test_labels_are_drawn_from_the_truth(frame: pl.DataFrame) -> None:
    """Sums of labels are within 4 sigma of sums of probabilities, over all and within every tenth of them."""
    y, z = frame["click"].to_numpy(), frame["conversion"].to_numpy()
    p, q = frame["pctr"].to_numpy().astype(float), frame["pcvr"].to_numpy().astype(float)
    for label, probability in ((y, p), (z[y == 1], q[y == 1]), (z, p * q)):
        order = np.argsort(probability)
        for rows in (order, *np.array_split(order, 10)):
            expected = probability[rows].sum()
            sigma = math.sqrt((probability[rows] * (1 - probability[rows])).sum())
            assert abs(label[rows].sum() - expected) < 4 * sigma


def test_truth_can_be_told_from_features(frame: pl.DataFrame) -> None:
    """The oracle's AUC, and what the mean rates of categories in the first half say of the rest."""
    y, z = frame["click"].to_numpy(), frame["conversion"].to_numpy()
    assert 0.7 < roc_auc_score(y, frame["pctr"]) < 0.78
    assert 0.7 < roc_auc_score(z[y == 1], frame["pcvr"].to_numpy()[y == 1]) < 0.82
    half = len(frame) // 2
    rate = frame.head(half).group_by("category").agg((pl.col("click").sum() + 1) / (pl.len() + 10))
    seen = frame.tail(-half).join(rate, on="category", suffix="_rate").fill_null(0.1)
    assert roc_auc_score(seen["click"], seen["click_rate"]) > 0.56


def test_bias_widens_the_gap_between_clicked_and_unclicked(tmp_path: Path) -> None:
    ratios = []
    for bias in (0.0, 1.0, 8.0):
        made = simulate(tmp_path / str(bias), impressions=50_000, users=5000, click_rate=0.1, bias=bias)
        ratios.append(made.mean_pcvr_clicked / made.mean_pcvr_unclicked)
        truth = log(made.path)
        p, q = (truth[name].to_numpy().astype(float) for name in ("pctr", "pcvr"))
        correlation = np.corrcoef(np.log(p / (1 - p)), np.log(q / (1 - q)))[0, 1]
        assert abs(correlation - bias / (1 + bias)) < 0.05
    assert abs(ratios[0] - 1) < 0.08
    assert all(later > earlier + 0.2 for earlier, later in itertools.pairwise(ratios))


def test_drift_moves_clicks_and_exposure(tmp_path: Path) -> None:
    """Between the first and the last quarter: nothing without drift, fewer clicks and other items with it."""
    falls, moves = [], []
    for drift in (0.0, 0.8):
        frame = log(simulate(tmp_path / str(drift), impressions=100_000, users=20_000, items=500, drift=drift).path)
        early, late = frame.head(25_000), frame.tail(25_000)
        falls.append(late["pctr"].mean() / early["pctr"].mean())  # type: ignore[operator]
        shares = [part["item_id"].value_counts(normalize=True, name="share") for part in (early, late)]
        both = shares[0].join(shares[1], on="item_id", how="full", suffix="_late").fill_null(0.0)
        moves.append((both["share"] - both["share_late"]).abs().sum() / 2)
    assert abs(falls[0] - 1) < 0.05
    assert falls[1] < 0.75
    assert moves[0] < 0.1
    assert moves[1] > 0.2


def test_time_grows_and_users_come_back_in_runs(frame: pl.DataFrame, made: Simulated) -> None:
    assert (frame["time_ms"].diff().drop_nulls() > 0).all()
    runs = (frame["common"] != frame["common"].shift()).sum()
    assert runs == made.sessions - 1  # the first row has nothing before it: each session is one run
    assert 12 < made.impressions / made.sessions < 16
    sessions = pl.read_parquet(made.path / "common.parquet")["user_id"].drop_nulls().value_counts()["count"]
    assert sessions.mean() > 3  # type: ignore[operator]
    assert sessions.max() > 3 * sessions.mean()  # type: ignore[operator]


def test_popularity_is_uneven(frame: pl.DataFrame) -> None:
    """A hundredth of the items gets a good part of the impressions, and nearly all items get some."""
    counts = frame["item_id"].value_counts(sort=True)["count"]
    assert 0.1 < counts.head(80).sum() / counts.sum() < 0.5
    assert len(counts) > 0.9 * 8000


# --- the fields ----------------------------------------------------------------------------------------


def test_bags_have_many_weighted_ids(made: Simulated, frame: pl.DataFrame) -> None:
    common = pl.read_parquet(made.path / "common.parquet")
    lengths = []
    for name in COMMON_FIELDS[1:5]:
        ids, weights = common[name], common[f"{name}_weights"]
        assert ids.list.len().equals(weights.list.len(), check_names=False)
        assert (ids.list.n_unique() == ids.list.len()).all()  # repeated ids are counted, not repeated
        lengths.append(ids.list.len().mean())
    assert abs(np.mean(lengths) - 7.0) < 0.7
    weights = set(common["category_history_weights"].explode().drop_nulls().to_list())
    assert {0.69315, 1.09861, 2.3979} < weights <= {round(math.log(1 + n), 5) for n in range(1, 4096)}
    assert frame["intentions"].list.len().max() == 4
    assert frame["intention_affinity"].list.len().max() == 4
    share = {name: 1 - frame[name].null_count() / len(frame) for name in ("item_id", "brand")}
    assert share["item_id"] == 1.0
    assert 0.6 < share["brand"] < 0.85
    for name in ("category_affinity", "shop_affinity", "brand_affinity"):
        assert 0.1 < (frame[name].list.len() == 1).mean() < 0.6  # type: ignore[operator]
    unknown = common["gender"].is_null()
    assert (unknown == common["profile"].is_null()).all()
    assert 0.08 < unknown.mean() < 0.2  # type: ignore[operator]


def test_a_history_of_a_user_stays_from_session_to_session(made: Simulated) -> None:
    """Two sessions of one user share most shops, two sessions of two users few."""
    common = pl.read_parquet(made.path / "common.parquet").filter(pl.col("shop_history").list.len() > 3)
    pairs = common.sort("user_id", maintain_order=True).select("user_id", "shop_history")
    other = pairs.shift(-1).rename({"user_id": "next", "shop_history": "shops"})
    both = pl.concat([pairs, other], how="horizontal").head(-1)
    share = pl.col("shop_history").list.set_intersection("shops").list.len() / pl.col("shop_history").list.len()
    same = both.filter(pl.col("user_id") == pl.col("next")).select(share.mean()).item()
    others = both.filter(pl.col("user_id") != pl.col("next")).select(share.mean()).item()
    assert same > 0.8
    assert others < 0.3


def test_affinities_are_the_weights_of_the_history(made: Simulated, frame: pl.DataFrame) -> None:
    """category_affinity holds the item's category, with its weight in category_history, or nothing."""
    common = pl.read_parquet(made.path / "common.parquet")
    rows = frame.head(3000).join(common, on="common", maintain_order="left")
    shift = frame["category"].min() - _first_id(frame, "category_affinity", "category")  # type: ignore[operator]
    base = _first_id(frame, "category_affinity", "category") - 0
    assert shift != 0
    found = 0
    first_history = common["category_history"].explode().min()
    for row in rows.iter_rows(named=True):
        place = row["category"] - frame["category"].min()  # type: ignore[operator]
        past = dict(zip(row["category_history"], row["category_history_weights"], strict=True))
        weight = past.get(first_history + place)
        assert row["category_affinity_weights"] == ([] if weight is None else [weight])
        assert row["category_affinity"] == ([] if weight is None else [base + place])
        found += weight is not None
    assert found > 300


def _first_id(frame: pl.DataFrame, affinity: str, field: str) -> int:
    """The affinity's id of the first value of `field`."""
    one = frame.filter(pl.col(affinity).list.len() == 1).head(1)
    return one[affinity].explode()[0] - one[field][0] + frame[field].min()  # type: ignore[operator]


def test_history_sets_the_length_of_bags(tmp_path: Path) -> None:
    simulate(tmp_path / "log", impressions=20_000, items=20_000, history=60)
    common = pl.read_parquet(tmp_path / "log" / "common.parquet")
    lengths = [common[name].list.len().mean() for name in COMMON_FIELDS[1:5]]
    assert abs(np.mean(lengths) / 60 - 1) < 0.15


def test_ids_of_all_fields_share_one_space(made: Simulated, frame: pl.DataFrame) -> None:
    common = pl.read_parquet(made.path / "common.parquet")
    spans = []
    for name in ALICCP_FIELDS:
        ids = (common if name in common.columns else frame)[name]
        ids = ids.explode() if ids.dtype == pl.List else ids
        spans.append((ids.min(), ids.max()))
    spans.sort()
    assert spans[0][0] >= 1
    assert all(before[1] < after[0] for before, after in itertools.pairwise(spans))


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
        assert [p.name for p in tmp_path.iterdir()] == ["log.partial"]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        simulate(tmp_path / "log", impressions=1000, progress=stop)
    assert not list(tmp_path.iterdir())


def test_what_a_killed_run_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "log.partial").mkdir()
    (tmp_path / "log.partial" / "impressions-00009.parquet").write_text("half a file")
    (tmp_path / "log").mkdir()
    seen: list[tuple[int, int]] = []
    simulate(tmp_path / "log", impressions=1000, progress=lambda done, of: seen.append((done, of)))
    assert seen == [(1000, 1000)]
    assert [p.name for p in tmp_path.iterdir()] == ["log"]
    assert not (tmp_path / "log" / "impressions-00009.parquet").exists()
