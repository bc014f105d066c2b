"""The way in over HTTP: events in any dialect, and feedback. Each is answered once Kafka has acknowledged it."""

import asyncio
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime

import msgspec
from aiohttp import web

from app.core.dialects.plain import Event, canonical_feedback
from app.core.dialects.understand import Arrival, understand
from app.core.events import TYPE_OF, Kind, Reason, RefusedError, shown
from app.core.payloads.bodies import read_feedback
from app.core.payloads.decoding import parse
from app.settings import Settings
from app.worker.http.publisher import BusyError, Publisher, TooLargeError, UnavailableError

#: How long a body may take to arrive.
_BODY_SECONDS = 15
#: Of one batch: they take their memory at once, before the rest can be told to wait.
_MOST_EVENTS = 1000
_BATCH = "application/cloudevents-batch+json"
#: What may hold JSON: some of it is what programs send that name no type.
_READABLE = frozenset(
    {"application/json", "application/octet-stream", "application/x-www-form-urlencoded", "text/json", "text/plain"}
)
_PROTOBUF = frozenset({"application/protobuf", "application/x-protobuf"})
_PUID = "seldon-puid"
_SKIP = "seldon-skip-logging"
#: Of a feedback call, besides the puid: what its sender may say of it as one says it of an event.
_PASSED_ON = frozenset({"ce-endpoint", "ce-modelid", "ce-modelversion", "ce-time", _SKIP})
#: Envoy names each call by this header, so here it names the call that brings the event, and never the prediction.
_OF_THE_CALL = "x-request-id"

#: Events, each with what its topic is chosen by.
Events = list[tuple[Kind, Event]]
#: What a body means: the request, its body, and when it came (seconds since the epoch).
Reader = Callable[[web.Request, bytes, float], Events]


class AnswerError(Exception):
    """A request is answered with an error: its status, and a sentence that says what to do."""

    def __init__(
        self,
        status: int,
        sentence: str,
        *,
        reason: Reason | None = None,
        retry_after: int | None = None,
        hang_up: bool = False,
    ) -> None:
        super().__init__(sentence)
        self.status = status
        self.sentence = sentence
        self.reason = reason  # by which it is counted, where an event is refused for good
        self.retry_after = retry_after
        self.hang_up = hang_up  # where this body ends, and another request begins, is not known


