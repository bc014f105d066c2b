"""Scores of the user's own: the mean cost of a row by a matrix, and a function's, in every place where scores stand."""

import random
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction
from typing import ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.measures.reading import Reading
from app.core.outputs.report import report_of
from app.core.rules import OwnScore, Rulebook, Rules
from app.core.scores.catalogue import scores_of
from app.core.scores.own import MeanCost
from tests.builders import MODEL, START, Ledger, a_feedback, a_reading, a_response
from tests.core.outputs.test_windows import History

COSTS = MeanCost(((("1", "0"), 100.0), (("0", "1"), 5.0)))
COST = OwnScore("cost", COSTS, greater_is_better=False)
CLASSES = ("0", "1", "cat", "dog, wet")
cells = st.tuples(st.sampled_from(CLASSES), st.sampled_from(CLASSES))
matrices = st.dictionaries(cells, st.floats(-1e15, 1e15), min_size=1)


class Wrong:
    """A function that gives how many rows are wrong, and is asked how often."""

    runs_code: ClassVar[bool] = True

    def __init__(self) -> None:
        self.failures = 0
        self.seen: list[Mapping[tuple[str, str], int]] = []

    def __call__(self, confusion: Mapping[tuple[str, str], int]) -> float | None:
        self.seen.append(dict(confusion))
        return float(sum(rows for (actual, predicted), rows in confusion.items() if actual != predicted))


def own(reading: Reading, name: str = "cost") -> tuple[float | None, int]:
    """The score and its samples."""
    ((value, samples),) = [(score.value, score.samples) for score in scores_of(reading) if score.name == name]
    return value, samples


@given(st.lists(cells, min_size=1), matrices, st.randoms(use_true_random=False))
def test_the_cost_is_the_mean_of_what_each_judged_row_costs(
    rows: list[tuple[str, str]], costs: dict[tuple[str, str], float], rng: random.Random
) -> None:
    """Exactly but for the roundings of each cell, of the sum and of the mean; whatever the order of cells and rows."""
    shuffled = list(costs.items())
    rng.shuffle(shuffled)
    values = set()
    for matrix in (tuple(costs.items()), tuple(shuffled)):
        tally = {(f"confusion={actual}", predicted): count for (actual, predicted), count in Counter(rows).items()}
        rules = Rules(task="multiclass", scores=(OwnScore("cost", MeanCost(matrix), greater_is_better=False),))
        value, samples = own(a_reading(tally, rules))
        assert value is not None
        assert samples == len(rows)
        exact = sum((Fraction(costs.get(row, 0)) for row in rows), Fraction(0)) / len(rows)
        largest = max(abs(cost) for cost in costs.values())
        assert abs(Fraction(value) - exact) <= Fraction(largest) * Fraction(1, 2**48)
        values.add(value)
        rng.shuffle(rows)
    assert len(values) == 1


def test_rows_that_are_not_judged_and_cells_that_no_row_is_in_cost_nothing() -> None:
    tally = {
        ("confusion=1", "0"): 1,
        ("confusion=1", "1"): 3,
        ("confusion/unlabelled", "0"): 9,
        ("confusion", "failed"): 7,
    }
    costs = MeanCost((*COSTS.costs, (("1", "1"), -4.0), (("never", "seen"), 1e9)))
    rules = Rules(scores=(OwnScore("cost", costs, greater_is_better=False),))
    assert own(a_reading(tally, rules)) == ((100 - 3 * 4) / 4, 4)


def test_without_a_judged_row_it_is_undefined_and_the_function_is_not_asked() -> None:
    function = Wrong()
    rules = Rules(scores=(COST, OwnScore("wrong", function, greater_is_better=False)))
    reading = a_reading({("confusion/unlabelled", "0"): 9, ("confusion/unlabelled", "1"): 2}, rules)
    assert (own(reading), own(reading, "wrong")) == ((None, 0), (None, 0))
    assert function.seen == []


@pytest.mark.parametrize("task", ["regression", None])
def test_a_model_that_measures_has_none(task: None) -> None:
    reading = a_reading({("confusion", "measured"): 3}, Rules(task=task, scores=(COST,)))
    assert "cost" not in {score.name for score in scores_of(reading)}


