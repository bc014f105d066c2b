"""Events that do not join: those that are refused become dead letters, those under a wrong key are rekeyed.

An event is *astray* where its key, or its partition, is not that of its puid. It is brought to its own key once.
"""

from collections.abc import Iterable
from hashlib import blake2b
from typing import Final, NamedTuple

import msgspec

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
#: Marks an event that was sent back from the dead letters, by the id of its letter.
RESENT: Final = "tally-resent"
#: Names a record among the dead letters that is none: it says of others what was done with them.
_DONE: Final = "tally-letter-done"
#: Offsets of one such record: it fits any topic that Tally can use.
MOST_DONE: Final = 1000

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


class Letter(NamedTuple):
    """A dead letter as it is read again. `headers` are those of the record that was refused.

    `partition`, `offset` and `timestamp` (ms) are those of the letter. What it does not say of its origin is empty, -1,
    or None for the time.
    """

    partition: int
    offset: int
    timestamp: int
    reason: str
    detail: str
    topic: str
    origin_partition: int
    origin_offset: int
    origin_timestamp: int | None
    key: bytes | None
    value: bytes | None
    headers: Headers
    original_length: int | None  # of the value; None unless the letter is cut short
    original_digest: str

    @property
    def id(self) -> str:
        """By what people name it."""
        return f"{self.partition}-{self.offset}"

    @property
    def resent_from(self) -> str:
        """The id of the letter from which this event had been sent back before it was refused again; empty for none."""
        return dict(self.headers).get(RESENT, b"").decode(errors="replace")


class Done(NamedTuple):
    """What was done with some letters of the partition in which this stands: they are all before it."""

    what: str  # RESENT_BACK or DROPPED
    offsets: list[int]
    timestamp: int  # ms


RESENT_BACK: Final = "sent back"
DROPPED: Final = "dropped"
_WORDS: Final = {word.encode(): word for word in (RESENT_BACK, DROPPED)}


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
        ("origin-timestamp", str(record.timestamp).encode()),
    ]
    key, value = record.key, record.value
    original = [(name, content or b"") for name, content in record.headers]
    if _RECORD + len(key or b"") + len(value or b"") + _size(original) + _size(headers) > min(most, MOST_LETTER):
        whole = value or b""
        headers += [
            ("truncated", b"true"),
            ("original-length", str(len(whole)).encode()),
            ("original-digest", _digest(whole).encode()),
        ]
        beginning = min(LETTER_BEGINNING, most // 4)
        value = whole[:beginning]
        key = key[:beginning] if key else key
        original = _beginnings(original, most // 4)
    return key, value, original + headers


def _digest(value: bytes) -> str:
    return blake2b(value, digest_size=8).hexdigest()


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


def read_letter(partition: int, record: Record) -> Letter | None:
    """The letter that a record of the dead letters is, None where it is none."""
    headers = [(name, content or b"") for name, content in record.headers]
    own = next((place for place in reversed(range(len(headers))) if headers[place][0] == "reason"), None)
    if own is None:
        return None
    said = dict(headers[own:])
    timestamp = _number(said.get("origin-timestamp"))
    return Letter(
        partition,
        record.offset,
        record.timestamp,
        said["reason"].decode(errors="replace"),
        said.get("detail", b"").decode(errors="replace"),
        said.get("origin-topic", b"").decode(errors="replace"),
        _number(said.get("origin-partition")),
        _number(said.get("origin-offset")),
        None if timestamp < 0 else timestamp,
        record.key,
        record.value,
        headers[:own],
        _number(said.get("original-length")) if "truncated" in said else None,
        said.get("original-digest", b"").decode(errors="replace"),
    )


def is_original(letter: Letter, record: Record) -> bool:
    """Whether a record is the one of which a letter that is cut short has the beginning."""
    value = record.value or b""
    same = (record.offset, len(value)) == (letter.origin_offset, letter.original_length)
    return same and _digest(value) == letter.original_digest


def _number(text: bytes | None) -> int:
    return int(text) if text and text.isdigit() else -1


def done_record(what: str, offsets: Iterable[int]) -> OutRecord:
    """The record that says what was done with letters (`MOST_DONE` of them at most), for their own partition.

    There it comes after them, so whoever reads a letter finds it further on, and brokers delete it no earlier.
    """
    return None, msgspec.json.encode(sorted(offsets)), [(_DONE, what.encode())]


def read_done(record: Record) -> Done | None:
    """What a record of the dead letters says of others, None where it is a letter, or a stranger's."""
    what = _WORDS.get(dict(record.headers).get(_DONE) or b"")
    try:
        return Done(what, msgspec.json.decode(record.value or b"", type=list[int]), record.timestamp) if what else None
    except msgspec.MsgspecError:
        return None


def sent_back(letter: Letter) -> Headers:
    """The headers with which the event of a letter is sent back."""
    return [*(header for header in letter.headers if header[0] != RESENT), (RESENT, letter.id.encode())]
