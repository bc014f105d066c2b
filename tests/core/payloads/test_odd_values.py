"""Values that some readers of JSON refuse: whatever way a body goes, it counts for the same and is documented.

A body goes one way where it is ASCII and of the common form (structs skip what nobody needs), another where it is not,
and others through the dialects. Where nobody reads an odd value it changes nothing.
"""

import gzip
import json
import string
from collections.abc import Callable
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.dialects.understand import Arrival, understand
from app.core.drift.distribution import Distribution
from app.core.drift.live import Live
from app.core.drift.reference import Reference
from app.core.events import RefusedError
from app.core.outputs.documents.changes import Documents
from app.core.outputs.documents.merging import merged
from app.core.payloads.bodies import FeedbackBody, Output, check_request, read_feedback, read_response
from app.core.payloads.loosejson import loads, mended, plain, shallow
from app.core.payloads.seldon import Data
from app.core.rules import Rulebook, Rules
from tests.builders import a_feedback, a_request, a_response, run


def nested(levels: int) -> str:
    return "[" * levels + "1" + "]" * levels


#: By name the JSON of a value.
ODD: Final[dict[str, str]] = {
    "1e400": "1e400",
    "-1e999": "-1e999",
    "30 digits": "9" * 30,
    "400 digits": "9" * 400,
    "400 digits and a sign": "-" + "9" * 400,
    "5,000 digits": "9" * 5000,
    "260 deep": nested(260),
    "700 deep": nested(700),
    "objects 700 deep": '{"a":' * 700 + "1" + "}" * 700,
    "half a character": '"\\ud800"',
    "the other half": '"a\\uDC00b"',
    "halves in the wrong order": '"\\udc00\\ud800"',
    "half a character in a key": '{"\\ud800": 1}',
    "a backslash before ud800": '"\\\\ud800"',
    "a whole character": '"\\ud83d\\ude00"',
    "NUL": '"a\\u0000b"',
    "NUL in a key": '{"a\\u0000b": 1}',
    "an empty key": '{"": 1}',
    "keys with dots at their ends": '{".a": 1, "a.": 2, ".": 3, "a..b": 4, "...": 5}',
    "a key of blanks": '{" ": 1}',
    "a key twice": '{"a": 1, "a": 2}',
    "a very long key": f'{{"{"k" * 40_000}": 1}}',
    "a very long path": ('{"' + "k" * 900 + '":') * 60 + "1" + "}" * 60,
    "NaN": "[NaN, Infinity, -Infinity]",
    "all of it": '[1e400, "\\ud800", NaN, "\\u0000", ' + nested(300) + "]",
}

#: By kind: a body of the common form with a place where nobody looks, and its reader.
BODIES: Final[dict[str, tuple[str, Callable[[bytes], Any]]]] = {
    "request": (
        '{"data": {"names": ["a", "b"], "ndarray": [[1, 2]]}, "meta": {"by": "BY", "odd": ODD}}',
        check_request,
    ),
    "response": (
        '{"data": {"names": ["a", "b"], "ndarray": [[0.25, 0.75]]}, "meta": {"by": "BY", "odd": ODD}}',
        read_response,
    ),
    "feedback": (
        '{"reward": 1, "truth": {"data": {"ndarray": ["b"]}}, "meta": {"by": "BY", "odd": ODD}}',
        read_feedback,
    ),
}


def ways(body: str) -> dict[str, bytes]:
    """The same body for each reader; `BY` stands where a word may be of any letters."""
    plainly, other = (body.replace("BY", word) for word in ("me", "mé"))
    return {
        "ASCII": plainly.encode(),
        "not ASCII": other.encode(),
        "packed": gzip.compress(plainly.encode()),
        "marked": plainly.encode("utf-8-sig"),
        "in UTF-16": other.encode("utf-16"),
    }


def of(kind: str, value: str) -> str:
    return BODIES[kind][0].replace("ODD", value)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind", BODIES)
