"""The answer of `/api/comparisons/history`: by how much two legs differ over time, from the panes that are kept."""

from collections.abc import Iterator, Sequence

from app.core.counts.accounts import BY_LABELS, Account, Pair
from app.core.measures.readings import Readings
from app.core.outputs.keys import key_of
from app.core.outputs.shapes import DifferenceHistory, DifferencePoint
from app.core.outputs.slots import LABELS, PREDICTIONS
from app.core.outputs.trends import Grid
from app.core.scores.comparison import Comparison, compare

#: Where a point stands, and what it is made of.
Difference = tuple[int, Comparison]


def differences(readings: Readings, pair: Pair, grid: Grid, *, by_labels: bool) -> Iterator[Difference]:
    """The comparison of the rows of each stretch in which any were counted, in order."""
    account = Account(pair, BY_LABELS if by_labels else "")
    least_count = readings.rulebook.of(pair.second.leg).least_count
    counted = {pane // grid.panes for level, pane in readings.view.counted_panes(account) if level == grid.level}
    for number in sorted(number for number in counted if number in grid.numbers):
        panes = range(number * grid.panes, (number + 1) * grid.panes)
        shared = readings.pair_of_panes(account, grid.level, panes)
        if shared is not None:
            yield number * grid.step, compare(shared, least_count)


def history_of(pair: Pair, points: Sequence[Difference], step: int, *, by_labels: bool) -> DifferenceHistory:
    """The history that such points make."""
    return {
        "current": key_of(pair.first),
        "shadow": key_of(pair.second),
        "clock": LABELS if by_labels else PREDICTIONS,
        "step": step,
        "measures": any(one.measures for _, one in points),
        "points": [_fields(start, one) for start, one in points],
        "source": "panes",
        "note": None,
    }


def _fields(start: int, it: Comparison) -> DifferencePoint:
    return {
        "start": start,
        "difference": it.difference,
        "low": it.low,
        "high": it.high,
        "samples": it.samples,
        "agreement": it.agreement,
    }
