"""What an event brings to its exchange: its headers and its payload, read and put where they belong.

Whatever can refuse an event comes before the first change, so that a refused event leaves no trace in its exchange.
"""

from collections.abc import Callable
from functools import partial
from hashlib import blake2b
from typing import Final, NamedTuple

from app.core.counts.numbers import Names
from app.core.events import LEG_HEADERS, TYPES, Identity, Kind, Leg, Reason, RefusedError, shown
from app.core.join.exchange import (
    LABELS,
    REQUEST_IN_FEEDBACK,
    RESPONSE_IN_FEEDBACK,
    REWARD,
    ROW_LABELS,
    Detection,
    Exchange,
    Feedback,
    LegState,
    leg_state,
    put_detection,
    put_feedback,
    put_request,
    wins_response,
)
from app.core.join.joined import part_prefix
from app.core.join.settling import Counting
from app.core.letters import REKEYED
from app.core.limits import Limits
from app.core.payloads.bodies import Output, check_request, class_list, read_feedback, read_response, version_of
from app.core.payloads.decoding import parse
from app.core.stats import Stats
from app.core.wire.headers import Envelopes

#: The kinds as numbers: an Enum's own hash and look-up are too slow for every event.
KINDS: Final = tuple(kind.value for kind in Kind)
REQUEST, RESPONSE, FEEDBACK, OUTLIER, DRIFT = range(5)
#: Vectors above this length (embeddings, pictures) name no list of classes; their argmax still counts by its index.
WIDEST: Final = 1000

_TYPE: Final = b"ce_type"
_SOURCE: Final = b"ce_source"
_ENGINE: Final = b"ce_servingengine"
_VERSION: Final = b"ce_modelversion"
_REKEYED: Final = REKEYED.encode()


class Source(NamedTuple):
    """What the headers of an event say of it: its kind and its leg as numbers, and the version that they name."""

    kind: int
    leg: int
    version: str
    rekeyed: bool  # it has been brought to its key already
    prefix: bytes  # of its part of the joined record; empty where none is written


