"""The document writer: joined records from `inference-log` to Elasticsearch, by a consumer group of its own.

The join does not know of it: while Elasticsearch is slow or away, records wait in Kafka. Offsets are committed when
all documents made of the records before them have landed, so after a crash, or beside a worker that was taken for
dead, some records are merged again. That changes nothing, because of the versions:

- A puid lives in one partition of the log, and its records are merged in their order there. Every write is the whole
  document, as it is after the records up to some offset, with that offset as its external version: Elasticsearch takes
  it only over a lower one. Whoever is behind finds (by reading, or by the conflict) that the document has its record.
- What a writer merges into is a document as Elasticsearch has it, read by its id at that moment. All records of the
  puid before the writer's own are in it, since they landed before the writer, or the one before it, went on. So the
  result depends on the log alone, and two writers of one version write the same.
- A record that begins a document is written without reading, on the condition that there is none (`create`, which has
  no external version and leaves version 1). Only one record is written that way, and to merge a record again into the
  document that it made changes nothing; so version 1 needs no offset. Where there is a document it is read and merged.
- External versions begin at 2^32, so that documents of other writers, which count from 1, are older than the log. A
  version beyond the end of the log is of a log that is no more; such a document is taken as it is and counted on.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter, defaultdict, deque
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import orjson
from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from app.core.documents.changes import Documents
from app.core.documents.merging import Change, merged, standing
from app.core.documents.names import Body, Place
from app.core.events import DeadLetter, Reason, RefusedError
from app.core.records import Record
from app.core.rules import Rulebook
from app.core.stats import Stats
from app.exporters.elasticsearch import BULK_BYTES, BULK_DOCUMENTS, TEMPLATES, Elasticsearch, Found, Result, Write
from app.settings import Settings
from app.worker.kafka import client_options
from app.worker.partition import BATCH_BYTES, close_producer, letter_record
from app.worker.records import RecordConsumer

log = logging.getLogger(__name__)

_RESULTS: Final = ("written", "unchanged", "refused")
#: The version of a document with the record at offset 0.
FIRST_VERSION: Final = 1 << 32
#: How long records are gathered for a bulk that is not full.
_GATHER_SECONDS: Final = 1.0
#: Records read in one go; the lane and the web server have their turn in between.
_LIST: Final = 25
_WAIT_SECONDS: Final = 0.1
#: Bulks that are on their way at once: while Elasticsearch works at one, the next is made.
_MOST_FLYING: Final = 3
#: Of how many bulks what they have written is remembered.
_RECENT: Final = 10
_NEVER_MS: Final = 2**31 - 1


class Step(NamedTuple):
    """What one record does to one document.

    Of a change that begins a document only the document is kept: bytes take less room, and less time to be freed. The
    change is made again where there is a document already.
    """

    version: int
    origin: tuple[TopicPartition, Record]
    change: Change | None
    beginning: bytes | None = None


@dataclass(slots=True)
class Batch:
    """Records whose documents are written together. Changes of one document become one write."""

    steps: defaultdict[Place, list[Step]] = field(default_factory=lambda: defaultdict(list))
    puids: set[bytes | None] = field(default_factory=set)
    written: dict[Place, tuple[int, bytes]] = field(default_factory=dict)  # version and body
    letters: list[DeadLetter] = field(default_factory=list)
    places: dict[TopicPartition, int] = field(default_factory=dict)
    records: int = 0
    size: int = 0
    oldest: int | None = None  # ms
    begun: float = 0.0

    @property
    def full(self) -> bool:
        """Whether it is time to write it, however young it is."""
        return len(self.steps) >= BULK_DOCUMENTS or self.size >= BULK_BYTES

    def add(self, tp: TopicPartition, record: Record, changes: list[Change]) -> None:
        """Add what a record says."""
        self.puids.add(record.key)
        version, origin = FIRST_VERSION + record.offset, (tp, record)
        for change in changes:
            steps = self.steps[change.place]
            if change.begins and not steps:
                with contextlib.suppress(TypeError):  # nested too deep: found out again, and told, when it is merged
                    steps.append(Step(version, origin, None, orjson.dumps(merged(None, change))))
                    continue
            steps.append(Step(version, origin, change))


class DocumentWriter(ConsumerRebalanceListener):  # type: ignore[misc]
    """The document writer of this worker. Build it in the loop that it runs in."""

    def __init__(self, settings: Settings, rulebook: Rulebook, stats: Stats) -> None:
        assert settings.log_topic is not None
        #: What has become of documents since the start.
        self.results: Counter[str] = Counter()
        self._settings = settings
        self._topic = settings.log_topic
        self._documents = Documents(rulebook, daily=settings.elasticsearch_daily)
        self._stats = stats
        self._elasticsearch = Elasticsearch(settings)
        self._consumer: RecordConsumer | None = None
        self._producer: AIOKafkaProducer | None = None
        self._batch = Batch()
        #: Bulks on their way, the oldest first. What several of them say of one puid is written by the last in the end.
        self._flying: deque[tuple[Batch, asyncio.Task[None]]] = deque()
        #: What the last of them have written, the newest first: it need not be read.
        self._recent: deque[dict[Place, tuple[int, bytes]]] = deque(maxlen=_RECENT)
        self._held = True  # nothing is read while a rebalance goes on
        self._turn = 0  # counts rebalances, so that no list is taken across one
        self._rotation = 0
        self._task: asyncio.Task[None] | None = None

    # -- what the rest of the worker asks -----------------------------------------------------------------------------

    def samples(self) -> dict[str, list[tuple[tuple[str, ...], float]]]:
        """The series of the document writer."""
        return {
            "tally_documents_total": [((result,), self.results[result]) for result in _RESULTS],
            "tally_documents_backlog": [((), self.backlog())],
            "tally_documents_oldest_seconds": [((), self.oldest_seconds())],
        }

    def backlog(self) -> int:
        """How many joined records of this worker's partitions are not in Elasticsearch yet."""
        consumer = self._consumer
        if consumer is None:
            return 0
        ends = [(consumer.end(tp), consumer.place(tp)) for tp in consumer.assignment()]
        unread = sum(max(0, end - place) for end, place in ends if end is not None and place is not None)
        return unread + sum(batch.records for batch in self._batches())

    def oldest_seconds(self) -> float:
        """The age of the oldest record that has been read and is not in Elasticsearch yet."""
        times = [batch.oldest for batch in self._batches() if batch.oldest is not None]
        return max(0.0, time.time() - min(times) / 1000) if times else 0.0

    def _batches(self) -> list[Batch]:
        return [*(batch for batch, _ in self._flying), self._batch]

    def start(self) -> None:
        """Begin."""
        self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """Let what is on its way land, if it does so soon, and leave the group."""
        if self._task is not None:
            await self._hold()
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        await self._elasticsearch.close()

    # -- sessions -----------------------------------------------------------------------------------------------------

    async def _run(self) -> None:
        said = ""
        while True:
            try:
                await self._session()
            except (KafkaError, OSError, TimeoutError) as error:
                if repr(error) != said:
                    said = repr(error)
                    log.warning("the document writer goes back to its committed offsets: %s", said)
            except Exception:  # a defect; the join must not end with it
                log.exception("the document writer failed, and goes back to its committed offsets")
                await asyncio.sleep(10)
            await asyncio.sleep(1)

    async def _session(self) -> None:
        """Join the group and write until something goes wrong."""
        settings = self._settings
        consumer = self._consumer = RecordConsumer(
            **client_options(settings),
            group_id=settings.documents_group,
            isolation_level="read_committed",
            auto_offset_reset="none",
            enable_auto_commit=False,
            max_partition_fetch_bytes=1 << 20,
            fetch_max_wait_ms=200,
            max_poll_interval_ms=_NEVER_MS,  # its records are taken, not polled
            session_timeout_ms=int(settings.session_timeout * 1000),
            heartbeat_interval_ms=int(settings.session_timeout * 100),
            rebalance_timeout_ms=int(settings.session_timeout * 3000),
        )
        self._held = True
        self._turn += 1
        self._batch = Batch()
        try:
            await consumer.start()
            consumer.subscribe([self._topic], listener=self)
            await self._read(consumer)
        finally:
            await self._drop_flying()
            self._consumer = None
            if self._producer is not None:
                await close_producer(self._producer)
                self._producer = None
            await _close_consumer(consumer)

    # -- rebalances ---------------------------------------------------------------------------------------------------

    async def on_partitions_revoked(self, revoked: Collection[TopicPartition]) -> None:
        """A rebalance begins: read no more; what is on its way may land, and is dropped where it does not."""
        await self._hold()

    def on_partitions_assigned(self, assigned: Collection[TopicPartition]) -> None:
        """A rebalance is over: every partition begins at its committed offset."""
        self._batch = Batch()
        self._turn += 1
        self._held = False

    async def _hold(self) -> None:
        self._held = True
        self._turn += 1
        self._batch = Batch()
        if self._flying:
            await asyncio.wait([task for _, task in self._flying], timeout=self._settings.session_timeout / 2)
        await self._drop_flying()

    async def _drop_flying(self) -> None:
        """Give up what has not landed; somebody reads it again. What was known of documents may be so no longer."""
        tasks = [task for _, task in self._flying]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._flying.clear()
        self._recent.clear()

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, consumer: RecordConsumer) -> None:
        loop = asyncio.get_running_loop()
        while True:
            consumer._coordinator.check_errors()
            while self._flying and self._flying[0][1].done():
                _, task = self._flying.popleft()
                task.result()  # raises what ended it
            batch = self._batch
            due = batch.full or (batch.records and loop.time() - batch.begun >= _GATHER_SECONDS)
            if due and len(self._flying) < _MOST_FLYING:
                before = list(self._flying)
                self._flying.append((batch, loop.create_task(self._land(consumer, batch, before))))
                self._batch = Batch()
            if self._held or self._batch.full:
                await self._rest()
                continue
            turn = self._turn
            tps = sorted(consumer.assignment())
            try:
                await consumer.wait_for_records(tps, _WAIT_SECONDS)
            except NoOffsetForPartitionError as error:
                await self._move(consumer, {error.args[0]: None})
                continue
            except OffsetOutOfRangeError as error:
                await self._move(consumer, error.args[0])
                continue
            self._rotation += 1
            start = self._rotation % len(tps) if tps else 0
            for tp in tps[start:] + tps[:start]:
                await self._gather(consumer, tp, turn)

    async def _rest(self) -> None:
        """Wait until a bulk has landed, or for a moment."""
        if self._flying:
            await asyncio.wait([self._flying[0][1]], timeout=_WAIT_SECONDS)
        else:
            await asyncio.sleep(_WAIT_SECONDS)

    async def _gather(self, consumer: RecordConsumer, tp: TopicPartition, turn: int) -> None:
        """Take what has been fetched of a partition into the batch."""
        while turn == self._turn and not self._batch.full:
            records = consumer.take(tp, _LIST)
            batch = self._batch
            for record in records:
                self._add(batch, tp, record)
            place = consumer.place(tp)
            if place is not None and (records or batch.records):
                batch.places[tp] = place
            if not records:
                return
            if batch.records == 0:
                batch.begun = asyncio.get_running_loop().time()
            batch.records += len(records)
            batch.size += sum(len(record.value or b"") for record in records)
            oldest = min(record.timestamp for record in records)
            batch.oldest = oldest if batch.oldest is None else min(oldest, batch.oldest)
            await asyncio.sleep(0)

    def _add(self, batch: Batch, tp: TopicPartition, record: Record) -> None:
        try:
            batch.add(tp, record, self._documents.changes(record.value or b""))
        except RefusedError as refused:
            self._refuse(batch, (tp, record), refused.reason, refused.detail)
        except Exception as error:
            log.exception("a joined record is a puzzle topic=%s offset=%d", tp, record.offset)
            self._refuse(batch, (tp, record), Reason.UNEXPECTED, f"{type(error).__name__}: {error}")

    def _refuse(self, batch: Batch, origin: tuple[TopicPartition, Record], reason: Reason, detail: str) -> None:
        tp, record = origin
        self.results["refused"] += 1
        self._stats.rejected[reason] += 1
        batch.letters.append(DeadLetter(tp.topic, tp.partition, record, reason, detail))

    async def _move(self, consumer: RecordConsumer, places: dict[TopicPartition, int | None]) -> None:
        """Go to the oldest record that there is: at a first start, or where the broker no longer has the next one."""
        beginnings = await consumer.beginning_offsets(list(places))
        for tp, place in places.items():
            if place is not None:
                log.error(
                    "topic=%s partition=%d offset=%d is no longer there: documents go on at %d; what lay between has "
                    "none",
                    tp.topic, tp.partition, place, beginnings[tp],
                )  # fmt: skip
            if tp in consumer.assignment():
                consumer.seek(tp, beginnings[tp])

    # -- writing ------------------------------------------------------------------------------------------------------

    async def _land(
        self, consumer: RecordConsumer, batch: Batch, before: list[tuple[Batch, asyncio.Task[None]]]
    ) -> None:
        """Write the documents of a batch, and commit once all of them, and those of the batches before, are there."""
        await self._elasticsearch.prepare(TEMPLATES)
        if self._settings.elasticsearch_daily:
            for index in sorted({place[0] for place in batch.steps}):
                await self._elasticsearch.prepare_alias(index, index.rpartition("-")[0])
        shared = {puid for other, _ in before for puid in batch.puids & other.puids}
        later = [place for place, steps in batch.steps.items() if steps[0].origin[1].key in shared] if shared else []
        await self._write(consumer, batch, list(batch.steps.keys() - later) if later else list(batch.steps))
        if before:
            await asyncio.shield(before[-1][1])  # which has waited for those before it
            await self._write(consumer, batch, later)
        if batch.letters:
            await self._send_letters(batch.letters)
        self._recent.appendleft(batch.written)
        try:
            await consumer.commit(batch.places)
        except (CommitFailedError, IllegalStateError) as error:
            # The partitions have been given to others, who go on at the last commit: what they merge is there already.
            log.info("the document writer could not commit, its partitions are given anew: %r", error)

    async def _write(self, consumer: RecordConsumer, batch: Batch, places: list[Place]) -> None:
        """Write documents. Those that only begin are tried unread; what conflicts, and all others, are read."""
        waiting: list[Write] = []
        unread: list[Place] = []
        unknown = set(places).difference(*self._recent)
        for place in places:
            steps = batch.steps[place]
            if len(steps) == 1 and steps[0].beginning is not None and place in unknown:
                waiting.append(Write(place, None, steps[0].beginning))
            else:
                unread.append(place)
        while waiting or unread:
            waiting += await self._merge(consumer, batch, unread)
            unread = []
            async for write, outcome in self._elasticsearch.write(waiting):
                if outcome.result is Result.WRITTEN:
                    if type(write.body) is bytes:
                        self.results["written"] += 1
                        version = write.version or batch.steps[write.place][-1].version
                        batch.written[write.place] = version, write.body
                elif outcome.result is Result.REFUSED:
                    self._refuse_steps(batch, write.place, outcome.reason)
                elif write.version is None:
                    unread.append(write.place)
                else:
                    self.results["unchanged"] += write.body is not None
            waiting = []

    async def _merge(self, consumer: RecordConsumer, batch: Batch, places: list[Place]) -> list[Write]:
        """The writes of documents that may be there already."""
        changes = {place: [self._change(step, place) for step in batch.steps[place]] for place in places}
        wanted = {place for some in changes.values() for change in some for place in change.places}
        recent = {place: known[place] for known in reversed(self._recent) for place in wanted & known.keys()}
        found = {place: Found(version, orjson.loads(body)) for place, (version, body) in recent.items()}
        found |= await self._elasticsearch.find(sorted(wanted - found.keys()))
        writes: list[Write] = []
        for number, place in enumerate(places):
            if number % _LIST == _LIST - 1:
                await asyncio.sleep(0)
            await self._merge_one(consumer, batch, place, changes[place], found, writes)
        return writes

    def _change(self, step: Step, place: Place) -> Change:
        if step.change is not None:
            return step.change
        return next(it for it in self._documents.changes(step.origin[1].value or b"") if it.place == place)

    async def _merge_one(
        self,
        consumer: RecordConsumer,
        batch: Batch,
        place: Place,
        changes: list[Change],
        found: dict[Place, Found],
        writes: list[Write],
    ) -> None:
        steps = batch.steps[place]
        place, old, before = standing(changes[-1], found)
        batch.steps[place] = steps
        last, known = steps[-1].version, 0
        if old is not None and (place not in found or found[place] is not old):
            old = old._replace(version=0)  # it moves: what it has in its new place is nothing yet
        if old is not None:
            known = old.version
        if known > last and await self._is_of_another_log(consumer, steps[0].origin[0], known):
            last, known = known + 1, 0
        body = old.body if old is not None else None
        for step, change in zip(steps, changes, strict=True):
            if step.version > known:
                body = merged(body, change)
        if body is None or (old is not None and old.version and body == old.body):
            self.results["unchanged"] += 1
        else:
            self._add_write(batch, writes, place, last, body)
        writes += [Write(there, max(last, found[there].version + 1), None) for there in before]

    def _add_write(self, batch: Batch, writes: list[Write], place: Place, version: int | None, body: Body) -> None:
        try:
            writes.append(Write(place, version, orjson.dumps(body)))
        except TypeError as error:  # nested too deep
            self._refuse_steps(batch, place, f"it cannot be written as JSON: {error}")

    @staticmethod
    async def _is_of_another_log(consumer: RecordConsumer, tp: TopicPartition, version: int) -> bool:
        """Whether a version is beyond the log: the topic has been made anew since."""
        end: int = (await consumer.end_offsets([tp]))[tp]
        return version >= FIRST_VERSION + end

    def _refuse_steps(self, batch: Batch, place: Place, reason: str) -> None:
        """Put all records aside that a refused document was made of."""
        self.results["refused"] += 1
        known = {(letter.partition, letter.record.offset) for letter in batch.letters}
        for step in batch.steps[place]:
            tp, record = step.origin
            if (tp.partition, record.offset) not in known:
                self._stats.rejected[Reason.DOCUMENT_REFUSED] += 1
                detail = f"{'/'.join(place)}: {reason}"
                batch.letters.append(DeadLetter(tp.topic, tp.partition, record, Reason.DOCUMENT_REFUSED, detail))

    async def _send_letters(self, letters: list[DeadLetter]) -> None:
        if self._producer is None:
            producer = AIOKafkaProducer(
                **client_options(self._settings), acks="all", enable_idempotence=True, max_batch_size=BATCH_BYTES
            )
            self._producer = producer
            await producer.start()
        for letter in letters:
            key, value, *headers = letter_record(letter)
            await self._producer.send_and_wait(
                self._settings.dead_letters_topic,
                key=key,
                value=value,
                headers=headers[0] if headers else [],
                partition=letter.partition,
            )


async def _close_consumer(consumer: Any) -> None:
    """Leave the group, unless the brokers do not answer."""
    with contextlib.suppress(TimeoutError, KafkaError, OSError):
        async with asyncio.timeout(2):
            await consumer.stop()
            return
    await consumer._client.close()
