"""The confusion: rows by verdict, by actual and predicted class, and one class against the rest.

confusion=<actual>      {predicted class: rows judged}
confusion/unlabelled    {predicted class: rows without label}
confusion/classes       {list of classes as JSON: answers whose vectors or names have fixed it}
confusion               {"failed", "measured", "unmeasured": rows}

A leg has `MOST_CLASSES` classes that are told apart, those of the lowest `class_rank`; of them a setting's number is
shown. The rest counts as one class. Whether two of the rest were right about each other is still known.
"""

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from heapq import nsmallest
from itertools import chain
from types import MappingProxyType
from typing import Any, Final, Literal, NamedTuple

import orjson
from xxhash import xxh3_64_intdigest

from app.core.counts.atoms import Atom
from app.core.measures.measure import (
    DOCUMENT,
    MODEL,
    OF_CELL,
    OF_CLASS,
    WINDOW,
    Cells,
    Evidence,
    Family,
    Field,
    Measure,
    Sample,
)
from app.core.measures.reading import Nature, class_order
from app.core.measures.verdict import ACTUAL, FAILED, MEASURED, UNLABELLED, UNMEASURED, judge
from app.core.payloads.marks import Mark
from app.core.rules import Rules, Task

#: Classes of one leg that are told apart; more are garbage, and would make records too large for Kafka.
MOST_CLASSES: Final = 1000
#: How the counts name the class of the rest, and that of a row whose two classes are both of the rest, but not the
#: same. No class is named so: blanks around a class are trimmed.
OTHER: Final = " other"
ANOTHER: Final = " another"
#: The cells of more classes than this are not exported: there would be their square.
MOST_CONFUSION_CLASSES: Final = 20

_CLASSES: Final = "confusion/classes"
_OUTCOME_LABELS: Final = ("class", "outcome")
_LONG: Final = {"type": "long"}

Confusion = dict[tuple[str, str], int]


def judged_and_right(cells: Cells) -> tuple[int, int]:
    """How many rows are judged, and how many of them are right."""
    judged = right = 0
    for (row, predicted), rows in cells.items():
        if row.startswith(ACTUAL):
            judged += rows
            right += rows * (row[len(ACTUAL) :] == predicted)
    return judged, right


class Outcomes(NamedTuple):
    """Rows of one class against the rest."""

    tp: int = 0
    fp: int = 0
    fn: int = 0
    tn: int = 0


class Columns(NamedTuple):
    """Outcomes of many classes, a column each: scores of all classes are made at once."""

    classes: tuple[str, ...] = ()
    tp: tuple[int, ...] = ()
    fp: tuple[int, ...] = ()
    fn: tuple[int, ...] = ()
    tn: tuple[int, ...] = ()


def columns_of(outcomes: Mapping[str, Outcomes]) -> Columns:
    """The same outcomes, in columns."""
    return Columns(tuple(outcomes), *zip(*outcomes.values(), strict=True)) if outcomes else Columns()


class ConfusionReading(NamedTuple):
    """What is known of a model's rows."""

    rows: dict[str, int]  # verdict → rows
    judged: int  # rows of the confusion
    confusion: Confusion  # (actual, predicted) → rows, without zeros, of the classes that are shown and the rest
    classes: list[str]  # those that are shown in order, then the rest
    outcomes: dict[str, Outcomes]  # class → outcomes; "" (the positive class) for binary models
    told_apart: Confusion  # the same of all classes that are told apart, and the rest of them
    occurring: Columns  # of these classes
    dropped_classes: int = 0  # how many the rest stands for
    odd: int = 0  # labelled rows of another nature than the model's
    as_classes: Confusion | None = None  # of a model that measures: rows judged, whose numbers are texts here
    #: Predicted class → rows without label, where there are classes.
    unlabelled: Mapping[str, int] = MappingProxyType({})


@lru_cache(maxsize=4096)
def _class_list_atom(classes: tuple[str, ...]) -> Atom:
    return Atom(_CLASSES, orjson.dumps(classes).decode())


def class_rank(text: str) -> int:
    """The order in which classes are told apart where they are too many: any that arrival cannot change.

    So a class of the lowest ranks over all partitions is one of the lowest in each of them, and its counts are whole.
    """
    return xxh3_64_intdigest(text.encode())


def known_classes(cells: Cells, rules: Rules) -> frozenset[str]:
    """Every class that occurs, `OTHER` among them, that a response's vectors or names have fixed, or that the user has
    named.
    """
    rows = {row for (row, _), amount in cells.items() if amount}
    actual = _actual_classes(rows)
    naming = {*actual, UNLABELLED}
    known = {*rules.classes, *actual.values()}
    known.update(column for (row, column), amount in cells.items() if amount and row in naming)
    if _CLASSES in rows:
        for (row, column), amount in cells.items():
            if amount and row == _CLASSES:
                known.update(orjson.loads(column))
    return frozenset(known - {ANOTHER})


