"""What a score is: a formula over a reading, one row each, and its value with the rows that it rests on."""

import math
from collections.abc import Callable, Iterator
from statistics import NormalDist
from typing import Final, NamedTuple

from app.core.measures.reading import Reading

_Z: Final = NormalDist().inv_cdf(0.975)

#: (class, "" for the whole model; value, None where it is undefined; the rows that it rests on: its denominator)
Value = tuple[str, float | None, int]


class Formula(NamedTuple):
    """One score: its name, what it says, the tasks that have it, and how it is computed."""

    name: str
    help: str
    tasks: tuple[str, ...]
    values: Callable[[Reading], Iterator[Value]]
    in_units: bool = False  # whether the value has the unit of the label
    by_class: bool = False  # whether there is one of each class
    share: bool = False  # whether it is a share of the rows that it rests on
    bounded: bool = True  # whether it lies between -1 and 1
    of_labels: bool = True  # whether it can be asked of labels alone


class Score(NamedTuple):
    """One score of a model (`of_class` "") or of one class. `value` is None where it is undefined."""

    name: str
    of_class: str
    value: float | None
    samples: int  # the rows that the value rests on: its denominator


def wilson(share: float, rows: float) -> tuple[float, float]:
    """The 95 % interval of a share of so many rows (Wilson 1927), which holds near 0 and 1 and for few rows too."""
    middle = share + _Z**2 / (2 * rows)
    width = _Z * math.sqrt(share * (1 - share) / rows + (_Z / (2 * rows)) ** 2)
    whole = 1 + _Z**2 / rows
    return max(0.0, (middle - width) / whole), min(1.0, (middle + width) / whole)


def ratio(part: float, whole: float) -> float | None:
    """A part of a whole, undefined where there is no whole."""
    return part / whole if whole else None
