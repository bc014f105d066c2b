"""The comparison of two legs: its tests are scipy's, its verdict may be looked at at any time."""

import math
import random
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from app.core.drift.distances import chi2_p, js, known, psi
from app.core.measures.paired import Differences, PairedReading, Shared
from app.core.outputs.comparisons import quantities
from app.core.scores.comparison import always_valid, by_class, compare, mcnemar, sentence

counts = st.integers(0, 400)


def a_reading(both: int = 0, first: int = 0, second: int = 0, neither: int = 0) -> PairedReading:
    shared = Shared(both, first, second, neither)
    return PairedReading({"1": shared}, shared, both + neither, first + second)


@given(counts, counts)
def test_mcnemar_is_exact_below_25_and_corrected_above(first: int, second: int) -> None:
    rows = first + second
    if rows == 0:
        expected = 1.0
    elif rows < 25:
        expected = stats.binomtest(first, rows).pvalue
    else:
        expected = stats.chi2.sf(max(0, abs(first - second) - 1) ** 2 / rows, 1)
    assert math.isclose(mcnemar(first, second), expected, rel_tol=1e-9)


@given(st.dictionaries(st.sampled_from("abcd"), st.tuples(counts, counts).filter(any), min_size=1))
def test_what_both_answer_is_told_apart_by_the_measures_of_drift(named: dict[str, tuple[int, int]]) -> None:
    rows = [*map(sum, zip(*named.values(), strict=True))]
    more = max(rows) - rows[1], max(rows) - rows[0]  # both have answered all rows
    named = {**named, "e": (more[1], more[0])} if any(more) else named
    found = quantities(compare(PairedReading({}, Shared(), 0, 0, named=named), 1))
    first, second = zip(*named.values(), strict=True)
    assert found["prediction_rows"] == sum(second)
    for name, measure in (("psi", psi), ("js", js), ("chi2_p", chi2_p)):
        expected = known(measure(first, second))
        about = None if expected is None else pytest.approx(expected, rel=1e-9, abs=1e-12)
        assert found[f"prediction_{name}"] == about


@given(st.dictionaries(st.integers(0, 9), st.tuples(counts, counts), min_size=1))
def test_probabilities_are_told_apart_by_the_distance_of_their_distribution_functions(
    scores: dict[int, tuple[int, int]],
) -> None:
    first, second = ([bin_ for bin_, rows in sorted(scores.items()) for _ in range(rows[at])] for at in (0, 1))
    found = quantities(compare(PairedReading({}, Shared(), 0, 0, scores=scores), 1))
    assert found["score_rows"] == len(first)
    if not first or not second:
        assert (found["score_ks"], found["score_ks_p"]) == (None, None)
        return
    expected = stats.ks_2samp(first, second, method="asymp")
    assert found["score_ks"] == pytest.approx(expected.statistic, abs=1e-12)
    size = math.sqrt(len(first) * len(second) / (len(first) + len(second)))
    assert found["score_ks_p"] == pytest.approx(stats.kstwobign.sf(size * expected.statistic), abs=1e-12)


def test_legs_of_which_none_names_a_class_are_not_told_apart_so() -> None:
    found = quantities(compare(a_reading(1), 1))
    assert not [name for name in found if name.startswith(("prediction", "score"))]


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [(4, 2, 0.6875), (17, 4, 0.0072), (121, 59, 5.4e-6)],
)
def test_mcnemar_of_known_tables(first: int, second: int, expected: float) -> None:
    assert mcnemar(first, second) == pytest.approx(expected, rel=0.02)


@given(counts, counts, counts, counts)
def test_the_interval_is_that_of_paired_proportions(both: int, first: int, second: int, neither: int) -> None:
    found = compare(a_reading(both, first, second, neither), 1)
    rows = both + first + second + neither
    assert found.samples == rows
    if not rows:
        assert (found.difference, found.low, found.p_value, found.verdict) == (None, None, None, "not enough")
        return
    differences = np.repeat([0, -1, 1], [both + neither, first, second])
    spread = 1.959963984540054 * differences.std() / math.sqrt(rows)
    assert found.difference is not None
    assert found.low is not None
    assert found.high is not None
    assert found.difference == pytest.approx(differences.mean(), abs=1e-12)
    assert found.low == pytest.approx(differences.mean() - spread, abs=1e-9)
    assert found.high == pytest.approx(differences.mean() + spread, abs=1e-9)
    assert found.agreement == pytest.approx((both + neither) / rows)


def measured(differences: list[float]) -> PairedReading:
    return PairedReading(
        {}, Shared(), 0, 0, len(differences), float(np.mean(differences)), float(np.var(differences, ddof=1))
    )


@given(st.lists(st.floats(-100, 100), min_size=3, max_size=200).filter(lambda values: np.std(values) > 1e-3))
def test_errors_are_compared_by_the_paired_t_test(differences: list[float]) -> None:
    found = compare(measured(differences), 1)
    expected = stats.ttest_1samp(differences, 0.0)
    interval = expected.confidence_interval(0.95)
    assert found.measures
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert [found.low, found.high] == pytest.approx([interval.low, interval.high], abs=1e-6)


