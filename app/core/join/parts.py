"""What an event brings to its exchange: its headers and its payload, read and put where they belong.

Whatever can refuse an event comes before the first change, so that a refused event leaves no trace in its exchange.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, Final, NamedTuple

import orjson
from xxhash import xxh3_64_intdigest

from app.core.counts.numbers import Numbers
from app.core.drift.kept import MOST_BYTES, with_content
from app.core.drift.live import Watched
from app.core.events import LEG_HEADERS, TYPES, Identity, Kind, Leg, Reason, RefusedError, shown
from app.core.join.addressing import LENT_ROW, NO_ROW
from app.core.join.by_version import ByVersion
from app.core.join.chances import keep_counted
from app.core.join.exchange import REQUEST_IN_FEEDBACK, RESPONSE_IN_FEEDBACK, Detection, Exchange, LegState
from app.core.join.joined import part, part_prefix
from app.core.join.judging import Judging
from app.core.join.metrics import FEEDBACK as WITH_FEEDBACK
from app.core.join.metrics import PREDICT, CustomMetrics
from app.core.join.monitored import in_short, put_result, read_result
from app.core.join.putting import (
    CORRECTED,
    NEWS,
    NOTHING,
    leg_state,
    put_detection,
    put_feedback,
    put_request,
    put_row_label,
    wins_response,
)
from app.core.join.segmenting import EventReader, EventReaders
from app.core.join.statements import LABELS, LENT, OF_ROW, PARTIAL, REWARD, Feedback, RowLabel
from app.core.letters import REKEYED
from app.core.limits import Limits
from app.core.payloads.bodies import (
    MOST_PROBABILITIES,
    FeedbackBody,
    Output,
    check_request,
    read_feedback,
    read_response,
    version_of,
)
from app.core.payloads.decoding import body_of, parse
from app.core.payloads.probability_field import ProbabilityField
from app.core.payloads.segmenting import NOTHING_SAID
from app.core.payloads.seldon import Data
from app.core.stats import Stats
from app.core.wire.headers import Envelopes

#: The kinds as numbers: an Enum's own hash and look-up are too slow for every event.
KINDS: Final = tuple(kind.value for kind in Kind)
REQUEST, RESPONSE, FEEDBACK, OUTLIER, DRIFT, MONITOR = range(6)
#: Vectors above this length (embeddings, pictures) name no list of classes; their argmax still counts by its index.
WIDEST: Final = 1000

#: What the record of a list of classes has beside it.
_ROOM_OF_CLASSES: Final = 100

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
    segments: EventReader | None = None  # what reads its values in segments, where its model has any


class Parts:
    """Puts events into exchanges, with one partition's `Numbers`. `logs`: joined records are written."""

    def __init__(
        self,
        numbers: Numbers,
        judging: Judging,
        limits: Limits,
        stats: Stats,
        segments: EventReaders,
        metrics: CustomMetrics,
        by_version: ByVersion,
        *,
        logs: bool = False,
    ) -> None:
        read = (_TYPE, _VERSION, _REKEYED, *LEG_HEADERS, *segments.headers)
        #: What the headers of an event mean, its time and its puid.
        self.open = Envelopes(self._source, (*read, _SOURCE, _ENGINE) if logs else read).open
        self._logs = logs
        #: Of bodies that are not JSON as they stand, their JSON; until the batch that brought them is over.
        self.rewritten: dict[bytes, bytes] | None = {} if logs else None
        #: Parts of events that do not count while all the rest does, as custom metrics: the body, and why.
        self.refused_parts: list[tuple[bytes, Reason, str]] = []
        #: Models whose answers were first seen to name no class, and why.
        self.without_class: list[tuple[int, str]] = []
        self._classless: set[int] = set()
        #: Models whose requests were first seen not to fit their reference, and why.
        self.unfit: list[tuple[int, str]] = []
        self._unfit: set[tuple[int, str]] = set()
        self._watched: dict[int, Watched] = {}  # the references of legs that have one
        #: By kind: (exchange, source, event time in µs, ms by which that is ahead of the record's, row or NO_ROW or
        #: LENT_ROW, value) → what that has done, one of NOTHING … CORRECTED. Raises RefusedError.
        self.put: tuple[Callable[..., int], ...] = (
            self._request,
            self._response,
            self._feedback,
            partial(self._detection, OUTLIER),
            partial(self._detection, DRIFT),
            self._result,
        )
        self._numbers = numbers
        self._segments = segments
        self._metrics = metrics
        self._by_version = by_version
        self._judging = judging
        self.limits = limits
        self._stats = stats
        self._is_shadow: dict[int, bool] = {}
        self._keeps: dict[int, bool | ProbabilityField] = {}  # whether probabilities are kept, and from where
        #: Models whose answers were first seen to have no probabilities where the user says, and why.
        self.without_probabilities: list[tuple[int, str]] = []
        self._without: set[int] = set()
        self._models: dict[int, str] = {}
        self._positions: dict[int, dict[int, tuple[str, ...]]] = {}  # by width: the names that the user gives positions
        self._identities: dict[tuple[int, str], int] = {}
        self._class_lists: dict[tuple[str, ...] | int, int] = {}

    def growth(self, source: Source, row: int, length: int) -> int:
        """By how many bytes an event with a value of that length makes its exchange larger, at most.

        Of raw tensors a value of one byte becomes a mark of two or more; of a request only its time is kept, and the
        values that its rows have in segments.
        """
        segments = source.segments
        if source.kind >= OUTLIER:
            return 500 + 30 * length
        if source.kind == REQUEST:
            kept = MOST_BYTES
            if self._by_version.watched(source.leg) is not None:
                kept += self._by_version.most_bytes(self.limits)
            return kept + (100 if segments is None else 500 + segments.request_growth * length)
        growth = 100 + length if row >= 0 else 500 + 8 * MOST_PROBABILITIES * (length > 40) + 9 * length
        return growth if segments is None else growth * segments.growth

    def _request(self, exchange: Exchange, source: Source, time: int, ahead: int, row: int, value: bytes) -> int:
        segments, said = source.segments, NOTHING_SAID
        if segments is None:
            data = check_request(value, self.limits.body_bytes, self.rewritten)
            digest = 0
        else:
            data, said = segments.read_request(value, self.limits.body_bytes, self.rewritten)
            digest = segments.digest(value)
        watched = self._watched.get(source.leg) if self._watched else None
        evidence = None
        if watched is not None:
            evidence = self._bins(source.leg, watched, data)
            if segments is None:
                digest = xxh3_64_intdigest(value)
                evidence = with_content(evidence, digest)
        if not exchange.legs:
            exchange.legs.append(LegState(source.leg, time, ahead, evidence=evidence))
        elif not put_request(exchange, source.leg, time, ahead, digest=digest, evidence=evidence):
            return NOTHING
        if segments is not None:
            segments.put_request(leg_state(exchange, source.leg), said, digest)
        return NEWS

    def _bins(self, leg: int, watched: Watched, data: Data) -> bytes | None:
        """The bins of a request's features by the reference of its model; or its values, where each version has its own
        reference.
        """
        live = watched.live
        if watched.first:
            return self._by_version.keep(data.ndarray, data.names, self.limits)
        evidence, trouble = live.bins(data.ndarray, data.names)
        if trouble and (leg, live.digest) not in self._unfit:
            self._unfit.add((leg, live.digest))
            self.unfit.append((leg, f"{watched.words} does not fit: {trouble}"))
        return evidence

    def _response(self, exchange: Exchange, source: Source, time: int, ahead: int, row: int, value: bytes) -> int:
        limits = self.limits
        keeps = self._keeps[source.leg]
        longest, largest, segments, said = limits.label_length, limits.body_bytes, source.segments, NOTHING_SAID
        if segments is None:
            output = read_response(value, longest, largest, self.rewritten, keeps=keeps)
            digest = xxh3_64_intdigest(value)
        else:
            output, said = segments.read_response(value, longest, largest, self.rewritten, keeps=keeps)
            digest = segments.digest(value)
        done = self._answer(exchange, source, time, ahead, digest, output)
        if done and segments is not None:
            segments.put_answer(leg_state(exchange, source.leg), said)
        if done and output.metrics is not None:
            self._refuse_metrics(value, "answer")
        return done

    def _answer(
        self,
        exchange: Exchange,
        source: Source,
        time: int,
        ahead: int,
        digest: int,
        output: Output,
        in_feedback: int = 0,
    ) -> int:
        leg = source.leg
        version = output.version or source.version or version_of(output, self._models[leg])
        identity = self._identities.get((leg, version))
        if identity is None:
            identity = self._new_identity(leg, version)
        classes = self._class_list(output, leg) if 0 < output.width <= WIDEST else 0
        metrics = None
        if output.metrics is not None:
            metrics = self._metrics.read(
                leg, identity, PREDICT, output.metrics, time - ahead * 1000, digest, gauges=not in_feedback
            )
        legs = exchange.legs
        state = legs[0] if len(legs) == 1 and legs[0].leg == leg else leg_state(exchange, leg)
        if state.time and not wins_response(state, time, digest, ahead, in_feedback):
            return NOTHING
        if state.time and exchange.counted:
            keep_counted(exchange, state, self._numbers)
        state.time = time
        state.digest = digest
        state.ahead = ahead
        if state.flags or in_feedback:
            state.flags = state.flags & ~RESPONSE_IN_FEEDBACK | in_feedback
        if state.metrics is not None:
            self._metrics.count(state.identity, state.metrics, -1)
        state.identity = identity
        state.classes = classes
        state.marks = output.marks
        state.scores = output.scores
        state.probabilities = output.probabilities
        state.metrics = metrics
        if metrics is not None:
            self._metrics.count(identity, metrics)
        if output.marks and output.marks[0] is None:
            self._stats.failed += 1
        if output.no_class and leg not in self._classless:
            self._classless.add(leg)
            self.without_class.append((leg, output.no_class))
        if output.no_probabilities and leg not in self._without:
            self._without.add(leg)
            self.without_probabilities.append((leg, output.no_probabilities))
        return NEWS

    def _feedback(self, exchange: Exchange, source: Source, time: int, ahead: int, row: int, value: bytes) -> int:
        leg = source.leg
        limits = self.limits
        body = read_feedback(value, limits.label_length, limits.body_bytes, self.rewritten, keeps=self._keeps[leg])
        digest = xxh3_64_intdigest(value)
        feedback = Feedback(time, digest, leg, 0, ahead)
        single: RowLabel | None = None
        if body.has_label:
            marks = body.labels
            if row < 0:
                feedback.flags = LABELS if marks is None or None not in marks else LABELS | PARTIAL
                feedback.labels = marks and marks.copy()
            elif marks is None or len(marks) == 1:
                single = RowLabel(time, digest, ahead, marks[0] if marks else None)
            else:
                raise RefusedError(Reason.RAGGED, f"{len(marks)} labels for row {row} alone")
        # The copy of a feedback that names a shadow has no reward: the client never saw that answer.
        if body.has_reward and not self._is_shadow[leg]:
            feedback.flags |= REWARD
            feedback.reward = body.reward
        if row != NO_ROW and feedback.flags:
            feedback.flags |= LENT if row == LENT_ROW else OF_ROW
        done = NOTHING
        if body.output is not None and row == NO_ROW:  # the response to a row alone is none of the batch
            done = self._carried(exchange, source, time, ahead, digest, value, body)
        if body.metrics:
            done = max(done, self._with_feedback(exchange, leg, time, ahead, row, value, digest, body.metrics))
        if single is not None:
            done = max(done, put_row_label(exchange, leg, row, single, self._numbers.legs))
        if feedback.flags:
            if not exchange.feedbacks and not exchange.rows:
                exchange.feedbacks.append(feedback)
                return NEWS
            done = max(done, put_feedback(exchange, feedback, self._numbers.legs))
        self._stats.corrections += done == CORRECTED
        return done

    def _carried(
        self, exchange: Exchange, source: Source, time: int, ahead: int, digest: int, value: bytes, body: FeedbackBody
    ) -> int:
        """The response and the request that a feedback carries."""
        assert body.output is not None
        done = self._answer(exchange, source, time, ahead, digest, body.output, RESPONSE_IN_FEEDBACK)
        segments = source.segments
        carried: Any = None if segments is None else body_of(value, Kind.FEEDBACK, self.limits.body_bytes)
        if segments is not None and done:
            segments.put_carried_answer(leg_state(exchange, source.leg), carried.get("response"))
        of_request = 0 if segments is None else digest
        if body.has_request and put_request(exchange, source.leg, time, ahead, REQUEST_IN_FEEDBACK, of_request):
            done = NEWS
            if segments is not None:
                segments.put_carried_request(leg_state(exchange, source.leg), carried.get("request"), digest)
        elif body.refused_request is not None:
            reason, detail = body.refused_request
            self.refused_parts.append((value, reason, f"the feedback counts without its request: {detail}"))
        if done and body.output.metrics is not None:
            self._refuse_metrics(value, "answer that the feedback carries")
        return done

    def _with_feedback(
        self, exchange: Exchange, leg: int, time: int, ahead: int, row: int, value: bytes, digest: int,
        given: tuple[Any, ...],
    ) -> int:  # fmt: skip
        """The custom metrics of a feedback: those of the newest one that names a leg count, for the leg at no version.

        They are of a puid, so a feedback for a row alone brings none.
        """
        if row != NO_ROW:
            if row != LENT_ROW:
                self.refused_parts.append(
                    (value, Reason.BAD_METRIC, "a feedback for a row alone counts without custom metrics")
                )
            return NOTHING
        identity = self._judging.unversioned(leg)
        amounts: dict[int, int] = {}
        troubles = []
        for one in given:
            found = self._metrics.read(leg, identity, WITH_FEEDBACK, one, time - ahead * 1000, digest)
            for number, amount in (found or {}).items():
                amounts[number] = amounts.get(number, 0) + amount
            troubles.append(self._metrics.trouble)
        news = self._put_detection(exchange, Detection(FEEDBACK, leg, time, digest, amounts or None, ahead))
        self._metrics.trouble = next(filter(None, troubles), "")
        if news:
            self._refuse_metrics(value, "feedback")
        return NEWS if news else NOTHING

    def _refuse_metrics(self, value: bytes, what: str) -> None:
        """Put an event aside that counts without a part of its custom metrics."""
        if self._metrics.trouble:
            self.refused_parts.append(
                (value, Reason.BAD_METRIC, f"the {what} counts, but for this: {self._metrics.trouble}")
            )

    def _detection(
        self, kind: int, exchange: Exchange, source: Source, time: int, ahead: int, row: int, value: bytes
    ) -> int:
        """What a detector said of the request: kept beside it, never judged. Its numbers count as custom metrics."""
        body = parse(value, self.rewritten)
        if type(body) is not dict:
            raise RefusedError(Reason.NOT_AN_OBJECT, "what a detector says is not a JSON object")
        leg, digest, method = source.leg, xxh3_64_intdigest(value), KINDS[kind]
        found = self._metrics.read_detection(
            leg, self._judging.unversioned(leg), method, body, time - ahead * 1000, digest
        )
        if not self._put_detection(exchange, Detection(kind, leg, time, digest, found, ahead)):
            return NOTHING
        self._refuse_metrics(value, f"{method} event")
        return NEWS

    def _put_detection(self, exchange: Exchange, new: Detection) -> bool:
        """Put what was said beside the answers, and count its custom metrics. Returns whether anything changed."""
        identity = self._judging.unversioned(new.leg)
        if new.metrics is not None:
            self._metrics.pending.see(self._metrics.account(identity), new.pane_time)
        before = [one.metrics for one in exchange.detections if (one.kind, one.leg) == (new.kind, new.leg)]
        if not put_detection(exchange, new):
            return False
        for metrics in before:
            self._metrics.count(identity, metrics, -1)
        self._metrics.count(identity, new.metrics)
        return True

    def _result(self, exchange: Exchange, source: Source, time: int, ahead: int, row: int, value: bytes) -> int:
        """What a monitor said of the rows of an answer."""
        result = read_result(parse(value, self.rewritten))
        return put_result(exchange, source.leg, time, ahead, xxh3_64_intdigest(value), result)

    def result_in_short(self, value: bytes, why: RefusedError) -> bytes:
        """What stands for the result of a monitor that an exchange has no room for, in its joined record too.

        Raises RefusedError where it is no result, or `why` where it is as short as can be.
        """
        body = parse(value, self.rewritten)
        read_result(body)
        if "failed" in body:
            raise why
        short = in_short(body, why.detail)
        if self.rewritten is not None:
            self.rewritten[value] = short
        return short

    # -- the joined record --------------------------------------------------------------------------------------------

    def joined_part(self, source: Source, raw_time: bytes, time: int, row: int, value: bytes) -> bytes:
        """What an event adds to the joined record: its payload as JSON. `raw_time` is empty where `time` (µs) is that
        of the record.
        """
        payload = self.rewritten.get(value, value) if self.rewritten else value
        return part(source.prefix, raw_time, time, row, payload)

    # -- words --------------------------------------------------------------------------------------------------------

    def _source(self, headers: dict[bytes, bytes]) -> Source:
        """The kind, the leg and the version that an event's headers name."""
        kind = TYPES.get(headers.get(_TYPE, b""))
        if kind is None:
            raise RefusedError(Reason.UNKNOWN_TYPE, f"ce_type is {shown(headers.get(_TYPE))}")
        leg = Leg(*(_text(headers.get(name, b"")) for name in LEG_HEADERS))
        if len(self._numbers.legs) > self.limits.models and not self._numbers.knows_leg(leg):
            raise RefusedError(Reason.TOO_MANY_MODELS, f"this partition already knows {self.limits.models} models")
        number = self._numbers.leg(leg)
        self._is_shadow[number] = leg.predictor in self._judging.rules(number).shadow
        watched = self._judging.rules(number).reference
        if watched is not None:
            self._watched[number] = watched
        rules = self._judging.rules(number)
        self._keeps[number] = rules.probabilities is not False
        if rules.probability_field is not None:
            self._keeps[number] = ProbabilityField(rules.probability_field, rules.classes, rules.positive)
        self._models[number] = leg.model
        classes = self._judging.rules(number).classes
        self._positions[number] = {len(classes): classes} if classes else {}
        source, engine = (headers.get(name, b"").decode(errors="replace") for name in (_SOURCE, _ENGINE))
        prefix = part_prefix(kind.value, leg, source, engine) if self._logs else b""
        version, segments = _text(headers.get(_VERSION, b"")), self._segments.of(number, headers)
        return Source(KINDS.index(kind), number, version, _REKEYED in headers, prefix, segments)

    def _new_identity(self, leg: int, version: str) -> int:
        if len(version) > 200:
            raise RefusedError(Reason.BAD_HEADERS, "the model's version has more than 200 characters")
        identity = Identity(*self._numbers.legs[leg], version)
        if len(self._numbers.identities) > 2 * self.limits.models and not self._numbers.knows_identity(identity):
            raise RefusedError(Reason.TOO_MANY_MODELS, "this partition already knows too many versions of models")
        number = self._identities[leg, version] = self._numbers.identity(identity)
        return number

    def _class_list(self, output: Output, leg: int) -> int:
        """The number of the classes that an answer's vectors fix: their names, else those of the rules, else 0, 1 …"""
        key = output.names or self._positions[leg].get(output.width) or output.width
        number = self._class_lists.get(key)
        if number is None:
            words = key if isinstance(key, tuple) else tuple(map(str, range(key)))
            for word in words:
                if len(word) > self.limits.label_length:
                    raise RefusedError(Reason.LABEL_TOO_LONG, f"a class name of {len(word)} characters")
            size = len(orjson.dumps(orjson.dumps(words).decode()))  # what is counted of it is written as a text
            if size + _ROOM_OF_CLASSES > self.limits.exchange_bytes:
                sentence = f"the names of its classes have {size} bytes; at most {self.limits.exchange_bytes}"
                raise RefusedError(Reason.EXCHANGE_TOO_LARGE, sentence)
            if len(self._numbers.classes) > 4 * self.limits.models and not self._numbers.knows_class_list(tuple(words)):
                raise RefusedError(Reason.TOO_MANY_MODELS, "this partition already knows too many lists of classes")
            number = self._class_lists[key] = self._numbers.class_list(words)
        return number


def _text(raw: bytes) -> str:
    try:
        text = raw.decode()
    except UnicodeDecodeError:
        raise RefusedError(Reason.BAD_HEADERS, f"a header that names the model is not UTF-8: {raw[:40]!r}") from None
    if len(text) > 253:
        raise RefusedError(Reason.BAD_HEADERS, "a header that names the model has more than 253 characters")
    return text
