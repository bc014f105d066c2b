"""Scores of classification, as in scikit-learn with `zero_division=nan` over the classes that occur.

Sources: scikit-learn's `precision_recall_fscore_support`, `accuracy_score`, `balanced_accuracy_score`,
`matthews_corrcoef` and `cohen_kappa_score`; specificity is the recall of the rest, npv its precision.

A binary model has those of its positive class as its own. A multiclass model has those of each class, and over the
classes in which they are defined their mean (macro), their mean weighted by the rows of each class (weighted), and that
of all rows together (micro).
"""

import math
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from app.core.measures.confusion import CONFUSION, ConfusionReading, Outcomes
from app.core.measures.reading import Reading
from app.core.scores.score import Formula, Value, ratio

#: (outcomes of a class, rows judged in all) → (value, the rows that it rests on)
_OfClass = Callable[[Outcomes, int], tuple[float | None, int]]


def _accuracy(reading: Reading) -> Iterator[Value]:
    confusion = CONFUSION.of(reading)
    yield "", ratio(confusion.rows["correct"], confusion.judged), confusion.judged


def _precision(one: Outcomes, _: int) -> tuple[float | None, int]:
    return ratio(one.tp, one.tp + one.fp), one.tp + one.fp


def _recall(one: Outcomes, _: int) -> tuple[float | None, int]:
    return ratio(one.tp, one.tp + one.fn), one.tp + one.fn


def _specificity(one: Outcomes, _: int) -> tuple[float | None, int]:
    return ratio(one.tn, one.tn + one.fp), one.tn + one.fp


def _npv(one: Outcomes, _: int) -> tuple[float | None, int]:
    return ratio(one.tn, one.tn + one.fn), one.tn + one.fn


def _f1(one: Outcomes, judged: int) -> tuple[float | None, int]:
    return ratio(2 * one.tp, 2 * one.tp + one.fp + one.fn), judged


def _balanced_accuracy(reading: Reading) -> Iterator[Value]:
    confusion = CONFUSION.of(reading)
    recalls = [one.tp / (one.tp + one.fn) for one in confusion.occurring.values() if one.tp + one.fn]
    yield "", ratio(sum(recalls), len(recalls)), confusion.judged


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
    both = [(one.tp + one.fp, one.tp + one.fn) for one in confusion.occurring.values()]
    sums = (sum(p * t for p, t in both), sum(p * p for p, _ in both), sum(t * t for _, t in both))
    return _Margins(confusion.judged, confusion.rows["correct"], *sums)


def _mcc(reading: Reading) -> Iterator[Value]:
    it = _margins(CONFUSION.of(reading))
    square = (it.rows**2 - it.pp) * (it.rows**2 - it.tt)  # of whole numbers, so that 0 is 0
    yield "", ratio(it.right * it.rows - it.pt, math.sqrt(square)), it.rows


def _kappa(reading: Reading) -> Iterator[Value]:
    it = _margins(CONFUSION.of(reading))
    yield "", ratio(it.right * it.rows - it.pt, it.rows**2 - it.pt), it.rows


def _each(of_class: _OfClass) -> Callable[[Reading], Iterator[Value]]:
    """A score of the positive class, or of every class that is shown."""

    def values(reading: Reading) -> Iterator[Value]:
        confusion = CONFUSION.of(reading)
        if reading.nature.task == "binary":
            yield "", *of_class(confusion.outcomes[""], confusion.judged)
            return
        shown = set(confusion.classes)
        for name, one in confusion.occurring.items():
            if name in shown:
                yield name, *of_class(one, confusion.judged)

    return values


def _macro(of_class: _OfClass) -> Callable[[Reading], Iterator[Value]]:
    """The mean of a score over all classes in which it is defined."""

    def values(reading: Reading) -> Iterator[Value]:
        confusion = CONFUSION.of(reading)
        found = [of_class(one, confusion.judged)[0] for one in confusion.occurring.values()]
        defined = [value for value in found if value is not None]
        yield "", sum(defined) / len(defined) if defined else None, confusion.judged

    return values


def _weighted(of_class: _OfClass) -> Callable[[Reading], Iterator[Value]]:
    """The mean of a score over all classes in which it is defined, each by its rows."""

    def values(reading: Reading) -> Iterator[Value]:
        confusion = CONFUSION.of(reading)
        found = [
            (value, one.tp + one.fn)
            for one in confusion.occurring.values()
            if (value := of_class(one, confusion.judged)[0]) is not None
        ]
        yield "", ratio(sum(value * rows for value, rows in found), sum(rows for _, rows in found)), confusion.judged

    return values


def _micro(of_class: _OfClass) -> Callable[[Reading], Iterator[Value]]:
    """A score of the outcomes of all classes together."""

    def values(reading: Reading) -> Iterator[Value]:
        confusion = CONFUSION.of(reading)
        together = Outcomes(*map(sum, zip(*confusion.occurring.values(), strict=True)))
        yield "", of_class(together, confusion.judged)[0], confusion.judged

    return values


_CLASSES: Final = ("binary", "multiclass")
_MACRO: Final = ("multiclass",)
CLASSIFICATION: Final = (
    Formula("accuracy", "Share of the judged rows that are right.", _CLASSES, _accuracy),
    Formula("precision", "Of the rows predicted to be of a class those that are.", _CLASSES, _each(_precision)),
    Formula("recall", "Of the rows of a class those that were predicted to be.", _CLASSES, _each(_recall)),
    Formula("specificity", "Of the rows of other classes those not predicted to be.", _CLASSES, _each(_specificity)),
    Formula("f1", "Harmonic mean of precision and recall.", _CLASSES, _each(_f1)),
    Formula("npv", "Of the rows predicted not to be of a class those that are not.", _CLASSES, _each(_npv)),
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
    Formula("precision_micro", "Precision of all classes together: the accuracy.", _MACRO, _micro(_precision)),
    Formula("recall_micro", "Recall of all classes together: the accuracy.", _MACRO, _micro(_recall)),
    Formula("f1_micro", "F1 of all classes together: the accuracy.", _MACRO, _micro(_f1)),
)
