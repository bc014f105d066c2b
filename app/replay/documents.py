"""Elasticsearch against the topics: the documents that the joined records make, and those that are there."""

import asyncio
from array import array
from collections.abc import Iterable, Iterator, Mapping, MutableMapping, Sequence
from contextlib import aclosing
from typing import Any, Final, NamedTuple

import orjson
from aiokafka import TopicPartition
from elastic_transport import TransportError
from elasticsearch import ApiError, UnsupportedProductError
from xxhash import xxh3_64_intdigest

from app.core.events import RefusedError
from app.core.outputs.documents.changes import Documents
from app.core.outputs.documents.merging import merged, standing
from app.core.outputs.documents.places import Place
from app.core.rules import Rulebook
from app.exporters.elasticsearch.client import connect, sentence
from app.exporters.elasticsearch.writes import Found
from app.replay.comparing import MOST_TOLD, Difference, OfPartition
from app.replay.reading import open_reader, read
from app.replay.stretch import Stretch, StretchError
from app.settings import Settings

#: Documents that are asked for together.
_PAGE: Final = 500
#: For so long the writer is waited for, until it has written what was joined up to the marks.
_PATIENCE_SECONDS: Final = 120.0


class Expected:
    """The documents that joined records make, one after the other. `store` holds their bodies."""

    def __init__(self, rulebook: Rulebook, settings: Settings, store: MutableMapping[bytes, bytes]) -> None:
        self._documents = Documents(rulebook, daily=settings.elasticsearch_daily)
        self._store = store

    def take(self, record: bytes) -> None:
        """Take one joined record, as the writer would."""
        try:
            changes = self._documents.changes(record)
        except RefusedError:
            return  # the writer puts it aside
        for change in changes:
            found = {
                place: Found(0, orjson.loads(body))
                for place in change.places
                if (body := self._store.get(_key(place))) is not None
            }
            there, old, before = standing(change, found)
            self._store[_key(there)] = orjson.dumps(merged(None if old is None else old.body, change))
            for place in before:
                self._store.pop(_key(place), None)

    def all(self) -> Iterator[tuple[Place, Any]]:
        """All documents, by place."""
        for key, body in self._store.items():
            index, _, number = key.decode().partition("\0")
            yield (index, number), orjson.loads(body)


def _key(place: Place) -> bytes:
    return "\0".join(place).encode()


async def compare_documents(settings: Settings, expected: Expected, marks: Mapping[TopicPartition, int]) -> OfPartition:
    """Compare the documents of a partition with those in Elasticsearch.

    What has changed since the marks is not compared: an event that came behind them says so.
    """
    await _await_writer(settings)
    ids: dict[str, array[int]] = {}
    wrong: list[tuple[str, bytes, Difference]] = []
    client = connect(settings)
    try:
        page: list[tuple[Place, Any]] = []
        for one in expected.all():
            (index, number), _ = one
            ids.setdefault(index, array("Q")).append(digest_of(number))
            page.append(one)
            if len(page) == _PAGE:
                wrong += await _compare(client, page)
                page = []
        wrong += await _compare(client, page) if page else []
    except UnsupportedProductError:
        raise StretchError(f"What answers at {settings.elasticsearch_url} is no Elasticsearch.") from None
    except (TransportError, ApiError) as error:
        raise StretchError(sentence(error, settings)) from None
    finally:
        await client.close()
    moved = await _puids_behind(settings, marks) if wrong else set()
    still = [one for one in wrong if one[1] not in moved]
    return OfPartition(
        {index: own.tobytes() for index, own in ids.items()},
        sum(what == "missing" for what, _, _ in still),
        sum(what == "different" for what, _, _ in still),
        len(wrong) - len(still),
        [difference for _, _, difference in still[:MOST_TOLD]],
    )


def digest_of(number: str) -> int:
    """What stands for an id."""
    return xxh3_64_intdigest(number.encode())


async def _compare(client: Any, page: Sequence[tuple[Place, Any]]) -> list[tuple[str, bytes, Difference]]:
    reply = await client.mget(docs=[{"_index": index, "_id": number} for (index, number), _ in page])
    wrong = []
    for ((index, number), wanted), document in zip(page, reply.body["docs"], strict=True):
        body = document.get("_source") if document.get("found") else None
        if body == wanted:
            continue
        what = "missing" if body is None else "different"
        where, one, other = _first(wanted, body)
        difference = Difference(f"document {index}/{number}, {where}", one, other)
        wrong.append((what, str(wanted.get("RequestId", number)).encode(), difference))
    return wrong


