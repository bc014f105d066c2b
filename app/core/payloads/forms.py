"""Payload forms: a decoded body of any protocol becomes a table of rows.

    Seldon      {"data": {"names", "ndarray" | "tensor" | "tftensor"}}, strData, binData, jsonData, customData
                https://docs.seldon.io/projects/seldon-core/en/v1/graph/protocols.html
    TensorFlow  rows {"instances"} → {"predictions"}, columns {"inputs"} → {"outputs"}
                https://www.tensorflow.org/tfx/serving/api_rest#predict_api
    V2          {"inputs": [tensor, …]} → {"outputs": [tensor, …]}: the Open Inference Protocol of KServe, Triton and
                MLServer, with MLServer's content types, and protobuf's own JSON of it (contents, raw contents)
                https://github.com/kserve/open-inference-protocol/blob/main/specification/protocol/inference_rest.md
                https://docs.seldon.ai/mlserver/user-guide/content-type
    bare        a value or a list in the place of a Seldon message

Which key a body has decides, not what kind of event it is: KServe logs responses with `instances` too.
"""

from base64 import b64decode
from binascii import Error as Base64Error
from collections.abc import Sequence
from functools import cache
from struct import pack
from typing import Any, Final, NamedTuple

import orjson

from app.core.events import Reason, RefusedError
from app.core.payloads.tensors import check_finite, flat, shape_of, shaped, size_of, text_of, unpacked, without_nan


class Table(NamedTuple):
    """The rows of a body: one for each item of a batch, one for anything that is no batch.

    A row is a value (a class, a text, a number, null, any JSON), or a list of the values in its columns. Where a body
    has several tensors, or is a data frame, each row is a *record*: a list with one entry of each tensor, `names`
    those of the tensors. Otherwise `names` are those that the payload gives its columns, or None.
    """

    rows: list[Any]
    names: tuple[str, ...] | None = None
    record: bool = False
    fits: bool = True  # False where texts do not fill the shape that their tensor claims
    own_type: str = ""  # what the form itself says of the type

    @property
    def data_type(self) -> str:
        """What the rows are, in the words of Seldon's request logger: tabular, number, text, image or json."""
        return self.own_type or _data_type(self.rows, self.record)

    def elements(self, index: int) -> dict[str, Any] | None:
        """The values of one row by column, None where no names fit."""
        row = self.rows[index]
        cells = row if type(row) is list else [row]
        return dict(zip(self.names, cells, strict=True)) if self.names and len(self.names) == len(cells) else None


class _Column(NamedTuple):
    """One tensor among others."""

    name: str
    rows: list[Any]
    cells: list[Any] | None  # the value of each row where it has just one
    fits: bool = True


