"""A study chooses on the validation part only, can be resumed, and reports its trials."""

from __future__ import annotations

import json
import shutil
import sys
from xml.etree import ElementTree

import pytest

import entirespace.experiments.tune as tune_module
from entirespace.config import load
from entirespace.core.labels import Counts
from entirespace.dataset.dataset import Dataset
from entirespace.errors import ConfigError, DataError, RunError
from entirespace.experiments.space import Searched, Space, default_space, read_space
from entirespace.experiments.tune import tune
from entirespace.methods import AMAN, BASE, CTR, DIVISION, ESMM, OVERSAMPLING, UNBIAS, from_spec
from entirespace.metrics.auc import auc
from entirespace.metrics.losses import log_loss
from entirespace.training import Run, fit

optuna = pytest.importorskip("optuna")

SETTINGS = {
    "optimizer.learning_rate": Searched(low=1e-4, high=3e-2, log=True),
    "network.hidden": Searched(choices=((8,), (8, 4))),
}


@pytest.fixture(scope="module")
def brief(quick):
    return quick.model_copy(update={"training": quick.training.model_copy(update={"epochs": 1})})


@pytest.fixture(scope="module")
def studied(dataset, brief, tmp_path_factory):
    out = tmp_path_factory.mktemp("tune") / "study"
    return out, tune(Space(ESMM(), brief, SETTINGS), dataset, trials=4, out=out)


def outcome(about) -> list:
    return [(t["state"], t["objective"], t["values"], t["validation_losses"]) for t in about["trials"]]


def test_the_best_trial_is_a_configuration_that_gives_its_objective(studied, dataset):
    out, tuned = studied
    about = tuned.as_dict()
    assert json.loads((out / "trials.json").read_text()) == json.loads(json.dumps(about))
    assert [t["trial"] for t in about["trials"]] == [1, 2, 3, 4]
    assert about["trials"][0]["values"] == {"optimizer.learning_rate": 0.01, "network.hidden": [8]}, "as given"
    best = about["trials"][about["best"] - 1]
    assert best["objective"] == max(t["objective"] for t in about["trials"])
    config, method = load(out / "best.toml")
    assert config.optimizer.learning_rate == best["values"]["optimizer.learning_rate"]
    p = fit(from_spec(method), dataset.train, config=config).predict(dataset.validation)
    assert auc(p.pctcvr, dataset.validation.column("conversion")) == best["objective"]
    assert f"Best: trial {about['best']}, CTCVR AUC % {100 * best['objective']:.3f}" in str(tuned)
    assert "![" in (out / "report.md").read_text()
    words = "".join(ElementTree.parse(out / "trials.svg").getroot().itertext())
    assert "matplotlib" in words
    left = {"study.json", "study.db", "trials.json", "best.toml", "report.md", "trials.svg"}
    assert {p.name for p in out.iterdir()} == left, "no training is left, and ESMM needs no reference"


def test_the_test_part_is_not_read(dataset, brief, tmp_path):
    shutil.copytree(dataset.path, tmp_path / "dataset")
    files = sorted((tmp_path / "dataset" / "impressions").glob("test-*"))
    assert files
    for file in files:
        file.write_bytes(bytes(file.stat().st_size))
    data = Dataset(tmp_path / "dataset")
    with pytest.raises(DataError, match="SHA-256"):
        data.test.column("click")
    for method in (ESMM(), UNBIAS()):
        out = tmp_path / method.name
        assert tune(Space(method, brief, SETTINGS), data, trials=2, out=out).as_dict()["best"]


def test_a_killed_study_ends_as_one_that_was_not(studied, dataset, brief, tmp_path, monkeypatch):
    _, whole = studied
    fitted, calls = fit, 0

    def dying(*arguments, **named):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return fitted(*arguments, **named)

    same = {"out": tmp_path / "study"}
    with monkeypatch.context() as patch:
        patch.setattr(tune_module, "fit", dying)
        with pytest.raises(KeyboardInterrupt):
            tune(Space(ESMM(), brief, SETTINGS), dataset, trials=4, **same)
    assert len(json.loads((tmp_path / "study" / "trials.json").read_text())["trials"]) == 2
    about = tune(Space(ESMM(), brief, SETTINGS), dataset, trials=4, **same).as_dict()
    assert outcome(about) == outcome(whole.as_dict())
    monkeypatch.setattr(tune_module, "fit", lambda *_, **__: pytest.fail("trained again"))
    again = tune(Space(ESMM(), brief, SETTINGS), dataset, trials=4, **same).as_dict()
    assert outcome(again) == outcome(whole.as_dict())


