"""What a comparison found, in words: the three sentences are right in every case that can come out."""

from __future__ import annotations

import math

import pytest
from made_comparisons import NO_POSITIVES, against, comparison, line, metrics

from entirespace.metrics.significance import Paired
from entirespace.metrics.values import Undefined
from entirespace.reports.comparison import Spread
from entirespace.reports.findings import findings
from entirespace.reports.report import text

BASE = line("BASE", metrics(0.70), metrics(0.60))


def other(label: str, cvr: float, ctcvr: float, n: int = 3, **tests):
    """A method whose AUCs differ from BASE by cvr and ctcvr, with the p values of both tests."""
    differences = against(cvr, n=n, **tests), against(ctcvr, n=n, **tests)
    return line(label, metrics(0.70 + cvr, n=n), metrics(0.60 + ctcvr, n=n), {"BASE": differences}, n=n)


def test_leaders_are_named_with_their_lead() -> None:
    found = findings(comparison(BASE, other("ESMM", 0.008, 0.02), other("ESMM-NS", 0.007, 0.02)))
    assert found[0] == "On the CVR task, ESMM and ESMM-NS lead BASE by 0.70 to 0.80 AUC points."
    assert found[1] == "On the CTCVR task, ESMM and ESMM-NS lead BASE by 2.00 AUC points."


def test_better_worse_and_undecided_methods_are_kept_apart() -> None:
    unsure = other("UNBIAS", 0.001, 0.001, p_holm=0.4, p_users=0.4)
    found = findings(comparison(BASE, other("ESMM", 0.008, 0.01), other("DIVISION", -0.01, -0.01), unsure))
    assert found[0] == (
        "On the CVR task, ESMM leads BASE by 0.80 AUC points; DIVISION is worse by 1.00 AUC points; "
        "UNBIAS cannot be told apart from it."
    )


def test_no_difference_is_no_finding() -> None:
    unsure = [other(name, 0.02, -0.02, p_holm=0.2, p_users=0.3) for name in ("AMAN", "ESMM")]
    assert findings(comparison(BASE, *unsure))[0] == "On the CVR task, no method can be told apart from BASE."
    assert findings(comparison(BASE, unsure[1]))[1] == "On the CTCVR task, ESMM cannot be told apart from BASE."


@pytest.mark.parametrize(("p_holm", "p_users", "which"), [(0.2, 0.01, "users"), (0.01, 0.2, "seeds")])
def test_a_difference_in_one_of_two_tests_is_said_to_be_that(p_holm, p_users, which) -> None:
    found = findings(comparison(BASE, other("ESMM", 0.02, 0.02, p_holm=p_holm, p_users=p_users)))
    assert found[0] == (
        "On the CVR task, ESMM cannot be told apart from BASE. "
        f"Only the test over {which} finds a difference, in AUC points: ESMM (+2.00)."
    )


def test_tests_over_users_are_corrected_for_their_number() -> None:
    some = [other(f"M{i}", 0.02, 0.02, p_users=0.03) for i in range(3)]
    assert findings(comparison(BASE, *some))[0].startswith("On the CVR task, no method can be told apart from BASE.")
    assert findings(comparison(BASE, some[0]))[0] == "On the CVR task, M0 leads BASE by 2.00 AUC points."


def test_without_a_test_over_users_the_test_over_seeds_decides() -> None:
    found = findings(comparison(BASE, other("ESMM", 0.02, 0.02, p_users=None)))
    assert found[0] == "On the CVR task, ESMM leads BASE by 2.00 AUC points."


def test_all_lose_to_base() -> None:
    found = findings(comparison(BASE, other("AMAN", -0.01, -0.01), other("ESMM", -0.02, -0.02)))
    assert found[1] == (
        "On the CTCVR task, BASE is better than every other method, in AUC points: ESMM (-2.00) and AMAN (-1.00)."
    )
    assert "For bids use BASE," in found[2]
    assert findings(comparison(BASE, other("ESMM", -0.02, -0.02)))[0] == (
        "On the CVR task, ESMM is worse than BASE by 2.00 AUC points."
    )


def test_one_method() -> None:
    found = findings(comparison(line("ESMM", metrics(0.7), metrics(0.6))))
    assert found[0] == "On the CVR task, ESMM has an AUC of 70.00 %; no other method was compared with it."
    assert found[2].startswith("For bids use ESMM, whose pCTCVR is within 1 % of what was observed")


def test_one_seed_is_not_a_test() -> None:
    base = line("BASE", metrics(0.70, n=1), metrics(0.60, n=1), n=1)
    esmm = other("ESMM", 0.02, -0.02, n=1, p_holm=None, p_users=0.5)
    found = findings(comparison(base, esmm, seeds=1))
    untested = "one seed was trained, so whether another training gives the same order was not tested."
    assert found[0] == f"On the CVR task, ESMM has the highest AUC, 72.00 %, and BASE has 70.00 %; {untested}"
    assert found[1] == f"On the CTCVR task, BASE has the highest AUC, 60.00 %; {untested}"


