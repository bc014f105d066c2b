"""A tally: counts by atom, and what can be read out of them. Adding two tallies is adding their counts."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import orjson

from app.core.counts.numbers import DELAY_BUCKETS
from app.core.join.settling import OTHER
from app.core.measures.verdict import CLASSES, COUNTERS, UNLABELLED
from app.core.rules import Rules, Task

Tally = Mapping[tuple[str, str], int]
Confusion = dict[tuple[str, str], int]


def class_order(text: str) -> tuple[int, float, str]:
    """The order of class texts: numbers by value, then texts."""
    try:
        value = float(text)
    except ValueError:
        return 1, 0.0, text
    return (0, value, text) if math.isfinite(value) else (1, 0.0, text)


@dataclass(slots=True)
class Outcomes:
    """One class against the rest."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0


@dataclass(slots=True)
class Reading:
    """What a tally says of one model, in the whole or in one window."""

    task: Task | Literal["unknown"]
    parts: dict[str, int]  # request, response, feedback → puids
    rows: dict[str, int]  # verdict → rows
    confusion: Confusion  # (actual, predicted) → rows, without zeros
    classes: list[str]  # known classes in order; at most `most_classes`, then "other"
    outcomes: dict[str, Outcomes]  # class → outcomes; "" (the positive class) for binary models
    occurring: dict[str, Outcomes]  # of all classes that occur, none folded into "other"
    rewards: int
    reward_points: float
    mismatched: int
    delays: list[int]  # by bucket, the last one unbounded
    delay_seconds: float
    dropped_classes: int = 0
    positive: str = "1"
    judged: int = field(default=0)


def known_classes(tally: Tally, rules: Rules) -> set[str]:
    """Every class that occurs, that a response's vectors or names have fixed, or that the user has named."""
    known = set(rules.classes)
    for (row, column), amount in tally.items():
        if not amount:
            continue
        if row[:1] == "=":
            known.update((row[1:], column))
        elif row == UNLABELLED:
            known.add(column)
        elif row == CLASSES:
            known.update(orjson.loads(column))
    return known


def task_of(tally: Tally, rules: Rules) -> Task | Literal["unknown"]:
    """The task: what the user says, else what the totals show."""
    if rules.task is not None:
        return rules.task
    if tally.get((COUNTERS, "measured")) or tally.get((COUNTERS, "unmeasured")):
        return "regression"
    if rules.positive is not None:
        return "binary"
    known = known_classes(tally, rules)
    if not known:
        return "unknown"
    return "binary" if known <= {"0", "1"} else "multiclass"


def confusion_of(tally: Tally) -> Confusion:
    """The confusion of a tally: (actual, predicted) → rows."""
    return {(row[1:], column): amount for (row, column), amount in tally.items() if amount and row[:1] == "="}


def one_against_rest(confusion: Confusion, classes: list[str]) -> dict[str, Outcomes]:
    """Outcomes of each class. A row that is right or wrong about two other classes is a true negative of this one."""
    total = sum(confusion.values())
    result = {name: Outcomes() for name in classes}
    for (actual, predicted), amount in confusion.items():
        if actual == predicted:
            if actual in result:
                result[actual].tp += amount
        else:
            if actual in result:
                result[actual].fn += amount
            if predicted in result:
                result[predicted].fp += amount
    for outcomes in result.values():
        outcomes.tn = total - outcomes.tp - outcomes.fp - outcomes.fn
    return result


def read(tally: Tally, task: Task | Literal["unknown"], rules: Rules, known: set[str], most_classes: int) -> Reading:
    """Read a tally as a model of `task` with the `known` classes."""
    counters = {column: amount for (row, column), amount in tally.items() if row == COUNTERS}
    cells = confusion_of(tally)
    unlabelled = sum(amount for (row, _), amount in tally.items() if row == UNLABELLED)
    judged = sum(cells.values())
    correct = sum(amount for (actual, predicted), amount in cells.items() if actual == predicted)
    regression = task == "regression"
    rows = {
        "correct": 0 if regression else correct,
        "incorrect": 0 if regression else judged - correct,
        "measured": counters.get("measured", 0) + (judged if regression else 0),
        "unlabelled": unlabelled + counters.get("unmeasured", 0),
        "failed": counters.get("failed", 0),
    }
    confusion = {} if regression else cells
    classes = [] if regression else sorted(known, key=class_order)
    dropped = max(0, len(classes) - most_classes)
    if dropped:
        kept = set(classes[:most_classes])
        classes = [*classes[:most_classes], OTHER]
        folded: Confusion = {}
        for (actual, predicted), amount in confusion.items():
            cell = (actual if actual in kept else OTHER, predicted if predicted in kept else OTHER)
            folded[cell] = folded.get(cell, 0) + amount
        # Two dropped classes may be confused with each other; folded they would look right, so the score keeps `cells`.
        confusion = folded
    positive = rules.positive or "1"
    occurring = {} if regression else one_against_rest(cells, sorted({name for cell in cells for name in cell}))
    if task == "binary":
        outcomes = {"": one_against_rest(confusion, [positive])[positive]}
    else:
        outcomes = one_against_rest(confusion, classes)
    return Reading(
        task=task,
        parts={part: counters.get(part, 0) for part in ("request", "response", "feedback")},
        rows=rows,
        confusion=confusion,
        classes=classes,
        outcomes=outcomes,
        occurring=occurring,
        rewards=counters.get("rewards", 0),
        reward_points=counters.get("points", 0) / 1e9,
        mismatched=counters.get("mismatched", 0),
        delays=[counters.get(f"delay_{bucket}", 0) for bucket in range(len(DELAY_BUCKETS) + 1)],
        delay_seconds=counters.get("delay_us", 0) / 1e6,
        dropped_classes=dropped,
        positive=positive,
        judged=0 if regression else judged,
    )
