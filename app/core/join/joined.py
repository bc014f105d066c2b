"""The joined record: what `inference-log` says of a puid in one epoch.

    {"puid": "…",
     "parts": [{"kind", "leg": [namespace, service, predictor, model], "source", "engine"?, "time" (RFC 3339), "row"?,
                "payload"}, …],
     "legs": [{"leg": [… , version], "request_time"?, "response_time", "rows": [{"predicted", "score"?, "probability"?,
               "label"?, "correct"? or "error"?, "segments"?}, …], "reward"?, "delay"?}, …],
     "feedback_time"?, "more"? (true)}

Parts are the events of the epoch that changed the exchange, with their payloads as they came; legs are those that have
answered, as they stand now. Times of legs and of feedback are in µs since the epoch, the delay (from a leg's response
to its newest label) in µs. A feedback whose prediction is not known yet waits for it, so that the record which
holds it also says what it speaks of.

What would be larger than a record may be travels in several of the same puid, one behind the other; all but the last
say that there is more. Each says of the legs what the others say, and is a record like any other: to merge them one
after the other gives what the one would have given.
"""

from collections.abc import Iterator
from struct import Struct
from typing import Any, Final

import orjson

from app.core.clock import format_time
from app.core.counts.numbers import Numbers
from app.core.events import Leg
from app.core.join.description import best_probability, labelled, newest_feedback, probability, rows
from app.core.join.exchange import Exchange, LegState
from app.core.join.judging import Judging
from app.core.join.segmenting import Segmenting
from app.core.join.statements import REWARD, Feedback

_FEEDBACK: Final = b'{"kind":"feedback"'
_MORE: Final = b',"more":true'
_MOST_TEXTS: Final = 4096
_score = Struct("<f").unpack


def part_prefix(kind: str, leg: Leg, source: str, engine: str) -> bytes:
    """The beginning of a part: what is the same in all events with the same headers."""
    words = {"kind": kind, "leg": tuple(leg), "source": source} | ({"engine": engine} if engine else {})
    return orjson.dumps(words)[:-1] + b',"time":"'


def part(prefix: bytes, raw_time: bytes, time: int, row: int, payload: bytes) -> bytes:
    """One part. `raw_time` is the event's `ce_time`, empty where `time` (µs) comes from the record."""
    # Python takes any character between date and time, a quote too.
    text = raw_time if raw_time[10:11] == b"T" else format_time(time).encode()
    if row < 0:
        return b'%b%b","payload":%b}' % (prefix, text, payload)
    return b'%b%b","row":%d,"payload":%b}' % (prefix, text, row, payload)


def is_feedback(part: bytes) -> bool:
    """Whether a part is a feedback."""
    return part.startswith(_FEEDBACK)


def _size(parts: list[bytes]) -> int:
    """The bytes of parts in a record, with their commas."""
    return sum(map(len, parts)) + len(parts)


def _together(parts: list[bytes], most: int) -> Iterator[list[bytes]]:
    """Neighbours among parts that have at most so many bytes together; or one that has more."""
    some: list[bytes] = []
    size = 0
    for one in parts:
        if some and size + len(one) + 1 > most:
            yield some
            some, size = [], 0
        some.append(one)
        size += len(one) + 1
    yield some


