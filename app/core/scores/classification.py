"""Scores of classification, as in scikit-learn with `zero_division=nan` over the classes that occur.

Sources: scikit-learn's `precision_recall_fscore_support`, `accuracy_score`, `balanced_accuracy_score`,
`matthews_corrcoef` and `cohen_kappa_score`; specificity is the recall of the rest, npv its precision.

A binary model has those of its positive class as its own. A multiclass model has those of each class, and over the
classes in which they are defined their mean (macro) and their mean weighted by the rows of each class (weighted). Of
all rows together (micro) they are the accuracy.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from functools import lru_cache
from itertools import compress
from operator import add, mul
from typing import Final, NamedTuple

from app.core.measures.confusion import CONFUSION, Columns, ConfusionReading, columns_of
from app.core.measures.reading import Reading
from app.core.scores.score import Formula, Value, ratio

#: Whole numbers of many classes.
_Column = tuple[int, ...]
#: A score of many classes at once, since there may be a thousand: (their tp, fp, fn and tn, rows judged in all) →
#: (their values, the rows that these rest on).
_OfClasses = Callable[[_Column, _Column, _Column, _Column, int], tuple[list[float | None], list[int]]]
#: A mean over the classes rests on what their own scores have found out: those of the last few readings are kept.
_KEPT: Final = 4


def _accuracy(reading: Reading) -> Iterator[Value]:
    confusion = CONFUSION.of(reading)
    yield "", ratio(confusion.rows["correct"], confusion.judged), confusion.judged


def _shares(parts: _Column, others: _Column) -> tuple[list[float | None], list[int]]:
    """Each part of the sum of both, and these sums."""
    wholes = [*map(add, parts, others)]
    return [part / whole if whole else None for part, whole in zip(parts, wholes, strict=True)], wholes


@lru_cache(maxsize=_KEPT)
def _precision(tp: _Column, fp: _Column, _fn: _Column, _tn: _Column, _: int) -> tuple[list[float | None], list[int]]:
    return _shares(tp, fp)


@lru_cache(maxsize=_KEPT)
def _recall(tp: _Column, _fp: _Column, fn: _Column, _tn: _Column, _: int) -> tuple[list[float | None], list[int]]:
    return _shares(tp, fn)


@lru_cache(maxsize=_KEPT)
def _specificity(_tp: _Column, fp: _Column, _fn: _Column, tn: _Column, _: int) -> tuple[list[float | None], list[int]]:
    return _shares(tn, fp)


def _npv(_tp: _Column, _fp: _Column, fn: _Column, tn: _Column, _: int) -> tuple[list[float | None], list[int]]:
    return _shares(tn, fn)


@lru_cache(maxsize=_KEPT)
def _f1(tp: _Column, fp: _Column, fn: _Column, _tn: _Column, judged: int) -> tuple[list[float | None], list[int]]:
    values = [
        2 * right / (2 * right + one + other) if right or one or other else None
        for right, one, other in zip(tp, fp, fn, strict=True)
    ]
    return values, [judged] * len(tp)


def _of(score: _OfClasses, confusion: ConfusionReading) -> tuple[list[float | None], list[int]]:
    """A score of all classes that occur."""
    return _of_columns(score, confusion.occurring, confusion.judged)


def _of_columns(score: _OfClasses, columns: Columns, judged: int) -> tuple[list[float | None], list[int]]:
    return score(columns.tp, columns.fp, columns.fn, columns.tn, judged)


def _each(score: _OfClasses) -> Callable[[Reading], Iterator[Value]]:
    """A score of the positive class, or of every class that is shown."""

    def values(reading: Reading) -> Iterator[Value]:
        confusion = CONFUSION.of(reading)
        if reading.nature.task == "binary":
            positive = columns_of(confusion.outcomes)
            return zip(positive.classes, *_of_columns(score, positive, confusion.judged), strict=True)
        classes = confusion.occurring.classes
        found = zip(classes, *_of(score, confusion), strict=True)
        if not confusion.dropped_classes:
            return found
        shown = set(confusion.classes)
        return compress(found, [name in shown for name in classes])

    return values


def _mean(values: Iterable[float | None]) -> float | None:
    defined = [value for value in values if value is not None]
    return sum(defined) / len(defined) if defined else None


def _macro(score: _OfClasses) -> Callable[[Reading], Iterator[Value]]:
    """The mean of a score over all classes in which it is defined."""

    def values(reading: Reading) -> Iterator[Value]:
        confusion = CONFUSION.of(reading)
        yield "", _mean(_of(score, confusion)[0]), confusion.judged

    return values


def _weighted(score: _OfClasses) -> Callable[[Reading], Iterator[Value]]:
    """The mean of a score over all classes in which it is defined, each by its rows."""

    def values(reading: Reading) -> Iterator[Value]:
        confusion = CONFUSION.of(reading)
        pairs = zip(_of(score, confusion)[0], _of(_recall, confusion)[1], strict=True)
        defined = [(value * rows, rows) for value, rows in pairs if value is not None]
        mean = ratio(sum([product for product, _ in defined]), sum([rows for _, rows in defined]))
        yield "", mean, confusion.judged

    return values


def _balanced_accuracy(reading: Reading) -> Iterator[Value]:
    confusion = CONFUSION.of(reading)
    yield "", _mean(_of(_recall, confusion)[0]), confusion.judged


class _Margins(NamedTuple):
    """Of the rows of a confusion: all, the right ones, and sums over the classes of the products of how many are of a
    class (t) and how many were predicted to be (p).
    """

    rows: int
    right: int
    pt: int
    pp: int
    tt: int


def _margins(confusion: ConfusionReading) -> _Margins:
    p, t = _of(_precision, confusion)[1], _of(_recall, confusion)[1]
    sums = sum(map(mul, p, t)), sum(map(mul, p, p)), sum(map(mul, t, t))
    return _Margins(confusion.judged, confusion.rows["correct"], *sums)


def _mcc(reading: Reading) -> Iterator[Value]:
    it = _margins(CONFUSION.of(reading))
    square = (it.rows**2 - it.pp) * (it.rows**2 - it.tt)  # of whole numbers, so that 0 is 0
    yield "", ratio(it.right * it.rows - it.pt, math.sqrt(square)), it.rows


def _kappa(reading: Reading) -> Iterator[Value]:
    it = _margins(CONFUSION.of(reading))
    yield "", ratio(it.right * it.rows - it.pt, it.rows**2 - it.pt), it.rows


_CLASSES: Final = ("binary", "multiclass")
_MACRO: Final = ("multiclass",)
CLASSIFICATION: Final = (
    Formula("accuracy", "Share of the judged rows that are right.", _CLASSES, _accuracy, share=True),
    Formula(
        "precision",
        "Of the rows predicted to be of a class those that are.",
        _CLASSES,
        _each(_precision),
        by_class=True,
        share=True,
    ),
    Formula(
        "recall",
        "Of the rows of a class those that were predicted to be.",
        _CLASSES,
        _each(_recall),
        by_class=True,
        share=True,
    ),
    Formula(
        "specificity",
        "Of the rows of other classes those not predicted to be.",
        _CLASSES,
        _each(_specificity),
        by_class=True,
        share=True,
    ),
    Formula("f1", "Harmonic mean of precision and recall.", _CLASSES, _each(_f1), by_class=True),
    Formula(
        "npv",
        "Of the rows predicted not to be of a class those that are not.",
        _CLASSES,
        _each(_npv),
        by_class=True,
        share=True,
    ),
    Formula("balanced_accuracy", "Mean recall over the classes that rows are of.", _CLASSES, _balanced_accuracy),
    Formula("mcc", "Matthews' correlation of predicted and actual classes, -1 to 1.", _CLASSES, _mcc),
    Formula("kappa", "Cohen's kappa: agreement beyond that of chance.", _MACRO, _kappa),
    Formula("precision_macro", "Mean precision over the classes.", _MACRO, _macro(_precision)),
    Formula("recall_macro", "Mean recall over the classes.", _MACRO, _macro(_recall)),
    Formula("specificity_macro", "Mean specificity over the classes.", _MACRO, _macro(_specificity)),
    Formula("f1_macro", "Mean F1 over the classes.", _MACRO, _macro(_f1)),
    Formula("precision_weighted", "Mean precision, each class by its rows.", _MACRO, _weighted(_precision)),
    Formula("recall_weighted", "Mean recall, each class by its rows.", _MACRO, _weighted(_recall)),
    Formula("f1_weighted", "Mean F1, each class by its rows.", _MACRO, _weighted(_f1)),
    Formula("precision_micro", "Precision of all rows together: the accuracy.", _MACRO, _accuracy),
    Formula("recall_micro", "Recall of all rows together: the accuracy.", _MACRO, _accuracy),
    Formula("f1_micro", "F1 of all rows together: the accuracy.", _MACRO, _accuracy),
)
