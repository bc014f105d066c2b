"""The series of segments of one model: the values of each label, and their own."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from app.core.measures.confusion import CONFUSION
from app.core.measures.reading import Reading
from app.core.outputs.series import SEGMENT_ROWS, SEGMENT_SCORE, SEGMENT_SCORE_SAMPLES, Series
from app.core.scores.catalogue import scored

#: A series, the values of each of its labels, its own values.
Columns = tuple[Series, Sequence[Sequence[str]], Sequence[Any]]


def segment_columns(readings: Mapping[str, Reading]) -> Iterator[Columns]:
    """All that is shown of the segments in some readings by "total" and window; nothing where there are none."""
    scores = [
        (segment, value, formula.name, of_class, window, score, rows)
        for window, reading in readings.items()
        for (segment, value), own in reading.segments.items()
        for formula, found in scored(own)
        for of_class, score, rows in found
    ]
    if scores:
        *labels, values, samples = zip(*scores, strict=True)
        yield SEGMENT_SCORE, labels, values
        yield SEGMENT_SCORE_SAMPLES, labels, samples
    rows_of = [
        (segment, value, verdict, window, amount)
        for window, reading in readings.items()
        if not reading.by_labels
        for (segment, value), own in reading.segments.items()
        for verdict, amount in CONFUSION.of(own).rows.items()
    ]
    if rows_of:
        *labels, amounts = zip(*rows_of, strict=True)
        yield SEGMENT_ROWS, labels, amounts
