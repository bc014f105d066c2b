"""The web server below the routes: connections, how many and how long they may take, and what is no HTTP.

aiohttp parses HTTP and runs the handlers. By itself it waits an hour for the rest of a header, answers what it cannot
parse in its own words with a traceback in the log, and takes connections without end.
"""

import asyncio
import logging
import resource
from itertools import islice
from typing import Any, Final

import orjson
from aiohttp import web
from aiohttp.http import RawRequestMessage
from aiohttp.http_exceptions import LineTooLong
from aiohttp.streams import EMPTY_PAYLOAD, StreamReader

from app.worker.http.answers import error_response
from app.worker.http.guard import of_exception, shortened
from app.worker.http.requests import OTHER, Requests

log = logging.getLogger(__name__)

#: How long the header of a request may take to arrive, the first one of a connection from its beginning.
HEADER_SECONDS: Final = 15.0
#: How long an answer may wait for its reader to take any of it.
READER_SECONDS: Final = 60.0
#: Connections at once; fewer where the system allows this process fewer files, of which Kafka needs some too.
MOST_CONNECTIONS: Final = 5000
_OTHER_FILES: Final = 200


def most_connections() -> int:
    """How many connections this process may have."""
    files, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return max(16, min(MOST_CONNECTIONS, files - _OTHER_FILES)) if files > 0 else MOST_CONNECTIONS


