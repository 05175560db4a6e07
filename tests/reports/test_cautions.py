"""Warnings of a report: each of them is there when it must be, and only then."""

from __future__ import annotations

import pytest
from made_comparisons import NO_POSITIVES, comparison, line, metrics, part

from entirespace.config import Config
from entirespace.reports.cautions import warnings
from entirespace.reports.comparison import Candidate

ESMM = line("ESMM", metrics(0.7), metrics(0.6))
DEFAULTS = "Not searched: learning rate, network and all other settings have their default values"


def with_counts(lines=(ESMM,), **parts):
    made = comparison(*lines)
    return made.model_copy(update={"dataset": made.dataset.model_copy(update=parts)})


def warned(made) -> list[str]:
    """The warnings, without that on settings, which every comparison has."""
    return [sentence for sentence in warnings(made) if not sentence.startswith("Not searched")]


def test_a_good_comparison_only_says_what_was_not_searched() -> None:
    (only,) = warnings(comparison(ESMM))
    assert only.startswith(DEFAULTS)


def test_settings_that_differ_from_the_defaults_are_named() -> None:
    config = Config.model_validate({"optimizer": {"learning_rate": 0.01}, "training": {"threads": 1}})
    (only,) = warnings(comparison(ESMM, config=config.model_dump(mode="json")))
    assert "which sets optimizer.learning_rate = 0.01, else defaults" in only


def test_warnings_of_training_come_first() -> None:
    assert warnings(comparison(ESMM, warnings=["Training diverged.", "Training diverged."]))[0] == "Training diverged."
    assert warnings(comparison(ESMM, warnings=["A.", "A."])).count("A.") == 1


@pytest.mark.parametrize(("conversions", "few"), [(0, True), (99, True), (100, False)])
def test_few_conversions_in_the_test_part(conversions: int, few: bool) -> None:
    test = part(100_000, 1000, conversions)
    found = warned(with_counts(train=test, test=test))
    said = f"the test part has {conversions}," if conversions else "The test part has no conversion"
    assert [sentence for sentence in found if said in sentence] == found
    assert len(found) == few


def test_few_conversions_to_choose_a_candidate_by() -> None:
    chosen = Candidate(label="AMAN(rate=0.1)", method={}, selection_auc={})
    aman = line("AMAN", metrics(0.7), metrics(0.6)).model_copy(update={"candidates": [chosen]})
    few = part(10_000, 1000, 30)
    (found,) = warned(with_counts([aman], validation=few))
    assert "the validation part has 30" in found
    assert "AMAN" in found
    assert not warned(with_counts([ESMM], validation=few)), "nothing was chosen on it"


@pytest.mark.parametrize(("seeds", "said"), [(1, "One seed was trained"), (3, "Only 3 seeds were trained"), (5, "")])
def test_few_seeds(seeds: int, said: str) -> None:
    found = warned(comparison(ESMM, line("BASE", metrics(0.7), metrics(0.6)), seeds=seeds))
    assert [sentence.partition(":")[0] for sentence in found] == ([said] if said else [])


def test_miscalibration_beyond_chance() -> None:
    high, low = metrics(0.7, 1.5, (1.3, 1.7)), metrics(0.7, 0.5, (0.4, 0.6))
    (found,) = warned(comparison(line("AMAN", high, metrics(0.6)), line("UNBIAS", low, low)))
    assert "AMAN (pCVR 1.50); UNBIAS (pCVR 0.50, pCTCVR 0.50)." in found
    by_chance, small = metrics(0.7, 1.5, (0.9, 2.1)), metrics(0.7, 1.02, (1.01, 1.03))
    assert not warned(comparison(line("AMAN", by_chance, small)))


def test_miscalibration_is_corrected_for_the_number_of_tests() -> None:
    """Alone it is beyond chance; beside the tests of many other methods it is not."""
    doubtful = line("AMAN", metrics(0.7, 1.5, (1.05, 2.1)), metrics(0.6))
    assert "with Holm's correction for all 2 tests" in warned(comparison(doubtful))[0]
    others = [line(f"M{i}", metrics(0.7), metrics(0.6)) for i in range(10)]
    assert not warned(comparison(doubtful, *others))
    sure = line("ESMM", metrics(0.7, 1.5, (1.4, 1.6)), metrics(0.6))
    (found,) = warned(comparison(doubtful, *others, sure))
    assert "for all 24 tests" in found
    assert "AMAN" not in found


def test_predictions_without_any_event_are_miscalibrated() -> None:
    none = metrics(NO_POSITIVES, NO_POSITIVES, (7.0, NO_POSITIVES))
    assert "BASE (pCVR at least 7.00)" in warned(comparison(line("BASE", none, metrics(0.6))))[0]


def test_the_reference_network_is_named_once() -> None:
    high = metrics(0.7, 1.5, (1.3, 1.7))
    lines = [line(n, metrics(0.7), metrics(0.6)) for n in ("AMAN", "UNBIAS")]
    both = [one.model_copy(update={"tasks": {**one.tasks, "ctr_reference": high}}) for one in lines]
    assert warned(comparison(*both))[0].count("the reference CTR network (pCTR 1.50)") == 1


def test_drift_of_base_rates() -> None:
    (found,) = warned(with_counts(test=part(100_000, 10_000, 1300)))
    assert found.startswith("Drift: CVR of clicked impressions is 10 % in the training part and 13 % in the test part.")
    (both,) = warned(with_counts(test=part(100_000, 5000, 800)))
    assert "CTR is 10 % in the training part and 5 % in the test part and CVR" in both
    assert not warned(with_counts(test=part(100_000, 10_000, 1050))), "5 % of itself"
    assert not warned(with_counts(train=part(1000, 1000, 120), test=part(1000, 1000, 150))), "chance"
    assert "0 % in the training part" in warned(with_counts(train=part(100_000, 10_000, 0)))[0]


def test_unseen_ids() -> None:
    (found,) = warned(with_counts(unseen={"user": 0.34, "item": 0.05}))
    assert "34 % of the ids of 'user' are not in the training part" in found
    read = with_counts(unseen={"user": 0.34, "item": 0.05})
    assert not warned(read.model_copy(update={"config": {"network": {"exclude": ["user"]}}}))[:-1], "it is not read"
    many = warned(with_counts(unseen={f"f{i}": 0.5 for i in range(8)}))[0]
    assert "'f4'" in many
    assert "and 3 more fields" in many
