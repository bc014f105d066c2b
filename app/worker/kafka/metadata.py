"""What brokers say of topics: their ids, partitions and settings.

A topic that was deleted and made again has the name of the old one, and another id. aiokafka asks for topics in a
version of the protocol that has no ids, so the request with ids is written here (KIP-516, Metadata version 12).
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from io import BytesIO
from typing import Any, Final, NamedTuple

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import IncompatibleBrokerVersion, for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.metadata import MetadataRequest
from aiokafka.protocol.types import (
    AbstractType,
    Boolean,
    CompactArray,
    CompactString,
    Int16,
    Int32,
    Schema,
    TaggedFields,
)

_METADATA: Final = 3
_ID_BYTES: Final = 16
_NO_ID: Final = bytes(_ID_BYTES)

#: The settings of topics that are asked for.
CLEANUP: Final = "cleanup.policy"
LARGEST_BATCH: Final = "max.message.bytes"
RETENTION: Final = "retention.ms"
_ASKED: Final = (CLEANUP, LARGEST_BATCH, RETENTION)


class TopicFacts(NamedTuple):
    """What brokers say of one topic.

    `id` is its UUID in hex, empty where the brokers are too old to have ids. `config` has the settings by name, those
    of the brokers where the topic has none of its own; it is empty where the brokers do not tell, or may not tell us.
    """

    partitions: int
    id: str = ""
    config: Mapping[str, str] = {}

    @property
    def largest_batch(self) -> int | None:
        """The most bytes that a batch of records may have; None where that is not known."""
        limit = self.config.get(LARGEST_BATCH)
        return int(limit) if limit is not None else None


class _Uuid(AbstractType[bytes]):  # type: ignore[misc]
    @classmethod
    def encode(cls, value: bytes) -> bytes:
        return value

    @classmethod
    def decode(cls, data: BytesIO) -> bytes:
        return data.read(_ID_BYTES)

    @classmethod
    def repr(cls, value: bytes) -> str:
        return value.hex()


class _TopicsResponse(Response):  # type: ignore[misc]
    API_KEY = _METADATA
    API_VERSION = 12
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "brokers",
            CompactArray(
                ("node_id", Int32),
                ("host", CompactString("utf-8")),
                ("port", Int32),
                ("rack", CompactString("utf-8")),
                ("tags", TaggedFields),
            ),
        ),
        ("cluster_id", CompactString("utf-8")),
        ("controller_id", Int32),
        (
            "topics",
            CompactArray(
                ("error_code", Int16),
                ("topic", CompactString("utf-8")),
                ("topic_id", _Uuid),
                ("is_internal", Boolean),
                (
                    "partitions",
                    CompactArray(
                        ("error_code", Int16),
                        ("partition", Int32),
                        ("leader", Int32),
                        ("leader_epoch", Int32),
                        ("replicas", CompactArray(Int32)),
                        ("isr", CompactArray(Int32)),
                        ("offline_replicas", CompactArray(Int32)),
                        ("tags", TaggedFields),
                    ),
                ),
                ("authorized_operations", Int32),
                ("tags", TaggedFields),
            ),
        ),
        ("tags", TaggedFields),
    )


class _TopicsRequestStruct(RequestStruct):  # type: ignore[misc]
    FLEXIBLE_VERSION = True
    API_KEY = _METADATA
    API_VERSION = 12
    RESPONSE_TYPE = _TopicsResponse
    SCHEMA = Schema(
        ("topics", CompactArray(("topic_id", _Uuid), ("topic", CompactString("utf-8")), ("tags", TaggedFields))),
        ("allow_auto_topic_creation", Boolean),
        ("include_topic_authorized_operations", Boolean),
        ("tags", TaggedFields),
    )


class TopicsRequest(Request[_TopicsRequestStruct]):  # type: ignore[misc]
    """Ask for some topics, or with None for all, and create none."""

    API_KEY = _METADATA

    def __init__(self, names: Collection[str] | None) -> None:
        self._names = names

    def build(self, request_struct_class: type[_TopicsRequestStruct]) -> _TopicsRequestStruct:
        """The request as aiokafka sends it."""
        names: list[Any] | None = None if self._names is None else [(_NO_ID, name, {}) for name in sorted(self._names)]
        return request_struct_class(names, False, False, {})

    def prepare(self, versions: dict[int, tuple[int, int]]) -> _TopicsRequestStruct:
        """The request in a version that the broker has. Raises IncompatibleBrokerVersion where it has no ids."""
        lowest, highest = versions.get(_METADATA, (0, 0))
        if not lowest <= _TopicsRequestStruct.API_VERSION <= highest:
            raise IncompatibleBrokerVersion("these brokers have no ids of topics")
        return self.build(_TopicsRequestStruct)


async def ask_for_topics(send: Callable[[Any], Awaitable[Any]], names: Collection[str] | None) -> dict[str, Any]:
    """The brokers' answer about topics, or about all: "brokers" and "topics", each topic with its `topic_id`.

    `send` sends a request and returns the response. aiokafka's own `describe_topics` would create missing ones.
    """
    try:
        answer: dict[str, Any] = (await send(TopicsRequest(names))).to_object()
    except IncompatibleBrokerVersion:
        request = MetadataRequest(None if names is None else sorted(names), allow_auto_topic_creation=False)
        answer = (await send(request)).to_object()
    return answer


async def topic_configs(admin: AIOKafkaAdminClient, names: Collection[str]) -> dict[str, dict[str, str]]:
    """The settings of topics that are asked for, by topic; without those that the brokers do not tell."""
    resources = [ConfigResource(ConfigResourceType.TOPIC, name, dict.fromkeys(_ASKED)) for name in sorted(names)]
    try:
        answers = await admin.describe_configs(resources) if resources else []
    except IncompatibleBrokerVersion:
        return {}
    found = {}
    for answer in answers:
        for resource in answer.to_object()["resources"]:
            if for_code(resource["error_code"]).errno == 0:
                found[resource["resource_name"]] = {
                    entry["config_names"]: entry["config_value"] for entry in resource["config_entries"]
                }
    return found


def topic_id(topic: Mapping[str, Any]) -> str:
    """The id of a topic of an answer, in hex; empty where it has none."""
    raw: bytes = topic.get("topic_id", _NO_ID)
    return raw.hex() if raw != _NO_ID else ""
