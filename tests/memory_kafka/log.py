"""The log of one partition: batches, who has which transaction open in it, and what readers may see."""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Final, NamedTuple

from aiokafka.errors import InvalidProducerEpoch, OffsetOutOfRangeError, OutOfOrderSequenceNumber

from app.core.wire.records import Record

NO_PRODUCER: Final = -1


class ProducerSequence(NamedTuple):
    """Who appends a batch, and its place in what that producer appends here: what a repetition is known by."""

    producer: int
    epoch: int
    number: int


@dataclass(slots=True)
class Batch:
    """Records that were appended together. `next` is where the next batch began, whatever compaction took away."""

    base: int
    next: int
    records: list[Record]
    visible: bool = True  # to readers of committed records; of an open transaction none is asked for
    marked_at: int = 0  # of a marker: the broker's time, in ms
    transactional: bool = True


class Slice(NamedTuple):
    """What a fetch gives: records, and the offset behind them and behind all that is not for readers' eyes."""

    records: list[Record]
    next: int
    marked_at: int = 0  # the time of the newest marker among what was read, in ms


class Log:
    """One partition's records. Every offset is given once: to a record or to the marker that ends a transaction."""

    def __init__(self) -> None:
        self.start = 0
        self.end = 0  # the high watermark: there is one replica
        self.batches: list[Batch] = []
        self.deleted: list[Record] = []  # by retention, of those that could be seen
        self._open: dict[int, list[Batch]] = {}  # by producer: what its transaction has appended here
        self._producers: dict[int, tuple[int, int]] = {}  # its epoch, and the number of its next record

    @property
    def stable(self) -> int:
        """The last stable offset: the first of the oldest transaction that is open, or the end."""
        return min((batches[0].base for batches in self._open.values()), default=self.end)

    def append(
        self, records: Sequence[Record], origin: ProducerSequence | None = None, *, transactional: bool = False
    ) -> int:
        """Append records; their offsets are set. Returns the offset of the first.

        Raises as a broker answers. A batch that comes again is not appended again, and that is no error: the broker
        knows it by its number, and aiokafka takes a DuplicateSequenceNumber as success (SendProduceReqHandler).
        """
        if origin is not None:
            epoch, number = self._producers.get(origin.producer, (-1, 0))
            if origin.epoch < epoch:
                raise InvalidProducerEpoch
            if origin.epoch > epoch:
                number = 0
            if origin.number < number:
                return -1
            if origin.number > number:
                raise OutOfOrderSequenceNumber
            self._producers[origin.producer] = origin.epoch, number + len(records)
        base = self.end
        for offset, record in enumerate(records, base):
            record.offset = offset
        self.end = base + len(records)
        batch = Batch(base, self.end, list(records), transactional=transactional)
        self.batches.append(batch)
        if transactional and origin is not None:
            self._open.setdefault(origin.producer, []).append(batch)
        return base

    def append_marker(self, producer: int, epoch: int, *, commit: bool, at: int) -> None:
        """End a producer's transaction here, at a time in ms. From now on nothing of an older epoch is appended."""
        for batch in self._open.pop(producer, ()):
            batch.visible = commit
        self.batches.append(Batch(self.end, self.end + 1, [], visible=False, marked_at=at))
        self.end += 1
        before, number = self._producers.get(producer, (epoch, 0))
        self._producers[producer] = (epoch, number if epoch == before else 0)

    def read(self, offset: int, most: int) -> Slice:
        """What readers of committed records get from an offset on, of at most so many batches (a broker counts bytes).

        Raises OffsetOutOfRangeError.
        """
        if not self.start <= offset <= self.end:
            raise OffsetOutOfRangeError
        records: list[Record] = []
        stable, place, marked_at = self.stable, offset, 0
        first = bisect_right(self.batches, offset, key=attrgetter("next"))
        for batch in self.batches[first : first + most]:
            if batch.base >= stable:
                break
            if batch.visible:
                if batch.base >= offset:
                    records += batch.records
                else:
                    records += [record for record in batch.records if record.offset >= offset]
            place, marked_at = batch.next, max(marked_at, batch.marked_at)
        return Slice(records, place, marked_at)

    def is_strange(self, offset: int) -> bool:
        """Whether the record at an offset was written outside a transaction."""
        return not self.batches[bisect_right(self.batches, offset, key=attrgetter("next"))].transactional

    def committed(self) -> list[Record]:
        """All that readers can see now."""
        return self.read(self.start, len(self.batches)).records

    def at_time(self, timestamp: int) -> int | None:
        """The offset of the first record of this time or later, in ms."""
        return next((record.offset for record in self.committed() if record.timestamp >= timestamp), None)

    def delete_before(self, offset: int) -> None:
        """Retention: the log begins at an offset."""
        self.start = max(self.start, min(offset, self.end))
        gone = [batch for batch in self.batches if batch.visible and batch.next <= self.start]
        self.deleted += [record for batch in gone for record in batch.records]
        self.batches = [batch for batch in self.batches if batch.next > self.start]

    def compact(self, up_to: int, *, tombstones: bool) -> None:
        """Keep of each key the newest record before an offset; `tombstones`: those that say a key is gone go too.

        What lies behind the offset stays. It is at most the last stable one, and the last batch always stays: the
        broker's cleaner takes nothing from the segment that is written to.
        """
        up_to = min(up_to, self.stable, self.batches[-1].base if self.batches else 0)
        old = [batch for batch in self.batches if batch.next <= up_to]
        newest = {record.key: record for batch in old if batch.visible for record in batch.records}
        for batch in old:
            batch.records = [
                record
                for record in batch.records
                if batch.visible and newest[record.key] is record and (record.value is not None or not tombstones)
            ]
        self.batches = [batch for batch in self.batches if batch.next > up_to or batch.records]
