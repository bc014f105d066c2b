"""An exchange: all that is known of one puid, and how an event changes it.

For each of a leg's request, a leg's response, the reward and the label of each row the greatest (event time, content
digest) wins, and nothing of the others is kept. So order, delay and repetition cannot matter. The digest is XXH3 of 64
bits: it decides between two of one time and guards nothing.

The structs are written as msgpack arrays: some 110 bytes for one leg, one row, one feedback.
"""

from array import array
from collections.abc import Iterable
from itertools import repeat
from operator import itemgetter
from typing import Any, Final, NamedTuple

import msgspec

from app.core.events import Leg
from app.core.payloads.marks import Mark

# Flags of a LegState: the part came inside a feedback, and counts only until the real one comes.
REQUEST_IN_FEEDBACK: Final = 1
RESPONSE_IN_FEEDBACK: Final = 2
# Flags of a Feedback: what it states.
LABELS: Final = 1
REWARD: Final = 2
# What an event has done to its exchange.
NOTHING: Final = 0  # it is outdated, or has been taken before
RESTATED: Final = 1  # it says at a later time what was known already
NEWS: Final = 2
CORRECTED: Final = 3  # it has replaced another statement


class LegState(msgspec.Struct, array_like=True, gc=False):
    """The request and the winning response of one leg. Times are event times in µs, 0 where the part is unknown.

    `leg`, `identity` and `classes` are numbers in the partition's `Numbers`.
    `..._ahead` is by how many ms the part's pane time lies before its event time (its clock was ahead).
    A request is kept by its time alone: nothing in its payload is counted, so requests of equal time are equal. What
    a measure counts of it one day stands in `evidence`, so that it can be taken back when another request wins.
    """

    leg: int
    request_time: int = 0
    request_ahead: int = 0
    time: int = 0
    digest: int = 0
    ahead: int = 0
    flags: int = 0
    identity: int = 0
    classes: int = 0
    marks: list[Mark] = []
    scores: bytes | None = None
    evidence: bytes | None = None

    @property
    def request_pane_time(self) -> int:
        """The µs by which the request falls in its pane."""
        return self.request_time - self.request_ahead * 1000

    @property
    def pane_time(self) -> int:
        """The µs by which the response, and with it the whole leg, falls in its pane."""
        return self.time - self.ahead * 1000


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
        times = [label.time - label.ahead * 1000 for label in self.rows.values() if label.mark is not None]
        return max(times, default=0)

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

_pack = msgspec.msgpack.Encoder().encode
_unpack = msgspec.msgpack.Decoder(tuple[int, bytes, bytes, bytes, list[int], list[Mark]]).decode


def _numbers(kind: str, raw: bytes) -> Iterable[int]:
    numbers: array[int] = array(kind)
    numbers.frombytes(raw)
    return numbers


class Counted(msgspec.Struct, array_like=True, gc=False):
    """What an exchange has counted for one account in one pane: one of each atom or bundle, and other amounts.

    All are numbers in the partition's `Numbers`.
    """

    account: int
    pane: int
    atoms: list[int]
    amounts: dict[int, int] = {}


class Detection(msgspec.Struct, array_like=True, gc=False):
    """That a detector (of outliers, of drift) spoke of the request. What it said is in the record of the exchange."""

    kind: int
    leg: int
    time: int
    digest: int


class Exchange(msgspec.Struct, array_like=True, gc=False):
    """All that is known of one puid. `newest` is the newest record timestamp of its parts, in seconds.

    `counted` is what it counts as. `rows` are the labels of single rows (`row_labels`), packed until somebody asks for
    them. `held` are parts of the joined record that wait for the prediction which they speak of.
    """

    newest: int
    legs: list[LegState]
    feedbacks: list[Feedback]
    counted: list[Counted]
    rows: list[Any] = []
    detections: list[Detection] = []
    held: list[bytes] = []


class _Age(msgspec.Struct, array_like=True, gc=False):
    newest: int


_encode_into = msgspec.msgpack.Encoder().encode_into
_buffer = bytearray()


def encode(exchange: Exchange) -> bytes:
    """The bytes that are kept and written. Not thread-safe.

    `Encoder.encode` shrinks a larger buffer, whose rest the allocator cannot use: 50 bytes more for each exchange.
    """
    if exchange.rows:
        return _encoded_with_rows(exchange)
    _encode_into(exchange, _buffer)
    return bytes(_buffer)


