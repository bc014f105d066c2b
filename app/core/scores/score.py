"""What a score is: a formula over a reading, one row each, and its value with the rows that it rests on."""

from collections.abc import Callable, Iterator
from typing import NamedTuple

from app.core.measures.reading import Reading

#: (class, "" for the whole model; value, None where it is undefined; the rows that it rests on: its denominator)
Value = tuple[str, float | None, int]


class Formula(NamedTuple):
    """One score: its name, what it says, the tasks that have it, and how it is computed."""

    name: str
    help: str
    tasks: tuple[str, ...]
    values: Callable[[Reading], Iterator[Value]]
    in_units: bool = False  # whether the value has the unit of the label


class Score(NamedTuple):
    """One score of a model (`of_class` "") or of one class. `value` is None where it is undefined."""

    name: str
    of_class: str
    value: float | None
    samples: int  # the rows that the value rests on: its denominator


def ratio(part: float, whole: float) -> float | None:
    """A part of a whole, undefined where there is no whole."""
    return part / whole if whole else None
