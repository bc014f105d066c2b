"""The series of segments of one model: the values of each label, and their own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.core.measures.confusion import CONFUSION
from app.core.measures.measure import OF_MODEL, OF_SEGMENT
from app.core.measures.reading import Reading
from app.core.outputs.series import (
    FAIRNESS,
    FAIRNESS_SAMPLES,
    SEGMENT_ROWS,
    SEGMENT_SCORE,
    SEGMENT_SCORE_SAMPLES,
    Series,
)
from app.core.rules import Rules
from app.core.scores.catalogue import scored
from app.core.scores.fairness import fairness_of

#: A series, the values of each of its labels, its own values, its rank.
Columns = tuple[Series, Sequence[Sequence[str]], Sequence[Any], int]


def segment_columns(readings: Mapping[str, Reading], rules: Rules) -> Iterator[Columns]:
    """All that is shown of the segments in some readings by "total" and window; nothing where there are none."""
    yield from _fairness(readings, rules)
    scores = [
        (segment, value, formula.name, of_class, window, score, rows)
        for window, reading in readings.items()
        for (segment, value), own in reading.segments.items()
        for formula, found in scored(own)
        for of_class, score, rows in found
    ]
    if scores:
        *labels, values, samples = zip(*scores, strict=True)
        yield SEGMENT_SCORE, labels, values, OF_SEGMENT
        yield SEGMENT_SCORE_SAMPLES, labels, samples, OF_SEGMENT
    rows_of = [
        (segment, value, verdict, window, amount)
        for window, reading in readings.items()
        if not reading.by_labels
        for (segment, value), own in reading.segments.items()
        for verdict, amount in CONFUSION.of(own).rows.items()
    ]
    if rows_of:
        *labels, amounts = zip(*rows_of, strict=True)
        yield SEGMENT_ROWS, labels, amounts, OF_SEGMENT


def _fairness(readings: Mapping[str, Reading], rules: Rules) -> Iterator[Columns]:
    """What is of all others together is of the whole model."""
    if rules.fairness is None:
        return
    of_rank: dict[int, list[Any]] = {OF_MODEL: [], OF_SEGMENT: []}
    for window, reading in readings.items():
        for value, measure, score, samples in fairness_of(reading, rules.fairness):
            found = of_rank[OF_SEGMENT if value else OF_MODEL]
            found.append((rules.fairness.attribute, value, measure, window, score, samples))
    for rank, found in of_rank.items():
        if found:
            *labels, scores, counts = zip(*found, strict=True)
            yield FAIRNESS, labels, scores, rank
            yield FAIRNESS_SAMPLES, labels, counts, rank
