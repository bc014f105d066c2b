"""The topics that the worker needs: what they must be, and how they are created or checked."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    LeaderNotAvailableError,
    TopicAlreadyExistsError,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    for_code,
)
from aiokafka.protocol.metadata import MetadataRequest

from app.settings import Settings, is_pattern
from app.worker.kafka.client import SetupError, client_options, unreachable

_COMPACT = {"cleanup.policy": "compact", "segment.ms": "3600000", "min.cleanable.dirty.ratio": "0.3"}
#: Three payloads of `TALLY_MAX_BODY` may travel in one record of these.
_LARGE = {"max.message.bytes": str(8 << 20)}

#: What a regular expression begins with, up to the first character that is more than itself, or is repeated.
_LITERAL = re.compile(r"(?:(?:[A-Za-z0-9_-]|\\[.-])(?![*?{]))+")

_READ = ("Describe", "Read")
_WRITE = ("Describe", "Write")
_BOTH = ("Describe", "Read", "Write")

#: How long new topics may take to get their leaders.
_LEADER_SECONDS = 10


class Topic(NamedTuple):
    """One topic: its name, what it is for, its settings where the worker creates it, what the worker does with it."""

    name: str
    purpose: str
    config: Mapping[str, str]
    operations: tuple[str, ...]


class Acl(NamedTuple):
    """What whoever plays a role must be allowed on one resource of Kafka."""

    role: str  # worker, or sender: `tally send`, `tally feedback`, and whatever else writes the canonical topics
    resource: str  # topic, group or transactional-id
    name: str
    pattern: str  # literal or prefixed
    operations: tuple[str, ...]
    operations_to_create: tuple[str, ...] = ()  # needed only by who creates the topic


class Cluster(NamedTuple):
    """What the brokers say: their addresses, and the partition count of each topic that was asked for and exists."""

    brokers: list[str]
    partitions: dict[str, int]


def topics_of(settings: Settings) -> list[Topic]:
    """All topics, the canonical three first. All have the same partition count."""
    week = {"retention.ms": str(int(settings.exchange_retention * 1000))}
    topics = [
        Topic(settings.request_topic, "requests, keyed by puid", week, _BOTH),  # written by the intake and by POST
        Topic(settings.response_topic, "responses, keyed by puid", week, _BOTH),
        Topic(settings.feedback_topic, "feedback, keyed by puid", week, _BOTH),
        Topic(settings.exchanges_topic, "changelog of the exchanges, and the marks", _COMPACT, _BOTH),
        Topic(settings.panes_topic, "changelog of the counts, and feed of the merged view", _COMPACT, _BOTH),
        Topic(settings.dead_letters_topic, "refused events with the reason", week | _LARGE, _WRITE),
    ]
    if settings.log_topic:
        operations = _BOTH if settings.elasticsearch_url else _WRITE
        topics.append(Topic(settings.log_topic, "joined records", week | _LARGE, operations))
    return topics


def transactional_ids(settings: Settings, partitions: int) -> list[str]:
    """The transactional id of each partition's producer."""
    return [f"{settings.app_id}-{number}" for number in range(partitions)]


def acls_of(settings: Settings) -> list[Acl]:
    """All that the worker's principal must be allowed, then what that of a sender must be."""
    worker = [
        Acl("worker", "topic", topic.name, "literal", topic.operations, ("Create",)) for topic in topics_of(settings)
    ]
    worker += [
        Acl("worker", "group", settings.app_id, "literal", _READ),
        Acl("worker", "transactional-id", f"{settings.app_id}-", "prefixed", _WRITE),
    ]
    if settings.intake_topics:
        worker += [_source_acl(name) for name in settings.intake_topics]
        worker.append(Acl("worker", "group", settings.intake_group, "literal", _READ))
    if settings.elasticsearch_url and settings.log_topic:
        worker.append(Acl("worker", "group", settings.documents_group, "literal", _READ))
    return worker + [Acl("sender", "topic", name, "literal", _WRITE) for name in settings.topics]


def _source_acl(name: str) -> Acl:
    """The right to read a topic of `TALLY_INTAKE_TOPICS`; of a pattern, all that begins as what it matches begins."""
    if not is_pattern(name):
        return Acl("worker", "topic", name, "literal", _READ)
    beginning = _LITERAL.match(name)
    letters = beginning[0].replace("\\", "") if beginning and "|" not in name else ""
    return (
        Acl("worker", "topic", letters, "prefixed", _READ) if letters else Acl("worker", "topic", "*", "literal", _READ)
    )


def sources_among(settings: Settings, existing: Iterable[str]) -> set[str]:
    """Those of the topics that the intake reads: never one that Tally writes, nor, by a pattern, one of Kafka's own."""
    names = {name for name in settings.intake_topics if not is_pattern(name)}
    patterns = [re.compile(name) for name in settings.intake_topics if is_pattern(name)]
    return {
        topic
        for topic in existing
        if topic in names
        or (
            topic not in settings.own_topics
            and not topic.startswith("__")
            and any(pattern.fullmatch(topic) for pattern in patterns)
        )
    }


