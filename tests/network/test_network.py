"""The network compared with one impression, field and id at a time; initial weights; what heads share."""

from __future__ import annotations

import copy
import dataclasses

import numpy as np
import pytest
import support
import torch

from entirespace.batches.batch import Batch
from entirespace.config import MLPTowerConfig, NetworkConfig
from entirespace.errors import ConfigError
from entirespace.network import Heads, Network
from entirespace.network.fields import BatchFields, FieldShape, VectorFields
from entirespace.network.probability import Prob
from entirespace.network.towers import MLPTower

SMALL = NetworkConfig(embedding_size=3, tower=MLPTowerConfig(hidden=(5, 4)), embedding_std=0.5)
OFFSETS, ROWS = (0, 6, 11, 15, 22), 30  # five fields
RATES = {"ctr": 0.04, "cvr": 0.005, "ctcvr": 2e-4}


def make(*heads: str, share: bool = False, seed: int = 0, config: NetworkConfig = SMALL) -> Network:
    return Network(heads, OFFSETS, ROWS, config, share_embedding=share, base_rates=RATES, seed=seed)


def tables() -> list:
    """Four impressions: 1 and 4 single, 0 a weighted bag, 2 a side table's bag, 3 single in another."""
    return [
        support.ids([0, 4, 1, 4], [7, 0, 2, 7], fields=(1, 4)),
        support.Table((0,), [[[(1, 0.5), (2, -2.0), (1, 1.5)], [], [(5, 3.0)], [(0, 1.0)]]]),
        support.Table((2,), [[[(3, 1.0), (1, 1.0)], []]], expand=[1, 0, 0, 1]),
        support.Table((3,), [[[(2, 1.0)], [(6, 1.0)], [(1, 1.0)]]], single=True, expand=[2, 2, 0, 1]),
    ]


@pytest.fixture
def batch():
    return support.make_batch(tables(), OFFSETS, [True, False, True, False], [True, False, False, False])


def concatenate(rows: torch.Tensor, batch: Batch) -> torch.Tensor:
    """(B, F * D): the inputs of the first layer, each impression's own, in the dataset's order."""
    width, columns = rows.shape[1], {}
    for i in BatchFields(rows, batch).inputs:
        x = i.x if i.expand is None else i.x[i.expand]
        columns |= dict(zip(i.fields, x.split(width, dim=1), strict=True))
    return torch.cat([columns[f] for f in sorted(columns)], dim=1)


def test_pooling_equals_a_slow_reference(batch) -> None:
    network = make("cvr")
    weight = network.embedding("cvr").weight
    weight += 1  # so that rows 0 have an effect
    came = concatenate(weight[batch.rows], batch)
    torch.testing.assert_close(came, support.slow_concatenate(weight, tables(), OFFSETS, 4))


def test_two_bag_fields_in_one_group() -> None:
    bags = [[[(1, 1.0), (2, 2.0)], []], [[(3, 0.5)], [(0, 1.0), (2, 1.0), (2, 1.0)]]]
    table = [support.Table((3, 0), bags)]
    batch = support.make_batch(table, OFFSETS, [True, False], [False, False])
    weight = torch.arange(90.0).view(30, 3)
    torch.testing.assert_close(
        concatenate(weight[batch.rows], batch), support.slow_concatenate(weight, table, OFFSETS, 2)
    )


def whole(x: torch.Tensor) -> VectorFields:
    """All five fields side by side, as vectors."""
    return VectorFields(x.unflatten(1, (len(OFFSETS), -1)))


