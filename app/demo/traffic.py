"""The sample traffic: recorded answers of a current and a shadow model, as canonical events in the order of their time.

Nothing is read but the recordings: the clock comes in as an argument, chance as a seed.
"""

import heapq
import random
import uuid
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import orjson

from app.core.clock import format_time
from app.core.dialects.plain import Event
from app.core.events import TYPE_OF, Kind, Leg
from app.demo.recordings import Recording, Row

CURRENT, SHADOW = "current", "shadow"
#: The predictor that answers with each model, and the tag of its image, which is the version that Tally shows.
PREDICTOR = {CURRENT: "default", SHADOW: "shadow"}
TAG = {CURRENT: "1.4", SHADOW: "2.0"}

LABELLED_SHARE = 0.95
LABEL_DELAY_SECONDS = (2.0, 20.0)
#: Of what has drifted labels take longer, as it goes: long enough that its inputs show it first.
DRIFTED_DELAY_SECONDS = (20.0, 40.0)
MIRRORED_SHARE = 0.2
#: What the machine slept through is left out: a gap, not a flood.
MOST_BEHIND_SECONDS = 2.0


class Sent(NamedTuple):
    """One event of the traffic, at its event time in seconds since the epoch."""

    at: float
    kind: Kind
    leg: Leg
    puid: str
    event: Event


class Mistake(NamedTuple):
    """A puid on which the current model was judged wrong, with the class that it predicted."""

    leg: Leg
    puid: str
    label: int
    predicted: int


class Traffic:
    """Request ids that take turns among the recordings: both models answer, the label comes later or never.

    After `drift_after` seconds a recording that has a second phase goes on with that.
    """

    def __init__(
        self,
        recordings: Sequence[Recording],
        begin: float,
        *,
        seed: int | None = None,
        per_second: float = 30.0,
        drift_after: float = 45.0,
    ) -> None:
        self.drift_at = begin + drift_after
        self.last_mistake: Mistake | None = None  # of those whose label has been sent
        self._recordings = recordings
        self._chance = random.Random(seed)
        self._gap = 1 / per_second
        self._next = begin
        self._turn = 0
        self._waiting: list[tuple[float, int, Sent, Mistake | None]] = []
        self._serial = 0

    def until(self, now: float) -> Iterator[Sent]:
        """What is due by now and has not been given yet, in the order of time."""
        self._next = max(self._next, now - MOST_BEHIND_SECONDS)
        while self._next <= now:
            self._ask(self._next)
            self._next += self._gap * self._chance.uniform(0.5, 1.5)
        while self._waiting and self._waiting[0][0] <= now:
            _, _, sent, mistake = heapq.heappop(self._waiting)
            self.last_mistake = mistake or self.last_mistake
            yield sent

    def _ask(self, at: float) -> None:
        """Plan all events of one request id that is asked at this time."""
        round_, place = divmod(self._turn, len(self._recordings))
        self._turn += 1
        recording = self._recordings[place]
        phases = recording["phases"]
        phase = phases[-1 if at >= self.drift_at else 0]
        delays = LABEL_DELAY_SECONDS if phase is phases[0] else DRIFTED_DELAY_SECONDS
        row = phase["rows"][round_ % len(phase["rows"])]
        puid = self._uuid()
        # The gateway mirrors the request to the shadow.
        for model, asked, answer in ((CURRENT, at, row["current"]), (SHADOW, at + 0.001, row["shadow"])):
            leg = Leg(recording["namespace"], recording["service"], PREDICTOR[model], model)
            self._plan(asked, Kind.REQUEST, leg, puid, _request(recording, row))
            self._plan(asked + self._chance.uniform(0.002, 0.01), Kind.RESPONSE, leg, puid, _response(leg, answer))
        if self._chance.random() < LABELLED_SHARE:
            self._label(at + self._chance.uniform(*delays), recording, row, puid)

    def _label(self, at: float, recording: Recording, row: Row, puid: str) -> None:
        predicted = _best(row["current"])
        right = predicted == row["label"]
        feedback = {"reward": int(right), "truth": {"data": {"ndarray": [row["label"]]}}}
        leg = Leg(recording["namespace"], recording["service"], PREDICTOR[CURRENT], CURRENT)
        mistake = None if right else Mistake(leg, puid, row["label"], predicted)
        self._plan(at, Kind.FEEDBACK, leg, puid, feedback, mistake)
        if self._chance.random() < MIRRORED_SHARE:
            shadow = leg._replace(predictor=PREDICTOR[SHADOW], model=SHADOW)
            self._plan(at + 0.001, Kind.FEEDBACK, shadow, puid, feedback)

    def _plan(self, at: float, kind: Kind, leg: Leg, puid: str, body: Any, mistake: Mistake | None = None) -> None:
        headers = {
            "ce_specversion": "1.0",
            "ce_id": self._uuid(),
            "ce_source": "http://:8000/",
            "ce_type": TYPE_OF[kind],
            "ce_time": format_time(int(at * 1_000_000)),
            "ce_requestid": puid,
            "ce_inferenceservicename": leg.service,
            "ce_namespace": leg.namespace,
            "ce_endpoint": leg.predictor,
            "ce_modelid": leg.model,
            "content-type": "application/json",
        }
        event = Event(
            puid.encode(), orjson.dumps(body), tuple((name, value.encode()) for name, value in headers.items())
        )
        self._serial += 1
        heapq.heappush(self._waiting, (at, self._serial, Sent(at, kind, leg, puid, event), mistake))

    def _uuid(self) -> str:
        return str(uuid.UUID(int=self._chance.getrandbits(128), version=4))


def _request(recording: Recording, row: Row) -> dict[str, Any]:
    return {"data": {"names": recording["feature_names"], "ndarray": [row["features"]]}}


def _response(leg: Leg, probabilities: list[float]) -> dict[str, Any]:
    image = f"registry.example/{leg.service}-{leg.model}:{TAG[leg.model]}"
    names = [f"t:{index}" for index in range(len(probabilities))]
    return {"data": {"names": names, "ndarray": [probabilities]}, "meta": {"requestPath": {leg.model: image}}}


def _best(probabilities: list[float]) -> int:
    return probabilities.index(max(probabilities))
