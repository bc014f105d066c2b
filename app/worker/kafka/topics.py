"""The topics that the worker needs: what they must be, and how they are created or checked."""

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Collection, Iterable, Iterator, Mapping, Sequence
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

from app.setting_values import is_pattern
from app.settings import Settings
from app.worker.kafka.client import BrokersError, SetupError, client_options, prepare_client, unreachable
from app.worker.kafka.metadata import (
    CLEANUP,
    LARGEST_BATCH,
    RETENTION,
    TopicFacts,
    ask_for_topics,
    topic_configs,
    topic_id,
)
from app.worker.kafka.reaching import why_unreachable

_COMPACT = {CLEANUP: "compact", "segment.ms": "3600000", "min.cleanable.dirty.ratio": "0.3"}
#: Three payloads of `TALLY_MAX_BODY` may travel in one record of these.
_LARGE = {LARGEST_BATCH: str(8 << 20)}

#: The least that a topic must take at once: a mark and a row of counts always fit.
LEAST_BATCH = 16 << 10

#: What a regular expression begins with, up to the first character that is more than itself, or is repeated.
_LITERAL = re.compile(r"(?:(?:[A-Za-z0-9_-]|\\[.-])(?![*?{]))+")

_READ = ("Describe", "Read")
_WRITE = ("Describe", "Write")
_BOTH = ("Describe", "Read", "Write")
#: On the topics whose settings must be right; without it they are not checked.
_CONFIGS = ("DescribeConfigs",)

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

    #: worker; sender: `tally send`, `tally feedback`, and whatever else writes the canonical topics; operator:
    #: `tally dead-letters`
    role: str
    resource: str  # topic, group or transactional-id
    name: str
    pattern: str  # literal or prefixed
    operations: tuple[str, ...]
    operations_to_create: tuple[str, ...] = ()  # needed only by who creates the topic


class Cluster(NamedTuple):
    """What the brokers say: their addresses, and the facts of each topic that was asked for and exists."""

    brokers: list[str]
    topics: dict[str, TopicFacts]

    @property
    def partitions(self) -> dict[str, int]:
        """The partition counts of the topics."""
        return {name: facts.partitions for name, facts in self.topics.items()}


def topics_of(settings: Settings) -> list[Topic]:
    """All topics, the canonical three first. All have the same partition count."""
    week = {RETENTION: str(int(settings.exchange_retention * 1000))}
    topics = [
        Topic(settings.request_topic, "requests, keyed by puid", week, _BOTH),  # written by the intake and by POST
        Topic(settings.response_topic, "responses, keyed by puid", week, _BOTH),
        Topic(settings.feedback_topic, "feedback, keyed by puid", week, _BOTH),
        Topic(settings.exchanges_topic, "changelog of the exchanges, and the marks", _COMPACT, _BOTH),
        Topic(settings.panes_topic, "changelog of the counts, and feed of the merged view", _COMPACT, _BOTH),
        Topic(settings.dead_letters_topic, "refused events with the reason", week | _LARGE, _WRITE),
    ]
    if settings.log_topic:
        operations = _BOTH if settings.elasticsearch_url or settings.config else _WRITE  # monitors read it, too
        topics.append(Topic(settings.log_topic, "joined records", week | _LARGE, operations))
    return topics


def transactional_ids(settings: Settings, partitions: int) -> list[str]:
    """The transactional id of each partition's producer."""
    return [f"{settings.app_id}-{number}" for number in range(partitions)]


def letters_transactional_id(settings: Settings) -> str:
    """The transactional id of whoever sends dead letters back or drops them: one at a time."""
    return f"{settings.app_id}-dead-letters"


