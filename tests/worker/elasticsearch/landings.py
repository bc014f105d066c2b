"""What tests of landing need: an Elasticsearch in memory, a way to it that stalls, a writer, logs, and stories."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
import pytest
from aiokafka import TopicPartition

from app.core.outputs.documents.changes import Documents
from app.core.outputs.documents.places import Place
from app.core.rules import Rulebook, Rules
from app.core.stats import Stats
from app.core.wire.records import Record
from app.exporters.elasticsearch.writes import Elasticsearch, Found, Outcome, Result, Write
from app.worker.elasticsearch.landing import Batch, Landing
from tests.builders import a_feedback, a_request, a_response, run
from tests.core.outputs.test_documents import shelf

TP: Final = TopicPartition("inference-log", 0)
KSERVE: Final = {"ce_servingengine": b"inferenceservice"}
MIDNIGHT: Final = 17 * 3600  # after 07:00
PLAIN: Final = Rulebook()
SCORED: Final = (Rules("ns/seldon/default/*", scored_model="scored"),)


class CrashError(Exception):
    """The worker dies."""


class Index:
    """An Elasticsearch that keeps versions as the real one does, those of removed documents too."""

    def __init__(self) -> None:
        self.kept: dict[Place, tuple[int, bytes | None]] = {}
        self.refused: set[str] = set()  # indices
        self.writes_left: float = float("inf")
        self.log: list[Place] = []
        self.reads: list[int] = []
        self.asked_whether_moved = 0

    @property
    def read(self) -> int:
        """How many documents were asked for."""
        return sum(self.reads)

    def documents(self) -> dict[Place, Any]:
        return {place: orjson.loads(body) for place, (_, body) in self.kept.items() if body is not None}

    async def find(self, places: Sequence[Place]) -> dict[Place, Found]:
        await asyncio.sleep(0)
        self.reads.append(len(places))
        kept = [(place, *self.kept[place]) for place in places if place in self.kept]
        return {place: Found(version, orjson.loads(body)) for place, version, body in kept if body is not None}

    async def write(self, writes: Sequence[Write]) -> AsyncIterator[tuple[Write, Outcome]]:
        for write in writes:
            if not self.writes_left:
                raise CrashError
            self.writes_left -= 1
            yield write, Outcome(self._write(write))

    async def moved(self, versions: Mapping[Place, int]) -> set[Place]:
        """Asked as the real one is asked: by a removal."""
        self.asked_whether_moved += len(versions)
        found = {place for place, version in versions.items() if self.kept.get(place, (0, None))[0] > version}
        self.kept |= {place: (version, None) for place, version in versions.items() if place not in found}
        return found

    async def prepare_alias(self, index: str, alias: str) -> None:
        assert index.startswith(alias)

    def _write(self, write: Write) -> Result:
        version, body = self.kept.get(write.place, (0, None))
        if write.body is not None and write.place[0] in self.refused:
            return Result.REFUSED
        if write.version is None:
            if body is not None:
                return Result.CONFLICT
        elif version >= write.version:
            return Result.CONFLICT
        assert not isinstance(write.body, dict)
        self.kept[write.place] = write.version or 1, write.body
        self.log.append(write.place)
        return Result.WRITTEN


class Connection:
    """A worker's way to an Elasticsearch: it may stall before any request, as if the worker had."""

    def __init__(self, index: Index | Elasticsearch) -> None:
        self.requests_left: float = float("inf")
        self.stalled = asyncio.Event()
        self._index = index
        self._awake = asyncio.Event()

    def wake(self) -> None:
        self.requests_left = float("inf")
        self._awake.set()

    async def find(self, places: Sequence[Place]) -> dict[Place, Found]:
        await self._request()
        return await self._index.find(places)

    async def write(self, writes: Sequence[Write]) -> AsyncIterator[tuple[Write, Outcome]]:
        for write in writes:
            await self._request()
            async for outcome in self._index.write([write]):
                yield outcome

    async def moved(self, versions: Mapping[Place, int]) -> set[Place]:
        await self._request()
        return await self._index.moved(versions)

    async def prepare_alias(self, index: str, alias: str) -> None:
        await self._index.prepare_alias(index, alias)

    async def _request(self) -> None:
        if not self.requests_left:
            self.stalled.set()
            await self._awake.wait()
        self.requests_left -= 1


