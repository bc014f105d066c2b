"""The topics that the worker needs: what they must be, and how they are created or checked."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from app.settings import Settings
from app.worker.kafka import SetupError, client_options, unreachable

_COMPACT = {"cleanup.policy": "compact", "segment.ms": "3600000", "min.cleanable.dirty.ratio": "0.3"}
#: Three payloads of `TALLY_MAX_BODY` may travel in one record of these.
_LARGE = {"max.message.bytes": str(8 << 20)}


class Topic(NamedTuple):
    """One topic: its name, what it is for, and its settings where the worker creates it."""

    name: str
    purpose: str
    config: Mapping[str, str]


def topics_of(settings: Settings) -> list[Topic]:
    """All topics, the canonical three first. All have the same partition count."""
    week = {"retention.ms": str(int(settings.exchange_retention * 1000))}
    topics = [
        Topic(settings.request_topic, "requests, keyed by puid", week),
        Topic(settings.response_topic, "responses, keyed by puid", week),
        Topic(settings.feedback_topic, "feedback, keyed by puid", week),
        Topic(settings.exchanges_topic, "changelog of the exchanges, and the marks", _COMPACT),
        Topic(settings.panes_topic, "changelog of the counts, and feed of the merged view", _COMPACT),
        Topic(settings.dead_letters_topic, "refused events with the reason", week | _LARGE),
    ]
    if settings.log_topic:
        topics.append(Topic(settings.log_topic, "joined records", week | _LARGE))
    return topics


async def partition_counts(admin: AIOKafkaAdminClient, names: list[str]) -> dict[str, int]:
    """The partition count of each topic that exists."""
    counts = {}
    for topic in await admin.describe_topics(names):
        if topic["error_code"] == 0:
            counts[topic["topic"]] = len(topic["partitions"])
    return counts


async def ensure_topics(settings: Settings, *, create: bool = True) -> int:
    """Create what is missing and check the rest. Returns the partition count that they share.

    Raises `SetupError` with one sentence where a topic does not fit or cannot be had.
    """
    admin = AIOKafkaAdminClient(**client_options(settings), request_timeout_ms=15_000)
    try:
        await admin.start()
        return await _ensure(admin, settings, create=create)
    except (KafkaError, OSError, TimeoutError) as error:
        raise unreachable(settings, error) from None
    finally:
        await admin.close()


async def _ensure(admin: AIOKafkaAdminClient, settings: Settings, *, create: bool) -> int:
    wanted = topics_of(settings)
    names = [topic.name for topic in wanted]
    counts = await partition_counts(admin, names)
    partitions = _shared_count(wanted, counts, settings)
    missing = [topic for topic in wanted if topic.name not in counts]
    if missing and not create:
        raise SetupError(f"Topic {missing[0].name} ({missing[0].purpose}) does not exist: run `tally topics --create`.")
    for topic in missing:
        await _create(admin, topic, partitions, settings)
    if missing:
        # Another worker may have created some of them at the same moment.
        _shared_count(wanted, await partition_counts(admin, names), settings)
    return partitions


def _shared_count(wanted: list[Topic], counts: dict[str, int], settings: Settings) -> int:
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
            raise SetupError(f"Topic {topic.name} cannot be created: {error.__name__} {detail[0] if detail else ''}.")
