"""V2 with binary tensors behind its JSON: Triton's binary tensor data extension, which KServe has too.

The JSON is a header whose tensors say in `parameters.binary_data_size` how many of the bytes behind it are theirs, one
tensor after the other.
https://github.com/triton-inference-server/server/blob/main/docs/protocol/extension_binary_data.md
"""

import json
from typing import Any, Final

from app.core.events import Reason, RefusedError
from app.core.payloads.loosejson import loads
from app.core.payloads.tensors import finite, unpacked

_OPEN: Final = b"{"
_SIZE: Final = "binary_data_size"
_decoder: Final = json.JSONDecoder()


def may_be_binary(value: bytes) -> bool:
    """Whether a value that is no JSON may be JSON with binary tensors behind it."""
    return value[:1] == _OPEN and _SIZE.encode() in value


def read_binary(value: bytes, what: str, header_length: int = 0) -> dict[str, Any]:
    """The V2 body that a value means, with the tensors' values in `data`.

    `header_length` is what Inference-Header-Content-Length says, 0 where nobody does: then it is where the JSON ends.
    Raises RefusedError.
    """
    end = header_length if 0 < header_length <= len(value) else _end_of_json(value)
    try:
        header = loads(value[:end])
    except RefusedError as error:
        detail = f"the first {end} bytes of the value, before its binary tensors: {error.detail}"
        raise RefusedError(Reason.BAD_JSON, detail) from None
    place = end
    for member in ("inputs", "outputs"):
        tensors = header.get(member) if type(header) is dict else None
        for tensor in tensors if type(tensors) is list else ():
            parameters = tensor.get("parameters") if type(tensor) is dict else None
            size = parameters.pop(_SIZE, None) if type(parameters) is dict else None
            if type(size) is not int or size < 0:
                continue
            raw = value[place : place + size]
            place += size
            if len(raw) < size:
                raise _misfit(value, end, what)
            datatype = tensor.get("datatype")
            tensor["data"] = finite(unpacked(raw, datatype if type(datatype) is str else "", what), what)
            if datatype == "BYTES" and type(parameters) is dict:
                parameters.setdefault("content_type", "str")  # without it, they might be base64
    if place != len(value):
        raise _misfit(value, end, what)
    body: dict[str, Any] = header
    return body


def _misfit(value: bytes, end: int, what: str) -> RefusedError:
    detail = (
        f"{len(value) - end} bytes of binary tensors follow the {what}'s JSON, and its binary_data_size sum to others"
    )
    return RefusedError(Reason.RAGGED, detail)


def _end_of_json(value: bytes) -> int:
    """Where the JSON object ends that a value begins with."""
    try:
        return int(_decoder.raw_decode(value.decode("latin-1"))[1])  # a byte is a character
    except (ValueError, RecursionError):
        return len(value)
