"""Rows of counts as the panes topic holds them. All values are absolute, so a record that comes twice changes nothing.

[subject, segment, level, pane, row]   {column: cell}, or {row: {column: cell}} where the row is "": a small pane
stands in one record, a large one in a record for each row
["first", subject]                     the start of the earliest pane in which it was counted, in seconds
["owner", partition]                   {"url", "rules"} of the worker that owns the partition
["asked", subject, puid]               what a version was asked and predicted, while its first rows are awaited
["reference", subject]                 the reference that was made of these (`app.core.drift.first`)
["clock", partition]                   up to when it has been read, in seconds, while that is awaited
["end", partition]                     the number of its epoch: the last record of each, by which readers know that
they have the whole of it
"""

from collections.abc import Mapping
from enum import Enum
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from app.core.counts.accounts import Account, Subject, parse_subject, subject_words
from app.core.counts.cells import Cell, pack_cells, parse_cells
from app.core.counts.panes import LEVELS, TOTAL
from app.core.events import Identity

#: The rows of a pane that stand in one record.
WHOLE: Final = ""
_ASKED: Final = "asked"
_REFERENCE: Final = "reference"

Rows = Mapping[str, Mapping[str, Cell]]


class RowKey(NamedTuple):
    """One row of counts, or the whole pane: of a subject and segment, in a pane of a level. The total has pane 0."""

    subject: Subject
    segment: str
    level: str
    pane: int
    row: str

    @property
    def account(self) -> Account:
        """Whose row it is."""
        return Account(self.subject, self.segment)


class Note(Enum):
    """What a record is that holds no counts."""

    OWNER = "owner"
    END = "end"
    CLOCK = "clock"


class FirstKey(msgspec.Struct, frozen=True):
    """That a record is of the first rows of a version: of one that was asked, by its puid; else of their reference."""

    identity: Identity
    puid: bytes | None = None

    def encode(self) -> bytes:
        """The record key. Of a puid each byte is a character."""
        words = list(self.identity)
        if self.puid is None:
            return orjson.dumps([_REFERENCE, words])
        return orjson.dumps([_ASKED, words, self.puid.decode("latin-1")])


class Owner(msgspec.Struct):
    """The worker that owns a partition: where it can be asked, and the digest of the rules that it counts by."""

    url: str
    rules: str


def row_key(key: RowKey) -> bytes:
    """The record key of a row."""
    return pane_prefix(key.account, key.level, key.pane) + orjson.dumps(key.row) + b"]"


def pane_prefix(account: Account, level: str, pane: int) -> bytes:
    """What the keys of all rows of a pane begin with."""
    return orjson.dumps([subject_words(account.subject), account.segment, level, pane])[:-1] + b","


def parse_key(raw: bytes) -> RowKey | Subject | FirstKey | Note:
    """What a record key names: a row, a subject (its first-seen time), first rows, or what else the record is.

    Raises an error of many kinds where it is no such key.
    """
    words = orjson.loads(raw)
    if words[0] == "first":
        return parse_subject(words[1])
    if words[0] in (_ASKED, _REFERENCE):
        identity = parse_subject(words[1])
        if not isinstance(identity, Identity):
            raise ValueError("no model")
        return FirstKey(identity, words[2].encode("latin-1") if words[0] == _ASKED else None)
    if type(words[0]) is str:
        return Note(words[0])
    subject, segment, level, pane, row = words
    if not (level in LEVELS or level == TOTAL) or (type(segment), type(pane), type(row)) != (str, int, str):
        raise ValueError("no row of counts")
    return RowKey(parse_subject(subject), segment, level, pane, row)


def row_value(columns: Mapping[str, Cell]) -> bytes:
    """The record value of one row."""
    return pack_cells(columns)


def whole_value(rows: Rows) -> bytes:
    """The record value of a whole pane."""
    return pack_cells(rows)


def parse_rows(row: str, raw: bytes) -> dict[str, dict[str, Any]]:
    """The rows of a record with a key of this row."""
    value = orjson.loads(raw)
    rows: dict[str, dict[str, Any]] = value if row == WHOLE else {row: value}
    return {name: parse_cells(columns) for name, columns in rows.items()}


def owner_key(partition: int) -> bytes:
    """The key of the record that says who owns a partition."""
    return orjson.dumps([Note.OWNER.value, partition])


def end_key(partition: int) -> bytes:
    """The key of the record that ends an epoch."""
    return orjson.dumps([Note.END.value, partition])


def clock_key(partition: int) -> bytes:
    """The key of the record that says up to when a partition has been read."""
    return orjson.dumps([Note.CLOCK.value, partition])


def first_seen_key(subject: Subject) -> bytes:
    """The key of the record that says when a subject was first counted."""
    return orjson.dumps(["first", subject_words(subject)])
