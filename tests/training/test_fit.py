"""Training repeats bit for bit, resumes where it stopped, and fails with a clear error."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from entirespace.batches.batch import Batch
from entirespace.batches.feed import Feed
from entirespace.errors import ConfigError, RunError
from entirespace.methods import AMAN, BASE, CTR, DIVISION, ESMM, OVERSAMPLING, UNBIAS, Method
from entirespace.training import Run, fit, reference_ctr
from entirespace.training.learner import Learner
from entirespace.training.reference import reference_seed

trainer_module = sys.modules["entirespace.training.trainer"]


def weights(run: Run) -> dict[str, torch.Tensor]:
    return run.network.state_dict()


def same(a: Run, b: Run) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(a).values(), weights(b).values(), strict=True))


@pytest.mark.parametrize(
    "method",
    [BASE(), AMAN(rate=0.5), OVERSAMPLING(copies=3), UNBIAS(), DIVISION(), ESMM(share_embedding=False), ESMM()],
    ids=lambda m: m.label,
)
def test_each_method_trains_and_predicts_probabilities(method, dataset, quick, reference):
    run = fit(method, dataset.train, seed=1, config=quick, reference=reference)
    p = run.predict(dataset.test)
    n = len(dataset.test)
    assert p.pctr.shape == p.pcvr.shape == p.pctcvr.shape == (n,)
    assert p.pctr.dtype == p.pcvr.dtype == p.pctcvr.dtype == np.float32
    assert ((p.pctr > 0) & (p.pctr < 1)).all()
    assert (p.pcvr > 0).all()
    np.testing.assert_allclose(p.pctcvr, p.pctr * p.pcvr, rtol=1e-5)
    losses = [json.loads(line)["validation_loss"] for line in (run.folder / "metrics.jsonl").read_text().splitlines()]
    assert min(losses) <= losses[0]
    # it learned something: CTCVR is ranked better than chance
    evaluation = run.evaluate(dataset.test).as_dict()
    assert evaluation["tasks"]["ctcvr"]["auc"] > 0.55


def test_the_same_seed_gives_the_same_bits_and_another_seed_does_not(dataset, quick):
    first, second, other = (fit(ESMM(), dataset.train, seed=s, config=quick) for s in (3, 3, 4))
    assert same(first, second)
    assert not same(first, other)


class Killed(Exception):
    pass


@pytest.mark.parametrize("after", [3, 7, 12, 14])
def test_an_interrupted_run_ends_with_the_same_bits(after, dataset, quick, tmp_path, monkeypatch):
    config = quick.model_copy(
        update={"training": quick.training.model_copy(update={"checks_per_epoch": 2, "checkpoint_minutes": 1e-9})}
    )
    whole = fit(AMAN(rate=0.5), dataset.train, seed=2, config=config, out=tmp_path / "whole")
    step, steps = trainer_module.Trainer._step, 0

    def dying(self, batch):
        nonlocal steps
        steps += 1
        if steps > after:
            raise Killed
        return step(self, batch)

    monkeypatch.setattr(trainer_module.Trainer, "_step", dying)
    with pytest.raises(Killed):
        fit(AMAN(rate=0.5), dataset.train, seed=2, config=config, out=tmp_path / "cut")
    with pytest.raises(RunError, match="must be finished"):
        Run.open(tmp_path / "cut")
    monkeypatch.setattr(trainer_module.Trainer, "_step", step)
    resumed = fit(AMAN(rate=0.5), dataset.train, seed=2, config=config, out=tmp_path / "cut")
    assert same(whole, resumed)
    lines = [json.loads(line) for line in (tmp_path / "cut" / "metrics.jsonl").read_text().splitlines()]
    losses = [(line["step"], line["validation_loss"]) for line in lines if "validation_loss" in line]
    assert losses == sorted(set(losses)), "each validation must be in metrics.jsonl once"
    there = {p.name for p in (tmp_path / "cut").iterdir()}
    assert there == {"run.json", "layout.json", "vocabulary", "metrics.jsonl", "weights.safetensors"}


def test_an_interrupted_run_is_not_resumed_with_another_reference(dataset, quick, reference, tmp_path, monkeypatch):
    out, save = tmp_path / "run", trainer_module.Trainer._save

    def dying(self, best=False):
        save(self, best)
        raise Killed

    monkeypatch.setattr(trainer_module.Trainer, "_save", dying)
    with pytest.raises(Killed):
        fit(UNBIAS(), dataset.train, config=quick, reference=reference, out=out)
    monkeypatch.setattr(trainer_module.Trainer, "_save", save)
    other = reference_ctr(dataset.train, seed=5, config=quick)
    with pytest.raises(RunError, match="must have the same reference to be resumed"):
        fit(UNBIAS(), dataset.train, config=quick, reference=other, out=out)
    assert fit(UNBIAS(), dataset.train, config=quick, reference=reference, out=out).reference is reference


def test_a_finished_run_is_not_trained_again_and_opens_alone(dataset, quick, tmp_path, monkeypatch):
    run = fit(BASE(), dataset.train, config=quick, out=tmp_path / "run")
    monkeypatch.setattr(trainer_module.Trainer, "_epoch", lambda *_: pytest.fail("trained again"))
    assert same(run, fit(BASE(), dataset.train, config=quick, out=tmp_path / "run"))
    assert same(run, Run.open(tmp_path / "run"))


def test_the_best_weights_are_kept_not_the_last(dataset, quick, tmp_path):
    hasty = quick.model_copy(
        update={
            "optimizer": quick.optimizer.model_copy(update={"learning_rate": 0.1}),
            "training": quick.training.model_copy(update={"epochs": 8}),
        }
    )
    run = fit(BASE(), dataset.train, config=hasty, out=tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    losses = [line["validation_loss"] for line in lines if "validation_loss" in line]
    assert len(losses) < 8, "early stopping must have stopped it"
    assert losses[-1] > min(losses)
    y, z = dataset.validation.column("click"), dataset.validation.column("conversion")
    p = run.outputs(dataset.validation).pcvr[y].astype(np.float64)
    loss = -np.where(z[y], np.log(p), np.log1p(-p)).mean()
    assert loss == pytest.approx(min(losses), rel=1e-5)


def test_divisions_ctr_network_is_the_ctr_network_trained_alone(dataset, quick):
    """With the same seed, batches and number of epochs, the two networks are equal bit for bit."""
    config = quick.model_copy(update={"training": quick.training.model_copy(update={"epochs": 1})})
    alone = fit(CTR(), dataset.train, seed=7, config=config)
    division = fit(DIVISION(), dataset.train, seed=7, config=config)
    for name, tensor in weights(alone).items():
        assert torch.equal(tensor, weights(division)[name]), name
    assert not same(alone, reference_ctr(dataset.train, seed=7, config=config)), "the reference is independent"
    assert reference_seed(0) != reference_seed(1)


def test_unbias_logs_its_effective_sample_size(dataset, quick, reference, tmp_path, monkeypatch):
    monkeypatch.setattr(trainer_module, "LOG_SECONDS", 0.0)
    fit(UNBIAS(), dataset.train, config=quick, reference=reference, out=tmp_path / "run")
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    shares = [line["effective_sample_share"] for line in lines if "effective_sample_share" in line]
    assert shares
    assert all(0 < s <= 1 for s in shares)


@dataclass(frozen=True)
class Mine(Method):
    """A method that the project has never heard of."""

    heads: ClassVar = ("cvr",)

    def samples(self, labels, rng):
        return labels.click.astype(np.int64)

    def loss(self, p, batch):
        return -torch.where(batch.conversion, p.cvr.log, p.cvr.log_not).mean()

    def base_rates(self, counts):
        return BASE().base_rates(counts)

    def predict(self, p):
        return {"pcvr": p.cvr}


def test_a_method_of_ones_own_needs_no_registration(dataset, quick, monkeypatch):

    monkeypatch.setitem(sys.modules, Mine.__module__, sys.modules.get(Mine.__module__) or sys.modules[__name__])
    assert same(fit(Mine(), dataset.train, config=quick), fit(BASE(), dataset.train, config=quick))


def test_bf16_learns_what_fp32_learns_and_keeps_float32(dataset, quick):
    training = quick.training.model_copy(update={"precision": "bf16"})
    exact = fit(ESMM(), dataset.train, seed=3, config=quick)
    rounded = fit(ESMM(), dataset.train, seed=3, config=quick.model_copy(update={"training": training}))
    assert {t.dtype for t in weights(rounded).values()} == {torch.float32}
    assert not same(exact, rounded)
    one, other = (run.predict(dataset.test).pctcvr for run in (exact, rounded))
    assert np.abs(one - other).mean() < 0.1 * one.mean()


def test_weight_decay_reaches_the_layers_and_not_the_embedding(dataset, quick):
    def stepped(decay: float) -> dict[str, torch.Tensor]:
        config = quick.model_copy(update={"optimizer": quick.optimizer.model_copy(update={"weight_decay": decay})})
        learner = Learner(ESMM(), dataset, config, seed=0)
        feed, rng = Feed.of(dataset), np.random.default_rng(0)
        rows = next(feed.shuffled(dataset.train, ESMM().samples, batch_size=256, shuffle_rows=8192, rng=rng))
        learner.step(feed.batch(rows))
        learner.finish()
        return learner.network.state_dict()

    start, plain, decayed = Learner(ESMM(), dataset, quick, 0).network.state_dict(), stepped(0.0), stepped(2.0)
    for name, weight in plain.items():
        shrink = quick.optimizer.learning_rate * 2.0 if name.startswith("towers.") and weight.ndim > 1 else 0.0
        torch.testing.assert_close(decayed[name], weight - shrink * start[name])


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_an_error_before_training(dataset, quick):
    training = quick.training.model_copy(update={"device": "cuda"})
    with pytest.raises(ConfigError, match="no GPU"):
        fit(ESMM(), dataset.train, config=quick.model_copy(update={"training": training}))


def test_blocks_train_the_same_impressions(dataset, quick):
    training = quick.training.model_copy(update={"block": 8})
    run = fit(ESMM(), dataset.train, seed=3, config=quick.model_copy(update={"training": training}))
    whole = fit(ESMM(), dataset.train, seed=3, config=quick)
    one, other = (r.predict(dataset.test).pctcvr for r in (run, whole))
    assert not same(run, whole)
    assert np.corrcoef(one, other)[0, 1] > 0.8


SEEN: list[Batch] = []


class Watching(Mine):
    """Keeps the batches that its loss was given."""

    reads: ClassVar = ("propensity",)

    def loss(self, p, batch):
        SEEN.append(batch)
        return super().loss(p, batch)


def test_a_method_finds_what_it_reads_in_its_batches(dataset, quick, reference, monkeypatch):
    monkeypatch.setitem(sys.modules, Watching.__module__, sys.modules[__name__])
    fit(Watching(), dataset.train, config=quick, given={"propensity": reference})
    assert SEEN
    for batch in SEEN:
        torch.testing.assert_close(batch.given["propensity"], reference.network(batch).ctr.value)
        assert not batch.given["propensity"].is_inference(), "a loss may need gradients beside it"


def test_reference_is_short_for_the_given_reference_pctr(dataset, quick, reference):
    short = fit(UNBIAS(), dataset.train, config=quick, reference=reference)
    long = fit(UNBIAS(), dataset.train, config=quick, given={"reference_pctr": reference})
    assert same(short, long)
    assert long.reference is reference, "what it learned from is also the pCTR of its bids"


def test_given_runs_must_be_those_that_the_method_reads(dataset, quick, reference):
    with pytest.raises(ConfigError, match=r"'propensity'.*it reads none"):
        fit(BASE(), dataset.train, config=quick, given={"propensity": reference})
    with pytest.raises(ConfigError, match=r"'propensity'.*it reads reference_pctr"):
        fit(UNBIAS(), dataset.train, config=quick, given={"propensity": reference})
    base = fit(BASE(), dataset.train, config=quick)
    with pytest.raises(ConfigError, match="must predict pCTR, however: a run of BASE"):
        fit(UNBIAS(), dataset.train, config=quick, given={"reference_pctr": base})
    with pytest.raises(ConfigError, match="Watching learns from propensity, however: none was given"):
        fit(Watching(), dataset.train, config=quick, reference=reference)


def test_errors_name_what_to_do(dataset, quick, reference, tmp_path):
    with pytest.raises(ConfigError, match="UNBIAS learns from the reference CTR network"):
        fit(UNBIAS(), dataset.train, config=quick)
    run = fit(BASE(), dataset.train, config=quick, out=tmp_path / "run")
    with pytest.raises(RunError, match="needs the run of the reference CTR network"):
        run.predict(dataset.test)
    with pytest.raises(RunError, match=r"must have the same seed to be resumed, however: it has seed 0, not 1"):
        fit(BASE(), dataset.train, seed=1, config=quick, out=tmp_path / "run")
    other = quick.model_copy(update={"training": quick.training.model_copy(update={"epochs": 1})})
    with pytest.raises(RunError, match=r"training\.epochs = 3, not 1"):
        fit(BASE(), dataset.train, config=other, out=tmp_path / "run")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thesis.txt").write_text("mine")
    with pytest.raises(RunError, match="it holds thesis"):
        fit(BASE(), dataset.train, config=quick, out=tmp_path / "full")
    wild = quick.model_copy(update={"optimizer": quick.optimizer.model_copy(update={"learning_rate": 1e30})})
    with pytest.raises(RunError, match=r"loss must (stay|be) finite.*Lower optimizer\.learning_rate"):
        fit(ESMM(), dataset.train, config=wild)
    with pytest.raises(RunError, match="a run must be a folder, however: there is no such folder"):
        Run.open(tmp_path / "nothing")


def test_a_damaged_run_is_refused(dataset, quick, tmp_path):
    folder = fit(BASE(), dataset.train, config=quick, out=tmp_path / "run").folder
    path: Path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(RunError, match="its SHA-256 differs"):
        Run.open(folder)
    path.unlink()
    with pytest.raises(RunError, match=r"weights\.safetensors"):
        Run.open(folder)
