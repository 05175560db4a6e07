"""A model that is trained on permuted labels knows nothing of true ones, with a history or without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from read_back import prepare_files
from scipy.sparse import csr_matrix, hstack
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

from entirespace.config import Config
from entirespace.methods import ESMM
from entirespace.training import fit

N, USERS, ITEMS = 6000, 600, 200  # ten impressions of a user, five of them for training
SCHEMA = """
[impressions]
files = ["log*"]
order = "t"
labels = { click = "y", conversion = "z" }
[impressions.fields]
u = {}
i = {}
[history]
keys = ["u", "i"]
counts = true
[split]
train = 0.6
validation = 0.2
"""


def log_of(seed: int, permuted: bool) -> pl.DataFrame:
    """Ids whose click rates differ a lot; `permuted`: all labels but those of the test part are shuffled."""
    rng = np.random.default_rng(seed)
    u, i = rng.integers(0, USERS, N), rng.integers(0, ITEMS, N)
    of_user, of_item = rng.normal(0, 1.5, USERS), rng.normal(0, 1, ITEMS)
    y = rng.random(N) < 1 / (1 + np.exp(1 - of_user[u] - of_item[i]))
    if permuted:
        known = int(0.6 * N)
        y[:known] = rng.permutation(y[:known])
    z = y & (i % 2 == 0)
    return pl.DataFrame({"t": np.arange(N), "u": u, "i": i, "y": y.astype(int), "z": z.astype(int)})


def areas(folder: Path, seed: int, permuted: bool, settings: str) -> dict[str, float]:
    """AUC on the test part of logistic regressions of ids, of ids and rates, and of rates."""
    folder.mkdir()
    data = prepare_files(folder, SCHEMA.replace("counts = true", settings), {"log.parquet": log_of(seed, permuted)})
    inputs: dict[str, list] = {"ids": [], "both": [], "rates": []}
    for part in (data.train, data.test):
        (rows,) = part.chunks()
        ids = [(rows.fields[f].values, data.encoders[f].size) for f in ("u", "i")]
        one_hot = hstack([csr_matrix((np.ones(len(rows)), (np.arange(len(rows)), v)), (len(rows), n)) for v, n in ids])
        numbers = csr_matrix(rows.numbers)
        for name, matrix in (("ids", one_hot), ("both", hstack([one_hot, numbers])), ("rates", numbers)):
            inputs[name].append(matrix)
    y, truth = data.train.column("click"), data.test.column("click")
    models = {name: LogisticRegression(C=0.3, max_iter=300).fit(train, y) for name, (train, _) in inputs.items()}
    return {name: float(roc_auc_score(truth, models[name].predict_proba(inputs[name][1])[:, 1])) for name in inputs}


def test_rates_of_permuted_labels_say_nothing_of_true_ones(tmp_path):
    for settings in ("counts = true", 'cross_fit = "time"'):
        found = [areas(tmp_path / f"{settings[:5]}{s}", s, True, settings) for s in range(4)]
        mean = {name: np.mean([f[name] for f in found]) for name in found[0]}
        # the standard error of such an AUC, ids being clustered, is about 0.015, and of the mean of four 0.008
        assert mean["both"] < mean["ids"] + 0.025
        assert abs(mean["rates"] - 0.5) < 0.04
        assert abs(mean["both"] - 0.5) < 0.04


def test_esmm_on_permuted_labels_is_no_better_with_a_history(tmp_path):
    """With raw ids, rates in the embedding and the offset: in five epochs it could learn to decode what folds tell."""
    found: dict[bool, list[float]] = {True: [], False: []}
    training = {"epochs": 5, "batch_size": 256, "threads": 1, "patience": 5}
    for seed in range(3):
        folder = tmp_path / str(seed)
        folder.mkdir()
        log = log_of(seed, True)
        data = prepare_files(folder, SCHEMA.replace("counts = true", ""), {"log.parquet": log})
        for history, of in found.items():
            network = {
                "hidden": [16],
                "embedding_size": 4,
                "history": history,
                "offset": "rates" if history else "none",
            }
            config = Config.model_validate(
                {"network": network, "training": training, "optimizer": {"learning_rate": 0.01}}
            )
            none = data.validation.sampled(1e-9)  # it may not stop
            run = fit(ESMM(), data.train, seed=seed, config=config, validation=none)
            of.append(float(roc_auc_score(data.test.column("click"), run.outputs(data.test).own["pctr"])))
    # the standard error of the mean of three is about 0.01
    assert np.mean(found[True]) < np.mean(found[False]) + 0.03
    assert abs(np.mean(found[True]) - 0.5) < 0.04


def test_rates_of_true_labels_say_much(tmp_path):
    found = areas(tmp_path / "true", 0, False, "prior = 10")
    assert found["rates"] > 0.7
