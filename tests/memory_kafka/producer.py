"""A producer as aiokafka's is seen from outside, its sender as it acts on the broker.

Followed: `AIOKafkaProducer` for what each call raises and when; `TransactionManager` for the states and their
transitions; `Sender` and its handlers for what is sent in which order, what is tried again and what is fatal.
Not followed: several nodes, lingering, compression.
"""

import asyncio
import copy
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from typing import Any, Final

from aiokafka import TopicPartition
from aiokafka.errors import (
    ConcurrentTransactions,
    IllegalOperation,
    InvalidProducerEpoch,
    KafkaError,
    OutOfOrderSequenceNumber,
    ProducerClosed,
    ProducerFenced,
)
from aiokafka.structs import RecordMetadata

from app.core.wire.records import Record, pack_headers
from tests.memory_kafka.broker import BATCH_HEADER, Broker, record_size
from tests.memory_kafka.log import ProducerSequence
from tests.memory_kafka.network import Client, Network

# TransactionState
UNINITIALIZED: Final = "UNINITIALIZED"
READY: Final = "READY"
IN_TRANSACTION: Final = "IN_TRANSACTION"
COMMITTING: Final = "COMMITTING_TRANSACTION"
ABORTING: Final = "ABORTING_TRANSACTION"
FATAL: Final = "FATAL_ERROR"
_ALLOWED: Final = {
    READY: (UNINITIALIZED, COMMITTING, ABORTING),
    IN_TRANSACTION: (READY,),
    COMMITTING: (IN_TRANSACTION,),
    ABORTING: (IN_TRANSACTION,),
}
#: Between a commit's answer and its last marker (BACKOFF_OVERRIDE in aiokafka's sender).
_BETWEEN_TRANSACTIONS: Final = 0.02
_NO_HEADERS: Final = pack_headers([])


class Batch:
    """BatchBuilder: takes records until it is full; the first fits whatever its size."""

    def __init__(self, most_records: int, most_bytes: int) -> None:
        self.records: list[Record] = []
        self._most_records = most_records
        self._most_bytes = most_bytes
        self._size = BATCH_HEADER

    def append(self, *, timestamp: int, key: bytes | None, value: bytes | None, headers: Any = ()) -> Record | None:
        """Add a record. Returns None where the batch is full."""
        block = pack_headers(headers) if headers else _NO_HEADERS
        record = Record(-1, timestamp, key, value, block)
        size = record_size(record)
        if self.records and (len(self.records) >= self._most_records or self._size + size > self._most_bytes):
            return None
        self._size += size
        self.records.append(record)
        return record

    def size(self) -> int:
        """Bytes, nearly."""
        return self._size

    def record_count(self) -> int:
        """How many records it holds."""
        return len(self.records)


class _Sent:
    """A batch on its way, and the future that its sender waits for."""

    __slots__ = ("future", "records", "sequence", "tp")

    def __init__(self, tp: TopicPartition, records: list[Record], future: asyncio.Future[Any]) -> None:
        self.tp = tp
        self.records = records
        self.future = future
        self.sequence: ProducerSequence | None = None


