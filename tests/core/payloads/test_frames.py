"""MLflow's data frames, TensorFlow's examples, bare lists: their rows and names."""

import json
from typing import Any

import pytest

from app.core.events import Reason, RefusedError
from app.core.payloads.bodies import check_request
from app.core.payloads.forms import FORMS, form_of, table_of
from tests.core.payloads.reading import classes, no_class, written


@pytest.mark.parametrize(
    ("body", "form", "rows", "names"),
    [
        ({"dataframe_split": {"columns": ["a", "b"], "index": [0, 1], "data": [[1, 2], [3, 4]]}}, "MLflow",
         [[1, 2], [3, 4]], ("a", "b")),
        ({"dataframe_split": {"data": [[1, 2]]}}, "MLflow", [[1, 2]], None),
        ({"dataframe_split": {"columns": [0, 1], "data": [[1, 2]]}, "params": {"x": 1}}, "MLflow", [[1, 2]], None),
        ({"dataframe_records": [{"a": 1}, {"a": 2, "b": 3}]}, "MLflow", [{"a": 1}, {"a": 2, "b": 3}], None),
        ({"columns": ["a", "b"], "data": [[1, 2]]}, "MLflow", [[1, 2]], ("a", "b")),
        ({"inputs": {"a": [1, 2], "b": ["x", "y"]}}, "TensorFlow", [[1, "x"], [2, "y"]], ("a", "b")),
        ({"inputs": [[1, 2], [3, 4]]}, "TensorFlow", [[1, 2], [3, 4]], None),
        ({"examples": [{"a": 1}, {"a": 2}], "context": {"b": 1}}, "TensorFlow examples", [{"a": 1}, {"a": 2}], None),
        ([[1, 2], [3, 4]], "bare", [[1, 2], [3, 4]], None),
        ([{"a": 1}], "bare", [{"a": 1}], None),
    ],
)  # fmt: skip
def test_the_rows_of_a_request(body: Any, form: str, rows: list[Any], names: Any) -> None:
    check_request(written(body))
    found = form_of(body, "request")
    assert found is not None
    assert found.name == form
    table = table_of(body, "request")
    assert (table.rows, table.names) == (rows, names)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ({"predictions": [{"0": 1}, {"0": 0}]}, ["1", "0"]),
        ([1, 0], ["1", "0"]),
        (["oak"], ["oak"]),
        ([[0.1, 0.9], [0.8, 0.2]], ["1", "0"]),
        ([{"0": 1}, {"0": 0}], ["1", "0"]),
        ({"results": {"label": "oak"}}, ["oak"]),
        ({"results": "oak"}, ["oak"]),
        ({"result": None, "error": "no model"}, [None]),
    ],
)
def test_the_classes_of_an_answer(body: Any, found: list[Any]) -> None:
    assert classes(body) == found


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ({"dataframe_split": {"columns": ["a"], "data": []}}, Reason.EMPTY),
        ({"dataframe_split": {"columns": ["a"]}}, Reason.BAD_PAYLOAD),
        ({"dataframe_split": [[1]]}, Reason.BAD_PAYLOAD),
        ({"dataframe_split": {"data": [[1, 2], [3]]}}, Reason.RAGGED),
        ({"dataframe_records": []}, Reason.EMPTY),
        ({"dataframe_records": None}, Reason.BAD_PAYLOAD),
        ({"examples": []}, Reason.EMPTY),
        ({"examples": {}}, Reason.BAD_PAYLOAD),
    ],
)
def test_why_a_request_has_no_rows(body: Any, reason: Reason) -> None:
    with pytest.raises(RefusedError) as refused:
        check_request(written(body))
    assert refused.value.reason is reason


@pytest.mark.parametrize(
    ("body", "why"),
    [
        ({"predictions": ["Oslo is the capital of Norway, and has been since 1814."]}, "rows are texts of many words"),
        ({"outputs": [{"datatype": "BYTES", "shape": [1], "data": ["one\ntwo three four five six seven eight"]}]},
         "rows are texts of many words"),
        ({"predictions": ["a b c d e f g h i j k l m n o p q"]}, "rows are texts of many words"),
        ({"data": {"ndarray": ["Oslo is the capital of Norway, and has been since 1814."]}}, "texts of many words"),
        ({"strData": "Oslo is the capital of Norway, and has been since 1814."}, "rows are texts of many words"),
        ({"predictions": [{"prediction": "Oslo is the capital of Norway, and has been."}]}, "texts of many words"),
        ({"predictions": [["some", "tokens"]]}, "rows are lists of texts"),
        ({"predictions": [[[0, 1], [1, 0]]]}, "rows are arrays of several dimensions"),
        ({"outputs": [{"name": "mask", "datatype": "UINT8", "shape": [1, 4], "data": [0, 1, 1, 0]}]},
         "tensor mask holds no class, but places, areas or features"),
        ({"outputs": [{"name": "embeddings", "datatype": "FP32", "shape": [1, 2], "data": [0.1, 0.2]}]},
         "tensor embeddings holds no class"),
        ({"binData": "AAEC"}, "bytes hold no class"),
    ],
)  # fmt: skip
def test_texts_areas_and_pictures_are_no_class(body: Any, why: str) -> None:
    assert why in no_class(body)
    assert classes(body) == []


@pytest.mark.parametrize(
    "text", ["not a spam message", "Egyptian cat", "a rather long name of a class without an end", "x" * 60, "U.S.A."]
)
def test_a_name_of_some_words_is_a_class(text: str) -> None:
    assert classes({"predictions": [text]}) == classes({"data": {"ndarray": [text]}}) == [text]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
def test_a_form_claims_its_examples(form: Any) -> None:
    assert form.examples
    for what, text in form.examples:
        assert form_of(json.loads(text), what) is form
