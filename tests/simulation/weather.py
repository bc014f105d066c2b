"""What goes wrong in a history, request by request, by its seed."""

import logging
import random
from collections.abc import Callable
from typing import Any, Final

from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    InvalidTimestampError,
    KafkaConnectionError,
    KafkaError,
    NotEnoughReplicasError,
)

from tests.memory_kafka.network import Client, Fate, Weather
from tests.simulation.loop import Process, SimulatedLoop, current_process, process_of

log = logging.getLogger(__name__)

#: What belongs to an epoch, and so is worth most trouble.
_EPOCH: Final = ("add partitions", "produce", "add group", "commit offsets", "commit", "init producer")
_OF_GROUP: Final = ("heartbeat", "join", "leave")
#: What can be slow throughout a history; what matters at a change of owners is chosen more often.
_KINDS: Final = (
    *("write a marker", "write a marker", "init producer", "init producer"),
    *("produce", "commit", "list offsets", "fetch", "join", "look for old transactions"),
)
_PASSING: Final[dict[str, type[KafkaError]]] = {"produce": NotEnoughReplicasError}


class Storm(Weather):
    """Bad weather until it is calm. `deaths` is how many workers may still be killed in the middle of a request."""

    def __init__(self, rng: random.Random, loop: SimulatedLoop, wall: Callable[[], float]) -> None:
        self.calm = False
        self.deaths = rng.choice((0, 0, 1, 1, 2))
        self._rng = rng
        self._loop = loop
        self._wall = wall
        self._trouble = rng.choice((0.0, 0.02, 0.05, 0.15))
        self._quick = rng.choice((0.0005, 0.004))
        self._slow = {kind: rng.choice((0.05, 0.5)) for kind in rng.sample(_KINDS, rng.choice((0, 1, 2)))}
        self._fetched = rng.choice((1, 1, 2, 1000))
        self._batched = rng.choice((1, 3, 1000, 1000))
        self._numbers: dict[str, int] = {}
        self._tells = log.isEnabledFor(logging.DEBUG)
        self._cut_off: dict[Process, float] = {}  # until when the group hears nothing of a process

    def now(self) -> float:
        return self._wall()

    def cut_off(self, process: Process, seconds: float) -> None:
        """Hold back what a process says to its group."""
        self._cut_off[process] = self._loop.time() + seconds

    def slow_down(self, request: str, seconds: float) -> None:
        """Let all requests of a kind take up to so long from now on."""
        self._slow[request] = seconds

    def fate(self, request: str, client: Client) -> Fate:
        rng, quick = self._rng, self._quick
        there, back = rng.random() * quick, rng.random() * quick
        if self.calm:
            return Fate(there, back)
        if self._cut_off and request in _OF_GROUP:
            process = current_process()
            if process is not None:
                there += max(0.0, self._cut_off.get(process, 0.0) - self._loop.time())
        if request in self._slow:
            there += rng.random() * self._slow[request]
        if rng.random() >= self._trouble:
            return Fate(there, back)
        if request in _EPOCH:
            return self._of_epoch(request, there, back)
        if request in _OF_GROUP or rng.random() < 0.7:
            return Fate(there + rng.random() * 0.3, back + rng.random() * 0.1)
        return Fate(there, back, error=KafkaConnectionError)

    def _of_epoch(self, request: str, there: float, back: float) -> Fate:
        rng = self._rng
        kind = rng.random()
        if kind < 0.25:
            return Fate(there + rng.random() * 0.4, back + rng.random() * 0.4)
        if kind < 0.4:
            return Fate(there, back, lost=True)
        if kind < 0.6:
            return Fate(there, back, unanswered=True)
        if kind < 0.65:  # it arrives when nobody waits for it any more
            return Fate(1.0 + rng.random(), back)
        if kind < 0.75:
            return Fate(there, back, error=_PASSING.get(request, GroupCoordinatorNotAvailableError))
        if kind < 0.8 and request == "produce":
            return Fate(there, back, error=InvalidTimestampError)
        process = current_process()
        if self.deaths and process is not None and not process.fuse:
            self.deaths -= 1
            process.fuse = rng.randint(1, 20)
        return Fate(there, back)

    def inside(self, what: str) -> float:
        return self._rng.random() * (self._quick if self.calm else self._slow.get(what, self._quick))

    def done(self, request: str, client: Client, outcome: Any) -> None:
        if self._tells:
            log.debug("%s of %s (%s): %s", request, process_of(client.context), client, _short(outcome))
        self._loop.note(self._numbers.setdefault(request, len(self._numbers)), client.number)
        if not self.calm and self.deaths and request in _EPOCH and self._rng.random() < 0.02:
            process = process_of(client.context)
            if process is not None:
                self.deaths -= 1
                process.kill()

    def fetched(self) -> int:
        return self._fetched

    def batched(self) -> int:
        return self._batched


def _short(outcome: Any) -> str:
    text = repr(outcome)
    return text if len(text) < 200 else f"{text[:200]} …"