_FORMS: Final = frozenset(
    {"data", "strData", "jsonData", "binData", "customData", "inputs", "outputs", "instances", "predictions"}
)
#: What holds the rows where a body is no Seldon message, in the order in which a request and an answer are searched.
_IN: Final = ("inputs", "instances", "outputs", "predictions")
_OUT: Final = ("outputs", "predictions", "inputs", "instances")
_SCORES: Final = ("prob", "score", "logit", "confidence", "softmax")
#: TensorFlow's types by name and number: the V2 datatype, and the field that holds values which are not in raw bytes.
#: https://github.com/tensorflow/tensorflow/blob/master/tensorflow/core/framework/types.proto and tensor.proto
_TENSORFLOW: Final = {
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
_NOT_FINITE: Final = {"NaN": float("nan"), "Infinity": float("inf"), "-Infinity": float("-inf")}
#: As many values may come of those that are said once and meant for many places: nothing in a body's size bounds them.
_MOST_REPEATED: Final = 1_000_000


def carries(body: Any) -> bool:
    """Whether a body has a payload in one of the forms; an error response and `{"meta": …}` have none."""
    return type(body) is not dict or not _FORMS.isdisjoint(body)


def table_of(body: Any, what: str) -> Table:
    """The rows of a decoded body. `what` is "request", "response" or "truth": it names the part in a refusal.

    Refuses what has no rows, and what none of the forms explains. Rows of different lengths are let through: texts cut
    into words have them.
    """
    if type(body) is not dict:
        return _table(body, None, what)
    if "data" in body:
        return _seldon_data(body["data"], what)
    if "strData" in body:
        return Table([body["strData"]], own_type="text")
    for key in ("jsonData", "customData"):
        if key in body:
            return Table([body[key]], own_type="json")
    if "binData" in body:
        return Table([body["binData"]], own_type="image")
    value = None
    for key in _IN if what == "request" else _OUT:
        value = body.get(key)
        if value:  # a V2 request may list no outputs
            break
    else:
        value = next((body[key] for key in _OUT if body.get(key) is not None), None)
        return _table([] if value == {} else value, None, what)
    if key in ("inputs", "outputs"):
        if type(value) is list and all(map(_is_tensor, value)):
            return _v2(body, key, what)
        if type(value) is dict:
            return _merged([_tensorflow_column(name, column) for name, column in value.items()], what)
    return Table([value]) if type(value) is dict else _table(value, None, what)


def predictions(table: Table) -> tuple[list[Any], tuple[str, ...] | None]:
    """Of each row what says its class (a value, or a vector with one score a class), and the classes' names.

    The rows themselves say it, except:

    - In a *record* one tensor does, the same for all rows: the first whose name says `predict`, else `label`, else
      `classes`, else `class`, else `output`; among these, names that say `prob`, `score`, `logit`, `confidence` or
      `softmax` come last; where no name says anything it is the first tensor.
    - In an *object* it is the entry that these words find.
    - Where what was found is a list of texts beside as many scores (TensorFlow's `classes` and `scores`), it is the
      text with the highest score.

    No list where no row says a class: bytes, lists under `jsonData` (which is one value, never a batch), objects whose
    names say nothing.
    """
    rows = table.rows
    if table.own_type == "image" or (table.own_type == "json" and type(rows[0]) is list):
        return [], None
    if table.record:
        names = table.names or ()
        index = _telling(names)
        found = [_best_text(row, names, row[index or 0]) for row in rows]
        lengths = {len(value) if type(value) is list else -1 for value in found}
        # A first column whose cells are lists of their own length is no prediction, whatever else the record holds.
        return [] if index is None and len(lengths) > 1 else found, None
    if any(type(row) is dict for row in rows):
        found = [_of_object(row) for row in rows]
        unclear = all(value is None for value in found) or any(type(value) is dict for value in found)
        return [] if unclear else found, None
    return rows, table.names


def _of_object(row: Any) -> Any:
    if type(row) is not dict:
        return row
    names = tuple(row)
    index = _telling(names)
    return None if index is None else _best_text(list(row.values()), names, row[names[index]])


def _telling(names: Sequence[str]) -> int | None:
    """Which of several values is the prediction, by what its name says."""
    words = [name.lower() for name in names]
    plain = [not any(score in word for score in _SCORES) and not word.startswith("all_") for word in words]
    for wanted in ("predict", "label", "classes", "class", "output"):
        for index, word in enumerate(words):
            if plain[index] and wanted in word:
                return index
    return next((index for index, word in enumerate(words) if any(score in word for score in _SCORES)), None)


def _best_text(values: list[Any], names: Sequence[str], found: Any) -> Any:
    if type(found) is not list or len(found) < 2 or not all(type(cell) is str for cell in found):
        return found
    for name, scores in zip(names, values, strict=True):
        if (
            any(word in name.lower() for word in _SCORES)
            and type(scores) is list
            and len(scores) == len(found)
            and all(type(score) in (int, float) for score in scores)
        ):
            return found[scores.index(max(scores))]
    return found


# -- rows -------------------------------------------------------------------------------------------------------------


def _table(values: Any, names: Any, what: str) -> Table:
    if values is None or type(values) is dict:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what} has no data that can be read")
    rows = values if type(values) is list else [values]
    if not rows or rows[0] == []:
        raise RefusedError(Reason.EMPTY, f"the {what} has no rows")
    return Table(rows, _names(names))


def _names(names: Any) -> tuple[str, ...] | None:
    return tuple(names) if type(names) is list and names and all(type(name) is str for name in names) else None


