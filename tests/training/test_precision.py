"""training.precision: what "auto" becomes, that it is decided once, and that a record is obeyed."""

from __future__ import annotations

import pytest
import torch

import entirespace.training.precision as precision_module
from entirespace.config import Config
from entirespace.experiments.compare import compare
from entirespace.experiments.space import Searched, Space
from entirespace.experiments.tune import tune
from entirespace.methods import BASE, ESMM
from entirespace.runs.record import RunRecord
from entirespace.training import fit, fit_ensemble
from entirespace.training.precision import has_bf16_units, resolved


class Stop(Exception):
    pass


class Interrupting:
    """A tracker that ends training at the second validation."""

    def __init__(self) -> None:
        self.validations = 0

    def start(self, run, about, step) -> None: ...

    def log(self, step, scalars) -> None:
        self.validations += "validation_loss" in scalars
        if self.validations == 2:
            raise Stop

    def close(self, finished) -> None: ...


class Warned:
    """A progress that keeps the warnings."""

    def __init__(self) -> None:
        self.warnings: list[str] = []

    def start(self, what, total, unit) -> None: ...
    def advance(self, amount, note="") -> None: ...
    def done(self, note="") -> None: ...
    def say(self, line) -> None: ...
    def warn(self, warning) -> None:
        self.warnings.append(warning)


def of(config: Config, **training) -> Config:
    return config.model_copy(update={"training": config.training.model_copy(update=training)})


def on_a_machine(monkeypatch, *flags: str) -> None:
    """Pretend that the processor has these flags and no others."""
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(flags, True))


@pytest.mark.parametrize(
    ("flags", "expected"),
    [((), "fp32"), (("avx512_f", "avx2"), "fp32"), (("avx512_bf16",), "bf16"), (("amx_tile", "amx_bf16"), "bf16")],
)
def test_auto_follows_the_flags_of_the_processor(quick, monkeypatch, flags, expected):
    on_a_machine(monkeypatch, *flags)
    assert resolved(of(quick, precision="auto")).training.precision == expected
    assert resolved(of(quick, precision="fp32")).training.precision == "fp32"
    assert resolved(of(quick, precision="bf16")).training.precision == "bf16"


@pytest.mark.parametrize("supported", [True, False])
def test_auto_on_a_gpu_asks_for_units_not_for_emulation(monkeypatch, supported):
    asked = []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **options: asked.append(options) or supported)
    assert has_bf16_units("cuda") is supported
    assert asked == [{"including_emulation": False}]


@pytest.mark.parametrize(("flag", "expected"), [("avx512_bf16", "bf16"), ("avx2", "fp32")])
def test_a_run_records_what_auto_became_and_is_equal_to_a_run_of_that_precision(
    dataset, quick, monkeypatch, tmp_path, flag, expected
):
    on_a_machine(monkeypatch, flag)
    auto = fit(BASE(), dataset.train, config=of(quick, precision="auto", epochs=1), out=tmp_path / "auto")
    assert auto.config.training.precision == expected
    assert RunRecord.open(tmp_path / "auto").config["training"]["precision"] == expected
    named = fit(BASE(), dataset.train, config=of(quick, precision=expected, epochs=1))
    mine, theirs = auto.network.state_dict(), named.network.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in mine.items())


def test_an_interrupted_run_goes_on_in_its_precision_on_another_machine(dataset, quick, monkeypatch, tmp_path):
    auto, out = of(quick, precision="auto"), tmp_path / "run"
    on_a_machine(monkeypatch, "avx512_bf16")
    whole = fit(BASE(), dataset.train, config=auto)
    with pytest.raises(Stop):
        fit(BASE(), dataset.train, config=auto, out=out, tracker=Interrupting())
    on_a_machine(monkeypatch, "avx2")
    progress = Warned()
    run = fit(BASE(), dataset.train, config=auto, out=out, progress=progress)
    assert run.config.training.precision == "bf16"
    assert any("no units for it" in warning for warning in progress.warnings)
    mine, theirs = run.network.state_dict(), whole.network.state_dict()
    assert all(torch.equal(weight, theirs[name]) for name, weight in mine.items())
    progress = Warned()
    fit(BASE(), dataset.train, config=auto, out=out, progress=progress)  # finished: it is only opened
    assert progress.warnings == []


def test_a_comparison_goes_on_in_its_precision_on_another_machine(dataset, quick, monkeypatch, tmp_path):
    auto = of(quick, precision="auto", epochs=1)
    on_a_machine(monkeypatch, "avx2")
    first = compare([BASE()], dataset, seeds=1, config=auto, out=tmp_path / "report", jobs=1)
    on_a_machine(monkeypatch, "avx512_bf16")
    again = compare([BASE()], dataset, seeds=1, config=auto, out=tmp_path / "report", jobs=1)
    assert first.config["training"]["precision"] == again.config["training"]["precision"] == "fp32"
    assert again.as_dict() == first.as_dict()
    assert len(list((tmp_path / "report" / "runs").iterdir())) == 2  # nothing is trained again
    other = compare([BASE()], dataset, seeds=1, config=of(auto, epochs=2), out=tmp_path / "report", jobs=1)
    assert other.config["training"]["precision"] == "bf16", "another configuration is decided anew"


def test_a_study_goes_on_in_its_precision_on_another_machine(dataset, quick, monkeypatch, tmp_path):
    pytest.importorskip("optuna")
    auto = of(quick, precision="auto", epochs=1)
    space = Space(ESMM(), auto, {"optimizer.learning_rate": Searched(choices=(0.01, 0.02))})
    on_a_machine(monkeypatch, "avx512_bf16")
    tune(space, dataset, trials=1, out=tmp_path / "study")
    on_a_machine(monkeypatch, "avx2")
    study = tune(space, dataset, trials=2, out=tmp_path / "study")
    assert len(study.trials) == 2
    assert 'precision = "bf16"' in (tmp_path / "study" / "best.toml").read_text()


def test_the_members_of_an_ensemble_have_one_precision_on_any_machine(dataset, quick, monkeypatch, tmp_path):
    auto = of(quick, precision="auto", epochs=2)
    on_a_machine(monkeypatch, "avx512_bf16")
    with pytest.raises(Stop):
        fit_ensemble(BASE(), dataset.train, seeds=2, config=auto, out=tmp_path, tracker=Interrupting())
    on_a_machine(monkeypatch, "avx2")
    run = fit_ensemble(BASE(), dataset.train, seeds=2, config=auto, out=tmp_path)
    assert [member.config.training.precision for member in run.members] == ["bf16", "bf16"]


def test_scores_of_a_run_trained_in_bf16_are_made_in_fp32(dataset, quick, monkeypatch, tmp_path):
    run = fit(ESMM(), dataset.train, config=of(quick, precision="bf16", epochs=1), out=tmp_path / "run")
    seen = []
    forward = type(run.network).forward
    enabled = lambda: torch.is_autocast_enabled("cpu")  # noqa: E731
    monkeypatch.setattr(type(run.network), "forward", lambda self, *a: seen.append(enabled()) or forward(self, *a))
    run.predict(dataset.test)
    assert seen
    assert not any(seen)


def test_has_bf16_units_is_of_this_machine():
    flags = torch.cpu.get_capabilities()
    assert has_bf16_units("cpu") == any(flags.get(flag, False) for flag in precision_module.BF16_UNITS)
