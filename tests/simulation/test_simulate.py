"""The simulated log: its rates, its bias, its labels and its fields."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from simulated_logs import log
from sklearn.metrics import roc_auc_score

from entirespace.simulation.log import COMMON_FIELDS
from entirespace.simulation.simulate import ALICCP_FIELDS, Simulated, simulate

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
