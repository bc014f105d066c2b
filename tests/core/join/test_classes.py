"""Models of more classes than are told apart: the same numbers in any order of arrival, and over any partitions."""

import random
from collections import Counter

import pytest

from app.core.join import classes
from app.core.measures import confusion
from app.core.measures.confusion import class_rank
from tests.builders import MODEL, Ledger, Record, a_feedback, a_response

#: So many classes are told apart, and shown, in these tests.
MOST, SHOWN = 20, 5


@pytest.fixture(autouse=True)
def few_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (classes, confusion):
        monkeypatch.setattr(module, "MOST_CLASSES", MOST)


def many_answers() -> tuple[list[Record], Counter[tuple[str, str]], set[str]]:
    """Answers of 60 classes, each labelled but every fifth; the rows by both classes; and all classes."""
    rng = random.Random(1)
    records, truth, known = [], Counter[tuple[str, str]](), set()
    for number in range(400):
        predicted = f"class {rng.randrange(60)}"
        actual = predicted if rng.random() < 0.5 else f"class {rng.randrange(60)}"
        records.append(a_response(predicted, puid=f"p{number}"))
        known.add(predicted)
        if number % 5:
            records.append(a_feedback(actual, puid=f"p{number}", at=1))
            truth[actual, predicted] += 1
            known.add(actual)
    return records, truth, known


def folded(truth: Counter[tuple[str, str]], shown: set[str]) -> Counter[tuple[str, str]]:
    """The rows by both classes, all but those shown as one; `another` says that two of these were confused."""
    result = Counter[tuple[str, str]]()
    for (actual, predicted), rows in truth.items():
        confused = actual != predicted and not {actual, predicted} & shown
        of_rest = "another" if confused else "other"
        result[actual if actual in shown else "other", predicted if predicted in shown else of_rest] += rows
    return result


@pytest.mark.parametrize("partitions", [1, 4])
@pytest.mark.parametrize("seed", range(4))
def test_classes_fold_in_an_order_that_arrival_cannot_change(partitions: int, seed: int) -> None:
    records, truth, known = many_answers()
    rng = random.Random(seed)
    rng.shuffle(records)
    ledger = Ledger(partitions=partitions, most_classes=SHOWN)
    for begin in range(0, len(records), 50):
        ledger.absorb(*records[begin : begin + 50]).cut()
        if rng.random() < 0.3:
            ledger.restart()
    shown = sorted(sorted(known, key=class_rank)[:MOST])[:SHOWN]
    found = ledger.models()[MODEL]
    assert len(known) == 60
    assert found.classes == [*shown, "other"]
    assert found.confusion == folded(truth, {*shown})
    assert found.rows["correct"] == sum(rows for (actual, predicted), rows in truth.items() if actual == predicted)
    assert found.outcomes["other"].tp == found.confusion["other", "other"]


def test_what_a_limit_folds_is_counted() -> None:
    records = [a_response(f"class {number}", puid=f"p{number}") for number in range(12)]
    found = Ledger(most_classes=SHOWN).absorb(*records).cut().models()[MODEL]
    assert (len(found.classes), found.dropped_classes) == (SHOWN + 1, 12 - SHOWN)


def test_a_correction_takes_back_what_was_counted_before_its_class_was_one_of_the_rest() -> None:
    records, *_ = many_answers()
    ledger = Ledger(most_classes=SHOWN).absorb(*records).cut()
    ledger.restart()
    ledger.absorb(*(a_feedback(None, puid=f"p{number}", at=2) for number in range(400) if number % 5)).cut()
    found = ledger.models()[MODEL]
    assert found.confusion == {}
    assert found.rows == {"correct": 0, "incorrect": 0, "measured": 0, "unlabelled": 400, "failed": 0}


def test_garbage_is_bounded() -> None:
    """However many classes come, in any order of their ranks."""
    texts = sorted((f"answer {number}" for number in range(2000)), key=class_rank, reverse=True)
    ledger = Ledger().absorb(*(a_response(text, puid=text) for text in texts)).cut()
    assert len(ledger.shards[0].numbers.told_apart) == 4 * MOST
    assert ledger.models()[MODEL].rows["unlabelled"] == 2000
    assert len(ledger.panes[0]) < 10


@pytest.mark.parametrize("name", ["other", "another"])
def test_a_class_that_is_named_like_the_rest_is_not_one_of_it(name: str) -> None:
    records = [a_response(f"x{number}", puid=f"p{number}") for number in range(9)]
    records += [a_response(name, puid="p"), a_feedback(name, at=1), a_feedback("x7", puid="p7", at=1)]
    found = Ledger(most_classes=3).absorb(*records).cut().models()[MODEL]
    assert found.classes == [name, "x0", "x1", "(other)"]
    assert found.confusion == {(name, name): 1, ("(other)", "(other)"): 1}
