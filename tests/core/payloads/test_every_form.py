"""The same answer in every form: what is read is its class, or nothing at all with a reason; never another class."""

import base64
import json
import math
import struct
from collections.abc import Callable, Sequence
from random import Random
from typing import Any, Final

import orjson
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from app.core.events import Reason
from app.core.payloads.bodies import check_request, read_feedback, read_response
from app.core.payloads.forms import FORMS, form_of
from tests.core.payloads.reading import classes, label, outcome, texts
from tests.soak import SOAK

#: One row: the score of each class, in the order of the names.
Scores = Sequence[float]
#: (the names of the classes, the scores of each row) → a body.
Write = Callable[[Sequence[str], Sequence[Scores]], Any]

NAMES: Final = ("oak", "elm", "red maple", "größte Esche", "7", "n02123045 tabby, tabby cat")


def winner(names: Sequence[str], row: Scores) -> str:
    return names[row.index(max(row))]


def ranked(names: Sequence[str], row: Scores) -> list[tuple[str, float]]:
    return sorted(zip(names, row, strict=True), key=lambda pair: -pair[1])


def by_name(names: Sequence[str], row: Scores, pattern: str = "{}") -> dict[str, Any]:
    return {pattern.format(name): score for name, score in zip(names, row, strict=True)}


def objects(names: Sequence[str], row: Scores, label: str = "label", score: str = "score") -> list[Any]:
    return [{label: name, score: number} for name, number in ranked(names, row)]


def tensor(data: list[Any], shape: list[int], datatype: str, name: str = "y", **more: Any) -> Any:
    return {"outputs": [{"name": name, "datatype": datatype, "shape": shape, "data": data} | more]}


def triton(names: Sequence[str], row: Scores) -> list[str]:
    return [f"{score:f}:{names.index(name)}:{name}" for name, score in ranked(names, row)]


def columns(names: Sequence[str], rows: Sequence[Scores], pattern: str = "{}") -> dict[str, list[float]]:
    return {pattern.format(name): [row[place] for row in rows] for place, name in enumerate(names)}


def binary(names: Sequence[str], rows: Sequence[Scores]) -> bytes:
    raw = b"".join(struct.pack("<I", len(word)) + word for row in rows for word in [winner(names, row).encode()])
    parameters = {"binary_data_size": len(raw)}
    header = {"name": "label", "datatype": "BYTES", "shape": [len(rows)], "parameters": parameters}
    return orjson.dumps({"outputs": [header]}) + raw


#: Each writes an answer whose classes have names.
WRITERS: Final[dict[str, Write]] = {
    "Seldon, names": lambda names, rows: {"data": {"names": list(names), "ndarray": rows}},
    "Seldon, tensor": lambda names, rows: {
        "data": {
            "names": list(names),
            "tensor": {"shape": [len(rows), len(names)], "values": [cell for row in rows for cell in row]},
        }
    },
    "Seldon, classes": lambda names, rows: {"data": {"ndarray": [winner(names, row) for row in rows]}},
    "Seldon, positions": lambda names, rows: {
        "data": {"names": list(names), "ndarray": [row.index(max(row)) for row in rows]}
    },
    "Seldon, objects": lambda names, rows: {"data": {"ndarray": [{"label": winner(names, row)} for row in rows]}},
    "TensorFlow, classes": lambda names, rows: {"predictions": [winner(names, row) for row in rows]},
    "TensorFlow, lists": lambda names, rows: {"predictions": [{"classes": list(names), "scores": row} for row in rows]},
    "Vertex": lambda names, rows: {
        "predictions": [
            {"ids": [str(at) for at in range(len(names))], "displayNames": list(names), "confidences": row}
            for row in rows
        ]
    },
    "PMML": lambda names, rows: {
        "predictions": [
            {"Kind": winner(names, row), "Node_Id": "1"} | by_name(names, row, "Probability_{}") for row in rows
        ]
    },
    "JPMML": lambda names, rows: {
        "predictions": [by_name(names, row, "probability({})") | {"y": winner(names, row)} for row in rows]
    },
    "columns": lambda names, rows: {"predictions": [by_name(names, row, "prob_{}") for row in rows]},
    "columns, other way": lambda names, rows: {"predictions": [by_name(names, row, "{}_score") for row in rows]},
    "TorchServe": lambda names, rows: [dict(ranked(names, row)) for row in rows],
    "a frame": lambda names, rows: {"outputs": columns(names, rows)},
    "a V2 frame": lambda names, rows: {
        "outputs": [
            {"name": name, "datatype": "FP64", "shape": [len(rows), 1], "data": values}
            for name, values in columns(names, rows, "probability_{}").items()
        ],
        "parameters": {"content_type": "pd"},
    },
    "Hugging Face": lambda names, rows: {"predictions": [objects(names, row) for row in rows]},
    "other words": lambda names, rows: {"predictions": [objects(names, row, "tagName", "probability") for row in rows]},
    "hg_jsonlist": lambda names, rows: tensor(
        [json.dumps(objects(names, row)) for row in rows],
        [len(rows), 1],
        "BYTES",
        parameters={"content_type": "hg_jsonlist"},
    ),
    "hg_json": lambda names, rows: tensor(
        [json.dumps(objects(names, row)[0]) for row in rows],
        [len(rows)],
        "BYTES",
        parameters={"content_type": "hg_json"},
    ),
    "classify": lambda names, rows: {"results": [[list(pair) for pair in ranked(names, row)] for row in rows]},
    "Triton": lambda names, rows: tensor(
        [text for row in rows for text in triton(names, row)], [len(rows), len(names)], "BYTES"
    ),
    "Triton, the first": lambda names, rows: tensor([triton(names, row)[0] for row in rows], [len(rows), 1], "BYTES"),
    "V2 texts": lambda names, rows: tensor([winner(names, row) for row in rows], [len(rows)], "BYTES"),
    "V2 in base64": lambda names, rows: tensor(
        [base64.b64encode(winner(names, row).encode()).decode() for row in rows],
        [len(rows)],
        "BYTES",
        parameters={"content_type": "base64"},
    ),
    "a label and scores": lambda names, rows: {
        "outputs": {"output_label": [winner(names, row) for row in rows], "output_probability": list(rows)}
    },
    "binary": binary,
    "bare": lambda names, rows: [winner(names, row) for row in rows],
}


