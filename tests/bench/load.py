"""Fills the three canonical topics with events in the form and the order that a real model server would leave there."""

import heapq
import random
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson
from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

#: Of a run in full size.
PUIDS: Final = 300_000
KINDS: Final = ("request", "response", "feedback")
TYPES: Final = {
    "request": b"io.seldon.serving.inference.request",
    "response": b"io.seldon.serving.inference.response",
    "feedback": b"io.seldon.serving.feedback",
}
# Requests are spread over this much of the time before now; the last of it is left for the feedback that follows.
SPAN_SECONDS: Final = 300.0
FEEDBACK_SECONDS_MAX: Final = 60.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What a load may have more of than the ordinary one has.

    Puids take turns among the models, which differ by their service. Where `scored` is False an answer is the class
    alone, so that more classes make no larger payload. Where it is `sliced` a request names its columns, and an answer
    has tags: what segments are read from.
    """

    models: int = 1
    classes: int = 3
    rows: int = 1
    headers: int = 11
    scored: bool = True
    sliced: bool = False

    def request(self, chance: random.Random) -> bytes:
        rows = [[round(chance.uniform(0, 5), 1) for _ in range(4)] for _ in range(self.rows)]
        if not self.sliced:
            return orjson.dumps({"data": {"ndarray": rows}})
        named = [[chance.randrange(18, 80), chance.choice("fm"), *row] for row in rows]
        return orjson.dumps({"data": {"names": ["age", "sex", "a", "b", "c", "d"], "ndarray": named}})

    def response(self, chance: random.Random) -> bytes:
        meta: dict[str, Any] = {"requestPath": {"classifier": "seldonio/sklearn:1.0"}}
        if self.sliced:
            meta["tags"] = {"country": chance.choice(("DE", "FR", "IT")), "tier": chance.choice(("free", "gold"))}
        return orjson.dumps({"data": self._data(self._scores, chance), "meta": meta})

    def feedback(self, chance: random.Random) -> bytes:
        truth = {"data": self._data(self._one_hot, chance), "meta": {"tags": {"user": "a"}}}
        return orjson.dumps({"reward": 1, "truth": truth})

    def _data(self, row: Callable[[random.Random], list[float]], chance: random.Random) -> dict[str, Any]:
        if not self.scored:
            return {"ndarray": [chance.randrange(self.classes) for _ in range(self.rows)]}
        names = [f"t:{position}" for position in range(self.classes)]
        return {"names": names, "ndarray": [row(chance) for _ in range(self.rows)]}

    def _scores(self, chance: random.Random) -> list[float]:
        weights = [chance.random() for _ in range(self.classes)]
        total = sum(weights)
        return [weight / total for weight in weights]

    def _one_hot(self, chance: random.Random) -> list[float]:
        label = chance.randrange(self.classes)
        return [int(position == label) for position in range(self.classes)]


ORDINARY: Final = Shape()


class Event(NamedTuple):
    """One canonical event; `seconds` is its time, from the epoch. `row` is that of a batch that it is about."""

    kind: str
    puid: str
    seconds: float
    payload: bytes
    service: str = "sklearn"
    endpoint: str = "default"
    row: int | None = None


@dataclass(frozen=True, slots=True)
class Topics:
    """Three canonical topics of one partition count, and how many events they hold."""

    bootstrap: str
    request: str
    response: str
    feedback: str
    partitions: int
    puids: int = 0

    @property
    def names(self) -> tuple[str, str, str]:
        return self.request, self.response, self.feedback

    @property
    def events(self) -> int:
        return self.puids * len(KINDS)

    def of(self, kind: str) -> str:
        return self.names[KINDS.index(kind)]


def create(bootstrap: str, prefix: str, partitions: int) -> Topics:
    """Create the three topics, empty, with names that begin with `prefix`."""
    requests, responses, told = (f"{prefix}-{kind}" for kind in KINDS)
    topics = Topics(bootstrap, requests, responses, told, partitions)
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for created in admin.create_topics([NewTopic(name, partitions) for name in topics.names]).values():
        created.result()
    return topics


def fill(topics: Topics, puids: int, shape: Shape = ORDINARY) -> Topics:
    """Write the three events of every puid; returns once the broker holds them all."""
    producer = open_producer(topics.bootstrap, linger_ms=20)
    for number, event in enumerate(events(puids, time.time(), shape)):
        send(producer, topics, event, shape.headers)
        if number % 5000 == 0:
            producer.poll(0)
    left = producer.flush(120)
    filled = replace(topics, puids=puids)
    stored = sum(ends(filled).values())
    if left or stored != filled.events:
        raise RuntimeError(f"the broker holds {stored} of {filled.events} events ({left} were never acknowledged)")
    return filled


def create_source(bootstrap: str, name: str, partitions: int) -> str:
    """Create a topic for the intake to read, empty."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(name, partitions)])[name].result()
    return name


