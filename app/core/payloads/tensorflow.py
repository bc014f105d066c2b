"""TensorFlow Serving's form: rows {"instances"} → {"predictions"}, or columns {"inputs"} → {"outputs"}.

https://www.tensorflow.org/tfx/serving/api_rest#predict_api

Also its TensorProto, which Seldon's form can hold and gRPC sends.
https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/types.proto and tensor.proto
"""

from struct import pack
from typing import Any, Final

from app.core.events import Reason, RefusedError
from app.core.payloads.blanking import Redaction, blank_cell, blank_row, blank_rows
from app.core.payloads.protojson import either, number_of, raw_bytes, text_in_base64
from app.core.payloads.table import MOST_REPEATED, Column, Form, Table, merged, rank_of, rows_table
from app.core.payloads.tensors import are_tensors, finite, flat, rows_member, shape_of, shaped, size_of, unpacked

#: TensorFlow's types by name and number: the V2 datatype, and the field that holds values which are not in raw bytes.
_TYPES: Final = {
    name: (datatype, field)
    for number, kind, datatype, field in (
        (1, "FLOAT", "FP32", "float_val"),
        (2, "DOUBLE", "FP64", "double_val"),
        (3, "INT32", "INT32", "int_val"),
        (4, "UINT8", "UINT8", "int_val"),
        (5, "INT16", "INT16", "int_val"),
        (6, "INT8", "INT8", "int_val"),
        (7, "STRING", "BYTES", "string_val"),
        (9, "INT64", "INT64", "int64_val"),
        (10, "BOOL", "BOOL", "bool_val"),
        (14, "BFLOAT16", "BF16", "half_val"),
        (17, "UINT16", "UINT16", "int_val"),
        (19, "HALF", "FP16", "half_val"),
        (22, "UINT32", "UINT32", "uint32_val"),
        (23, "UINT64", "UINT64", "uint64_val"),
    )
    for name in (number, f"DT_{kind}")
}


def _claims(body: Any, _what: str) -> bool:
    return type(body) is dict and not TENSORFLOW.members.isdisjoint(body)


def _table(body: Any, what: str) -> Table:
    member, value = rows_member(body, what)
    if type(value) is dict:
        if not value:
            raise RefusedError(Reason.EMPTY, f"the {what} has no rows")
        if member in ("inputs", "outputs"):
            return merged([_column(name, column) for name, column in value.items()], what)
        return Table([value])
    return rows_table(value, None, what)


def _column(name: str, values: Any) -> Column:
    rows = values if type(values) is list else [values]
    single = all(type(row) is not list or rank_of(row) == len(row) == 1 for row in rows)
    return Column(name, rows, flat(rows) if single else None)


def _blank(body: Any, redaction: Redaction) -> Any:
    if type(body) is not dict:
        return body
    for member in TENSORFLOW.members.intersection(body):
        value = body[member]
        if type(value) is list and are_tensors(value):  # V2
            continue
        own = redaction.under(member)
        if type(value) is dict and member in ("inputs", "outputs"):
            body[member] = _blank_columns(value, own)
        elif type(value) is dict:
            body[member] = blank_row(value, (), own)
        else:
            body[member] = blank_rows(value, (), own)
    return body


def _blank_columns(columns: dict[str, Any], redaction: Redaction) -> dict[str, Any]:
    rows = [values if type(values) is list else [values] for values in columns.values()]
    widths = [max([len(flat(row)) if type(row) is list else 1 for row in own], default=1) for own in rows]
    hidden = redaction.hidden(tuple(columns), widths)
    return {
        name: [blank_cell(row, width, places) for row in own] if places else columns[name]
        for name, own, width, places in zip(columns, rows, widths, hidden, strict=True)
    }


TENSORFLOW: Final = Form(
    "TensorFlow",
    frozenset({"instances", "predictions", "inputs", "outputs"}),
    _claims,
    _table,
    _blank,
    (
        ("request", '{"instances": [[31, 1.5], [47, 2.5]]}'),
        ("request", '{"inputs": {"age": [31, 47], "city": ["Rome", "Oslo"]}}'),
        ("response", '{"predictions": [[0.1, 0.9], [0.8, 0.2]]}'),
        ("response", '{"predictions": [{"classes": ["cat", "dog"], "scores": [0.1, 0.9]}]}'),
        (
            "response",
            '{"predictions": [{"displayNames": ["cat", "dog"], "confidences": [0.1, 0.9], "ids": [7, 8]}]}',
        ),
        ("response", '{"predictions": [{"Species": "cat", "Probability_cat": 0.9, "Probability_dog": 0.1}]}'),
        ("response", '{"predictions": [{"prob_cat": 0.1, "prob_dog": 0.9}]}'),
        ("response", '{"predictions": [{"tabby": 0.5, "tiger_cat": 0.4, "lynx": 0.05}]}'),
        ("response", '{"predictions": [[{"label": "cat", "score": 0.9}, {"label": "dog", "score": 0.1}]]}'),
        ("response", '{"predictions": [{"score": 0.9, "start": 1, "end": 3, "answer": "Rome"}]}'),
        ("response", '{"predictions": [{"labels": [1, 7], "scores": [0.9, 0.8], "boxes": [[0, 0], [1, 1]]}]}'),
        ("response", '{"outputs": {"classes": ["dog"], "probabilities": [[0.1, 0.9]]}}'),
    ),
)

# -- TensorProto ------------------------------------------------------------------------------------------------------


def tftensor_rows(tensor: Any, what: str) -> list[Any]:
    """The rows of a TensorProto, as protobuf writes it in JSON, with either spelling of its fields.

    Its values are raw bytes, or a list whose last value stands for all that are missing, or none, which are zeros.
    """
    if type(tensor) is not dict:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tftensor is no object")
    kind = tensor.get("dtype")
    known = _TYPES.get(kind) if isinstance(kind, int | str) else None
    if known is None:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tftensor has a dtype that cannot be read")
    datatype, field = known
    dims = either(tensor, "tensor_shape")
    sizes = dims.get("dim", []) if type(dims) is dict else []
    if type(sizes) is not list:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tftensor has no shape that can be read")
    shape = shape_of([size.get("size", 0) if type(size) is dict else None for size in sizes], what)
    content = either(tensor, "tensor_content")
    if content and datatype != "BYTES":
        values = unpacked(raw_bytes(content, what), datatype, what)
    else:
        values = _values(either(tensor, field), datatype, what)
        size = size_of(shape)
        if len(values) < size <= MOST_REPEATED:
            values += [values[-1] if values else _zero(datatype)] * (size - len(values))
    return shaped(finite(values, what), shape, what)


def _values(values: Any, datatype: str, what: str) -> list[Any]:
    if values is None:
        return []
    if type(values) is list:
        if datatype == "BYTES":
            return [text_in_base64(value) for value in values]
        numbers = [number_of(value) for value in values]
        if all(type(number) in (int, float, bool) for number in numbers):
            if datatype not in ("FP16", "BF16"):
                return numbers
            if all(type(number) is int and 0 <= number < 2**16 for number in numbers):
                return unpacked(pack(f"<{len(numbers)}H", *numbers), datatype, what)
    raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tftensor has values that are no numbers")


def _zero(datatype: str) -> Any:
    return {"BYTES": "", "BOOL": False}.get(datatype, 0)
