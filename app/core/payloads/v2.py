"""The Open Inference Protocol (V2) of KServe, Triton and MLServer: {"inputs": [tensor, …]} → {"outputs": [tensor, …]}.

With MLServer's content types, and protobuf's own JSON of it (contents, raw contents).

https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
https://docs.seldon.ai/mlserver/user-guide/content-type
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Collection
from typing import Any, Final

from app.core.events import Reason, RefusedError
from app.core.payloads.blanking import Redaction
from app.core.payloads.loosejson import loads
from app.core.payloads.protojson import camel, either, number_of, raw_bytes, text_in_base64
from app.core.payloads.ranking import are_classifications, is_one_row
from app.core.payloads.table import Column, Form, Table, merged
from app.core.payloads.tensors import are_tensors, finite, flat, rows_member, shape_of, shaped, size_of, unpacked

_RAW: Final = {"inputs": "raw_input_contents", "outputs": "raw_output_contents"}


def _claims(body: Any, what: str) -> bool:
    if type(body) is not dict:
        return False
    value = rows_member(body, what)[1]
    return type(value) is list and are_tensors(value)


def _table(body: Any, what: str) -> Table:
    member, tensors = rows_member(body, what)
    raw = either(body, _RAW[member])
    whole = _content_type(body)
    columns = [
        _column(tensor, raw[index] if type(raw) is list and index < len(raw) else None, whole, member, what)
        for index, tensor in enumerate(tensors)
    ]
    return merged(columns, what, frame=whole == "pd")


def _column(tensor: dict[str, Any], raw: Any, whole: str, member: str, what: str) -> Column:
    given = tensor.get("name")
    name = given if type(given) is str else ""
    datatype = tensor.get("datatype")
    texts = datatype == "BYTES"
    data = tensor.get("data")
    values = _values(tensor, raw, whole, member, what)
    if "shape" not in tensor:
        rows = data if type(data) is list and not texts else values
        return Column(name, rows, rows if all(type(row) is not list for row in rows) else None)
    shape = shape_of(tensor["shape"], what)
    if member == "outputs" and values and type(values[0]) is str and ":" in values[0]:
        width = size_of(shape[1:]) or 1
        if size_of(shape) == len(values) and are_classifications(values, width if shape[1:] else len(values)):
            one = len(shape) == 1 and is_one_row(values)
            rows = [values] if one else shaped(values, shape, what)
            return Column(name, rows, values if width == 1 and not one else None, classified=True)
    single = len(shape) < 2 or (len(shape) == 2 and shape[1] == 1)
    if texts and size_of(shape) != len(values):  # text codecs are careless of shapes
        return Column(name, values, values, fits=False)
    if texts and single:
        return Column(name, values, values)
    return Column(name, shaped(values, shape, what), values if single else None)


def _values(tensor: dict[str, Any], raw: Any, whole: str, member: str, what: str) -> list[Any]:
    """All values of a tensor, in their order."""
    datatype = tensor.get("datatype")
    data = tensor.get("data")
    if data is not None:
        values = flat(data) if type(data) is list else [data]
        return _texts(values, _content_type(tensor) or whole, member) if datatype == "BYTES" else values
    if raw is None:
        return finite(_contents(tensor, what), what)
    return finite(unpacked(raw_bytes(raw, what), datatype if type(datatype) is str else "", what), what)


def _contents(tensor: dict[str, Any], what: str) -> list[Any]:
    """The values of `contents`, which protobuf's JSON has in the place of `data`. Only one of its lists is filled."""
    contents = tensor.get("contents")
    if type(contents) is not dict:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tensor has no data")
    values = next((values for values in contents.values() if type(values) is list and values), [])
    return [(text_in_base64 if tensor.get("datatype") == "BYTES" else number_of)(value) for value in values]


def _content_type(message: dict[str, Any]) -> str:
    parameters = message.get("parameters")
    given = parameters.get("content_type") if type(parameters) is dict else None
    if type(given) is dict:  # protobuf's JSON of an InferParameter
        given = either(given, "string_param")
    return given if type(given) is str else ""


def _texts(values: list[Any], content_type: str, member: str) -> list[Any]:
    """The elements of a BYTES tensor, by its content type: `str`, `base64`, or JSON in each (`pd_json`, `hg_json`,
    `hg_jsonlist`).

    Without one they are texts. Only Core 2 answers in base64 then; that is sure where all of an answer's elements are
    whole groups of base64, one of them padded, and all say something in UTF-8. (Any word of four letters could be it.)
    """
    if "json" in content_type.lower():
        return [_json_cell(value) for value in values]
    if content_type == "base64":
        return [text_in_base64(value) for value in values]
    if member == "outputs" and content_type in ("", "pd", "np") and any(str(value).endswith("=") for value in values):
        decoded = [_exactly_base64(value) for value in values]
        if None not in decoded:
            return decoded
    return values


