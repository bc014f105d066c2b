"""What a body says: the bytes of a request, a response or a feedback become the marks of its rows.

The common form, an object with `data.ndarray`, is decoded into structs, which skips all that is not needed; whatever
does not fit them is decoded whole, as JSON or protobuf, and read in the form that it has (`forms`), with a
reason where it cannot be used.
"""

import re
from array import array
from collections.abc import Sequence
from functools import lru_cache
from math import isinf
from struct import Struct as Packing
from struct import error as PackError  # noqa: N812 - a class by another name
from typing import Any, Final

import msgspec
import orjson

from app.core.events import Kind, Reason, RefusedError
from app.core.payloads.forms import carries, table_of
from app.core.payloads.marks import Mark, given_names, index_mark, mark_of
from app.core.payloads.predictions import class_values
from app.core.payloads.protobuf import decode
from app.core.payloads.seldon import UNSET, decode_feedback, decode_request, decode_response


class Output(msgspec.Struct, gc=False):
    """What a response says, row by row."""

    marks: list[Mark]  # none at all where its rows (an image, objects without a label) say no class
    scores: bytes | None = None  # the winning entry of each vector, little-endian 32-bit floats
    names: tuple[str, ...] = ()  # the class names, () when there are none
    width: int = 0  # the length of the vectors, 0 for scalars
    version: str = ""  # the V2 `model_version`
    images: Any = None  # `meta.requestPath`: model → image


class FeedbackBody(msgspec.Struct, gc=False):
    """What a feedback says. `labels` and `reward` hold only where stated; None takes an earlier statement back."""

    has_label: bool
    labels: list[Mark] | None
    has_reward: bool
    reward: int | None  # in units of 1e-9
    output: Output | None  # of a response that it carries
    has_request: bool


class _NoNumbersError(RefusedError):
    """A vector of something else than numbers."""


_TAG = re.compile(r"^[^@]*:([^:/@]+)(?:@.*)?$")
_LARGEST_REWARD = 1e9
_PACK_ONE = Packing("<f").pack


# -- the common form --------------------------------------------------------------------------------------------------

#: What the structs do not fit, and what they fit but cannot use, is read in the general way, which also says why not.
_NOT_COMMON: Final = (msgspec.DecodeError, RecursionError, RefusedError)


def check_request(value: bytes) -> None:
    """Refuse a request whose rows cannot be read: nothing of them is counted, but nothing broken is let through."""
    if value.isascii():  # structs skip texts without checking them
        try:
            _check_rows(decode_request(value).data.ndarray)
            return
        except _NOT_COMMON:
            pass
    check_request_body(body_of(value, Kind.REQUEST))


def read_response(value: bytes, longest: int = 200) -> Output:
    """The predictions of a response: the argmax of vectors, else the scalars themselves."""
    if value.isascii():
        try:
            body = decode_response(value)
            rows = body.data.ndarray
            if type(rows) is list and rows:
                first = rows[0]
                meta, version = body.meta, body.model_version
                images = meta.requestPath if meta is not None else None
                if type(first) is list and len(first) > 1:
                    return _vectors(rows, body.data.names, _version(version), images)
                if len(rows) == 1:
                    return Output([_scalar(first, longest)], version=_version(version), images=images)
        except _NOT_COMMON:
            pass
    return output_of(body_of(value, Kind.RESPONSE), longest)


def read_feedback(value: bytes, longest: int = 200) -> FeedbackBody:
    """What a feedback states: absent leaves alone, null takes back."""
    if value.isascii():
        try:
            body = decode_feedback(value)
            rows = body.truth.data.ndarray
            if type(rows) is list and rows and body.response is None:
                labels = _label_marks(rows, body.truth.data.names, longest)
                if body.reward is UNSET:
                    return FeedbackBody(True, labels, False, None, None, False)
                return FeedbackBody(True, labels, True, parse_reward(body.reward), None, False)
        except _NOT_COMMON:
            pass
    return feedback_of(body_of(value, Kind.FEEDBACK), longest)


# -- any form ---------------------------------------------------------------------------------------------------------