def test_more_trials_are_added(studied, dataset, brief, tmp_path):
    out, whole = studied
    shutil.copytree(out, tmp_path / "study")
    about = tune(Space(ESMM(), brief, SETTINGS), dataset, trials=5, out=tmp_path / "study").as_dict()
    assert outcome(about)[:4] == outcome(whole.as_dict())
    assert len(about["trials"]) == 5


def test_a_method_without_ctr_is_measured_with_the_reference(dataset, brief, tmp_path):
    space = Space(OVERSAMPLING(), brief, {"method.copies": Searched(choices=(2, 5))})
    about = tune(space, dataset, trials=2, out=tmp_path / "study").as_dict()
    assert {t["values"]["method.copies"] for t in about["trials"]} <= {2, 5}
    reference = Run.open(tmp_path / "study" / "reference")
    assert reference.method == CTR()
    config, method = load(tmp_path / "study" / "best.toml")
    assert method["copies"] == about["trials"][about["best"] - 1]["values"]["method.copies"]
    p = fit(from_spec(method), dataset.train, config=config, reference=reference).predict(dataset.validation)
    best = about["trials"][about["best"] - 1]["objective"]
    assert auc(p.pctcvr, dataset.validation.column("conversion")) == best


def test_the_lowest_cvr_log_loss_is_the_best(dataset, brief, tmp_path):
    about = tune(
        Space(BASE(), brief, SETTINGS), dataset, trials=3, objective="cvr_log_loss", out=tmp_path / "study"
    ).as_dict()
    best = about["trials"][about["best"] - 1]["objective"]
    assert best == min(t["objective"] for t in about["trials"])
    assert not (tmp_path / "study" / "reference").exists()
    config, _ = load(tmp_path / "study" / "best.toml")
    y, z = (dataset.validation.column(name) for name in ("click", "conversion"))
    pcvr = fit(BASE(), dataset.train, config=config).outputs(dataset.validation).pcvr
    assert pcvr is not None
    assert log_loss(pcvr[y], z[y]) == best


def test_a_trial_that_falls_behind_is_pruned(dataset, quick, tmp_path, monkeypatch):
    """Five good trials are added by hand, then one that hardly learns."""
    rates = iter([0.01, 0.011, 0.012, 0.013, 0.014, 1e-6, 0.015])
    searched = {"optimizer.learning_rate": Searched(low=1e-6, high=0.1, log=True)}
    monkeypatch.setattr(Space, "suggest", lambda self, trial: {"optimizer.learning_rate": next(rates)})
    about = tune(Space(ESMM(), quick, searched), dataset, trials=7, out=tmp_path / "study").as_dict()
    states = [t["state"] for t in about["trials"]]
    assert states[:5] == ["complete"] * 5
    pruned = about["trials"][5]
    assert pruned["state"] == "pruned"
    assert pruned["objective"] is None
    assert len(pruned["validation_losses"]) == 2, "its second look was its last"
    assert len(about["trials"][0]["validation_losses"]) == 3
    assert all(loss > 0 for t in about["trials"] for loss in t["validation_losses"])
    assert "pruned" in (tmp_path / "study" / "report.md").read_text()


def test_a_search_of_a_methods_parameters_prunes_nothing(brief):
    assert Space(AMAN(), brief, SETTINGS).comparable
    assert not Space(AMAN(), brief, {"method.rate": Searched(low=0, high=1)}).comparable


