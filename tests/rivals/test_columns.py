"""The matrix that rivals read, against the raw values it was made of."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

import entirespace as es
from entirespace.config import NetworkConfig
from entirespace.errors import ConfigError
from entirespace.rivals import columns as columns_module
from entirespace.rivals.columns import Columns

N = 80


@pytest.fixture(scope="module")
def raw():
    rng = np.random.default_rng(3)
    return pl.DataFrame(
        {
            "time": np.arange(N),
            "y": (np.arange(N) % 2).astype(bool),
            "z": (np.arange(N) % 4 == 1),
            "user": rng.integers(0, 12, N),
            "shop": [f"s{i}" for i in rng.integers(0, 3, N)],
            "price": [None if i % 5 == 0 else float(v) for i, v in enumerate(rng.random(N))],
            "tags": [[f"t{j}" for j in range(i % 3)] for i in range(N)],
        }
    )


def prepared(raw, **options):
    users = pl.DataFrame({"user": np.arange(12), "age": np.arange(12.0)})
    return es.from_frame(
        raw,
        click="y",
        conversion="z",
        order="time",
        fields={"shop": "id", "price": "number", "tags": "ids"},
        tables={"user": es.SideTable(users, key="user", fields={"user": "id", "age": "number"})},
        user="user",
        **options,
    )


@pytest.fixture(scope="module")
def plain(raw):
    return prepared(raw)


def test_a_matrix_has_ids_as_categories_numbers_as_positions_and_bags_as_counts(raw, plain):
    columns = Columns.of(plain, NetworkConfig())
    assert [f.name for f in columns.fields] == ["shop", "price", "tags", "user", "age"]
    assert columns.categories == [0, 5], "shop, and user after one column for each of unseen, t0 and t1"
    x = columns.matrix(plain.train, plain.validation, plain.test)
    assert x.shape == (N, columns.count) == (N, 7)
    assert x.dtype == np.float32
    shops = {shop: set(x[raw["shop"].to_numpy() == shop, 0].tolist()) for shop in ("s0", "s1", "s2")}
    assert all(len(rows) == 1 for rows in shops.values())
    assert len(set.union(*shops.values())) == 3
    price = raw["price"].to_numpy()
    np.testing.assert_array_equal(np.isnan(x[:, 1]), np.isnan(price))
    known = ~np.isnan(price)
    assert np.all(np.diff(x[known, 1][np.argsort(price[known])]) >= 0)
    with_tag = [sum(tag in tags for tags in raw["tags"].to_list()) for tag in ("t0", "t1")]
    np.testing.assert_array_equal(x[:, 2:5].sum(axis=0), [0, *with_tag])
    ages = {age: user for user, age in zip(x[:, 5].tolist(), x[:, 6].tolist(), strict=True)}
    assert len(ages) == len(set(x[:, 5].tolist())), "the age of the side table stands beside its user"


def test_chunks_are_the_matrix_in_pieces(plain):
    columns = Columns.of(plain, NetworkConfig())
    np.testing.assert_array_equal(np.concatenate([*columns.chunks(plain.test)]), columns.matrix(plain.test))


def test_ids_of_many_rows_are_left_out_and_large_bags_have_their_number_and_first_id(plain, monkeypatch):
    monkeypatch.setattr(columns_module, "COUNTED", 2)
    monkeypatch.setattr(columns_module, "CATEGORIES", 4)
    columns = Columns.of(plain, NetworkConfig())
    assert columns.left == ("user",)
    assert columns.categories == [0, 3]
    x = columns.matrix(plain.train)
    np.testing.assert_array_equal(x[:6, 2], [0, 1, 2, 0, 1, 2])
    np.testing.assert_array_equal(np.isnan(x[:6, 3]), [True, False, False, True, False, False])
    assert x[1, 3] == x[2, 3] > 0, "both begin with t0"


def test_a_weighted_bag_is_the_sum_of_its_weights():
    frame = pl.DataFrame(
        {"y": [i % 2 for i in range(40)], "z": [0] * 40, "b": [["p", "q", "p"]] * 40, "w": [[0.5, 2.0, 1.0]] * 40}
    )
    data = es.from_frame(frame, click="y", conversion="z", fields={"b": {"kind": "ids", "weights": "w"}})
    x = Columns.of(data, NetworkConfig()).matrix(data.train)
    np.testing.assert_array_equal(np.sort(x[0]), [0, 1.5, 2])


def test_an_id_with_rates_is_read_through_them(raw):
    data = prepared(raw, history={"keys": ["shop", "user"]})
    columns = Columns.of(data, NetworkConfig(history=False))
    assert [f.name for f in columns.fields] == ["price", "tags", "age"]
    assert not columns.categories
    assert not columns.left
    rates = len(data.layout.rates)
    x = columns.matrix(data.train)
    numbers = np.concatenate([chunk.numbers for chunk in data.train.chunks()])
    np.testing.assert_array_equal(x[:, -rates:], numbers)
    without = NetworkConfig(exclude=tuple(name for name in data.layout.rates if name.endswith("shop")))
    some = Columns.of(data, without)
    assert "shop" in [f.name for f in some.fields], "without its rates it is a category again"
    kept = [i for i, name in enumerate(data.layout.rates) if not name.endswith("shop")]
    np.testing.assert_array_equal(some.matrix(data.train)[:, -len(kept) :], numbers[:, kept])


def test_excluded_fields_are_not_read(plain, monkeypatch):
    columns = Columns.of(plain, NetworkConfig(exclude=("tags", "age")))
    assert [f.name for f in columns.fields] == ["shop", "price", "user"]
    with pytest.raises(ConfigError, match=r"'ags'\. Did you mean 'tags'"):
        Columns.of(plain, NetworkConfig(exclude=("ags",)))
    monkeypatch.setattr(columns_module, "CATEGORIES", 1)
    with pytest.raises(ConfigError, match=r"a rival must have a column to read, however: .*shop, user.*\[history\]"):
        Columns.of(plain, NetworkConfig(exclude=("price", "tags", "age")))
