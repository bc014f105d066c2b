"""All scores, in the order in which they are shown, and what they give for a reading."""

from typing import Final

from app.core.measures.reading import Reading
from app.core.scores.classification import CLASSIFICATION
from app.core.scores.feedback import FEEDBACK
from app.core.scores.regression import REGRESSION
from app.core.scores.score import Formula, Score

SCORES: Final[tuple[Formula, ...]] = (*FEEDBACK, *CLASSIFICATION, *REGRESSION)
#: Those whose value has the unit of the label.
IN_UNITS: Final = frozenset(formula.name for formula in SCORES if formula.in_units)


def scores_of(reading: Reading) -> list[Score]:
    """All scores of a reading, undefined ones included: those of the whole model, then those of one class each."""
    whole: list[Score] = []
    by_class: dict[str, list[Score]] = {}
    for name, _, tasks, values, _ in SCORES:
        if reading.nature.task in tasks:
            for of_class, value, samples in values(reading):
                found = by_class.setdefault(of_class, []) if of_class else whole
                found.append(Score(name, of_class, value, samples))
    return whole + [score for found in by_class.values() for score in found]