def acls_of(settings: Settings) -> list[Acl]:
    """All that the worker's principal must be allowed, then what that of a sender must be, and that of an operator."""
    worker = [
        Acl("worker", "topic", topic.name, "literal", topic.operations + _CONFIGS, ("Create",))
        for topic in topics_of(settings)
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
    if settings.config and settings.log_topic:
        worker.append(Acl("worker", "group", settings.monitors_group(), "prefixed", _READ))
    sender = [Acl("sender", "topic", name, "literal", _WRITE) for name in settings.topics]
    operator = [  # what a letter has only the beginning of is read where it came from
        Acl("operator", "topic", name, "literal", _BOTH) for name in (*settings.topics, settings.log_topic) if name
    ]
    operator += [acl._replace(role="operator") for acl in map(_source_acl, settings.intake_topics)]
    operator.append(Acl("operator", "topic", settings.dead_letters_topic, "literal", (*_BOTH, "Delete")))
    operator.append(Acl("operator", "transactional-id", letters_transactional_id(settings), "literal", _WRITE))
    return worker + sender + operator


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


def missing_sources(settings: Settings, existing: Collection[str]) -> list[str]:
    """The sources that are named and do not exist."""
    return [name for name in settings.intake_topics if not is_pattern(name) and name not in existing]


def missing_sentence(source: str) -> str:
    """What is said of a source that does not exist: no problem, and worth knowing."""
    return (
        f"Topic {source} of TALLY_INTAKE_TOPICS does not exist: it is read as soon as it does. Tally creates none of "
        "its sources: whoever writes them does."
    )


@contextlib.asynccontextmanager
async def admin_client(settings: Settings) -> AsyncIterator[AIOKafkaAdminClient]:
    """A client for questions about topics and groups. Whatever goes wrong with brokers becomes a `BrokersError`."""
    admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=15_000)
    prepare_client(admin._client)
    try:
        try:
            await admin.start()
        except ValueError:
            where = settings.kafka_bootstrap_servers
            raise SetupError(
                f"TALLY_KAFKA_BOOTSTRAP_SERVERS: must be a comma list of host:port (got {where!r})."
            ) from None
        except KafkaConnectionError as error:
            raise await why_unreachable(settings) or unreachable(settings, error) from None
        yield admin
    except (KafkaError, OSError, TimeoutError) as error:
        raise unreachable(settings, error) from None
    finally:
        await admin.close()


async def describe_cluster(admin: AIOKafkaAdminClient, names: Collection[str]) -> Cluster:
    """The brokers, and the facts of those topics that exist."""
    described = await _metadata(admin, names)
    brokers = [f"{broker['host']}:{broker['port']}" for broker in described["brokers"]]
    there = {topic["topic"]: topic for topic in described["topics"] if topic["error_code"] == 0}
    configs = await topic_configs(admin, there)
    facts = {
        name: TopicFacts(len(topic["partitions"]), topic_id(topic), configs.get(name, {}))
        for name, topic in there.items()
    }
    return Cluster(sorted(brokers), facts)


async def find_sources(admin: AIOKafkaAdminClient, settings: Settings) -> dict[str, int]:
    """The partition counts of the topics that the intake reads, as far as they exist."""
    patterns = any(is_pattern(name) for name in settings.intake_topics)
    described = await _metadata(admin, None if patterns else settings.intake_topics)
    counts = {topic["topic"]: len(topic["partitions"]) for topic in described["topics"] if topic["error_code"] == 0}
    return {name: counts[name] for name in sorted(sources_among(settings, counts))}


async def ensure_topics(settings: Settings, *, create: bool = True) -> dict[str, TopicFacts]:
    """Create what is missing and check the rest. Returns the facts of all topics; they share their partition count.

    Raises `SetupError` with one sentence where a topic does not fit or cannot be had.
    """
    async with admin_client(settings) as admin:
        return await _ensure(admin, settings, create=create)


async def _ensure(admin: AIOKafkaAdminClient, settings: Settings, *, create: bool) -> dict[str, TopicFacts]:
    wanted = topics_of(settings)
    names = [topic.name for topic in wanted]
    found = (await describe_cluster(admin, names)).topics
    partitions = check_topics(wanted, found, settings)
    missing = [topic for topic in wanted if topic.name not in found]
    if missing and not create:
        raise SetupError(f"Topic {missing[0].name} ({missing[0].purpose}) does not exist: run `tally topics --create`.")
    for topic in missing:
        await _create(admin, topic, partitions, settings)
    if missing:
        # Another worker may have created some of them at the same moment.
        await _await_leaders(admin, [topic.name for topic in missing])
        found = (await describe_cluster(admin, names)).topics
        check_topics(wanted, found, settings)
    return found