@given(st.lists(st.floats(-2, 2), min_size=3, max_size=200).filter(lambda values: np.std(values) > 1e-3))
def test_brier_scores_are_compared_beside_the_classes(differences: list[float]) -> None:
    of_brier = Differences(len(differences), float(np.mean(differences)), float(np.var(differences, ddof=1)))
    found = compare(a_reading(90, 6, 4)._replace(brier=of_brier), 1)
    expected = stats.ttest_1samp(differences, 0.0)
    assert not found.measures
    assert found.brier is not None
    assert found.brier.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    said = quantities(found)
    assert said["accuracy_difference"] == pytest.approx(-0.02)
    assert said["brier_samples"] == len(differences)
    assert said["brier_difference"] == pytest.approx(np.mean(differences))
    interval = expected.confidence_interval(0.95)
    ends = said["brier_difference_low"], said["brier_difference_high"]
    assert ends == pytest.approx((interval.low, interval.high), abs=1e-6)
    assert "brier_difference" not in quantities(compare(a_reading(90, 6, 4), 1))


def verdicts(streams: int, better: float, worse: float, rows: int = 2000, every: int = 50) -> Counter[str]:
    """The first verdict of streams of rows that only one has right with such chances, looked at after every so many."""
    found: Counter[str] = Counter()
    for number in range(streams):
        rng = random.Random(number)
        first = second = 0
        verdict = "no difference"
        for row in range(1, rows + 1):
            chance = rng.random()
            second += chance < better
            first += better <= chance < better + worse
            if row % every == 0:
                verdict = compare(a_reading(row - first - second, first, second), 100).verdict
                assert (verdict == "not enough") == (row < 100)
                if verdict in ("better", "worse"):
                    break
        found[verdict] += 1
    return found


def test_two_equal_legs_are_hardly_ever_told_apart_however_often_one_looks() -> None:
    found = verdicts(1000, 0.1, 0.1)
    print(found)
    assert found["better"] <= 25
    assert found["worse"] <= 25


def test_a_leg_that_is_better_by_five_points_is_found() -> None:
    """At one look at the end the test has 99 % power; looked at all the time at least 90 %."""
    found = verdicts(200, 0.125, 0.075)
    print(found)
    assert found["better"] >= 180
    assert not found["worse"]


def test_one_look_too_many_would_mislead() -> None:
    """What the p-value for one look would do: that is why the verdict does not go by it."""
    misled = 0
    for number in range(200):
        rng = random.Random(number)
        first = second = 0
        for row in range(1, 2001):
            chance = rng.random()
            second += chance < 0.1
            first += 0.1 <= chance < 0.2
            if row % 50 == 0 and row >= 100 and mcnemar(first, second) < 0.05:
                misled += 1
                break
    assert misled > 20


@given(counts, counts)
def test_evidence_is_the_same_either_way(first: int, second: int) -> None:
    assert always_valid(first, second) == always_valid(second, first)
    assert always_valid(first, first) == 1.0


@pytest.mark.parametrize(
    ("reading", "said"),
    [
        (a_reading(10, 1, 1), "not enough shared labels (12, need 100)"),
        (
            a_reading(1700, 20, 92),
            "shadow is better (accuracy +4.0 points, 95 % interval 2.2 to 5.7, p = 1.6e-10, n = 1,812)",
        ),
        (
            a_reading(1700, 92, 20),
            "shadow is worse (accuracy -4.0 points, 95 % interval -5.7 to -2.2, p = 1.6e-10, n = 1,812)",
        ),
        (
            a_reading(950, 25, 25),
            "no difference shown (a difference of 2.7 points would have been found with 80 % power, n = 1,000)",
        ),
        (
            a_reading(200),
            "no difference shown (a difference of 1.5 points would have been found with 80 % power, n = 200)",
        ),
    ],
)
def test_what_it_says(reading: PairedReading, said: str) -> None:
    assert sentence(compare(reading, 100), "shadow", 100) == said


def test_a_leg_that_comes_closer_is_better() -> None:
    rng = np.random.default_rng(1)
    found = compare(measured([*rng.normal(-0.5, 1, 400)]), 100)
    assert found.verdict == "better"
    assert sentence(found, "ridge", 100).startswith("ridge is better (mean error -0.582, 95 % interval -0.")
    assert compare(measured([*rng.normal(0.5, 1, 400)]), 100).verdict == "worse"
    assert compare(measured([0.0] * 400), 100).verdict == "no difference"


def test_each_class_has_its_own() -> None:
    reading = PairedReading(
        {"cat": Shared(50, 100, 10, 5), "dog": Shared(50, 10, 100, 5)}, Shared(100, 110, 110, 10), 210, 120
    )
    assert {name: one.verdict for name, one in by_class(reading, 100).items()} == {"cat": "worse", "dog": "better"}


@given(counts, counts, counts)
def test_the_interval_that_may_be_looked_at_always_goes_with_the_verdict(both: int, first: int, second: int) -> None:
    """But where the evidence is nearly that which is needed."""
    found = compare(a_reading(both + 100, first, second), 100)
    assert found.low_always is not None
    assert found.high_always is not None
    assert found.p_value_always is not None
    if not 0.02 < found.p_value_always < 0.12:
        assert (found.low_always > 0 or found.high_always < 0) == (found.verdict in ("better", "worse"))


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_a_difference_of_the_size_that_is_said_is_found_in_most_cases(share: float) -> None:
    rows = 1000
    size = compare(a_reading(rows - 2 * int(share * rows / 2), int(share * rows / 2), int(share * rows / 2)), 100)
    assert size.detectable is not None
    better, worse = (share + size.detectable) / 2, (share - size.detectable) / 2
    found = verdicts(400, better, worse, rows=rows, every=rows)
    print(found)
    assert 280 <= found["better"] <= 370  # 80 of 100 cases are 320
