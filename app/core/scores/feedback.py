"""Scores of any model: what its feedback says of it, and how much of it there is."""

from collections.abc import Iterator
from typing import Final

from app.core.measures.confusion import CONFUSION
from app.core.measures.reading import Reading
from app.core.measures.rewards import REWARDS
from app.core.scores.score import Formula, Value, ratio

_ANY: Final = ("binary", "multiclass", "regression", "unknown")


def _reward_mean(reading: Reading) -> Iterator[Value]:
    rewards = REWARDS.of(reading)
    yield "", ratio(rewards.points, rewards.feedbacks), rewards.feedbacks


def _coverage(reading: Reading) -> Iterator[Value]:
    rows = CONFUSION.of(reading).rows
    answered = rows["correct"] + rows["incorrect"] + rows["measured"] + rows["unlabelled"]
    yield "", ratio(answered - rows["unlabelled"], answered), answered


FEEDBACK: Final = (
    Formula("reward_mean", "Mean reward of the feedbacks that bring one.", _ANY, _reward_mean, bounded=False),
    Formula("coverage", "Share of the answered rows that have a label.", _ANY, _coverage, share=True, of_labels=False),
)