def _actual_classes(rows: Iterable[str]) -> dict[str, str]:
    """Of the rows of the confusion itself the actual class of each."""
    return {row: row[len(ACTUAL) :] for row in rows if row.startswith(ACTUAL)}


def task_of(cells: Cells, rules: Rules) -> Task | Literal["unknown"]:
    """The task: what the user says, else what most rows show that have been judged; where none have, most others.

    As many of either show classification. Classes that are none but "0" and "1", or a positive class that the user has
    named, make it binary.
    """
    if rules.task is not None:
        return rules.task
    measured, judged = cells.get(MEASURED, 0), _amount(cells, ACTUAL)
    if not measured and not judged:
        measured, judged = cells.get(UNMEASURED, 0), _amount(cells, UNLABELLED)
    if measured > judged:
        return "regression"
    if rules.positive is not None:
        return "binary"
    known = known_classes(cells, rules)
    if not known:
        return "unknown"
    return "binary" if known <= {"0", "1"} else "multiclass"


def has_rows(cells: Cells) -> bool:
    """Whether any row was answered, and not just failed."""
    answered = (MEASURED, UNMEASURED)
    return any(
        amount and (cell in answered or cell[0] == UNLABELLED or cell[0].startswith(ACTUAL))
        for cell, amount in cells.items()
    )


def named_classes(cells: Cells) -> Counter[str]:
    """How many rows each class was named for, with a label or without; those that are not told apart are one."""
    found: Counter[str] = Counter()
    for (row, column), amount in cells.items():
        if amount and (row == UNLABELLED or row.startswith(ACTUAL)):
            found[OTHER if column == ANOTHER else column] += amount
    return found


def _amount(cells: Cells, beginning: str) -> int:
    return sum(amount for (row, _), amount in cells.items() if row.startswith(beginning))


def nature_of(cells: Cells, rules: Rules, most_classes: int) -> Nature:
    """As what a model is read, from the confusion's cells of its totals."""
    positive = rules.positive or (rules.classes[1] if len(rules.classes) == 2 else "1")
    known = known_classes(cells, rules)
    classes = known - {OTHER}
    if len(classes) > MOST_CLASSES:
        classes = frozenset(nsmallest(MOST_CLASSES, classes, key=class_rank))
    shown = tuple(sorted(classes, key=class_order)[:most_classes])
    return Nature(task_of(cells, rules), classes, shown, len(known) - len(shown), positive, rules.scores)


def one_against_rest(confusion: Confusion, classes: Iterable[str]) -> dict[str, Outcomes]:
    """Outcomes of each class. A row that is right or wrong about two other classes is a true negative of this one."""
    total = sum(confusion.values())
    right: dict[str, int] = {}
    as_actual: defaultdict[str, int] = defaultdict(int)
    as_predicted: defaultdict[str, int] = defaultdict(int)
    for (actual, predicted), amount in confusion.items():
        as_actual[actual] += amount
        as_predicted[predicted] += amount
        if actual == predicted:
            right[actual] = amount
    found = {}
    for name in classes:
        tp, of_class, as_class = right.get(name, 0), as_actual.get(name, 0), as_predicted.get(name, 0)
        found[name] = Outcomes(tp, as_class - tp, of_class - tp, total - of_class - as_class + tp)
    return found


def _folded(confusion: Confusion, kept: Collection[str], rest: str, another: str) -> Confusion:
    """All classes but those kept as one. Rows that confuse two of them have `another` as the one predicted."""
    folded: Confusion = {}
    for (actual, predicted), amount in confusion.items():
        if actual in kept or predicted in kept:
            cell = (actual if actual in kept else rest, predicted if predicted in kept else rest)
        else:
            cell = (rest, rest if actual == predicted else another)
        folded[cell] = folded.get(cell, 0) + amount
    return folded


# -- what shows it ----------------------------------------------------------------------------------------------------


def _rows(reading: ConfusionReading) -> Iterator[Sample]:
    for verdict, amount in reading.rows.items():
        yield (verdict,), amount


def _cells(reading: ConfusionReading) -> Iterator[Sample]:
    if len(reading.classes) <= MOST_CONFUSION_CLASSES:
        yield from sorted(reading.confusion.items())


def _outcomes(reading: ConfusionReading) -> Iterator[Sample]:
    for name, (tp, fp, fn, tn) in reading.outcomes.items():
        yield (name, "tp"), tp
        yield (name, "fp"), fp
        yield (name, "fn"), fn
        yield (name, "tn"), tn


def _cell_documents(reading: ConfusionReading) -> list[dict[str, Any]]:
    return [
        {"actual": actual, "predicted": predicted, "rows": rows}
        for (actual, predicted), rows in sorted(reading.confusion.items())
    ]


