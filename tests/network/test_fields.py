"""What a tower reads of a batch (vectors, ids, first-layer inputs), compared with one impression at a time."""

from __future__ import annotations

import pytest
import support
import torch
from torch import nn

from entirespace.batches.batch import Batch
from entirespace.config import MLPTowerConfig, NetworkConfig
from entirespace.errors import ConfigError
from entirespace.network import Network
from entirespace.network.fields import Bag, BatchFields, FieldShape, VectorFields
from entirespace.training.embedding_kernels import KernelLookups

OFFSETS, ROWS, D = (0, 6, 11, 15, 22), 30, 7


def tables(impressions: int = 6) -> list[support.Table]:
    """Two side tables, the narrow one first, so that the fields of the wide one are not consecutive.

    "item" has field 1; "user" has the single field 2 and the bags 0 and 4; field 3 is the impressions' own.
    """
    item = [i % 2 for i in range(impressions)]
    user = [2 - i % 3 for i in range(impressions)]
    bags = [[(1, 0.5), (2, -2.0), (1, 1.5)], [], [(5, 3.0)]], [[(1, 1.0)], [(2, 1.0), (3, 4.0)], []]
    return [
        support.Table((1,), [[[(2, 1.0)], [(4, 1.0)]]], single=True, expand=item, name="item"),
        support.Table((2,), [[[(1, 1.0)], [(3, 1.0)], [(0, 1.0)]]], single=True, expand=user, name="user"),
        support.Table((4, 0), [*bags[::-1]], expand=user, name="user"),
        support.ids([i % 7 for i in range(impressions)], fields=(3,)),
    ]


def make_batch() -> Batch:
    return support.make_batch(tables(), OFFSETS, [True, False] * 3, [True, False, False] * 2)


@pytest.fixture
def weight() -> torch.Tensor:
    return torch.randn(ROWS, D, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("lookups", [None, KernelLookups()], ids=["torch", "kernels"])
def test_vectors_are_the_pooled_ids_of_each_field(weight: torch.Tensor, lookups: KernelLookups | None) -> None:
    batch = make_batch()
    more = [lookups] if lookups else []
    rows = weight[batch.rows].requires_grad_()
    table = weight.clone().requires_grad_()
    vectors = BatchFields(rows, batch, *more).vectors()
    slow = support.slow_concatenate(table, tables(), OFFSETS, 6).unflatten(1, (5, D))
    torch.testing.assert_close(vectors, slow)
    towards = torch.randn(vectors.shape, generator=torch.Generator().manual_seed(2))
    mine, theirs = torch.autograd.grad(vectors, rows, towards), torch.autograd.grad(slow, table, towards)
    torch.testing.assert_close(mine[0], theirs[0][batch.rows])


def test_all_fields_of_a_side_table_are_one_input(weight: torch.Tensor) -> None:
    batch = make_batch()
    assert [i.fields for i in BatchFields(weight[batch.rows], batch).inputs] == [(1,), (0, 2, 4), (3,)]


def test_all_fields_of_a_side_table_are_one_input_on_another_device() -> None:
    batch = make_batch().to("meta")
    fields = BatchFields(torch.empty(len(batch.rows), D, device="meta"), batch)
    assert [i.fields for i in fields.inputs] == [(1,), (0, 2, 4), (3,)]
    assert fields.linear(nn.Linear(5 * D, 4, device="meta")).shape == (6, 4)


@pytest.mark.parametrize("field", range(5))
def test_a_bag_is_the_ids_of_each_impression(weight: torch.Tensor, field: int) -> None:
    batch = make_batch()
    bag = BatchFields(weight[batch.rows], batch).bag(field)
    table = next(t for t in tables() if field in t.fields)
    bags = table.bags[table.fields.index(field)]
    assert len(bag.offsets) == len(bags) + 1
    mine = bag.by_impression()
    assert mine.expand is None
    assert len(mine.offsets) == 7
    for b in range(6):
        here = slice(int(mine.offsets[b]), int(mine.offsets[b + 1]))
        ids = bags[b if table.expand is None else table.expand[b]]
        assert torch.equal(mine.values[here], weight[[OFFSETS[field] + i for i, _ in ids]])
        if any(w != 1 for _, w in ids):
            assert mine.weights is not None
        if mine.weights is not None:
            assert mine.weights[here].tolist() == [w for _, w in ids]
    weights = torch.ones(len(mine.values)) if mine.weights is None else mine.weights
    pooled = torch.zeros(6, D).index_add(0, mine.owner, weights[:, None] * mine.values)
    torch.testing.assert_close(pooled, BatchFields(weight[batch.rows], batch).vectors()[:, field])


def test_a_batch_whose_bags_are_all_empty() -> None:
    empty = Bag(torch.zeros(0, D), torch.tensor([0, 0]), None, torch.tensor([0, 0, 0])).by_impression()
    assert empty.values.shape == (0, D)
    assert empty.offsets.tolist() == [0, 0, 0, 0]


def test_only_the_forms_that_are_read_are_computed(weight: torch.Tensor) -> None:
    class Counted:
        made = 0

        def lookup(self, rows: torch.Tensor, position: torch.Tensor) -> torch.Tensor:
            self.made += 1
            return rows[position]

        def pool(self, *_: object) -> torch.Tensor:
            raise AssertionError("nobody reads a pooled vector")

    batch, counted = make_batch(), Counted()
    fields = BatchFields(weight[batch.rows], batch, counted)
    assert counted.made == 0
    fields.bag(0)
    assert counted.made == 1


def test_reading_ids_above_a_trunk_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"network\.trunk\.kind"):
        VectorFields(torch.zeros(2, 1, 3)).bag(0)


def test_an_unknown_field_is_refused() -> None:
    shape = FieldShape(("user", "item"), 18)
    assert (shape.index("item"), shape.width) == (1, 36)
    with pytest.raises(ConfigError, match=r"'itme'\. Did you mean 'item'\?"):
        shape.index("itme")


def test_reading_under_inference_mode_does_not_break_later_training() -> None:
    """As `train UNBIAS` does, which reads the reference CTR network before its own first step."""
    config = NetworkConfig(embedding_size=D, tower=MLPTowerConfig(hidden=(5,)))
    rates = {"ctr": 0.5}
    network = Network(("ctr",), OFFSETS, ROWS, config, share_embedding=False, base_rates=rates, seed=0)
    batch = make_batch()
    with torch.inference_mode():
        network(batch)
    network(batch, support.gather(network, batch)).ctr.log.sum().backward()
    assert all(p.grad is not None for p in network.parameters())
