"""JSON with the words NaN, Infinity and -Infinity in the place of numbers, as Python's json writes it."""

import json
import re
from typing import Any, Final

import orjson

from app.core.events import Reason, RefusedError

#: A text, which may hold these words, or one of the words.
_WORD: Final = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|(-?Infinity|NaN)', re.DOTALL)


def loads(text: str | bytes) -> Any:
    """What a text holds; the words become floats that are not finite.

    All else is as strict as JSON is elsewhere here. Raises RefusedError.
    """
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raw = text.encode(errors="replace") if isinstance(text, str) else text
        if b"NaN" not in raw and b"Infinity" not in raw:
            raise RefusedError(Reason.BAD_JSON, f"the value is not JSON: {error}") from None
    try:
        orjson.loads(_WORD.sub(_without_word, raw))
        return json.loads(raw.decode(), parse_int=_whole)
    except (orjson.JSONDecodeError, RecursionError) as error:
        raise RefusedError(Reason.BAD_JSON, f"the value is not JSON: {error}") from None


def _without_word(found: re.Match[bytes]) -> bytes:
    return found[0] if found[1] is None else b"0"


def _whole(text: str) -> float:
    """Beyond 64 bits a number is the float that is nearest to it, as other readers have it."""
    number = int(text) if len(text) < 21 else 1 << 64
    return number if -(2**63) <= number < 2**64 else float(text)


def dumps(value: Any) -> bytes:
    """The JSON of a value, with these words for floats that are not finite."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
