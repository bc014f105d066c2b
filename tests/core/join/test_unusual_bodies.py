"""Bodies that are no JSON as they stand count like others, and their joined record has their JSON."""

import codecs
import gzip
import struct
from typing import Any, Final

import orjson
import pytest

from app.core.events import Reason
from app.core.limits import Limits
from tests.builders import Ledger, Record, a_feedback, a_request, a_response

REQUEST: Final = {"data": {"ndarray": [[1.5, 2.5]]}}
ANSWER: Final = {"predictions": [1]}


def packed(body: Any) -> bytes:
    return gzip.compress(orjson.dumps(body))


def binary() -> bytes:
    tensor = {"name": "y", "datatype": "UINT8", "shape": [1], "parameters": {"binary_data_size": 1}}
    return orjson.dumps({"outputs": [tensor]}) + struct.pack("B", 125)  # it ends like an object


def payloads(ledger: Ledger) -> list[Any]:
    return [part["payload"] for _, value in ledger.logged for part in orjson.loads(value)["parts"]]


@pytest.mark.parametrize(
    ("request_value", "answer_value", "payload"),
    [
        (packed(REQUEST), packed(ANSWER), ANSWER),
        (codecs.BOM_UTF8 + orjson.dumps(REQUEST), codecs.BOM_UTF8 + orjson.dumps(ANSWER), ANSWER),
        (b"\0\0\0\0\7" + orjson.dumps(REQUEST), b"\0\0\0\0\7" + orjson.dumps(ANSWER), ANSWER),
        (b'{"instances": [[NaN, 1]]}', orjson.dumps(ANSWER), ANSWER),
        (b"[[NaN, -Infinity]]", b"[1]", [1]),
        (
            b'{"instances": [["NaN"]]}',
            binary(),
            {"outputs": [{"name": "y", "datatype": "UINT8", "shape": [1], "parameters": {}, "data": [125]}]},
        ),
    ],
    ids=["gzip", "a mark", "a frame", "NaN", "a list", "binary"],
)
def test_an_unusual_body_counts_and_is_logged_as_json(request_value: bytes, answer_value: bytes, payload: Any) -> None:
    events = (a_request(value=request_value), a_response(value=answer_value, at=1.0))
    ledger = Ledger(logs=True).absorb(*events).settle().cut()
    assert not ledger.dead
    (leg,) = ledger.describe()["legs"]
    assert (bool(leg["request_time"]), len(leg["rows"])) == (True, 1)
    assert payloads(ledger)[1] == payload
    assert Ledger().absorb(*events).settle().cut().describe() == ledger.describe()


def test_a_missing_feature_is_logged_as_null() -> None:
    ledger = Ledger(logs=True).absorb(a_request(value=b'{"instances": [[NaN, 1]]}')).settle().cut()
    assert payloads(ledger) == [{"instances": [[None, 1]]}]


def test_gzip_is_bounded_by_the_largest_body() -> None:
    limits = Limits(body_bytes=1000)
    value = packed({"instances": [["x" * 2000]]})
    assert Ledger(limits=limits).absorb(a_request(value=value)).settle().cut().refusals == [Reason.TOO_LARGE]


def test_a_feedback_counts_without_the_request_that_cannot_be_read() -> None:
    story: tuple[Record, ...] = (
        a_feedback(1, request={"instances": [[1, 2], [3]]}, response=ANSWER, reward=1),
        a_feedback(0, puid="q", request={"instances": []}, response=ANSWER),
        a_feedback(1, puid="r", request={"instances": [[1]]}, response=ANSWER),
    )
    ledger = Ledger(logs=True).absorb(*story).settle().cut()
    assert ledger.refusals == [Reason.RAGGED, Reason.EMPTY]
    assert [letter.record.key for letter in ledger.dead] == [b"p", b"q"]
    assert ledger.dead[0].detail == (
        "the feedback counts without its request: the request's rows have different lengths"
    )
    assert ledger.stats.rejected == {Reason.RAGGED: 1, Reason.EMPTY: 1}
    rows = [ledger.describe(puid)["legs"][0]["rows"][0]["correct"] for puid in ("p", "q", "r")]
    asked = [ledger.describe(puid)["legs"][0]["request_time"] is not None for puid in ("p", "q", "r")]
    assert (rows, asked) == ([True, False, True], [False, False, True])
    assert ledger.describe()["reward"] == 1


def test_of_a_pair_the_request_that_cannot_be_read_is_refused_alone() -> None:
    ledger = Ledger().absorb(a_request({"data": {"ndarray": [[1, 2], [3]]}}), a_response(0, 1, at=1.0))
    ledger.absorb(a_feedback([0, 1], at=2.0)).settle().cut()
    assert ledger.refusals == [Reason.RAGGED]
    assert [row["correct"] for row in ledger.describe()["legs"][0]["rows"]] == [True, True]


def test_rows_whose_label_is_null_have_none() -> None:
    ledger = Ledger().absorb(a_response(0, 1, 1), a_feedback([0, None, 0], at=1.0)).settle().cut()
    assert [row.get("correct") for row in ledger.describe()["legs"][0]["rows"]] == [True, None, False]


def test_an_answer_without_a_class_has_no_rows() -> None:
    ledger = Ledger().absorb(a_request(), a_response(body={"predictions": [{"took": 7}]}, at=1.0)).settle().cut()
    assert (ledger.dead, ledger.describe()["legs"][0]["rows"]) == ([], [])


def test_names_that_outnumber_the_column_are_those_of_the_values() -> None:
    response = a_response(1, 0, names=["oak", "elm"])
    ledger = Ledger().absorb(response, a_feedback(["elm", 1], at=1.0)).settle().cut()
    rows = ledger.describe()["legs"][0]["rows"]
    assert [(row["predicted"], row["label"]) for row in rows] == [("elm", "elm"), ("oak", "elm")]
