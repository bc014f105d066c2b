"""The body of a request: how large it may be, how long it may take to come, and what it may be packed with."""

import asyncio
import zlib
from typing import Final

from aiohttp import web

from app.core.events import Reason
from app.worker.http.answers import AnswerError
from app.worker.http.publisher import Room

#: How long a body may take to arrive.
BODY_SECONDS: Final = 15
#: How a body may be packed: what zlib is told of each (https://www.zlib.net/manual.html, inflateInit2).
PACKINGS: Final = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
#: Of gzip several may stand one behind another (RFC 1952, 2.2), as log shippers write them.
_MOST_MEMBERS: Final = 100


def packing_of(request: web.Request) -> str:
    """What the body is packed with, empty where with nothing. Raises AnswerError."""
    encoding = request.headers.get("Content-Encoding")
    if encoding is None:
        return ""
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return ""
    if encoding not in PACKINGS:
        raise AnswerError(400, f"Content-Encoding {encoding[:60]} is not known here: send gzip, deflate, or none.")
    return encoding


async def body_of(request: web.Request, most: int, room: Room) -> bytes:
    """The body as it was sent, of at most so many bytes. It holds room as it comes. Raises AnswerError, BusyError."""
    length = request.content_length
    if length is not None:
        if length > most:
            raise too_large(most)
        room.check(length)
    pieces: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for piece in request.content.iter_any():
                size += len(piece)
                if size > most:
                    raise too_large(most)
                room.take(len(piece))
                pieces.append(piece)
    except TimeoutError:
        raise AnswerError(408, f"The body did not arrive within {BODY_SECONDS} s.", hang_up=True) from None
    except web.RequestPayloadError:
        raise AnswerError(400, "The body does not come as its headers say.", hang_up=True) from None
    return b"".join(pieces)


def unpacked(body: bytes, packing: str, most: int) -> bytes:
    """What a body holds. Raises AnswerError where it is cut short, has something behind it, or is more than `most`."""
    if not packing:
        return body
    pieces: list[bytes] = []
    left = most
    for _ in range(_MOST_MEMBERS):
        bare = packing == "deflate" and body[:1] != b"" and body[0] & 0x0F != zlib.DEFLATED  # without zlib's header
        inflating = zlib.decompressobj(-zlib.MAX_WBITS if bare else PACKINGS[packing])
        try:
            pieces.append(inflating.decompress(body, left + 1))
        except zlib.error:
            if pieces:
                break
            raise AnswerError(400, f"The body is not {packing} though Content-Encoding says so.") from None
        left -= len(pieces[-1])
        if left < 0:
            raise too_large(most)
        if not inflating.eof:
            raise AnswerError(400, f"The body is {packing} that ends too early.")
        body = inflating.unused_data
        if not body:
            return b"".join(pieces)
        if packing == "deflate":
            break
    raise AnswerError(400, f"Behind the {packing} of the body stands something else.")


def too_large(most: int) -> AnswerError:
    """The answer to a body that is larger than the limit."""
    return AnswerError(413, f"The body is larger than {most} bytes (TALLY_MAX_BODY).", reason=Reason.TOO_LARGE)