def check_topics(wanted: Sequence[Topic], found: Mapping[str, TopicFacts], settings: Settings) -> int:
    """The partition count of the topics that exist, else the one to create them with.

    Raises `SetupError` for the first that cannot be used as it is.
    """
    for problem in topic_problems(wanted, found):
        raise SetupError(problem)
    known = next((found[topic.name] for topic in wanted if topic.name in found), None)
    return known.partitions if known is not None else settings.partitions


def topic_problems(wanted: Sequence[Topic], found: Mapping[str, TopicFacts]) -> Iterator[str]:
    """A sentence for each topic that exists and cannot be used as it is."""
    known = [(topic, found[topic.name]) for topic in wanted if topic.name in found]
    for topic, facts in known[1:]:
        first, partitions = known[0][0].name, known[0][1].partitions
        if facts.partitions != partitions:
            yield (
                f"Topic {topic.name} has {facts.partitions} partitions and {first} has {partitions}: "
                "all must have the same."
            )
    for topic, facts in known:
        must, is_now = topic.config.get(CLEANUP, "delete"), facts.config.get(CLEANUP, "").strip()
        if is_now and is_now != must:
            lost = "state would be deleted" if must == "compact" else "events would be lost"
            yield (
                f"Topic {topic.name} ({topic.purpose}) has {CLEANUP}={is_now} and must have {must}, else {lost}: run "
                f"`kafka-configs --alter --topic {topic.name} --add-config {CLEANUP}={must}`."
            )
        largest = facts.largest_batch
        if largest is not None and largest < LEAST_BATCH:
            yield (
                f"Topic {topic.name} takes {LARGEST_BATCH}={largest} bytes and must take {LEAST_BATCH} at least: "
                f"run `kafka-configs --alter --topic {topic.name} --add-config {LARGEST_BATCH}=1048588`."
            )


def topic_notes(wanted: Sequence[Topic], found: Mapping[str, TopicFacts], settings: Settings) -> Iterator[str]:
    """A sentence for each topic that can be used, and may lose what a worker needs."""
    week = int(settings.exchange_retention * 1000)
    requests = found.get(settings.request_topic)
    if (
        requests is not None
        and "partitions" in settings.model_fields_set
        and requests.partitions != settings.partitions
    ):
        yield (
            f"TALLY_PARTITIONS is {settings.partitions} and the topics have {requests.partitions}: it is for topics "
            "that a worker creates, and changes none that are there."
        )
    for topic in wanted:
        facts = found.get(topic.name)
        kept = int(facts.config.get(RETENTION, -1)) if facts is not None and topic.name in settings.topics else -1
        if 0 <= kept < week:
            yield (
                f"Topic {topic.name} keeps events for {kept / 3600_000:g} h ({RETENTION}={kept}): what is not read "
                "within that time is lost, and TALLY_EXCHANGE_RETENTION "
                f"is {settings.exchange_retention / 3600:g} h."
            )


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


async def _await_leaders(admin: AIOKafkaAdminClient, names: list[str]) -> None:
    """Wait until every partition of new topics has a leader: before that, clients do not find it and complain."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _LEADER_SECONDS
    while True:
        described = {topic["topic"]: topic for topic in (await _metadata(admin, names))["topics"]}
        late = [name for name in names if name not in described or not _is_led(described[name])]
        if not late:
            return
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
    """The brokers' answer about topics, or about all. Raises `BrokersError` for one that cannot be used."""
    described = await ask_for_topics(admin._send_request, names)
    for topic in described["topics"]:
        error = for_code(topic["error_code"])
        if error is TopicAuthorizationFailedError:
            raise BrokersError(
                f"Topic {topic['topic']} is forbidden here: `tally topics` lists the ACLs that are needed."
            )
        if topic["error_code"] and error not in (UnknownTopicOrPartitionError, LeaderNotAvailableError):
            raise BrokersError(f"Topic {topic['topic']} cannot be used: {error.__name__}.")
    return described
