"""The files of a history: read back as they were, refused if they changed, and whole in a copied run."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from history_logs import HISTORY, prepared, random_log

import entirespace as es
from entirespace.config import Config
from entirespace.dataset.dataset import Dataset
from entirespace.errors import EntirespaceError
from entirespace.features.history.store import open_history
from entirespace.features.layout import Encoders

QUICK = Config.model_validate(
    {"network": {"embedding_size": 4, "hidden": [8]}, "training": {"batch_size": 64, "epochs": 1, "threads": 1}}
)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return prepared(tmp_path_factory.mktemp("log"), random_log(200, seed=3), HISTORY + "half_life = 70")


@pytest.fixture(scope="module")
def run(data: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("runs") / "run"
    es.fit(es.ESMM(), data.train, seed=0, config=QUICK, out=out)
    return out


def test_a_history_is_read_back_as_it_was(data, tmp_path):
    history = data.encoders.history
    data.encoders.save(tmp_path)
    again = open_history(tmp_path, history.spec)
    for name, counts in history.counts.items():
        assert again.counts[name].dtype == counts.dtype
        np.testing.assert_array_equal(again.counts[name], counts)
        assert again.ids[name].to_list() == history.ids[name].to_list()
    np.testing.assert_array_equal(again.overall, history.overall)
    assert (again.at, again.until) == (history.at, history.until)
    assert {chain: s.tolist() for chain, s in again.strengths.items()} == {
        chain: np.asarray(s).tolist() for chain, s in history.strengths.items()
    }


def files_of(folder: Path) -> list[Path]:
    return sorted((folder / "history").iterdir())


def test_a_damaged_file_is_named(data, run, tmp_path):
    for i, path in enumerate(files_of(run)):
        for how in ("missing", "changed", "cut", "swapped"):
            copy = tmp_path / f"{i}{how}"
            shutil.copytree(run, copy)
            file, content = copy / "history" / path.name, path.read_bytes()
            file.unlink()  # it may be a hard link
            middle = len(content) // 2
            if how == "changed":
                file.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
            elif how == "cut":
                file.write_bytes(content[:middle])
            elif how == "swapped":
                file.write_bytes(files_of(run)[i - 1].read_bytes())
            with pytest.raises(EntirespaceError, match=path.name):
                Encoders.open(copy).history.counted()
    (dataset_file := tmp_path / "dataset").mkdir()
    shutil.copytree(data.path, dataset_file, dirs_exist_ok=True)
    (dataset_file / "history" / "00.parquet").write_bytes(b"?")
    with pytest.raises(EntirespaceError, match=r"00\.parquet"):
        es.open(dataset_file).verify()
    with pytest.raises(EntirespaceError, match=r"00\.parquet"):
        list(es.open(dataset_file).train.chunks())


@pytest.mark.parametrize(
    "history",
    [
        '[history]\nkeys = ["page", "slot"]\n',
        HISTORY.replace('"user", "item"', '"item", "user"'),  # as many files
        HISTORY + "folds = 4",
        HISTORY + 'rates = ["click", "ctcvr"]',
        HISTORY.replace("parents", "#"),
    ],
)
def test_a_history_of_another_layout_is_refused(run, tmp_path, history):
    other = prepared(tmp_path / "other", random_log(100, seed=1), history)
    shutil.copytree(run, tmp_path / "copy")
    shutil.rmtree(tmp_path / "copy" / "history")
    shutil.copytree(other.path / "history", tmp_path / "copy" / "history")
    with pytest.raises(EntirespaceError, match=r"state\.json: a history must be of the layout"):
        Encoders.open(tmp_path / "copy")


def test_a_copied_run_predicts_without_its_dataset(data, run, tmp_path):
    expected = es.load(run).predict(data.test)
    shutil.copytree(run, tmp_path / "copy")
    found = es.load(tmp_path / "copy").predict(data.test)
    np.testing.assert_array_equal(found.pctcvr, expected.pctcvr)
    linked = [a.stat().st_ino == b.stat().st_ino for a, b in zip(files_of(data.path), files_of(run), strict=True)]
    assert all(linked)  # on one file system a run takes no more space