def test_an_odd_value_where_nobody_looks_changes_nothing(kind: str, odd: str) -> None:
    read = BODIES[kind][1]
    usual = read(ways(of(kind, "1"))["ASCII"])
    for body in ways(of(kind, ODD[odd])).values():
        assert read(body) == usual


#: Of numbers, and of categories.
REFERENCES: Final = [
    Live(Reference((one,)))
    for one in (
        Distribution("a", "continuous", (0.0, 1.0, 2.0**53), (), (1, 1, 1)),
        Distribution("a", "categorical", (), ("1", "true", "1e+30", "9007199254740992.0"), (1, 1, 1, 1)),
    )
]


def outcome(read: Callable[[bytes], Any], body: bytes) -> Any:
    """What a reader says: marks as they count, features by their bins, or why not."""
    try:
        found = read(body)
    except RefusedError as refused:
        return refused.reason
    if isinstance(found, Output):
        return found.marks, found.scores, found.version, found.width
    if isinstance(found, Data):
        return [live.bins(found.ndarray, found.names) for live in REFERENCES]
    return (found.labels, found.reward) if isinstance(found, FeedbackBody) else found


texts = st.text(string.ascii_letters + '"\\\x00', max_size=3).map(lambda text: orjson.dumps(text).decode())
numbers = st.one_of(
    st.sampled_from(["1e400", "-1e400", "1e308", "NaN", "-Infinity", "1e-400", "-0", "0.0", "true", "null"]),
    st.integers(-9, 9).map(str),
    st.integers(2**53 - 2, 2**53 + 2).map(str),
    st.integers(2**64 - 2, 2**64 + 2).map(str),
    st.integers(10**30 - 2, 10**30 + 2).map(str),
    st.tuples(st.sampled_from(["", "-"]), st.sampled_from([308, 309, 400, 4299, 4300, 4301])).map(
        lambda it: it[0] + "9" * it[1]
    ),
)
values = st.one_of(numbers, texts, st.sampled_from(['"\\ud800"', '"\\udc00x"', nested(300), "{}", "[]"]))
rows = st.one_of(
    st.lists(numbers, min_size=1, max_size=3).map(lambda cells: f"[{','.join(cells)}]"),
    values,
    st.lists(values, max_size=3).map(lambda cells: f"[{','.join(cells)}]"),
)
ndarrays = st.lists(rows, max_size=3).map(lambda rows: f"[{','.join(rows)}]")


@given(ndarrays, values, values)
def test_a_body_says_the_same_whatever_way_it_goes(ndarray: str, one: str, other: str) -> None:
    response = f'{{"data": {{"ndarray": {ndarray}}}, "model_version": {one}, "by": "BY", "odd": {other}}}'
    feedback = f'{{"truth": {{"data": {{"ndarray": {ndarray}}}}}, "reward": {one}, "by": "BY", "odd": {other}}}'
    request = f'{{"data": {{"ndarray": {ndarray}}}, "by": "BY", "odd": [{one}, {other}]}}'
    readers: list[Callable[[bytes], Any]] = [read_response, read_feedback, check_request]
    for read, body in zip(readers, (response, feedback, request), strict=True):
        found = {way: outcome(read, value) for way, value in ways(body).items()}
        assert len({str(it) for it in found.values()}) == 1, found


# -- the dialects -----------------------------------------------------------------------------------------------------