def _merged(columns: list[_Column], what: str, *, frame: bool = False) -> Table:
    """The table of several tensors. One of a single row is meant for all rows (a setting, say); where the numbers of
    rows differ otherwise, the whole is one row.
    """
    if not any(column.rows for column in columns):
        raise RefusedError(Reason.EMPTY, f"the {what} has no rows")
    if len(columns) == 1 and not frame:
        name, rows, cells, fits = columns[0]
        return Table(rows, (name,) if cells and name else None, False, fits)
    fits = all(column.fits for column in columns)
    names = tuple(column.name for column in columns)
    count = max(len(column.rows) for column in columns)
    if any(len(column.rows) not in (1, count) for column in columns) or count * len(columns) > _MOST_REPEATED:
        return Table([[column.rows for column in columns]], names, record=True, fits=fits)
    entries = [(column.cells or column.rows) * (count // len(column.rows)) for column in columns]
    return Table([list(row) for row in zip(*entries, strict=True)], names, record=True, fits=fits)


def _data_type(rows: list[Any], record: bool) -> str:
    if record:
        return "image" if any(_rank(cell) > 2 for cell in rows[0]) else "tabular"
    rank = _rank(rows)
    if rank > 3:
        return "image"
    if rank == 3 or (rank == 2 and len(rows[0]) > 1):
        return "tabular"
    first = next((value for value in flat(rows) if value is not None), None)
    if type(first) is dict:
        return "json"
    return "text" if type(first) is str else "number"


def _rank(value: Any) -> int:
    rank = 0
    while type(value) is list:
        rank += 1
        value = value[0] if value else None
    return rank


# -- Seldon and TensorFlow --------------------------------------------------------------------------------------------


def _seldon_data(data: Any, what: str) -> Table:
    if type(data) is not dict:
        return _table(data, None, what)
    names = data.get("names")
    if "ndarray" in data:
        return _table(data["ndarray"], names, what)
    if "tensor" in data:
        return _table(_tensor_rows(data["tensor"], what), names, what)
    if "tftensor" in data:
        return _table(tftensor_rows(data["tftensor"], what), names, what)
    raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s data has neither ndarray nor tensor nor tftensor")


def _tensor_rows(tensor: Any, what: str) -> list[Any]:
    values = tensor.get("values") if type(tensor) is dict else None
    if type(values) is not list:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tensor needs shape and values")
    return shaped(values, shape_of(tensor.get("shape"), what), what)


def tftensor_rows(tensor: Any, what: str) -> list[Any]:
    """The rows of a TensorProto, as protobuf writes it in JSON, with either spelling of its fields.

    Its values are raw bytes, or a list whose last value stands for all that are missing, or none, which are zeros.
    """
    if type(tensor) is not dict:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tftensor is no object")
    kind = tensor.get("dtype")
    known = _TENSORFLOW.get(kind) if isinstance(kind, int | str) else None
    if known is None:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tftensor has a dtype that cannot be read")
    datatype, field = known
    dims = _either(tensor, "tensor_shape")
    sizes = dims.get("dim", []) if type(dims) is dict else []
    if type(sizes) is not list:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tftensor has no shape that can be read")
    shape = shape_of([size.get("size", 0) if type(size) is dict else None for size in sizes], what)
    content = _either(tensor, "tensor_content")
    if content and datatype != "BYTES":
        values = unpacked(_decoded(content, what), datatype, what)
    else:
        values = _tftensor_values(_either(tensor, field), datatype, what)
        size = size_of(shape)
        if len(values) < size <= _MOST_REPEATED:
            values += [values[-1] if values else _zero(datatype)] * (size - len(values))
    check_finite(values, what)
    return shaped(values, shape, what)


def _tftensor_values(values: Any, datatype: str, what: str) -> list[Any]:
    if values is None:
        return []
    if type(values) is list:
        if datatype == "BYTES":
            return [_text_in_base64(value) for value in values]
        numbers = [_number(value) for value in values]
        if all(type(number) in (int, float, bool) for number in numbers):
            if datatype not in ("FP16", "BF16"):
                return numbers
            if all(type(number) is int and 0 <= number < 2**16 for number in numbers):
                return unpacked(pack(f"<{len(numbers)}H", *numbers), datatype, what)
    raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tftensor has values that are no numbers")


def _zero(datatype: str) -> Any:
    return {"BYTES": "", "BOOL": False}.get(datatype, 0)


def _number(value: Any) -> Any:
    """A number of protobuf's JSON, which has those of 64 bits as texts, and words for what is not finite."""
    if type(value) is not str:
        return value
    if len(value) < 21 and value.removeprefix("-").isdecimal() and -(2**63) <= int(value) < 2**64:
        return int(value)
    return _NOT_FINITE.get(value, value)


def _tensorflow_column(name: str, values: Any) -> _Column:
    rows = values if type(values) is list else [values]
    single = all(type(row) is not list or _rank(row) == len(row) == 1 for row in rows)
    return _Column(name, rows, flat(rows) if single else None)


def _either(message: dict[str, Any], field: str) -> Any:
    """A field of protobuf's JSON by its name in the definition, or in lower camel case."""
    if field in message:
        return message[field]
    return message.get(_camel(field))


@cache
def _camel(field: str) -> str:
    first, *others = field.split("_")
    return first + "".join(word.capitalize() for word in others)


# -- V2 ---------------------------------------------------------------------------------------------------------------


def _is_tensor(value: Any) -> bool:
    return type(value) is dict and ("datatype" in value or "shape" in value)


def _v2(body: dict[str, Any], key: str, what: str) -> Table:
    raw = _either(body, "raw_input_contents" if key == "inputs" else "raw_output_contents")
    whole = _content_type(body)
    columns = [
        _v2_column(tensor, raw[index] if type(raw) is list and index < len(raw) else None, whole, key, what)
        for index, tensor in enumerate(body[key])
    ]
    return _merged(columns, what, frame=whole == "pd")


def _v2_column(tensor: dict[str, Any], raw: Any, whole: str, key: str, what: str) -> _Column:
    given = tensor.get("name")
    name = given if type(given) is str else ""
    datatype = tensor.get("datatype")
    texts = datatype == "BYTES"
    data = tensor.get("data")
    if data is None:
        values = (
            _contents(tensor, what)
            if raw is None
            else unpacked(_decoded(raw, what), datatype if type(datatype) is str else "", what)
        )
        values = without_nan(values, what)
    else:
        values = flat(data) if type(data) is list else [data]
        if texts:
            values = _texts(values, _content_type(tensor) or whole, key)
    if "shape" not in tensor:
        rows = data if type(data) is list and not texts else values
        return _Column(name, rows, rows if all(type(row) is not list for row in rows) else None)
    shape = shape_of(tensor["shape"], what)
    single = len(shape) < 2 or (len(shape) == 2 and shape[1] == 1)
    if datatype == "BYTES" and size_of(shape) != len(values):  # text codecs are careless of shapes
        return _Column(name, values, values, fits=False)
    if datatype == "BYTES" and single:
        return _Column(name, values, values)
    return _Column(name, shaped(values, shape, what), values if single else None)


def _contents(tensor: dict[str, Any], what: str) -> list[Any]:
    """The values of `contents`, which protobuf's JSON has in the place of `data`. Only one of its lists is filled."""
    contents = tensor.get("contents")
    if type(contents) is not dict:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tensor has no data")
    values = next((values for values in contents.values() if type(values) is list and values), [])
    return [(_text_in_base64 if tensor.get("datatype") == "BYTES" else _number)(value) for value in values]


def _content_type(message: dict[str, Any]) -> str:
    parameters = message.get("parameters")
    given = parameters.get("content_type") if type(parameters) is dict else None
    if type(given) is dict:  # protobuf's JSON of an InferParameter
        given = _either(given, "string_param")
    return given if type(given) is str else ""


def _texts(values: list[Any], content_type: str, key: str) -> list[Any]:
    """The elements of a BYTES tensor, by its content type: `str`, `base64`, or JSON in each (`pd_json`, `hg_json`).

    Without one they are texts. Only Core 2 answers in base64 then; that is sure where all of an answer's elements are
    whole groups of base64, one of them padded, and all say something in UTF-8. (Any word of four letters could be it.)
    """
    if content_type.endswith("json"):
        return [_json_cell(value) for value in values]
    if content_type == "base64":
        return [_text_in_base64(value) for value in values]
    if key == "outputs" and content_type in ("", "pd", "np") and any(str(value).endswith("=") for value in values):
        decoded = [_exactly_base64(value) for value in values]
        if None not in decoded:
            return decoded
    return values


def _json_cell(value: Any) -> Any:
    try:
        return orjson.loads(value) if type(value) is str else value
    except orjson.JSONDecodeError:
        return value


def _exactly_base64(value: Any) -> str | None:
    try:
        return b64decode(value, validate=True).decode() if type(value) is str else None
    except (Base64Error, ValueError):
        return None


def _text_in_base64(value: Any) -> Any:
    try:
        return text_of(b64decode(value, validate=True)) if type(value) is str else value
    except (Base64Error, ValueError):
        return value


def _decoded(value: Any, what: str) -> bytes:
    try:
        if type(value) is str:
            return b64decode(value, validate=True)
    except (Base64Error, ValueError):
        pass
    raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s raw tensor is not base64")