@pytest.mark.parametrize("hidden", [(), (5,), (5, 4)])
@pytest.mark.parametrize("impressions", [1, 2, 3, 4, 40])
@pytest.mark.parametrize("own", [(), (4, 1), (0, 1, 2)])
def test_shared_rows_are_multiplied_once_with_the_same_result(own, impressions, hidden) -> None:
    """A side table of three rows with a bag, and the other fields single; own: the impressions' fields."""
    rng = np.random.default_rng(impressions)
    side = [f for f in range(5) if f not in own]
    expand = rng.integers(0, 3, impressions).tolist()
    bag = support.Table((side[-1],), [[[(1, 0.5), (2, -2.0)], [], [(3, 1.0)]]], expand=expand, name="side")
    single = [support.Table(tuple(side[:-1]), [[[(int(rng.integers(4)), 1.0)] for _ in range(3)] for _ in side[:-1]])]
    mine = [support.ids(*rng.integers(0, 4, (len(own), impressions)).tolist(), fields=own)] if own else []
    made = [*mine, bag, *(support.Table(t.fields, t.bags, True, expand, "side") for t in single)]
    batch = support.make_batch(made, OFFSETS, [True] * impressions, [False] * impressions)
    config = NetworkConfig(embedding_size=3, tower=MLPTowerConfig(hidden=hidden), embedding_std=0.5)
    network = make("cvr", config=config).double()
    rows = support.gather(network, batch)
    logits = network.towers["cvr"](BatchFields(rows["cvr"], batch))
    table = network.embedding("cvr").weight.clone().requires_grad_()
    slow = network.towers["cvr"](whole(support.slow_concatenate(table, made, OFFSETS, impressions)))
    torch.testing.assert_close(logits, slow)
    first = network.towers["cvr"].get_parameter("hidden.0.weight" if hidden else "logits.weight")
    towards = torch.from_numpy(rng.normal(size=logits.shape))
    mine_grad = torch.autograd.grad(logits, [rows["cvr"], first], towards)
    slow_grad = torch.autograd.grad(slow, [table, first], towards)
    torch.testing.assert_close(mine_grad[0], slow_grad[0][batch.rows])
    torch.testing.assert_close(mine_grad[1], slow_grad[1])


def test_a_side_table_with_few_rows_gives_an_input_of_its_own(batch) -> None:
    weight = torch.zeros(ROWS, 3)
    made = BatchFields(weight[batch.rows], batch).inputs
    # field 2 has two rows and field 3 three, for four impressions
    assert [(i.fields, len(i.x)) for i in made] == [((2,), 2), ((3,), 3), ((0, 1, 4), 4)]


def test_weights_of_single_valued_fields_are_used() -> None:
    table = [support.Table((1,), [[[(2, 3.0)], [(1, -0.5)]]], single=True)]
    batch = support.make_batch(table, OFFSETS, [True, False], [False, False])
    weight = torch.arange(90.0).view(30, 3)
    torch.testing.assert_close(concatenate(weight[batch.rows], batch), torch.stack([3 * weight[8], -weight[7] / 2]))


def test_gathered_rows_collect_the_gradient_of_the_whole_table(batch) -> None:
    network = make("ctr", "cvr", share=True)
    gathered = support.gather(network, batch)
    p = network(batch, gathered)
    (p.ctr * p.cvr).log_not.sum().backward()

    table = network.embedding("shared").weight.clone().requires_grad_()
    x = support.slow_concatenate(table, tables(), OFFSETS, 4)
    ctr, cvr = (Prob.of_logits(network.towers[head](whole(x))) for head in ("ctr", "cvr"))
    (ctr * cvr).log_not.sum().backward()
    scattered = torch.zeros_like(table)
    grad = gathered["shared"].grad
    assert grad is not None
    scattered[batch.rows] = grad
    torch.testing.assert_close(scattered, table.grad)
    assert scattered.abs().sum() > 0


def test_inference_gives_the_embedding_no_gradient(batch) -> None:
    network = make("ctr")
    network(batch).ctr.log.sum().backward()
    assert network.embedding("ctr").weight.grad is None
    assert not network.embedding("ctr").weight.requires_grad


def test_the_embedding_is_saved_but_is_not_a_parameter() -> None:
    network = make("ctr", "cvr", share=True)
    assert "embeddings.shared.weight" in network.state_dict()
    assert not [name for name, _ in network.named_parameters() if "embedding" in name]


def test_the_tower_is_the_papers() -> None:
    tower = make("cvr", config=NetworkConfig()).towers["cvr"]
    shapes = [tuple(p.shape) for name, p in tower.named_parameters() if name.endswith("weight")]
    assert shapes == [(360, 5 * 18), (200, 360), (80, 200), (2, 80)]


