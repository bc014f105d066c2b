"""JSON as its grammar allows it, with values that readers differ in, or cannot hold.

Such are numbers beyond what a float holds (1e400, 400 digits) and escapes of half a character (d800 alone). An event is
not worth less for having one where nobody looks: it is read, and what the value stands for is kept as text wherever
stricter readers come. With them go the words NaN, Infinity and -Infinity in the place of numbers, as Python's json
writes them: no JSON, but common.
"""

import json
import re
from math import isinf
from typing import Any, Final

import orjson

from app.core.events import Reason, RefusedError

#: A text, which may hold anything; or a word, or a number.
_TOKEN: Final = re.compile(rb'("[^"\\]*(?:\\.[^"\\]*)*")|(-?Infinity|NaN)|-?[0-9][0-9.eE+-]*', re.DOTALL)
_BRACKET: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|([\[\]{}])', re.DOTALL)
#: A backslash with what it escapes: both halves of a character, or one that lacks the other.
_ESCAPE: Final = re.compile(
    rb"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.", re.DOTALL
)
_UNKNOWN: Final = rb"\ufffd"  # the character for one that is not known
_INFINITE: Final = "infinity"  # as orjson names the fault of a number
_HALVES: Final = (rb"\ud", rb"\uD")
_SIGNS: Final = (b"NaN", b"Infinity", *_HALVES)
#: No finite number of fewer characters, and without an exponent, is beyond a float.
_SHORT: Final = 300
#: Python and msgspec read whole numbers of so many digits; a sign is one of them here.
_MOST_DIGITS: Final = 4300


def loads(text: str | bytes) -> Any:
    """What a text holds. Words and numbers like 1e400 become floats that are not finite; whole numbers beyond 64 bits
    the float nearest to them, where there is one.

    All else is as strict as JSON is elsewhere here. Raises RefusedError.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raw = text.encode(errors="replace") if isinstance(text, str) else text
        not_json = RefusedError(Reason.BAD_JSON, f"the value is not JSON: {error}")
        if _INFINITE not in str(error) and not any(sign in raw for sign in _SIGNS):
            raise not_json from None
    try:
        orjson.loads(plain(raw))  # all else is strict
        whole = mended(raw)
        try:
            return orjson.loads(whole)
        except orjson.JSONDecodeError:
            return json.loads(whole.decode(), parse_int=_whole)
    except (orjson.JSONDecodeError, RecursionError):
        raise not_json from None


def plain(raw: bytes) -> bytes:
    """JSON that every reader takes: null for words, texts for numbers beyond a float, whole characters for halves.

    What is no JSON otherwise is none afterwards.
    """
    return _TOKEN.sub(_as_plain, raw)


def _as_plain(found: re.Match[bytes]) -> bytes:
    token = found[0]
    if found[1] is not None:
        return _mend(token)
    if found[2] is not None:
        return b"null"
    if len(token) < _SHORT and b"e" not in token and b"E" not in token:
        return token
    try:
        return b'"%b"' % token if isinf(float(token)) else token
    except ValueError:  # no number
        return token


def mended(raw: bytes) -> bytes:
    """The same JSON with whole characters in the place of halves."""
    return _TOKEN.sub(lambda found: found[0] if found[1] is None else _mend(found[0]), raw)


def _mend(text: bytes) -> bytes:
    if not any(half in text for half in _HALVES):
        return text
    return _ESCAPE.sub(lambda found: found[0] if found[1] is None else _UNKNOWN, text)


def shallow(raw: bytes, most: int) -> bytes:
    """The same JSON in which what is nested deeper than so many levels is the text of it."""
    pieces: list[bytes] = []
    depth = begin = done = 0
    for found in _BRACKET.finditer(raw):
        bracket = found[1]
        if bracket in (b"[", b"{"):
            depth += 1
            if depth == most + 1:
                begin = found.start()
        elif bracket is not None:
            if depth == most + 1:
                pieces += raw[done:begin], orjson.dumps(raw[begin : found.end()].decode(errors="replace"))
                done = found.end()
            depth -= 1
    return b"".join([*pieces, raw[done:]])


def _whole(text: str) -> float:
    """Beyond 64 bits a number is the float that is nearest to it, as other readers have it."""
    if len(text) < 21 and -(2**63) <= (number := int(text)) < 2**64:
        return number
    nearest = float(text)
    # msgspec, which reads the common form, has whole numbers as they are.
    return int(text) if isinf(nearest) and len(text) <= _MOST_DIGITS else nearest


def dumps(value: Any) -> bytes:
    """The JSON of a value, with these words for floats that are not finite. Refuses what is nested too deep."""
    try:
        return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
    except RecursionError:
        raise RefusedError(Reason.BAD_PAYLOAD, "the value is too deeply nested") from None


def strict_dumps(value: Any) -> bytes:
    """The same with null for them."""
    try:
        return orjson.dumps(value)
    except orjson.JSONEncodeError:  # nested too deep for it
        return plain(dumps(value))