def _encoded_with_rows(exchange: Exchange) -> bytes:
    rows = exchange.rows
    exchange.rows = [block.packed() if isinstance(block, RowLabels) else block for block in rows]
    _encode_into(exchange, _buffer)
    exchange.rows = rows
    return bytes(_buffer)


def row_labels(exchange: Exchange) -> list[RowLabels]:
    """The labels of single rows."""
    rows = exchange.rows
    for index, block in enumerate(rows):
        if not isinstance(block, RowLabels):
            rows[index] = RowLabels.unpacked(block)
    return rows


#: The newest record timestamp alone, at a fraction of the cost.
decode_age = msgspec.msgpack.Decoder(_Age).decode
decode = msgspec.msgpack.Decoder(Exchange).decode


def leg_state(exchange: Exchange, leg: int) -> LegState:
    """The state of a leg, added where it is new."""
    for state in exchange.legs:
        if state.leg == leg:
            return state
    state = LegState(leg)
    exchange.legs.append(state)
    return state


def put_request(exchange: Exchange, leg: int, time: int, ahead: int, in_feedback: int = 0) -> bool:
    """State a leg's request. Returns whether anything changed."""
    state = leg_state(exchange, leg)
    old = state.flags & REQUEST_IN_FEEDBACK
    if state.request_time:
        known = state.request_time, state.request_ahead
        if old < in_feedback or (old == in_feedback and (time, ahead) <= known):
            return False
    state.request_time = time
    state.request_ahead = ahead
    state.flags = state.flags & ~REQUEST_IN_FEEDBACK | in_feedback
    return True


def wins_response(state: LegState, time: int, digest: int, ahead: int, in_feedback: int = 0) -> bool:
    """Whether a response would replace the one that a leg has. Of the same one twice the lower record time holds."""
    if not state.time:
        return True
    old = state.flags & RESPONSE_IN_FEEDBACK
    if old != in_feedback:
        return old > in_feedback
    return (time, digest, ahead) > (state.time, state.digest, state.ahead)


Rank = tuple[int, int, Leg]


def put_feedback(exchange: Exchange, new: Feedback, legs: list[Leg]) -> int:
    """State the labels of a batch, a reward, or both. Returns what that has done, one of NOTHING … CORRECTED.

    Labels compete within the service that they name, the reward within the puid. Of each row the newest statement
    holds. A batch also states how many rows there are: beyond them nothing holds that is older; and a row of which it
    says nothing keeps what an older one has said.
    """
    done = NOTHING
    if new.flags & REWARD:
        done = _put_reward(exchange.feedbacks, new, legs)
    if new.flags & LABELS:
        done = max(done, _put_labels(exchange, new, legs))
    exchange.feedbacks = [feedback for feedback in (*exchange.feedbacks, new) if feedback.flags]
    return done


def _put_reward(feedbacks: list[Feedback], new: Feedback, legs: list[Leg]) -> int:
    for old in feedbacks:
        if old.flags & REWARD:
            newer = _rank(new, legs) > _rank(old, legs)
            done = RESTATED if old.reward == new.reward else CORRECTED
            if not newer:
                done = _same_again(old, new, legs)
            loser = old if newer else new
            loser.flags &= ~REWARD
            loser.reward = None
            return done
    return NEWS


def _put_labels(exchange: Exchange, new: Feedback, legs: list[Leg]) -> int:
    scope = legs[new.named][:2]
    rank = _rank(new, legs)
    others = [old for old in exchange.feedbacks if old.flags & LABELS and legs[old.named][:2] == scope]
    rows = [block for block in row_labels(exchange) if legs[block.named][:2] == scope] if exchange.rows else []
    for other in others:
        if _rank(other, legs) == rank:
            new.flags &= ~LABELS
            new.labels = None
            return _same_again(other, new, legs)
    taken_back = any(other.labels is None for other in others)
    before = held(others, rows, legs) if others or rows else None
    for other in others:
        if _rank(other, legs) > rank:
            _outdate(new, other)
    for other in others:
        if new.flags & LABELS and _rank(other, legs) < rank:
            _outdate(other, new)
    if before is None:
        return NEWS
    after = held([one for one in (*others, new) if one.flags & LABELS], rows, legs)
    if after.marks == before.marks and after.length == before.length:
        return RESTATED if new.flags & LABELS else NOTHING
    lost = any(after.marks.get(row) != mark for row, mark in before.marks.items())
    return CORRECTED if lost or taken_back or before.length not in (None, after.length) else NEWS


