"""What the demo has produced and what Tally has counted, in the same terms."""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from app.core.events import Kind, Leg
from app.demo.traffic import CURRENT, PREDICTOR, Sent


@dataclass(slots=True)
class Counts:
    """Responses and rewards by leg."""

    responses: Counter[Leg] = field(default_factory=Counter)
    rewards: Counter[Leg] = field(default_factory=Counter)

    def add(self, sent: Sent) -> None:
        """Count an event of the traffic. A mirrored reward is a copy of one that the current model's client gave."""
        if sent.kind == Kind.RESPONSE:
            self.responses[sent.leg] += 1
        elif sent.kind == Kind.FEEDBACK and sent.leg.predictor == PREDICTOR[CURRENT]:
            self.rewards[sent.leg] += 1

    @property
    def legs(self) -> Collection[Leg]:
        """All that have a response or a reward."""
        return self.responses.keys() | self.rewards.keys()

    @property
    def exchanges(self) -> int:
        """Request ids: each is answered once by the current model."""
        return sum(number for leg, number in self.responses.items() if leg.predictor == PREDICTOR[CURRENT])


def leg_of(fields: Mapping[str, Any]) -> Leg:
    """The leg that an answer of a worker names."""
    return Leg(fields["model_namespace"], fields["model_service"], fields["predictor"], fields["model"])


def counted_in(report: Mapping[str, Any], legs: Collection[Leg]) -> Counts:
    """The counts of these legs in an answer of `/api/models`: whoever tries the demo may bring others."""
    counts = Counts()
    for model in report["models"]:
        leg = leg_of(model)
        if leg not in legs:
            continue
        if responses := model["exchanges"]["response"]:
            counts.responses[leg] += responses
        if rewards := model["windows"]["total"]["rewards"]:
            counts.rewards[leg] += rewards
    return counts


def is_counted(produced: Counts, counted: Counts, others: int) -> bool:
    """Whether what was produced is counted: exactly, as long as nobody else has sent an event.

    Each of somebody else's events can make a difference of one, where it concerns a request id of the demo.
    """
    differences = 0
    for ours, theirs in ((produced.responses, counted.responses), (produced.rewards, counted.rewards)):
        differences += sum(abs(ours[leg] - theirs[leg]) for leg in ours.keys() | theirs.keys())
    return differences <= others


def comparison(produced: Counts, counted: Counts) -> str:
    """Both, side by side."""
    return (
        f"produced {produced.exchanges} exchanges, counted {counted.exchanges}; "
        f"produced {produced.rewards.total()} rewards, counted {counted.rewards.total()}"
    )
