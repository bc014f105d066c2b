"""All scores, in the order in which they are shown, and what they give for a reading."""

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import chain
from typing import Final

from app.core.measures.reading import Reading
from app.core.rules import Rules
from app.core.scores.classification import CLASSIFICATION
from app.core.scores.feedback import FEEDBACK
from app.core.scores.own import formula_of
from app.core.scores.probability import PROBABILITY
from app.core.scores.regression import REGRESSION
from app.core.scores.score import Formula, Score, Value

SCORES: Final[tuple[Formula, ...]] = (*FEEDBACK, *CLASSIFICATION, *PROBABILITY, *REGRESSION)
#: Those that say how much is missed: the less the better.
MISSES: Final = frozenset(
    formula.name
    for formula in (*PROBABILITY, *REGRESSION)
    if formula.name not in ("roc_auc", "roc_auc_macro", "average_precision", "average_precision_macro", "r2")
)

#: Those that are shares of the rows that they rest on: they have intervals.
SHARES: Final = frozenset(formula.name for formula in SCORES if formula.share)


def less_is_better(name: str, rules: Rules) -> bool:
    """Whether a score is missed upwards."""
    return name in MISSES or any(own.name == name and not own.greater_is_better for own in rules.scores)


def scored(reading: Reading) -> Iterator[tuple[Formula, list[Value]]]:
    """Every formula that a reading has, with its values: one of the whole model, or one of each class; never none."""
    task = reading.nature.task
    own = (one for one in map(formula_of, reading.nature.own_scores) if task in one.tasks)
    yield from _values(chain(_formulas(task, by_labels=reading.by_labels), own), reading)


def scored_shares(reading: Reading) -> Iterator[tuple[Formula, list[Value]]]:
    """The same of those that are shares of the rows that they rest on."""
    formulas = _formulas(reading.nature.task, by_labels=reading.by_labels)
    yield from _values((formula for formula in formulas if formula.share), reading)


def _values(formulas: Iterable[Formula], reading: Reading) -> Iterator[tuple[Formula, list[Value]]]:
    for formula in formulas:
        values = list(formula.values(reading))
        if values:
            yield formula, values


@cache
def _formulas(task: str, *, by_labels: bool) -> list[Formula]:
    """Tally's own of a task, and of labels alone."""
    return [formula for formula in SCORES if task in formula.tasks and (formula.of_labels or not by_labels)]


def scores_of(reading: Reading) -> list[Score]:
    """All scores of a reading, undefined ones included: those of the whole model, then those of one class each."""
    whole: list[Score] = []
    by_class: dict[str, list[Score]] = {}
    for formula, values in scored(reading):
        for of_class, value, samples in values:
            found = by_class.setdefault(of_class, []) if of_class else whole
            found.append(Score(formula.name, of_class, value, samples))
    return whole + [score for found in by_class.values() for score in found]


def score_of(reading: Reading, name: str, of_class: str = "") -> Score | None:
    """One score of a reading, of the whole model or of one class; None where it has none of that name."""
    own = map(formula_of, reading.nature.own_scores)
    for formula in chain(_formulas(reading.nature.task, by_labels=reading.by_labels), own):
        if formula.name == name and reading.nature.task in formula.tasks:
            for found, value, samples in formula.values(reading):
                if found == of_class:
                    return Score(name, of_class, value, samples)
    return None
