"""Rankings: of several classes with their scores the best is the prediction, in every way of writing them."""

import json
from typing import Any

import pytest

from app.core.events import Reason, RefusedError
from app.core.payloads.bodies import read_response
from app.core.payloads.ranking import are_classifications
from tests.core.payloads.reading import classes, label, no_class

BEST: Any = [{"label": "spam", "score": 0.75}, {"label": "ham", "score": 0.25}]
WORST_FIRST: Any = BEST[::-1]


def texts(*data: str, shape: list[int], content_type: str = "", name: str = "output", datatype: str = "BYTES") -> Any:
    parameters = {"parameters": {"content_type": content_type}} if content_type else {}
    return {"outputs": [{"name": name, "datatype": datatype, "shape": shape, "data": list(data), **parameters}]}


def packed(*rows: Any, content_type: str, shape: list[int] | None = None) -> Any:
    return texts(*map(json.dumps, rows), shape=shape or [len(rows)], content_type=content_type)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        # Hugging Face
        ({"predictions": [BEST]}, ["spam"]),
        ({"predictions": [BEST, WORST_FIRST]}, ["spam", "spam"]),
        ({"predictions": [BEST[:1], WORST_FIRST[:1]]}, ["spam", "ham"]),
        ({"predictions": BEST}, ["spam", "ham"]),  # one entry an instance, as in all of TensorFlow's answers
        (BEST, ["spam"]),  # a pipeline's own answer to one text
        ([BEST, WORST_FIRST], ["spam", "spam"]),
        ([{"label": "spam", "score": 0.9}, {"label": "spam", "score": 0.8}], ["spam", "spam"]),
        ([{"label": "spam", "score": 0.9}, {"label": "ham", "score": 0.8}], ["spam", "ham"]),
        ({"data": {"ndarray": [BEST]}}, ["spam"]),
        ({"jsonData": BEST}, ["spam"]),
        ({"jsonData": {"labels": ["ham", "spam"], "scores": [0.25, 0.75], "sequence": "a text"}}, ["spam"]),
        ({"predictions": [[{"tagName": "cat", "probability": 0.1}, {"tagName": "dog", "probability": 0.9}]]}, ["dog"]),
        ({"predictions": [[{"class": 3, "confidence": 0.1}, {"class": 7, "confidence": 0.9}]]}, ["7"]),
        ({"predictions": [[{"label": "a", "score": 0.5}, {"label": "b", "score": 0.5}]]}, ["a"]),
        # MLServer
        (packed({"label": "spam", "score": 0.75}, content_type="hg_jsonlist"), ["spam"]),
        (packed({"label": "spam", "score": 0.7}, {"label": "ham", "score": 0.8}, content_type="hg_jsonlist"),
         ["spam", "ham"]),
        (packed(BEST, content_type="hg_jsonlist", shape=[1, 1]), ["spam"]),
        (packed(BEST, WORST_FIRST, content_type="hg_jsonlist", shape=[2, 1]), ["spam", "spam"]),
        (packed(BEST, content_type="hg_json"), ["spam"]),
        (packed(WORST_FIRST, content_type="application/JSON"), ["spam"]),
        (packed(3, 4, content_type="pd_json"), ["3", "4"]),
        (packed({"label": "spam"}, content_type="x-json-lines"), ["spam"]),
        (texts('{"label": "spam"}', shape=[1], content_type="str"), ['{"label": "spam"}']),
        # TensorFlow
        ({"results": [[["spam", 0.75], ["ham", 0.25]], [["spam", 0.1], ["ham", 0.9]]]}, ["spam", "ham"]),
        ({"result": [[["spam", 0.75], ["ham", 0.25]]]}, ["spam"]),
        ({"results": [[["", 0.1], ["", 0.2], ["", 0.7]]]}, ["2"]),
        ({"results": [[["7", 0.1], ["8", 0.9]]]}, ["8"]),
        ({"results": [0.5, 3.25]}, [0.5, 3.25]),
        ({"data": {"ndarray": [[["spam", 0.75], ["ham", 0.25]]]}}, ["spam"]),
        # Triton
        (texts("0.750000:4:spam", "0.250000:1:ham", shape=[1, 2]), ["spam"]),
        (texts("0.250000:1:ham", "0.750000:4:spam", shape=[1, 2]), ["spam"]),
        (texts("0.7:4", "0.3:1", "0.9:0", "0.1:2", shape=[2, 2]), ["4", "0"]),
        (texts("0.75:4:spam", "0.5:1:ham", shape=[2, 1]), ["spam", "ham"]),
        (texts("12:4", "-3:0", shape=[1, 2]), ["4"]),
        (texts("10:2:apple", shape=[1, 1]), ["apple"]),
        (texts("1.5e-3:2", shape=[1, 1]), ["2"]),
        (texts("0.9:1:a:b", shape=[1, 1]), ["a:b"]),
        (texts("0.9:1:", shape=[1, 1]), ["1"]),
        (texts("0.75:4:spam", "0.25:1:ham", shape=[2]), ["spam"]),  # a model without batches
        (texts("0.9:4:spam", "0.8:4:spam", shape=[2]), ["spam", "spam"]),
        (texts("0.9:4:spam", "0.8:1:ham", shape=[2]), ["spam", "ham"]),  # more than 1 in sum: two answers
        (texts("0.9:4:spam", shape=[1]), ["spam"]),
        (texts("0.75:4:spam", "0.25:1:ham", shape=[2], datatype="STRING"), ["spam"]),
        # what only looks like Triton
        (texts("12:30", shape=[1, 1]), ["12:30"]),
        (texts("12:30:45", "11:20:10", shape=[2, 1]), ["12:30:45", "11:20:10"]),
        (texts("0.9:1:spam", "ham", shape=[2, 1]), ["0.9:1:spam", "ham"]),
        ({"predictions": ["0.9:1:spam"]}, ["0.9:1:spam"]),
    ],
)  # fmt: skip
def test_the_best_of_a_ranking_is_the_class(body: Any, found: list[Any]) -> None:
    assert classes(body) == found


