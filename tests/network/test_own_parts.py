"""A tower or a trunk is one file: a cross network, attention over a history and MMoE, as a user would add them."""

from __future__ import annotations

import tomllib
from typing import Annotated, Literal, get_args

import numpy as np
import pytest
import torch
from pydantic import Field
from torch import Tensor, nn

import entirespace as es
from entirespace.batches.feed import Feed
from entirespace.config import (
    Config,
    MLPTowerConfig,
    MLPTrunkConfig,
    Model,
    NetworkConfig,
    NoTrunkConfig,
    dump,
    parse,
    with_settings,
)
from entirespace.config import (
    Tower as TowerConfig,
)
from entirespace.config import (
    Trunk as TrunkConfig,
)
from entirespace.dataset.dataset import Dataset
from entirespace.errors import ConfigError
from entirespace.features.chosen import ChosenFields
from entirespace.methods import DIVISION, ESMM, Method
from entirespace.network.fields import Fields, FieldShape, VectorFields
from entirespace.network.layers import Logits, ReLULayers, linear
from entirespace.network.towers import TOWERS, Tower
from entirespace.network.trunks import TRUNKS, Trunk
from entirespace.training.learner import Learner

# A cross network: reads one vector a field


class CrossTowerConfig(Model):
    kind: Literal["cross"] = "cross"
    layers: int = Field(default=2, ge=1)


class CrossTower(Tower):
    """DCNv2 (Wang et al. 2021): x_{l+1} = x_0 * (W_l x_l + b_l) + x_l. Shape: (B, F, D) -> (B, 2)."""

    def __init__(self, config: CrossTowerConfig, shape: FieldShape, intercept: float, generator: torch.Generator):
        super().__init__(config, shape, intercept, generator)
        width = shape.width
        self.cross = nn.ModuleList(linear(width, width, width**-0.5, generator) for _ in range(config.layers))
        self.logits = Logits(width, intercept, generator)

    def forward(self, fields: Fields) -> Tensor:
        x0 = x = fields.vectors().flatten(1)
        for layer in self.cross:
            x = x0 * layer(x) + x
        return self.logits(x)


# Attention: reads the single ids of one field


class AttentionTowerConfig(Model):
    kind: Literal["attention"] = "attention"
    history: str
    target: str
    hidden: tuple[int, ...] = (8,)


class AttentionTower(Tower):
    """DIN (Zhou et al. 2018): each id of the history weighs as much as it matters to the target."""

    def __init__(self, config: AttentionTowerConfig, shape: FieldShape, intercept: float, generator: torch.Generator):
        super().__init__(config, shape, intercept, generator)
        self.history, self.target = shape.index(config.history), shape.index(config.target)
        self.attention = ReLULayers(3 * shape.size, config.hidden, generator)
        self.weigh = linear(config.hidden[-1], 1, config.hidden[-1] ** -0.5, generator)
        self.hidden = ReLULayers(shape.width + shape.size, config.hidden, generator)
        self.logits = Logits(config.hidden[-1], intercept, generator)

    def forward(self, fields: Fields) -> Tensor:
        bag, vectors = fields.bag(self.history).by_impression(), fields.vectors()
        target = vectors[:, self.target][bag.owner]  # (n, D)
        pairs = torch.stack([bag.values, target, bag.values * target], dim=1)  # (n, 3, D)
        weight = torch.sigmoid(self.weigh(self.attention(VectorFields(pairs))))  # (n, 1)
        read = torch.zeros_like(vectors[:, 0]).index_add(0, bag.owner, weight * bag.values)  # (B, D)
        return self.logits(self.hidden(VectorFields(torch.cat([vectors, read[:, None]], dim=1))))


# Experts: a trunk with another output for each head


class ExpertsTrunkConfig(Model):
    kind: Literal["experts"] = "experts"
    experts: int = Field(default=3, ge=1)
    width: int = Field(default=8, ge=1)


class ExpertsTrunk(Trunk):
    """MMoE (Ma et al. 2018): each head mixes the experts by a gate of its own."""

    def __init__(
        self, config: ExpertsTrunkConfig, shape: FieldShape, heads: tuple[str, ...], generator: torch.Generator
    ):
        super().__init__(config, shape, heads, generator)
        self.experts = nn.ModuleList(ReLULayers(shape.width, (config.width,), generator) for _ in range(config.experts))
        self.gates = nn.ModuleDict({head: linear(shape.width, config.experts, 0.1, generator) for head in heads})
        self.shape = FieldShape(("trunk",), config.width)

    def forward(self, fields: Fields) -> dict[str, Fields]:
        experts = torch.stack([expert(fields) for expert in self.experts], dim=1)  # (B, E, W)
        mixed: dict[str, Fields] = {}
        for head, gate in self.gates.items():
            assert isinstance(gate, nn.Linear)
            weights = fields.linear(gate).softmax(1)  # (B, E)
            mixed[head] = VectorFields(weights.unsqueeze(1) @ experts)  # (B, 1, W)
        return mixed


