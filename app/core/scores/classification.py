"""Scores of classification, as in scikit-learn with `zero_division=nan` over the classes that occur.

Sources: scikit-learn's `precision_recall_fscore_support`, `accuracy_score`, `balanced_accuracy_score`,
`matthews_corrcoef` and `cohen_kappa_score`; specificity is the recall of the rest, npv its precision.

A binary model has those of its positive class as its own. A multiclass model has those of each class, and over the
classes in which they are defined their mean (macro) and their mean weighted by the rows of each class (weighted). Of
all rows together (micro) they are the accuracy.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import compress
from typing import Final, NamedTuple

from app.core.measures.confusion import CONFUSION, ConfusionReading, Outcomes
from app.core.measures.reading import Reading
from app.core.scores.score import Formula, Value, ratio

#: A score of many classes at once, since there may be a thousand: (their tp, fp, fn and tn, rows judged in all) →
#: (their values, the rows that these rest on).
_OfClasses = Callable[
    [Sequence[int], Sequence[int], Sequence[int], Sequence[int], int], tuple[list[float | None], Sequence[int]]
]


def _accuracy(reading: Reading) -> Iterator[Value]:
    confusion = CONFUSION.of(reading)
    yield "", ratio(confusion.rows["correct"], confusion.judged), confusion.judged


def _ratios(parts: Sequence[int], wholes: Sequence[int]) -> list[float | None]:
    return [part / whole if whole else None for part, whole in zip(parts, wholes, strict=True)]


def _sums(ones: Sequence[int], others: Sequence[int]) -> list[int]:
    return [one + other for one, other in zip(ones, others, strict=True)]


def _precision(
    tp: Sequence[int], fp: Sequence[int], _fn: Sequence[int], _tn: Sequence[int], _: int
) -> tuple[list[float | None], Sequence[int]]:
    wholes = _sums(tp, fp)
    return _ratios(tp, wholes), wholes


def _recall(
    tp: Sequence[int], _fp: Sequence[int], fn: Sequence[int], _tn: Sequence[int], _: int
) -> tuple[list[float | None], Sequence[int]]:
    wholes = _sums(tp, fn)
    return _ratios(tp, wholes), wholes


def _specificity(
    _tp: Sequence[int], fp: Sequence[int], _fn: Sequence[int], tn: Sequence[int], _: int
) -> tuple[list[float | None], Sequence[int]]:
    wholes = _sums(tn, fp)
    return _ratios(tn, wholes), wholes


def _npv(
    _tp: Sequence[int], _fp: Sequence[int], fn: Sequence[int], tn: Sequence[int], _: int
) -> tuple[list[float | None], Sequence[int]]:
    wholes = _sums(tn, fn)
    return _ratios(tn, wholes), wholes


def _f1(
    tp: Sequence[int], fp: Sequence[int], fn: Sequence[int], _tn: Sequence[int], judged: int
) -> tuple[list[float | None], Sequence[int]]:
    double = [2 * one for one in tp]
    return _ratios(double, _sums(double, _sums(fp, fn))), [judged] * len(tp)


def _of(score: _OfClasses, outcomes: Iterable[Outcomes], judged: int) -> tuple[list[float | None], Sequence[int]]:
    tp, fp, fn, tn = zip(*outcomes, strict=True)
    return score(tp, fp, fn, tn, judged)


def _each(score: _OfClasses) -> Callable[[Reading], Iterator[Value]]:
    """A score of the positive class, or of every class that is shown."""

    def values(reading: Reading) -> Iterator[Value]:
        confusion = CONFUSION.of(reading)
        classes = confusion.outcomes if reading.nature.task == "binary" else confusion.occurring
        if not classes:
            return
        found = zip(classes, *_of(score, classes.values(), confusion.judged), strict=True)
        if classes is confusion.outcomes:
            yield from found
        else:
            shown = set(confusion.classes)
            yield from compress(found, [name in shown for name in classes])

    return values


def _macro(score: _OfClasses) -> Callable[[Reading], Iterator[Value]]:
    """The mean of a score over all classes in which it is defined."""

    def values(reading: Reading) -> Iterator[Value]:
        confusion = CONFUSION.of(reading)
        found = _of(score, confusion.occurring.values(), confusion.judged)[0] if confusion.occurring else ()
        defined = [value for value in found if value is not None]
        yield "", sum(defined) / len(defined) if defined else None, confusion.judged

    return values


def _weighted(score: _OfClasses) -> Callable[[Reading], Iterator[Value]]:
    """The mean of a score over all classes in which it is defined, each by its rows."""

    def values(reading: Reading) -> Iterator[Value]:
        confusion = CONFUSION.of(reading)
        occurring = confusion.occurring.values()
        found = _of(score, occurring, confusion.judged)[0] if occurring else ()
        pairs = zip(found, (one.tp + one.fn for one in occurring), strict=True)
        defined = [(value, rows) for value, rows in pairs if value is not None]
        yield (
            "",
            ratio(sum(value * rows for value, rows in defined), sum(rows for _, rows in defined)),
            confusion.judged,
        )

    return values


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