def test_a_ranking_is_a_label_too() -> None:
    assert label({"predictions": [BEST]}) == ["spam"]


def test_the_score_of_the_best_is_kept() -> None:
    assert read_response(json.dumps({"predictions": [BEST, WORST_FIRST]}).encode()).scores == b"\0\0@?" * 2
    assert read_response(json.dumps(texts("0.75:4:spam", shape=[1, 1])).encode()).scores == b"\0\0@?"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"predictions": [[{"label": "cat", "score": 0.9, "box": {"xmin": 1}}]]}, "columns label, score, box"),
        ({"predictions": [[{"label": "cat", "score": None, "mask": "AAAA"}]]}, "columns label, score, mask"),
        ({"predictions": [[{"label": "a", "score": 0.9, "box": {}}, {"label": "b", "score": 0.8, "box": {}}]]},
         "rows list objects that are more, or less, than a class and its score"),
        ({"predictions": [[{"entity": "PER", "score": 0.9, "word": "Ann", "start": 0}] * 2]}, "rows list objects"),
        ({"predictions": [[{"label": "a"}, {"label": "b"}]]}, "rows list objects"),
        ({"predictions": [[{"label": ["a"], "score": 1}, {"label": "b", "score": 0}]]}, "whose class is no text"),
        ({"jsonData": [1, 2, 3]}, "jsonData is a list"),
    ],
)  # fmt: skip
def test_a_list_of_other_objects_has_no_class(body: Any, why: str) -> None:
    assert why in no_class(body)


@pytest.mark.parametrize(
    "body",
    [
        b'{"predictions": [[{"label": "a", "score": NaN}, {"label": "b", "score": 1}]]}',
        b'{"predictions": [[{"label": "a", "score": null}, {"label": "b", "score": 1}]]}',
        b'{"results": [[["a", null], ["b", 1]]]}',
        json.dumps(texts("nan:0:a", "nan:1:b", shape=[1, 2])).encode(),
    ],
)
def test_a_score_that_is_no_number_is_refused(body: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        read_response(body)
    assert refused.value.reason is Reason.NOT_FINITE


@pytest.mark.parametrize(("found", "width", "are"), [([], 1, False), ([3, "0.9:1"], 1, False), (["0.9:1"], 1, True)])
def test_classifications_are_texts(found: list[Any], width: int, are: bool) -> None:
    assert are_classifications(found, width) is are