class MemoryProducer:
    """A producer; transactional where it has a transactional id."""

    def __init__(
        self,
        network: Network,
        broker: Broker,
        client: Client,
        *,
        transactional_id: str | None,
        transaction_timeout: float,
        retry_backoff: float,
        batch_bytes: int,
    ) -> None:
        self.client = _Connection(client)
        self.transactional_id = transactional_id
        self._network = network
        self._broker = broker
        self._client = client
        self._timeout = transaction_timeout
        self._backoff = retry_backoff
        self._batch_bytes = batch_bytes
        self._id = self._epoch = -1
        self._state = UNINITIALIZED
        self._numbers: defaultdict[TopicPartition, int] = defaultdict(int)
        self._partitions: dict[TopicPartition, None] = {}  # of the open transaction
        self._new_partitions: dict[TopicPartition, None] = {}  # that are to be added to it
        self._offsets: deque[tuple[str, dict[TopicPartition, int], asyncio.Future[None]]] = deque()
        self._group: str | None = None
        self._ended: asyncio.Future[None] | None = None  # of the open transaction, when it has ended
        self._queue: deque[_Sent] = deque()
        self._flying: list[_Sent] = []
        self._failure: BaseException | None = None
        self._closed = False
        self._wake: asyncio.Future[None] | None = None
        self._sender = _Sender()

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Get a producer id, however long it takes: of a transactional id it fences the last owner."""
        await self._call("metadata", lambda: None)
        while self._id < 0:
            try:
                self._id, self._epoch = await self._call(
                    "init producer", self._broker.transactions.init_producer, self.transactional_id, self._timeout
                )
            except KafkaError as error:
                if not _is_passing(error):
                    raise
                await asyncio.sleep(self._backoff)
        if self.transactional_id is not None:
            self._move_to(READY)
        self._sender.sender_task = asyncio.get_running_loop().create_task(self._send_all())

    async def stop(self) -> None:
        """Wait until all that was handed over is delivered, or the sender has ended; then end the sender."""
        if self._closed:
            return
        self._closed = True
        task = self._sender.sender_task
        if task is not None:
            waiting = [it.future for it in (*self._queue, *self._flying) if not it.future.done()]
            if waiting and not task.done():
                flushed = asyncio.ensure_future(asyncio.wait(waiting))
                await asyncio.wait([flushed, task], return_when=asyncio.FIRST_COMPLETED)
                flushed.cancel()
            if not task.done():
                task.cancel()
                await asyncio.wait([task])
        await self.client.close()

    async def _call(self, request: str, handle: Callable[..., Any], *args: Any) -> Any:
        return await self._network.call(self._client, request, handle, *args)

    # -- what is handed over ------------------------------------------------------------------------------------------

    def create_batch(self, most_bytes: int | None = None) -> Batch:
        """An empty batch, of at most so many bytes."""
        return Batch(self._network.weather.batched(), self._batch_bytes if most_bytes is None else most_bytes)

    async def send_batch(self, batch: Batch, topic: str, *, partition: int) -> asyncio.Future[Any]:
        """Hand a batch over. Returns a future that is done when the broker holds it."""
        return self._put(TopicPartition(topic, partition), batch.records)

    async def send(
        self,
        topic: str,
        value: bytes | None = None,
        key: bytes | None = None,
        partition: int | None = None,
        timestamp_ms: int | None = None,
        headers: Any = None,
    ) -> asyncio.Future[Any]:
        """Hand one record over, as a batch of its own."""
        assert value is not None or key is not None, "Need at least one: key or value"
        assert partition is not None, "no partitioner here"
        batch = self.create_batch()
        batch.append(timestamp=timestamp_ms or 0, key=key, value=value, headers=headers or ())
        return self._put(TopicPartition(topic, partition), batch.records)

    async def send_and_wait(self, topic: str, **fields: Any) -> Any:
        """Hand one record over and wait until the broker holds it."""
        return await (await self.send(topic, **fields))

    def _put(self, tp: TopicPartition, records: list[Record]) -> asyncio.Future[Any]:
        self._broker.log_of(tp)  # metadata knows it
        if self.transactional_id is not None and self._state != IN_TRANSACTION:
            raise IllegalOperation("Can't send messages while not in transaction")
        if self._closed:
            raise ProducerClosed
        if self._failure is not None:
            raise copy.copy(self._failure)
        if self.transactional_id is not None and tp not in self._partitions:
            self._new_partitions[tp] = None
        sent = _Sent(tp, records, asyncio.get_running_loop().create_future())
        self._queue.append(sent)
        self._notify()
        return asyncio.shield(sent.future)  # who waits no longer does not take the batch back (`add_batch`)

    # -- transactions -------------------------------------------------------------------------------------------------

    async def begin_transaction(self) -> None:
        """Begin a transaction. The broker is not asked."""
        self._ensure_transactional()
        self._move_to(IN_TRANSACTION)
        self._ended = asyncio.get_running_loop().create_future()

    async def send_offsets_to_transaction(self, offsets: Mapping[TopicPartition, int], group: str) -> None:
        """Commit a group's offsets with the transaction."""
        self._ensure_transactional()
        if self._state != IN_TRANSACTION:
            raise IllegalOperation("Not in the middle of a transaction")
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._offsets.append((group, dict(offsets), future))
        self._notify()
        await asyncio.shield(future)

    async def commit_transaction(self) -> None:
        """Commit. A batch that was refused does not hinder it: `flush_for_commit` waits however batches end."""
        await self._end(COMMITTING)

    async def abort_transaction(self) -> None:
        """Abort."""
        await self._end(ABORTING)

    async def _end(self, state: str) -> None:
        self._ensure_transactional()
        self._move_to(state)
        self._notify()
        assert self._ended is not None
        await asyncio.shield(self._ended)

    def _ensure_transactional(self) -> None:
        if self.transactional_id is None:
            raise IllegalOperation("You need to configure transaction_id to use transactions")

    def _move_to(self, state: str) -> None:
        assert self._state in _ALLOWED[state], f"Invalid state transition {self._state} -> {state}"
        self._state = state

    # -- the sender ---------------------------------------------------------------------------------------------------

    def _notify(self) -> None:
        if self._wake is not None and not self._wake.done():
            self._wake.set_result(None)

    async def _send_all(self) -> None:
        """Send what there is, one request after the other. Cancelled, it waits for the one that is on its way.

        A second cancellation ends that too; what is on the network by then may arrive all the same.
        """
        loop = asyncio.get_running_loop()
        flying: asyncio.Task[None] | None = None
        try:
            while True:
                step = self._next_step()
                if step is None:
                    self._wake = loop.create_future()
                    await self._wake
                    continue
                flying = loop.create_task(step())
                await asyncio.shield(flying)
                flying = None
        except asyncio.CancelledError:
            if flying is not None:
                await flying
        except (ProducerFenced, OutOfOrderSequenceNumber) as error:
            self._fail(error)
        except KafkaError as error:
            self._fail(KafkaError(f"Unexpected error during batch delivery: {error!r}"))

    def _next_step(self) -> Callable[[], Any] | None:
        if self._new_partitions:
            return self._add_partitions
        if self._queue:
            return self._produce
        if self._offsets:
            return self._add_group if self._group is None else self._commit_offsets
        if self._state in (COMMITTING, ABORTING):
            return self._end_transaction
        return None

    def _fail(self, error: BaseException) -> None:
        """The sender has failed: what waits fails with it, and nothing can be sent any more (`Sender._fail_all`)."""
        self._failure = error
        self._state = FATAL
        waiting = [*(it.future for it in self._queue), *(it.future for it in self._flying)]
        waiting += [future for _, _, future in self._offsets]
        if self._ended is not None:
            waiting.append(self._ended)
        self._queue.clear()
        self._flying.clear()
        self._offsets.clear()
        for future in waiting:
            if not future.done():
                future.set_exception(copy.copy(error))

    async def _ask(self, request: str, handle: Callable[..., None], *args: Any) -> bool:
        """Ask the coordinator about the open transaction. Returns whether it is done; else it is to be asked again."""
        assert self.transactional_id is not None
        try:
            await self._call(request, handle, self.transactional_id, self._id, self._epoch, *args)
        except InvalidProducerEpoch:
            raise ProducerFenced from None
        except ConcurrentTransactions:
            await asyncio.sleep(self._backoff if self._partitions else _BETWEEN_TRANSACTIONS)
            return False
        except KafkaError as error:
            if not _is_passing(error):
                raise
            await asyncio.sleep(self._backoff)
            return False
        return True

    async def _add_partitions(self) -> None:
        tps = list(self._new_partitions)
        if await self._ask("add partitions", self._broker.transactions.add_partitions, tps):
            for tp in tps:
                self._new_partitions.pop(tp, None)
                self._partitions[tp] = None

    async def _add_group(self) -> None:
        group = self._offsets[0][0]
        if await self._ask("add group", self._broker.transactions.add_group, group):
            self._group = group

    async def _commit_offsets(self) -> None:
        group, offsets, future = self._offsets[0]
        if await self._ask("commit offsets", self._broker.transactions.commit_offsets, group, offsets):
            self._offsets.popleft()
            if not future.done():
                future.set_result(None)

    async def _end_transaction(self) -> None:
        # Nothing written, nothing to end.
        if (not self._partitions and self._group is None) or await self._ask(
            "commit" if self._state == COMMITTING else "abort",
            self._broker.transactions.end,
            self._state == COMMITTING,
        ):
            self._partitions.clear()
            self._group = None
            self._move_to(READY)
            assert self._ended is not None
            if not self._ended.done():
                self._ended.set_result(None)

    async def _produce(self) -> None:
        """One request, with the oldest batch of each partition. A batch is tried again until it is there or refused."""
        batches: dict[TopicPartition, _Sent] = {}
        rest: deque[_Sent] = deque()
        for sent in self._queue:
            if sent.tp in batches:
                rest.append(sent)
            else:
                batches[sent.tp] = sent
        self._queue, self._flying = rest, list(batches.values())
        for tp, sent in batches.items():
            if sent.sequence is None:
                sent.sequence = ProducerSequence(self._id, self._epoch, self._numbers[tp])
                self._numbers[tp] += len(sent.records)
        contents = {tp: (sent.records, sent.sequence) for tp, sent in batches.items()}
        again: list[_Sent] = []
        try:
            outcomes = await self._call("produce", self._broker.produce, self.transactional_id, contents)
        except KafkaError as error:
            outcomes = dict.fromkeys(batches, error)
        for tp, sent in batches.items():
            outcome = outcomes[tp]
            if isinstance(outcome, KafkaError) and outcome.retriable:
                again.append(sent)
            elif not sent.future.done():
                if isinstance(outcome, InvalidProducerEpoch):
                    outcome = ProducerFenced()
                if isinstance(outcome, KafkaError):
                    sent.future.set_exception(copy.copy(outcome))
                else:
                    sent.future.set_result(RecordMetadata(*tp, tp, outcome, -1, 0, 0))
        self._flying = []
        if again:
            self._queue.extendleft(reversed(again))
            await asyncio.sleep(self._backoff)


class _Connection:
    """AIOKafkaClient, of which only the end is asked for."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def close(self) -> None:
        self._client.closed = True


class _Sender:
    """Sender, of which others know the task."""

    sender_task: "asyncio.Task[None] | None" = None


def _is_passing(error: KafkaError) -> bool:
    """Whether a handler of aiokafka waits and asks again (`BaseHandler.do`, and what each answers to errors)."""
    return error.retriable or isinstance(error, ConcurrentTransactions)
