"""Scores of probabilities, those of two classes exact."""

import math
import sys
from bisect import bisect_left
from collections.abc import Iterator

from tests.oracle.classes import Chances
from tests.oracle.comparison import ratio


def probability_scores(rows: list[Chances]) -> Iterator[tuple[str, float | None, int]]:
    """All of them on some rows; what says how exact ours are is 0 here."""
    count = len(rows)
    if all(row.bare for row in rows):
        return
    epsilon = sys.float_info.epsilon
    losses = [-math.log(min(max(row.values[row.label], epsilon), 1 - epsilon)) for row in rows]
    yield "log_loss", math.fsum(losses) / count, count
    yield "brier", math.fsum(row.brier for row in rows) / count, count
    bins: dict[int, float] = {}
    for row in rows:
        place = row.values.index(max(row.values)) if row.positive is None else row.positive
        confidence = row.values[place]
        own = bisect_left([number * 0.1 for number in range(1, 10)], confidence)
        bins[own] = bins.get(own, 0.0) + (row.label == place) - confidence
    yield "ece", math.fsum(map(abs, bins.values())) / count, count
    of_two = [(row.values[row.positive], row.label == row.positive) for row in rows if row.positive is not None]
    if not of_two:
        return
    positives, negatives = ([score for score, is_one in of_two if is_one is side] for side in (True, False))
    wins = sum((one > other) + (one == other) / 2 for one in positives for other in negatives)
    pairs = len(positives) * len(negatives)
    yield "roc_auc", wins / pairs if pairs else None, len(of_two)
    yield "roc_auc_error", 0.0 if pairs else None, len(of_two)
    # At each positive row's score: which share of the rows with that score or a higher one is positive.
    shares = [ratio(sum(it >= one for it in positives), sum(it >= one for it, _ in of_two)) for one in positives]
    yield "average_precision", ratio(math.fsum(share or 0.0 for share in shares), len(positives)), len(of_two)
    yield "average_precision_error", 0.0 if positives else None, len(of_two)
