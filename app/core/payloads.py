"""Payload forms: a decoded body becomes the marks of its rows.

Read now: Seldon `ndarray` and `tensor`, and bare scalars or lists in their place
(https://docs.seldon.io/projects/seldon-core/en/v1/graph/protocols.html). A new form is one more branch in `rows_of`.
"""

import re
from array import array
from functools import lru_cache
from typing import Any, NamedTuple

from app.core.classes import Mark, given_names, mark_of, position
from app.core.events import Reason, RefusedError


class Output(NamedTuple):
    """What a response says, row by row."""

    marks: list[Mark]
    scores: bytes | None  # the winning entry of each vector, little-endian 32-bit floats
    names: tuple[str, ...]  # the class names, () when there are none
    width: int  # the length of the vectors, 0 for scalars


FAILED = Output([None], None, (), 0)
_TAG = re.compile(r":([^:/@]+)(?:@.*)?$")


def rows_of(message: Any, what: str) -> tuple[list[Any], Any]:
    """The rows of a Seldon message and its `names`. `what` names the part in a refusal."""
    data = message.get("data") if type(message) is dict else message
    names = None
    if type(data) is dict:
        names = data.get("names")
        if "ndarray" in data:
            data = data["ndarray"]
        elif "tensor" in data:
            data = _tensor_rows(data["tensor"], what)
        else:
            raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s data has neither ndarray nor tensor")
    if data is None or type(data) is dict:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what} has no data that can be read")
    rows = data if type(data) is list else [data]
    if not rows or rows[0] == []:
        raise RefusedError(Reason.EMPTY, f"the {what} has no rows")
    return rows, names


def _tensor_rows(tensor: Any, what: str) -> list[Any]:
    values, shape = (tensor.get("values"), tensor.get("shape")) if type(tensor) is dict else (None, None)
    if type(values) is not list or type(shape) is not list or not all(type(n) is int and n >= 0 for n in shape):
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tensor needs shape and values")
    size = 1
    for length in shape:
        size *= length
    if size != len(values):
        raise RefusedError(Reason.RAGGED, f"the {what}'s tensor of shape {shape} has {len(values)} values")
    if len(shape) < 2:
        return values
    width = size // shape[0] if shape[0] else 0
    return [values[start : start + width] for start in range(0, size, width)] if width else []


def check_request(body: Any) -> None:
    """Refuse a request whose rows cannot be read: nothing of them is counted, but nothing broken is let through."""
    if type(body) is not dict:
        raise RefusedError(Reason.NOT_AN_OBJECT, "the request is not a JSON object")
    rows, _ = rows_of(body, "request")
    first = rows[0]
    if type(first) is not list:
        return
    width = len(first)
    for row in rows:
        # Lists of words may differ in length (tokens); numbers may not.
        if type(row) is not list or (len(row) != width and not all(type(cell) is str for cell in row)):
            raise RefusedError(Reason.RAGGED, "the request's rows have different lengths")


def output_of(body: Any, longest: int = 200) -> Output:
    """The predictions of a response body: argmax of vectors, else the scalar itself."""
    if type(body) is not dict:
        raise RefusedError(Reason.NOT_AN_OBJECT, "the response is not a JSON object")
    if "data" not in body and type(body.get("status")) is dict:
        return FAILED
    rows, names = rows_of(body, "response")
    first = rows[0]
    if type(first) is not list or len(first) < 2:
        return Output([_scalar(row, longest) for row in rows], None, (), 0)
    width = len(first)
    marks: list[Mark] = []
    scores = array("f")
    for row in rows:
        index, score = _argmax(row, width, "response")
        marks.append(-index - 1)
        scores.append(score)
    return Output(marks, scores.tobytes(), given_names(names, width) if names else (), width)


def labels_of(truth: Any, longest: int = 200) -> list[Mark]:
    """The labels in a truth message, one a row: a vector by its argmax, else the scalar."""
    rows, names = rows_of(truth, "truth")
    first = rows[0]
    if type(first) is not list or len(first) < 2:
        return [_scalar(row, longest) for row in rows]
    width = len(first)
    known = given_names(names, width) if names else ()
    positions = [_argmax(row, width, "truth")[0] for row in rows]
    return [mark_of(known[index], longest) if known else position(index) for index in positions]


def brings_label(truth: Any) -> bool:
    """Whether a truth states a label: `{}` and a truth with only `meta` do not."""
    return type(truth) is not dict or "data" in truth


def _scalar(row: Any, longest: int) -> Mark:
    if type(row) is list:
        if len(row) != 1:
            raise RefusedError(Reason.RAGGED if row else Reason.EMPTY, "rows of different lengths, or an empty row")
        row = row[0]
    return mark_of(row, longest)


def _argmax(row: Any, width: int, what: str) -> tuple[int, float]:
    if type(row) is not list or len(row) != width:
        raise RefusedError(Reason.RAGGED, f"the {what}'s rows have different lengths")
    try:
        largest = max(row)
        return row.index(largest), float(largest)
    except (TypeError, ValueError, OverflowError):
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s vectors must hold numbers") from None


def version_of(body: dict[str, Any], model: str) -> str:
    """The model's version in a response body: V2 `model_version`, else the image tag in `meta.requestPath`."""
    version = body.get("model_version")
    if version is not None and version != "":
        return str(version)
    meta = body.get("meta")
    path = meta.get("requestPath") if type(meta) is dict else None
    image = path.get(model) if type(path) is dict else None
    return _tag_of(image) if type(image) is str else ""


@lru_cache(maxsize=1024)
def _tag_of(image: str) -> str:
    tag = _TAG.search(image)
    return tag[1] if tag else ""
