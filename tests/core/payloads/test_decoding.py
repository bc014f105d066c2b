"""What bodies mean that are no JSON as they stand: packed, marked, framed, with binary tensors, with NaN."""

import codecs
import gzip
import json
import struct
from collections.abc import Callable
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import Kind, Reason, RefusedError
from app.core.payloads.bodies import check_request, read_feedback, read_response
from app.core.payloads.decoding import body_of, parse
from app.core.payloads.loosejson import dumps, loads
from app.core.payloads.unwrapping import unwrapped
from app.core.payloads.v2_binary import read_binary
from tests.core.payloads.reading import classes, outcome, texts

ANSWER: Final = b'{"predictions": [[0.25, 0.75]]}'


def reason(read: Callable[..., Any], *arguments: Any) -> tuple[Reason, str]:
    with pytest.raises(RefusedError) as refused:
        read(*arguments)
    return refused.value.reason, refused.value.detail


# -- what stands around -----------------------------------------------------------------------------------------------

WRAPPERS: Final[dict[str, Callable[[bytes], bytes]]] = {
    "gzip": gzip.compress,
    "UTF-8": lambda body: codecs.BOM_UTF8 + body,
    "UTF-16": lambda body: body.decode().encode("utf-16"),
    "UTF-16 BE": lambda body: codecs.BOM_UTF16_BE + body.decode().encode("utf-16-be"),
    "UTF-32": lambda body: body.decode().encode("utf-32"),
    "a registry's frame": lambda body: b"\0\0\0\0\7" + body,
    "gRPC's frame": lambda body: b"\0" + len(body).to_bytes(4, "big") + body,
    "all of them": lambda body: b"\0\0\0\0\7" + gzip.compress(codecs.BOM_UTF8 + body, mtime=0),
}


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("body", [ANSWER, b"[1, 0]", '{"predictions": ["größer"]}'.encode()])
def test_what_stands_around_a_body_is_taken_off(wrapper: str, body: bytes) -> None:
    value = WRAPPERS[wrapper](body)
    assert unwrapped(value) == body
    rewritten: dict[bytes, bytes] = {}
    assert read_response(value, rewritten=rewritten) == read_response(body)
    assert orjson.loads(rewritten[value]) == orjson.loads(body)


def test_a_body_that_is_json_as_it_stands_is_not_rewritten() -> None:
    rewritten: dict[bytes, bytes] = {}
    for value in (ANSWER, b' {"predictions": ["gr\xc3\xb6\xc3\x9fer"]}\n'):
        read_response(value, rewritten=rewritten)
    assert rewritten == {}


@pytest.mark.parametrize(
    ("value", "why", "words"),
    [
        (gzip.compress(ANSWER, mtime=0)[:-9], Reason.BAD_JSON, "gzip that ends too early"),
        (b"\x1f\x8bnot", Reason.BAD_JSON, "begins like gzip and is none"),
        (gzip.compress(b'{"x": "' + b"a" * 3000 + b'"}', mtime=0), Reason.TOO_LARGE, "gzip of more than 2000 bytes"),
        (codecs.BOM_UTF16_LE + b"\x00\xd8", Reason.BAD_JSON, "begins with the mark of utf-16"),
        (gzip.compress(b"neither", mtime=0), Reason.BAD_JSON, "the value is not JSON"),
    ],
    ids=["cut", "no gzip", "too large", "no UTF-16", "no JSON"],  # gzip has the time in it
)
def test_why_a_packed_body_cannot_be_read(value: bytes, why: Reason, words: str) -> None:
    found, sentence = reason(read_response, value, 200, 2000)
    assert (found, words in sentence) == (why, True), sentence


def test_gzip_is_not_inflated_further_than_allowed() -> None:
    bomb = gzip.compress(gzip.compress(b"0" * (50 << 20), mtime=0))
    assert len(bomb) < 1000
    assert reason(unwrapped, bomb, 1 << 20)[0] is Reason.TOO_LARGE


@given(st.binary(max_size=60), st.integers(1, 100))
def test_unwrapping_any_bytes_gives_bytes_or_a_refusal(value: bytes, largest: int) -> None:
    assert outcome(unwrapped, value, largest) in (None, Reason.BAD_JSON, Reason.TOO_LARGE)


