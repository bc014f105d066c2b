"""What the topics themselves say: the changelogs replayed alone, the marks, the dead letters."""

import socket
import struct
import time
from collections import Counter
from collections.abc import Collection
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition

from app.core.counts.accounts import Subject
from app.core.counts.panes import PaneClock
from app.core.join.position import Position
from app.core.join.shard import Shard
from app.core.limits import Limits
from app.core.rules import Rulebook
from app.core.stats import Stats
from tests.patience import PATIENCE


def read_topic(bootstrap: str, topic: str, isolation: str = "read_committed") -> dict[int, list[Any]]:
    """All records of a topic, by partition, and so far as it reaches now: the committed ones, or `read_uncommitted`.

    A broker says that a transaction has committed a moment before its records can be read: they are waited for, as is
    the end of any transaction that is open.
    """
    reach = ends(bootstrap, topic, "read_uncommitted")
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "reader",
            "isolation.level": isolation,
            "enable.auto.commit": False,
            "enable.partition.eof": True,
        }
    )
    end = time.monotonic() + PATIENCE
    try:
        consumer.assign([TopicPartition(topic, number, 0) for number in reach])
        records: dict[int, list[Any]] = {number: [] for number in reach}
        left = set(reach)
        while left:
            assert time.monotonic() < end, f"{topic} cannot be read to its end in the partitions {left}"
            for message in consumer.consume(1000, 0.5):  # waits for so many, also at the end
                error = message.error()
                if error is None:
                    records[message.partition()].append(message)
                elif error.code() == KafkaError._PARTITION_EOF and message.offset() >= reach[message.partition()]:
                    left.discard(message.partition())
        return records
    finally:
        consumer.close()


def ends(bootstrap: str, topic: str, isolation: str = "read_committed") -> dict[int, int]:
    """The end offset of every partition: behind what has committed, or behind all (`read_uncommitted`)."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "reader", "isolation.level": isolation})
    try:
        partitions = consumer.list_topics(topic, PATIENCE).topics[topic].partitions
        return {n: consumer.get_watermark_offsets(TopicPartition(topic, n), PATIENCE)[1] for n in partitions}
    finally:
        consumer.close()


def committed(settings: dict[str, str], topics: Collection[str]) -> int:
    """How many events of some topics a group has committed, where these hold nothing else."""
    return sum(sum(commits(settings, settings["APP_ID"], topic).values()) for topic in topics)


def commits(settings: dict[str, str], group: str, topic: str) -> dict[int, int]:
    """By partition the offset that a group has committed; 0 where that is none."""
    consumer = Consumer({"bootstrap.servers": settings["KAFKA_BOOTSTRAP_SERVERS"], "group.id": group})
    try:
        places = [TopicPartition(topic, number) for number in range(int(settings["PARTITIONS"]))]
        return {place.partition: max(0, place.offset) for place in consumer.committed(places, PATIENCE)}
    finally:
        consumer.close()


def sizes_on_disk(bootstrap: str, topics: Collection[str]) -> dict[str, int]:
    """How many bytes a broker has of each topic: its answer to DescribeLogDirs (key 35, version 1).

    https://kafka.apache.org/protocol.html#The_Messages_DescribeLogDirs
    """
    host, port = bootstrap.rsplit(":", 1)
    request = struct.pack(">hhihi", 35, 1, 0, -1, -1)  # of all topics
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        with connection.makefile("rb") as reply:
            reply.read(12)  # length, correlation, throttle time

            def number(form: str) -> int:
                (value,) = struct.unpack(f">{form}", reply.read(struct.calcsize(form)))
                return int(value)

            def text() -> str:
                return reply.read(number("h")).decode()

            found: Counter[str] = Counter()
            for _ in range(number("i")):
                number("h")  # error
                text()  # the folder
                for _ in range(number("i")):
                    topic = text()
                    for _ in range(number("i")):
                        _, size, _, _ = struct.unpack(">iqqb", reply.read(21))
                        found[topic] += size
    return {topic: found[topic] for topic in topics}


def recovered(settings: dict[str, str]) -> dict[int, tuple[Shard, Position | None]]:
    """Every partition's shard and mark, from its changelogs alone."""
    newest: dict[str, dict[int, dict[bytes, bytes]]] = {}
    for name in ("exchanges", "panes"):
        newest[name] = {}
        for number, records in read_topic(settings["KAFKA_BOOTSTRAP_SERVERS"], f"{settings['APP_ID']}-{name}").items():
            state = newest[name].setdefault(number, {})
            for record in records:
                if record.value() is None:
                    state.pop(record.key(), None)
                else:
                    state[record.key()] = record.value()
    shards = {}
    for number, exchanges in newest["exchanges"].items():
        shard = Shard(number, len(newest["exchanges"]), Rulebook(), PaneClock(), Limits(), Stats())
        mark = shard.recover(exchanges, newest["panes"][number])
        shards[number] = (shard, mark)
    return shards


def counted_by_exchanges(shard: Shard) -> Counter[tuple[Subject, str, str]]:
    """The totals that the exchanges of a shard say they have counted."""
    numbers = shard.numbers
    totals: Counter[tuple[Subject, str, str]] = Counter()
    shard.count_kept(shard.store.values())
    for (account, _), changes in shard._delta.take().items():
        for number, amount in changes.items():
            for atom in numbers.unbundle(number):
                totals[numbers.accounts[account].subject, *numbers.atoms[atom]] += amount
    return Counter({at: amount for at, amount in totals.items() if amount})


def totals_of(shard: Shard) -> Counter[tuple[Subject, str, str]]:
    """The totals of a shard's rows."""
    totals: Counter[tuple[Subject, str, str]] = Counter()
    for account, _, _, atom, amount in shard.counts.cells():
        totals[account.subject, *atom] += amount
    return Counter({at: amount for at, amount in totals.items() if amount})
