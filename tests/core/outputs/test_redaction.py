"""What is redacted is nowhere in the documents, in whatever form and message it came; what is not redacted stays."""

import base64
import struct
from collections.abc import Callable, Sequence
from itertools import product
from typing import Any, Final, NamedTuple

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.outputs.documents.redaction import without
from app.core.payloads.blanking import Redaction
from app.core.payloads.forms import FORMS
from app.core.rules import Column, Rules, Schema
from tests.builders import Record, a_feedback, a_request, a_response, run
from tests.core.outputs.test_documents import Shelf, only, second, shelf, tell

#: In the text of every value that is kept back, and in no other.
HIDDEN: Final = "4711"
#: In the text of every value that is not.
OPEN: Final = "1505"

Rows = Sequence[Sequence[Any]]
Write = Callable[[Rows, Sequence[str]], Any]


class Written(NamedTuple):
    """A way to write rows of two columns, of which names say which is whose or not."""

    form: str
    write: Write
    named: bool
    texts: bool = True  # whether cells can be texts
    single: bool = False  # whether all rows must be one
    whole: bool = False  # whether all of it goes where anything does


def b64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def flat(rows: Rows) -> list[Any]:
    return [cell for row in rows for cell in row]


def floats(rows: Rows) -> bytes:
    return struct.pack(f"<{len(flat(rows))}d", *flat(rows))


def objects(rows: Rows, names: Sequence[str]) -> list[Any]:
    return [dict(zip(names, row, strict=True)) for row in rows]


def columns(rows: Rows, names: Sequence[str]) -> dict[str, list[Any]]:
    return {name: [row[place] for row in rows] for place, name in enumerate(names)}


def v2(rows: Rows, names: Sequence[str], member: str = "inputs") -> Any:
    """A tensor for each column."""
    tensors = []
    for name, values in columns(rows, names).items():
        datatype = "BYTES" if any(type(value) is str for value in values) else "FP64"
        tensors.append({"name": name, "datatype": datatype, "shape": [len(rows), 1], "data": values})
    return {member: tensors}


def one_tensor(rows: Rows, member: str = "inputs", **more: Any) -> Any:
    """A tensor for all columns, whose names nobody says."""
    datatype = "BYTES" if any(type(value) is str for value in flat(rows)) else "FP64"
    shape = [len(rows), len(rows[0])]
    return {member: [{"name": "input-0", "datatype": datatype, "shape": shape, "data": flat(rows)} | more]}


def raw_tensors(rows: Rows, names: Sequence[str]) -> Any:
    body = v2(rows, names)
    raw = [b64(floats([tensor.pop("data")])) for tensor in body["inputs"]]
    return body | {"raw_input_contents": raw}


def tftensor(rows: Rows, **content: Any) -> Any:
    dims = [{"size": len(rows)}, {"size": len(rows[0])}]
    return {"dtype": "DT_DOUBLE", "tensorShape": {"dim": dims}} | content


def packed(rows: Rows, names: Sequence[str]) -> list[str]:
    """Each row as the text of an object."""
    return [orjson.dumps(row).decode() for row in objects(rows, names)]


def json_texts(rows: Rows, names: Sequence[str], content_type: str) -> Any:
    parameters = {"content_type": content_type}
    texts = packed(rows, names)
    if content_type == "base64":
        texts = [b64(text.encode()) for text in texts]
    return {
        "inputs": [{"name": "x", "datatype": "BYTES", "shape": [len(rows)], "data": texts, "parameters": parameters}]
    }


def raw_texts(rows: Rows, names: Sequence[str]) -> Any:
    raw = b"".join(struct.pack("<I", len(text)) + text.encode() for text in packed(rows, names))
    return {"inputs": [{"name": "x", "datatype": "BYTES", "shape": [len(rows)]}], "raw_input_contents": [b64(raw)]}


def contents(rows: Rows, **values: Any) -> Any:
    body = one_tensor(rows, contents=values)
    del body["inputs"][0]["data"]
    return body