class Receiver:
    """The handlers of the routes that take events. Whatever they cannot take they raise as AnswerError."""

    def __init__(self, settings: Settings, publisher: Publisher) -> None:
        self._settings = settings
        self._publisher = publisher

    async def events(self, request: web.Request) -> web.Response:
        """`POST /` and `POST /events`: an event in any dialect, or a batch of CloudEvents, all of it or nothing."""
        _check_type(request)
        return await self._take(request, _read_events)

    async def feedback(self, request: web.Request) -> web.Response:
        """`POST /feedback`: the plain form, or Seldon's body with the header Seldon-Puid."""
        return await self._take(request, self._read_feedback)

    async def seldon_feedback(self, request: web.Request) -> web.Response:
        """`POST /seldon/{namespace}/{service}/api/v1.0/feedback`: the call that Seldon's executor takes."""
        return await self._take(request, self._read_seldon_feedback)

    # -- one request --------------------------------------------------------------------------------------------------

    async def _take(self, request: web.Request, read: Reader) -> web.Response:
        """Read a body, make events of it, and answer when Kafka has them."""
        most = self._settings.max_body
        length = request.content_length
        if length is not None and length > most:
            raise self._too_large()
        size = most if length is None or "Content-Encoding" in request.headers else length
        try:
            with self._publisher.room(size):
                body = await self._body(request)
                now = self._settings.now or time.time()
                events = read(request, body, now)
                if events:
                    with self._publisher.room(0, len(events) - 1):
                        records = [(self._topic(kind), event) for kind, event in events]
                        await self._publisher.publish(records, int(now * 1000))
        except BusyError:
            raise AnswerError(503, "Too much waits for Kafka; send it again in a second.", retry_after=1) from None
        except UnavailableError as error:
            sentence = f"Kafka has not taken it ({error}); send it again in a few seconds."
            raise AnswerError(503, sentence, retry_after=5) from None
        except TooLargeError as error:
            sentence = str(error)
            raise AnswerError(413, f"{sentence[0].upper()}{sentence[1:]}.", reason=Reason.TOO_LARGE) from None
        except RefusedError as refused:
            raise AnswerError(400, refused.detail, reason=refused.reason) from None
        return web.Response(status=202)

    async def _body(self, request: web.Request) -> bytes:
        try:
            async with asyncio.timeout(_BODY_SECONDS):
                body = await request.read()
        except TimeoutError:
            sentence = f"The body did not arrive within {_BODY_SECONDS} s."
            raise AnswerError(408, sentence, hang_up=True) from None
        except web.HTTPRequestEntityTooLarge:
            raise self._too_large() from None
        except web.RequestPayloadError as error:
            encoding = request.headers.get("Content-Encoding", "")
            raise AnswerError(400, f"The body is not packed as it says ({encoding}).", hang_up=True) from error
        if len(body) > self._settings.max_body:
            raise self._too_large()
        return body

    def _too_large(self) -> AnswerError:
        sentence = f"The body is larger than {self._settings.max_body} bytes."
        return AnswerError(413, sentence, reason=Reason.TOO_LARGE)

    def _topic(self, kind: Kind) -> str:
        settings = self._settings
        if kind is Kind.REQUEST:
            return settings.request_topic
        return settings.feedback_topic if kind is Kind.FEEDBACK else settings.response_topic

    # -- feedback -----------------------------------------------------------------------------------------------------

    def _read_feedback(self, request: web.Request, body: bytes, now: float) -> Events:
        puid = _puid(request)
        if request.content_type in _PROTOBUF:
            return self._read_seldon_feedback(request, body, now)
        content = parse(body)
        if puid and type(content) is dict and "label" in content:
            content = {"puid": puid, **content}
        if puid and (type(content) is not dict or "puid" not in content):
            return self._read_seldon_feedback(request, body, now)
        event = canonical_feedback(content, datetime.fromtimestamp(now, UTC), self._settings.max_label_length)
        asked = [header for header in _headers(request) if header[0] == _SKIP]
        return _events(Arrival(None, [*event.headers, *asked], None, event.value, int(now * 1000)))

    def _read_seldon_feedback(self, request: web.Request, body: bytes, now: float) -> Events:
        """The event that Seldon's executor makes of the same call."""
        puid = _puid(request)
        if not puid:
            sentence = "Send the puid of the prediction in the header Seldon-Puid: the prediction was returned with it."
            raise RefusedError(Reason.NO_PUID, sentence)
        read_feedback(body, self._settings.max_label_length)  # refused here, where its sender hears of it
        names = request.match_info
        headers = {
            "ce-specversion": "1.0",
            "ce-id": str(uuid.uuid4()),
            "ce-source": "tally",
            "ce-type": TYPE_OF[Kind.FEEDBACK],
            "ce-time": datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z"),
            "ce-requestid": puid,
            "ce-namespace": names.get("namespace", ""),
            "ce-inferenceservicename": names.get("service", ""),
            "content-type": request.content_type if request.content_type in _PROTOBUF else "application/json",
        }
        given = [(name, value) for name, value in _headers(request) if name in _PASSED_ON]
        told = {name for name, _ in given}
        made = [(name, value.encode()) for name, value in headers.items() if value and name not in told]
        return _events(Arrival(None, made + given, None, body, int(now * 1000)))


def _read_events(request: web.Request, body: bytes, now: float) -> Events:
    headers = [(name, value) for name, value in _headers(request) if name != _OF_THE_CALL]
    if request.content_type != _BATCH:
        return _events(Arrival(None, headers, None, body, int(now * 1000)))
    try:
        batch = msgspec.json.decode(body, type=list[msgspec.Raw])
    except msgspec.DecodeError as error:
        raise RefusedError(Reason.BAD_JSON, f"the batch is not a JSON list: {error}") from None
    if len(batch) > _MOST_EVENTS:
        sentence = f"The batch has {len(batch)} events; send at most {_MOST_EVENTS} at once."
        raise AnswerError(413, sentence, reason=Reason.TOO_LARGE)
    events: Events = []
    single = [(name, value) for name, value in headers if name != "content-type"]
    single.append(("content-type", b"application/cloudevents+json"))
    for number, envelope in enumerate(batch):
        try:
            events += _events(Arrival(None, single, None, bytes(envelope), int(now * 1000)))
        except RefusedError as refused:
            raise RefusedError(refused.reason, f"event {number} of the batch: {refused.detail}") from None
    return events


def _events(arrival: Arrival) -> Events:
    return [(one.kind, one.event) for one in understand(arrival)]


def _headers(request: web.Request) -> list[tuple[str, bytes]]:
    return [(name.decode("latin-1").lower(), value) for name, value in request.raw_headers]


def _puid(request: web.Request) -> str:
    """What the header Seldon-Puid says, empty where there is none."""
    puid = dict(_headers(request)).get(_PUID, b"")
    try:
        return puid.decode()
    except UnicodeDecodeError:
        raise RefusedError(Reason.NO_PUID, f"the header Seldon-Puid is {shown(puid)}, which is not UTF-8.") from None


def _check_type(request: web.Request) -> None:
    """Refuse a body that can hold no event: one whose headers say nothing of an event, and that is not JSON."""
    kind = request.content_type
    if kind in _READABLE or kind.endswith("+json") or any(name.startswith("ce-") for name, _ in _headers(request)):
        return
    raise AnswerError(415, f"{kind} holds no event: send a CloudEvent, or JSON.", reason=Reason.UNKNOWN_TYPE)