class Parts:
    """Puts events into exchanges, with the numbers of one partition's `Names`. `logs`: joined records are written."""

    def __init__(self, names: Names, counting: Counting, limits: Limits, stats: Stats, *, logs: bool = False) -> None:
        read = (_TYPE, _VERSION, _REKEYED, *LEG_HEADERS)
        #: What the headers of an event mean, its time and its puid.
        self.open = Envelopes(self._source, (*read, _SOURCE, _ENGINE) if logs else read).open
        self._logs = logs
        #: Of bodies that are not JSON as they stand, their JSON; until the batch that brought them is over.
        self.rewritten: dict[bytes, bytes] | None = {} if logs else None
        #: Requests that feedbacks carried and that count as none: the feedback's body, and why.
        self.refused_requests: list[tuple[bytes, Reason, str]] = []
        #: By kind: (exchange, leg, event time in µs, ms by which that is ahead of the record's, row or -1, the version
        #: that the headers name, payload) → whether the event changed the exchange. Raises RefusedError.
        self.put: tuple[Callable[[Exchange, int, int, int, int, str, bytes], bool], ...] = (
            self._request,
            self._response,
            self._feedback,
            partial(self._detection, OUTLIER),
            partial(self._detection, DRIFT),
        )
        self._names = names
        self._counting = counting
        self._limits = limits
        self._stats = stats
        self._is_shadow: dict[int, bool] = {}
        self._models: dict[int, str] = {}
        self._identities: dict[tuple[int, str], int] = {}
        self._class_lists: dict[tuple[str, ...] | int, int] = {}

    def _request(
        self, exchange: Exchange, leg: int, time: int, ahead: int, _row: int, _version: str, value: bytes
    ) -> bool:
        check_request(value, self._limits.body_bytes, self.rewritten)
        if exchange.legs:
            return put_request(exchange, leg, time, ahead)
        exchange.legs.append(LegState(leg, time, ahead))
        return True

    def _response(
        self, exchange: Exchange, leg: int, time: int, ahead: int, _row: int, version: str, value: bytes
    ) -> bool:
        limits = self._limits
        output = read_response(value, limits.label_length, limits.body_bytes, self.rewritten)
        return self._answer(exchange, leg, time, ahead, _digest(value), version, output)

    def _answer(
        self,
        exchange: Exchange,
        leg: int,
        time: int,
        ahead: int,
        digest: int,
        named_version: str,
        output: Output,
        in_feedback: int = 0,
    ) -> bool:
        version = output.version or named_version or version_of(output, self._models[leg])
        identity = self._identities.get((leg, version))
        if identity is None:
            identity = self._new_identity(leg, version)
        classes = self._class_list(output) if 0 < output.width <= WIDEST else 0
        legs = exchange.legs
        state = legs[0] if len(legs) == 1 and legs[0].leg == leg else leg_state(exchange, leg)
        if state.time and not wins_response(state, time, digest, in_feedback):
            return False
        state.time = time
        state.digest = digest
        state.ahead = ahead
        if state.flags or in_feedback:
            state.flags = state.flags & ~RESPONSE_IN_FEEDBACK | in_feedback
        state.identity = identity
        state.classes = classes
        state.marks = output.marks
        state.scores = output.scores
        if output.marks and output.marks[0] is None:
            self._stats.failed += 1
        return True

    def _feedback(
        self, exchange: Exchange, leg: int, time: int, ahead: int, row: int, version: str, value: bytes
    ) -> bool:
        limits = self._limits
        body = read_feedback(value, limits.label_length, limits.body_bytes, self.rewritten)
        digest = _digest(value)
        feedback = Feedback(time, digest, leg, 0, ahead)
        if body.has_label:
            marks = body.labels
            if row < 0:
                feedback.flags = LABELS
                feedback.labels = marks
            elif marks is None or len(marks) == 1:
                feedback.flags = ROW_LABELS
                feedback.labels = {row: marks[0] if marks else None}
            else:
                raise RefusedError(Reason.RAGGED, f"{len(marks)} labels for row {row} alone")
        # The copy of a feedback that names a shadow has no reward: the client never saw that answer.
        if body.has_reward and not self._is_shadow[leg]:
            feedback.flags |= REWARD
            feedback.reward = body.reward
        news = False
        if body.output is not None:
            news = self._answer(exchange, leg, time, ahead, digest, version, body.output, RESPONSE_IN_FEEDBACK)
            if body.has_request:
                news = put_request(exchange, leg, time, ahead, REQUEST_IN_FEEDBACK) or news
            elif body.refused_request is not None:
                self.refused_requests.append((value, *body.refused_request))
        if not feedback.flags:
            return news
        if not exchange.feedbacks:
            exchange.feedbacks.append(feedback)
            return True
        changed, corrected = put_feedback(exchange, feedback, self._names.legs)
        self._stats.corrections += corrected
        return news or changed

    def _detection(
        self, kind: int, exchange: Exchange, leg: int, time: int, ahead: int, _row: int, _version: str, value: bytes
    ) -> bool:
        """What a detector said of the request: kept beside it, never judged."""
        _check_detection(value)
        return put_detection(exchange, Detection(kind, leg, time, _digest(value)))

    # -- words --------------------------------------------------------------------------------------------------------

    def _source(self, headers: dict[bytes, bytes]) -> Source:
        """The kind, the leg and the version that an event's headers name."""
        kind = TYPES.get(headers.get(_TYPE, b""))
        if kind is None:
            raise RefusedError(Reason.UNKNOWN_TYPE, f"ce_type is {shown(headers.get(_TYPE))}")
        leg = Leg(*(_text(headers.get(name, b"")) for name in LEG_HEADERS))
        if len(self._names.legs) > self._limits.models and not self._names.knows_leg(leg):
            raise RefusedError(Reason.TOO_MANY_MODELS, f"this partition already knows {self._limits.models} models")
        number = self._names.leg(leg)
        self._is_shadow[number] = leg.predictor in self._counting.rules(number).shadow
        self._models[number] = leg.model
        source, engine = (headers.get(name, b"").decode(errors="replace") for name in (_SOURCE, _ENGINE))
        prefix = part_prefix(kind.value, leg, source, engine) if self._logs else b""
        return Source(KINDS.index(kind), number, _text(headers.get(_VERSION, b"")), _REKEYED in headers, prefix)

    def _new_identity(self, leg: int, version: str) -> int:
        if len(version) > 200:
            raise RefusedError(Reason.BAD_HEADERS, "the model's version has more than 200 characters")
        identity = Identity(*self._names.legs[leg], version)
        if len(self._names.identities) > 2 * self._limits.models and not self._names.knows_identity(identity):
            raise RefusedError(Reason.TOO_MANY_MODELS, "this partition already knows too many versions of models")
        number = self._identities[leg, version] = self._names.identity(identity)
        return number

    def _class_list(self, output: Output) -> int:
        key = output.names or output.width
        number = self._class_lists.get(key)
        if number is None:
            words = class_list(output)
            for word in words:
                if len(word) > self._limits.label_length:
                    raise RefusedError(Reason.LABEL_TOO_LONG, f"a class name of {len(word)} characters")
            if len(self._names.classes) > 4 * self._limits.models and not self._names.knows_class_list(tuple(words)):
                raise RefusedError(Reason.TOO_MANY_MODELS, "this partition already knows too many lists of classes")
            number = self._class_lists[key] = self._names.class_list(tuple(words))
        return number


def _digest(value: bytes) -> int:
    return int.from_bytes(blake2b(value, digest_size=8).digest(), "big")


def _text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise RefusedError(Reason.BAD_HEADERS, f"a header that names the model is not UTF-8: {raw[:40]!r}") from None
    if len(text) > 253:
        raise RefusedError(Reason.BAD_HEADERS, "a header that names the model has more than 253 characters")
    return text


def _check_detection(value: bytes) -> None:
    if type(parse(value)) is not dict:
        raise RefusedError(Reason.NOT_AN_OBJECT, "what a detector says is not a JSON object")