class OwnNetwork(NetworkConfig):
    tower: Annotated[MLPTowerConfig | CrossTowerConfig | AttentionTowerConfig, Field(discriminator="kind")] = (
        MLPTowerConfig()
    )
    trunk: Annotated[NoTrunkConfig | MLPTrunkConfig | ExpertsTrunkConfig, Field(discriminator="kind")] = NoTrunkConfig()


class OwnConfig(Config):
    network: OwnNetwork = OwnNetwork()


@pytest.fixture(autouse=True)
def _added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TOWERS, CrossTowerConfig, CrossTower)
    monkeypatch.setitem(TOWERS, AttentionTowerConfig, AttentionTower)
    monkeypatch.setitem(TRUNKS, ExpertsTrunkConfig, ExpertsTrunk)


def config(quick: Config, **network: object) -> OwnConfig:
    plain = quick.model_dump(mode="json")
    return parse(OwnConfig, {**plain, "network": {"embedding_size": 4, **network}}, "the test")


CROSS = {"tower": {"kind": "cross"}}
DIN = {"tower": {"kind": "attention", "history": "category_history", "target": "category"}}
MMOE = {"tower": {"hidden": [6]}, "trunk": {"kind": "experts"}}
BOTTOM = {"tower": {"hidden": [6]}, "trunk": {"kind": "mlp", "hidden": [8]}}
STRAIGHT = {"tower": {"hidden": []}, "trunk": {"kind": "mlp", "hidden": [8]}}
BOTH = {"tower": {"kind": "cross"}, "trunk": {"kind": "experts"}}
NETWORKS = {"cross": CROSS, "DIN": DIN, "MMoE": MMOE, "bottom": BOTTOM, "straight": STRAIGHT, "both": BOTH}


@pytest.mark.parametrize("method", [ESMM(), DIVISION()], ids=["ESMM", "DIVISION"])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_own_parts_learn(dataset: Dataset, quick: Config, network: dict[str, object], method: Method) -> None:
    learner = Learner(method, dataset, config(quick, **network), seed=0)
    batch = Feed.of(dataset).batch(next(dataset.train.chunks()).take(np.arange(256)))
    start = {name: p.detach().clone() for name, p in learner.network.named_parameters()}
    losses = [learner.step(batch)[0].item() for _ in range(30)]
    assert losses[-1] < losses[0] - 0.005
    still = [name for name, p in learner.network.named_parameters() if torch.equal(p, start[name])]
    assert not still, "each weight is trained"
    assert learner.loss(batch) < losses[0]

    # training resumed from a checkpoint is bit for bit the same
    learner.finish()
    other = Learner(method, dataset, config(quick, **network), seed=1)
    other.load({name: t.clone() for name, t in learner.state().items()})
    assert learner.step(batch)[0].item() == other.step(batch)[0].item()


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_own_parts_start_at_the_base_rate_and_depend_only_on_the_seed(
    dataset: Dataset, quick: Config, network: dict[str, object]
) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one, same = (Learner(ESMM(), dataset, config(quick, **network), seed=0).network for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(t, same.state_dict()[name]) for name, t in one.state_dict().items())
    batch = Feed.of(dataset).batch(next(dataset.train.chunks()).take(np.arange(256)))
    with torch.inference_mode():
        p = one(batch)
    assert p.ctr.value.mean().item() == pytest.approx(dataset.train.counts["click"] / len(dataset.train), rel=0.1)


def test_heads_read_their_own_mixture_of_experts(dataset: Dataset, quick: Config) -> None:
    network = Learner(ESMM(), dataset, config(quick, **MMOE), seed=0).network
    assert list(network.trunks) == ["shared"]
    assert {"trunks.shared.gates.ctr.weight", "trunks.shared.gates.cvr.weight"} <= network.state_dict().keys()
    batch = Feed.of(dataset).batch(next(dataset.train.chunks()).take(np.arange(8)))
    read: dict[str, Tensor] = {}
    for head, tower in network.towers.items():
        tower.register_forward_pre_hook(lambda _, given, head=head: read.update({head: given[0].vectors()}))
    network(batch)
    assert read["ctr"].shape == (8, 1, 8)
    assert not torch.equal(read["ctr"], read["cvr"])


def test_separate_embeddings_have_separate_trunks(dataset: Dataset, quick: Config) -> None:
    """DIVISION's two networks share nothing: the CTCVR loss leaves the CTR network's trunk alone."""
    network = Learner(DIVISION(), dataset, config(quick, **BOTTOM), seed=0).network
    assert list(network.trunks) == ["ctr", "ctcvr"]
    batch = Feed.of(dataset).batch(next(dataset.train.chunks()).take(np.arange(8)))
    network(batch).ctcvr.log.sum().backward()
    touched = {name.split(".")[1] for name, p in network.named_parameters() if p.grad is not None}
    assert touched == {"ctcvr"}


