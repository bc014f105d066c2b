"""What the port answers: JSON, and every error as `{"error": "…"}` with a sentence that says what to do."""

from typing import Any, Final

import orjson
from aiohttp import web

from app.core.events import Reason

#: Shorter ones are sent as they are.
_LONG: Final = 4096
#: Longer ones are packed in a thread: the loop is not held.
_PACKED_HERE: Final = 1 << 14


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


def json_response(content: Any, status: int = 200) -> web.Response:
    """A JSON answer."""
    return json_bytes(orjson.dumps(content), status)


def json_bytes(body: bytes, status: int = 200) -> web.Response:
    """A JSON answer that is written already."""
    return web.Response(body=body, status=status, content_type="application/json", zlib_executor_size=_PACKED_HERE)


def pack(request: web.Request, reply: web.StreamResponse) -> None:
    """Have a long JSON answer packed for who takes gzip: the page asks for some every few seconds."""
    if (
        isinstance(reply, web.Response)
        and reply.content_type == "application/json"
        and isinstance(reply.body, bytes)
        and len(reply.body) > _LONG
        and "gzip" in request.headers.get("Accept-Encoding", "")
    ):
        reply.enable_compression(web.ContentCoding.gzip)


def error_response(status: int, sentence: str, reason: Reason | None = None) -> web.Response:
    """An error, as all of them look; `reason` is that of an event that was refused."""
    readable = sentence.encode(errors="replace").decode()  # a path may hold what is no UTF-8
    return json_response({"error": readable} | ({"reason": reason} if reason else {}), status)
