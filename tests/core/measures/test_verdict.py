"""Predicted against label, for one row: what it counts as."""

from typing import Any, Final

import pytest

from app.core.counts.atoms import Atom
from app.core.measures.verdict import FAILED, MEASURED, UNLABELLED, UNMEASURED, judge
from app.core.payloads.marks import index_mark, mark_of
from app.core.rules import Rules

NONE: Final = Rules()
REGRESSION: Final = Rules(task="regression")
NAMED: Final = Rules(task="binary", positive="yes", classes=("no", "yes"))


def cell(actual: str, predicted: str) -> Atom:
    return Atom("confusion=" + actual, predicted)


@pytest.mark.parametrize(
    ("predicted", "label", "atom"),
    [
        (1, 1, cell("1", "1")),
        (1, 0, cell("0", "1")),
        ("cat", "dog", cell("dog", "cat")),
        (0, False, cell("0", "0")),
        ("4", 4.0, cell("4", "4")),
        (0.5, 1, cell("1", "1")),
        (0.4999, 1, cell("1", "0")),
        (0.9, 0, cell("0", "1")),
        (1, None, Atom(UNLABELLED, "1")),
        (0.9, None, Atom(UNLABELLED, "1")),
        (None, 1, FAILED),
        (None, None, FAILED),
        (2.5, None, UNMEASURED),
        (-0.5, None, UNMEASURED),
        (2.5, 2, MEASURED),
        (2, 2.5, MEASURED),
        (0.9, 0.7, MEASURED),
        (0.9, 7, MEASURED),
        (0.9, "cat", MEASURED),
        ("cat", 2.5, MEASURED),
    ],
)
def test_without_rules(predicted: Any, label: Any, atom: Atom) -> None:
    assert judge(mark(predicted), mark(label), (), NONE) == atom


@pytest.mark.parametrize(
    ("rules", "predicted", "label", "atom"),
    [
        (Rules(threshold=0.8), 0.79, 1, cell("1", "0")),
        (Rules(threshold=0.8), 0.8, 1, cell("1", "1")),
        (Rules(threshold=0.0), 0.001, 0, cell("0", "1")),
        (Rules(threshold=1.0), 0.999, 1, cell("1", "0")),
        (REGRESSION, 1, 1, MEASURED),
        (REGRESSION, 0.9, 1, MEASURED),
        (REGRESSION, 1, None, UNMEASURED),
        (REGRESSION, None, 1, FAILED),
        (Rules(task="multiclass"), 2.5, 1, cell("1", "2.5")),
        (Rules(task="multiclass"), 1, 2.5, cell("2.5", "1")),
        (Rules(task="binary"), 2.5, None, Atom(UNLABELLED, "2.5")),
        (NAMED, 0.9, 1, cell("yes", "yes")),
        (NAMED, 0.1, "yes", cell("yes", "no")),
        (NAMED, 1, 0, cell("no", "yes")),
        (Rules(task="binary", positive="0"), 0.9, 0, cell("0", "0")),
        (Rules(task="binary", positive="0"), 0.1, 1, cell("1", "1")),
        (Rules(task="binary", positive="0"), 0.1, 0, cell("0", "1")),
        (Rules(classes=("setosa", "virginica")), 1, 0, cell("setosa", "virginica")),
    ],
)  # fmt: skip
def test_with_rules(rules: Rules, predicted: Any, label: Any, atom: Atom) -> None:
    assert judge(mark(predicted), mark(label), (), rules) == atom


def test_positions_and_labels_become_the_names_of_the_response() -> None:
    names = ("cat", "dog")
    assert judge(index_mark(1), 1, names, NONE) == cell("dog", "dog")
    assert judge(index_mark(1), "cat", names, NONE) == cell("cat", "dog")
    assert judge(index_mark(1), index_mark(0), names, NONE) == cell("cat", "dog")
    assert judge(index_mark(1), None, names, NONE) == Atom(UNLABELLED, "dog")


def test_the_names_of_a_response_go_before_those_of_the_rules() -> None:
    rules = Rules(classes=("a", "b"))
    assert judge(index_mark(1), 1, ("cat", "dog"), rules) == cell("dog", "dog")
    assert judge(index_mark(1), 1, (), rules) == cell("b", "b")


def test_a_label_beyond_the_names_is_its_own_text() -> None:
    assert judge(index_mark(1), 5, ("cat", "dog"), NONE) == cell("5", "dog")


@pytest.mark.parametrize("score", [0, 1])
@pytest.mark.parametrize("rules", [NONE, NAMED, Rules(threshold=0.9), Rules(classes=("no", "yes"), positive="yes")])
def test_a_saturated_score_is_judged_as_one_just_beside_it(score: int, rules: Rules) -> None:
    """A model that answers 0.999 may answer 1.0, too: it says the same class."""
    assert judge(mark(float(score)), None, (), rules) == judge(abs(score - 0.001), None, (), rules)


def mark(value: Any) -> Any:
    return None if value is None else mark_of(value)
