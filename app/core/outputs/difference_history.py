"""The answer of `/api/comparisons/history`: by how much two legs differ over time, from panes and from documents."""

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, TypedDict

from app.core.counts.accounts import BY_LABELS, Account, Pair
from app.core.measures.readings import Readings
from app.core.outputs.comparisons import difference_name
from app.core.outputs.keys import key_of
from app.core.outputs.score_history import Source, source_of
from app.core.outputs.slots import LABELS, PREDICTIONS
from app.core.outputs.trends import Grid
from app.core.scores.comparison import Comparison, compare

#: Where a point stands, and what it is made of.
Difference = tuple[int, Comparison]


class DifferencePoint(TypedDict):
    """By how much the shadow differs from the current in one stretch; undefined is null."""

    start: int
    difference: float | None
    low: float | None
    high: float | None
    samples: int
    agreement: float | None


class DifferenceHistory(TypedDict):
    """The difference over time: of accuracies, or of mean errors where the legs measure."""

    current: str
    shadow: str
    clock: Literal["predictions", "labels"]
    step: int
    measures: bool
    points: list[DifferencePoint]
    source: Source
    note: str | None


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


def difference_of_document(body: Mapping[str, Any]) -> Difference:
    """What a document of a window says: of the comparison what a point shows.

    Raises LookupError, TypeError or ValueError where it is none.
    """
    measures = bool(body["measures"])
    name = difference_name(measures=measures)
    difference, low, high, agreement = (
        None if body[field] is None else float(body[field])
        for field in (name, f"{name}_low", f"{name}_high", "agreement")
    )
    start = int(datetime.fromisoformat(body["start"]).timestamp())
    return start, Comparison(measures, int(body["samples"]), agreement, difference=difference, low=low, high=high)


def history_of(
    pair: Pair,
    step: int,
    older: Sequence[Difference],
    newer: Sequence[Difference],
    note: str | None = None,
    *,
    by_labels: bool,
) -> DifferenceHistory:
    """The history that points make: `older` ones are of Elasticsearch, `newer` ones of panes."""
    points = [*older, *newer]
    return {
        "current": key_of(pair.first),
        "shadow": key_of(pair.second),
        "clock": LABELS if by_labels else PREDICTIONS,
        "step": step,
        "measures": any(one.measures for _, one in points),
        "points": [_fields(start, one) for start, one in points],
        "source": source_of(older, newer),
        "note": note,
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
