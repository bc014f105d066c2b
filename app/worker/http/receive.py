"""The way in over HTTP: events in any dialect, and feedback. Each is answered once Kafka has acknowledged it."""

import asyncio
import uuid
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import orjson
from aiohttp import web

from app.core.dialects.keeping import NO_SEGMENTS, SegmentHeaders
from app.core.dialects.plain import Event, canonical_feedback, check_rows
from app.core.dialects.understand import Arrival, understand
from app.core.events import TYPE_OF, Kind, Reason, RefusedError, shown
from app.core.payloads.bodies import read_feedback
from app.core.payloads.decoding import parse
from app.settings import Settings
from app.worker.http.answers import AnswerError
from app.worker.http.bodies import body_of, packing_of, unpacked
from app.worker.http.publisher import BusyError, Publisher, Room, TooLargeError, UnavailableError

#: Of one list: they take their memory at once, before the rest can be told to wait.
_MOST_EVENTS: Final = 1000
#: A larger body is read in a thread, one at a time: 1 MiB of labels takes a tenth of a second, in which the loop would
#: do nothing else. 16 KiB take a millisecond, which is what a request takes anyhow.
_LARGE: Final = 16 << 10
#: So deep orjson reads JSON (https://github.com/ijl/orjson, "Deserialize").
_DEEPEST: Final = 1024
#: What may hold JSON: some of it is what programs send that name no type.
_READABLE: Final = frozenset(
    {"application/json", "application/octet-stream", "application/x-www-form-urlencoded", "text/json", "text/plain"}
)
_PROTOBUF: Final = frozenset({"application/protobuf", "application/x-protobuf"})
_PUID: Final = "seldon-puid"
_SKIP: Final = "seldon-skip-logging"
#: Of a feedback call, besides the puid: what its sender may say of it as one says it of an event.
_PASSED_ON: Final = frozenset({"ce-endpoint", "ce-modelid", "ce-modelversion", "ce-time", _SKIP})
#: Envoy names each call by this header, so here it names the call that brings the event, and never the prediction.
_OF_THE_CALL: Final = "x-request-id"

#: Events, each with what its topic is chosen by.
Events = list[tuple[Kind, Event]]


class Call(NamedTuple):
    """What a request says besides its body. `names` are those of its path, `at` is when it came (s since the epoch)."""

    content_type: str
    headers: list[tuple[str, bytes]]
    names: Mapping[str, str]
    at: float

    @property
    def puid(self) -> str:
        """What the header Seldon-Puid says, empty where there is none."""
        puid = dict(self.headers).get(_PUID, b"")
        try:
            return puid.decode()
        except UnicodeDecodeError:
            sentence = f"the header Seldon-Puid is {shown(puid)}, which is not UTF-8."
            raise RefusedError(Reason.NO_PUID, sentence) from None


#: What a body means.
Reader = Callable[[Call, bytes], Events]