def test_the_same_difference_for_every_seed_is_not_a_test() -> None:
    same = Undefined("the difference is the same for every seed")
    test = against(0.0, p_holm=None).model_copy(update={"seeds": Paired(0.0, 0.0, same, same, 3)})
    tie = line("OVERSAMPLING", metrics(0.70), metrics(0.60), {"BASE": (test, test)})
    assert findings(comparison(BASE, tie))[0].startswith(
        "On the CVR task, BASE and OVERSAMPLING have the highest AUC, 70.00 %; no difference could be tested over "
        "seeds: the difference is the same for every seed"
    )


def test_without_base_esmm_is_the_reference() -> None:
    esmm = line("ESMM", metrics(0.7), metrics(0.6))
    tests = {"ESMM": (against(-0.01), against(-0.01))}
    worse = line("AMAN", metrics(0.69), metrics(0.59), tests)
    assert findings(comparison(esmm, worse))[0] == "On the CVR task, AMAN is worse than ESMM by 1.00 AUC points."


def test_without_base_and_esmm_nothing_was_tested() -> None:
    two = line("AMAN", metrics(0.7), metrics(0.6)), line("UNBIAS", metrics(0.6), metrics(0.6))
    found = findings(comparison(*two))
    assert found[0] == (
        "On the CVR task, AMAN has the highest AUC, 70.00 %; no difference was tested, because neither BASE nor ESMM "
        "was compared."
    )
    assert found[1].startswith("On the CTCVR task, AMAN and UNBIAS have the highest AUC, 60.00 %;")


def test_without_conversions_nothing_is_claimed() -> None:
    none = metrics(NO_POSITIVES, NO_POSITIVES, (0.5, NO_POSITIVES))
    untested = against(0.0).model_copy(update={"seeds": Undefined("an AUC is undefined"), "p_holm": None})
    found = findings(comparison(line("BASE", none, none), line("ESMM", none, none, {"BASE": (untested, untested)})))
    assert found[0] == "On the CVR task, no method has an AUC: no positives among 500 impressions."
    assert found[2] == (
        "For bids no method can be named, because no probability can be checked: no positives among 500 impressions."
    )


def test_a_task_that_was_not_measured() -> None:
    without = BASE.model_copy(update={"tasks": {}})
    found = findings(comparison(without))
    assert found[0] == "On the CVR task, no method has an AUC: it was not measured."
    assert found[2].startswith("For bids no method can be named")


def test_bids_use_a_leader_whose_probabilities_are_right() -> None:
    tests = {"BASE": (against(0.01), against(0.01))}
    better = line("ESMM", metrics(0.7), metrics(0.6, 1.034, (0.9, 1.2), 0.31), tests)
    off = line("AMAN", metrics(0.7), metrics(0.6, 0.2, (0.1, 0.3), 0.29), tests)
    found = findings(comparison(BASE, off, better))
    assert found[2] == (
        "For bids use ESMM, whose pCTCVR is within 5 % of what was observed (predicted/observed 1.03, 95 % interval "
        "0.90 to 1.20). AMAN has a lower log loss, but its pCTCVR is 0.20 times what was observed: it needs "
        "calibration first."
    )


def test_bids_use_the_methods_own_pctcvr() -> None:
    esmm = line("ESMM", metrics(0.7), metrics(0.6, 2.0, (1.9, 2.1)))
    own = metrics(0.6, 1.0, (0.9, 1.1))
    found = findings(comparison(esmm.model_copy(update={"tasks": {**esmm.tasks, "ctcvr_own": own}})))
    assert found[2].startswith("For bids use ESMM")


def test_bids_without_right_probabilities_need_calibration() -> None:
    high = line("BASE", metrics(0.7), metrics(0.6, 1.4, (1.2, 1.6)))
    higher = line("ESMM", metrics(0.7), metrics(0.6, 2.4, (2.2, 2.6)), {"BASE": (against(0), against(0, 0.9, 0.9))})
    assert findings(comparison(high, higher))[2] == (
        "For bids no method's probabilities are right: of the methods whose log loss no test over seeds finds worse, "
        "the nearest are those of BASE, whose pCTCVR is 1.40 times what was observed. Calibrate before bidding."
    )


def unsure(label: str, *ctcvr, cvr=None, n: int = 3):
    """A method that cannot be told apart from BASE by its AUC."""
    test = against(0, 0.9, 0.9, n=n)
    return line(label, cvr or metrics(0.7, n=n), metrics(0.6, *ctcvr, n=n), {"BASE": (test, test)}, n=n)


def test_the_nearest_are_not_those_of_a_method_with_a_worse_log_loss() -> None:
    good, near = unsure("ESMM", 2.4, (2.2, 2.6), 0.30), unsure("AMAN", 1.3, (1.2, 1.4), 0.50)
    base = line("BASE", metrics(0.7), metrics(0.6, 1.2, (1.15, 1.25), 0.40))
    assert (
        "finds worse, the nearest are those of ESMM, whose pCTCVR is 2.40" in findings(comparison(base, good, near))[2]
    )
    close = unsure("AMAN", 1.3, (1.2, 1.4), 0.305)  # 0.005 more, with a standard deviation of 0.01
    assert "the nearest are those of AMAN, whose pCTCVR is 1.30" in findings(comparison(base, good, close))[2]


