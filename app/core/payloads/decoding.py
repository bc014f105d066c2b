"""Decoding: the bytes of a body become the JSON that they mean, whatever they are written in.

JSON comes first; what is none is looked at further: what stands around it (`unwrapping`), words that are no numbers of
JSON (`loosejson`), binary tensors behind it (`v2_binary`), protobuf. Content types are not to be relied on.
"""

from typing import Any

import orjson

from app.core.events import Kind, Reason, RefusedError, shown
from app.core.payloads.loosejson import loads, plain, strict_dumps
from app.core.payloads.protobuf import decode
from app.core.payloads.unwrapping import MOST_INFLATED, unwrapped
from app.core.payloads.v2_binary import may_be_binary, read_binary


def parse(value: bytes, rewritten: dict[bytes, bytes] | None = None) -> Any:
    """The JSON of a body that can be nothing else. Refuses NaN and Infinity. `rewritten` is that of `body_of`."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        if b"NaN" in value or b"Infinity" in value:
            raise RefusedError(Reason.NOT_FINITE, "NaN or Infinity is no JSON number") from None
    body = loads(value)
    if rewritten is not None:
        rewritten[value] = plain(value)
    return body


def body_of(value: bytes, kind: Kind, largest: int = MOST_INFLATED, rewritten: dict[bytes, bytes] | None = None) -> Any:
    """The body that a value means, decoded. `largest` bounds what gzip may become.

    Words that are no JSON numbers, and numbers beyond a float, become floats that are not finite. Of a value that is
    not JSON as every reader takes it, `rewritten` is given such JSON: null for words, texts for these numbers.
    """
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        pass
    value_as_it_came, value = value, unwrapped(value, largest)
    try:
        body, json = loads(value), None
    except RefusedError as not_json:
        body = _no_json(value, kind, not_json)
        json = strict_dumps(body)
    if rewritten is not None:
        rewritten[value_as_it_came] = plain(value) if json is None else json
    return body


def _no_json(value: bytes, kind: Kind, not_json: RefusedError) -> Any:
    if may_be_binary(value):
        return read_binary(value, kind.value)
    try:
        return decode(value, kind)
    except RefusedError as refused:
        if refused.reason != Reason.BAD_PAYLOAD:
            raise
    try:
        value.decode()
    except UnicodeDecodeError:
        begin = shown(value[:12])
        detail = f"the value, which begins with {begin}, is neither JSON nor a protobuf message of a {kind.value}"
        raise RefusedError(Reason.BAD_JSON, detail) from None
    raise not_json  # it is no protobuf either: why it is not JSON says more