WAYS: Final = (
    Written("Seldon", lambda rows, names: {"data": {"names": list(names), "ndarray": rows}}, named=True),
    Written("Seldon", lambda rows, _names: {"data": {"names": ["t:0", "t:1"], "ndarray": rows}}, named=False),
    Written(
        "Seldon", lambda rows, names: {"data": {"names": [*names, "more"], "ndarray": rows}}, named=True, whole=True
    ),
    Written("Seldon", lambda rows, _names: {"data": {"ndarray": rows}}, named=False),
    Written("Seldon", lambda rows, _names: {"data": {"ndarray": [[row] for row in rows]}}, named=False),
    Written("Seldon", lambda rows, names: {"data": {"ndarray": objects(rows, names)}}, named=True),
    Written("Seldon", lambda rows, _names: {"data": rows}, named=False),
    Written(
        "Seldon",
        lambda rows, names: {"data": {"names": list(names), "tensor": {"shape": [len(rows), 2], "values": flat(rows)}}},
        named=True,
    ),
    Written(
        "Seldon",
        lambda rows, _names: {"data": {"tensor": {"shape": [len(rows), 2], "values": flat(rows)}}},
        named=False,
    ),
    Written(
        "Seldon",
        lambda rows, names: {"data": {"names": list(names), "tftensor": tftensor(rows, doubleVal=flat(rows))}},
        named=True,
        texts=False,
    ),
    Written(
        "Seldon",
        lambda rows, _names: {"data": {"tftensor": tftensor(rows, tensorContent=b64(floats(rows)))}},
        named=False,
        texts=False,
    ),
    Written("Seldon", lambda rows, names: {"jsonData": objects(rows, names)}, named=True),
    Written("Seldon", lambda rows, names: {"jsonData": objects(rows, names)[0]}, named=True, single=True),
    Written("Seldon", lambda rows, _names: {"jsonData": rows}, named=False, whole=True),
    Written("Seldon", lambda rows, names: {"strData": packed(rows, names)[0]}, named=True, single=True, whole=True),
    Written(
        "Seldon", lambda rows, _names: {"strData": ";".join(map(str, rows[0]))}, named=False, single=True, whole=True
    ),
    Written(
        "Seldon",
        lambda rows, names: {"binData": b64(packed(rows, names)[0].encode())},
        named=True,
        single=True,
        whole=True,
    ),
    Written("TensorFlow", lambda rows, _names: {"instances": rows}, named=False),
    Written("TensorFlow", lambda rows, names: {"instances": objects(rows, names)}, named=True),
    Written("TensorFlow", lambda rows, _names: {"instances": [{"input": row} for row in rows]}, named=False),
    Written("TensorFlow", lambda rows, _names: {"predictions": rows}, named=False),
    Written("TensorFlow", lambda rows, names: {"predictions": objects(rows, names)}, named=True),
    Written("TensorFlow", lambda rows, names: {"predictions": objects(rows, names)[0]}, named=True, single=True),
    Written("TensorFlow", lambda rows, _names: {"inputs": rows}, named=False),
    Written("TensorFlow", lambda rows, names: {"inputs": columns(rows, names)}, named=True),
    Written("TensorFlow", lambda rows, names: {"outputs": columns(rows, names)}, named=True),
    Written("TensorFlow", lambda rows, _names: {"inputs": {"input-0": rows}}, named=False),
    Written("V2", v2, named=True),
    Written("V2", lambda rows, names: v2(rows, names, "outputs"), named=True),
    Written("V2", lambda rows, _names: v2(rows, ["input-0", "input-1"]), named=False),
    Written("V2", lambda rows, _names: one_tensor(rows), named=False),
    Written("V2", lambda rows, _names: one_tensor(rows, data=rows), named=False),
    Written("V2", lambda rows, _names: one_tensor(rows, "outputs"), named=False),
    Written("V2", lambda rows, _names: contents(rows, fp64_contents=flat(rows)), named=False, texts=False),
    Written("V2", raw_tensors, named=True, texts=False),
    Written("V2", lambda rows, names: json_texts(rows, names, "hg_json"), named=True),
    Written("V2", lambda rows, names: json_texts(rows, names, "str"), named=True),
    Written("V2", lambda rows, names: json_texts(rows, names, "base64"), named=True, whole=True),
    Written("V2", raw_texts, named=True),
    Written(
        "MLflow",
        lambda rows, names: {"dataframe_split": {"columns": list(names), "data": rows, "index": [0]}},
        named=True,
    ),
    Written("MLflow", lambda rows, _names: {"dataframe_split": {"columns": ["a", "b"], "data": rows}}, named=False),
    Written("MLflow", lambda rows, _names: {"dataframe_split": {"data": rows}}, named=False),
    Written("MLflow", lambda rows, names: {"dataframe_records": objects(rows, names)}, named=True),
    Written("MLflow", lambda rows, names: {"columns": list(names), "data": rows}, named=True, whole=True),
    Written("TensorFlow examples", lambda rows, names: {"examples": objects(rows, names)}, named=True),
    Written("TensorFlow examples", lambda rows, names: {"results": objects(rows, names)}, named=True),
    Written("TensorFlow examples", lambda rows, _names: {"results": rows}, named=False),
    Written("TensorFlow examples", lambda rows, names: {"result": objects(rows, names)[0]}, named=True, single=True),
    Written("bare", lambda rows, _names: rows, named=False),
    Written(
        "MLflow",
        lambda rows, names: {"dataframe_split": {"columns": list(names), "data": rows, "index": [0]}},
        named=True,
    ),
    Written("MLflow", lambda rows, _names: {"dataframe_split": {"columns": ["a", "b"], "data": rows}}, named=False),
    Written("MLflow", lambda rows, _names: {"dataframe_split": {"data": rows}}, named=False),
    Written("MLflow", lambda rows, names: {"dataframe_records": objects(rows, names)}, named=True),
    Written("MLflow", lambda rows, names: {"columns": list(names), "data": rows}, named=True, whole=True),
    Written("TensorFlow examples", lambda rows, names: {"examples": objects(rows, names)}, named=True),
    Written("TensorFlow examples", lambda rows, names: {"results": objects(rows, names)}, named=True),
    Written("TensorFlow examples", lambda rows, _names: {"results": rows}, named=False),
    Written("TensorFlow examples", lambda rows, names: {"result": objects(rows, names)[0]}, named=True, single=True),
    Written("bare", objects, named=True),
)
#: How a user names the column "iban": (what is redacted, the schema, whether that needs names in the body).
CHOICES: Final = (
    (("iban",), (), True),
    (("data.iban", "instances.iban", "predictions.iban", "inputs.iban", "outputs.iban", "iban"), (), True),
    (("iban",), (Column("iban"), Column("x")), False),
    (("account",), (Column("account", ("iban",)), Column("x")), False),
    (("iban",), (Column("account", ("iban", "x")),), False),
    (("iban",), (Column("account", (), (("0", "no"),)), Column("iban"), Column("x")), False),  # it does not fit
)


