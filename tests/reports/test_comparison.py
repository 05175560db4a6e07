"""report.json and back: what is read is what was written, or an error says why it cannot be."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from entirespace.errors import DataError
from entirespace.experiments.compare import compare
from entirespace.methods import BASE, ESMM
from entirespace.metrics.segments import DECILE
from entirespace.metrics.significance import Difference, Paired
from entirespace.metrics.values import Undefined
from entirespace.reports.comparison import Against, Comparison, Spread


@pytest.fixture(scope="module")
def made(dataset, quick, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Comparison]:
    out = tmp_path_factory.mktemp("comparison") / "report"
    found = compare((BASE(), ESMM()), dataset, seeds=1, config=quick, out=out, jobs=1, by=("age",))
    return out / "report.json", found


def test_a_report_is_read_back(made: tuple[Path, Comparison]) -> None:
    path, found = made
    again = Comparison.open(path)
    assert again == found
    assert str(again) == str(found)
    assert again.as_dict() == json.loads(path.read_text()) == json.loads(json.dumps(found.as_dict()))
    base, esmm = again.methods
    auc = esmm.tasks["ctcvr"].auc
    assert isinstance(auc, Spread)
    assert (auc.n, auc.std) == (1, None)
    tested = esmm.against["BASE"]["cvr"]
    assert isinstance(tested.seeds, Paired)
    assert tested.seeds.p_value == Undefined("one seed has no standard deviation")
    assert tested.p_holm is None
    assert isinstance(tested.users, Difference)
    assert base.truth["all"].rank_correlation
    assert list(again.diagnosis.methods["ESMM"].segments) == [DECILE, "age"]
    assert again.learning["ESMM"]["0"][-1].validation_loss


def test_plain_values_stand_as_the_formats_say(made: tuple[Path, Comparison]) -> None:
    plain = json.loads(made[0].read_text())
    assert plain["format"] == Comparison.FORMAT
    assert plain["methods"][1]["tasks"]["cvr"]["auc"].keys() == {"mean", "std", "n"}
    against = plain["methods"][1]["against"]["BASE"]["cvr"]
    assert against.keys() == {"difference", "std", "t", "p_value", "n", "p_holm", "users"}
    assert against["p_value"] == {"undefined": "one seed has no standard deviation"}


def test_a_test_that_has_no_value_is_read_back() -> None:
    test = Against(seeds=Undefined("an AUC is undefined"), p_holm=None, users=Undefined("too few"))
    plain = {"undefined": "an AUC is undefined", "p_holm": None, "users": {"undefined": "too few"}}
    assert test.as_dict() == plain
    assert Against.model_validate(plain) == test


def test_infinite_metrics_survive() -> None:
    spread = Spread.of([math.inf])
    assert isinstance(spread, Spread)
    assert Spread.model_validate(json.loads(json.dumps(spread.as_dict()))).mean == math.inf


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": "entirespace-report/1"}, "must be entirespace-report/2, however: entirespace-report/1"),
        ({"seeds": [7]}, "its checksum does not match its content"),
        ({"checksum": None}, "its checksum does not match its content"),
    ],
)
def test_another_format_and_a_changed_report_are_refused(made, tmp_path: Path, change: dict, said: str) -> None:
    path = tmp_path / "report.json"
    path.write_text(json.dumps({**json.loads(made[0].read_text()), **change}))
    with pytest.raises(DataError, match=said):
        Comparison.open(path)


@pytest.mark.parametrize("content", ["{", "[]", "7"])
def test_what_is_no_report_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "report.json").write_text(content)
    with pytest.raises(DataError, match="report"):
        Comparison.open(tmp_path / "report.json")
