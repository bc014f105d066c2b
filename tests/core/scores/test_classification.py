"""Scores are scikit-learn's, with `zero_division=nan`, over the classes that occur; undefined is None, never 0."""

import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    cohen_kappa_score,
    f1_score,
    matthews_corrcoef,
    precision_score,
    recall_score,
)

from app.core.measures.reading import Reading
from app.core.rules import Rules
from app.core.scores.catalogue import scores_of
from app.core.scores.regression import REGRESSION
from app.core.scores.score import Score, wilson
from tests.builders import Tally
from tests.builders import a_reading as reading_of

CLASSES = ("0", "1", "2", "3", "cat")
OF_REGRESSION = {formula.name for formula in REGRESSION}
METRICS = {"precision": precision_score, "recall": recall_score, "f1": f1_score}

few = settings(max_examples=40)  # scikit-learn takes some ms a score
pairs = st.lists(st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=30)
binary_pairs = st.lists(st.tuples(st.sampled_from("01"), st.sampled_from("01")), min_size=1, max_size=30)


def judged(rows: list[tuple[str, str]], more: Tally | None = None) -> Tally:
    """The tally of rows (actual, predicted)."""
    return {**Counter((f"confusion={actual}", predicted) for actual, predicted in rows), **(more or {})}


def scores(reading: Reading) -> dict[tuple[str, str], Score]:
    return {(score.name, score.of_class): score for score in scores_of(reading)}


def same(value: float | None, expected: Any) -> bool:
    return value is None if math.isnan(expected) else value is not None and math.isclose(value, expected, abs_tol=1e-12)


@given(pairs)
@few
def test_multiclass_scores_are_those_of_scikit_learn(rows: list[tuple[str, str]]) -> None:
    """Classes that are known but do not occur change nothing."""
    actual, predicted = zip(*rows, strict=True)
    known = {("confusion/classes", '["0","1","2","3","4"]'): 1}
    found = scores(reading_of(judged(rows, known), Rules(task="multiclass")))
    assert same(found["accuracy", ""].value, accuracy_score(actual, predicted))
    occurring = sorted({*actual, *predicted})
    supports = [actual.count(of_class) for of_class in occurring]
    for name, metric in METRICS.items():
        by_class = metric(actual, predicted, labels=occurring, average=None, zero_division=np.nan)
        for of_class, expected in zip(occurring, by_class, strict=True):
            assert same(found[name, of_class].value, expected), (name, of_class)
        for average in ("macro", "weighted", "micro"):
            expected = metric(actual, predicted, average=average, zero_division=np.nan)
            if average == "weighted" and all(
                np.isnan(value) for value, rows in zip(by_class, supports, strict=True) if rows
            ):
                expected = math.nan  # scikit-learn takes the mean of the classes without rows
            assert same(found[f"{name}_{average}", ""].value, expected), (name, average)
    assert {of_class for name, of_class in found if name == "f1"} == set(occurring)


@given(pairs, st.booleans())
@few
@pytest.mark.filterwarnings("ignore")  # of scikit-learn, where a score is undefined
def test_scores_of_all_classes_together_are_those_of_scikit_learn(rows: list[tuple[str, str]], binary: bool) -> None:
    """But where it gives 0 for what is undefined."""
    if binary:
        rows = [("01"[one in CLASSES[:2]], "01"[other in CLASSES[:2]]) for one, other in rows]
    actual, predicted = zip(*rows, strict=True)
    found = scores(reading_of(judged(rows), Rules(task="binary" if binary else "multiclass")))
    assert same(found["balanced_accuracy", ""].value, balanced_accuracy_score(actual, predicted))
    defined = len({*actual}) > 1 and len({*predicted}) > 1
    assert same(found["mcc", ""].value, matthews_corrcoef(actual, predicted) if defined else math.nan)
    if not binary:
        assert same(found["kappa", ""].value, cohen_kappa_score(actual, predicted))


@given(pairs)
@few
def test_specificity_is_the_recall_of_the_rest(rows: list[tuple[str, str]]) -> None:
    found = scores(reading_of(judged(rows), Rules(task="multiclass")))
    values = []
    for of_class in {name for row in rows for name in row}:
        rest = [[name != of_class for name in side] for side in zip(*rows, strict=True)]
        expected = recall_score(*rest, zero_division=np.nan)
        assert same(found["specificity", of_class].value, expected)
        assert same(found["npv", of_class].value, precision_score(*rest, zero_division=np.nan))
        values.append(expected)
    assert same(found["specificity_macro", ""].value, np.nanmean(values) if not np.isnan(values).all() else math.nan)