def fill_source(bootstrap: str, topic: str, puids: int) -> None:
    """Write the three events of every puid as Seldon's executor would: bare header names, no keys, any partition."""
    producer = open_producer(bootstrap, linger_ms=20)
    for number, event in enumerate(events(puids, time.time())):
        headers = [
            ("type", TYPES[event.kind]),
            ("content-type", b"application/json"),
            ("modelid", b"classifier"),
            ("requestid", event.puid.encode()),
            ("inferenceservicename", b"sklearn"),
            ("namespace", b"seldon"),
            ("endpoint", b"default"),
            ("protocol", b"seldon"),
        ]
        produce(producer, topic, event, None, headers)
        if number % 5000 == 0:
            producer.poll(0)
    left = producer.flush(120)
    if left:
        raise RuntimeError(f"{left} events were never acknowledged")


def events(puids: int, now: float, shape: Shape = ORDINARY) -> Iterator[Event]:
    """Three events a puid, by event time: the answer comes within 50 ms, the feedback within a minute."""
    chance = random.Random(1)
    start = now - SPAN_SECONDS - FEEDBACK_SECONDS_MAX
    due: list[tuple[float, Event]] = []
    for number in range(puids):
        asked = start + number * SPAN_SECONDS / puids
        while due and due[0][0] <= asked:
            yield heapq.heappop(due)[1]
        puid = str(uuid.UUID(int=chance.getrandbits(128), version=4))
        answered = asked + chance.uniform(0.005, 0.05)
        service = "sklearn" if shape.models == 1 else f"sklearn-{number % shape.models}"
        yield Event("request", puid, asked, shape.request(chance), service)
        yield Event("response", puid, answered, shape.response(chance), service)
        told = answered + min(chance.expovariate(1 / 15), FEEDBACK_SECONDS_MAX - 1)
        heapq.heappush(due, (told, Event("feedback", puid, told, shape.feedback(chance), service)))
    while due:
        yield heapq.heappop(due)[1]


def send(producer: Any, topics: Topics, event: Event, headers: int = ORDINARY.headers) -> None:
    """Hand one event to the producer, with so many headers: its own, then others. Waits while the queue is full."""
    kind, puid, seconds, _payload, service, endpoint, row = event
    key = puid.encode()
    own = [
        ("ce_specversion", b"1.0"),
        ("ce_type", TYPES[kind]),
        ("ce_id", key + kind[:3].encode()),
        ("ce_source", b"http://localhost:9000/"),
        ("ce_time", instant(seconds)),
        ("ce_requestid", key if row is None else b"%b-item-%d" % (key, row)),
        ("ce_inferenceservicename", service.encode()),
        ("ce_namespace", b"seldon"),
        ("ce_endpoint", endpoint.encode()),
        ("ce_modelid", b"classifier"),
        ("content-type", b"application/json"),
    ]
    own += [(f"x-header-{number}", b"of a proxy on the way") for number in range(len(own), headers)]
    produce(producer, topics.of(kind), event, key, own[:headers])


def produce(producer: Any, topic: str, event: Event, key: bytes | None, headers: list[tuple[str, bytes]]) -> None:
    """Hand one record to the producer; waits while its queue is full."""
    while True:
        try:
            producer.produce(topic, event.payload, key, headers=headers, timestamp=int(event.seconds * 1000))
        except BufferError:
            producer.poll(0.1)
        else:
            return


def instant(seconds: float) -> bytes:
    """RFC 3339 with nine decimals, as Seldon's executor writes it."""
    whole, nanoseconds = divmod(int(seconds * 1_000_000) * 1000, 1_000_000_000)
    return f"{datetime.fromtimestamp(whole, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z".encode()


def open_producer(bootstrap: str, linger_ms: int) -> Any:
    """A producer that partitions as the canonical form demands."""
    return Producer(
        {
            "bootstrap.servers": bootstrap,
            "partitioner": "murmur2_random",
            "linger.ms": linger_ms,
            "batch.size": 1_000_000,
            "queue.buffering.max.messages": 1_000_000,
            "delivery.report.only.error": True,
            "on_delivery": refuse,
        }
    )


def refuse(error: KafkaError | None, _message: Message) -> None:
    if error is not None:
        raise RuntimeError(f"the broker refused an event: {error}")


def ends(topics: Topics) -> dict[tuple[str, int], int]:
    """The end offset of each topic and partition."""
    consumer = Consumer({"bootstrap.servers": topics.bootstrap, "group.id": f"{topics.request}-ends"})
    try:
        return {
            (name, partition): consumer.get_watermark_offsets(TopicPartition(name, partition), timeout=30)[1]
            for name in topics.names
            for partition in range(topics.partitions)
        }
    finally:
        consumer.close()


def remove(bootstrap: str, prefix: str) -> None:
    """Delete every topic with `prefix` in its name: a benchmark leaves nothing on a broker that was lent."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    names = [name for name in admin.list_topics(timeout=30).topics if prefix in name]
    if names:
        for deleted in admin.delete_topics(names, operation_timeout=30).values():
            deleted.exception()