def test_every_form_is_written() -> None:
    assert {way.form for way in WAYS} == {form.name for form in FORMS}


def documents(way: Written, message: str, rows: Rows, names: Sequence[str], rules: Sequence[Rules]) -> Shelf:
    """The documents of a story in which a message has these rows; nothing else in it is secret."""
    body = way.write(rows, names)
    asked = a_request({"data": {"ndarray": [[0, 0]] * len(rows)}})
    answered = a_response(*[1] * len(rows), at=1.0)
    answer = {"data": {"ndarray": [1] * len(rows)}}
    stories: dict[str, tuple[Record, ...]] = {
        "request": (a_request(body), answered),
        "response": (asked, a_response(body=body, at=1.0)),
        "truth": (asked, answered, a_feedback(truth=body, at=2.0)),
        "carried request": (asked, answered, a_feedback(1, request=body, response=answer, at=2.0)),
        "carried response": (asked, a_feedback(1, request={"data": {"ndarray": [[0, 0]]}}, response=body, at=2.0)),
        "only the carried request": (asked, answered, a_feedback(1, request=body, at=2.0)),
    }
    ledger = run(stories[message], [], logs=True, rules=rules)
    return shelf(map(second, ledger.logged), rules)


MESSAGES: Final = (
    "request",
    "response",
    "truth",
    "carried request",
    "carried response",
    "only the carried request",
)


