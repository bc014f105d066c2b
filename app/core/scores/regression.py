"""Scores of regression, as scikit-learn has them; undefined where it forces a number.

Sources: scikit-learn's `mean_absolute_error`, `mean_squared_error`, `mean_absolute_percentage_error` (a fraction) and
`r2_score` with `force_finite=False`. Errors are prediction minus label. Where a label is 0 there is no MAPE; where all
labels are the same there is no R².
"""

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from app.core.measures.confusion import CONFUSION
from app.core.measures.errors import ERRORS, UNIT_BITS, Errors, merged, number_of, sums_of
from app.core.measures.reading import Reading
from app.core.scores.score import Formula, Value


def errors_of(reading: Reading) -> Errors:
    """Those of all labelled rows: where both are whole numbers, a row has been judged like classes."""
    pairs = []
    for (actual, predicted), rows in (CONFUSION.of(reading).as_classes or {}).items():
        prediction, label = number_of(predicted), number_of(actual)
        if prediction is not None and label is not None:
            pairs.append((prediction, label, rows))
    errors = ERRORS.of(reading)
    return merged(errors, sums_of(pairs)) if pairs else errors


def _score(formula: Callable[[Errors], float | None], reading: Reading) -> Iterator[Value]:
    errors = errors_of(reading)
    yield "", formula(errors) if errors.rows else None, errors.rows


def _mae(it: Errors) -> float:
    return it.absolute / (it.rows << UNIT_BITS)


def _mse(it: Errors) -> float:
    return it.square / (it.rows << 2 * UNIT_BITS)


def _bias(it: Errors) -> float:
    return it.error / (it.rows << UNIT_BITS)


def _mape(it: Errors) -> float | None:
    return None if it.zeros else it.share / (it.rows << UNIT_BITS)


def _r2(it: Errors) -> float | None:
    spread = it.rows * it.label_square - it.label**2
    return (spread - it.rows * it.square) / spread if spread else None


def _of_errors(name: str, text: str, formula: Callable[[Errors], float | None], *, in_units: bool = True) -> Formula:
    return Formula(name, text, ("regression",), partial(_score, formula), in_units, bounded=name == "r2")


def _size_at(percent: int) -> Callable[[Errors], float | None]:
    return lambda it: it.size_at(percent)


REGRESSION: Final = (
    _of_errors("mae", "Mean error, without its sign.", _mae),
    _of_errors("mse", "Mean square of the error.", _mse),
    _of_errors("rmse", "Square root of the mean square of the error.", lambda it: math.sqrt(_mse(it))),
    _of_errors("bias", "Mean error: predictions minus labels.", _bias),
    _of_errors("error_p50", "Error that half of the rows do not exceed, within 1.6 %.", _size_at(50)),
    _of_errors("error_p90", "Error that 90 % of the rows do not exceed, within 1.6 %.", _size_at(90)),
    _of_errors("error_p99", "Error that 99 % of the rows do not exceed, within 1.6 %.", _size_at(99)),
    _of_errors("max_error", "Largest error, within 1.6 %.", _size_at(100)),
    _of_errors("mape", "Mean error as a share of the label; undefined where a label is 0.", _mape, in_units=False),
    _of_errors("r2", "Share of the labels' variance that the predictions explain.", _r2, in_units=False),
)
