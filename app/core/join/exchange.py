"""An exchange: all that is known of one puid, and how an event changes it.

For each of a leg's request, a leg's response, the reward and the label of each row the greatest (event time, content
digest) wins, and nothing of the others is kept. So order, delay and repetition cannot matter. The digest is XXH3 of 64
bits: it decides between two of one time and guards nothing.

The structs are written as msgpack arrays: some 110 bytes for one leg, one row, one feedback.
"""

from typing import Final

import msgspec

from app.core.events import Leg
from app.core.payloads.marks import Mark

# Flags of a LegState: the part came inside a feedback, and counts only until the real one comes.
REQUEST_IN_FEEDBACK: Final = 1
RESPONSE_IN_FEEDBACK: Final = 2
# Flags of a Feedback: what it states.
LABELS: Final = 1
ROW_LABELS: Final = 2
REWARD: Final = 4


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
    """What a feedback states and still holds: labels (a list for the batch, or by row), a reward.

    `named` is the leg that the feedback names, whole or in part. A stated None takes an earlier statement back.
    """

    time: int
    digest: int
    named: int
    flags: int
    ahead: int = 0
    labels: list[Mark] | dict[int, Mark] | None = None
    reward: int | None = None  # in units of 1e-9, so that sums are exact and do not depend on order

    @property
    def pane_time(self) -> int:
        """The µs by which the feedback falls in a pane of its own, until it meets a response."""
        return self.time - self.ahead * 1000


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

    `held` are parts of the joined record that wait for the prediction which they speak of.
    """

    newest: int
    legs: list[LegState]
    feedbacks: list[Feedback]
    counted: list[Counted]
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
    _encode_into(exchange, _buffer)
    return bytes(_buffer)


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
    if state.request_time and (old < in_feedback or (old == in_feedback and time <= state.request_time)):
        return False
    state.request_time = time
    state.request_ahead = ahead
    state.flags = state.flags & ~REQUEST_IN_FEEDBACK | in_feedback
    return True


def wins_response(state: LegState, time: int, digest: int, in_feedback: int = 0) -> bool:
    """Whether a response would replace the one that a leg has."""
    if not state.time:
        return True
    old = state.flags & RESPONSE_IN_FEEDBACK
    if old != in_feedback:
        return old > in_feedback
    return time > state.time or (time == state.time and digest > state.digest)


def put_feedback(exchange: Exchange, new: Feedback, legs: list[Leg]) -> tuple[bool, bool]:
    """State a feedback. Returns (whether anything changed, whether it corrected an earlier statement).

    Labels compete within the service that they name, the reward within the puid.
    """
    kept: list[Feedback] = []
    corrected = False
    stated = new.flags
    scope = legs[new.named][:2]
    for old in exchange.feedbacks:
        newer = (new.time, new.digest, legs[new.named]) > (old.time, old.digest, legs[old.named])
        winner, loser = (new, old) if newer else (old, new)
        both = new.flags & old.flags
        before = old.flags
        if both & REWARD:
            loser.flags &= ~REWARD
            loser.reward = None
        if legs[old.named][:2] == scope:
            if both & LABELS:
                loser.flags &= ~LABELS
                loser.labels = None
            if both & ROW_LABELS:
                winning, losing = winner.labels, loser.labels
                assert type(winning) is dict and type(losing) is dict  # noqa: PT018 - both follow from the flag
                loser.labels = {row: mark for row, mark in losing.items() if row not in winning}
                if not loser.labels:
                    loser.flags &= ~ROW_LABELS
                    loser.labels = None
                corrected = corrected or (newer and len(loser.labels or ()) < len(losing))
        corrected = corrected or old.flags != before
        if old.flags:
            kept.append(old)
    changed = bool(new.flags)
    if changed:
        kept.append(new)
    exchange.feedbacks = kept
    return changed or corrected, corrected and bool(stated)


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
