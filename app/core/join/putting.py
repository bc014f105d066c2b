"""Putting: how an event changes its exchange.

For each of a leg's request, a leg's response, the reward and the label of each row the greatest (event time, content
digest) wins, and nothing of the others is kept. So order, delay and repetition cannot matter. The digest is XXH3 of 64
bits, of a request the higher half: it decides between two of one time and guards nothing.
"""

from typing import Final

from app.core.drift.kept import content_of, half_of
from app.core.events import Leg
from app.core.join.exchange import (
    REQUEST_IN_FEEDBACK,
    RESPONSE_IN_FEEDBACK,
    Detection,
    Exchange,
    LegState,
    row_labels,
)
from app.core.join.features import keep_counted
from app.core.join.statements import LABELS, PARTIAL, REWARD, Feedback, Rank, RowLabel, RowLabels, held, rank_of
from app.core.payloads.marks import Mark

# What an event has done to its exchange.
NOTHING: Final = 0  # it is outdated, or has been taken before
RESTATED: Final = 1  # it says at a later time what was known already
NEWS: Final = 2
CORRECTED: Final = 3  # it has replaced another statement


def leg_state(exchange: Exchange, leg: int) -> LegState:
    """The state of a leg, added where it is new."""
    for state in exchange.legs:
        if state.leg == leg:
            return state
    state = LegState(leg)
    exchange.legs.append(state)
    return state


def put_request(
    exchange: Exchange,
    leg: int,
    time: int,
    ahead: int,
    in_feedback: int = 0,
    digest: int = 0,
    evidence: bytes | None = None,
) -> bool:
    """State a leg's request. Returns whether anything changed. One whose content counts, in segments or by a reference,
    has a digest of it.
    """
    state = leg_state(exchange, leg)
    old = state.flags & REQUEST_IN_FEEDBACK
    if state.request_time:
        before = half_of(state.segments.digest) if state.segments else content_of(state.evidence)
        known = state.request_time, before, state.request_ahead
        if old < in_feedback or (old == in_feedback and (time, half_of(digest), ahead) <= known):
            return False
    state.request_time = time
    state.request_ahead = ahead
    keep_counted(exchange, state)
    state.evidence = evidence
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
    exchange.feedbacks = [feedback for feedback in (*exchange.feedbacks, new) if feedback.flags & (LABELS | REWARD)]
    return done


def _put_reward(feedbacks: list[Feedback], new: Feedback, legs: list[Leg]) -> int:
    for old in feedbacks:
        if old.flags & REWARD:
            newer = rank_of(new, legs) > rank_of(old, legs)
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
    rank = rank_of(new, legs)
    others = [old for old in exchange.feedbacks if old.flags & LABELS and legs[old.named][:2] == scope]
    rows = [block for block in row_labels(exchange) if legs[block.named][:2] == scope] if exchange.rows else []
    for other in others:
        if rank_of(other, legs) == rank:
            _take_labels(new)
            return _same_again(other, new, legs)
    taken_back = any(other.labels is None for other in others)
    before = held(others, rows, legs) if others or rows else None
    for other in others:
        if rank_of(other, legs) > rank:
            _outdate(new, other)
    for other in others:
        if new.flags & LABELS and rank_of(other, legs) < rank:
            _outdate(other, new)
    if before is None:
        return NEWS
    if rows and new.flags & LABELS:
        _compete_with_rows(exchange, new, rank, rows, legs)
    after = held([one for one in (*others, new) if one.flags & LABELS], rows, legs)
    if after.marks == before.marks and after.length == before.length:
        return RESTATED if new.flags & LABELS else NOTHING
    lost = any(after.marks.get(row) != mark for row, mark in before.marks.items())
    return CORRECTED if lost or taken_back or before.length not in (None, after.length) else NEWS


def _compete_with_rows(exchange: Exchange, new: Feedback, rank: Rank, blocks: list[RowLabels], legs: list[Leg]) -> None:
    """Keep of each row the newer of what a batch says, and what a feedback for that row alone says; of two of one rank
    the latter.
    """
    for block in blocks:
        for row, label in [*block.rows.items()]:
            at = rank_of(label, legs, block.named)
            if at >= rank:
                _leave_alone(new, row)
            elif _speaks_of(new, row):
                del block.rows[row]
    exchange.rows = tuple(block for block in row_labels(exchange) if block.rows)


def _speaks_of(batch: Feedback, row: int) -> bool:
    """Whether a batch says something of a row: its label, or that there is none."""
    labels = batch.labels
    return labels is None or row >= len(labels) or labels[row] is not None


def _leave_alone(batch: Feedback, row: int) -> None:
    if batch.labels is not None and row < len(batch.labels):
        batch.labels[row] = None


def _same_again(old: Feedback, new: Feedback, legs: list[Leg]) -> int:
    """What a feedback does that is not newer: of the same one twice the lower record time holds."""
    if rank_of(old, legs) != rank_of(new, legs) or new.ahead <= old.ahead:
        return NOTHING
    old.ahead = new.ahead
    return RESTATED


def _outdate(old: Feedback, new: Feedback) -> None:
    """Take from an older batch what a newer one says. Where that spoke of every row, nothing is left."""
    if not new.flags & PARTIAL:
        _take_labels(old)
    elif old.labels is not None:
        old.labels = [None if _speaks_of(new, row) else mark for row, mark in enumerate(old.labels)]


def _take_labels(batch: Feedback) -> None:
    batch.flags &= ~(LABELS | PARTIAL)
    batch.labels = None


def put_row_label(exchange: Exchange, named: int, row: int, label: RowLabel, legs: list[Leg]) -> int:
    """State the label of one row. Returns what that has done, as `put_feedback` does."""
    scope = legs[named][:2]
    rank = label.time, label.digest, legs[named]
    known: Mark = None
    newest: Rank | None = None
    batches = [batch for batch in exchange.feedbacks if batch.flags & LABELS and legs[batch.named][:2] == scope]
    for batch in batches:
        if _speaks_of(batch, row):
            at, labels = rank_of(batch, legs), batch.labels
            if at > rank:
                return NOTHING
            if newest is None or at > newest:
                newest, known = at, labels[row] if labels is not None and row < len(labels) else None
    blocks = row_labels(exchange)
    home: RowLabels | None = None
    for block in blocks:
        if block.named == named:
            home = block
        if legs[block.named][:2] == scope:
            old = block.rows.get(row)
            if old is not None:
                if (rank_of(old, legs, block.named), old.ahead) >= (rank, label.ahead):
                    return NOTHING
                known, newest = old.mark, rank
                del block.rows[row]
    if home is None:
        home = RowLabels(named, {})
        blocks = exchange.rows = (*blocks, home)
    home.rows[row] = label
    for batch in batches:
        if rank_of(batch, legs) <= rank:
            _leave_alone(batch, row)
    if len(blocks) > 1:
        exchange.rows = tuple(block for block in blocks if block.rows)
    if known is None:
        return NEWS
    return RESTATED if known == label.mark else CORRECTED


def put_detection(exchange: Exchange, new: Detection) -> bool:
    """State what a detector said, or the custom metrics of a feedback, one of each kind and leg. Returns whether
    anything changed.
    """
    for index, old in enumerate(exchange.detections):
        if (old.kind, old.leg) == (new.kind, new.leg):
            if (new.time, new.digest, new.ahead) <= (old.time, old.digest, old.ahead):
                return False
            exchange.detections = (*exchange.detections[:index], new, *exchange.detections[index + 1 :])
            return True
    exchange.detections = (*exchange.detections, new)
    return True