# -- words that are no numbers ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": {"ndarray": [[1.0, NaN]]}}',
        b'{"data": {"names": ["a", "b"], "ndarray": [[Infinity, -Infinity], [NaN, 1]]}}',
        b'{"data": {"tensor": {"shape": [1, 2], "values": [NaN, 1]}}}',
        b'{"instances": [[1.0, NaN]]}',
        b'{"instances": [{"a": NaN}]}',
        b'{"inputs": {"a": [NaN], "b": [1]}}',
        b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [NaN, Infinity]}]}',
        b'{"dataframe_split": {"columns": ["a"], "data": [[NaN]]}}',
        b'{"dataframe_records": [{"a": NaN}]}',
        b'{"examples": [{"a": NaN}]}',
        b"[[NaN, 1]]",
        b'{"jsonData": {"a": NaN}}',
        b'{"data": {"ndarray": [[null, 1]]}}',
        b'{"data": {"ndarray": [null]}}',
        b'{"data": {"tftensor": {"dtype": 1, "float_val": ["NaN"]}}}',
        b'{"inputs": [{"datatype": "FP32", "shape": [1], "contents": {"fp32_contents": ["Infinity"]}}]}',
    ],
)
def test_a_missing_feature_costs_nothing(body: bytes) -> None:
    rewritten: dict[bytes, bytes] = {}
    check_request(body, rewritten=rewritten)
    assert all(json.loads(text) is not None and b"NaN" not in text for text in rewritten.values())
    carried = b'{"reward": 1, "request": ' + body + b', "response": {"data": {"ndarray": [1]}}}'
    assert read_feedback(carried).has_request


@pytest.mark.parametrize(
    "body",
    [
        b'{"data": {"ndarray": [[NaN, 1]]}}',
        b'{"data": {"ndarray": [[1, NaN]]}}',
        b'{"predictions": [NaN]}',
        b'{"predictions": [{"label": NaN}]}',
        b'{"predictions": [{"prob_a": NaN, "prob_b": 1}]}',
        b'{"outputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": [Infinity]}]}',
        b'{"outputs": [{"datatype": "FP32", "shape": [1], "contents": {"fp32_contents": ["NaN"]}}]}',
        b'{"data": {"tftensor": {"dtype": 1, "float_val": ["NaN"]}}}',
        b'{"results": [NaN]}',
        b"[NaN]",
    ],
)
def test_in_an_answer_or_a_label_it_is_refused(body: bytes) -> None:
    assert reason(read_response, body)[0] is Reason.NOT_FINITE
    assert reason(read_feedback, b'{"truth": ' + body + b"}")[0] is Reason.NOT_FINITE


def test_the_sentence_names_the_row_and_what_it_holds() -> None:
    assert reason(read_response, b"[1, NaN]")[1] == "row 1 of the response has nan in the place of a class"
    assert reason(read_response, b"[1, null]")[1] == "row 1 of the response has null in the place of a class"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('["NaN", "a\\"NaN"]', ["NaN", 'a"NaN']),
        ('{"NaN": 1, "x": -Infinity}', {"NaN": 1, "x": float("-inf")}),
        ("[18446744073709551616, Infinity]", [2.0**64, float("inf")]),
    ],
)
def test_these_words_are_read_outside_of_texts_alone(text: str, value: Any) -> None:
    assert loads(text) == value


@pytest.mark.parametrize(
    "text",
    ["[NaN", "[nan]", "[NaNs]", "[1e400", "[1e400e]", "[1.e400]", '["\\ud8"]', '["\\ud800', "[01, NaN]", "[NaN,]"],
)
def test_all_else_is_as_strict_as_before(text: str) -> None:
    assert reason(loads, text)[0] is Reason.BAD_JSON


values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


@given(values)
def test_what_is_written_loosely_is_read_again(value: Any) -> None:
    assert loads(dumps(value)) == value


@pytest.mark.parametrize("depth", [200, 900, 1100, 100_000])
def test_deep_values_never_raise(depth: int) -> None:
    value = b"[" * depth + b"NaN" + b"]" * depth
    for kind in Kind:
        assert outcome(body_of, value, kind) in (None, Reason.BAD_JSON, Reason.BAD_PAYLOAD)