class Receiver:
    """The handlers of the routes that take events. Whatever they cannot take they raise as AnswerError.

    Events keep the headers that `segments` are read from; of a feedback nothing counts by its headers. `now` is what
    time it is, in seconds.
    """

    def __init__(
        self, settings: Settings, publisher: Publisher, segments: SegmentHeaders, now: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._now = now
        self._segments = segments
        self._publisher = publisher
        self._aside = ThreadPoolExecutor(1, thread_name_prefix="large-bodies")

    async def events(self, request: web.Request) -> web.Response:
        """`POST /` and `POST /events`: an event in any dialect, or a batch of CloudEvents, all of it or nothing."""
        return await self._take(request, self._read_events)

    async def feedback(self, request: web.Request) -> web.Response:
        """`POST /feedback`: the plain form, a list of them, or Seldon's body with the header Seldon-Puid."""
        return await self._take(request, self._read_feedback)

    async def seldon_feedback(self, request: web.Request) -> web.Response:
        """`POST /seldon/{namespace}/{service}/api/v1.0/feedback`: the call that Seldon's executor takes."""
        return await self._take(request, self._read_seldon_feedback)

    def close(self) -> None:
        """End the thread, after the body that it reads."""
        self._aside.shutdown(wait=False, cancel_futures=True)

    # -- one request --------------------------------------------------------------------------------------------------

    async def _take(self, request: web.Request, read: Reader) -> web.Response:
        """Read a body, make events of it, and answer when Kafka has them."""
        headers = [(name.decode("latin-1").lower(), value) for name, value in request.raw_headers]
        _check_type(request.content_type, headers)
        packing = packing_of(request)
        try:
            with self._publisher.room() as room:
                body = await body_of(request, self._settings.max_body, room)
                at = self._now()
                call = Call(request.content_type, headers, request.match_info, at)
                events = await self._understand(read, call, body, packing, room)
                if events:
                    room.take(0, len(events) - 1)
                    records = [(self._topic(kind), event) for kind, event in events]
                    await self._publisher.publish(records, int(at * 1000))
        except BusyError:
            raise AnswerError(503, "Too much waits for Kafka; send it again in a second.", retry_after=1) from None
        except UnavailableError as error:
            sentence = f"Kafka has not taken it ({error}); send it again in a few seconds."
            raise AnswerError(503, sentence, retry_after=5) from None
        except TooLargeError as error:
            sentence = str(error)
            raise AnswerError(413, f"{sentence[0].upper()}{sentence[1:]}.", reason=Reason.TOO_LARGE) from None
        except RefusedError as refused:
            status = 413 if refused.reason is Reason.TOO_LARGE else 400
            raise AnswerError(status, refused.detail, reason=refused.reason) from None
        return web.Response(status=202)

    async def _understand(self, read: Reader, call: Call, body: bytes, packing: str, room: Room) -> Events:
        if not packing and len(body) <= _LARGE:
            return read(call, body)
        most = self._settings.max_body
        if packing:
            room.take(most)  # that it may become

        def work() -> Events:
            return read(call, unpacked(body, packing, most))

        return await asyncio.get_running_loop().run_in_executor(self._aside, work)

    def _topic(self, kind: Kind) -> str:
        settings = self._settings
        if kind is Kind.REQUEST:
            return settings.request_topic
        return settings.feedback_topic if kind is Kind.FEEDBACK else settings.response_topic

    # -- what a body means: perhaps in a thread -----------------------------------------------------------------------

    def _read_events(self, call: Call, body: bytes) -> Events:
        headers = [header for header in call.headers if header[0] != _OF_THE_CALL]
        return _events(Arrival(None, headers, None, body, int(call.at * 1000)), self._segments)

    def _read_feedback(self, call: Call, body: bytes) -> Events:
        puid = call.puid
        if call.content_type in _PROTOBUF:
            return self._read_seldon_feedback(call, body)
        _check_empty(body)
        content = parse(body)
        if type(content) is list:
            return self._read_list(call, content)
        if puid and type(content) is dict and "label" in content:
            content = {"puid": puid, **content}
        if puid and (type(content) is not dict or "puid" not in content):
            return self._read_seldon_feedback(call, body)
        return self._read_plain_feedback(call, content)

    def _read_list(self, call: Call, contents: list[Any]) -> Events:
        if call.puid:
            sentence = "the body is a list: let each feedback name its puid, without the header Seldon-Puid."
            raise RefusedError(Reason.NOT_AN_OBJECT, sentence)
        if len(contents) > _MOST_EVENTS:
            sentence = f"The list has {len(contents)} feedbacks; send at most {_MOST_EVENTS} at once."
            raise AnswerError(413, sentence, reason=Reason.TOO_LARGE)
        events: Events = []
        for number, content in enumerate(contents):
            try:
                events += self._read_plain_feedback(call, content)
            except RefusedError as refused:
                raise RefusedError(refused.reason, f"feedback {number} of the list: {refused.detail}") from None
        return events

    def _read_plain_feedback(self, call: Call, content: Any) -> Events:
        event = canonical_feedback(content, datetime.fromtimestamp(call.at, UTC), self._settings.max_label_length)
        asked = [header for header in call.headers if header[0] == _SKIP]
        return _events(Arrival(None, [*event.headers, *asked], None, event.value, int(call.at * 1000)))

    def _read_seldon_feedback(self, call: Call, body: bytes) -> Events:
        """The event that Seldon's executor makes of the same call."""
        puid = call.puid
        if not puid:
            sentence = "Send the puid of the prediction in the header Seldon-Puid: the prediction was returned with it."
            raise RefusedError(Reason.NO_PUID, sentence)
        _check_empty(body)
        said = read_feedback(body, self._settings.max_label_length)  # refused here, where its sender hears of it
        check_rows(len(said.labels or ()))
        headers = {
            "ce-specversion": "1.0",
            "ce-id": str(uuid.uuid4()),
            "ce-source": "tally",
            "ce-type": TYPE_OF[Kind.FEEDBACK],
            "ce-time": datetime.fromtimestamp(call.at, UTC).isoformat().replace("+00:00", "Z"),
            "ce-requestid": puid,
            "ce-namespace": call.names.get("namespace", ""),
            "ce-inferenceservicename": call.names.get("service", ""),
            "content-type": call.content_type if call.content_type in _PROTOBUF else "application/json",
        }
        given = [(name, value) for name, value in call.headers if name in _PASSED_ON]
        told = {name for name, _ in given}
        made = [(name, value.encode()) for name, value in headers.items() if value and name not in told]
        return _events(Arrival(None, made + given, None, body, int(call.at * 1000)))


def _events(arrival: Arrival, segments: SegmentHeaders = NO_SEGMENTS) -> Events:
    events = [(one.kind, one.event) for one in understand(arrival, segments)]
    for _, event in events:
        _check_depth(event.value)
    return events


def _check_depth(value: bytes) -> None:
    """Refuse a payload that no reader behind Kafka could decode either, however it came."""
    if len(value) > _DEEPEST and value.count(b"[") + value.count(b"{") > _DEEPEST:
        try:
            orjson.loads(value)
        except orjson.JSONDecodeError as error:
            if "depth" in str(error):
                sentence = f"the payload is nested more than {_DEEPEST} deep: send a flatter one."
                raise RefusedError(Reason.BAD_JSON, sentence) from None


def _check_empty(body: bytes) -> None:
    if not body.strip():
        raise RefusedError(Reason.EMPTY, 'The body is empty: send a JSON object like {"puid": "…", "label": 1}.')


def _check_type(kind: str, headers: list[tuple[str, bytes]]) -> None:
    """Refuse a body that can hold no event: one whose headers say nothing of an event, and that is not JSON."""
    if kind in _READABLE or kind in _PROTOBUF or kind.endswith("+json"):
        return
    if not any(name.startswith("ce-") for name, _ in headers):
        raise AnswerError(415, f"{kind[:60]} holds no event: send a CloudEvent, or JSON.", reason=Reason.UNKNOWN_TYPE)
