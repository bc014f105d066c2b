"""Scores that are means over rows, and their intervals."""

import numpy as np
import pytest
from scipy import stats

from app.core.scores.catalogue import SHARES, score_of, scores_of
from app.core.scores.intervals import Moments, interval_of, moments_of
from app.core.scores.score import wilson
from tests.builders import Ledger, a_feedback, a_response


def test_a_share_is_the_mean_of_its_rows_and_has_the_interval_of_the_documents() -> None:
    ledger = Ledger()
    for at, (said, right) in enumerate([(1, 1), (1, 0), (0, 0), (0, 0)]):
        ledger.absorb(a_response(said, puid=str(at)), a_feedback(right, puid=str(at)))
    (read,) = ledger.cut().models().values()
    shares = [score for score in scores_of(read.reading) if score.name in SHARES]
    assert {"accuracy", "recall", "coverage"} <= {score.name for score in shares}
    for score in shares:
        moments = moments_of(score, read.reading)
        assert moments is not None
        assert (moments.mean, moments.rows) == (score.value, score.samples)
        assert interval_of(moments) == wilson(score.value or 0.0, score.samples)


@pytest.mark.parametrize("name", ["mae", "bias"])
def test_a_mean_error_has_students_interval(name: str) -> None:
    errors = np.array([0.5, -1.5, 2.25, 0.125, -0.75])
    ledger = Ledger()
    for at, error in enumerate(errors):
        ledger.absorb(a_response(10.5 + float(error), puid=str(at)), a_feedback(10.5, puid=str(at)))
    (read,) = ledger.cut().models().values()
    score = score_of(read.reading, name)
    assert score is not None
    values = np.abs(errors) if name == "mae" else errors
    expected = stats.t.interval(0.95, len(values) - 1, values.mean(), stats.sem(values))
    assert score.value == pytest.approx(values.mean())
    assert interval_of(moments_of(score, read.reading)) == pytest.approx(expected)


def test_what_is_no_mean_of_rows_has_none() -> None:
    ledger = Ledger().absorb(a_response(1), a_feedback(1)).cut()
    (read,) = ledger.models().values()
    f1 = score_of(read.reading, "f1")
    assert f1 is not None
    assert moments_of(f1, read.reading) is None
    assert interval_of(None) is None
    assert interval_of(Moments(1, 2.5, 6.25, is_share=False)) is None
    undefined = score_of(read.reading, "specificity")
    assert undefined is not None
    assert moments_of(undefined, read.reading) is None


def test_a_score_is_found_by_its_name_and_class() -> None:
    ledger = Ledger()
    for at, name in enumerate(["cat", "dog", "eel"]):
        ledger.absorb(a_response(name, puid=str(at)), a_feedback("cat", puid=str(at)))
    (read,) = ledger.cut().models().values()
    assert {(score.name, score.of_class): score for score in scores_of(read.reading)} == {
        (score.name, score.of_class): score_of(read.reading, score.name, score.of_class)
        for score in scores_of(read.reading)
    }
    assert score_of(read.reading, "recall", "cow") is None
    assert score_of(read.reading, "mae") is None
