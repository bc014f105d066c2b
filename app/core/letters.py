"""Events that do not join: those that are refused become dead letters, those under a wrong key are rekeyed.

An event is *astray* where its key, or its partition, is not that of its puid. It is brought to its own key once.
"""

from hashlib import blake2b
from typing import Final, NamedTuple

from app.core.events import Reason, RefusedError
from app.core.wire.records import Record

#: A dead letter is no larger, as a record with all that comes with it, unless a topic takes less.
MOST_LETTER: Final = 900_000
#: One that would be carries the beginning of its original.
LETTER_BEGINNING: Final = 64_000
_BEGINNING_OF_HEADER: Final = 1000
_MOST_HEADERS: Final = 50
#: What a record has beside the bytes of its key, its value and its headers; what a header has beside its own.
_RECORD: Final = 100
_HEADER: Final = 10

#: Marks an event that has been brought to its key, so that it goes this way once and not in circles.
REKEYED: Final = "tally-rekeyed"

Headers = list[tuple[str, bytes]]
#: Key, value, and headers where there are any.
OutRecord = tuple[bytes | None, bytes | None] | tuple[bytes | None, bytes | None, Headers]


class DeadLetter(NamedTuple):
    """A refused record with the reason: what goes to `<app>-dead-letters`."""

    topic: str
    partition: int
    record: Record
    reason: Reason
    detail: str


class Astray(NamedTuple):
    """An event on its way to its own key: the same record, marked, in the partition of the key."""

    topic: str
    record: Record
    key: bytes

    @property
    def headers(self) -> Headers:
        """The headers under which it is rekeyed."""
        return [*((name, content or b"") for name, content in self.record.headers), (REKEYED, b"1")]


class AstrayError(RefusedError):
    """An event stands under a key, or in a partition, that is not its own: `key` is where it belongs."""

    def __init__(self, reason: Reason, detail: str, key: bytes) -> None:
        super().__init__(reason, detail)
        self.key = key


def letter_record(letter: DeadLetter, most: int = MOST_LETTER) -> OutRecord:
    """A dead letter's key, value and headers: the original's, its origin, and why it was refused.

    With its batch it has at most so many bytes (16 KiB or more): what would have more carries the beginning alone.
    """
    record = letter.record
    headers = [
        ("reason", letter.reason.encode()),
        ("detail", letter.detail.encode(errors="replace")[:1000]),
        ("origin-topic", letter.topic.encode()),
        ("origin-partition", str(letter.partition).encode()),
        ("origin-offset", str(record.offset).encode()),
    ]
    key, value = record.key, record.value
    original = [(name, content or b"") for name, content in record.headers]
    if _RECORD + len(key or b"") + len(value or b"") + _size(original) + _size(headers) > min(most, MOST_LETTER):
        whole = value or b""
        headers += [
            ("truncated", b"true"),
            ("original-length", str(len(whole)).encode()),
            ("original-digest", blake2b(whole, digest_size=8).hexdigest().encode()),
        ]
        beginning = min(LETTER_BEGINNING, most // 4)
        value = whole[:beginning]
        key = key[:beginning] if key else key
        original = _beginnings(original, most // 4)
    return key, value, original + headers


def _size(headers: Headers) -> int:
    return sum(len(name.encode()) + len(content) + _HEADER for name, content in headers)


def _beginnings(headers: Headers, most: int) -> Headers:
    """The beginnings of headers, of the first of them that have at most so many bytes."""
    kept: Headers = []
    for name, content in headers[:_MOST_HEADERS]:
        kept.append((name[:_BEGINNING_OF_HEADER], content[:_BEGINNING_OF_HEADER]))
        if _size(kept) > most:
            return kept[:-1]
    return kept