def test_a_function_sees_all_classes_that_are_told_apart_though_fewer_are_shown() -> None:
    function = Wrong()
    tally = {(f"confusion={number}", str(number + 1)): 1 for number in range(9)}
    reading = a_reading(tally, Rules(scores=(OwnScore("wrong", function, greater_is_better=False),)), most_classes=3)
    assert own(reading, "wrong") == (9.0, 9)
    assert function.seen == [{(str(number), str(number + 1)): 1 for number in range(9)}]


def test_in_total_in_windows_and_by_both_clocks_through_a_correction_and_partitions() -> None:
    """Two rows: one right, one that costs 100; the label of the first comes an hour later, and is corrected."""
    rules = Rules(scores=(COST,))
    for partitions in (1, 3):
        ledger = Ledger(rules, partitions=partitions)
        ledger.absorb(a_response(1, puid="a", at=0), a_response(0, puid="b", at=1))
        ledger.absorb(
            a_feedback(1, puid="b", at=2), a_feedback(0, puid="a", at=3600), a_feedback(1, puid="a", at=3601)
        ).cut()

        def found(window: str, ledger: Ledger = ledger) -> tuple[float | None, int]:
            return own(ledger.models(window, now=3610)[MODEL].reading)

        assert [found("total"), found("1h"), found("5m")] == [(50.0, 2), (50.0, 2), (None, 0)]
        labelled = Ledger(rules, partitions=partitions, clock=ledger._clock.__class__(by_labels=True))
        labelled.absorb(a_response(1, puid="a", at=0), a_response(0, puid="b", at=1))
        labelled.absorb(a_feedback(1, puid="b", at=2), a_feedback(1, puid="a", at=3600)).cut()
        assert found("labels_5m", labelled) == (0.0, 1)
        assert found("labels_24h", labelled) == (50.0, 2)


def test_it_stands_in_the_report_with_its_limit_and_the_classes_that_may_be_misspelt() -> None:
    """A cost is missed upwards, a score of a function where the user says so."""
    rising = OwnScore("wrong", Wrong(), greater_is_better=True)
    costs = MeanCost((*COSTS.costs, (("fruad", "0"), 1.0)))
    limits = (("cost", "", 10.0), ("wrong", "", 2.0))
    scores = (OwnScore("cost", costs, greater_is_better=False), rising)
    rulebook = Rulebook((Rules(scores=scores, limits=limits, least_count=1),))
    ledger = Ledger(*rulebook.entries, windows=()).absorb(a_response(0), a_feedback(1)).cut()
    ((identity, readings),) = ledger.readings().of_models(START)
    report = report_of(identity, readings, 0, rulebook)
    assert report["windows"]["total"]["scores"]["cost"] == 100
    assert report["windows"]["total"]["score_samples"]["cost"] == 1
    assert report["limits"] == {"cost": 10.0, "wrong": 2.0}
    assert report["notes"] == [
        "scores: cost names classes that have not occurred yet: fruad.",
        "cost is 100, above its limit of 10 (total, 1 rows).",
        "wrong is 1, below its limit of 2 (total, 1 rows).",
    ]


def test_it_stands_in_the_documents_of_windows() -> None:
    function = Wrong()
    rules = Rules(scores=(COST, OwnScore("wrong", function, greater_is_better=False)))
    (document, *_) = History(rules).tell(a_response(0), a_feedback(1))
    assert document.runs_code
    assert function.seen == []  # it is asked when the body is made, which may be in a thread
    body = document.body
    assert body is not None
    assert (body["scores"]["cost"], body["score_samples"]["cost"], body["scores"]["wrong"]) == (100, 1, 1)


def test_failures_are_told_by_the_name_of_the_score_over_all_entries() -> None:
    one, other, third = Wrong(), Wrong(), Wrong()
    one.failures, other.failures = 2, 3
    entries = [Rules(scores=(COST, OwnScore(name, function, greater_is_better=True))) for name, function in
               (("wrong", one), ("wrong", other), ("gain", third))]  # fmt: skip
    assert [*Rulebook(tuple(entries)).score_failures()] == [("gain", 0), ("wrong", 5)]
