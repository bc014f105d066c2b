"""Seldon's form: {"data": {"names", "ndarray" | "tensor" | "tftensor"}}, strData, jsonData, binData, customData.

https://docs.seldon.io/projects/seldon-core/en/v1/graph/protocols.html

The common one, an object with `data.ndarray`, is decoded into structs, which skips all that is not needed: nearly all
events are of it. `app.core.payloads.bodies` tries it first.
"""

from typing import Any, Final

import msgspec

from app.core.events import Reason, RefusedError
from app.core.payloads.blanking import Redaction, blank_row, blank_rows
from app.core.payloads.metrics import Metric
from app.core.payloads.table import Form, Table, rows_table
from app.core.payloads.tensorflow import tftensor_rows
from app.core.payloads.tensors import shape_of, shaped

# -- the common form --------------------------------------------------------------------------------------------------

UNSET: Final = msgspec.UNSET


class Data(msgspec.Struct, gc=False):
    """The rows of a body, and the names of their columns."""

    ndarray: Any
    names: tuple[str, ...] | None = None


class Request(msgspec.Struct, gc=False):
    """A request of the common form."""

    data: Data


class Meta(msgspec.Struct, gc=False):
    """What an answer says beside its rows."""

    requestPath: dict[str, str] | None = None  # noqa: N815 - the field's name
    metrics: list[Metric] | None = None


class _OfFeedback(msgspec.Struct, gc=False):
    metrics: list[Metric] | None = None


class Response(msgspec.Struct, gc=False):
    """An answer of the common form."""

    data: Data
    meta: Meta | None = None
    model_version: Any = None


class _Truth(msgspec.Struct, gc=False):
    data: Data
    meta: _OfFeedback | None = None


class _Feedback(msgspec.Struct, gc=False):
    truth: _Truth
    reward: Any = UNSET
    response: Any = None
    request: Any = None
    meta: _OfFeedback | None = None


decode_request = msgspec.json.Decoder(Request).decode
decode_response = msgspec.json.Decoder(Response).decode
decode_feedback = msgspec.json.Decoder(_Feedback).decode

# -- all of it --------------------------------------------------------------------------------------------------------

#: Members that hold one value, and the type that they say it has.
_SINGLE: Final = {"strData": "text", "jsonData": "json", "customData": "json", "binData": "image"}


def _claims(body: Any, _what: str) -> bool:
    return type(body) is dict and not SELDON.members.isdisjoint(body)


def _table(body: Any, what: str) -> Table:
    if "data" in body:
        return _data_table(body["data"], what)
    member = next(member for member in _SINGLE if member in body)
    return Table([body[member]], own_type=_SINGLE[member])


def _data_table(data: Any, what: str) -> Table:
    if type(data) is not dict:
        return rows_table(data, None, what)
    names = data.get("names")
    if "ndarray" in data:
        return rows_table(data["ndarray"], names, what)
    if "tensor" in data:
        return rows_table(_tensor_rows(data["tensor"], what), names, what)
    if "tftensor" in data:
        return rows_table(tftensor_rows(data["tftensor"], what), names, what)
    raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s data has neither ndarray nor tensor nor tftensor")


def _tensor_rows(tensor: Any, what: str) -> list[Any]:
    values = tensor.get("values") if type(tensor) is dict else None
    if type(values) is not list:
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s tensor needs shape and values")
    return shaped(values, shape_of(tensor.get("shape"), what), what)


def _blank(body: Any, redaction: Redaction) -> Any:
    if type(body) is not dict:
        return body
    if "data" in body:
        body["data"] = _blank_data(body["data"], redaction.under("data"))
    for member in _SINGLE:
        if member in body:
            body[member] = _blank_single(body[member], redaction.under(member))
    return body


def _blank_data(data: Any, redaction: Redaction) -> Any:
    if type(data) is not dict:
        return blank_rows(data, (), redaction)
    given = data.get("names")
    names = [name if type(name) is str else "" for name in given] if type(given) is list else []
    if "ndarray" in data:
        data["ndarray"] = blank_rows(data["ndarray"], names, redaction)
    for member, read in (("tensor", _tensor_rows), ("tftensor", tftensor_rows)):
        if member in data:
            try:
                rows = read(data[member], "request")  # whatever is missing
                blanked = blank_rows(rows, names, redaction)
            except RefusedError:
                rows, blanked = [], [None] if redaction.by_place or not redaction.entries.isdisjoint(names) else []
            if blanked != rows:  # flat values cannot be null; as rows they can
                del data[member]
                data.setdefault("ndarray", blanked)
    return data


def _blank_single(value: Any, redaction: Redaction) -> Any:
    if type(value) is dict:
        return blank_row(value, (), redaction)
    if type(value) is list and all(type(item) is dict for item in value):
        return blank_rows(value, (), redaction)
    return None if redaction.by_place else value


SELDON: Final = Form(
    "Seldon",
    frozenset({"data", *_SINGLE}),
    _claims,
    _table,
    _blank,
    (
        ("request", '{"data": {"names": ["age", "city"], "ndarray": [[31, "Rome"], [null, "Oslo"]]}}'),
        ("response", '{"data": {"names": ["cat", "dog"], "ndarray": [[0.1, 0.9]]}}'),
        ("response", '{"data": {"names": ["cat", "dog"], "ndarray": [1, 0]}}'),
        ("response", '{"data": {"tensor": {"shape": [2, 2], "values": [0.1, 0.9, 0.8, 0.2]}}}'),
        ("response", '{"strData": "cat"}'),
        ("response", '{"jsonData": {"prediction": "cat", "took": 3}}'),
        ("response", '{"binData": "AAEC"}'),
        ("truth", '{"data": {"ndarray": ["cat", null, "dog"]}}'),
    ),
)