def _same_again(old: Feedback, new: Feedback, legs: list[Leg]) -> int:
    """What a feedback does that is not newer: of the same one twice the lower record time holds."""
    if _rank(old, legs) != _rank(new, legs) or new.ahead <= old.ahead:
        return NOTHING
    old.ahead = new.ahead
    return RESTATED


def _rank(one: Feedback | RowLabel, legs: list[Leg], named: int = 0) -> Rank:
    return one.time, one.digest, legs[one.named if isinstance(one, Feedback) else named]


def _outdate(old: Feedback, new: Feedback) -> None:
    """Take from an older batch what a newer one says. Where that says something of every row, nothing is left."""
    if new.labels is None or None not in new.labels:
        old.flags &= ~LABELS
        old.labels = None
    elif old.labels is not None:
        kept = zip(old.labels, new.labels, strict=False)
        old.labels = [mark if newer is None else None for mark, newer in kept]


def put_row_label(exchange: Exchange, named: int, row: int, label: RowLabel, legs: list[Leg]) -> int:
    """State the label of one row. Returns what that has done, as `put_feedback` does."""
    scope = legs[named][:2]
    rank = label.time, label.digest, legs[named]
    known: Mark = None
    newest: Rank | None = None
    for batch in exchange.feedbacks:
        if batch.flags & LABELS and legs[batch.named][:2] == scope:
            labels = batch.labels
            own = labels is None or row >= len(labels) or labels[row] is not None
            at = _rank(batch, legs)
            if own and at < rank and (newest is None or at > newest):
                newest, known = at, labels[row] if labels is not None and row < len(labels) else None
    blocks = row_labels(exchange)
    home: RowLabels | None = None
    for block in blocks:
        if block.named == named:
            home = block
        if legs[block.named][:2] == scope:
            old = block.rows.get(row)
            if old is not None:
                if (_rank(old, legs, block.named), old.ahead) >= (rank, label.ahead):
                    return NOTHING
                known, newest = old.mark, rank
                del block.rows[row]
    if home is None:
        home = RowLabels(named, {})
        blocks.append(home)
    home.rows[row] = label
    if len(blocks) > 1:
        exchange.rows = [block for block in blocks if block.rows]
    if known is None:
        return NEWS
    return RESTATED if known == label.mark else CORRECTED


class Held(NamedTuple):
    """The labels that hold: of how many rows the newest batch was (None: of none), by row mark and time, and of which
    rows they come from a feedback for that row alone.
    """

    length: int | None
    marks: dict[int, Mark]
    times: dict[int, int]
    single: set[int]


def held(batches: Iterable[Feedback], rows: Iterable[RowLabels], legs: list[Leg]) -> Held:
    """The labels that hold of several statements, which may be of several services."""
    length: int | None = None
    marks: dict[int, Mark] = {}
    ranks: dict[int, Rank] = {}
    single: set[int] = set()
    ordered = sorted(((_rank(batch, legs), batch.labels) for batch in batches), key=itemgetter(0))
    for rank, labels in ordered:
        length = None if labels is None else len(labels)
        for row in [row for row in marks if row >= (length or 0)]:
            del marks[row], ranks[row]
        for row, mark in enumerate(labels or ()):
            if mark is not None:
                marks[row], ranks[row] = mark, rank
    for block in rows:
        for row, label in block.rows.items():
            rank = label.time, label.digest, legs[block.named]
            if rank > ranks.get(row, rank[:0]) and not any(
                at > rank and (labels is None or row >= len(labels) or labels[row] is not None)
                for at, labels in ordered
            ):
                marks[row], ranks[row] = label.mark, rank
                single.add(row)
    return Held(length, marks, {row: rank[0] for row, rank in ranks.items()}, single)


def put_detection(exchange: Exchange, new: Detection) -> bool:
    """State what a detector said, one of each kind and leg. Returns whether anything changed."""
    for index, old in enumerate(exchange.detections):
        if (old.kind, old.leg) == (new.kind, new.leg):
            if (new.time, new.digest) <= (old.time, old.digest):
                return False
            exchange.detections[index] = new
            return True
    exchange.detections.append(new)
    return True
