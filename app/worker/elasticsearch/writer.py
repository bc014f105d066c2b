"""The document writer: joined records from `inference-log` to Elasticsearch, by a consumer group of its own.

The join does not know of it: while Elasticsearch is slow or away, records wait in Kafka. Offsets are committed when
all documents made of the records before them have landed, so after a crash, or beside a worker that was taken for
dead, some records are merged again. That changes nothing: `app.worker.elasticsearch.landing` says why.
"""

import asyncio
import contextlib
import logging
import time
from collections import Counter, deque
from collections.abc import Collection
from typing import Any, Final

from aiokafka import AIOKafkaProducer, TopicPartition
from aiokafka.abc import ConsumerRebalanceListener
from aiokafka.errors import (
    CommitFailedError,
    IllegalStateError,
    KafkaError,
    NoOffsetForPartitionError,
    OffsetOutOfRangeError,
)

from app.core.events import Reason, RefusedError
from app.core.letters import DeadLetter, letter_record
from app.core.outputs.documents.changes import Documents
from app.core.rules import Rulebook
from app.core.stats import Stats
from app.core.wire.records import Record
from app.exporters.elasticsearch.templates import TEMPLATES
from app.exporters.elasticsearch.writes import Elasticsearch
from app.settings import Settings
from app.worker.elasticsearch.landing import Batch, Landing, Origin
from app.worker.kafka.client import client_options
from app.worker.kafka.consumer import RecordConsumer
from app.worker.kafka.producer import close_producer, open_producer

log = logging.getLogger(__name__)

_RESULTS: Final = ("written", "unchanged", "refused")
#: How long records are gathered for a bulk that is not full.
_GATHER_SECONDS: Final = 1.0
#: Records read in one go; the lane and the web server have their turn in between.
_LIST: Final = 25
_WAIT_SECONDS: Final = 0.1
#: Bulks that are on their way at once: while Elasticsearch works at one, the next is made.
_MOST_FLYING: Final = 3
_NEVER_MS: Final = 2**31 - 1


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
        self._landing = Landing(
            self._elasticsearch,
            self._documents,
            stats,
            self.results,
            self._end_of,
            daily=settings.elasticsearch_daily,
        )
        self._consumer: RecordConsumer | None = None
        self._producer: AIOKafkaProducer | None = None
        self._batch = Batch()
        #: Bulks on their way, the oldest first. What several of them say of one puid is written by the last in the end.
        self._flying: deque[tuple[Batch, asyncio.Task[None]]] = deque()
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
        ends = [(consumer.end(tp), consumer.next_offset(tp)) for tp in consumer.assignment()]
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
        self._flying.clear()  # first, so that nobody takes them for ended
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._landing.known.clear()

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _read(self, consumer: RecordConsumer) -> None:
        loop = asyncio.get_running_loop()
        while True:
            consumer._coordinator.check_errors()
            while self._flying and self._flying[0][1].done():
                _, task = self._flying.popleft()
                if not task.cancelled():
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
            place = consumer.next_offset(tp)
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
            batch.add((tp, record), self._documents.changes(record.value or b""))
        except RefusedError as refused:
            self._refuse(batch, (tp, record), refused.reason, refused.detail)
        except Exception as error:
            log.exception("a joined record is a puzzle topic=%s offset=%d", tp, record.offset)
            self._refuse(batch, (tp, record), Reason.UNEXPECTED, f"{type(error).__name__}: {error}")

    def _refuse(self, batch: Batch, origin: Origin, reason: Reason, detail: str) -> None:
        if batch.refuse(origin, reason, detail):
            self.results["refused"] += 1
            self._stats.rejected[reason] += 1

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

    async def _end_of(self, tp: TopicPartition) -> int:
        assert self._consumer is not None
        end: int = (await self._consumer.end_offsets([tp]))[tp]
        return end

    # -- writing ------------------------------------------------------------------------------------------------------

    async def _land(
        self, consumer: RecordConsumer, batch: Batch, before: list[tuple[Batch, asyncio.Task[None]]]
    ) -> None:
        """Write the documents of a batch, and commit once all of them, and those of the batches before, are there."""
        await self._elasticsearch.prepare(TEMPLATES)
        shared = {puid for other, _ in before for puid in batch.puids & other.puids}
        await self._landing.write(batch, batch.puids - shared)
        if before:
            await asyncio.shield(before[-1][1])  # which has waited for those before it
        if shared:
            await self._landing.write(batch, shared)
        if batch.letters:
            await self._send_letters(list(batch.letters.values()))
        try:
            await consumer.commit(batch.places)
        except (CommitFailedError, IllegalStateError) as error:
            # The partitions have been given to others, who go on at the last commit: what they merge is there already.
            log.info("the document writer could not commit, its partitions are given anew: %r", error)

    async def _send_letters(self, letters: list[DeadLetter]) -> None:
        if self._producer is None:
            self._producer = await open_producer(self._settings)
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
