"""Ali-CCP counted by the ids of its fields: `prepare aliccp RAW OUT --history FIELD,...`."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from aliccp_lines import common_line, feature, put, read, skeleton_line

import entirespace as es
from entirespace.errors import ConfigError
from entirespace.logs.aliccp.chunks import Chunks
from entirespace.logs.aliccp.source import SKELETON_FIELDS, WEIGHTED

N = 400


def lines(n: int = N, seed: int = 0) -> tuple[list[bytes], bytes]:
    """(skeleton lines, common features): user 101 is in the common features, items 205 and 210 in the skeleton."""
    rng = np.random.default_rng(seed)
    users, skeleton = [f"{i:016x}" for i in range(9)], []
    for _ in range(n):
        item, user = int(rng.integers(1, 20)), users[int(rng.integers(0, 9))]
        click = rng.random() < 0.2 + 0.6 * (item % 2)
        bag = [feature("210", int(i)) for i in rng.integers(1, 6, rng.integers(0, 4))]
        one = click and rng.random() < 0.4
        skeleton.append(skeleton_line(user, feature("205", item), *bag, click=int(click), conversion=int(one)))
    common = b"".join(common_line(key, feature("101", i)) for i, key in enumerate(users))
    return skeleton, common


def raw(folder: Path, skeleton: list[bytes], common: bytes) -> Path:
    folder.mkdir()
    half = len(skeleton) // 2
    return put(folder, (b"".join(skeleton[:half]), common), (b"".join(skeleton[half:]), common))


def prepared(folder: Path, skeleton: list[bytes], common: bytes, **options: Any) -> es.Dataset:
    made = raw(folder.with_suffix(".raw"), skeleton, common)
    return es.prepare("aliccp", made, folder, **options)


def numbers(part) -> np.ndarray:
    return np.concatenate([rows.numbers for rows in part.chunks()])  # type: ignore[arg-type]


def test_the_rates_of_an_item_are_those_of_its_clicks(tmp_path: Path):
    skeleton, common = lines()
    data = prepared(tmp_path / "data", skeleton, common, history=["101", "205", "210"])
    assert data.layout.history is not None
    assert [key.name for key in data.layout.history.keys] == ["101", "205", "210"]
    assert data.layout.rates[3:6] == ("rate.click.205", "rate.conversion.205", "rate.ctcvr.205")
    assert data.manifest.log["aliccp"]["history"] == ["101", "205", "210"]
    history = data.encoders.history
    assert history is not None
    clicks: dict[str, np.ndarray] = {}
    for line in skeleton[: len(data.train)]:
        item = line.split(b"\x03")[0].split(b"\x02")[1].decode()
        clicks[item] = clicks.get(item, np.zeros(2)) + np.array([1, int(line.split(b",")[1])])
    counts = history.counts["205"][:, 1:-3].sum(axis=1)  # of the training part
    assert {k: tuple(c[:2]) for k, c in zip(history.ids["205"], counts, strict=True) if c[0]} == {
        item: tuple(count) for item, count in clicks.items()
    }
    odds = numbers(data.test)[:, 3]
    items = np.array([int(line.split(b"\x02")[1].split(b"\x03")[0]) for line in skeleton[N // 2 :]])
    assert odds[items % 2 == 1].min() > 0 > odds[items % 2 == 0].max()  # odd items are clicked four times as often


def test_all_counts_by_every_field(tmp_path: Path):
    data = prepared(tmp_path / "data", *lines(60), history=["all"])
    assert len(data.layout.rates) == 3 * 23
    assert numbers(data.test).shape == (30, 69)
    assert len(prepared(tmp_path / "none", *lines(60)).layout.rates) == 0


def test_a_later_log_is_counted_as_its_layout_says(tmp_path: Path):
    first = prepared(tmp_path / "first", *lines(), history=["205"])
    plain = prepared(tmp_path / "plain", *lines())
    cases = {"same": (first, ["205"]), "none": (first, []), "other": (first, ["101"]), "of plain": (plain, ["205"])}
    notes = {}
    for name, (known, fields) in cases.items():
        later = prepared(tmp_path / name, *lines(50, seed=1), encoders=known, part="test", history=fields)
        assert later.layout.digest == known.layout.digest
        notes[name] = [note for note in later.manifest.audit["notes"] if "history" in note]
    assert notes == {
        "same": [],
        "none": [],
        "other": ["--history names other fields than the layout's history, which is used."],
        "of plain": ["The layout has no history, so --history is not used."],
    }


def test_folds_do_not_depend_on_the_place_of_a_row(tmp_path: Path):
    """Not even if the rows come in another order: the same rows have the same rates."""
    skeleton, common = lines(120)
    half = skeleton[:60]
    found = []
    for name, order in {"one": half, "other": random.Random(3).sample(half, 60)}.items():
        data = prepared(tmp_path / name, [*order, *skeleton[60:]], common, history=["205"], validation=0.0)
        labelled = [(line.split(b",", 3)[3], line.split(b",")[1:3]) for line in order]
        rates = numbers(data.train).round(6).tolist()
        found.append(sorted(zip(map(str, labelled), map(str, rates), strict=True)))
    distinct = {line for line, _ in found[0]}
    assert len(distinct) > 50
    assert found[0] == found[1]


def test_the_content_of_a_row_is_its_key_and_ids(tmp_path: Path):
    key, other = "0000000000000001", "0000000000000002"
    rows = [
        skeleton_line(key, feature("205", 1), feature("210", 5)),
        skeleton_line(key, feature("210", 5), feature("205", 1), click=1, conversion=1),  # the same ids
        skeleton_line(key, feature("205", 5), feature("210", 1)),  # of other fields
        skeleton_line(key, feature("205", 1)),
        skeleton_line(other, feature("205", 1), feature("210", 5)),
        skeleton_line(key, feature("205", 1), feature("210", 5), feature("210", 5)),
        skeleton_line(key, feature("210", 1), feature("210", 5)),
    ]
    path = tmp_path / "skeleton.csv"
    path.write_bytes(b"".join(rows))
    found = []
    for threads in (1, 3):
        chunks = Chunks(SKELETON_FIELDS, WEIGHTED, skeleton=True, content=True, threads=threads)
        found.append(np.concatenate([c.content for _, c in chunks.read([path]) if c.content is not None]))
    np.testing.assert_array_equal(*found)
    distinct, place = np.unique(found[0], axis=0, return_inverse=True)
    assert len(distinct) == 6
    assert place[0] == place[1]
    for lane in (0, 1):
        assert len(np.unique(found[0][:, lane])) == 6


def test_without_history_no_content_is_read(tmp_path: Path):
    log = read(put(tmp_path, (skeleton_line("a", feature("205", 1)), common_line("a"))))
    assert log.impressions[0].lot is None


@pytest.mark.parametrize(
    ("fields", "came"),
    [
        (["201"], "'201'. Did you mean '301'?"),
        (["205", "usr"], "'usr'. Known: 101, "),
        (["205 x 101"], "'205 x 101'. "),
    ],
)
def test_an_unknown_field_is_refused(tmp_path: Path, fields, came):
    with pytest.raises(ConfigError) as error:
        prepared(tmp_path / "data", *lines(20), history=fields)
    assert str(error.value).startswith(f"--history: history must name fields of Ali-CCP, however: {came}")
    assert not (tmp_path / "data").exists()


def test_genuine_lines_are_counted(shared_data: Path, tmp_path: Path):
    """The ids of the two complete genuine lines of common features."""
    text = (shared_data / "aliccp_raw_fragments" / "common_features_train.2rows.csv").read_bytes()
    keys = ["84dceed2e3a667f8", "0000350f0c2121e7"]
    train = [skeleton_line(keys[i % 2], feature("205", i % 3), click=int(i % 2 == 0)) for i in range(40)]
    test = [skeleton_line(keys[i % 2], feature("205", 9)) for i in range(10)]
    folder = tmp_path / "raw"
    folder.mkdir()
    put(folder, (b"".join(train), text), (b"".join(test), text))
    data = es.prepare("aliccp", folder, tmp_path / "data", history=["101", "150_14"], validation=0.0)
    odds = numbers(data.test)
    assert (odds[::2, 0] > 0).all()  # the user of the first line clicked
    assert (odds[1::2, 0] < 0).all()
    assert (odds[::2, 3] > odds[1::2, 3]).all()  # and so the brands of its bag, 150_14
    history = data.encoders.history
    assert history is not None
    counts = history.counts["101"][:, :, 0]
    parts, now = counts[:, :-1].sum(axis=1), counts[:, -1]
    assert dict(zip(history.ids["101"], parts, strict=True))["31319"] == 25  # 20 in training, 5 in the test part
    assert parts.tolist() == now.tolist()