def test_what_only_tally_writes_is_strict() -> None:
    assert parse(b'{"label": 1}') == {"label": 1}
    assert reason(parse, b"[NaN]")[0] is Reason.NOT_FINITE
    assert reason(parse, b"[")[0] is Reason.BAD_JSON


# -- V2 with binary tensors -------------------------------------------------------------------------------------------


def binary(*tensors: tuple[str, str, list[int], bytes], member: str = "outputs", **more: Any) -> tuple[bytes, bytes]:
    """The JSON header and what follows it."""
    described = [
        {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": len(raw)}}
        for name, datatype, shape, raw in tensors
    ]
    return orjson.dumps({"model_name": "m", member: described, **more}), b"".join(raw for *_, raw in tensors)


SCORES: Final = ("y", "FP32", [2, 2], struct.pack("<4f", 0.25, 0.75, 0.5, 0.125))
WORDS: Final = ("label", "BYTES", [2], b"\3\0\0\0oak\3\0\0\0elm")


@pytest.mark.parametrize(
    ("tensors", "found"),
    [
        ((SCORES,), ["1", "0"]),
        ((WORDS,), ["oak", "elm"]),
        ((SCORES, WORDS), ["oak", "elm"]),
        ((("y", "INT64", [1], struct.pack("<q", 7)),), ["7"]),
        ((("y", "UINT8", [2], b"}}"),), ["125", "125"]),  # it ends like an object
        ((("y", "BYTES", [1, 2], b"\x0b\0\0\0" + b"0.75:4:spam" + b"\x0a\0\0\0" + b"0.25:1:ham"),), ["spam"]),
        ((("y", "BYTES", [1], b"\4\0\0\0Wild"),), ["Wild"]),  # which is base64, too
    ],
)
def test_binary_tensors_behind_the_json(tensors: Any, found: list[str]) -> None:
    header, data = binary(*tensors)
    rewritten: dict[bytes, bytes] = {}
    output = read_response(header + data, rewritten=rewritten)
    assert texts(output.marks) == found
    body = read_binary(header + data, "response", len(header))
    assert orjson.loads(rewritten[header + data]) == body
    assert classes(body) == found


def test_binary_tensors_may_stand_beside_others() -> None:
    header, data = binary(SCORES)
    body = orjson.loads(header)
    body["outputs"].append({"name": "label", "datatype": "BYTES", "shape": [2], "data": ["oak", "elm"]})
    assert classes(orjson.dumps(body) + data) == ["oak", "elm"]


def test_what_is_not_finite_in_binary_features_is_missing() -> None:
    header, data = binary(("x", "FP32", [2], struct.pack("<2f", float("nan"), float("inf"))), member="inputs")
    check_request(header + data)
    assert body_of(header + data, Kind.REQUEST)["inputs"][0]["data"] == [None, None]
    header, data = binary(("x", "FP32", [1], struct.pack("<f", float("nan"))))
    assert reason(read_response, header + data)[0] is Reason.NOT_FINITE


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (b"".join(binary(SCORES)) + b"x", Reason.RAGGED),
        (b"".join(binary(SCORES))[:-1], Reason.RAGGED),
        (b"".join(binary(("y", "FP32", [1], b"\0\0\0"))), Reason.RAGGED),
        (b"".join(binary(("y", "FP7", [1], b"\0"))), Reason.BAD_PAYLOAD),
        (b'{"outputs": [{"parameters": {"binary_data_size": 1}', Reason.BAD_JSON),
        (b'{"binary_data_size": 1}]', Reason.RAGGED),
    ],
)
def test_why_binary_tensors_cannot_be_read(value: bytes, why: Reason) -> None:
    assert reason(read_response, value)[0] is why


@given(st.binary(max_size=30), st.integers(0, 250), st.integers(-3, 300))
def test_broken_binary_bodies_never_raise(noise: bytes, place: int, length: int) -> None:
    whole = b"".join(binary(SCORES, WORDS))
    value = whole[:place] + noise + whole[place + len(noise) :]
    assert outcome(read_response, value) in (None, *Reason)
    assert outcome(read_binary, value, "response", length) in (None, *Reason)