def payloads(kind: str, body: bytes) -> dict[str, bytes]:
    """The payload that each dialect makes of a body."""
    headers = [("ce_specversion", b"1.0"), ("ce_type", f"io.seldon.serving.inference.{kind}".encode())]
    headers.append(("ce_requestid", b"p"))
    if kind == "feedback":
        headers[1] = ("ce_type", b"io.seldon.serving.feedback")
    kind_of = headers[1][1].decode()
    structured = b'{"specversion": "1.0", "type": "%b", "requestid": "p", "data": %b}' % (kind_of.encode(), body)
    bare = b'{"puid": "p", "kind": "%b", "payload": %b}' % (kind.encode(), body)
    arrivals = {
        "binary": Arrival("t", headers, b"p", body, 0),
        "over HTTP": Arrival(None, headers, None, body, 0),
        "structured": Arrival("t", [], b"p", structured, 0),
        "in a batch": Arrival(
            "t", [("content-type", b"application/cloudevents-batch+json")], b"p", b"[%b]" % structured, 0
        ),
        "plain": Arrival("t", [], None, bare, 0),
    }
    return {name: event.value for name, arrival in arrivals.items() for _, _, event in understand(arrival)}


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind", BODIES)
def test_every_dialect_takes_it(kind: str, odd: str) -> None:
    read = BODIES[kind][1]
    usual = read(ways(of(kind, "1"))["ASCII"])
    for way in ("ASCII", "not ASCII"):
        found = payloads(kind, ways(of(kind, ODD[odd]))[way])
        assert len(found) == 5
        for payload in found.values():
            assert read(payload) == usual


# -- the join and its documents ---------------------------------------------------------------------------------------


def joined(kind: str, body: bytes) -> tuple[Any, Any]:
    """What is counted of a prediction of which one part has this body, and the document of it."""
    answer = {"data": {"names": ["a", "b"], "ndarray": [[0.25, 0.75]]}}
    records = {
        "request": a_request(at=0),
        "response": a_response(body=answer, at=1),
        "feedback": a_feedback("b", reward=1, at=2),
    }
    records[kind] = records[kind]._replace(value=body)
    ledger = run([*records.values()], [], logs=True)
    assert ledger.refusals == []
    documents: dict[Any, Any] = {}
    for _, record in ledger.logged:
        for change in Documents(Rulebook(())).changes(record):
            documents[change.place] = merged(documents.get(change.place), change)
    (document,) = documents.values()
    return ledger.totals(), orjson.loads(orjson.dumps(document))


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize("kind", BODIES)
def test_it_counts_and_is_documented_alike_whatever_way_it_came(kind: str, odd: str) -> None:
    usual, _ = joined(kind, ways(of(kind, "1"))["ASCII"])
    found = []
    for body in ways(of(kind, ODD[odd])).values():
        counts, document = joined(kind, body)
        assert counts == usual
        found.append(document)
        del found[-1][kind]["meta"]["by"]
        found[-1][kind].get("payload", {}).get("meta", {}).pop("by", None)
    assert all(document == found[0] for document in found)
    assert found[0]["verdict"]["correct"] is True


@pytest.mark.parametrize("odd", [odd for odd in ODD if "NaN" not in ODD[odd]])
def test_what_a_detector_says_with_it_is_documented(odd: str) -> None:
    body = f'{{"data": {{"is_outlier": [1]}}, "odd": {ODD[odd]}}}'.encode()
    outlier = a_response(headers={"ce_type": b"io.seldon.serving.inference.outlier"}, at=1)._replace(value=body)
    ledger = run([a_request(at=0), outlier], [], logs=True)
    assert ledger.refusals == []
    (change,) = Documents(Rulebook(())).changes(ledger.logged[0][1])
    document = orjson.loads(orjson.dumps(merged(None, change)))
    assert document["outlier"]["data"] == {"is_outlier": 1}


#: By name what the document says of the value.
DOCUMENTED: Final[dict[str, Any]] = {
    "1e400": "1e400",
    "30 digits": 1e30,
    "400 digits": "9" * 400,
    "5,000 digits": "9" * 5000,
    "half a character": "\ufffd",
    "halves in the wrong order": "\ufffd\ufffd",
    "half a character in a key": {"\ufffd": 1},
    "a backslash before ud800": "\\ud800",
    "a whole character": "😀",
    "NUL in a key": {"a\0b": 1},
    "an empty key": {"": 1},
    "NaN": [None, None, None],
}


@pytest.mark.parametrize("odd", DOCUMENTED)
def test_what_is_documented_of_it(odd: str) -> None:
    _, document = joined("response", ways(of("response", ODD[odd]))["ASCII"])
    assert document["response"]["meta"]["odd"] == DOCUMENTED[odd]