@st.composite
def secrets(draw: st.DrawFn, *, texts: bool, single: bool) -> list[list[Any]]:
    """Rows of a secret value and an open one."""
    count = 1 if single else draw(st.integers(1, 3))
    secret = [47110.5, 4711.0, 47119.25] + (["DE4711", "4711"] if texts else [])
    return [[draw(st.sampled_from(secret)), draw(st.sampled_from([1505.5, 1505.25]))] for _ in range(count)]


@settings(max_examples=600)
@given(st.sampled_from(WAYS), st.sampled_from(CHOICES), st.sampled_from(MESSAGES), st.booleans(), st.data())
def test_what_is_redacted_is_nowhere(
    way: Written, choice: tuple[Any, Any, bool], message: str, turned: bool, data: st.DataObject
) -> None:
    redact, schema, needs_names = choice
    if needs_names and not way.named:
        return
    rows, names = data.draw(secrets(texts=way.texts, single=way.single)), ["iban", "x"]
    if turned:
        rows, names, schema = [row[::-1] for row in rows], names[::-1], schema[::-1]
        schema = tuple(column._replace(parts=column.parts[::-1]) for column in schema)
    rules = Rules(redact=redact, prediction_schema=Schema(schema, schema))
    plain = documents(way, message, rows, names, ())
    found = documents(way, message, rows, names, (rules,))
    assert found.keys() == plain.keys()
    text = orjson.dumps(list(found.values())).decode()
    assert HIDDEN not in text
    assert hidden_in_base64(text) == []


def hidden_in_base64(text: str) -> list[str]:
    """The texts in base64 that hold the secret."""
    return [word for word in text.split('"') if len(word) > 8 and HIDDEN in decoded(word)]


def decoded(word: str) -> str:
    try:
        return base64.b64decode(word, validate=True).decode(errors="replace")
    except ValueError:
        return ""


def known() -> list[Any]:
    """Each way with the choices by which it is known whose a value is."""
    found = []
    for way, (redact, schema, needs_names) in product(WAYS, CHOICES):
        parts = [part for column in schema for part in column.names]
        by_place = not needs_names and len(parts) == 2
        if not way.whole and (way.named or by_place):
            found.append((way, redact, schema))
    return found


def part_of(found: Shelf, message: str) -> str:
    """What a document has of a message, as text."""
    (document,) = found.values()
    if message in ("request", "response"):
        return orjson.dumps(document.get(message, {}).get("payload")).decode()
    return orjson.dumps(document.get("feedback", {}).get(message.removeprefix("carried "))).decode()


@pytest.mark.parametrize(("way", "redact", "schema"), known())
def test_what_is_not_redacted_stays(way: Written, redact: Any, schema: Any) -> None:
    rules = Rules(redact=redact, prediction_schema=Schema(schema, schema))
    for message in ("request", "response", "carried request", "truth"):
        story = (way, message, [[4711.0, 1505.5]], ["iban", "x"])
        if OPEN in part_of(documents(*story, ()), message):  # else it was refused
            assert OPEN in part_of(documents(*story, (rules,)), message), message


# -- the classes in a verdict -----------------------------------------------------------------------------------------

ASKED: Final = a_request({"data": {"ndarray": [[0]]}})
BY_NAME: Final = Rules(redact=("iban",))
BY_PLACE: Final = Rules(redact=("iban",), prediction_schema=Schema((), (Column("iban"),)))
NAMED: Final = {"data": {"names": ["iban"], "ndarray": ["DE4711"]}}
OTHER: Final = {"data": {"ndarray": ["DE1505"]}}


