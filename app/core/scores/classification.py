"""Scores of classification, as in scikit-learn with `zero_division=nan` over the classes that occur.

Sources: scikit-learn's `precision_recall_fscore_support` and `accuracy_score`; specificity is the recall of the rest.
A binary model has those of its positive class as its own. A multiclass model has those of each class, and their mean
over the classes in which they are defined (macro).
"""

from collections.abc import Callable, Iterator
from typing import Final

from app.core.measures.confusion import CONFUSION, Outcomes
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


def _f1(one: Outcomes, judged: int) -> tuple[float | None, int]:
    return ratio(2 * one.tp, 2 * one.tp + one.fp + one.fn), judged


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


_CLASSES: Final = ("binary", "multiclass")
_MACRO: Final = ("multiclass",)
CLASSIFICATION: Final = (
    Formula("accuracy", "Share of the judged rows that are right.", _CLASSES, _accuracy),
    Formula("precision", "Of the rows predicted to be of a class those that are.", _CLASSES, _each(_precision)),
    Formula("recall", "Of the rows of a class those that were predicted to be.", _CLASSES, _each(_recall)),
    Formula("specificity", "Of the rows of other classes those not predicted to be.", _CLASSES, _each(_specificity)),
    Formula("f1", "Harmonic mean of precision and recall.", _CLASSES, _each(_f1)),
    Formula("precision_macro", "Mean precision over the classes.", _MACRO, _macro(_precision)),
    Formula("recall_macro", "Mean recall over the classes.", _MACRO, _macro(_recall)),
    Formula("specificity_macro", "Mean specificity over the classes.", _MACRO, _macro(_specificity)),
    Formula("f1_macro", "Mean F1 over the classes.", _MACRO, _macro(_f1)),
)
