"""Tensors: flat values become the rows of their shape, and raw bytes become values.

Datatypes have the names of the Open Inference Protocol
(https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md#tensor-data-types).
Raw bytes are little-endian and as wide as the datatype; each element of BYTES has its length before it, in 4 bytes.
"""

from base64 import b64encode
from math import isfinite
from struct import iter_unpack, unpack
from typing import Any, Final

from app.core.events import Reason, RefusedError

#: The datatypes whose raw bytes `struct` reads: (its letter, the width in bytes). BF16 and BYTES are read apart.
_PACKED: Final = {
    "BOOL": ("?", 1),
    "UINT8": ("B", 1),
    "UINT16": ("H", 2),
    "UINT32": ("I", 4),
    "UINT64": ("Q", 8),
    "INT8": ("b", 1),
    "INT16": ("h", 2),
    "INT32": ("i", 4),
    "INT64": ("q", 8),
    "FP16": ("e", 2),
    "FP32": ("f", 4),
    "FP64": ("d", 8),
}
DATATYPES: Final = frozenset({*_PACKED, "BF16", "BYTES"})
#: NumPy's limit too. Lists that are nested much deeper cannot be written as JSON.
_MOST_DIMENSIONS: Final = 32


def unpacked(raw: bytes, datatype: str, what: str) -> list[Any]:
    """The values in the raw bytes of a tensor. `what` names the part in a refusal."""
    if datatype == "BYTES":
        return [text_of(element) for element in _elements(raw, what)]
    if datatype == "BF16":  # the upper half of a float of 32 bits
        _check_width(raw, 2, datatype, what)
        return list(unpack(f"<{len(raw) // 2}f", b"".join(b"\0\0" + half for (half,) in iter_unpack("2s", raw))))
    if datatype not in _PACKED:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s raw tensor has the datatype {datatype[:40]!r}")
    letter, width = _PACKED[datatype]
    _check_width(raw, width, datatype, what)
    return list(unpack(f"<{len(raw) // width}{letter}", raw))


def _check_width(raw: bytes, width: int, datatype: str, what: str) -> None:
    if len(raw) % width:
        raise RefusedError(Reason.RAGGED, f"the {what}'s raw tensor of {datatype} has {len(raw)} bytes")


def _elements(raw: bytes, what: str) -> list[bytes]:
    elements = []
    place = 0
    while place < len(raw):
        begin = place + 4
        place = begin + int.from_bytes(raw[place:begin], "little")
        if begin > len(raw) or place > len(raw):
            raise RefusedError(Reason.RAGGED, f"the {what}'s raw tensor of BYTES ends within an element")
        elements.append(raw[begin:place])
    return elements


def text_of(raw: bytes) -> str:
    """Bytes as a text: what they say in UTF-8, else their base64."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return b64encode(raw).decode()


def flat(values: list[Any]) -> list[Any]:
    """All values of nested lists, in their order."""
    if list not in map(type, values):
        return values
    found: list[Any] = []
    open_lists = [iter(values)]
    while open_lists:
        for value in open_lists[-1]:
            if type(value) is list:
                open_lists.append(iter(value))
                break
            found.append(value)
        else:
            open_lists.pop()
    return found


def shape_of(value: Any, what: str) -> list[int]:
    """A shape as numbers. JSON made from protobuf writes those of 64 bits as texts."""
    if type(value) is list and len(value) <= _MOST_DIMENSIONS:
        for size in value:
            if type(size) is not int or size < 0:
                break
        else:
            return value
        shape = []
        for size in value:
            number = int(size) if type(size) is str and size.isdecimal() and len(size) < 19 else size
            if type(number) is not int or number < 0:
                break
            shape.append(number)
        else:
            return shape
    raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tensor needs a shape of up to {_MOST_DIMENSIONS} sizes")


def size_of(shape: list[int]) -> int:
    """How many values a tensor of that shape has."""
    size = 1
    for length in shape:
        size *= length
    return size


def shaped(values: list[Any], shape: list[int], what: str) -> list[Any]:
    """The rows of a tensor, one for each index of its first dimension; a tensor without dimensions is one row."""
    size = size_of(shape)
    if size != len(values):
        raise RefusedError(Reason.RAGGED, f"the {what}'s tensor of shape {shape} has {len(values)} values")
    if not size:
        return []
    for length in reversed(shape[1:]):
        values = [values[start : start + length] for start in range(0, len(values), length)]
    return values


def finite(values: list[Any], what: str) -> list[Any]:
    """Values without NaN and the infinities, which raw bytes can hold and JSON cannot.

    In a request null takes their place, as in V2's JSON: it is a missing feature. In an answer or a label they are
    refused.
    """
    if all(isfinite(value) for value in values if type(value) is float):
        return values
    if what != "request":
        raise RefusedError(Reason.NOT_FINITE, f"the {what}'s tensor holds NaN or an infinity")
    return [None if type(value) is float and not isfinite(value) else value for value in values]


#: What holds the rows of a body of V2 or TensorFlow, in the order in which a request and an answer are searched.
_IN: Final = ("inputs", "instances", "outputs", "predictions")
_OUT: Final = ("outputs", "predictions", "inputs", "instances")


def rows_member(body: dict[str, Any], what: str) -> tuple[str, Any]:
    """The member of a body of V2 or TensorFlow that holds its rows, and its value.

    KServe logs answers with `instances`, too, and a V2 request may list no outputs: so it is the first that is not
    empty. Where all are it is the first that is there.
    """
    for member in _IN if what == "request" else _OUT:
        value = body.get(member)
        if value:
            return member, value
    return next(((member, body[member]) for member in _OUT if body.get(member) is not None), ("", None))


def are_tensors(values: list[Any]) -> bool:
    """Whether a list is one of V2's tensors."""
    for value in values:
        if type(value) is not dict or ("datatype" not in value and "shape" not in value):
            return False
    return bool(values)