def test_what_is_nested_too_deep_is_documented_as_text() -> None:
    _, document = joined("response", ways(of("response", nested(700)))["ASCII"])
    value, levels = document["response"]["meta"]["odd"], 0
    while type(value) is list:
        value, levels = value[0], levels + 1
    assert levels < 200
    assert value == nested(700 - levels)


@pytest.mark.parametrize("names", [("k" * 1000,) * 7, ("k" * 999,) * 40, ("é" * 999,) * 8])
def test_a_path_that_elasticsearch_cannot_index_is_not_searched(names: tuple[str, ...]) -> None:
    value: Any = 1
    for name in names:
        value = {name: value}
    record = a_response(body={"jsonData": {"a": 1}}, at=1)
    request = a_request({"data": {"names": ["a", "b"], "ndarray": [[1, value]]}})
    ledger = run([request, record], [], logs=True)
    (change,) = Documents(Rulebook(())).changes(ledger.logged[0][1])
    message = merged(None, change)["request"]
    assert message["instance"] == [1, value]
    assert message["elements"] is None


@pytest.mark.parametrize("odd", ["1e400", "half a character", "NaN", "260 deep", "700 deep"])
def test_what_a_user_keeps_back_goes_from_a_text_that_is_json_with_an_odd_value(odd: str) -> None:
    inner = f'{{"iban": "secret", "odd": {ODD[odd]}}}'
    body = {"data": {"ndarray": [[1, 2]]}, "meta": {"said": inner}}
    rules = Rules("*", redact=("iban",))
    ledger = run([a_request(body), a_response(at=1)], [], rules=(rules,), logs=True)
    for _, record in ledger.logged:
        for change in Documents(Rulebook((rules,))).changes(record):
            assert "secret" not in str(merged(None, change))


# -- how texts are rewritten ------------------------------------------------------------------------------------------

leaves = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.text(),
    st.floats(allow_nan=False, allow_infinity=False),
)
trees = st.recursive(
    leaves, lambda it: st.lists(it, max_size=3) | st.dictionaries(st.text(), it, max_size=3), max_leaves=12
)


@given(trees)
def test_json_that_every_reader_takes_stays_as_it_is(tree: Any) -> None:
    for raw in (orjson.dumps(tree), json.dumps(tree).encode(), json.dumps(tree, indent=1).encode()):
        assert plain(raw) == mended(raw) == shallow(raw, 200) == raw
        assert loads(raw) == orjson.loads(raw)


def depth(value: Any) -> int:
    inner = value if type(value) is list else [*value.values()] if type(value) is dict else None
    return 0 if inner is None else 1 + max(map(depth, inner), default=0)


@given(trees, st.integers(1, 4))
def test_what_is_deeper_becomes_its_text(tree: Any, most: int) -> None:
    cut = orjson.loads(shallow(orjson.dumps(tree), most))
    assert depth(cut) == min(depth(tree), most)

    def restored(now: Any, then: Any, level: int) -> Any:
        if level == most and type(then) in (list, dict):
            return orjson.loads(now)
        if type(then) is list:
            return [restored(*pair, level + 1) for pair in zip(now, then, strict=True)]
        if type(then) is dict:
            return {name: restored(now[name], then[name], level + 1) for name in then}
        return now

    assert restored(cut, tree, 0) == tree


@given(st.binary(max_size=60) | st.text('[]{}",:\\uUdD8cCfF0e+-.1 \n', max_size=60).map(str.encode))
def test_what_is_no_json_is_none_after_it(raw: bytes) -> None:
    for rewrite in (plain, mended, lambda it: shallow(it, 3)):
        rewritten = rewrite(raw)
        if raw == rewritten:
            continue
        try:
            json.loads(raw.decode())
        except ValueError:
            with pytest.raises(ValueError):  # noqa: PT011 - whatever a reader says
                json.loads(rewritten.decode())
