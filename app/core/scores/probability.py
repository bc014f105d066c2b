"""Scores of probabilities, as scikit-learn has them, on the labelled rows that have any; none where no row has.

Sources: scikit-learn's `log_loss`, `brier_score_loss` with `scale_by_half="auto"` (of more than two classes the sum
over them, 2 at most), `roc_auc_score` and `average_precision_score`; the expected calibration error of Naeini et al.
2015 with ten bins of equal width, closed on the right, as `calibration_curve` has them (`strategy="uniform"`).

The last two of these know a probability by its fine bin alone (`app.core.measures.probabilities`), so they take rows of
one bin to be ties. By how much that may be wrong is worked out beside each: of the area half of the pairs of a positive
and a negative row that share a bin; of the average precision what any order within the bins could make of it.
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

import scipy

from app.core.measures.probabilities import PROBABILITIES, UNIT_BITS, Probabilities
from app.core.measures.ranks import RANKS, Sides
from app.core.measures.reading import Reading
from app.core.scores.score import Formula, Value, ratio


def _score(formula: Callable[[Probabilities], float | None], reading: Reading) -> Iterator[Value]:
    found = PROBABILITIES.of(reading)
    if found.rows:
        yield "", formula(found), found.rows


def _log_loss(it: Probabilities) -> float:
    return it.log_loss / (it.rows << UNIT_BITS)


def _brier(it: Probabilities) -> float:
    return it.brier / (it.rows << UNIT_BITS)


def _ece(it: Probabilities) -> float:
    return sum(abs((one.right << UNIT_BITS) - one.confidence) for one in it.bins) / (it.rows << UNIT_BITS)


def _of_sides(formula: Callable[[Sides], float | None], reading: Reading) -> Iterator[Value]:
    """Of two classes that of the positive one, of more that of each."""
    sides = PROBABILITIES.of(reading).sides
    rows = sum(map(sum, sides))
    if rows:
        yield "", formula(sides), rows
    for of_class, sides in RANKS.of(reading).items():
        yield of_class, formula(sides), sum(map(sum, sides))


def _macro(formula: Callable[[Sides], float | None], reading: Reading) -> Iterator[Value]:
    """The mean over the classes in which it is defined; the rows are those of any class, which all have."""
    ranks = RANKS.of(reading)
    if ranks:
        values = [value for value in map(formula, ranks.values()) if value is not None]
        yield "", ratio(math.fsum(values), len(values)), max(sum(map(sum, sides)) for sides in ranks.values())


def _roc_auc(it: Sides) -> float | None:
    positives, negatives = map(sum, zip(*it, strict=True))
    below = doubled = 0
    for positive, negative in it:
        doubled += positive * (2 * below + negative)
        below += negative
    return ratio(doubled, 2 * positives * negatives)


def _roc_auc_error(it: Sides) -> float | None:
    positives, negatives = map(sum, zip(*it, strict=True))
    return ratio(sum(positive * negative for positive, negative in it), 2 * positives * negatives)


def _average_precision(it: Sides) -> float | None:
    return _precisions(it)[1]


def _average_precision_error(it: Sides) -> float | None:
    least, found, most = _precisions(it)
    return None if least is None or found is None or most is None else max(found - least, most - found)


def _precisions(it: Sides) -> tuple[float | None, float | None, float | None]:
    """The least average precision that any order within the bins has, that of ties, and the highest."""
    positives = sum(positive for positive, _ in it)
    least = found = most = 0.0
    above, others = 0, 0  # rows of higher bins
    for positive, negative in reversed(it):
        # All negative rows of the bin before its first positive one: above + 1 of above + 1 + others, and so on.
        if positive:
            behind = others + negative
            harmonic = scipy.special.digamma(above + behind + positive + 1) - scipy.special.digamma(above + behind + 1)
            least += positive - behind * float(harmonic)
            found += positive * (above + positive) / (above + positive + behind)
            most += positive * (above + positive) / (above + positive + others)
        above, others = above + positive, others + negative
    return ratio(least, positives), ratio(found, positives), ratio(most, positives)


_TASKS: Final = ("binary", "multiclass")


def _formula(name: str, text: str, formula: Callable[[Probabilities], float | None], *, bounded: bool) -> Formula:
    return Formula(name, text, _TASKS, partial(_score, formula), bounded=bounded)


def _formula_of_sides(name: str, text: str, formula: Callable[[Sides], float | None]) -> Formula:
    return Formula(name, text, _TASKS, partial(_of_sides, formula), by_class=True)


def _macro_formula(name: str, text: str, formula: Callable[[Sides], float | None]) -> Formula:
    return Formula(name, text, ("multiclass",), partial(_macro, formula))


PROBABILITY: Final = (
    _formula("log_loss", "Mean of minus the logarithm of the actual class's probability.", _log_loss, bounded=False),
    _formula(
        "brier",
        "Mean square of the positive class's probability less what it should be; of more classes summed over these.",
        _brier,
        bounded=False,
    ),
    _formula("ece", "By how much confidences differ from how often they are right, over ten bins.", _ece, bounded=True),
    _formula_of_sides(
        "roc_auc",
        "Area under the ROC curve, of the positive class of two, or of each against the rest; within `roc_auc_error`.",
        _roc_auc,
    ),
    _formula_of_sides("roc_auc_error", "By how much `roc_auc` may be off at most.", _roc_auc_error),
    _formula_of_sides(
        "average_precision",
        "Average precision of the same; within `average_precision_error`.",
        _average_precision,
    ),
    _formula_of_sides(
        "average_precision_error", "By how much `average_precision` may be off at most.", _average_precision_error
    ),
    _macro_formula("roc_auc_macro", "Mean `roc_auc` over the classes; within `roc_auc_macro_error`.", _roc_auc),
    _macro_formula("roc_auc_macro_error", "By how much `roc_auc_macro` may be off at most.", _roc_auc_error),
    _macro_formula(
        "average_precision_macro",
        "Mean `average_precision` over the classes; within `average_precision_macro_error`.",
        _average_precision,
    ),
    _macro_formula(
        "average_precision_macro_error",
        "By how much `average_precision_macro` may be off at most.",
        _average_precision_error,
    ),
)