@pytest.mark.parametrize(
    ("story", "rules", "verdict"),
    [
        ((ASKED, a_response(body=NAMED, at=1.0)), BY_NAME, {"redacted": ["predicted"]}),
        ((ASKED, a_response(4711, at=1.0)), BY_PLACE, {"redacted": ["predicted"]}),
        (
            (ASKED, a_response(body=OTHER, at=1.0), a_feedback(truth=NAMED, at=2.0)),
            BY_NAME,
            {"predicted": "DE1505", "correct": False, "delay_seconds": 1.0, "redacted": ["label"]},
        ),
        (
            (ASKED, a_response(body=NAMED, at=1.0), a_feedback(truth=NAMED, at=2.0)),
            BY_NAME,
            {"correct": True, "delay_seconds": 1.0, "redacted": ["predicted", "label"]},
        ),
        (
            (ASKED, a_response(body=OTHER, at=1.0), a_feedback(truth=NAMED["data"]["ndarray"], at=2.0)),
            Rules(redact=("truth",)),
            {"predicted": "DE1505", "correct": False, "delay_seconds": 1.0, "redacted": ["label"]},
        ),
        (
            (ASKED, a_feedback("DE1505", response=NAMED, at=2.0)),
            BY_NAME,
            {"label": "DE1505", "correct": False, "delay_seconds": 0.0, "redacted": ["predicted"]},
        ),
        (
            (ASKED, a_response([0.25, 0.75], names=["iban", "x"], at=1.0)),
            BY_NAME,
            {"predicted": "x"},  # the class is a name, and none of the values
        ),
        (
            (ASKED, a_response(1, at=1.0), a_feedback(reward=4711, at=2.0)),
            Rules(redact=("reward",)),
            {"predicted": "1"},
        ),
    ],
)
def test_a_class_that_is_a_redacted_value_is_not_in_the_verdict(
    story: Sequence[Record], rules: Rules, verdict: dict[str, Any]
) -> None:
    document = only(tell(*story, rules=(rules,)))
    assert document["verdict"] == verdict
    assert HIDDEN not in orjson.dumps(document).decode()


@pytest.mark.parametrize("hidden", ["predicted", "label"])
def test_no_error_says_what_a_redacted_value_was(hidden: str) -> None:
    secret, open_ = ({"data": body} for body in ({"names": ["iban"], "ndarray": [4711.5]}, {"ndarray": [11.25]}))
    answer, truth = (secret, open_) if hidden == "predicted" else (open_, secret)
    story = (ASKED, a_response(body=answer, at=1.0), a_feedback(truth=truth, at=2.0))
    assert only(tell(*story))["verdict"]["error"] == (4700.25 if hidden == "predicted" else -4700.25)
    verdict = only(tell(*story, rules=(BY_NAME,)))["verdict"]
    shown = "label" if hidden == "predicted" else "predicted"
    assert verdict == {shown: 11.25, "delay_seconds": 1.0, "redacted": [hidden]}


def test_a_label_that_is_a_redacted_value_is_in_no_verdict_of_another_predictor() -> None:
    shadow: Any = {"predictor": "shadow"}
    asked = a_request({"data": {"ndarray": [[0]]}}, **shadow)
    story = [ASKED, asked, a_response(1, at=1.0), a_feedback(truth=NAMED, at=2.0), a_response(1, at=3.0, **shadow)]
    for batches in ([], [1] * 5, [3, 1, 1]):
        found = shelf(map(second, run(story, batches, logs=True, rules=(BY_NAME,)).logged), (BY_NAME,))
        assert len(found) == 2
        assert all("label" in document["verdict"]["redacted"] for document in found.values())
        assert HIDDEN not in orjson.dumps(list(found.values())).decode()


def test_the_label_of_a_row_stays_hidden_when_another_row_is_labelled() -> None:
    story = [
        a_request({"data": {"ndarray": [[0], [1]]}}),
        a_response(1, 0, at=1.0),
        a_feedback(truth=NAMED, row=0, at=3.0),
        a_feedback("open", row=1, at=4.0),
    ]
    for batches in ([], [1] * 4):
        found = shelf(map(second, run(story, batches, logs=True, rules=(BY_NAME,)).logged), (BY_NAME,))
        assert HIDDEN not in orjson.dumps(list(found.values())).decode()


