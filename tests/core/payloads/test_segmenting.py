"""What bodies say of segments: read with the rows of the common form, it is what is read of the whole body."""

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import orjson
import pytest

from app.core.events import Kind, RefusedError
from app.core.payloads.bodies import check_request, read_response
from app.core.payloads.decoding import body_of
from app.core.payloads.segmenting import BodyReader, Said
from app.core.payloads.seldon import Data
from app.core.segments import FEATURES, PAYLOAD, ROUTE, TAGS, Segment

LARGEST: Final = 1 << 20
COUNTRY, TIER = (Segment(name, TAGS, name) for name in ("country", "tier"))
AGE, SEX = (Segment(name, FEATURES, name) for name in ("age", "sex"))


def at(path: str) -> Segment:
    return Segment(path, PAYLOAD, path)


SEGMENTS: Final[tuple[tuple[Segment, ...], ...]] = (
    (COUNTRY,),
    (COUNTRY, AGE),
    (AGE, SEX, TIER),
    (Segment("route", ROUTE), COUNTRY),
    (at("who.age"), at("who.of"), at("id")),
    (at("data.kind"), at("meta.puid")),
    (at("data.names"),),  # what the common form reads itself
    (at("meta.tags"), COUNTRY),  # one is the beginning of the other
    (at("meta.requestPath.m"), at("model_version")),
    (at("f0"), at("f1.f0")),
    (Segment("tier", "headers", "tier"),),
)
META: Final[tuple[Any, ...]] = (
    {"tags": {"country": "DE", "tier": 3}, "requestPath": {"m": "i:2"}, "routing": {"eg": 1}, "puid": "p"},
    {"tags": {"country": None}, "routing": {}},
    {"tags": {"country": ["DE", "FR"], "tier": {"a": 1}}},
    {"tags": {"country": "Österreich"}},
    {"tags": None, "routing": None},
    {"tags": "none"},
    None,
    "none",
)
MORE: Final[tuple[Any, ...]] = (
    {},
    {"who": {"age": 31, "of": True}, "id": 1e300},
    {"who": 3, "id": None, "f0": "x", "f1": {"f0": 2**62}},
)
DATA: Final[tuple[Any, ...]] = (
    {"names": ["age", "sex"], "ndarray": [[31, "f"]], "kind": "k"},
    {"names": ["age", "sex"], "ndarray": [[31, "f"], [20, "m"]]},
    {"names": ["age"], "ndarray": [[31, "f"]]},
    {"names": ["age"], "ndarray": [31]},
    {"names": [], "ndarray": [{"age": 31}]},
    {"ndarray": [[0.25, 0.75]]},
    {"tensor": {"shape": [1, 2], "values": [0.25, 0.75]}, "names": ["sex", "age"]},
)


def bodies() -> list[bytes]:
    """Of all forms of rows, each with all that may stand beside them."""
    beside = [{}, *({"meta": meta} for meta in META)]
    return [orjson.dumps({"data": data, **meta, **more}) for data in DATA for meta in beside for more in MORE] + [
        orjson.dumps({"inputs": [{"name": "age", "shape": [1], "datatype": "INT64", "data": [31]}], "who": {"age": 3}}),
        orjson.dumps({"outputs": [{"name": "p", "shape": [1], "datatype": "INT64", "data": [1]}], "who": {"age": 3}}),
    ]


@pytest.mark.parametrize("segments", SEGMENTS, ids=lambda segments: ",".join(one.name for one in segments))
def test_it_is_what_the_whole_body_says(segments: tuple[Segment, ...]) -> None:
    for kind in (Kind.REQUEST, Kind.RESPONSE):
        reader = BodyReader(segments, kind)
        for value in bodies():
            apart = partial(apart_from_it, reader, value, kind)
            assert outcome(partial(read, reader, value, kind)) == outcome(apart)


def outcome(function: Callable[[], Any]) -> Any:
    try:
        return function()
    except RefusedError as refused:
        return refused.reason, refused.detail


def apart_from_it(reader: BodyReader, value: bytes, kind: Kind) -> Any:
    rows = plain(check_request(value)) if kind is Kind.REQUEST else read_response(value)
    return rows, said(reader.of_body(body_of(value, kind)))


def read(reader: BodyReader, value: bytes, kind: Kind) -> Any:
    if kind is Kind.REQUEST:
        data, found = reader.read_request(value, LARGEST)
        return plain(data), said(found)
    output, found = reader.read_response(value, 200, LARGEST)
    return output, said(found)


def plain(data: Data) -> Any:
    return data.ndarray, [*(data.names or ())]


def said(found: Said) -> Any:
    return [*found[0]], [*found[1]]