class Connection(web.RequestHandler):
    """One connection."""

    __slots__ = ("_admitted", "_arriving", "_last_body", "_port", "_said_something", "_stuck")

    def __init__(self, port: "Port", **options: Any) -> None:
        super().__init__(port, **options)
        self._port = port
        self._admitted = False
        self._said_something = False
        self._last_body: StreamReader | None = None
        self._arriving: asyncio.TimerHandle | None = None  # while the header of a request is awaited
        self._stuck: asyncio.TimerHandle | None = None  # while an answer is not taken

    def connection_made(self, transport: Any) -> None:
        """Take it, or refuse it where there are too many."""
        port = self._port
        if port.open >= port.most and not port.make_room():
            sentence = f"There are {port.most} connections at work already; come again in a few seconds."
            port.requests.note(OTHER, 503, 0.0)
            transport.write(_plain_answer("503 Service Unavailable", sentence))
            transport.close()
            self.close()
            return
        self._admitted = True
        port.open += 1
        port.idle[self] = None
        super().connection_made(transport)
        self._arriving = self._loop.call_later(HEADER_SECONDS, self._is_late)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Forget it."""
        for timer in (self._arriving, self._stuck):
            if timer is not None:
                timer.cancel()
        if self._admitted:
            self._port.open -= 1
            self._port.idle.pop(self, None)
        super().connection_lost(exc)

    @property
    def is_idle(self) -> bool:
        """Whether it waits for a request."""
        return self._waiter is not None and not self._waiter.done()

    def data_received(self, data: bytes) -> None:
        """Parse what has come."""
        before = self._request_count
        in_body = self._last_body is not None and not self._last_body.is_eof()
        super().data_received(data)
        if self._request_count == before:
            if data and not in_body:  # a part of a header
                self._said_something = True
                if self.is_idle or not before:
                    self._await_header()
            return
        self._port.idle.pop(self, None)
        if self._arriving is not None:
            self._arriving.cancel()
            self._arriving = None
        self._said_something = False
        if not self._messages:
            return
        message, body = self._messages[-1]
        if isinstance(message, RawRequestMessage):
            self._last_body = body
            # Behind a request without a body a part of the next one: its time begins with the answer to this one.
            self._said_something = body is EMPTY_PAYLOAD and data != b"" and not data.endswith(b"\r\n\r\n")
        elif self._last_body is not None and not self._last_body.is_eof():
            self._last_body.set_exception(web.RequestPayloadError())  # its reader would wait for the rest

    def _await_header(self) -> None:
        if self._arriving is None:
            self._arriving = self._loop.call_later(HEADER_SECONDS, self._is_late)

    def _is_late(self) -> None:
        """The header of a request has not come in time."""
        self._arriving = None
        if self.transport is None or not self.is_idle:
            return
        if self._said_something:  # else it may be a browser's connection in advance, which has not asked for anything
            sentence = f"The header of the request did not arrive within {HEADER_SECONDS:g} s."
            self.transport.write(_plain_answer("408 Request Timeout", sentence))
            self._port.requests.note(OTHER, 408, HEADER_SECONDS)
        self.force_close()

    def pause_writing(self) -> None:
        """So much of an answer waits for its reader that no more is made."""
        super().pause_writing()
        self._stuck = self._loop.call_later(READER_SECONDS, self._give_up)

    def resume_writing(self) -> None:
        """The reader has taken it."""
        super().resume_writing()
        if self._stuck is not None:
            self._stuck.cancel()
            self._stuck = None

    def _give_up(self) -> None:
        if self.transport is not None:
            self.transport.abort()

    async def finish_response(self, request: Any, resp: Any, start_time: Any) -> Any:
        """Write an answer; then it is idle again, where nothing else has come meanwhile."""
        written = await super().finish_response(request, resp, start_time)
        if self._admitted and self.transport is not None and not self._messages:
            self._port.idle[self] = None
            if self._said_something:
                self._await_header()
        return written

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """The answer to what is no HTTP, and to a failure outside of all handlers."""
        if request.writer.output_size:
            raise ConnectionResetError("an answer has begun already")
        if status == web.HTTPBadRequest.status_code:
            what = (message or "").strip().partition("\n")[0].rstrip(":.")
            if isinstance(exc, LineTooLong):  # which quotes it
                what = f"a line of its head is longer than {self.max_field_size} bytes"
            sentence = f"This is not HTTP as it must be: {shortened(what)}."
        else:
            log.error("a request failed", exc_info=exc)
            sentence = "The worker failed at this request; its log says why."
        self._port.requests.note(OTHER, status, 0.0)
        reply = error_response(status, sentence)
        reply.force_close()
        return reply


class Port(web.Server):
    """Makes a `Connection` of each connection that comes."""

    def __init__(self, server: web.Server, requests: Requests, most: int, **options: Any) -> None:
        super().__init__(self._answer, request_factory=server.request_factory)
        self.requests = requests
        self.most = most
        self.open = 0
        #: The connections that wait for a request, the longest first.
        self.idle: dict[Connection, None] = {}
        self._routes = server.request_handler
        self._options = options

    def __call__(self) -> Connection:
        """A new connection."""
        return Connection(self, loop=asyncio.get_running_loop(), **self._options)

    def make_room(self) -> bool:
        """Hang up on the connection that has been idle the longest; whether there was one."""
        for connection in list(islice(self.idle, 16)):
            del self.idle[connection]
            if connection.is_idle:
                connection.force_close()
                return True
        return False

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            return await self._routes(request)
        except web.HTTPException as error:  # before the guard: an `Expect` that is not known
            reply = of_exception(request, error)
            self.requests.note(OTHER, reply.status, 0.0)
            return reply


class PortRunner(web.AppRunner):
    """Runs the routes of an app behind a `Port`."""

    def __init__(self, app: web.Application, requests: Requests, most: int | None = None) -> None:
        super().__init__(app, access_log=None)
        self._requests = requests
        self._most = most_connections() if most is None else most

    async def _make_server(self) -> web.Server:
        return Port(await super()._make_server(), self._requests, self._most, access_log=None, auto_decompress=False)


def _plain_answer(status: str, sentence: str) -> bytes:
    """An answer as bytes, for where nothing was asked."""
    body = orjson.dumps({"error": sentence})
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return head.encode() + b"Connection: close\r\n\r\n" + body
