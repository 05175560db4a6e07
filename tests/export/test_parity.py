"""The program of a bundle gives the scores of its run: methods, networks, numbers, history, ensembles, calibrators."""

from __future__ import annotations

from typing import Any, get_args

import numpy as np
import pytest
from exported import configured, random_run, small_dataset

import entirespace as es
from entirespace.core.calibrators import Calibrator, Isotonic, Platt, Temperature
from entirespace.dataset.dataset import Dataset
from entirespace.methods import CTR, Method
from entirespace.runs.calibration import Calibration
from entirespace.runs.run import Run

onnx = pytest.importorskip("onnx", reason="onnx is absent: pip install 'entirespace[export]'")
pytest.importorskip("onnxscript", reason="onnxscript is absent: pip install 'entirespace[export]'")
pytest.importorskip("onnxruntime", reason="onnxruntime is absent: pip install 'entirespace[export]'")

from entirespace.export import gate  # noqa: E402
from entirespace.export.export import inputs_of, sides_of  # noqa: E402
from entirespace.export.gate import check_parity  # noqa: E402
from entirespace.export.onnx import write_program  # noqa: E402
from entirespace.export.program import ScoringProgram  # noqa: E402
from entirespace.serving.inputs import ProgramInputs  # noqa: E402
from entirespace.serving.program import Program  # noqa: E402

ISOTONIC = Isotonic(p=(0.01, 0.2, 0.21, 0.6, 0.95), value=(0.02, 0.1, 0.3, 0.3, 0.8))
STEP = Isotonic(p=(0.3, 0.3 + 1e-9), value=(0.1, 0.9))
PLATT = Platt(slope=0.7, intercept=-0.4)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Dataset:
    return small_dataset(tmp_path_factory.mktemp("parity") / "data")


@pytest.fixture(autouse=True)
def _few_rows(monkeypatch):
    monkeypatch.setattr(gate, "ROWS", 1000)


def written(run: Run, folder: Any, request: list[str] | None = None) -> tuple[Program, ProgramInputs]:
    inputs = inputs_of(run, sides_of(run, request))
    write_program(ScoringProgram(run, inputs), inputs, folder / "program.onnx")
    return Program(folder / "program.onnx", inputs, run.layout.rates), inputs


@pytest.fixture(scope="module")
def plain(data, tmp_path_factory) -> tuple[Program, ProgramInputs]:
    """The program of `random_run(data, es.ESMM())`."""
    return written(random_run(data, es.ESMM()), tmp_path_factory.mktemp("plain"))