@contextlib.asynccontextmanager
async def admin_client(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for questions about topics and groups. Whatever goes wrong becomes a `SetupError`."""
    admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=15_000)
    try:
        try:
            await admin.start()
        except ValueError:
            where = settings.kafka_bootstrap_servers
            raise SetupError(
                f"TALLY_KAFKA_BOOTSTRAP_SERVERS: must be a comma list of host:port (got {where!r})."
            ) from None
        except KafkaConnectionError as error:
            raise await _silence(settings, error) from None
        yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        raise unreachable(settings, error) from None
    finally:
        await admin.close()


async def _silence(settings: Settings, error: KafkaConnectionError) -> SetupError:
    """Nobody answers; or somebody is there, and the two do not understand each other."""
    for server in settings.kafka_bootstrap_servers.split(","):
        host, _, port = server.rpartition(":")
        with contextlib.suppress(OSError, TimeoutError, ValueError):
            async with asyncio.timeout(5):
                _, writer = await asyncio.open_connection(host.strip("[] "), int(port))
                writer.close()
            protocol = settings.kafka_security_protocol
            more = ", mechanism, username and password" if protocol.startswith("SASL") else ""
            return SetupError(
                f"{server} takes connections, but not as a Kafka broker reached by {protocol}: "
                f"check TALLY_KAFKA_SECURITY_PROTOCOL{more}."
            )
    return unreachable(settings, error)


async def describe_cluster(admin: AIOKafkaAdminClient, names: Collection[str]) -> Cluster:
    """The brokers, and the partition counts of those topics that exist."""
    described = await _metadata(admin, names)
    brokers = [f"{broker['host']}:{broker['port']}" for broker in described["brokers"]]
    counts = {topic["topic"]: len(topic["partitions"]) for topic in described["topics"] if topic["error_code"] == 0}
    return Cluster(sorted(brokers), counts)


async def find_sources(admin: AIOKafkaAdminClient, settings: Settings) -> dict[str, int]:
    """The partition counts of the topics that the intake reads, as far as they exist."""
    patterns = any(is_pattern(name) for name in settings.intake_topics)
    described = await _metadata(admin, None if patterns else settings.intake_topics)
    counts = {topic["topic"]: len(topic["partitions"]) for topic in described["topics"] if topic["error_code"] == 0}
    return {name: counts[name] for name in sorted(sources_among(settings, counts))}


async def ensure_topics(settings: Settings, *, create: bool = True) -> int:
    """Create what is missing and check the rest. Returns the partition count that they share.

    Raises `SetupError` with one sentence where a topic does not fit or cannot be had.
    """
    async with admin_client(settings) as admin:
        return await _ensure(admin, settings, create=create)


async def _ensure(admin: AIOKafkaAdminClient, settings: Settings, *, create: bool) -> int:
    wanted = topics_of(settings)
    counts = (await describe_cluster(admin, [topic.name for topic in wanted])).partitions
    partitions = shared_count(wanted, counts, settings)
    missing = [topic for topic in wanted if topic.name not in counts]
    if missing and not create:
        raise SetupError(f"Topic {missing[0].name} ({missing[0].purpose}) does not exist: run `tally topics --create`.")
    for topic in missing:
        await _create(admin, topic, partitions, settings)
    if missing:
        # Another worker may have created some of them at the same moment.
        counts |= await _await_leaders(admin, [topic.name for topic in missing])
        shared_count(wanted, counts, settings)
    return partitions


def shared_count(wanted: list[Topic], counts: Mapping[str, int], settings: Settings) -> int:
    """The partition count of the topics that exist, else the one to create them with. Raises where they differ."""
    known = [(topic.name, counts[topic.name]) for topic in wanted if topic.name in counts]
    if not known:
        return settings.partitions
    first, partitions = known[0]
    for name, count in known[1:]:
        if count != partitions:
            raise SetupError(
                f"Topic {name} has {count} partitions and {first} has {partitions}: all must have the same."
            )
    return partitions


async def _create(admin: AIOKafkaAdminClient, topic: Topic, partitions: int, settings: Settings) -> None:
    # A replication of -1 is the broker's default; aiokafka takes it only beside an (empty) assignment.
    options: dict[str, Any] = {"replica_assignments": {}} if settings.replication == -1 else {}
    new = NewTopic(topic.name, partitions, settings.replication, topic_configs=dict(topic.config), **options)
    response = await admin.create_topics([new])
    for _name, code, *detail in response.topic_errors:
        error = for_code(code)
        if code and error is not TopicAlreadyExistsError:
            reason = f"{error.__name__} {(detail and detail[0]) or ''}".rstrip(" .")
            raise SetupError(f"Topic {topic.name} cannot be created: {reason}.")


async def _await_leaders(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """Wait until every partition of new topics has a leader: before that, clients do not find it and complain.

    Returns their partition counts.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _LEADER_SECONDS
    while True:
        described = {topic["topic"]: topic for topic in (await _metadata(admin, names))["topics"]}
        led = {name: len(topic["partitions"]) for name, topic in described.items() if _is_led(topic)}
        late = [name for name in names if name not in led]
        if not late:
            return led
        if loop.time() > deadline:
            raise SetupError(
                f"Topic {late[0]} was created, but not all of its partitions had a leader {_LEADER_SECONDS} s later: "
                "look at the brokers, then start again."
            )
        await asyncio.sleep(0.1)


def _is_led(topic: Mapping[str, Any]) -> bool:
    partitions = topic["partitions"]
    return topic["error_code"] == 0 and bool(partitions) and all(partition["leader"] >= 0 for partition in partitions)


async def _metadata(admin: AIOKafkaAdminClient, names: Collection[str] | None) -> dict[str, Any]:
    """The brokers' answer about topics, or about all. aiokafka's own `describe_topics` would create missing ones."""
    request = MetadataRequest(None if names is None else sorted(names), allow_auto_topic_creation=False)
    described: dict[str, Any] = (await admin._send_request(request)).to_object()
    for topic in described["topics"]:
        error = for_code(topic["error_code"])
        if error is TopicAuthorizationFailedError:
            raise SetupError(
                f"Topic {topic['topic']} is forbidden here: `tally topics` lists the ACLs that are needed."
            )
        if topic["error_code"] and error not in (UnknownTopicOrPartitionError, LeaderNotAvailableError):
            raise SetupError(f"Topic {topic['topic']} cannot be used: {error.__name__}.")
    return described
