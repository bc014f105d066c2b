"""Scores of probabilities, those of two classes exact."""

import math
import sys
from bisect import bisect_left
from collections.abc import Iterator

from tests.oracle.classes import Chances
from tests.oracle.comparison import ratio

#: (score, class, value, rows)
Scored = tuple[str, str, float | None, int]


def probability_scores(rows: list[Chances], declared: tuple[str, ...]) -> Iterator[Scored]:
    """All of them on some rows; what says how exact ours are is 0 here."""
    count = len(rows)
    if all(row.bare for row in rows):
        return
    epsilon = sys.float_info.epsilon
    losses = [-math.log(min(max(row.values[row.label], epsilon), 1 - epsilon)) for row in rows]
    yield "log_loss", "", math.fsum(losses) / count, count
    yield "brier", "", math.fsum(row.brier for row in rows) / count, count
    bins: dict[int, float] = {}
    for row in rows:
        place = row.values.index(max(row.values)) if row.positive is None else row.positive
        confidence = row.values[place]
        own = bisect_left([number * 0.1 for number in range(1, 10)], confidence)
        bins[own] = bins.get(own, 0.0) + (row.label == place) - confidence
    yield "ece", "", math.fsum(map(abs, bins.values())) / count, count
    of_two = [(row.values[row.positive], row.label == row.positive) for row in rows if row.positive is not None]
    if of_two:
        for name, value in _ranking(of_two):
            yield name, "", value, len(of_two)
    ranked = [row for row in rows if row.names]
    found: dict[str, list[float | None]] = {}
    for of_class in declared if ranked else ():
        places = [(row, row.names.index(of_class)) for row in ranked if of_class in row.names]
        sides = [(row.values[place], row.label == place) for row, place in places]
        for name, value in _ranking(sides) if sides else ():
            yield name, of_class, value, len(sides)
            found.setdefault(name, []).append(value)
    for name, values in found.items():
        defined = [value for value in values if value is not None]
        macro = f"{name.removesuffix('_error')}_macro{'_error' if name.endswith('_error') else ''}"
        yield macro, "", ratio(math.fsum(defined), len(defined)), len(ranked)


def _ranking(rows: list[tuple[float, bool]]) -> Iterator[tuple[str, float | None]]:
    """How well probabilities rank the rows of a class before the others."""
    positives, negatives = ([score for score, is_one in rows if is_one is side] for side in (True, False))
    wins = sum((one > other) + (one == other) / 2 for one in positives for other in negatives)
    pairs = len(positives) * len(negatives)
    yield "roc_auc", wins / pairs if pairs else None
    yield "roc_auc_error", 0.0 if pairs else None
    # At each positive row's score: which share of the rows with that score or a higher one is positive.
    shares = [ratio(sum(it >= one for it in positives), sum(it >= one for it, _ in rows)) for one in positives]
    yield "average_precision", ratio(math.fsum(share or 0.0 for share in shares), len(positives))
    yield "average_precision_error", 0.0 if positives else None