def test_without_a_test_the_lowest_log_loss_is_named() -> None:
    base = line("BASE", metrics(0.7, n=1), metrics(0.6, 1.2, (1.15, 1.25), 0.40, n=1), n=1)
    found = findings(comparison(base, unsure("ESMM", 2.4, (2.2, 2.6), 0.30, n=1), seeds=1))
    assert "probabilities are right: the lowest log loss is that of ESMM, whose pCTCVR is 2.40" in found[2]


def test_a_pcvr_above_1_is_not_for_bids() -> None:
    above = metrics(0.7).model_copy(update={"log_loss": Undefined("12 of 500 predictions exceed 1")})
    division = unsure("DIVISION", 1.0, (0.9, 1.1), 0.25, cvr=above)
    assert findings(comparison(BASE, division))[2].startswith("For bids use BASE,")
    alone = division.model_copy(update={"against": {}})
    assert findings(comparison(alone))[2].startswith("For bids use DIVISION,"), "there is no other"


def test_errors_of_seeds_do_not_cancel() -> None:
    esmm = line("ESMM", metrics(0.7), metrics(0.6))
    unsteady = esmm.tasks["ctcvr"].model_copy(update={"pcoc": Spread(mean=1.0, std=0.5, n=3)})
    found = findings(comparison(esmm.model_copy(update={"tasks": {"cvr": esmm.tasks["cvr"], "ctcvr": unsteady}})))
    assert found[2] == (
        "For bids no method's probabilities are right: the nearest are those of ESMM, whose pCTCVR is 1.00±0.50 times "
        "what was observed. Calibrate before bidding."
    )


def test_what_the_findings_say_stands_in_the_tables() -> None:
    tests = {"BASE": (against(0.02, p_users=0.012), against(0.02, p_users=0.012))}
    esmm, aman = line("ESMM", metrics(0.72), metrics(0.62), tests), line("AMAN", metrics(0.72), metrics(0.62), tests)
    own = metrics(0.6, 1.0234, (0.9, 1.1), log_loss=0.29)
    esmm = esmm.model_copy(update={"tasks": {**esmm.tasks, "ctcvr_own": own}})
    report = text(comparison(BASE, esmm, aman))
    assert "predicted/observed 1.02, 95 % interval 0.90 to 1.10" in report
    assert "p 0.012, Holm 0.024" in report
    _, _, bids = report.partition("pCTCVR for bids\n")
    assert "1.023" in next(row for row in bids.splitlines() if row.startswith(" ESMM"))
    assert "pCTCVR for bids" not in text(comparison(BASE, aman))


def test_a_loss_that_is_infinite_is_never_the_lowest() -> None:
    infinite = line("BASE", metrics(0.7), metrics(0.6, log_loss=math.inf))
    esmm = line("ESMM", metrics(0.7), metrics(0.6), {"BASE": (against(0, 0.9, 0.9), against(0, 0.9, 0.9))})
    assert findings(comparison(infinite, esmm))[2].startswith("For bids use ESMM")


def test_the_truth_is_named_where_the_log_gives_it() -> None:
    known = line("ESMM", metrics(0.7), metrics(0.6), truth={"clicked": 1.02, "un-clicked": 1.4, "all": 1.3})
    assert findings(comparison(known))[2].endswith(
        "Its mean pCVR is 1.02 times the true pCVR on clicked and 1.40 times the true pCVR on un-clicked impressions."
    )


def test_the_line_to_beat_is_said_beside_the_reference() -> None:
    def with_both(label: str, cvr: float, ctcvr: float, rival: float, **tests):
        found = other(label, cvr, ctcvr, **tests)
        return found.model_copy(
            update={"against": {**found.against, "RATES": dict.fromkeys(("cvr", "ctcvr"), against(rival, **tests))}}
        )

    base = BASE.model_copy(update={"against": {"RATES": dict.fromkeys(("cvr", "ctcvr"), against(-0.01))}})
    rates = other("RATES", 0.01, 0.01)
    found = findings(comparison(base, with_both("ESMM", 0.02, 0.02, 0.005), rates))
    assert found[0] == "On the CVR task, ESMM and RATES lead BASE by 1.00 to 2.00 AUC points."
    assert found[3] == (
        "The line to beat is RATES, logistic regression on the rates of the history. "
        "On the CVR task, ESMM leads RATES by 0.50 AUC points; BASE is worse by 1.00 AUC points. "
        "On the CTCVR task, ESMM leads RATES by 0.50 AUC points; BASE is worse by 1.00 AUC points."
    )
    assert len(findings(comparison(BASE, other("ESMM", 0.02, 0.02)))) == 3, "without it nothing is said of it"
    one = [line(m.label, metrics(0.7, n=1), metrics(0.7, n=1), n=1) for m in (base, rates)]
    assert "On the CVR task, one seed was trained" in findings(comparison(*one))[3]
