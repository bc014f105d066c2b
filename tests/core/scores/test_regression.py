"""Scores of regression are scikit-learn's; sums are exact, so order, merge and retraction leave no trace."""

import math
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error, mean_absolute_percentage_error, mean_squared_error, r2_score

from app.core.measures.errors import Errors, merged, sums_of
from app.core.rules import Rules
from app.core.scores.catalogue import SCORES, scores_of
from app.core.scores.score import Score
from tests.builders import MODEL, Ledger, Record, a_feedback, a_response, tell

IN_UNITS: Final = {formula.name for formula in SCORES if formula.in_units}
DECLARED: Final = Rules(task="regression")
numbers = st.floats(-1e6, 1e6).filter(lambda value: not value or abs(value) > 1e-6) | st.integers(-1000, 1000)
pairs = st.lists(st.tuples(numbers, numbers), min_size=1, max_size=30)
few = settings(max_examples=40)


def story(rows: list[tuple[Any, Any]]) -> list[Record]:
    """Predictions with their labels, each an exchange of its own."""
    answers = [a_response(prediction, puid=f"p{index}", at=index) for index, (prediction, _) in enumerate(rows)]
    return [*answers, *(a_feedback(label, puid=f"p{index}", at=60 + index) for index, (_, label) in enumerate(rows))]


def scores(ledger: Ledger) -> dict[str, Score]:
    return {score.name: score for score in scores_of(ledger.models()[MODEL].reading)}


def of_rows(rows: list[tuple[Any, Any]], rules: Rules = DECLARED) -> dict[str, Score]:
    return scores(Ledger(rules).absorb(*story(rows)).cut())


def close(value: float | None, expected: float, scale: float = 1.0) -> bool:
    return value is not None and math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-9 * scale)


@given(pairs)
@few
def test_they_are_those_of_scikit_learn(rows: list[tuple[float, float]]) -> None:
    found = of_rows(rows)
    predicted, actual = (np.array(side, dtype=float) for side in zip(*rows, strict=True))
    scale = float(max(1.0, np.abs(predicted).max(), np.abs(actual).max()))
    assert close(found["mae"].value, mean_absolute_error(actual, predicted), scale)
    assert close(found["mse"].value, mean_squared_error(actual, predicted), scale**2)
    assert close(found["bias"].value, float(np.mean(predicted - actual)), scale)
    if (actual == 0).any():
        assert found["mape"].value is None
    else:
        assert close(found["mape"].value, mean_absolute_percentage_error(actual, predicted))
    if len({*actual}) == 1:
        assert found["r2"].value is None
    elif np.var(actual) > 1e-6 * scale**2:
        assert close(found["r2"].value, r2_score(actual, predicted, force_finite=False), scale)
    assert {found[name].samples for name in (*IN_UNITS, "mape", "r2")} == {len(rows)}


@given(pairs)
@few
def test_quantiles_are_within_a_64th(rows: list[tuple[float, float]]) -> None:
    found = of_rows(rows)
    sizes = sorted(abs(prediction - label) for prediction, label in rows)
    for name, percent in (("error_p50", 50), ("error_p90", 90), ("error_p99", 99), ("max_error", 100)):
        expected = sizes[max(0, math.ceil(percent * len(sizes) / 100) - 1)]
        value = found[name].value
        assert value is not None
        assert math.isclose(value, expected, rel_tol=1 / 64, abs_tol=1e-15), name


@given(pairs, st.randoms(use_true_random=False))
def test_sums_are_the_same_in_any_order_and_merged_of_any_parts(rows: list[tuple[float, float]], rng: Any) -> None:
    whole = sums_of((*row, 1) for row in rows)
    shuffled = rng.sample(rows, len(rows))
    assert sums_of((*row, 1) for row in shuffled) == whole
    cut = rng.randrange(len(rows) + 1)
    parts = [sums_of((*row, 1) for row in part) for part in (shuffled[:cut], shuffled[cut:])]
    assert merged(*parts) == merged(whole, Errors()) == whole


@given(pairs)
@settings(max_examples=15)
def test_a_story_may_come_in_any_way(rows: list[tuple[float, float]]) -> None:
    tell(*story(rows), rules=[DECLARED])


@given(pairs, numbers, numbers)
@few
def test_a_correction_leaves_what_would_be_without_it(
    rows: list[tuple[float, float]], wrong: float, answer: float
) -> None:
    """Of the label, and of the answer."""
    ledger = Ledger(DECLARED).absorb(*story(rows)).cut()
    assert ledger.absorb(a_feedback(wrong, puid="p0", at=500)).cut().restart()
    ledger.absorb(a_response(answer, puid="p0", at=400)).cut()
    ledger.absorb(a_response(rows[0][0], puid="p0", at=600), a_feedback(rows[0][1], puid="p0", at=600)).cut()
    assert scores(ledger) == of_rows(rows)


@pytest.mark.parametrize("rules", [DECLARED, Rules()], ids=["declared", "found out"])
def test_whole_numbers_among_others_count_like_them(rules: Rules) -> None:
    rows = [(2.5, 3), (4, 2), (-3, -1), (1.25, 1.5), (7.5, 5)]
    found = of_rows(rows, rules)
    assert found["mae"].value == (0.5 + 2 + 2 + 0.25 + 2.5) / 5
    assert found["bias"].value == (-0.5 + 2 - 2 - 0.25 + 2.5) / 5
    assert found["mae"].samples == 5


def test_rows_of_a_batch_count_each() -> None:
    ledger = Ledger(DECLARED).absorb(a_response(1.5, 2.5, 3.5), a_feedback([1, None, 4])).cut()
    found = scores(ledger)
    assert (found["mae"].value, found["mae"].samples) == (0.5, 2)


@pytest.mark.parametrize(
    ("rows", "undefined"),
    [
        ([(1.5, 2.5)], {"r2"}),
        ([(1.5, 2), (2.5, 2)], {"r2"}),
        ([(0.5, 0), (2.5, 2)], {"mape"}),
        ([(0.5, 0), (2.5, 0)], {"mape", "r2"}),
    ],
)
def test_what_is_undefined_is_none(rows: list[tuple[Any, Any]], undefined: set[str]) -> None:
    found = of_rows(rows)
    assert {name for name, score in found.items() if score.value is None and score.samples} == undefined


def test_a_model_without_labels_has_no_errors_yet() -> None:
    found = scores(Ledger(DECLARED).absorb(a_response(1.5)).cut())
    assert {(found[name].value, found[name].samples) for name in (*IN_UNITS, "mape", "r2")} == {(None, 0)}


def test_a_classification_has_none() -> None:
    found = of_rows([(1, 1), (0, 1)], Rules())
    assert not IN_UNITS & found.keys()
