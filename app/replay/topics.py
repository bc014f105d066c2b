"""A replay of the canonical topics."""

from collections.abc import Sequence
from typing import NamedTuple

from aiokafka import TopicPartition

from app.core.rules import Rulebook
from app.replay.fold import Counting
from app.replay.parallel import Share
from app.replay.reading import open_reader
from app.replay.stretch import Bound, Stretch, StretchError, find_stretch
from app.settings import Settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.sizes import Sizes
from app.worker.kafka.topics import admin_client, describe_cluster


class Plan(NamedTuple):
    """What is to be folded: a share for each partition."""

    counting: Counting
    stretch: Stretch
    shares: list[Share]


async def plan(
    settings: Settings, rulebook: Rulebook, begin: Bound, end: Bound, thresholds: tuple[float, ...] = ()
) -> Plan:
    """The shares of a replay of the canonical topics between two bounds. Raises StretchError and SetupError."""
    counting, partitions = await facts_of(settings, rulebook)
    counting = counting._replace(thresholds=thresholds)
    tps = [TopicPartition(topic, number) for number in range(partitions) for topic in settings.topics]
    consumer = await open_reader(settings)
    try:
        stretch = await find_stretch(consumer, tps, begin, end)
    finally:
        await consumer.stop()
    if not stretch.records:
        raise nothing_between(settings.topics, begin, end)
    shares = [
        Share(counting, number, partitions, stretch.of([TopicPartition(topic, number) for topic in settings.topics]))
        for number in range(partitions)
    ]
    return Plan(counting, stretch, [share for share in shares if share.stretch.records])


async def plan_sources(
    settings: Settings, rulebook: Rulebook, names: Sequence[str], begin: Bound, end: Bound
) -> tuple[Counting, Stretch]:
    """The same of topics in any dialect, which are folded together."""
    async with admin_client(settings) as admin:
        found = (await describe_cluster(admin, names)).topics
    for topic in names:
        if topic not in found:
            raise SetupError(f"Topic {topic} does not exist.")
    tps = [TopicPartition(topic, number) for topic in names for number in range(found[topic].partitions)]
    consumer = await open_reader(settings)
    try:
        stretch = await find_stretch(consumer, tps, begin, end)
    finally:
        await consumer.stop()
    if not stretch.records:
        raise nothing_between(names, begin, end)
    return Counting(settings, rulebook, settings.limits), stretch


async def facts_of(settings: Settings, rulebook: Rulebook) -> tuple[Counting, int]:
    """By what is counted, and the partition count of the canonical topics. Raises SetupError."""
    wanted = (*settings.topics, settings.exchanges_topic, settings.panes_topic)
    async with admin_client(settings) as admin:
        found = (await describe_cluster(admin, wanted)).topics
    for topic in settings.topics:
        if topic not in found:
            raise SetupError(f"Topic {topic} does not exist: is it the right broker, and the right name of the topic?")
    counts = {topic: found[topic].partitions for topic in settings.topics}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{topic} has {count}" for topic, count in counts.items())
        raise SetupError(f"The canonical topics must have one partition count, and {listed}: `tally check` says more.")
    return Counting(settings, rulebook, Sizes(found).limits(settings)), counts[settings.request_topic]


async def ids_of(settings: Settings) -> dict[str, str]:
    """The ids of the canonical topics, as far as brokers have any."""
    async with admin_client(settings) as admin:
        found = (await describe_cluster(admin, settings.topics)).topics
    return {topic: facts.id for topic, facts in found.items() if facts.id}


def nothing_between(topics: Sequence[str], begin: Bound, end: Bound) -> StretchError:
    """What ends a replay of nothing."""
    return StretchError(f"{', '.join(topics)} hold no events from {begin.text} to {end.text}.")
