"""What the port answers: JSON, and every error as `{"error": "…"}` with a sentence that says what to do."""

from typing import Any

import orjson
from aiohttp import web

from app.core.events import Reason


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
    return web.Response(body=orjson.dumps(content), status=status, content_type="application/json")


def error_response(status: int, sentence: str, reason: Reason | None = None) -> web.Response:
    """An error, as all of them look; `reason` is that of an event that was refused."""
    readable = sentence.encode(errors="replace").decode()  # a path may hold what is no UTF-8
    return json_response({"error": readable} | ({"reason": reason} if reason else {}), status)