class Joining:
    """Makes joined records, with the numbers of one partition's `Numbers`."""

    def __init__(self, numbers: Numbers, judging: Judging, segmenting: Segmenting) -> None:
        self._numbers = numbers
        self._segmenting = segmenting
        self._judging = judging
        self._texts: dict[tuple[Any, ...], tuple[bytes, bytes]] = {}

    def record(self, puid: bytes, parts: list[bytes], exchange: Exchange, *, more: bool = False) -> bytes:
        """The record of a puid."""
        legs, feedbacks = exchange.legs, exchange.feedbacks
        text = None
        if len(legs) == 1 and len(feedbacks) < 2 and not exchange.rows:
            text = self._common_leg(legs[0], feedbacks[0] if feedbacks else None)
        if text is None:
            text = orjson.dumps(self.legs(exchange))[1:-1]
        time = newest_feedback(exchange)
        end = b',"feedback_time":%d' % time if time else b""
        if more:
            end += _MORE
        name = orjson.dumps(puid.decode(errors="replace"))
        return b'{"puid":%b,"parts":[%b],"legs":[%b]%b}' % (name, b",".join(parts), text, end)

    def records(self, puid: bytes, parts: list[bytes], exchange: Exchange, most: int) -> Iterator[bytes]:
        """The record of a puid, or several where it would have more than so many bytes.

        Of several the first have what was logged, which says in which index the feedback's documents are. One that
        holds a single part may have more all the same: nobody takes it, and where no other says how the legs stand, a
        record without parts does. Where that alone is too much there is one record, of all.
        """
        whole = self.record(puid, parts, exchange)
        beside = len(whole) - _size(parts) + len(_MORE)
        if len(whole) <= most or not parts or beside > most:
            yield whole
            return
        together = list(_together(sorted(parts, key=is_feedback), most - beside))
        if any(state.time for state in exchange.legs) and all(_size(some) > most - beside for some in together):
            together.append([])
        for some in together:
            yield self.record(puid, some, exchange, more=some is not together[-1])

    def legs(self, exchange: Exchange) -> list[dict[str, Any]]:
        """The legs that have answered, as they stand."""
        judging = self._judging
        rewards: dict[int, float] = {}
        for feedback in exchange.feedbacks:
            if feedback.flags & REWARD and feedback.reward is not None:
                answer = judging.reward_owner(feedback, exchange)[1]
                if answer is not None:
                    rewards[answer.leg] = feedback.reward / 1e9
        found = []
        for state in exchange.legs:
            if state.time:
                leg: dict[str, Any] = {
                    "leg": tuple(self._numbers.identities[state.identity]),
                    "rows": self._rows(state, exchange),
                    "response_time": state.time,
                }
                if state.request_time:
                    leg["request_time"] = state.request_time
                if state.leg in rewards:
                    leg["reward"] = rewards[state.leg]
                newest = judging.labels(state, judging.statements(state, exchange)).newest
                if newest:
                    leg["delay"] = max(0, newest - state.time)
                found.append(leg)
        return found

    def _rows(self, state: LegState, exchange: Exchange) -> list[dict[str, Any]]:
        """The rows of a leg, where it is known with the probability of the class that they name instead of a score."""
        found = rows(state, exchange, self._judging, self._segmenting)
        for index, row in enumerate(found):
            known = probability(state, index, self._numbers, self._judging)
            if known is not None:
                row["probability"] = known
                row.pop("score", None)
        return found

    def _common_leg(self, state: LegState, feedback: Feedback | None) -> bytes | None:
        """The same for the one leg, with one row, of nearly all exchanges; None for any other.

        Its words are made once for each combination of prediction and label.
        """
        if not state.time or len(state.marks) != 1 or self._segmenting.has_segments(state.leg):
            return None
        mark = state.marks[0]
        if mark is None:  # it has failed, and has no row that a label could be right about
            return None
        label = None
        rewarded = False
        if feedback is not None:
            if feedback.named != state.leg:
                return None
            if type(feedback.labels) is list:
                if len(feedback.labels) != 1:
                    return None
                label = feedback.labels[0]
            rewarded = feedback.reward is not None
        if type(mark) is float or type(label) is float or (rewarded and not self._judging.names_leg(state.leg)):
            return None
        key = (state.identity, state.leg, state.classes, mark, label)
        texts = self._texts.get(key)
        if texts is None:
            texts = self._learn(key, state, mark, label)
        before, after = texts
        best = best_probability(state, 0)
        if best is not None:
            score = b'"probability":%a,' % best
        else:
            score = b'"score":%.7g,' % _score(state.scores)[0] if state.scores else b""
        text = b'%b%b%b,"response_time":%d' % (before, score, after, state.time)
        if state.request_time:
            text += b',"request_time":%d' % state.request_time
        if feedback is not None:
            if feedback.reward is not None:
                text += b',"reward":%a' % (feedback.reward / 1e9)
            if label is not None:
                text += b',"delay":%d' % max(0, feedback.time - state.time)
        return text + b"}"

    def _learn(self, key: tuple[Any, ...], state: LegState, mark: Any, label: Any) -> tuple[bytes, bytes]:
        predicted, actual, correct = self._judging.words(state, mark, label)
        row: dict[str, Any] = {"predicted": predicted}
        if label is not None:
            row |= labelled(mark, label, actual, correct)
        leg = orjson.dumps({"leg": tuple(self._numbers.identities[state.identity])})
        texts = leg[:-1] + b',"rows":[{', orjson.dumps(row)[1:] + b"]"
        if len(self._texts) < _MOST_TEXTS:
            self._texts[key] = texts
        return texts
