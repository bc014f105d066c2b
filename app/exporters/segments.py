"""The lines of segments of one model: of each series and window the values of the labels, and their own."""

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

#: A series, its labels but the last, which is the window; of each line their values, and its own; its rank, the window.
Part = tuple[Series, tuple[str, ...], Sequence[tuple[str, ...]], Sequence[Any], int, str]


def segment_lines(readings: Mapping[str, Reading], rules: Rules) -> Iterator[Part]:
    """All that is shown of the segments in some readings by "total" and window; nothing where there are none."""
    for window, reading in readings.items():
        if reading.segments:
            scores = [
                ((segment, value, formula.name, of_class), score, samples)
                for (segment, value), own in reading.segments.items()
                for formula, found in scored(own)
                for of_class, score, samples in found
            ]
            yield from _scores((SEGMENT_SCORE, SEGMENT_SCORE_SAMPLES), scores, OF_SEGMENT, window)
        if reading.segments and not reading.by_labels:
            verdicts = [
                ((segment, value, verdict), amount)
                for (segment, value), own in reading.segments.items()
                for verdict, amount in CONFUSION.of(own).rows.items()
            ]
            rows, amounts = zip(*verdicts, strict=True)
            yield SEGMENT_ROWS, SEGMENT_ROWS.labels[:-1], rows, amounts, OF_SEGMENT, window
        if rules.fairness is not None:
            attribute = rules.fairness.attribute
            treatments = fairness_of(reading, rules.fairness)
            for rank in (OF_MODEL, OF_SEGMENT):  # what is of all others together is of the whole model
                found = [
                    ((attribute, value, measure), score, samples)
                    for value, measure, score, samples in treatments
                    if bool(value) == (rank == OF_SEGMENT)
                ]
                yield from _scores((FAIRNESS, FAIRNESS_SAMPLES), found, rank, window)


def _scores(
    of: tuple[Series, Series], lines: Sequence[tuple[tuple[str, ...], Any, Any]], rank: int, window: str
) -> Iterator[Part]:
    """Values, and the rows that they rest on."""
    if lines:
        rows, values, samples = zip(*lines, strict=True)
        for series, column in zip(of, (values, samples), strict=True):
            yield series, series.labels[:-1], rows, column, rank, window
