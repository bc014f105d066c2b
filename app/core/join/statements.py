"""What feedbacks state: the labels of a batch, the label of one row, a reward; and which of several statements hold.

Each is known by its event time and the digest of its content; the greatest holds, so order cannot matter.
"""

from array import array
from collections.abc import Iterable
from itertools import repeat
from operator import itemgetter
from typing import Final, NamedTuple

import msgspec

from app.core.events import Leg
from app.core.payloads.marks import Mark

# Flags of a Feedback: what it states.
LABELS: Final = 1
REWARD: Final = 2
PARTIAL: Final = 4  # beside LABELS: as it came it left rows alone
OF_ROW: Final = 8  # it is a feedback for one row
LENT: Final = 16  # it is one for a row of another puid, or for this puid, which is named as rows are

#: Beside these a feedback counts only where its prediction is known: before, it may be about another puid.
_WAITS: Final = OF_ROW | LENT

Rank = tuple[int, int, Leg]


class Feedback(msgspec.Struct, array_like=True, gc=False):
    """What a feedback states and still holds: the labels of a batch, one a row, and a reward.

    `named` is the leg that the feedback names, whole or in part. A stated None takes an earlier statement back. Among
    labels None is a row of which the feedback says nothing.
    """

    time: int
    digest: int
    named: int
    flags: int
    ahead: int = 0
    labels: list[Mark] | None = None
    reward: int | None = None  # in units of 1e-9, so that sums are exact and do not depend on order

    @property
    def pane_time(self) -> int:
        """The µs by which the feedback falls in a pane of its own, until it meets a response."""
        return self.time - self.ahead * 1000

    @property
    def earliest_pane_time(self) -> int:
        """The earliest such time of what it says: all of it has one."""
        return self.pane_time


class RowLabel(NamedTuple):
    """The label of one row by a feedback for it alone; a mark of None takes an earlier one back."""

    time: int
    digest: int
    ahead: int
    mark: Mark


class RowLabels:
    """The labels of single rows, by the feedbacks that name one leg, whole or in part."""

    __slots__ = ("named", "rows")

    def __init__(self, named: int, rows: dict[int, RowLabel]) -> None:
        self.named = named
        self.rows = rows

    @property
    def time(self) -> int:
        """The event time of the newest."""
        return max(label.time for label in self.rows.values())

    @property
    def pane_time(self) -> int:
        """The newest µs by which a label among them falls in a pane of its own, of those that are not taken back."""
        return max(self._pane_times(), default=0)

    @property
    def earliest_pane_time(self) -> int:
        """The earliest of them."""
        return min(self._pane_times(), default=0)

    def _pane_times(self) -> list[int]:
        return [label.time - label.ahead * 1000 for label in self.rows.values() if label.mark is not None]

    def packed(self) -> bytes:
        """As bytes, in columns: a batch may have ten thousand rows."""
        times, digests, aheads, marks = zip(*self.rows.values(), strict=True)
        columns = (array("I", self.rows), array("q", times), array("Q", digests))
        return _pack((self.named, *(column.tobytes() for column in columns), aheads if any(aheads) else (), marks))

    @classmethod
    def unpacked(cls, raw: bytes) -> "RowLabels":
        """The same again."""
        named, rows, times, digests, aheads, marks = _unpack(raw)
        labels = map(RowLabel, _numbers("q", times), _numbers("Q", digests), aheads or repeat(0), marks)
        return cls(named, dict(zip(_numbers("I", rows), labels, strict=False)))


Statement = Feedback | RowLabels


def waits(one: Statement) -> bool:
    """Whether a statement counts only where its prediction is known."""
    return isinstance(one, RowLabels) or bool(one.flags & _WAITS)


_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[int, bytes, bytes, bytes, list[int], list[Mark]]).decode


def _numbers(kind: str, raw: bytes) -> Iterable[int]:
    numbers: array[int] = array(kind)
    numbers.frombytes(raw)
    return numbers


def rank_of(one: Feedback | RowLabel, legs: list[Leg], named: int = 0) -> Rank:
    """What decides which of two statements holds. A row's label is that of the leg `named`."""
    return one.time, one.digest, legs[one.named if isinstance(one, Feedback) else named]


class Held(NamedTuple):
    """The labels that hold: of how many rows the newest batch was (None: of none), by row mark, time and the time by
    which it falls in a pane, and of which rows they come from a feedback for that row alone.
    """

    length: int | None
    marks: dict[int, Mark]
    times: dict[int, int]
    pane_times: dict[int, int]
    single: set[int]


def held(batches: Iterable[Feedback], rows: Iterable[RowLabels], legs: list[Leg]) -> Held:
    """The labels that hold of several statements, which may be of several services."""
    length: int | None = None
    marks: dict[int, Mark] = {}
    ranks: dict[int, Rank] = {}
    pane_times: dict[int, int] = {}
    single: set[int] = set()
    ordered = sorted(((rank_of(batch, legs), batch.labels, batch.pane_time) for batch in batches), key=itemgetter(0))
    for rank, labels, pane_time in ordered:
        length = None if labels is None else len(labels)
        for row in [row for row in marks if row >= (length or 0)]:
            del marks[row], ranks[row]
        for row, mark in enumerate(labels or ()):
            if mark is not None:
                marks[row], ranks[row], pane_times[row] = mark, rank, pane_time
    for block in rows:
        for row, label in block.rows.items():
            rank = label.time, label.digest, legs[block.named]
            if rank > ranks.get(row, rank[:0]) and not any(
                at > rank and (labels is None or row >= len(labels) or labels[row] is not None)
                for at, labels, _ in ordered
            ):
                marks[row], ranks[row] = label.mark, rank
                pane_times[row] = label.time - label.ahead * 1000
                single.add(row)
    return Held(length, marks, {row: rank[0] for row, rank in ranks.items()}, pane_times, single)