def test_heads_do_not_depend_on_each_other(batch) -> None:
    alone, two = make("ctr"), make("ctr", "ctcvr")
    for (name, one), (same, other) in zip(
        alone.towers["ctr"].state_dict().items(), two.towers["ctr"].state_dict().items(), strict=True
    ):
        assert name == same
        assert torch.equal(one, other)
    assert torch.equal(alone.embedding("ctr").weight, two.embedding("ctr").weight)
    assert torch.equal(alone(batch).ctr.log, two(batch).ctr.log)
    assert not torch.equal(two.embedding("ctr").weight, two.embedding("ctcvr").weight)
    first = [tower.state_dict()["hidden.0.weight"] for tower in two.towers.values()]
    assert not torch.equal(*first)


def test_initial_weights_depend_only_on_the_seed() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = make("ctr").state_dict()
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(2)
    other, third = make("ctr").state_dict(), make("ctr", seed=1).state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert not torch.equal(one["embeddings.ctr.weight"], third["embeddings.ctr.weight"])
    assert not torch.equal(one["towers.ctr.hidden.0.weight"], third["towers.ctr.hidden.0.weight"])


def test_unseen_ids_start_at_zero() -> None:
    network = make("cvr")
    weight = network.embedding("cvr").weight
    assert weight[list(OFFSETS)].abs().sum() == 0
    assert (weight.abs().sum(1) == 0).sum() == len(OFFSETS)
    bags = [[[(0, 1.0)], []]]  # "unseen", and an empty bag
    rest = [support.ids([1, 1], [1, 1], [1, 1], [1, 1], fields=(1, 2, 3, 4))]
    batch = support.make_batch([support.Table((0,), bags), *rest], OFFSETS, [True, True], [False, False])
    unseen, empty = network(batch).cvr.log
    assert unseen == empty


def test_predictions_start_near_the_base_rate() -> None:
    rng = np.random.default_rng(0)
    offsets, rows = tuple(range(0, 2300, 100)), 2300
    network = Network(("ctr", "cvr"), offsets, rows, NetworkConfig(), share_embedding=True, base_rates=RATES, seed=3)
    columns = rng.integers(0, 100, (23, 500)).tolist()
    batch = support.make_batch([support.ids(*columns, fields=tuple(range(23)))], offsets, [True] * 500, [False] * 500)
    with torch.no_grad():
        p = network(batch)
    for prob, base in ((p.ctr, 0.04), (p.cvr, 0.005), (p.ctr * p.cvr, 2e-4)):
        assert prob.value.mean().item() == pytest.approx(base, rel=0.02)
        assert prob.value.std() > 0  # but they are not all equal


def test_one_embedding_or_one_per_head() -> None:
    assert list(make("ctr", "cvr", share=True).embeddings) == ["shared"]
    assert list(make("ctr", "cvr").embeddings) == ["ctr", "cvr"]


def test_float64_gives_the_same_result_again(batch) -> None:
    network = make("ctr", "cvr", share=True).double()
    gradients = []
    for _ in range(2):
        gathered = support.gather(network, batch)
        p = network(batch, gathered)
        assert p.cvr.log.dtype == torch.float64
        (p.ctr * p.cvr).log_not.sum().backward()
        gradients.append(gathered["shared"].grad)
    assert torch.equal(*gradients)


def test_all_tensors_of_a_batch_move_to_a_device(batch) -> None:
    moved = batch.to("meta")
    tensors = [moved.click, moved.conversion, moved.rows]
    for group in moved.groups:
        tensors += [t for t in (group.position, group.offsets, group.weights, group.expand) if t is not None]
    assert {t.device.type for t in tensors} == {"meta"}
    assert len(tensors) == 3 + 1 + 3 + 3 + 2  # single; weighted bag; bag and side table; single of a side table
    assert len(moved) == 4


def test_an_unknown_head_lists_the_known_ones() -> None:
    heads = Heads(ctr=Prob.of_logit(torch.zeros(1)), cvr=Prob.of_logit(torch.zeros(1)))
    with pytest.raises(AttributeError, match="one of ctr, cvr, however: 'ctcvr'"):
        _ = heads.ctcvr
    assert not hasattr(heads, "_ctr")
    assert list(heads) == ["ctr", "cvr"]
    assert list(copy.copy(heads)) == ["ctr", "cvr"]


