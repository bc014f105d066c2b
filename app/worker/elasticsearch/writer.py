"""The document writer: joined records from `inference-log` to Elasticsearch, by a consumer group of its own.

The join does not know of it: while Elasticsearch is slow or away, records wait in Kafka. Offsets are committed when
all documents made of the records before them have landed, so after a crash, or beside a worker that was taken for
dead, some records are merged again. That changes nothing: `app.worker.elasticsearch.landing` says why.
"""

import asyncio
import logging
import math
import time
from collections import Counter, deque
from typing import Final

from aiokafka import AIOKafkaProducer, TopicPartition

from app.core.events import Reason, RefusedError
from app.core.letters import DeadLetter, letter_record
from app.core.outputs.documents.changes import Documents
from app.core.outputs.worker_series import DocumentNumbers
from app.core.rules import Rulebook
from app.core.stats import Stats
from app.core.wire.records import Record
from app.exporters.elasticsearch.templates import TEMPLATES
from app.exporters.elasticsearch.writes import Elasticsearch
from app.settings import Settings
from app.worker.elasticsearch.landing import Batch, Landing, Logged
from app.worker.kafka.consumer import OpenConsumer, open_consumer
from app.worker.kafka.group import GroupReader, Taken
from app.worker.kafka.group_consumer import GroupConsumer
from app.worker.kafka.producer import OpenProducer, close_producer, open_producer
from app.worker.kafka.sizes import Sizes

log = logging.getLogger(__name__)

_RESULTS: Final = ("written", "unchanged", "refused")
#: How long records are gathered for a bulk that is not full.
_GATHER_SECONDS: Final = 1.0
#: Records read in one go; the lane and the web server have their turn in between.
_LIST: Final = 25
_WAIT_SECONDS: Final = 0.1
#: Bulks that are on their way at once: while Elasticsearch works at one, the next is made.
_MOST_FLYING: Final = 3


