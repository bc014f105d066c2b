"""What the changelogs of one partition say at one mark, read while workers go on writing.

An epoch is one transaction over both changelogs, and whoever reads them sees its ends one after the other. So both are
cut where an epoch ends, and each is read on until both have the end of the same one.
"""

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, NamedTuple

import msgspec
import orjson
from aiokafka import TopicPartition

from app.core.counts.rows import FirstKey, end_key, parse_key
from app.core.drift.first import First, decode_first
from app.core.events import Identity
from app.core.join.position import POSITION_KEY, DamagedError, Position, StateError, read_position
from app.core.wire.records import Record
from app.settings import Settings
from app.worker.kafka.consumer import Stranger

_LIST: Final = 500
#: For so long the end of an epoch is waited for that the other changelog has already.
_PATIENCE_SECONDS: Final = 30.0

State = dict[bytes, bytes]


#: Whoever owns this partition makes the references of first rows, and writes them there.
DECIDING: Final = 0


class Marked(NamedTuple):
    """The exchanges (with the words and the mark among them) and the rows of counts at one mark."""

    exchanges: State
    panes: State
    position: Position


class _Tape:
    """One changelog, read an epoch at a time. The record of `end_key` ends an epoch; `epoch_of` reads its number."""

    def __init__(
        self, consumer: Any, tp: TopicPartition, end_key: bytes, epoch_of: Callable[[bytes | None], int]
    ) -> None:
        self.state: State = {}
        self.epoch = 0
        self._consumer = consumer
        self._tp = tp
        self._end_key = end_key
        self._epoch_of = epoch_of
        self._fetched: deque[Record] = deque()
        self._begun: list[Record] = []  # of the epoch whose end has not come yet
        self._place = 0  # before which all has been handed over

    async def read(self, wanted: Callable[[int], bool], end: int) -> bool:
        """Read on until an epoch has ended that is wanted, or to an offset. Returns whether it has."""
        while True:
            if self._take_fetched(wanted):
                return True
            if self._place >= end:
                return False
            await self._fetch(end)

    async def read_rest(self, end: int) -> None:
        """Take what follows the last end of an epoch up to an offset, unless another epoch ends there.

        Workers write nothing behind the end of an epoch but the next one. Whoever else does, a worker that loads the
        partition would take it.
        """
        while self._place < end:
            await self._fetch(end)
        rest = [  # what is further on may be half an epoch
            record for record in self._fetched if record.offset < end and type(record) is not Stranger
        ]
        if not any(record.key == self._end_key for record in rest):
            self._begun += rest
            self._take_begun()

    async def _fetch(self, end: int) -> None:
        await self._consumer.wait_for_records([self._tp], 0.2)
        records = self._consumer.take(self._tp, _LIST)
        self._fetched.extend(records)
        if not records or records[-1].offset >= end:
            self._place = max(self._place, self._consumer.next_offset(self._tp) or 0)
        await asyncio.sleep(0)

    def _take_fetched(self, wanted: Callable[[int], bool]) -> bool:
        """Take what has been fetched, or as much of it as ends an epoch that is wanted. Returns whether one has."""
        fetched, begun, end_key = self._fetched, self._begun, self._end_key
        while fetched:
            record = fetched.popleft()
            if type(record) is Stranger:
                continue
            begun.append(record)
            if record.key == end_key:
                self.epoch = self._epoch_of(record.value)
                self._take_begun()
                if wanted(self.epoch):
                    return True
        return False

    def _take_begun(self) -> None:
        state = self.state
        for record in self._begun:
            key, value = record.key, record.value
            if value is None:
                state.pop(key or b"", None)
            elif key:
                state[key] = value
        self._begun.clear()


async def read_state(consumer: Any, settings: Settings, partition: int) -> Marked | None:
    """The state of a partition at the newest mark that there is now; None where no worker has written any.

    Raises StateError where it cannot be read.
    """
    of_exchanges = TopicPartition(settings.exchanges_topic, partition)
    of_panes = TopicPartition(settings.panes_topic, partition)
    tps = [of_exchanges, of_panes]
    consumer.assign(tps)
    await consumer.seek_to_beginning(*tps)
    ends = await consumer.end_offsets(tps)
    exchanges = _Tape(consumer, of_exchanges, POSITION_KEY, lambda value: read_position(value or b"").epoch)
    panes = _Tape(consumer, of_panes, end_key(partition), _number)
    await exchanges.read(lambda _: False, ends[of_exchanges])
    if POSITION_KEY not in exchanges.state:
        return None
    loop = asyncio.get_running_loop()
    until = loop.time() + _PATIENCE_SECONDS
    while exchanges.epoch != panes.epoch:
        behind, ahead = (exchanges, panes) if exchanges.epoch < panes.epoch else (panes, exchanges)
        tp = of_exchanges if behind is exchanges else of_panes
        end = (await consumer.end_offsets([tp]))[tp]
        await behind.read(lambda epoch, wanted=ahead.epoch: epoch >= wanted, end)  # type: ignore[misc]
        if loop.time() > until:
            raise StateError(
                f"{of_panes.topic} ends with epoch {panes.epoch} and {of_exchanges.topic} with epoch {exchanges.epoch}"
            )
    for tape, tp in ((exchanges, of_exchanges), (panes, of_panes)):
        await tape.read_rest((await consumer.end_offsets([tp]))[tp])
    return Marked(exchanges.state, panes.state, read_position(exchanges.state[POSITION_KEY]))


async def read_counts(consumer: Any, settings: Settings, partition: int) -> State:
    """The rows of counts of a partition, at the end that there is now."""
    tp = TopicPartition(settings.panes_topic, partition)
    consumer.assign([tp])
    await consumer.seek_to_beginning(tp)
    end = (await consumer.end_offsets([tp]))[tp]
    tape = _Tape(consumer, tp, end_key(partition), _number)
    await tape.read(lambda _: False, end)
    await tape.read_rest(end)
    return tape.state


def references_in(panes: State) -> dict[Identity, First]:
    """The references of first rows among the rows of counts of the partition whose owner makes them. Raises StateError
    where one cannot be read.
    """
    found = {}
    for key, value in panes.items():
        parsed = parse_key(key)
        if isinstance(parsed, FirstKey) and parsed.puid is None:
            try:
                found[parsed.identity] = decode_first(value)
            except (msgspec.MsgspecError, UnicodeDecodeError):
                raise DamagedError(f"the reference of first rows of {parsed.identity} cannot be read") from None
    return found


def _number(value: bytes | None) -> int:
    try:
        return int(orjson.loads(value or b""))
    except (ValueError, TypeError):
        raise StateError("the number of an epoch of counts cannot be read") from None