def test_a_trial_that_diverges_fails_and_the_study_goes_on(dataset, brief, tmp_path, monkeypatch):
    rates = iter([1e30, 0.01])
    searched = {"optimizer.learning_rate": Searched(low=1e-3, high=1e31, log=True)}
    monkeypatch.setattr(Space, "suggest", lambda self, trial: {"optimizer.learning_rate": next(rates)})
    about = tune(Space(ESMM(), brief, searched), dataset, trials=2, out=tmp_path / "study").as_dict()
    assert [t["state"] for t in about["trials"]] == ["fail", "complete"]
    assert "step" in about["trials"][0]["reason"]
    assert about["best"] == 2


def test_a_study_whose_trials_all_fail_says_why(dataset, brief, tmp_path, monkeypatch):
    monkeypatch.setattr(tune_module, "log_loss", lambda *_: tune_module.Undefined("3 of 9 predictions exceed 1"))
    with pytest.raises(RunError, match="2 failed; the last one: undefined: 3 of 9 predictions exceed 1"):
        tune(Space(DIVISION(), brief, SETTINGS), dataset, trials=2, objective="cvr_log_loss", out=tmp_path / "study")


def test_default_space(brief):
    assert default_space(ESMM()).keys() == {
        "optimizer.learning_rate",
        "training.batch_size",
        "network.embedding_std",
    }
    assert default_space(AMAN())["method.rate"].choices == (0.1, 0.2, 0.5, 1.0)
    assert "method.rate" not in default_space(AMAN(), searched=False)
    assert "training.batch_size" not in default_space(ESMM(), fixed=frozenset({"training.batch_size"}))
    assert Space(AMAN(), brief, default_space(AMAN())).start()["method.rate"] == 0.1
    assert "training.batch_size" not in Space(AMAN(), brief, default_space(AMAN())).start(), "256 is not searched"


def test_a_space_file_names_ranges_and_choices(tmp_path, brief):
    file = tmp_path / "space.toml"
    file.write_text(
        "[optimizer]\nlearning_rate = { low = 1e-4, high = 1, log = true }\n"
        "[training]\nbatch_size = { low = 64, high = 128 }\n"
        "[network]\nhidden = { choices = [[80], [200, 80]] }\nembedding_std = { low = 0, high = 1 }\n"
        "[method]\nrate = { low = 0, high = 1 }\n"
    )
    space = Space(AMAN(), brief, read_space(file))
    study = optuna.create_study()
    found = [space.suggest(study.ask()) for _ in range(8)]
    assert {type(v["training.batch_size"]) for v in found} == {int}
    assert {type(v["network.embedding_std"]) for v in found} == {float}
    assert {type(v["method.rate"]) for v in found} == {float}
    assert {v["network.hidden"] for v in found} == {(80,), (200, 80)}
    assert space.start() == {"optimizer.learning_rate": 0.01, "network.embedding_std": 0.01, "method.rate": 0.1}
    method, config = space.at(found[0])
    assert method == AMAN(rate=found[0]["method.rate"])
    assert config.training.batch_size == found[0]["training.batch_size"]


def test_a_setting_may_be_in_a_nested_table(tmp_path, brief):
    (tmp_path / "space.toml").write_text(
        "network.tower.hidden = { choices = [[8], [200, 80]] }\n[network.trunk]\nkind = { choices = ['none', 'mlp'] }\n"
    )
    space = Space(ESMM(), brief, read_space(tmp_path / "space.toml"))
    assert space.start() == {"network.tower.hidden": (8,), "network.trunk.kind": "none"}
    network = space.at({"network.tower.hidden": [200, 80], "network.trunk.kind": "mlp"})[1].network
    assert (network.tower.hidden, network.trunk.kind) == ((200, 80), "mlp")
    assert space.config.network.tower.hidden == (8,)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("", "must name at least one setting"),
        ("learning_rate = 1", r"must be a table, however: learning_rate = 1"),
        ("optimizer.learning_rate = 0.1", r"optimizer\.learning_rate = 0\.1.*Write NAME"),
        ("optimizer.learning_rate = { low = 0.1 }", "it must have low and high"),
        ("optimizer.learning_rate = { low = 0.1, hihg = 1 }", "'hihg'.*Did you mean 'high'"),
        ("optimizer.learning_rate = { low = 0.1, high = 0.01 }", "low must not be above high"),
        ("optimizer.learning_rate = { low = 0.0, high = 0.01, log = true }", "above 0 if log is true"),
        ("optimizer.learning_rate = { low = 0.0, high = 0.01 }", r"optimizer\.learning_rate.*greater than 0"),
        ("optimizer.learning_rat = { low = 0.1, high = 0.2 }", "Did you mean 'learning_rate'"),
        ("optimiser.learning_rate = { low = 0.1, high = 0.2 }", "Did you mean 'optimizer'"),
        ("training.batch_size = { low = 0.5, high = 2.5 }", r"training\.batch_size.*integer"),
        ("training.device = { choices = ['cpu', 'tpu'] }", r"training\.device.*'tpu'"),
        ("method.rate = { low = 0.5, high = 2 }", "a share from 0 to 1, however: 2"),
        ("method.rte = { low = 0.5, high = 1 }", "Did you mean 'rate'"),
    ],
)
def test_a_space_that_cannot_be_searched_is_refused_before_training(line, said, tmp_path, brief):
    (tmp_path / "space.toml").write_text(line)
    with pytest.raises(ConfigError, match=said) as error:
        Space(AMAN(), brief, read_space(tmp_path / "space.toml"), str(tmp_path / "space.toml"))
    assert "space.toml" in str(error.value)