@st.composite
def answers(draw: st.DrawFn) -> tuple[list[str], list[list[float]]]:
    """Names of classes, and rows of probabilities of which one is the largest."""
    names = draw(st.lists(st.sampled_from(NAMES), min_size=2, max_size=4, unique=True))
    rows = []
    for _ in range(draw(st.integers(1, 3))):
        weights = draw(st.lists(st.integers(1, 50), min_size=len(names), max_size=len(names), unique=True))
        rows.append([round(weight / sum(weights), 4) for weight in weights])
    assume(all(max(row) - sorted(row)[-2] > 0.001 for row in rows))  # rounding may have made them equal
    return names, rows


@given(st.sampled_from(list(WRITERS)), answers())
def test_an_answer_is_the_same_in_every_form(writer: str, answer: tuple[list[str], list[list[float]]]) -> None:
    names, rows = answer
    body = WRITERS[writer](names, rows)
    wanted = [winner(names, row) for row in rows]
    assert classes(body) == wanted
    if isinstance(body, dict):
        assert label(body) == wanted
    assert read_response(body if isinstance(body, bytes) else orjson.dumps(body)).no_class == ""


#: Columns that say nothing of a class.
noises = st.integers(-3, 300) | st.floats(0, 1) | st.sampled_from(["north", "", "a longer text", [1, 2], None])
noise = st.dictionaries(
    st.sampled_from(["took", "note", "region", "x", "explanation", "request_id", "model_version", "threshold", "mean"]),
    noises,
    max_size=3,
)
BY_OBJECT: Final = ("TensorFlow, lists", "Vertex", "PMML", "JPMML", "columns", "columns, other way", "TorchServe")


@settings(max_examples=400)
@given(st.sampled_from(BY_OBJECT), answers(), noise, st.randoms(use_true_random=False))
@example("columns", (["7", "3"], [[0.4, 0.6]]), {"note": 7}, Random(1))
def test_columns_beside_an_answer_never_make_it_another_class(
    writer: str, answer: tuple[list[str], list[list[float]]], beside: dict[str, Any], random: Any
) -> None:
    names, rows = answer
    body = WRITERS[writer](names, rows)
    answered = body["predictions"] if isinstance(body, dict) else body
    for place, row in enumerate(answered):
        entries = [*row.items(), *beside.items()]
        random.shuffle(entries)
        answered[place] = dict(entries)
    value = json.dumps(body).encode()
    if outcome(read_response, value) is not None:
        return
    output = read_response(value)
    assert texts(output.marks, output.names) in ([], [winner(names, row) for row in rows])
    assert bool(output.marks) is not bool(output.no_class)


# -- anything ---------------------------------------------------------------------------------------------------------

cells = (
    st.none()
    | st.booleans()
    | st.integers(-3, 30)
    | st.floats(width=16)
    | st.sampled_from(["oak", "elm", "", "0.5:1:oak", '{"label": "oak"}', "NaN", "x" * 250, "a text of some words."])
)
members = st.sampled_from(["label", "score", "prob_a", "prob_b", "oak", "elm", "box", "id"])
shapes = st.recursive(
    cells,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(members, inner, max_size=3),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn) -> tuple[str, Any]:
    """An example of a form in which something is replaced."""
    form = draw(st.sampled_from(FORMS))
    what, text = draw(st.sampled_from(form.examples))
    body = json.loads(text)
    for _ in range(draw(st.integers(0, 3))):
        body = _replaced(draw, body)
    return what, body


def _replaced(draw: st.DrawFn, value: Any) -> Any:
    if isinstance(value, dict) and value and draw(st.booleans()):
        name = draw(st.sampled_from(list(value)))
        return value | {name: _replaced(draw, value[name])}
    if isinstance(value, list) and value and draw(st.booleans()):
        place = draw(st.integers(0, len(value) - 1))
        return [*value[:place], _replaced(draw, value[place]), *value[place + 1 :]]
    return draw(shapes)


@settings(max_examples=100_000 if SOAK else 600)
@given(mutated())
def test_a_broken_body_is_read_or_refused_with_a_reason(example: tuple[str, Any]) -> None:
    what, body = example
    text = json.dumps(body)
    carried = b'{"request": %b, "response": %b, "truth": %b, "reward": 1}' % ((text.encode(),) * 3)
    assert outcome(check_request, text.encode()) in (None, *Reason)
    assert outcome(read_feedback, carried) in (None, *Reason)
    if outcome(read_response, text.encode()) is None:
        output = read_response(text.encode())
        assert bool(output.marks) is not bool(output.no_class)
        assert output.scores is None or len(output.scores) == 4 * len(output.marks)
        assert not any(isinstance(mark, float) and not math.isfinite(mark) for mark in output.marks)
        assert all(ord(letter) >= 32 for letter in output.no_class.replace("\n", " "))
    assert form_of(body, what) in (None, *FORMS)
