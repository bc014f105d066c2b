"""Building: the distribution of a column of training data.

Numbers get bins with about as many rows each (quantiles), categories are kept by count and the rest is one.
"""

from bisect import bisect_left
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

from app.core.drift.distribution import REST, Distribution, Kind, category_of, number_in

BINS: Final = 10
CATEGORIES: Final = 50
#: Numbers are categories (codes) where they have at most so many values, with so many rows each on average.
_FEW_VALUES: Final = 10
_ROWS_A_VALUE: Final = 20
#: A column is of numbers where this share of what it has is.
_SHARE_OF_NUMBERS: Final = 0.9


def kind_of(values: Sequence[Any]) -> Kind:
    """Whether a column is of numbers or of categories, by what it has."""
    numbers = [number for value in values if (number := number_in(value)) is not None]
    known = sum(category_of(value) is not None for value in values)
    if not numbers or len(numbers) < _SHARE_OF_NUMBERS * known or all(type(value) is bool for value in values):
        return "categorical"
    distinct = len(set(numbers))
    few = distinct <= 2 or (distinct <= _FEW_VALUES and len(numbers) >= _ROWS_A_VALUE * distinct)
    return "categorical" if few else "continuous"


def distribution_of(
    name: str, values: Sequence[Any], kind: Kind | None = None, *, bins: int = BINS, categories: int = CATEGORIES
) -> Distribution:
    """The distribution of a column, as the kind that it is given or shows itself."""
    kind = kind or kind_of(values)
    return _of_numbers(name, values, bins) if kind == "continuous" else _of_categories(name, values, categories)


def _of_numbers(name: str, values: Sequence[Any], bins: int) -> Distribution:
    numbers = Counter(number for value in values if (number := number_in(value)) is not None)
    return of_counted(name, numbers, len(values) - numbers.total(), bins)


def of_counted(name: str, numbers: Mapping[float, int], missing: int = 0, bins: int = BINS) -> Distribution:
    """The distribution of numbers, each with how many rows have it."""
    ordered = sorted(numbers)
    rows = sum(numbers.values())
    # The least number is an edge of its own, so that what is below it is known.
    edges = ordered[:1] or [0.0]
    before, part = 0, 1
    for number in ordered:
        before += numbers[number]
        if before * bins >= part * rows:
            part = before * bins // rows + 1
            if number != edges[-1]:
                edges.append(number)
    counts = [0] * len(edges)
    for number in ordered:
        counts[bisect_left(edges, number)] += numbers[number]
    return Distribution(name, "continuous", tuple(edges), (), tuple(counts), missing)


def _of_categories(name: str, values: Sequence[Any], categories: int) -> Distribution:
    counted = Counter(category_of(value) for value in values)
    missing = counted.pop(None, 0)
    ranked = sorted(counted.items(), key=lambda one: (-one[1], one[0] or ""))
    kept = ranked if len(ranked) <= categories else [*ranked[: categories - 1]]
    rest = sum(count for _, count in ranked[len(kept) :])
    counts = {str(category): count for category, count in kept}
    if rest:
        counts[REST] = counts.get(REST, 0) + rest
    return Distribution(name, "categorical", (), tuple(counts), tuple(counts.values()), missing)