# The logistic baseline beside the towers

NUMBERS = torch.tensor([[-9.0, 0.5], [-2.0, 3.0], [0.0, 0.0], [-4.0, 1.5]])


def beside(*heads: str, **shifts: float) -> Network:
    """A network whose baseline has some coefficients."""
    rates = dict.fromkeys(heads, 0.1)
    network = Network(
        heads, OFFSETS, ROWS, SMALL, share_embedding=False, base_rates=rates, seed=0, rates=2, shifts=shifts
    )
    assert network.baseline is not None
    for head, weight, bias in (("ctr", [0.7, -0.4], -2.0), ("cvr", [0.2, 0.9], -5.0)):
        regression = network.baseline.regression(head)
        regression.mean.copy_(torch.tensor([-4.0, 1.0]))
        regression.scale.copy_(torch.tensor([3.0, 0.0 if head == "ctr" else 2.0]))  # 0: a constant column
        regression.weight.copy_(torch.tensor(weight))
        regression.bias.fill_(bias)
    return network


def test_every_head_starts_at_the_baseline(batch) -> None:
    p = beside("ctr", "cvr", "ctcvr")(dataclasses.replace(batch, numbers=NUMBERS))
    x = NUMBERS.double()
    ctr = -2 + 0.7 * (x[:, 0] + 4) / 3  # the constant column has no effect
    cvr = -5 + 0.2 * (x[:, 0] + 4) / 3 + 0.9 * (x[:, 1] - 1) / 2
    torch.testing.assert_close(p.ctr.value.double(), ctr.sigmoid(), rtol=1e-6, atol=0)
    torch.testing.assert_close(p.cvr.value.double(), cvr.sigmoid(), rtol=1e-6, atol=0)
    torch.testing.assert_close(p.ctcvr.value.double(), ctr.sigmoid() * cvr.sigmoid(), rtol=2e-6, atol=0)


def test_a_head_of_another_name_has_no_offset(batch) -> None:
    numbers = dataclasses.replace(batch, numbers=NUMBERS)
    with_baseline = beside("cvr", "open")
    plain = Network(("open",), OFFSETS, ROWS, SMALL, share_embedding=False, base_rates={"open": 0.1}, seed=0)
    torch.testing.assert_close(with_baseline(numbers).open.value, plain(batch).open.value)


def test_an_intercept_starts_at_its_shift(batch) -> None:
    numbers = dataclasses.replace(batch, numbers=NUMBERS)
    odds = [p.cvr.log - p.cvr.log_not for p in (beside("cvr", cvr=1.5)(numbers), beside("cvr")(numbers))]
    torch.testing.assert_close(odds[0] - odds[1], torch.full((4,), 1.5))


def test_the_tower_learns_beside_the_baseline_which_stays(batch) -> None:
    numbers, network = dataclasses.replace(batch, numbers=NUMBERS), beside("cvr")
    (-network(numbers, support.gather(network, numbers)).cvr.log.mean()).backward()
    last = network.towers["cvr"].logits.weight.grad
    assert last is not None
    assert last.abs().sum() > 0, "the layer that starts at 0 gets a gradient"
    assert not any(name.startswith("baseline") for name, _ in network.named_parameters())


def test_numbers_are_needed_and_a_tower_must_be_able_to_start_at_zero(batch) -> None:
    with pytest.raises(ConfigError, match="reads the rates of the history"):
        beside("cvr")(batch)

    class Odd(MLPTower):
        def __init__(self, *arguments) -> None:
            super().__init__(*arguments)
            self.logits = torch.nn.Linear(4, 2)  # pyright: ignore[reportAttributeAccessIssue]

    with pytest.raises(ConfigError, match="must end with a layer of class Logits"):
        Odd(SMALL.tower, FieldShape(("a",), 3), 0.0, torch.Generator()).start_constant()


def test_extreme_numbers_give_finite_log_probabilities(batch) -> None:
    p = beside("ctr", "cvr", "ctcvr")(dataclasses.replace(batch, numbers=300 * NUMBERS))
    for head in p:
        assert getattr(p, head).log.isfinite().all()
        assert getattr(p, head).log_not.isfinite().all()