def test_attention_reads_ids_and_cannot_be_on_a_trunk(dataset: Dataset, quick: Config) -> None:
    with pytest.raises(ConfigError, match="'category_history'"):  # the trunk's output has no such field
        Learner(ESMM(), dataset, config(quick, **DIN, trunk={"kind": "mlp"}), seed=0)
    unknown = {"tower": {"kind": "attention", "history": "categry", "target": "category"}}
    with pytest.raises(ConfigError, match="Did you mean 'category'"):
        Learner(ESMM(), dataset, config(quick, **unknown), seed=0)


def test_own_parts_read_numbers_that_are_interpolated(quick: Config) -> None:
    """Attention over the two rows of a number learns what a step function cannot say."""
    rng = np.random.default_rng(0)
    n = 600
    price, item = rng.normal(size=n), rng.integers(0, 5, n)
    y = rng.random(n) < 1 / (1 + np.exp(-2 * price))
    frame = {"y": y.astype(int), "z": (y & (rng.random(n) < 0.5)).astype(int), "price": price, "item": item}
    fields = {"item": "id", "price": {"kind": "number", "buckets": 5}}
    data = es.from_frame(frame, click="y", conversion="z", fields=fields, train=0.9, validation=0)
    attention = {"kind": "attention", "history": "price", "target": "item"}
    for network in ({"tower": attention}, CROSS, MMOE):
        own = config(quick, **network, numbers="interpolate")
        learner = Learner(ESMM(), data, own, seed=0)
        feed = Feed.of(data, ChosenFields.of(data.layout.fields, own.network))
        batch = feed.batch(next(data.train.chunks()).take(np.arange(256)))
        assert any(group.pairs for group in batch.groups)
        losses = [learner.step(batch)[0].item() for _ in range(30)]
        assert losses[-1] < losses[0] - 0.005


def test_bfloat16_does_not_round_logits(dataset: Dataset, quick: Config) -> None:
    dtypes: list[torch.dtype] = []
    for network in (MMOE, STRAIGHT, {"tower": {"hidden": []}}):
        half = config(quick, **network).model_dump(mode="json")
        half["training"]["precision"] = "bf16"
        learner = Learner(ESMM(), dataset, parse(OwnConfig, half, "the test"), seed=0)
        batch = Feed.of(dataset).batch(next(dataset.train.chunks()).take(np.arange(256)))
        for tower in learner.network.towers.values():
            tower.register_forward_hook(lambda _, __, logits: dtypes.append(logits.dtype))
        learner.step(batch)
    assert dtypes == [torch.float32] * 6


# In the configuration


def test_every_kind_can_be_made() -> None:
    for union, made in ((TowerConfig, TOWERS), (TrunkConfig, TRUNKS)):
        kinds = get_args(get_args(union)[0]) if get_args(union) else (union,)
        own = {CrossTowerConfig, AttentionTowerConfig, ExpertsTrunkConfig}
        assert set(kinds) == made.keys() - own


@pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
def test_a_dump_is_read_back(quick: Config, network: dict[str, object]) -> None:
    expected = config(quick, **network)
    assert parse(OwnConfig, tomllib.loads(dump(expected)), "the test") == expected


@pytest.mark.parametrize(
    ("network", "message"),
    [
        (
            {"tower": {"kind": "x"}},
            "'network.tower.kind' must be valid, however: 'x' (input should be 'mlp', 'cross' or",
        ),
        ({"tower": {"kind": "cross", "layers": 0}}, "'network.tower.layers' must be valid, however: 0"),
        ({"tower": {"kind": "cross", "layer": 1}}, "'network.tower.layer'. Did you mean 'layers'?"),
        ({"tower": {"kind": "cross"}, "hidden": [8]}, "hidden is short for tower.hidden of kind 'mlp'"),
        ({"tower": {"kind": "attention"}}, "'network.tower.history' must be given"),
        ({"trunk": {"kind": "experts", "widht": 1}}, "'network.trunk.widht'. Did you mean 'width'?"),
    ],
)
def test_an_error_is_about_the_chosen_kind(quick: Config, network: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError) as raised:
        config(quick, **network)
    assert message in str(raised.value)


def test_another_kind_starts_from_its_own_defaults(quick: Config) -> None:
    plain = config(quick, tower={"hidden": [8]}).model_dump(mode="json")
    found = parse(OwnConfig, with_settings(plain, {"network.tower.kind": "cross", "network.tower.layers": 1}), "x")
    assert found.network.tower == CrossTowerConfig(layers=1)
