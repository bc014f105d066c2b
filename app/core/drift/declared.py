"""Declared features: what the user says that values of a feature may be.

A value is missing, invalid or valid. Missing are null, NaN and an empty text; they are never invalid. A number is valid
within its bounds, both included; what is no number is invalid there. A category is valid where it is one of those
named, by its canonical text, as in references.
"""

import math
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from app.core.drift.distribution import category_of, number_in

#: The bins of a declared feature, and of a row: it is invalid where any of its values is.
MISSING, INVALID, VALID = range(3)
#: What the rows as a whole are called where features stand.
ROW: Final = "(row)"


class Declared(NamedTuple):
    """One declared feature: bounds of its numbers, or the canonical texts of its categories."""

    name: str
    least: float | None = None
    most: float | None = None
    one_of: tuple[str, ...] = ()


class Validity(NamedTuple):
    """How many rows of a declared feature there are, and how many of them are missing and invalid."""

    rows: int
    missing: int
    invalid: int


def checking(declared: Declared) -> Callable[[Any], int]:
    """What finds whether a value is missing, invalid or valid; the value may be anything that JSON has."""
    return _by_categories(frozenset(declared.one_of)) if declared.one_of else _by_bounds(declared)


def _by_categories(allowed: frozenset[str]) -> Callable[[Any], int]:
    def check(value: Any) -> int:
        text = category_of(value)
        if text is None:
            return MISSING
        return VALID if text in allowed else INVALID

    return check


def _by_bounds(declared: Declared) -> Callable[[Any], int]:
    least = -math.inf if declared.least is None else declared.least
    most = math.inf if declared.most is None else declared.most

    def check(value: Any) -> int:
        number = number_in(value)
        if number is None:
            return _of_no_number(value)
        return VALID if least <= number <= most else INVALID

    return check


def _of_no_number(value: Any) -> int:
    """An infinite number is one out of bounds."""
    if isinstance(value, int) or (isinstance(value, float) and not math.isnan(value)):
        return INVALID
    return MISSING if category_of(value) is None else INVALID
