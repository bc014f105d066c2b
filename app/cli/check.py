"""`tally check`: settings, rules, brokers, topics and the groups on one screen, with a verdict at its end."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError, for_code
from pydantic.fields import FieldInfo
from rich.console import Console

from app.cli.client import run
from app.cli.screen import counted, screen, table
from app.core.counts.panes import Window
from app.exporters.elasticsearch import client
from app.models_file import load_rulebook
from app.settings import Settings, SettingsError, is_pattern, load_settings, parse_duration
from app.worker.kafka.client import SetupError, client_options, forbid_topic_creation
from app.worker.kafka.topics import (
    admin_client,
    describe_cluster,
    find_sources,
    topic_notes,
    topic_problems,
    topics_of,
)


class Group(NamedTuple):
    """A consumer group: its state as Kafka names it, its members, and the events that it has yet to read."""

    state: str
    members: int
    lag: Mapping[str, int] | None  # by topic; None before the first commit


def check() -> bool:
    """Print the screen. Returns whether a worker can start and find all that it needs."""
    settings = load_settings()
    console = screen()
    problems = []
    _print_settings(console, settings)
    try:
        _print_rules(console, settings)
    except SettingsError as error:
        problems.append(str(error))
    try:
        problems += run(_check_kafka(console, settings))
    except SetupError as error:
        problems.append(str(error))
    if settings.elasticsearch_url is not None:
        problems += _check_elasticsearch(console, settings)
    console.print()
    for problem in problems:
        console.print(f"- {problem}", soft_wrap=True)
    console.print("Not fine: see above." if problems else "Fine: a worker finds all that it needs.", soft_wrap=True)
    return not problems


def _check_elasticsearch(console: Console, settings: Settings) -> list[str]:
    try:
        said = run(client.problem(settings))
    except SettingsError as error:
        said = str(error)
    if said is None:
        console.print(f"Elasticsearch at {settings.elasticsearch_url} answers.", soft_wrap=True)
    return [] if said is None else [said]


def _print_settings(console: Console, settings: Settings) -> None:
    rows = table("Settings", "name", "value", "from")
    for name, field in Settings.model_fields.items():
        source = "environment" if name in settings.model_fields_set else "default"
        rows.add_row(f"TALLY_{name.upper()}", shown(getattr(settings, name), field), source)
    console.print(rows)


def shown(value: Any, field: FieldInfo) -> str:
    """A setting's value as it would be written; of a secret only that it is set."""
    if value is None:
        return "unset"
    if not field.repr:
        return "set"
    if any(getattr(rule, "func", None) is parse_duration for rule in field.metadata):
        return _duration(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float):  # the other floats are moments
        return datetime.fromtimestamp(value, UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, tuple):
        if not value:
            return "unset"
        return ",".join(part.name if isinstance(part, Window) else str(part) for part in value)
    return str(value)


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600), ("m", 60), ("s", 1)):
        if seconds >= length and seconds % length == 0:
            return f"{seconds / length:g}{unit}"
    return f"{seconds * 1000:g}ms"


def _print_rules(console: Console, settings: Settings) -> None:
    if settings.config is None:
        return
    rulebook = load_rulebook(settings.config)
    entries = f"{len(rulebook.entries)} entr{'y' if len(rulebook.entries) == 1 else 'ies'} for models"
    console.print(f"Rules:   {settings.config}, {entries}, digest {rulebook.digest}", soft_wrap=True)


async def _check_kafka(console: Console, settings: Settings) -> list[str]:
    """Print what Kafka says, and return the sentences of what is not as it must be."""
    wanted = topics_of(settings)
    problems = []
    async with admin_client(settings) as admin:
        cluster = await describe_cluster(admin, [topic.name for topic in wanted])
        console.print(f"Brokers: {', '.join(cluster.brokers)}", soft_wrap=True)
        rows = table("Topics", "name", "partitions", "purpose")
        for topic in wanted:
            count = cluster.partitions.get(topic.name)
            rows.add_row(topic.name, "missing" if count is None else str(count), topic.purpose)
        console.print(rows)
        missing = [topic.name for topic in wanted if topic.name not in cluster.partitions]
        if missing:
            problems.append(
                f"Topics are missing ({', '.join(missing)}): run `tally topics --create`, or let a worker create them."
            )
        problems += topic_problems(wanted, cluster.topics)
        for note in topic_notes(wanted, cluster.topics, settings):
            console.print(f"Note:    {note}", soft_wrap=True)
        counts = {topic: cluster.partitions[topic] for topic in settings.topics if topic in cluster.partitions}
        said = await _group_sentence(admin, settings, settings.app_id, counts)
        console.print(f"Group:   {settings.app_id}, {said}", soft_wrap=True)
        if settings.intake_topics:
            sources = await find_sources(admin, settings)
            console.print(f"Intake:  {_sources_sentence(settings, sources)}", soft_wrap=True)
            said = await _group_sentence(admin, settings, settings.intake_group, sources)
            console.print(f"         {settings.intake_group}, {said}", soft_wrap=True)
    return problems


def _sources_sentence(settings: Settings, sources: Mapping[str, int]) -> str:
    """What the intake reads. A topic that does not exist yet is no problem: it is waited for."""
    found = ", ".join(f"{topic} ({counted(count, 'partition')})" for topic, count in sources.items())
    awaited = [name for name in settings.intake_topics if not is_pattern(name) and name not in sources]
    waits = f"; does not exist yet and is waited for: {', '.join(awaited)}" if awaited else ""
    return f"reads {found or 'no topic so far'}{waits}"


async def _group_sentence(
    admin: AIOKafkaAdminClient, settings: Settings, name: str, partitions: Mapping[str, int]
) -> str:
    """What a group is doing, and how far it is behind on these topics."""
    try:
        async with asyncio.timeout(15):
            group = await _group(admin, settings, name, partitions)
    except (KafkaError, OSError, TimeoutError) as error:
        return f"not known ({type(error).__name__})"
    if group.state == "Dead":
        return "not there yet: no worker has run"
    members = f"{group.state}, {counted(group.members, 'member')}"
    if group.lag is None:
        return f"{members}; it has committed nothing yet"
    lags = ", ".join(f"{topic} {lag}" for topic, lag in group.lag.items())
    return f"{members}; {counted(sum(group.lag.values()), 'event')} behind ({lags})"


async def _group(admin: AIOKafkaAdminClient, settings: Settings, name: str, partitions: Mapping[str, int]) -> Group:
    (described,) = await admin.describe_consumer_groups([name])
    (group,) = described.to_object()["groups"]
    if group["error_code"]:
        raise for_code(group["error_code"])
    committed = await admin.list_consumer_group_offsets(name)
    lag = await _lag(settings, partitions, {tp: offset for tp, (offset, _) in committed.items() if offset >= 0})
    return Group(group["state"], len(group["members"]), lag)


async def _lag(
    settings: Settings, partitions: Mapping[str, int], committed: Mapping[TopicPartition, int]
) -> Mapping[str, int] | None:
    tps = [TopicPartition(topic, number) for topic, count in partitions.items() for number in range(count)]
    if not committed.keys() & set(tps):
        return None
    consumer = AIOKafkaConsumer(**client_options(settings), enable_auto_commit=False)
    forbid_topic_creation(consumer._client)
    await consumer.start()
    try:
        consumer.assign(tps)
        beginnings, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
    finally:
        await consumer.stop()
    lag = dict.fromkeys(partitions, 0)
    for tp in tps:
        lag[tp.topic] += max(0, ends[tp] - max(beginnings[tp], committed.get(tp, 0)))
    return lag