@given(binary_pairs, st.sampled_from("01"))
@few
def test_binary_scores_are_those_of_the_positive_class(rows: list[tuple[str, str]], positive: str) -> None:
    actual, predicted = zip(*rows, strict=True)
    found = scores(reading_of(judged(rows), Rules(task="binary", positive=positive)))
    assert {of_class for _, of_class in found} == {""}
    assert same(found["accuracy", ""].value, accuracy_score(actual, predicted))
    for name, metric in METRICS.items():
        expected = metric(
            [name == positive for name in actual], [name == positive for name in predicted], zero_division=np.nan
        )
        assert same(found[name, ""].value, expected), name
    rest = [[name != positive for name in side] for side in (actual, predicted)]
    assert same(found["specificity", ""].value, recall_score(*rest, zero_division=np.nan))
    assert same(found["npv", ""].value, precision_score(*rest, zero_division=np.nan))


@given(pairs, st.integers(1, 5))
@few
def test_macro_scores_are_over_all_classes_even_those_exported_as_other(
    rows: list[tuple[str, str]], most_classes: int
) -> None:
    actual, predicted = zip(*rows, strict=True)
    found = scores(reading_of(judged(rows), Rules(task="multiclass"), most_classes))
    assert same(found["accuracy", ""].value, accuracy_score(actual, predicted))
    for name, metric in METRICS.items():
        expected = metric(actual, predicted, average="macro", zero_division=np.nan)
        assert same(found[f"{name}_macro", ""].value, expected), name


@given(pairs)
def test_every_score_stands_beside_the_rows_that_it_rests_on(rows: list[tuple[str, str]]) -> None:
    found = scores(reading_of(judged(rows), Rules(task="multiclass")))
    actual, predicted = Counter(row[0] for row in rows), Counter(row[1] for row in rows)
    for of_class in {*actual, *predicted}:
        assert found["precision", of_class].samples == predicted[of_class]
        assert found["recall", of_class].samples == actual[of_class]
        assert found["specificity", of_class].samples == len(rows) - actual[of_class]
        assert found["f1", of_class].samples == len(rows)
    for name in ("accuracy", "precision_macro", "recall_macro", "specificity_macro", "f1_macro"):
        assert found[name, ""].samples == len(rows)


@pytest.mark.parametrize(
    ("tally", "task", "undefined"),
    [
        ({}, "unknown", {"reward_mean", "coverage"}),
        (
            {("confusion/unlabelled", "1"): 3},
            "binary",
            {"reward_mean", "accuracy", "precision", "recall", "specificity", "f1", "npv", "balanced_accuracy", "mcc"},
        ),
        ({("confusion=0", "0"): 3}, "binary", {"reward_mean", "precision", "recall", "f1", "mcc"}),
        ({("confusion=1", "1"): 3}, "binary", {"reward_mean", "specificity", "npv", "mcc"}),
        ({("confusion=0", "1"): 3}, "binary", {"reward_mean", "recall", "npv", "mcc"}),
        ({("confusion=1", "0"): 3}, "binary", {"reward_mean", "precision", "specificity", "mcc"}),
        ({("confusion", "measured"): 3}, "regression", {"reward_mean", *OF_REGRESSION}),
    ],
)
def test_what_is_undefined_is_none(tally: Tally, task: str, undefined: set[str]) -> None:
    reading = reading_of(tally)
    assert reading.nature.task == task
    assert {score.name for score in scores_of(reading) if score.value is None} == undefined
    assert all(score.samples == 0 or score.name in ("f1", "mcc") for score in scores_of(reading) if score.value is None)


@given(st.integers(1, 2000), st.floats(0, 1))
def test_the_interval_of_a_share_is_that_of_wilson(rows: int, share: float) -> None:
    right = round(share * rows)
    expected = stats.binomtest(right, rows).proportion_ci(method="wilson")
    assert wilson(right / rows, rows) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_accuracy_is_never_per_class() -> None:
    found = scores(reading_of(judged([("0", "1"), ("2", "2")])))
    assert [of_class for name, of_class in found if name == "accuracy"] == [""]


def test_the_mean_reward_and_the_coverage_of_labels() -> None:
    found = scores(
        reading_of(
            {
                ("rewards", "count"): 4, ("rewards", "points"): -500_000_000,
                ("confusion=1", "1"): 2, ("confusion=1", "0"): 1,
                ("confusion/unlabelled", "1"): 5, ("confusion", "failed"): 9,
            }
        )
    )  # fmt: skip
    assert (found["reward_mean", ""].value, found["reward_mean", ""].samples) == (-0.125, 4)
    assert (found["coverage", ""].value, found["coverage", ""].samples) == (3 / 8, 8)


def test_a_regression_has_no_scores_of_classes() -> None:
    tally = {
        ("confusion", "measured"): 3, ("confusion", "unmeasured"): 1,
        ("confusion=1", "1"): 1, ("confusion/unlabelled", "2"): 3,
    }  # fmt: skip
    found = scores(reading_of(tally))
    assert {name for name, _ in found} == {"reward_mean", "coverage", *OF_REGRESSION}
    assert (found["coverage", ""].value, found["coverage", ""].samples) == (0.5, 8)