class DocumentWriter:
    """The document writer of this worker. Build it in the loop that it runs in."""

    def __init__(
        self,
        settings: Settings,
        rulebook: Rulebook,
        stats: Stats,
        *,
        open_consumer: OpenConsumer = open_consumer,
        open_producer: OpenProducer = open_producer,
        sizes: Sizes | None = None,
    ) -> None:
        assert settings.log_topic is not None
        #: What has become of documents since the start.
        self.results: Counter[str] = Counter()
        self._settings = settings
        self._topic = settings.log_topic
        self._documents = Documents(rulebook, daily=settings.elasticsearch_daily)
        self._stats = stats
        self._open_producer = open_producer
        self._sizes = Sizes() if sizes is None else sizes
        self._elasticsearch = Elasticsearch(settings)
        self._group = GroupReader(
            settings,
            settings.documents_group,
            "the document writer",
            open_consumer,
            session=self._session,
            flush=self._flush,
            first_offset=_first_offset,
            again=math.inf,  # to write a document again changes nothing
            lost=stats.lost,
        )
        self._landing = Landing(
            self._elasticsearch,
            self._documents,
            stats,
            self.results,
            self._group.end_of,
            daily=settings.elasticsearch_daily,
        )
        self._producer: AIOKafkaProducer | None = None
        self._preparing: asyncio.Task[None] | None = None
        self._batch = Batch()
        #: Bulks on their way, the oldest first. A puid that several of them have is written in their order.
        self._flying: deque[tuple[Batch, asyncio.Task[None]]] = deque()

    # -- what the rest of the worker asks -----------------------------------------------------------------------------

    def numbers(self) -> DocumentNumbers:
        """What has become of documents, and what waits."""
        results = {result: self.results[result] for result in _RESULTS}
        return DocumentNumbers(results, self.backlog(), self.oldest_seconds())

    @property
    def task(self) -> asyncio.Task[None] | None:
        """What runs; None until it starts."""
        return self._group.task

    def backlog(self) -> float:
        """How many joined records of this worker's partitions are not in Elasticsearch yet; NaN while not known."""
        return self._group.unread() + sum(batch.records for batch in self._batches())

    def oldest_seconds(self) -> float:
        """The age of the oldest record that has been read and is not in Elasticsearch yet."""
        times = [batch.oldest for batch in self._batches() if batch.oldest is not None]
        return max(0.0, time.time() - min(times) / 1000) if times else 0.0

    def _batches(self) -> list[Batch]:
        return [*(batch for batch, _ in self._flying), self._batch]

    def start(self) -> None:
        """Begin. What is wrong with Elasticsearch is told now, not when there are documents."""
        self._preparing = asyncio.get_running_loop().create_task(self._elasticsearch.prepare(TEMPLATES))
        self._group.start()

    async def stop(self) -> None:
        """Let what is on its way land, if it does so soon, and leave the group."""
        await self._group.stop()
        if self._preparing is not None:
            self._preparing.cancel()
            await asyncio.gather(self._preparing, return_exceptions=True)
        await self._elasticsearch.close()

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _session(self) -> None:
        """Write until something goes wrong."""
        group = self._group
        try:
            await group.subscribe([self._topic])
            while True:
                group.check()
                self._raise_failure()
                self._send_if_due()
                if self._batch.full:
                    await self._rest()
                    continue
                taken = await group.read(_LIST, _WAIT_SECONDS)
                if taken is not None:
                    self._gather(taken)
        finally:
            self._batch = Batch()
            await self._drop_flying()
            if self._producer is not None:
                await close_producer(self._producer)
                self._producer = None

    def _raise_failure(self) -> None:
        """Forget the bulks that have landed; raise what ended another one."""
        while self._flying and self._flying[0][1].done():
            _, task = self._flying.popleft()
            if not task.cancelled():
                task.result()

    def _send_if_due(self) -> None:
        """Let the batch land if it is full, or old enough, and not too many are on their way."""
        loop = asyncio.get_running_loop()
        batch = self._batch
        due = batch.full or (batch.records and loop.time() - batch.begun >= _GATHER_SECONDS)
        if due and len(self._flying) < _MOST_FLYING:
            before = list(self._flying)
            self._flying.append((batch, loop.create_task(self._land(batch, before))))
            self._batch = Batch()

    async def _rest(self) -> None:
        """Wait until a bulk has landed, or for a moment."""
        if self._flying:
            await asyncio.wait([self._flying[0][1]], timeout=_WAIT_SECONDS)
        else:
            await asyncio.sleep(_WAIT_SECONDS)

    async def _flush(self) -> None:
        """What is on its way may land; what does not soon is dropped, and read again by whoever has its partition."""
        self._batch = Batch()
        if self._flying:
            await asyncio.wait([task for _, task in self._flying], timeout=self._settings.session_timeout / 2)
        await self._drop_flying()

    async def _drop_flying(self) -> None:
        """Give up what has not landed. What was known of documents may be so no longer."""
        tasks = [task for _, task in self._flying]
        self._flying.clear()  # first, so that nobody takes them for ended
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._landing.known.clear()

    def _gather(self, taken: Taken) -> None:
        """Take records into the batch."""
        tp, records, next_offset = taken
        batch = self._batch
        for record in records:
            self._add(batch, tp, record)
        if records or batch.records:
            batch.next_offsets[tp] = next_offset
        if not records:
            return
        if batch.records == 0:
            batch.begun = asyncio.get_running_loop().time()
        batch.records += len(records)
        batch.size += sum(len(record.value or b"") for record in records)
        oldest = min(record.timestamp for record in records)
        batch.oldest = oldest if batch.oldest is None else min(oldest, batch.oldest)

    def _add(self, batch: Batch, tp: TopicPartition, record: Record) -> None:
        try:
            batch.add((tp, record), self._documents.changes(record.value or b""))
        except RefusedError as refused:
            self._refuse(batch, (tp, record), refused.reason, refused.detail)
        except Exception as error:
            log.exception("unexpected error in a joined record topic=%s partition=%d offset=%d", *tp, record.offset)
            self._refuse(batch, (tp, record), Reason.UNEXPECTED, f"{type(error).__name__}: {error}")

    def _refuse(self, batch: Batch, logged: Logged, reason: Reason, detail: str) -> None:
        if batch.refuse(logged, reason, detail):
            self.results["refused"] += 1
            self._stats.rejected[reason] += 1

    # -- writing ------------------------------------------------------------------------------------------------------

    async def _land(self, batch: Batch, before: list[tuple[Batch, asyncio.Task[None]]]) -> None:
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
        await self._group.commit(batch.next_offsets)

    async def _send_letters(self, letters: list[DeadLetter]) -> None:
        if self._producer is None:
            self._producer = await self._open_producer(self._settings, None)
        for letter in letters:
            key, value, *headers = letter_record(letter, self._sizes.of(self._settings.dead_letters_topic))
            await self._producer.send_and_wait(
                self._settings.dead_letters_topic,
                key=key,
                value=value,
                headers=headers[0] if headers else [],
                partition=letter.partition,
            )


async def _first_offset(consumer: GroupConsumer, tp: TopicPartition) -> int:
    """At a first start all joined records become documents."""
    return (await consumer.beginning_offsets([tp]))[tp]