def test_fields_and_numbers_are_searched_and_checked_before_a_study_begins(dataset, brief, tmp_path):
    (tmp_path / "space.toml").write_text(
        'network.exclude = { choices = [["user_id"], []] }\nnetwork.numbers = { choices = ["interpolate"] }\n'
    )
    space = Space(ESMM(), brief, read_space(tmp_path / "space.toml"))
    study = tune(space, dataset, trials=2, out=tmp_path / "study")
    assert {tuple(t.values["network.exclude"]) for t in study.trials} <= {("user_id",), ()}
    assert {t.values["network.numbers"] for t in study.trials} == {"interpolate"}
    (tmp_path / "space.toml").write_text('network.exclude = { choices = [[], ["usr_id"]] }')
    wrong = Space(ESMM(), brief, read_space(tmp_path / "space.toml"))
    with pytest.raises(ConfigError, match="Did you mean 'user_id'"):
        tune(wrong, dataset, out=tmp_path / "other")
    assert not (tmp_path / "other").exists()


def test_errors_name_what_to_do(studied, dataset, brief, tmp_path, monkeypatch):
    out, _ = studied
    space = Space(ESMM(), brief, SETTINGS)
    with pytest.raises(RunError, match="it has seed = 0, not 1"):
        tune(space, dataset, trials=4, seed=1, out=out)
    with pytest.raises(RunError, match=r"it has space\.network\.hidden\.choices = .* not None"):
        tune(Space(ESMM(), brief, {k: v for k, v in SETTINGS.items() if "hidden" not in k}), dataset, out=out)
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="it holds thesis"):
        tune(space, dataset, out=tmp_path)
    none = dataset.validation.__class__(dataset, "validation")
    none.counts = Counts(len(none), {"click": 5, "conversion": 0})
    monkeypatch.setattr(dataset, "validation", none)
    with pytest.raises(DataError, match="the validation part must have clicks with"):
        tune(space, dataset, out=tmp_path / "study")
    monkeypatch.setitem(sys.modules, "optuna", None)
    with pytest.raises(ConfigError, match=r"tuning needs the package optuna.*pip install 'entirespace\[tune\]'"):
        tune(space, dataset, out=tmp_path / "study")


def test_trials_are_not_calibrated_and_the_best_configuration_is(dataset, brief, tmp_path):
    config = brief.model_copy(update={"training": brief.training.model_copy(update={"calibrate": "auto"})})
    plain, auto = (
        tune(Space(BASE(), c, SETTINGS), dataset, trials=2, out=tmp_path / name)
        for name, c in (("plain", brief), ("auto", config))
    )
    assert outcome(auto.as_dict()) == outcome(plain.as_dict())
    assert not [*(tmp_path / "auto").rglob("calibration.json")]
    assert load(tmp_path / "auto" / "best.toml")[0].training.calibrate == "auto"