def test_the_feature_of_a_drift_detector_is_redacted_by_name() -> None:
    rules = Rules(redact=("iban",), prediction_schema=Schema((Column("iban"), Column("x"))))
    headers = {"ce_type": b"io.seldon.serving.inference.drift", "ce_source": b"io.seldon.serving.d"}
    body = {"data": {"is_drift": 0, "distance": [4711.5, 0.5], "p_val": [0.5, 0.5]}}
    found = tell(a_response(1), a_response(body=body, headers=headers, at=1.0), rules=(rules,))
    (drift,) = (document["drift"] for document in found.values() if "drift" in document)
    assert drift["data"]["feature_distance"] == {"x": 0.5}


# -- paths and texts --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["request", "response", "truth", ""])
@pytest.mark.parametrize("entry", ["meta.tags.user", "user"])
def test_a_path_leads_into_the_messages_that_a_feedback_carries(place: str, entry: str) -> None:
    secret = {"meta": {"tags": {"user": HIDDEN, "x": OPEN}}}
    answer = {"data": {"ndarray": [1]}}
    body: dict[str, Any] = {"request": dict(answer), "response": dict(answer), "truth": dict(answer)}
    (body[place] if place else body).update(secret)
    document = only(tell(ASKED, a_feedback(body=body, at=1.0), rules=(Rules(redact=(entry,)),)))
    text = orjson.dumps(document).decode()
    assert (HIDDEN in text, OPEN in text) == (False, True)


@pytest.mark.parametrize("entry", ["request.meta.user", "request.data.iban"])
def test_a_path_may_begin_at_the_feedback(entry: str) -> None:
    request = {"data": {"names": ["iban", "x"], "ndarray": [[4711, 1505]]}, "meta": {"user": "4711"}}
    story = a_feedback(1, request=request, response={"data": {"ndarray": [1]}}, at=1.0)
    carried = only(tell(story, rules=(Rules(redact=(entry,)),)))["feedback"]["request"]
    if entry.endswith("iban"):
        assert carried["data"]["ndarray"] == [[None, 1505]]
    else:
        assert carried["meta"] == {}


@pytest.mark.parametrize(
    ("names", "widths", "hidden"),
    [
        (("a", "b"), (1, 1), [[0], []]),
        (("b", "a"), (1, 1), [[], [0]]),  # a name is more than a place
        ((), (1, 1), [[0], []]),
        (("x", "y"), (1, 1), [[0], []]),
        (("x", "b"), (1, 1), [[0], []]),
        ((), (1, 1, 1), [[0], [0], [0]]),
        (("b", "x", "y"), (1, 1, 1), [[], [0], [0]]),
        (("x",), (2,), [[0]]),
        (("a",), (2,), [[0, 1]]),
        (("x",), (3,), [[0, 1, 2]]),
        (("a", "b", "c"), (1, 1), [[0, 1][:1], [0]]),  # names that do not fit
    ],
)
def test_which_values_of_a_row_are_left_out(
    names: Sequence[str], widths: Sequence[int], hidden: list[list[int]]
) -> None:
    redaction = Redaction(frozenset({"a"}), (Column("a"), Column("b")))
    assert [list(places) for places in redaction.hidden(names, widths)] == hidden


def test_a_message_that_no_form_knows_is_left_out_where_values_have_no_names() -> None:
    schema = Schema((Column("iban"), Column("x")))
    carried = {"rows": [[4711, 1505]], "meta": {"x": 1}}
    rules = Rules(redact=("iban",), prediction_schema=schema)
    story = (ASKED, a_response(1, at=1.0), a_feedback(1, request=carried, at=2.0))
    assert only(tell(*story, rules=(rules,)))["feedback"]["request"] == {"meta": {"x": 1}}
    assert only(tell(*story, rules=(BY_NAME,)))["feedback"]["request"] == carried


def test_a_text_in_base64_is_read() -> None:
    body = {"x": b64(b'{"iban": 4711, "y": 1}'), "z": "Wild"}
    assert without(body, ("iban",)) == {"x": None, "z": "Wild"}
