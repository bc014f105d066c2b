"""Scores: formulas over a reading, as in scikit-learn with `zero_division=nan` over the classes that occur.

Sources: scikit-learn's `precision_recall_fscore_support` and `accuracy_score`; specificity is the recall of the rest.
"""

from typing import NamedTuple

from app.core.measures.reading import Outcomes, Reading


class Score(NamedTuple):
    """One score of a model (`of_class` "") or of one class. `value` is None where it is undefined."""

    name: str
    of_class: str
    value: float | None
    samples: int  # the rows that the value rests on: its denominator


def _ratio(part: float, whole: float) -> float | None:
    return part / whole if whole else None


def _class_scores(of_class: str, one: Outcomes, judged: int) -> list[Score]:
    return [
        Score("precision", of_class, _ratio(one.tp, one.tp + one.fp), one.tp + one.fp),
        Score("recall", of_class, _ratio(one.tp, one.tp + one.fn), one.tp + one.fn),
        Score("specificity", of_class, _ratio(one.tn, one.tn + one.fp), one.tn + one.fp),
        Score("f1", of_class, _ratio(2 * one.tp, 2 * one.tp + one.fp + one.fn), judged),
    ]


def scores_of(reading: Reading) -> list[Score]:
    """All scores of a reading, undefined ones included."""
    rows = reading.rows
    answered = rows["correct"] + rows["incorrect"] + rows["measured"] + rows["unlabelled"]
    labelled = answered - rows["unlabelled"]
    judged = reading.judged
    result = [
        Score("reward_mean", "", _ratio(reading.reward_points, reading.rewards), reading.rewards),
        Score("coverage", "", _ratio(labelled, answered), answered),
    ]
    if reading.task in ("regression", "unknown"):
        return result
    result.append(Score("accuracy", "", _ratio(rows["correct"], judged), judged))
    if reading.task == "binary":
        return result + _class_scores("", reading.outcomes[""], judged)
    scored = [(name, _class_scores(name, one, judged)) for name, one in reading.occurring.items()]
    for at, name in enumerate(("precision", "recall", "specificity", "f1")):
        values = [scores[at].value for _, scores in scored]
        defined = [value for value in values if value is not None]
        result.append(Score(f"{name}_macro", "", sum(defined) / len(defined) if defined else None, judged))
    exported = set(reading.classes)
    return result + [score for name, scores in scored if name in exported for score in scores]
