"""What a consumer group is doing, as Kafka tells those who are not in it; and what of it is not as it must be."""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.coordinator.protocol import ConsumerProtocol
from aiokafka.errors import (
    GroupCoordinatorNotAvailableError,
    GroupLoadInProgressError,
    KafkaError,
    NotCoordinatorForGroupError,
    for_code,
)

from app.cli.screen import counted
from app.core.join.position import COMMITTED_BY_TALLY
from app.settings import Settings
from app.worker.kafka.reading import open_offsets_reader

#: For so long a group is watched: its readers commit several times a second while there is something to read.
_WATCHED_SECONDS: Final = 6.0
_PATIENCE_SECONDS: Final = 15.0
_STEADY: Final = "Stable"
#: What brokers say that never had a group, while they make room for the first.
_NOT_YET: Final = (GroupCoordinatorNotAvailableError, GroupLoadInProgressError, NotCoordinatorForGroupError)


@dataclass(frozen=True, slots=True)
class Group:
    """A consumer group: its state as Kafka names it, how many members it has, which partitions they have been given.

    `committed` are its offsets, `lag` is how many events of each topic are behind them, None before the first commit.
    `counted` are the partitions whose offsets a worker has committed together with its state; `addresses` are where the
    workers among its members say that they can be asked.
    """

    name: str
    state: str
    members: int
    given: frozenset[TopicPartition]
    committed: Mapping[TopicPartition, int]
    lag: Mapping[str, int] | None
    counted: frozenset[int] = frozenset()
    addresses: frozenset[str] = frozenset()

    @property
    def behind(self) -> int:
        """How many events it has yet to read."""
        return sum((self.lag or {}).values())


async def find_group(
    admin: AIOKafkaAdminClient, settings: Settings, name: str, partitions: Mapping[str, int]
) -> Group | str:
    """A group that reads these topics, or why nothing is known of it."""
    try:
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while True:
                try:
                    return await _find(admin, settings, name, partitions)
                except _NOT_YET:
                    await asyncio.sleep(0.5)
    except (KafkaError, OSError, TimeoutError) as error:
        return f"not known ({type(error).__name__})"


async def gets_on(admin: AIOKafkaAdminClient, settings: Settings, group: Group, partitions: Mapping[str, int]) -> bool:
    """Whether a group that has members and is behind commits anything while it is watched for some seconds."""
    await asyncio.sleep(_WATCHED_SECONDS)
    later = await find_group(admin, settings, group.name, partitions)
    return isinstance(later, str) or later.committed != group.committed or not later.behind


def sentence_of(group: Group | str) -> str:
    """What a group is doing, and how far it is behind."""
    if isinstance(group, str):
        return group
    if group.state == "Dead":
        return "not there yet: no worker has run"
    members = f"{group.state}, {counted(group.members, 'member')}"
    if group.lag is None:
        return f"{members}; it has committed nothing yet"
    lags = ", ".join(f"{topic} {lag}" for topic, lag in group.lag.items())
    return f"{members}; {counted(group.behind, 'event')} behind ({lags})"


def unread_partitions(group: Group, partitions: Mapping[str, int]) -> Iterator[str]:
    """A sentence for each topic of which partitions are given to no worker though some run."""
    if group.state != _STEADY or not group.members:
        return
    unread: defaultdict[str, list[str]] = defaultdict(list)
    for topic, count in partitions.items():
        for number in range(count):
            if TopicPartition(topic, number) not in group.given:
                unread[topic].append(str(number))
    for topic, numbers in unread.items():
        yield (
            f"Topic {topic}: no worker of {group.name} reads the partitions {', '.join(numbers)}. If the topic has "
            "more partitions than before, give it its old count, or start afresh with another TALLY_APP_ID."
        )


def more_partitions(settings: Settings, group: Group, changelogs: Mapping[str, int]) -> Iterator[str]:
    """A sentence where the changelogs have more partitions than the state was written with."""
    known = len(group.counted)
    if known and group.counted == frozenset(range(known)) and known < max(changelogs.values(), default=0):
        yield (
            f"The state of {settings.app_id} was written with {known} partitions and the topics have "
            f"{max(changelogs.values())}: give the topics their old count, or start afresh with another TALLY_APP_ID."
        )


async def empty_changelogs(settings: Settings, group: Group, changelogs: Mapping[str, int]) -> list[str]:
    """A sentence for each changelog that has nothing in a partition of which a worker has committed what it counted."""
    tps = [TopicPartition(topic, n) for topic, count in changelogs.items() for n in group.counted if n < count]
    if not tps:
        return []
    async with open_offsets_reader(settings) as consumer:
        beginnings, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    return [
        f"Topic {topic} is empty, and {group.name} has counted: start afresh with another TALLY_APP_ID."
        for topic in sorted({tp.topic for tp in tps if ends[tp] == beginnings[tp]})
    ]


def standstill(group: Group, role: str, *, moves: bool) -> Iterator[str]:
    """A sentence where a group is behind and nobody reads for it, or who does gets nowhere."""
    if not group.behind:
        return
    waiting = f"{counted(group.behind, 'event')} {'waits' if group.behind == 1 else 'wait'} for {role} ({group.name})"
    if not group.members:
        yield f"{waiting} and no worker reads them: start one with these settings."
    elif not moves:
        yield (
            f"{waiting}, and its {counted(group.members, 'member')} committed nothing in {_WATCHED_SECONDS:g} s: the "
            "log of the workers says why."
        )


async def _find(admin: AIOKafkaAdminClient, settings: Settings, name: str, partitions: Mapping[str, int]) -> Group:
    (described,) = await admin.describe_consumer_groups([name])
    (group,) = described.to_object()["groups"]
    if group["error_code"]:
        raise for_code(group["error_code"])
    offsets = await admin.list_consumer_group_offsets(name)
    committed = {tp: offset for tp, (offset, _) in offsets.items() if offset >= 0}
    given = frozenset(tp for member in group["members"] for tp in _given(member))
    lag = await _lag(settings, partitions, committed)
    counted = frozenset(tp.partition for tp, (_, beside) in offsets.items() if beside == COMMITTED_BY_TALLY)
    addresses = frozenset(url for member in group["members"] for url in _addresses(member["member_metadata"]))
    return Group(name, group["state"], len(group["members"]), given, committed, lag, counted, addresses)


def _addresses(raw: bytes) -> Iterator[str]:
    """Where a worker can be asked, by what Faust's assignor tells of it; nothing of other members of groups."""
    with contextlib.suppress(ValueError, LookupError, TypeError):
        yield str(orjson.loads(ConsumerProtocol.METADATA.decode(raw).user_data)["url"])


def _given(member: Mapping[str, Any]) -> list[TopicPartition]:
    """The partitions of a member; none while a rebalance goes on."""
    raw = member["member_assignment"]
    return list(ConsumerProtocol.ASSIGNMENT.decode(raw).partitions()) if raw else []


async def _lag(
    settings: Settings, partitions: Mapping[str, int], committed: Mapping[TopicPartition, int]
) -> Mapping[str, int] | None:
    tps = [TopicPartition(topic, number) for topic, count in partitions.items() for number in range(count)]
    if not committed.keys() & set(tps):
        return None
    async with open_offsets_reader(settings) as consumer:
        beginnings, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    lag = dict.fromkeys(partitions, 0)
    for tp in tps:
        lag[tp.topic] += max(0, ends[tp] - max(beginnings[tp], committed.get(tp, 0)))
    return lag
