"""Towers and trunks of a user are exported as far as torch can; what it cannot export is an error that says so."""

from __future__ import annotations

from typing import Any, Literal

import pytest
import torch
from exported import COUNTS, configured, small_dataset
from torch import Tensor, nn

import entirespace as es
from entirespace.config import Config, Model
from entirespace.network import towers, trunks
from entirespace.network.fields import Fields, FieldShape, VectorFields
from entirespace.network.layers import Logits, ReLULayers, linear
from entirespace.network.towers import Tower
from entirespace.network.trunks import Trunk
from entirespace.runs.build import build_network
from entirespace.runs.run import Run

for package in ("onnx", "onnxscript", "onnxruntime"):
    pytest.importorskip(package, reason=f"{package} is absent: pip install 'entirespace[export]'")

from entirespace.export import gate  # noqa: E402
from entirespace.export.export import inputs_of, sides_of  # noqa: E402
from entirespace.export.onnx import write_program  # noqa: E402
from entirespace.export.program import ScoringProgram  # noqa: E402
from entirespace.serving.program import Program  # noqa: E402


class OwnConfig(Model):
    kind: Literal["own"] = "own"


class CrossTower(Tower):
    """Reads one vector a field."""

    def __init__(self, config: Any, shape: FieldShape, intercept: float, generator: torch.Generator):
        super().__init__(config, shape, intercept, generator)
        self.cross = linear(shape.width, shape.width, shape.width**-0.5, generator)
        self.logits = Logits(shape.width, intercept, generator)

    def forward(self, fields: Fields) -> Tensor:
        x = fields.vectors().flatten(1)
        return self.logits(x * self.cross(x) + x)


class BagTower(Tower):
    """Reads the separate ids of a bag of the request, and of a number."""

    def __init__(self, config: Any, shape: FieldShape, intercept: float, generator: torch.Generator):
        super().__init__(config, shape, intercept, generator)
        self.liked, self.target, self.age = (shape.index(name) for name in ("liked", "vid", "age"))
        self.logits = Logits(3 * shape.size, intercept, generator)

    def forward(self, fields: Fields) -> Tensor:
        vectors = fields.vectors()
        bag = fields.bag(self.liked).by_impression()
        assert bag.weights is not None
        weight = torch.sigmoid((bag.values * vectors[:, self.target][bag.owner]).sum(1, keepdim=True))
        weighted = weight * bag.weights[:, None] * bag.values
        read = torch.zeros_like(vectors[:, 0]).index_add(0, bag.owner, weighted)
        number = fields.bag(self.age).by_impression()
        ages = torch.zeros_like(read).index_add(0, number.owner, number.values * number.values)
        return self.logits(torch.cat([read, vectors[:, self.target], ages], 1))


class BranchingTower(Tower):
    """Cannot be exported: which way it goes depends on values."""

    def __init__(self, config: Any, shape: FieldShape, intercept: float, generator: torch.Generator):
        super().__init__(config, shape, intercept, generator)
        self.logits = Logits(shape.width, intercept, generator)

    def forward(self, fields: Fields) -> Tensor:
        x = fields.vectors().flatten(1)
        return self.logits(x if float(x.sum()) > 0 else -x)


class ExpertsTrunk(Trunk):
    """MMoE: another mix of experts for each head."""

    def __init__(self, config: Any, shape: FieldShape, heads: tuple[str, ...], generator: torch.Generator):
        super().__init__(config, shape, heads, generator)
        self.experts = nn.ModuleList(ReLULayers(shape.width, (5,), generator) for _ in range(2))
        self.gates = nn.ModuleDict({head: linear(shape.width, 2, 0.1, generator) for head in heads})
        self.shape = FieldShape(("trunk",), 5)

    def forward(self, fields: Fields) -> dict[str, Fields]:
        experts = torch.stack([expert(fields) for expert in self.experts], dim=1)
        mixed: dict[str, Fields] = {}
        for head, gate_of in self.gates.items():
            assert isinstance(gate_of, nn.Linear)
            mixed[head] = VectorFields(fields.linear(gate_of).softmax(1).unsqueeze(1) @ experts)
        return mixed


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("own") / "data", history=False)


def own_run(data, monkeypatch, tower: type[Tower] | None = None, trunk: type[Trunk] | None = None) -> Run:
    config: Config = configured(numbers="interpolate")
    own: dict[str, Model] = {}
    if tower is not None:
        monkeypatch.setitem(towers.TOWERS, OwnConfig, tower)
        own["tower"] = OwnConfig()
    if trunk is not None:
        monkeypatch.setitem(trunks.TRUNKS, OwnConfig, trunk)
        own["trunk"] = OwnConfig()
    config = config.model_copy(update={"network": config.network.model_copy(update=own)})
    network = build_network(es.ESMM(), data.layout, COUNTS, config, 0)
    generator = torch.Generator().manual_seed(1)
    network.load_state_dict(
        {name: torch.randn(x.shape, generator=generator) * 0.3 for name, x in network.state_dict().items()}
    )
    return Run(data.path, es.ESMM(), 0, config, data.layout, network.eval(), None)


@pytest.mark.parametrize(
    "parts",
    [{"tower": CrossTower, "trunk": None}, {"trunk": ExpertsTrunk}, {"tower": BagTower}],
    ids=["cross", "experts", "bag"],
)
def test_own_towers_and_trunks(data, tmp_path, monkeypatch, parts):
    monkeypatch.setattr(gate, "ROWS", 500)
    run = own_run(data, monkeypatch, **parts)
    inputs = inputs_of(run, sides_of(run))
    write_program(ScoringProgram(run, inputs), inputs, tmp_path / "program.onnx")
    gate.check_parity(run, Program(tmp_path / "program.onnx", inputs, ()))


def test_what_torch_cannot_export_is_an_error(data, tmp_path, monkeypatch):
    run = own_run(data, monkeypatch, BranchingTower)
    inputs = inputs_of(run, sides_of(run))
    with pytest.raises(es.EntirespaceError, match="the network must be one that torch can export to ONNX, however: "):
        write_program(ScoringProgram(run, inputs), inputs, tmp_path / "program.onnx")
