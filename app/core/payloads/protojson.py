"""What protobuf's own JSON of a message needs: either spelling of a field, numbers as texts, bytes in base64.

https://protobuf.dev/programming-guides/json/
"""

from base64 import b64decode
from binascii import Error as Base64Error
from functools import cache
from typing import Any, Final

from app.core.events import Reason, RefusedError
from app.core.payloads.tensors import text_of

_NOT_FINITE: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}


def either(message: dict[str, Any], field: str) -> Any:
    """A field by its name in the definition, or in lower camel case."""
    if field in message:
        return message[field]
    return message.get(camel(field))


@cache
def camel(field: str) -> str:
    """A field's name in lower camel case."""
    first, *others = field.split("_")
    return first + "".join(word.capitalize() for word in others)


def number_of(value: Any) -> Any:
    """A number, of which those of 64 bits are texts, and what is not finite words. Anything else stays as it is."""
    if type(value) is not str:
        return value
    if len(value) < 21 and value.removeprefix("-").isdecimal() and -(2**63) <= int(value) < 2**64:
        return int(value)
    return _NOT_FINITE.get(value, value)


def text_in_base64(value: Any) -> Any:
    """The text that base64 stands for; what is no base64 stays as it is."""
    try:
        return text_of(b64decode(value, validate=True)) if type(value) is str else value
    except (Base64Error, ValueError):
        return value


def raw_bytes(value: Any, what: str) -> bytes:
    """The raw bytes of a tensor. Refuses what is no base64."""
    try:
        if type(value) is str:
            return b64decode(value, validate=True)
    except (Base64Error, ValueError):
        pass
    raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s raw tensor is not base64")
