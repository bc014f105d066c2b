"""Fairness over a declared segment: how those of one value fare beside those of the privileged one.

A group has a *selection rate*, the share of its answered rows that are predicted to be of the positive class, and by
its labelled rows the rates of true and of false positives. Each measure sets those of a group beside those of the
privileged one, as TrustyAI and AIF360 define them:

    statistical_parity_difference    selection rate less that of the privileged
    disparate_impact                 selection rate as a share of that of the privileged
    equal_opportunity_difference     rate of true positives less that of the privileged
    average_odds_difference          mean of that and of the same difference of false positives

0 is equal treatment, of the disparate impact 1; below it the privileged fare better. fairlearn's `demographic_parity_…`
and `equalized_odds_…` are the largest of these over all groups, without their signs.

There is one of each for every other value, and one ("") for all others together. Rows of which the value is not known
are of no group. A measure rests on as many rows as the smallest of the counts that its rates are shares of.
"""

from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from app.core.measures.confusion import CONFUSION, Outcomes
from app.core.measures.reading import Reading
from app.core.rules import Fairness
from app.core.scores.score import ratio
from app.core.segments import SPECIAL

MEASURES: Final = (
    "statistical_parity_difference",
    "disparate_impact",
    "equal_opportunity_difference",
    "average_odds_difference",
)


class Treatment(NamedTuple):
    """How those of a value (all others together: "") fare by one measure; None where that is undefined."""

    value: str
    measure: str
    score: float | None
    samples: int


class Group(NamedTuple):
    """Rows of one group: answered, selected; with a label of the positive class or another, and selected of these."""

    rows: int = 0
    selected: int = 0
    positives: int = 0
    true_positives: int = 0
    negatives: int = 0
    false_positives: int = 0


def fairness_of(reading: Reading, rule: Fairness | None) -> list[Treatment]:
    """All measures of a reading with segments; nothing for models of no classes."""
    if rule is None or reading.nature.task not in ("binary", "multiclass"):
        return []
    positive = reading.nature.positive if rule.positive is None else rule.positive
    groups = {
        value: _group(own, positive) for (segment, value), own in reading.segments.items() if segment == rule.attribute
    }
    privileged = groups.get(rule.privileged, Group())
    others = {value: group for value, group in groups.items() if value != rule.privileged and value not in SPECIAL}
    found = [*_beside("", _together(others.values()), privileged)]
    for value, group in others.items():
        found += _beside(value, group, privileged)
    return found


def _group(reading: Reading, positive: str) -> Group:
    confusion = CONFUSION.of(reading)
    known = Outcomes(tn=confusion.judged)
    if positive in confusion.occurring.classes:
        place = confusion.occurring.classes.index(positive)
        known = Outcomes(*(column[place] for column in confusion.occurring[1:]))
    selected = known.tp + known.fp + confusion.unlabelled.get(positive, 0)
    rows = confusion.judged + sum(confusion.unlabelled.values())
    return Group(rows, selected, known.tp + known.fn, known.tp, known.fp + known.tn, known.fp)


def _together(groups: Iterable[Group]) -> Group:
    return Group(*map(sum, zip(Group(), *groups, strict=True)))


def _beside(value: str, group: Group, privileged: Group) -> Iterator[Treatment]:
    """What all measures say of a group beside the privileged one."""
    selected = _rates(group.selected, group.rows, privileged.selected, privileged.rows)
    opportunity = _rates(group.true_positives, group.positives, privileged.true_positives, privileged.positives)
    alarm = _rates(group.false_positives, group.negatives, privileged.false_positives, privileged.negatives)
    rows = min(group.rows, privileged.rows)
    positives = min(group.positives, privileged.positives)
    impact = None if selected is None else ratio(*selected)
    both = None
    if opportunity is not None and alarm is not None:
        both = (opportunity[0] - opportunity[1] + alarm[0] - alarm[1]) / 2
    scores = (_difference(selected), impact, _difference(opportunity), both)
    samples = (rows, rows, positives, min(positives, group.negatives, privileged.negatives))
    for measure, score, count in zip(MEASURES, scores, samples, strict=True):
        yield Treatment(value, measure, score, count)


def _rates(part: int, whole: int, of_privileged: int, privileged: int) -> tuple[float, float] | None:
    """The shares of a group and of the privileged one; None where one of them has no rows."""
    return (part / whole, of_privileged / privileged) if whole and privileged else None


def _difference(rates: tuple[float, float] | None) -> float | None:
    return None if rates is None else rates[0] - rates[1]