def _notes(reading: ConfusionReading) -> list[str]:
    """What whoever reads the numbers should know of them."""
    labelled = reading.judged + reading.rows["measured"]
    note = (
        f"{reading.odd} of {labelled} labelled rows are of another nature than the others (classes, or measurements) "
        "and count as measured: `task:` in the YAML settles what this model is."
    )
    return [note] if reading.odd else []


class ConfusionMeasure(Measure[ConfusionReading]):
    """Rows by verdict and class."""

    name = "confusion"
    by_labels = True
    families = (
        Family("rows", "gauge", "Rows answered, by verdict.", ("verdict",), _rows),
        Family(
            "confusion",
            "gauge",
            "Rows judged, by class; not-zero cells.",
            ("actual", "predicted"),
            _cells,
            rank=OF_CELL,
        ),
        Family(
            "class",
            "gauge",
            "One class against the rest; empty: the positive one.",
            ("class", "outcome"),
            _outcomes,
            rank=OF_CLASS,
        ),
    )
    fields = (
        Field("samples", lambda it: it.judged, (DOCUMENT, WINDOW), _LONG),
        Field(
            "rows",
            lambda it: it.rows,
            (DOCUMENT, WINDOW, MODEL),
            {
                "properties": dict.fromkeys(("correct", "incorrect", "measured", "unlabelled", "failed"), _LONG),
            },
        ),
        Field("classes", lambda it: it.classes, (MODEL,)),
        Field("notes", _notes, (MODEL,)),
        Field("confusion", lambda it: [[*cell, rows] for cell, rows in sorted(it.confusion.items())], (WINDOW,)),
        # There may be very many: they are kept without being indexed.
        Field("confusion", _cell_documents, (DOCUMENT,), {"type": "object", "enabled": False}),
    )

    def cells(self, mark: Mark, label: Mark, classes: tuple[str, ...], rules: Rules) -> Iterable[Atom]:
        """The row's verdict."""
        return (judge(mark, label, classes, rules),)

    def counts(self, evidence: Evidence) -> Iterable[Atom]:
        """The list of classes that the answer has fixed."""
        return (_class_list_atom(evidence.classes),) if evidence.classes else ()

    def bounded(self, atom: Atom, fold: Callable[[str], str]) -> Atom:
        """Two classes that are folded into one were not right about each other."""
        row, column = atom
        if row == UNLABELLED:
            return Atom(row, fold(column))
        if not row.startswith(ACTUAL):
            return atom
        actual = row[len(ACTUAL) :]
        predicted = fold(column)
        folded = fold(actual)
        if folded == predicted and actual != column:
            predicted = ANOTHER
        return Atom(ACTUAL + folded, predicted)

    def read(self, cells: Cells, nature: Nature) -> ConfusionReading:
        """Rows and classes, as a model of its nature."""
        rows_there = {row for row, _ in cells}
        actual = _actual_classes(rows_there)
        confusion: Confusion = {
            (actual[row], column): amount for (row, column), amount in cells.items() if amount and row in actual
        }
        unlabelled = cells.get(UNMEASURED, 0)
        as_class: dict[str, int] = {}
        if UNLABELLED in rows_there:
            as_class = {column: amount for (row, column), amount in cells.items() if row == UNLABELLED and amount}
            unlabelled += sum(as_class.values())
        judged = sum(confusion.values())
        failed, measured = cells.get(FAILED, 0), cells.get(MEASURED, 0)
        if nature.task == "regression":
            rows = {"correct": 0, "incorrect": 0, "measured": measured + judged, "unlabelled": unlabelled}
            rows["failed"] = failed
            return ConfusionReading(rows, 0, {}, [], {}, {}, Columns(), odd=judged, as_classes=confusion)
        classes = [*nature.shown]
        if nature.rest:
            confusion = _folded(confusion, nature.classes, OTHER, ANOTHER)
        told_apart = confusion
        # Of all classes that are told apart, since two that are shown as one may be confused with each other.
        occurring = one_against_rest(confusion, sorted(set(chain.from_iterable(confusion))))
        if nature.rest:
            # A class of the model may have just this name.
            rest, another = ("(other)", "(another)") if {"other", "another"} & nature.classes else ("other", "another")
            confusion = _folded(confusion, {*classes}, rest, another)
            classes.append(rest)
        if nature.task == "binary":
            outcomes = {"": one_against_rest(confusion, [nature.positive])[nature.positive]}
        elif nature.rest:
            outcomes = one_against_rest(confusion, classes)
        else:
            absent = Outcomes(tn=judged)
            outcomes = {name: occurring.get(name, absent) for name in classes}
        columns = columns_of(occurring)
        correct = sum(columns.tp)
        rows = {"correct": correct, "incorrect": judged - correct, "measured": measured, "unlabelled": unlabelled}
        rows["failed"] = failed
        return ConfusionReading(
            rows, judged, confusion, classes, outcomes, told_apart, columns, nature.rest, measured, unlabelled=as_class
        )


CONFUSION: Final = ConfusionMeasure()