def _first(wanted: Any, body: Any, path: str = "") -> tuple[str, str, str]:
    """Where a document differs first: where, what the topics say, what is there."""
    if isinstance(wanted, dict) and isinstance(body, dict):
        for name in [*wanted, *(name for name in body if name not in wanted)]:
            if wanted.get(name) != body.get(name):
                return _first(wanted.get(name), body.get(name), f"{path}.{name}" if path else name)
    return path or "as a whole", _short(wanted), _short(body)


def _short(value: Any) -> str:
    return "nothing" if value is None else orjson.dumps(value).decode()[:200]


async def _await_writer(settings: Settings) -> None:
    """Wait until all that is joined now has been written. Raises StretchError where nobody gets on with it."""
    assert settings.log_topic is not None
    consumer = await open_reader(settings, group_id=settings.documents_group)
    try:
        facts = await consumer.describe([settings.log_topic])
        if settings.log_topic not in facts:
            raise StretchError(f"Topic {settings.log_topic} does not exist: no document has been made of these topics.")
        tps = [TopicPartition(settings.log_topic, number) for number in range(facts[settings.log_topic].partitions)]
        ends = await consumer.end_offsets(tps)
        beginnings = await consumer.beginning_offsets(tps)
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE_SECONDS
        while True:
            commits = await consumer.commits(tps)
            behind = sum(
                max(0, ends[tp] - max(beginnings[tp], 0 if (commit := commits[tp]) is None else commit.offset))
                for tp in tps
            )
            if not behind:
                return
            if loop.time() > until:
                raise StretchError(
                    f"{behind} records of {settings.log_topic} wait for Elasticsearch: start a worker, or see what is "
                    "in its way by `tally check`, and verify again."
                )
            await asyncio.sleep(0.5)
    finally:
        await consumer.stop()


async def _puids_behind(settings: Settings, marks: Mapping[TopicPartition, int]) -> set[bytes]:
    """The request ids of which events have come since the marks."""
    consumer = await open_reader(settings)
    try:
        tps = [*marks]
        consumer.assign(tps)
        ends = await consumer.end_offsets(tps)
        puids: set[bytes] = set()
        async with aclosing(read(consumer, Stretch(dict(marks), ends))) as lists:
            async for _, records in lists:
                puids.update(record.key for record in records if record.key)
        return puids
    finally:
        await consumer.stop()


class Foreign(NamedTuple):
    """Documents that are in Elasticsearch and that no joined record makes: how many, and the first of them."""

    documents: int
    told: list[Difference]


async def find_foreign(settings: Settings, found: Iterable[OfPartition]) -> tuple[dict[str, tuple[int, int]], Foreign]:
    """By index how many documents there should be, and are; and those that should not be there."""
    wanted: dict[str, set[int]] = {}
    for one in found:
        for index, raw in one.ids.items():
            digests = array("Q")
            digests.frombytes(raw)
            wanted.setdefault(index, set()).update(digests)
    counts: dict[str, tuple[int, int]] = {}
    told: list[Difference] = []
    foreign = 0
    client = connect(settings)
    try:
        for index, own in sorted(wanted.items()):
            await client.options(ignore_status=404).indices.refresh(index=index)
            reply = await client.options(ignore_status=404).count(index=index)
            counts[index] = len(own), reply.body.get("count", 0)
            if counts[index][1] <= len(own):
                continue
            async for number in _ids(client, index):
                if digest_of(number) not in own:
                    foreign += 1
                    if len(told) < MOST_TOLD:
                        told.append(Difference(f"document {index}/{number}", "nothing", "a document"))
    except (TransportError, ApiError) as error:
        raise StretchError(sentence(error, settings)) from None
    finally:
        await client.close()
    return counts, Foreign(foreign, told)


async def _ids(client: Any, index: str) -> Any:
    """The ids of all documents of an index, in one snapshot."""
    pit = (await client.open_point_in_time(index=index, keep_alive="5m")).body["id"]
    try:
        after: list[Any] | None = None
        while True:
            reply = await client.search(
                pit={"id": pit, "keep_alive": "5m"},
                size=5000,
                sort=["_shard_doc"],
                source=False,
                track_total_hits=False,
                **({"search_after": after} if after else {}),
            )
            hits = reply.body["hits"]["hits"]
            if not hits:
                return
            for hit in hits:
                yield hit["_id"]
            after = hits[-1]["sort"]
    finally:
        await client.close_point_in_time(id=pit)
