"""A distribution: how often each bin of a feature, of predictions or of labels occurs in a reference.

Its bins have numbers, which live counts go by:

    0           missing: null, NaN, ±infinity, what is no number where numbers are expected, an empty text
    1           below all numbers of the reference; of categories: unseen, one that the reference has not
    2, 3 …      the bins of the reference
    the last    of numbers alone: above all of the reference

A bin of numbers has all from above the edge before it up to its own, both as boxkite's histograms have them; the first
has the least number of the reference alone. A category is a text: of a number its canonical text, so that 1, 1.0, "1.0"
and true are one.
"""

import math
from bisect import bisect_left
from collections.abc import Callable
from typing import Any, Final, Literal, NamedTuple

Kind = Literal["continuous", "categorical"]

MISSING: Final = 0
BELOW: Final = 1
UNSEEN: Final = 1
FIRST: Final = 2
#: The category that stands for all which the reference does not name.
REST: Final = "(other)"
#: Bins of one distribution, so that the number of one fits two bytes.
MOST_BINS: Final = 1000
#: Characters of a category; of longer texts the beginning counts.
LONGEST: Final = 100

_LARGEST_WHOLE: Final = 2.0**53
_NOTHING: Final = ("", "nan")
_TRUTHS: Final = {"true": "1", "false": "0"}
_BEGIN_NUMBERS: Final = frozenset("0123456789+-.")


class Distribution(NamedTuple):
    """One feature, the predictions or the labels of a reference.

    `edges` are ascending, the highest is the greatest number of the reference; `categories` are canonical texts.
    `counts` has one number for each of either.
    """

    name: str
    kind: Kind
    edges: tuple[float, ...]
    categories: tuple[str, ...]
    counts: tuple[int, ...]
    missing: int = 0

    @property
    def size(self) -> int:
        """How many bins there are, by their numbers."""
        return FIRST + len(self.edges) + 1 if self.kind == "continuous" else FIRST + len(self.categories)

    @property
    def rows(self) -> int:
        """Of how many rows the reference is."""
        return sum(self.counts) + self.missing

    def by_bin(self) -> list[int]:
        """The reference's counts by the number of a bin."""
        rest = [0] if self.kind == "continuous" else []
        return [self.missing, 0, *self.counts, *rest]

    def names_of_bins(self) -> list[str]:
        """What bins are called, by their numbers."""
        if self.kind == "categorical":
            return ["missing", "unseen", *self.categories]
        return ["missing", "below", *(f"≤ {edge:g}" for edge in self.edges), "above"]


def binning(distribution: Distribution) -> Callable[[Any], int]:
    """What finds the number of the bin that a value is in; the value may be anything that JSON has."""
    return _by_numbers(distribution.edges) if distribution.kind == "continuous" else _by_categories(distribution)


def _by_numbers(edges: tuple[float, ...]) -> Callable[[Any], int]:
    count = len(edges)

    def number_of(value: Any) -> int:
        if type(value) is float:
            place = bisect_left(edges, value)
            if 0 < place < count:
                return FIRST + place
        else:
            number = number_in(value)
            if number is None:
                return MISSING
            value = number
            place = bisect_left(edges, value)
        if not -math.inf < value < math.inf:
            return MISSING
        return BELOW if place == 0 < count and value != edges[0] else FIRST + place

    return number_of


def _by_categories(distribution: Distribution) -> Callable[[Any], int]:
    numbers = {category: FIRST + place for place, category in enumerate(distribution.categories)}
    rest = numbers.get(REST, UNSEEN)
    quick = {category: number for category, number in numbers.items() if category_of(category) == category}

    def number_of(value: Any) -> int:
        number = quick.get(value) if type(value) is str else None
        if number is not None:
            return number
        text = category_of(value)
        return MISSING if text is None else numbers.get(text, rest)

    return number_of


def number_in(value: Any) -> float | None:
    """The number that something is or says as a text; None where it is none or not finite."""
    if type(value) is str and "_" not in value and len(value) <= LONGEST:
        try:
            number = float(value)
        except ValueError:
            return None
    elif isinstance(value, int | float):
        try:
            number = float(value)
        except OverflowError:
            return None
    else:
        return None
    return number if math.isfinite(number) else None


def category_of(value: Any) -> str | None:
    """The category that a value is; None where it is missing. Of a list or an object its kind alone counts."""
    kind = type(value)
    if kind is str:
        text = value.strip()
        number = number_in(text) if text[:1] in _BEGIN_NUMBERS else None
        if number is None:
            lower = text.lower()
            return None if lower in _NOTHING else _TRUTHS.get(lower) or text[:LONGEST]
        value = number
    elif kind is not bool and kind is not int and kind is not float:
        return None if value is None else "(list)" if kind is list else "(object)"
    number = number_in(value)
    if number is None:
        return None
    return str(int(number)) if number.is_integer() and abs(number) < _LARGEST_WHOLE else repr(number)