CASES: dict[str, tuple[Method, dict[str, Any]]] = {
    "ESMM": (es.ESMM(), {}),
    "ESMM-NS, interpolated, only the item": (es.ESMM(share_embedding=False), {"config": configured(
        numbers="interpolate", history=False,
        exclude=["tab", "price", "words", "session", "uid", "age", "city", "liked"])}),
    "DIVISION, trunk": (es.DIVISION(), {"config": configured(trunk={"kind": "mlp", "hidden": [7]})}),
    "BASE and its reference": (es.BASE(), {"config": configured(exclude=["uid", "price"])}),
    "AMAN, isotonic, sampled": (
        es.AMAN(),
        {"calibration": Calibration("isotonic", 0.2, {"pctr_reference": ISOTONIC, "pcvr": STEP})},
    ),
    "OVERSAMPLING, Platt": (
        es.OVERSAMPLING(),
        {"calibration": Calibration("auto", 1.0, {"pctr_reference": PLATT, "pcvr": Temperature(1.4)})},
    ),
    "UNBIAS, logistic regression, only the user": (es.UNBIAS(), {"config": configured(
        hidden=[], history=False, exclude=["vid", "shop", "length"])}),
    "RATES": (es.RATES(), {"calibration": Calibration(negatives_kept=0.5)}),
    "baseline beside, history not read": (es.ESMM(), {"config": configured(offset="rates", history=False)}),
    "layers on the rates, no ids": (es.ESMM(), {"config": configured(
        offset="rates", offset_hidden=[5, 3], rated_ids=False, history=False, numbers="interpolate")}),
    "layers on the rates alone, ensemble": (
        es.DIVISION(),
        {"config": configured(
            offset="rates", offset_hidden=[5], rated_ids=False, history=False,
            exclude=["price", "age", "length", "session", "liked", "city", "shop"]), "members": 2},
    ),
    "DIVISION with a baseline, ensemble": (
        es.DIVISION(),
        {"config": configured(offset="rates", numbers="interpolate"), "members": 3},
    ),
    "ensemble with a reference": (es.BASE(), {"members": 2, "reference_members": 2}),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_scores_are_those_of_the_run(data, tmp_path, name):
    method, options = CASES[name]
    members = options.get("reference_members", 1)
    options = {key: value for key, value in options.items() if key != "reference_members"}
    reference = random_run(data, CTR(), configured(numbers="interpolate"), seed=9, members=members)
    run = random_run(data, method, reference=None if "pctr" in method.predicts else reference, **options)
    program, _ = written(run, tmp_path)
    parity = check_parity(run, program)
    # a quotient of small probabilities rounds by more, and so does what a steep calibrator makes of a rounding
    assert parity.largest < (1e-5 if method.divides or run.calibration.calibrators else 1e-6)
    graph = onnx.load(str(tmp_path / "program.onnx"), load_external_data=False).graph
    assert [value.name for value in graph.output] == ["pctr", "pcvr", "pctcvr"]
    loops = {"Loop", "If", "Scan", "ScatterElements", "SequenceAt"} & {node.op_type for node in graph.node}
    assert not loops, "an operation that is slow or computed row by row"


def test_what_belongs_to_the_request_is_multiplied_once(plain):
    """The first layer's product of the request's fields has U rows, and a Gather copies it to N."""
    program, inputs = plain
    assert set(inputs.request.ids) == {"tab", "session", "uid", "city"}
    assert set(inputs.candidate.ids) == {"vid", "shop"}
    assert {bag.field: bag.weighted for bag in inputs.request.bags} == {"words": False, "liked": True}
    rates = {
        name: inputs.request.positions.count(f"rate.click.{name}") for name in ("uid", "tab", "words", "uid x tab")
    }
    assert rates == dict.fromkeys(rates, 1)
    assert "rate.click.vid" in inputs.candidate.positions
    graph = onnx.load(str(program.path), load_external_data=False).graph
    gathers = [n for n in graph.node if n.op_type == "Gather" and list(n.input)[1] == "request_of"]
    products = {n.output[0] for n in graph.node if n.op_type in ("Gemm", "MatMul")}
    assert len(gathers) == 2, "one for each head"
    assert all(n.input[0] in products for n in gathers)


def test_the_schema_may_say_what_belongs_to_the_request(tmp_path):
    data = small_dataset(tmp_path / "data", request=["price", "vid", "uid"])
    run = random_run(data, es.ESMM())
    (tmp_path / "listed").mkdir()
    program, inputs = written(run, tmp_path / "listed")
    assert set(inputs.request.fields) - {*data.layout.rates} == {"price", "vid", "uid"}
    assert "rate.ctcvr.uid" in inputs.request.positions
    assert not {"rate.click.vid", "rate.click.uid x tab"} & {*inputs.request.positions}, "a parent or half of the pair"
    check_parity(run, program)
    inputs = inputs_of(run, sides_of(run, []))
    assert inputs.request.empty
    assert "request_of" not in [each.name for each in inputs.listed()]


def test_every_calibrator_of_a_run_has_a_map():
    from entirespace.export.calibrators import MAPS

    assert {*get_args(Calibrator)} <= {*MAPS}


@pytest.mark.parametrize(
    ("calibration", "said"),
    [(Calibration("platt", 1.0, {"pcvr": object()}), "a calibrator of a bundle must be one of Temperature, Platt")],
)
def test_an_unknown_calibrator_is_refused(data, calibration, said):
    run = random_run(data, es.ESMM(), calibration=calibration)
    with pytest.raises(es.EntirespaceError, match=said):
        ScoringProgram(run, inputs_of(run, sides_of(run)))


def test_a_method_without_pcvr_and_a_run_without_its_reference_are_refused(data):
    run = random_run(data, CTR())
    with pytest.raises(es.EntirespaceError, match="the run's method must predict pCVR, however: CTR does not"):
        ScoringProgram(run, inputs_of(run, sides_of(run)))
    with pytest.raises(es.EntirespaceError, match="needs the run of the reference CTR network"):
        inputs_of(random_run(data, es.BASE()), sides_of(run))


def test_small_probabilities_keep_their_digits(data, tmp_path):
    """Also where 1 - p is 1 in float32, and where the quotient of two of them is read."""
    run = random_run(data, es.DIVISION())
    state = run.network.state_dict()
    for name in ("ctr", "ctcvr"):
        state[f"towers.{name}.logits.bias"][:] = state[f"towers.{name}.logits.bias"].new_tensor([12.0, -12.0])
    run.network.load_state_dict(state)
    program, _ = written(run, tmp_path)
    encoder = run.encoder()
    rows = gate.random_rows(encoder.fields, run.layout.rates, 400, np.random.default_rng(2))
    found = program.score_rows(rows)
    want = run.predict_encoded(encoder, rows, {})
    assert float(want.pctr.min()) < 1e-9
    for name, p in zip(("pctr", "pcvr", "pctcvr"), found, strict=True):
        np.testing.assert_allclose(p, getattr(want, name), rtol=2e-5)


def test_one_row_of_many_ids_does_not_pad_all_others(data, plain, monkeypatch):
    run = random_run(data, es.ESMM())
    program, _ = plain
    sizes = []
    before = program.run
    monkeypatch.setattr(
        program, "run", lambda arrays: sizes.append(arrays["request.bag.words"].shape) or before(arrays)
    )
    monkeypatch.setattr("entirespace.serving.program.CELLS", 4000)
    rows = gate.random_rows(run.encoder().fields, run.layout.rates, 1000, np.random.default_rng(2))
    found = program.score_rows(rows)
    assert max(n * length for n, length in sizes if n > 1) <= 4000
    assert sum(n for n, _ in sizes) == 1000
    want = run.predict_encoded(run.encoder(), rows, {})
    np.testing.assert_allclose(found[2], want.pctcvr, atol=1e-6)


def test_the_gate_refuses_a_program_with_other_weights(data, plain):
    run = random_run(data, es.ESMM())
    program, _ = plain
    state = run.network.state_dict()
    state["towers.cvr.logits.weight"][1, 0] += 1e-3
    run.network.load_state_dict(state)
    with pytest.raises(
        es.EntirespaceError, match=r"the scores of a bundle must be those of its run, to 1e-06, however: "
    ):
        check_parity(run, program)


def test_a_network_with_very_large_weights_may_round(data, tmp_path):
    """Its float32 is uncertain by more than 1e-6; what is allowed is measured, and a wrong weight is still refused."""
    run = random_run(data, es.ESMM(share_embedding=False), configured(numbers="interpolate"), seed=3)
    state = run.network.state_dict()
    for name in ("ctr", "cvr"):
        state[f"embeddings.{name}.weight"] *= 12
    run.network.load_state_dict(state)
    program, _ = written(run, tmp_path)
    parity = check_parity(run, program)
    assert 1e-6 < parity.largest < 1e-4
    assert 1e-6 < parity.rounding < 1e-3
    state["towers.cvr.logits.weight"][1, 0] += 1e-2
    run.network.load_state_dict(state)
    with pytest.raises(es.EntirespaceError, match="must be those of its run"):
        check_parity(run, program)


def test_the_gate_refuses_an_embedding_row_that_one_row_reads(data, plain):
    """The last row of the last field: an offset that is wrong by one shows here."""
    run = random_run(data, es.ESMM())
    program, _ = plain
    run.network.embedding("shared").weight[-1] += 1
    with pytest.raises(es.EntirespaceError, match="must be those of its run"):
        check_parity(run, program)


def test_the_gate_allows_a_step_of_a_calibrator_only_where_it_is(data, tmp_path):
    """At p = 0.3 a rounding decides between 0.1 and 0.9; at any other p the scores must agree."""
    run = random_run(data, es.ESMM(), calibration=Calibration("isotonic", 1.0, {"pctr": STEP, "pcvr": PLATT}))
    program, _ = written(run, tmp_path)
    check_parity(run, program)
    moved = Isotonic(p=(0.6, 0.6 + 1e-9), value=(0.1, 0.9))
    other = random_run(data, es.ESMM(), calibration=Calibration("isotonic", 1.0, {"pctr": moved, "pcvr": PLATT}))
    with pytest.raises(es.EntirespaceError, match="pctr of row"):
        check_parity(other, program)
