"""What may stand around a body and is no part of it: gzip, a byte order mark, the frame of gRPC or a schema registry.

They are left where something between a server and Kafka took a body as it came and lost the header that says so.
"""

import codecs
import zlib
from typing import Final

from app.core.events import Reason, RefusedError

#: So large may a body be that was packed, where no other limit is given.
MOST_INFLATED: Final = 16 << 20
_GZIP: Final = b"\x1f\x8b"
#: Marks of UTF-32 first: that of UTF-16 is the beginning of one.
_MARKS: Final = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_FRAME: Final = 5
#: Of one body so many layers are taken off.
_MOST_LAYERS: Final = 4


def unwrapped(value: bytes, largest: int = MOST_INFLATED) -> bytes:
    """A body without what stands around it; `largest` bounds what gzip may become.

    A gRPC frame and a schema registry's both begin with a NUL byte, as neither JSON nor protobuf does, and have five
    bytes: gRPC's other four are the length of the message, a registry's the number of its schema
    (https://docs.confluent.io/platform/current/schema-registry/fundamentals/serdes-develop/, "Wire format"). A
    registry's around protobuf is longer, and is taken off where that is read. Raises RefusedError.
    """
    for _ in range(_MOST_LAYERS):
        inner = _without_layer(value, largest)
        if inner is value:
            break
        value = inner
    return value


def _without_layer(value: bytes, largest: int) -> bytes:
    for mark, encoding in _MARKS:
        if value.startswith(mark):
            try:
                return value[len(mark) :] if encoding == "utf-8" else value.decode(encoding).encode()
            except UnicodeError:
                detail = f"the value begins with the mark of {encoding} and is not in it"
                raise RefusedError(Reason.BAD_JSON, detail) from None
    if value.startswith(_GZIP):
        return _inflated(value, largest)
    if value[:1] == b"\0" and (
        int.from_bytes(value[1:_FRAME], "big") == len(value) - _FRAME
        or value[_FRAME : _FRAME + 1] in (b"{", b"[")
        or value[_FRAME:].startswith((_GZIP, codecs.BOM_UTF8))
    ):
        return value[_FRAME:]
    return value


def _inflated(value: bytes, largest: int) -> bytes:
    inflating = zlib.decompressobj(16 + zlib.MAX_WBITS)
    try:
        body = inflating.decompress(value, largest + 1)
    except zlib.error as error:
        raise RefusedError(Reason.BAD_JSON, f"the value begins like gzip and is none: {error}") from None
    if len(body) > largest:
        raise RefusedError(Reason.TOO_LARGE, f"the value is gzip of more than {largest} bytes")
    if not inflating.eof:
        raise RefusedError(Reason.BAD_JSON, "the value is gzip that ends too early")
    return body
