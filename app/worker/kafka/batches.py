"""The batches of a fetched list: aiokafka's, with their bytes, checksums and records at hand."""

import struct
from collections.abc import Iterator
from typing import Any, Final

import google_crc32c
from aiokafka.errors import KafkaError
from aiokafka.record.default_records import DefaultRecordBatch, _DefaultRecordBatchPy
from aiokafka.record.memory_records import MemoryRecords

from app.core.wire.records import BrokenRecordError, Record, read_records

_INT: Final = struct.Struct(">i")
_LONG: Final = struct.Struct(">q")
_CHECKSUM: Final = struct.Struct(">I")
#: Where a batch says how many bytes follow; and where its records begin, after their number.
_LENGTH_AT: Final = 8
_MAGIC_AT: Final = 16
_CHECKSUM_AT: Final = 17  # CRC-32C of all that comes behind it
_DELTA_AT: Final = 23  # of the last record's offset
_MAGIC: Final = 2
_HEADER_BYTES: Final = 61


class Batches:
    """The batches of a fetched list, and the bytes of the last one."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._batches = MemoryRecords(data)
        self._start = self._next = 0

    def size_in_bytes(self) -> int:
        """Of the whole list."""
        return len(self._data)

    def has_next(self) -> bool:
        """Whether there is another batch."""
        more: bool = self._batches.has_next()
        return more

    def next_batch(self) -> Any:
        """The next batch, which is the last one from now on."""
        batch = self._batches.next_batch()
        self._start = self._next
        (length,) = _INT.unpack_from(self._data, self._start + _LENGTH_AT)
        self._next += _LENGTH_AT + _INT.size + length
        return batch

    def next_offset(self) -> int | None:
        """Where the next list begins: behind the last whole batch; None for batches of the years before Kafka 0.11."""
        data, at, last = self._data, 0, -1
        while at + _HEADER_BYTES <= len(data) and data[at + _MAGIC_AT] >= _MAGIC:
            (length,) = _INT.unpack_from(data, at + _LENGTH_AT)
            end = at + _LENGTH_AT + _INT.size + length
            if end > len(data):
                break
            last, at = at, end
        if last < 0:
            return None
        (base,), (delta,) = _LONG.unpack_from(data, last), _INT.unpack_from(data, last + _DELTA_AT)
        offset: int = base + delta + 1
        return offset

    def is_intact(self, batch: Any) -> bool:
        """Whether that last batch has its checksum: told in a tenth of aiokafka's time."""
        if not isinstance(batch, DefaultRecordBatch):
            return bool(batch.validate_crc())
        (checksum,) = _CHECKSUM.unpack_from(self._data, self._start + _CHECKSUM_AT)
        begin = self._start + _CHECKSUM_AT + _CHECKSUM.size
        return bool(google_crc32c.value(self._data[begin : self._next]) == checksum)

    def records(self, batch: Any) -> Iterator[Record]:
        """The records of that last batch. Raises BrokenRecordError, while they are read too."""
        if not isinstance(batch, DefaultRecordBatch):  # of the years before Kafka 0.11; the oldest have no time
            return (Record(old.offset, old.timestamp or 0, old.key, old.value) for old in batch)
        body, at, stop = self._data, self._start + _HEADER_BYTES, self._next
        (count,) = _INT.unpack_from(body, at - _INT.size)
        log_time = batch.max_timestamp if batch.timestamp_type else None
        if batch.compression_type:
            body, at = _unpacked(body[self._start : self._next]), 0
            stop = len(body)
        return read_records(body, at, stop, count, batch.base_offset, batch.first_timestamp, log_time)


def _unpacked(batch: bytes) -> bytes:
    """The records of a compressed batch."""
    packed = _DefaultRecordBatchPy(batch)
    try:
        packed._maybe_uncompress()
    except KafkaError:
        raise  # the codec is not installed, and the message says so
    except Exception as error:  # noqa: BLE001 - each codec has errors of its own for broken bytes
        raise BrokenRecordError(f"a compressed batch cannot be read: {error}") from None
    return bytes(packed._buffer)