class Writer:
    """A worker's landing, and how far it has committed."""

    def __init__(
        self, index: Index | Elasticsearch, log: Sequence[Record], *, daily: bool = False, rules: Rulebook = PLAIN
    ) -> None:
        self.documents = Documents(rules, daily=daily)
        self.stats, self.results = Stats(), Counter[str]()
        self.connection = Connection(index)
        self._log = log
        elasticsearch: Any = self.connection
        self.landing = Landing(elasticsearch, self.documents, self.stats, self.results, self._end_of, daily=daily)

    async def _end_of(self, tp: TopicPartition) -> int:
        return len(self._log)

    def batch(self, begin: int, end: int) -> Batch:
        batch = Batch()
        for record in self._log[begin:end]:
            batch.add((TP, record), self.documents.changes(record.value or b""))
        return batch

    def land(self, begin: int, end: int) -> Batch:
        return asyncio.run(self.landed(begin, end))

    async def landed(self, begin: int, end: int) -> Batch:
        batch = self.batch(begin, end)
        await self.landing.write(batch, set(batch.puids))
        return batch

    async def stalled(self, begin: int, end: int, requests: int) -> asyncio.Task[None]:
        """Begin to land, and stall after so many requests."""
        self.connection.requests_left = requests
        batch = self.batch(begin, end)
        task = asyncio.create_task(self.landing.write(batch, set(batch.puids)))
        stall = asyncio.create_task(self.connection.stalled.wait())
        await asyncio.wait([task, stall], return_when=asyncio.FIRST_COMPLETED)
        stall.cancel()
        return task


def a_log(records: Sequence[Any], batches: Iterable[int] = (), rules: Sequence[Rules] = ()) -> list[Record]:
    logged = run(records, batches, rules=rules, logs=True).logged
    return [Record(offset, 0, key, value) for offset, (key, value) in enumerate(logged)]


def wanted(log: Iterable[Record], *, daily: bool = False, rules: Sequence[Rules] = ()) -> dict[Place, Any]:
    return shelf([record.value or b"" for record in log], rules, daily=daily)


async def woken(writer: Writer, task: asyncio.Task[None]) -> None:
    writer.connection.wake()
    await task


def _of(model: str) -> Any:
    return {"service": "seldon", "model": model}


#: Stories of a document that begins in the index of one day and moves to that of another: the events, and the rules.
MOVES: Final = [
    pytest.param(
        [
            a_response(1, at=MIDNIGHT, service="kserve", headers=KSERVE),
            a_feedback(0, at=MIDNIGHT + 1, service="kserve"),
            a_request(at=MIDNIGHT - 1, service="kserve", headers=KSERVE),
            a_feedback(1, at=MIDNIGHT + 2, service="kserve"),
        ],
        (),
        id="the late one does not know the engine",
    ),
    pytest.param(
        [
            a_request(at=MIDNIGHT, **_of("second")),
            a_response(1, at=MIDNIGHT + 1, **_of("second")),
            a_request(at=MIDNIGHT - 1, **_of("first")),
        ],
        (),
        id="the document has begun with a request",
    ),
    pytest.param(
        [
            a_response(1, at=MIDNIGHT + 2, **_of("first")),
            a_request(at=MIDNIGHT - 1, **_of("first")),
            a_request(at=MIDNIGHT, **_of("scored")),
            a_response(1, at=MIDNIGHT + 1, **_of("scored")),
        ],
        SCORED,
        id="the document moves there and back",
    ),
]
