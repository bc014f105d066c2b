"""Rewards: how many feedbacks brought one, and their sum."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from app.core.counts.atoms import Atom
from app.core.measures.measure import DOCUMENT, WINDOW, Cells, Evidence, Family, Field, Measure
from app.core.measures.reading import Nature

_COUNT: Final = Atom("rewards", "count")
_POINTS: Final = Atom("rewards", "points")  # in units of 1e-9: sums are exact


class RewardsReading(NamedTuple):
    """Feedbacks with a reward, and the sum of these."""

    feedbacks: int
    points: float


class RewardsMeasure(Measure[RewardsReading]):
    """Rewards, counted and added."""

    name = "rewards"
    by_labels = True
    families = (
        Family("rewards", "gauge", "Feedbacks with a reward.", (), lambda it: iter([((), it.feedbacks)])),
        Family("reward_points", "gauge", "Sum of rewards.", (), lambda it: iter([((), it.points)])),
    )
    fields = (
        Field("rewards", lambda it: it.feedbacks, (DOCUMENT, WINDOW), {"type": "long"}),
        Field("reward_points", lambda it: it.points, (DOCUMENT, WINDOW), {"type": "double"}),
    )

    def counts(self, evidence: Evidence) -> Iterable[Atom]:
        """One reward, of any size."""
        return () if evidence.reward is None else (_COUNT,)

    def amounts(self, evidence: Evidence) -> Iterable[tuple[Atom, int]]:
        """Its points."""
        return () if evidence.reward is None else ((_POINTS, evidence.reward),)

    def read(self, cells: Cells, nature: Nature) -> RewardsReading:
        """Count and sum."""
        return RewardsReading(cells.get(_COUNT, 0), cells.get(_POINTS, 0) / 1e9)


REWARDS: Final = RewardsMeasure()
