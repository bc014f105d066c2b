"""Records as they lie in a Kafka record batch (message format 2), read without making an object of every header.

A record of an event has a dozen headers, nearly all of which are the same bytes in every event of a model. A parser
that makes texts and tuples of them costs more than all the rest of an event. So a record keeps its headers as the bytes
in which they came; `app.core.wire.headers` knows what those bytes mean. The format: KIP-98, "Record format".
"""

from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final

import msgspec


class Record(msgspec.Struct, gc=False):
    """One Kafka record. `timestamp` is in ms since the epoch, `header_block` holds the headers as they came."""

    offset: int
    timestamp: int
    key: bytes | None
    value: bytes | None
    header_block: bytes = b"\0"

    @property
    def headers(self) -> list[tuple[str, bytes | None]]:
        """The headers, as far as they can be read; of names that are not UTF-8 what can be shown."""
        found = []
        try:
            for name, start, end in header_spans(self.header_block):
                value = None if start < 0 else self.header_block[start:end]
                found.append((name.decode(errors="replace"), value))
        except BrokenRecordError:
            pass
        return found


class BrokenRecordError(ValueError):
    """Bytes that are no record, or no headers."""


def read_records(
    body: bytes, at: int, stop: int, count: int, base_offset: int, base_time: int, log_time: int | None
) -> Iterator[Record]:
    """The records of a batch, uncompressed from `at` to `stop`. `log_time` is the time of all where the broker set it.

    Raises BrokenRecordError where the bytes end too early.
    """
    try:
        for _ in range(count):
            # Each number is a varint, nearly always of one or two bytes: a call for each would cost more than the rest.
            number = body[at]
            if number < 128:
                at += 1
            elif (high := body[at + 1]) < 128:
                number = number & 127 | high << 7
                at += 2
            else:
                number, at = _long_varint(body, at)
            end = at + (number >> 1)
            at += 1  # attributes: none are defined
            number = body[at]
            if number < 128:
                at += 1
            elif (high := body[at + 1]) < 128:
                number = number & 127 | high << 7
                at += 2
            else:
                number, at = _long_varint(body, at)
            time = base_time + ((number >> 1) ^ -(number & 1)) if log_time is None else log_time
            number = body[at]
            if number < 128:
                at += 1
            elif (high := body[at + 1]) < 128:
                number = number & 127 | high << 7
                at += 2
            else:
                number, at = _long_varint(body, at)
            offset = base_offset + (number >> 1)
            number = body[at]
            if number < 128:
                at += 1
            else:
                number, at = _long_varint(body, at)
            if number & 1:
                key = None
            else:
                number >>= 1
                key = body[at : at + number]
                at += number
            number = body[at]
            if number < 128:
                at += 1
            elif (high := body[at + 1]) < 128:
                number = number & 127 | high << 7
                at += 2
            else:
                number, at = _long_varint(body, at)
            if number & 1:
                value = None
            else:
                number >>= 1
                value = body[at : at + number]
                at += number
            if not at < end <= stop:
                raise BrokenRecordError("a record is longer than its batch, or shorter than its parts")
            yield Record(offset, time, key, value, body[at:end])
            at = end
    except IndexError:
        raise BrokenRecordError("a batch ends inside a record") from None


def header_spans(block: bytes) -> Iterator[tuple[bytes, int, int]]:
    """The name of each header of a block, and where its value begins and ends; -1, -1 for a header without value.

    Raises BrokenRecordError.
    """
    try:
        count, at = _varint(block, 0)
        if count < 0:
            raise BrokenRecordError("a record has less than no headers")
        for _ in range(count):
            length, at = _varint(block, at)
            if length < 0:
                raise BrokenRecordError("a header's name has less than no bytes")
            name = block[at : at + length]
            at += length
            length, at = _varint(block, at)
            if length < 0:
                yield name, -1, -1
            else:
                if at + length > len(block):
                    raise BrokenRecordError("a header is longer than its record")
                yield name, at, at + length
                at += length
    except IndexError:
        raise BrokenRecordError("a record ends inside a header") from None


def pack_headers(headers: Iterable[tuple[str, bytes | None]]) -> bytes:
    """The bytes in which headers lie in a record."""
    parts: list[bytes] = [b""]  # in whose place their number comes
    count = 0
    for name, value in headers:
        count += 1
        parts.append(_packed_name(name))
        if value is None:
            parts.append(_NO_VALUE)
        else:
            length = len(value)
            parts.append(_LENGTHS[length] if length < len(_LENGTHS) else _pack_varint(length))
            parts.append(value)
    parts[0] = _pack_varint(count)
    return b"".join(parts)


@lru_cache(4096)
def _packed_name(name: str) -> bytes:
    raw = name.encode()
    return _pack_varint(len(raw)) + raw


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """A signed number and where the next byte is."""
    number, at = _long_varint(data, at)
    return (number >> 1) ^ -(number & 1), at


def _long_varint(data: bytes, at: int) -> tuple[int, int]:
    """The same before its sign is unfolded (zigzag)."""
    number = shift = 0
    while True:
        byte = data[at]
        at += 1
        number |= (byte & 127) << shift
        if byte < 128:
            return number, at
        shift += 7


def _pack_varint(number: int) -> bytes:
    folded = number << 1 if number >= 0 else (-number << 1) - 1
    packed = bytearray()
    while folded > 127:
        packed.append(folded & 127 | 128)
        folded >>= 7
    packed.append(folded)
    return bytes(packed)


_NO_VALUE: Final = _pack_varint(-1)
#: The lengths of nearly all values, as they are packed.
_LENGTHS: Final = tuple(map(_pack_varint, range(256)))