def parse(value: bytes) -> Any:
    """The JSON of a body."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if b"NaN" in value or b"Infinity" in value:
            raise RefusedError(Reason.NOT_FINITE, "NaN or Infinity is no JSON number") from None
        raise RefusedError(Reason.BAD_JSON, f"the value is not JSON: {error}") from None


def body_of(value: bytes, kind: Kind) -> Any:
    """A body as JSON says it, whether it is JSON or protobuf: content types are not to be relied on."""
    try:
        return parse(value)
    except RefusedError:
        try:
            return decode(value, kind)
        except RefusedError as refused:
            if refused.reason != Reason.BAD_PAYLOAD:
                raise
        raise  # it is no protobuf either: why it is not JSON says more


def check_request_body(body: Any) -> None:
    """The same for a decoded body."""
    if type(body) is not dict:
        raise RefusedError(Reason.NOT_AN_OBJECT, "the request is not a JSON object")
    _check_rows(table_of(body, "request").rows)


def _check_rows(rows: Any) -> None:
    if type(rows) is not list:
        if rows is None or type(rows) is dict:
            raise RefusedError(Reason.BAD_PAYLOAD, "the request has no rows that can be read")
        return
    if not rows or rows[0] == []:
        raise RefusedError(Reason.EMPTY, "the request has no rows")
    if type(rows[0]) is list and len(rows) > 1:
        width = len(rows[0])
        for row in rows:
            # Lists of words may differ in length (tokens); numbers may not.
            if type(row) is not list or (len(row) != width and not all(type(cell) is str for cell in row)):
                raise RefusedError(Reason.RAGGED, "the request's rows have different lengths")


def output_of(body: Any, longest: int = 200) -> Output:
    """The predictions of a decoded response body: of each row what `predictions` finds, None where that is null.

    An error in the place of rows is one failed prediction.
    """
    if type(body) is not dict:
        raise RefusedError(Reason.NOT_AN_OBJECT, "the response is not a JSON object")
    version = _version(body.get("model_version"))
    meta = body.get("meta")
    images = meta.get("requestPath") if type(meta) is dict else None
    if not carries(body) and ("error" in body or type(body.get("status")) is dict):
        return Output([None], version=version, images=images)
    try:
        values, names = class_values(table_of(body, "response"))
    except RefusedError:
        if _reports_failure(body):
            return Output([None], version=version, images=images)
        raise
    if values and type(values[0]) is list and len(values[0]) > 1:
        return _vectors(values, names, version, images)
    return Output([_prediction(value, longest) for value in values], version=version, images=images)


def feedback_of(body: Any, longest: int = 200) -> FeedbackBody:
    """What a decoded feedback body states."""
    if type(body) is not dict:
        raise RefusedError(Reason.NOT_AN_OBJECT, "the feedback is not a JSON object")
    truth = body.get("truth")
    has_label = "truth" in body and (truth is None or brings_label(truth))
    labels = labels_of(truth, longest) if has_label and truth is not None else None
    has_reward = "reward" in body
    reward = parse_reward(body.get("reward"))
    response: Any = body.get("response")
    request = body.get("request")
    # A carried response of only `meta` says nothing of the prediction.
    answers = bool(response) and (carries(response) or "status" in response or "error" in response)
    output = output_of(response, longest) if answers else None
    if request and output is not None:
        check_request_body(request)
    if not has_label and not has_reward and output is None:
        raise RefusedError(Reason.EMPTY, "the feedback brings neither reward nor label nor response")
    return FeedbackBody(has_label, labels, has_reward, reward, output, output is not None and bool(request))


def labels_of(truth: Any, longest: int = 200) -> list[Mark]:
    """The labels in a truth message, one a row: a vector by its argmax, else the scalar."""
    values, names = class_values(table_of(truth, "truth"))
    if not values:
        raise RefusedError(Reason.BAD_PAYLOAD, "the truth names no class")
    return _label_marks(values, names, longest)


def brings_label(truth: Any) -> bool:
    """Whether a truth states a label: `{}` and a truth with only `meta` do not."""
    return carries(truth)


def _reports_failure(body: dict[str, Any]) -> bool:
    """Whether a body says, beside data without rows, that the model failed."""
    status = body.get("status")
    if type(status) is not dict:
        return bool(body.get("error"))
    code = status.get("code")
    failed: bool = status.get("status") in (1, "FAILURE")
    return failed or (isinstance(code, int) and code != 0 and not 200 <= code < 300)


def parse_reward(value: Any) -> int | None:
    """A reward in units of 1e-9, None for null."""
    if value is None:
        return None
    kind = type(value)
    if kind is not int and kind is not float and kind is not bool:
        shown = repr(value[:40]) if kind is str else f"of type {kind.__name__}"
        raise RefusedError(Reason.BAD_REWARD, f"the reward is {shown}; it must be a number up to 1e9")
    if not abs(value) <= _LARGEST_REWARD:
        raise RefusedError(Reason.BAD_REWARD, "the reward is beyond 1e9")
    points: int = value * 1_000_000_000 if kind is int else round(value * 1_000_000_000)
    return points


# -- rows -------------------------------------------------------------------------------------------------------------


def _label_marks(rows: list[Any], names: Any, longest: int) -> list[Mark]:
    first = rows[0]
    if type(first) is not list or len(first) < 2:
        return [_scalar(row, longest) for row in rows]
    width = len(first)
    known = given_names(names, width) if names else ()
    if known:
        return [mark_of(known[_argmax(row, width, "truth")], longest) for row in rows]
    if len(rows) == 1:
        return [-_argmax(first, width, "truth") - 1]
    return [index_mark(_argmax(row, width, "truth")) for row in rows]


def _vectors(rows: list[Any], names: Any, version: str, images: Any) -> Output:
    width = len(rows[0])
    known = given_names(names, width) if names else ()
    try:
        if len(rows) == 1:
            index = _argmax(rows[0], width, "response")
            return Output([-index - 1], _PACK_ONE(rows[0][index]), known, width, version, images)
        indices = [_argmax(row, width, "response") for row in rows]
        picked = array("f", [row[index] for row, index in zip(rows, indices, strict=True)])
        if any(map(isinf, picked)):
            raise OverflowError
        scores = picked.tobytes()
    except (OverflowError, PackError):
        raise RefusedError(Reason.NOT_FINITE, "a score is too large") from None
    except _NoNumbersError:
        if type(rows[0][0]) is list or all(type(cell) is str for cell in rows[0]):  # a picture, or tokens
            return Output([], version=version, images=images)
        raise
    return Output([-index - 1 for index in indices], scores, known, width, version, images)


def _prediction(value: Any, longest: int) -> Mark:
    return None if value is None or value == [None] else _scalar(value, longest)


def _scalar(row: Any, longest: int) -> Mark:
    if type(row) is list:
        if len(row) != 1:
            raise RefusedError(Reason.RAGGED if row else Reason.EMPTY, "rows of different lengths, or an empty row")
        row = row[0]
    return mark_of(row, longest)


def _argmax(row: Any, width: int, what: str) -> int:
    if type(row) is not list or len(row) != width:
        raise RefusedError(Reason.RAGGED, f"the {what}'s rows have different lengths")
    try:
        largest = max(row)
    except (TypeError, RecursionError):
        largest = None
    kind = type(largest)
    if kind is not float and kind is not int and kind is not bool:
        raise _NoNumbersError(Reason.BAD_PAYLOAD, f"the {what}'s vectors must hold numbers")
    return row.index(largest)


def _version(value: Any) -> str:
    return str(value) if type(value) in (str, int, float) and value else ""


def version_of(output: Output, model: str) -> str:
    """The version that a response names: V2 `model_version`, else the tag of the model's image."""
    if output.version:
        return output.version
    image = output.images.get(model) if type(output.images) is dict else None
    return _tag_of(image) if type(image) is str else ""


@lru_cache(maxsize=1024)
def _tag_of(image: str) -> str:
    tag = _TAG.search(image)
    return tag[1] if tag else ""


def class_list(output: Output) -> Sequence[str]:
    """The classes that a response's vectors fix: its names, else "0", "1" …"""
    return output.names or tuple(str(index) for index in range(output.width))