def _json_cell(value: Any) -> Any:
    try:
        return loads(value) if type(value) is str else value
    except RefusedError:
        return value


def _exactly_base64(value: Any) -> str | None:
    try:
        return b64decode(value, validate=True).decode() if type(value) is str else None
    except (Base64Error, ValueError):
        return None


# -- what is left out -------------------------------------------------------------------------------------------------


def _blank(body: Any, redaction: Redaction) -> Any:
    if type(body) is not dict:
        return body
    whole = _content_type(body)
    for member, field in _RAW.items():
        tensors = body.get(member)
        if type(tensors) is not list or not are_tensors(tensors):
            continue
        given = either(body, field)
        raw = given if type(given) is list else []
        own = redaction.under(member)
        read = [
            _values_or_none(tensor, raw[index] if index < len(raw) else None, whole, member)
            for index, tensor in enumerate(tensors)
        ]
        names = [name if type(name := tensor.get("name")) is str else "" for tensor in tensors]
        widths = [_width(tensor, values) for tensor, values in zip(tensors, read, strict=True)]
        hidden = own.hidden(names, widths)
        changed = [
            bool(places) or _packs_json(tensor, values)
            for tensor, values, places in zip(tensors, read, hidden, strict=True)
        ]
        for index, tensor in enumerate(tensors):
            if changed[index]:
                _blank_tensor(tensor, read[index], widths[index], hidden[index])
        if any(changed) and raw:  # `data` is read before it
            kept = ["" if gone else one for one, gone in zip(raw, changed, strict=False)]
            body.pop(camel(field), None)
            body[field] = kept
    return body


def _values_or_none(tensor: dict[str, Any], raw: Any, whole: str, member: str) -> list[Any] | None:
    try:
        return _values(tensor, raw, whole, member, "request")  # whatever is missing
    except RefusedError:
        return None


def _width(tensor: dict[str, Any], values: list[Any] | None) -> int:
    """The number of values in a row of a tensor."""
    try:
        shape = shape_of(tensor.get("shape"), "message")
    except RefusedError:
        return 1
    return size_of(shape[1:]) if values is not None and size_of(shape) == len(values) else 1


def _packs_json(tensor: dict[str, Any], values: list[Any] | None) -> bool:
    """Whether texts that may be JSON are packed: as texts, their keys can be left out like others."""
    if tensor.get("datatype") != "BYTES" or tensor.get("data") is not None:
        return False
    return any(type(value) is str and value.lstrip()[:1] in ("{", "[") for value in values or ())


def _blank_tensor(tensor: dict[str, Any], values: list[Any] | None, width: int, places: Collection[int]) -> None:
    """Null in the place of some values of each row. What cannot be read goes as a whole."""
    data = tensor.get("data")
    if data is not None:
        values = flat(data) if type(data) is list else [data]  # as they were sent: JSON and base64 stay texts
    elif values is not None and tensor.get("datatype") == "BYTES":
        tensor["parameters"] = {"content_type": "str"}  # without it, they might be base64
    tensor.pop("contents", None)
    tensor["data"] = [None if index % width in places else value for index, value in enumerate(values or ())]


V2: Final = Form(
    "V2",
    frozenset(_RAW),
    _claims,
    _table,
    _blank,
    (
        (
            "request",
            (
                '{"inputs": [{"name": "age", "datatype": "FP64", "shape": [2], "data": [31, null]}, '
                '{"name": "city", "datatype": "BYTES", "shape": [2], "data": ["Rome", "Oslo"]}]}'
            ),
        ),
        ("response", '{"outputs": [{"name": "predict", "datatype": "INT64", "shape": [2], "data": [1, 0]}]}'),
        ("response", '{"outputs": [{"name": "y", "datatype": "FP32", "shape": [1, 3], "data": [0.1, 0.7, 0.2]}]}'),
        (
            "response",
            (
                '{"outputs": [{"name": "output", "datatype": "BYTES", "shape": [1, 1], '
                '"parameters": {"content_type": "hg_jsonlist"}, '
                '"data": ["{\\"label\\": \\"cat\\", \\"score\\": 0.9}"]}]}'
            ),
        ),
        (
            "response",
            '{"outputs": [{"name": "y", "datatype": "BYTES", "shape": [1, 2], "data": ["0.9:1:cat", "0.1:0:dog"]}]}',
        ),
        ("response", '{"outputs": [{"name": "mask", "datatype": "UINT8", "shape": [1, 2, 2], "data": [0, 1, 1, 0]}]}'),
    ),
)
