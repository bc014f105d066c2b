"""What is read from the bytes of a request, a response and a feedback, and why some cannot be read."""

import json
from array import array
from collections.abc import Callable
from typing import Any, Final

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import Kind, Reason, RefusedError
from app.core.payloads.bodies import (
    FeedbackBody,
    Output,
    brings_label,
    check_request,
    check_request_body,
    class_list,
    feedback_of,
    output_of,
    parse_reward,
    read_feedback,
    read_response,
    version_of,
)
from app.core.payloads.decoding import body_of
from app.core.payloads.marks import Mark, class_text

POINT: Final = 1_000_000_000


def said(marks: list[Mark] | None, names: tuple[str, ...] = ()) -> list[str | float | None] | None:
    """Class texts, measurements as they are, None for no prediction."""
    if marks is None:
        return None
    return [class_text(mark, names) if isinstance(mark, (int, str)) else mark for mark in marks]


def outcome(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives: its result, or why it refused."""
    try:
        return function(*arguments)
    except RefusedError as refused:
        return refused.reason


def predicted(body: Any) -> Any:
    output = read_response(orjson.dumps(body))
    return said(output.marks, output.names)


def labels_of_rows(rows: Any) -> Any:
    return read_feedback(json.dumps({"truth": {"data": {"ndarray": rows}}}).encode()).labels


def label(truth: Any) -> Any:
    return said(read_feedback(orjson.dumps({"truth": truth})).labels)


def nested(depth: int) -> bytes:
    return b"[" * depth + b"]" * depth


# -- responses --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "classes"),
    [
        ({"ndarray": [[0.1, 0.9]]}, ["1"]),
        ({"ndarray": [[0, 0, 1]]}, ["2"]),
        ({"ndarray": [[False, True]]}, ["1"]),
        ({"ndarray": [[0.5, 0.5]]}, ["0"]),
        ({"ndarray": [[-3, -1.5, -2]]}, ["1"]),
        ({"ndarray": [[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]}, ["1", "0", "1"]),
        ({"ndarray": [[0.1, 0.9]], "names": ["cat", "dog"]}, ["dog"]),
        ({"ndarray": [[0.1, 0.9]], "names": ["katze", "hündin"]}, ["hündin"]),
        ({"ndarray": [[0.1, 0.9]], "names": ["t:0", "t:1"]}, ["1"]),
        ({"ndarray": [[0.1, 0.9]], "names": ["t:0", "dog"]}, ["dog"]),
        ({"ndarray": [[0.1, 0.9]], "names": ["cat"]}, ["1"]),
        ({"ndarray": [[0.1, 0.9]], "names": []}, ["1"]),
        ({"ndarray": [[0.1, 0.9]], "names": None}, ["1"]),
        ({"ndarray": [[0.1, 0.9]], "names": [1, 2]}, ["1"]),
        ({"ndarray": [[0.1, 0.9]], "names": [["cat"], {}]}, ["1"]),
        ({"ndarray": [[0.1, 0.9]], "names": "ab"}, ["1"]),
        ({"ndarray": [4]}, ["4"]),
        ({"ndarray": [[4]]}, ["4"]),
        ({"ndarray": [4.0, "4", "4.0", [4], True, False]}, ["4", "4", "4", "4", "1", "0"]),
        ({"ndarray": 4}, ["4"]),
        ({"ndarray": "cat"}, ["cat"]),
        ({"ndarray": ["cat", ["hündin"], ""]}, ["cat", "hündin", "(empty)"]),
        ({"ndarray": [[0.25]]}, [0.25]),
        ({"ndarray": [-1, 1e6, -0.0, 2.5]}, ["-1", "1000000", "0", 2.5]),
        ({"tensor": {"shape": [1, 2], "values": [0.1, 0.9]}}, ["1"]),
        ({"tensor": {"shape": [2, 2], "values": [0.1, 0.9, 0.8, 0.2]}}, ["1", "0"]),
        ({"tensor": {"shape": [2, 1], "values": [4, 7]}}, ["4", "7"]),
        ({"tensor": {"shape": [2], "values": [4, 7]}}, ["4", "7"]),
        ({"tensor": {"shape": [], "values": [4]}}, ["4"]),
        ({"ndarray": [4], "tensor": {"shape": [1], "values": [7]}}, ["4"]),
        ([[0.1, 0.9]], ["1"]),
        ([4], ["4"]),
        (4, ["4"]),
        (0, ["0"]),
        (False, ["0"]),
        ("cat", ["cat"]),
        ({"tensor": {"shape": [1, 1, 2], "values": [0.1, 0.9]}}, ["1"]),
        ({"ndarray": [[[0.1, 0.9]], [[0.8, 0.2]]]}, ["1", "0"]),
        ({"ndarray": [[[1]]]}, ["1"]),
        ({"ndarray": [{"label": "cat"}, {"label": "dog"}]}, ["cat", "dog"]),
    ],
)  # fmt: skip
def test_the_prediction_of_each_row(data: Any, classes: list[Any]) -> None:
    assert predicted({"data": data}) == classes


def test_vectors_keep_the_score_of_the_winner_and_fix_the_classes() -> None:
    output = read_response(b'{"data": {"ndarray": [[0.25, 0.75], [0.5, 0.125]]}}')
    assert array("f", output.scores or b"").tolist() == [0.75, 0.5]
    assert (output.width, class_list(output)) == (2, ("0", "1"))
    named = read_response(b'{"data": {"names": ["cat", "dog"], "ndarray": [[0.25, 0.75]]}}')
    assert class_list(named) == ("cat", "dog")
    assert read_response(b'{"data": {"ndarray": [1]}}').width == 0


@pytest.mark.parametrize(
    ("body", "classes"),
    [
        ({"strData": "cat"}, ["cat"]),
        ({"jsonData": "cat"}, ["cat"]),
        ({"jsonData": {"prediction": "cat", "took": 3}}, ["cat"]),
        ({"jsonData": {"probabilities": [0.1, 0.9]}}, ["1"]),
        ({"predictions": [1, 0]}, ["1", "0"]),
        ({"predictions": [[0.1, 0.9], [0.8, 0.2]]}, ["1", "0"]),
        ({"predictions": [{"classes": ["cat", "dog"], "scores": [0.1, 0.9]}]}, ["dog"]),
        ({"outputs": {"scores": [[0.1, 0.9]], "classes": ["dog"]}}, ["dog"]),
        ({"outputs": [[0.1, 0.9]]}, ["1"]),
        ({"outputs": [{"name": "x", "datatype": "FP32", "shape": [2, 2], "data": [0.1, 0.9, 0.8, 0.2]}]}, ["1", "0"]),
        ({"outputs": [{"name": "x", "datatype": "INT64", "shape": [2], "data": [4, 0]}]}, ["4", "0"]),
        ({"outputs": [{"name": "x", "datatype": "FP64", "shape": [3, 1], "data": [1, 2, 3]}]}, ["1", "2", "3"]),
        ([[0.1, 0.9]], ["1"]),
        ([4, "cat"], ["4", "cat"]),
        ({"data": {"names": ["cat", "dog"], "ndarray": [1]}}, ["dog"]),
        ({"data": {"names": ["cat", "dog"], "ndarray": [[1], [0]]}}, ["dog", "cat"]),
        ({"data": {"names": ["cat", "dog"], "ndarray": ["cat", 7]}}, ["cat", "7"]),
        ({"data": {"names": ["t:0", "t:1"], "ndarray": [1]}}, ["1"]),
        ({"data": {"names": ["class"], "ndarray": [1]}}, ["1"]),
    ],
)
def test_the_prediction_of_each_row_in_other_forms(body: Any, classes: list[Any]) -> None:
    assert predicted(body) == classes


@pytest.mark.parametrize(
    "body",
    [
        {"binData": "MTIz"},
        {"customData": {"@type": "x", "value": "MTIz"}},
        {"jsonData": {"some": "value"}},
        {"jsonData": [1, 2, 3]},
        {"jsonData": {"prediction": {"is": "nested"}}},
        {"predictions": [{"boxes": [[1, 2]]}]},
        {"data": {"ndarray": [{"a": 1}]}},
        {"data": {"ndarray": [["some", "tokens"]]}},
        {"data": {"ndarray": [[[1, 2], [3, 4]]]}},
        {"outputs": [{"name": "picture", "datatype": "FP32", "shape": [1, 1, 2, 2], "data": [1, 2, 3, 4]}]},
    ],
)
def test_a_response_that_says_no_class_is_kept_without_predictions(body: Any) -> None:
    assert predicted(body) == []


@pytest.mark.parametrize(
    ("body", "classes"),
    [
        ({"status": {"status": "FAILURE", "code": 500}}, [None]),
        ({"status": {"code": 500}, "meta": {"puid": "p"}}, [None]),
        ({"status": {"code": 200}, "data": {"ndarray": [1]}}, ["1"]),
        ({"status": {"status": 1, "info": "no", "code": -1, "reason": "MICROSERVICE_BAD_DATA"}}, [None]),
        ({"status": {"status": 1}, "data": {}}, [None]),
        ({"status": {"status": "FAILURE"}, "data": {"names": [], "ndarray": []}}, [None]),
        ({"status": {"code": 503}, "data": None}, [None]),
        ({"status": {"status": "SUCCESS"}, "strData": "cat"}, ["cat"]),
        ({"error": "no model"}, [None]),
        ({"error": "no model", "outputs": []}, [None]),
    ],
)
def test_an_error_is_an_answer_without_prediction(body: Any, classes: list[Any]) -> None:
    assert predicted(body) == classes


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Reason.BAD_JSON),
        (b"{", Reason.BAD_JSON),
        (b'{"data": {"ndarray": [1]}} x', Reason.BAD_JSON),
        (b'{"data": {"ndarray": [01]}}', Reason.BAD_JSON),
        (b"\xff\xfe", Reason.BAD_JSON),
        (b'{"data": {"ndarray": ["\xff"]}}', Reason.BAD_JSON),
        (b"\x89PNG\r\n", Reason.BAD_JSON),
        (b'{"data": {"ndarray": [1e400]}}', Reason.NOT_FINITE),
        (b'{"data": {"ndarray": [[NaN, 1]]}}', Reason.NOT_FINITE),
        (b'{"data": {"ndarray": [[0.5, -Infinity]]}}', Reason.NOT_FINITE),
        (b'{"data": {"ndarray": [[1e39, 0.5]]}}', Reason.NOT_FINITE),
        (b'{"data": {"ndarray": [[1e39, 0.5], [0.5, 0.5]]}}', Reason.NOT_FINITE),
        (b"[]", Reason.EMPTY),
        (b"[null]", Reason.NOT_FINITE),
        (b"1", Reason.NOT_AN_OBJECT),
        (b"null", Reason.NOT_AN_OBJECT),
        (b"{}", Reason.BAD_PAYLOAD),
        (b'{"status": "bad"}', Reason.BAD_PAYLOAD),
        (b'{"data": null}', Reason.BAD_PAYLOAD),
        (b'{"data": {}}', Reason.BAD_PAYLOAD),
        (b'{"data": {"tftensor": {}}}', Reason.BAD_PAYLOAD),
        (b'{"data": {"ndarray": null}}', Reason.BAD_PAYLOAD),
        (b'{"data": {"ndarray": {"a": 1}}}', Reason.BAD_PAYLOAD),
        (b'{"data": {"ndarray": [[1, "b"]]}}', Reason.BAD_PAYLOAD),
        (b'{"data": {"ndarray": [[1, null]]}}', Reason.NOT_FINITE),
        (b'{"data": {"ndarray": [null]}}', Reason.NOT_FINITE),
        (b'{"data": {"ndarray": [1, null, [2]]}}', Reason.NOT_FINITE),
        (b'{"data": {"ndarray": [1, [null]]}}', Reason.NOT_FINITE),
        (b'{"predictions": [{"label": null}]}', Reason.NOT_FINITE),
        (b'{"outputs": [{"name": "x", "datatype": "FP64", "shape": [2], "data": [1, null]}]}', Reason.NOT_FINITE),
        (b'{"predictions": [0.5, Infinity]}', Reason.NOT_FINITE),
        (b'{"status": {"code": 200}, "data": {}}', Reason.BAD_PAYLOAD),
        (b'{"error": null, "outputs": []}', Reason.EMPTY),
        (b'{"predictions": []}', Reason.EMPTY),
        (b'{"outputs": {}}', Reason.EMPTY),
        (b'{"predictions": [[1, 2], [3]]}', Reason.RAGGED),
        (b'{"data": {"tensor": [1, 2]}}', Reason.BAD_PAYLOAD),
        (b'{"data": {"tensor": {"values": [1]}}}', Reason.BAD_PAYLOAD),
        (b'{"data": {"tensor": {"shape": [-1], "values": [1]}}}', Reason.BAD_PAYLOAD),
        (b'{"data": {"tensor": {"shape": [1.0], "values": [1]}}}', Reason.BAD_PAYLOAD),
        (b'{"data": {"tensor": {"shape": [true], "values": [1]}}}', Reason.BAD_PAYLOAD),
        (b'{"data": {"tensor": {"shape": [2], "values": [1]}}}', Reason.RAGGED),
        (b'{"data": {"ndarray": [[1, 2], [3]]}}', Reason.RAGGED),
        (b'{"data": {"ndarray": [[1, 2], 3]}}', Reason.RAGGED),
        (b'{"data": {"ndarray": [1, [2, 3]]}}', Reason.RAGGED),
        (b'{"data": {"ndarray": []}}', Reason.EMPTY),
        (b'{"data": {"ndarray": [[]]}}', Reason.EMPTY),
        (b'{"data": {"ndarray": [1, []]}}', Reason.EMPTY),
        (b'{"data": {"tensor": {"shape": [0], "values": []}}}', Reason.EMPTY),
        (b'{"data": {"tensor": {"shape": [0, 2], "values": []}}}', Reason.EMPTY),
        (b'{"data": {"tensor": {"shape": [2, 0], "values": []}}}', Reason.EMPTY),
        (b'{"data": []}', Reason.EMPTY),
        (b'{"data": {"ndarray": ["' + b"x" * 201 + b'"]}}', Reason.LABEL_TOO_LONG),
    ],
)
def test_why_a_response_cannot_be_read(value: bytes, reason: Reason) -> None:
    assert outcome(read_response, value) == reason


@pytest.mark.parametrize(
    ("body", "version"),
    [
        ({}, ""),
        ({"model_version": "v2"}, "v2"),
        ({"model_version": 3}, "3"),
        ({"model_version": ""}, ""),
        ({"model_version": None}, ""),
        ({"meta": {"requestPath": {"clf": "repo/clf:1.4"}}}, "1.4"),
        ({"meta": {"requestPath": {"clf": "host:5000/repo/clf:1.4"}}}, "1.4"),
        ({"meta": {"requestPath": {"clf": "host:5000/repo/clf"}}}, ""),
        ({"meta": {"requestPath": {"clf": "repo/clf:1.4@sha256:0a1b"}}}, "1.4"),
        ({"meta": {"requestPath": {"clf": "repo/clf@sha256:0a1b"}}}, ""),
        ({"meta": {"requestPath": {"other": "repo/other:7"}}}, ""),
        ({"meta": {"requestPath": {"clf": 7}}}, ""),
        ({"meta": {"requestPath": "clf:7"}}, ""),
        ({"meta": None}, ""),
        ({"meta": "text"}, ""),
        ({"meta": {"requestPath": {"clf": "repo/clf:1.4"}}, "model_version": "v2"}, "v2"),
    ],
)
@pytest.mark.parametrize("row", [1, [0.1, 0.9]])
def test_the_version_is_the_model_version_else_the_tag_of_the_models_image(body: Any, version: str, row: Any) -> None:
    output = read_response(orjson.dumps({"data": {"ndarray": [row]}, **body}))
    assert version_of(output, "clf") == version


# -- feedback ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("truth", "labels"),
    [
        ({"data": {"ndarray": [[0, 0, 1]]}}, ["2"]),
        ({"data": {"ndarray": [[0.2, 0.5, 0.3]]}}, ["1"]),
        ({"data": {"ndarray": [[0, 1]], "names": ["t:0", "t:1"]}}, ["1"]),
        ({"data": {"ndarray": [[0, 1]], "names": ["cat", "dog"]}}, ["dog"]),
        ({"data": {"ndarray": [4, 4.0, "4", "4.0", [4]]}}, ["4", "4", "4", "4", "4"]),
        ({"data": {"ndarray": [True, False, 0]}}, ["1", "0", "0"]),
        ({"data": {"ndarray": ["t:2"]}}, ["2"]),
        ({"data": {"ndarray": [2.5]}}, [2.5]),
        ({"data": {"ndarray": ["hündin"]}}, ["hündin"]),
        ({"data": {"tensor": {"shape": [1], "values": [4]}}}, ["4"]),
        ({"data": [4]}, ["4"]),
        ({"data": 0}, ["0"]),
        ([4], ["4"]),
        (4, ["4"]),
        ("cat", ["cat"]),
        (False, ["0"]),
        ({"strData": "cat"}, ["cat"]),
        ({"jsonData": {"label": "cat"}}, ["cat"]),
        ({"predictions": [1, 0]}, ["1", "0"]),
        ({"outputs": [{"name": "x", "datatype": "BYTES", "shape": [2], "data": ["cat", "dog"]}]}, ["cat", "dog"]),
    ],
)
def test_the_label_of_each_row(truth: Any, labels: list[Any]) -> None:
    assert label(truth) == labels


@pytest.mark.parametrize(
    ("body", "has_label", "labels", "has_reward", "reward"),
    [
        ({"truth": {"data": {"ndarray": [1]}}}, True, ["1"], False, None),
        ({"truth": {"data": {"ndarray": [1]}}, "reward": 0}, True, ["1"], True, 0),
        ({"truth": None}, True, None, False, None),
        ({"truth": None, "reward": 1}, True, None, True, POINT),
        ({"reward": 1}, False, None, True, POINT),
        ({"reward": None}, False, None, True, None),
        ({"reward": None, "truth": {"data": {"ndarray": [1]}}}, True, ["1"], True, None),
        ({"truth": {}, "reward": 1}, False, None, True, POINT),
        ({"truth": {"meta": {"tags": {"user": "x"}}}, "reward": 1}, False, None, True, POINT),
        ({"truth": {"data": {"ndarray": [1]}}, "response": None}, True, ["1"], False, None),
        ({"truth": {"data": {"ndarray": [1]}}, "response": {}}, True, ["1"], False, None),
    ],
)
def test_a_feedback_states_only_what_it_brings(
    body: Any, has_label: bool, labels: Any, has_reward: bool, reward: int | None
) -> None:
    feedback = read_feedback(orjson.dumps(body))
    assert (feedback.has_label, said(feedback.labels)) == (has_label, labels)
    assert (feedback.has_reward, feedback.reward) == (has_reward, reward)
    assert feedback.output is None


def test_a_feedback_may_carry_the_response_and_the_request() -> None:
    response, request = {"data": {"ndarray": [[0.1, 0.9]]}}, {"data": {"ndarray": [[1, 2]]}}
    feedback = read_feedback(orjson.dumps({"request": request, "response": response}))
    assert feedback.output is not None
    assert said(feedback.output.marks) == ["1"]
    assert (feedback.has_request, feedback.has_label, feedback.has_reward) == (True, False, False)


@pytest.mark.parametrize(
    ("rows", "labels"),
    [
        ([0, None, 1], [0, None, 1]),
        ([[0], [None]], [0, None]),
        ([None, "cat"], [None, "cat"]),
        ([[0, 1], None, [1, 0]], [-2, None, -1]),
        ([None, [0, 1]], [None, -2]),
    ],
)
def test_null_among_labels_leaves_its_row_alone(rows: Any, labels: Any) -> None:
    assert labels_of_rows(rows) == labels


def test_a_truth_of_nulls_states_nothing() -> None:
    feedback = read_feedback(b'{"truth": {"data": {"ndarray": [null, null]}}, "reward": 1}')
    assert (feedback.has_label, feedback.labels, feedback.reward) == (False, None, POINT)


@pytest.mark.parametrize(
    ("request_body", "reason"),
    [
        ({"data": {"ndarray": [[1, 2], [3]]}}, Reason.RAGGED),
        ({"data": {"ndarray": [[]]}}, Reason.EMPTY),
        ({"instances": []}, Reason.EMPTY),
        ({"foo": 1}, Reason.BAD_PAYLOAD),
        ("text", Reason.NOT_AN_OBJECT),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_alone(request_body: Any, reason: Reason) -> None:
    body = {"request": request_body, "response": {"data": {"ndarray": [1]}}, "truth": {"data": {"ndarray": [1]}}}
    feedback = read_feedback(orjson.dumps(body))
    assert feedback.output is not None
    assert (said(feedback.output.marks), said(feedback.labels)) == (["1"], ["1"])
    assert feedback.refused_request is not None
    assert (feedback.has_request, feedback.refused_request[0]) == (False, reason)


def test_names_that_outnumber_the_column_of_a_truth_name_its_values() -> None:
    assert label({"data": {"names": ["cat", "dog"], "ndarray": [1, "cat"]}}) == ["dog", "cat"]
    assert label({"data": {"names": ["cat"], "ndarray": [1]}}) == ["1"]


def test_a_carried_response_that_is_only_meta_is_no_response() -> None:
    """Seldon's routers are told their reward with `{"response": {"meta": {"routing": …}}, "reward": …}`."""
    feedback = read_feedback(b'{"response": {"meta": {"routing": {"router": 1}}}, "reward": 1}')
    assert (feedback.reward, feedback.output) == (POINT, None)


@pytest.mark.parametrize(
    ("reward", "points"),
    [
        (1, POINT),
        (0, 0),
        (-1, -POINT),
        (True, POINT),
        (False, 0),
        (0.1, 100_000_000),
        (-0.5, -500_000_000),
        (1e9, 10**18),
        (1e-9, 1),
        (None, None),
    ],
)
def test_rewards_are_kept_in_whole_billionths(reward: Any, points: int | None) -> None:
    assert parse_reward(reward) == points


@pytest.mark.parametrize("reward", ["1", "", [1], {}, 1.1e9, -(10**10), 10**30, 1e300])
def test_other_rewards_are_refused(reward: Any) -> None:
    assert outcome(parse_reward, reward) == Reason.BAD_REWARD


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"{}", Reason.EMPTY),
        (b'{"truth": {}}', Reason.EMPTY),
        (b'{"truth": {"meta": {}}}', Reason.EMPTY),
        (b'{"response": {}}', Reason.EMPTY),
        (b'{"truth": {"data": {"ndarray": []}}}', Reason.EMPTY),
        (b'{"truth": {"data": {"ndarray": [[]]}}}', Reason.EMPTY),
        (b'{"truth": []}', Reason.EMPTY),
        (b"[1]", Reason.NOT_AN_OBJECT),
        (b'"text"', Reason.NOT_AN_OBJECT),
        (b'{"truth": {"data": {"ndarray": [[0, 1], [1]]}}}', Reason.RAGGED),
        (b'{"truth": {"data": {"ndarray": [0, [0, 1]]}}}', Reason.RAGGED),
        (b'{"truth": {"data": {"ndarray": [["a", "b"]]}}}', Reason.BAD_PAYLOAD),
        (b'{"truth": {"data": {"ndarray": [null]}}}', Reason.EMPTY),  # every row is left alone
        (b'{"truth": {"data": {"ndarray": [[0, null]]}}}', Reason.NOT_FINITE),
        (b'{"truth": {"data": {"ndarray": [0, NaN]}}}', Reason.NOT_FINITE),
        (b'{"truth": {"data": {"ndarray": [{"label": 1}, {"x": 2}]}}}', Reason.BAD_PAYLOAD),
        (b'{"truth": {"data": {"ndarray": [{"a": 1}]}}}', Reason.BAD_PAYLOAD),
        (b'{"truth": {"jsonData": {"some": "value"}}}', Reason.BAD_PAYLOAD),
        (b'{"truth": {"binData": "MTIz"}}', Reason.BAD_PAYLOAD),
        (b'{"truth": {"data": {}}}', Reason.BAD_PAYLOAD),
        (b'{"truth": {"data": {"ndarray": ["' + b"x" * 201 + b'"]}}}', Reason.LABEL_TOO_LONG),
        (b'{"truth": {"data": {"ndarray": [1]}}, "reward": "1"}', Reason.BAD_REWARD),
        (b'{"truth": {"data": {"ndarray": [NaN]}}}', Reason.NOT_FINITE),
        (b'{"reward": NaN}', Reason.NOT_FINITE),
        (b'{"reward": 1e400}', Reason.NOT_FINITE),
        (b'{"reward": }', Reason.BAD_JSON),
        (b'{"reward": 1, "x": "\xff"}', Reason.BAD_JSON),
        (b'{"reward": 1, "response": {"data": {"ndarray": []}}}', Reason.EMPTY),
    ],
)
def test_why_a_feedback_cannot_be_read(value: bytes, reason: Reason) -> None:
    assert outcome(read_feedback, value) == reason


@pytest.mark.parametrize(
    ("truth", "brings"),
    [
        ({}, False),
        ({"meta": {}}, False),
        ({"data": {}}, True),
        ({"data": None}, True),
        ({"strData": ""}, True),
        (0, True),
        ([], True),
    ],
)
def test_a_truth_without_data_is_no_label(truth: Any, brings: bool) -> None:
    assert brings_label(truth) is brings


# -- requests ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        {"ndarray": [[1, 2]]},
        {"ndarray": [[1, 2], [3, 4]]},
        {"ndarray": [["a", "b"], ["c"]]},
        {"ndarray": ["text"]},
        {"ndarray": "größer"},
        {"ndarray": [[[1, 2], [3, 4]]]},
        {"tensor": {"shape": [2, 2], "values": [1, 2, 3, 4]}},
        [1, 2],
        {"ndarray": [None]},
        {"ndarray": [{}]},
    ],
)
def test_requests_that_are_let_through(data: Any) -> None:
    check_request(orjson.dumps({"data": data}))


@pytest.mark.parametrize(
    "body",
    [
        {"strData": "a text"},
        {"binData": "MTIz"},
        {"jsonData": [1, {"a": 2}]},
        {"instances": [[1, 2], [3, 4]]},
        {"instances": [{"age": 3, "name": "x"}]},
        {"inputs": {"age": [3], "name": ["x"]}},
        {"inputs": "a text"},
        {"inputs": [{"name": "a", "datatype": "FP64", "shape": [3], "data": [1, None, 3]}], "outputs": []},
    ],
)
def test_requests_in_other_forms_are_let_through(body: Any) -> None:
    check_request(orjson.dumps(body))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"data": {"ndarray": []}}', Reason.EMPTY),
        (b'{"data": {"ndarray": [[]]}}', Reason.EMPTY),
        (b'{"data": {"ndarray": [[1, 2], [3]]}}', Reason.RAGGED),
        (b'{"data": {"ndarray": [[1, 2], 3]}}', Reason.RAGGED),
        (b'{"data": {"ndarray": null}}', Reason.BAD_PAYLOAD),
        (b'{"data": {"ndarray": {"a": 1}}}', Reason.BAD_PAYLOAD),
        (b'{"data": {}}', Reason.BAD_PAYLOAD),
        (b"{}", Reason.BAD_PAYLOAD),
        (b'{"foo": "bar"}', Reason.BAD_PAYLOAD),
        (b'{"inputs": []}', Reason.EMPTY),
        (b'{"instances": [[1, 2], [3]]}', Reason.RAGGED),
        (b'{"data": {"tensor": {"shape": [3], "values": [1]}}}', Reason.RAGGED),
        (b"[]", Reason.EMPTY),
        (b"[[1, 2], [3]]", Reason.RAGGED),
        (b"1", Reason.NOT_AN_OBJECT),
        (b'"text"', Reason.NOT_AN_OBJECT),
        (b"null", Reason.NOT_AN_OBJECT),
        (b'{"data": {"ndarray": [1]', Reason.BAD_JSON),
        (b'{"data": {"ndarray": [1]}, "x": "\xff"}', Reason.BAD_JSON),
    ],
)
def test_why_a_request_cannot_be_read(value: bytes, reason: Reason) -> None:
    assert outcome(check_request, value) == reason


# -- nothing raises ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("read", "value", "words"),
    [
        (check_request, b'{"foo": 1, "bar": 2}', "none of the forms that are read: it has the members 'foo', 'bar'"),
        (check_request, b"{}", "it has no members"),
        (read_response, b'{"predictions": null}', "the response's rows must be a list, not null"),
        (read_response, b'{"data": {"ndarray": {"a": 1}}}', "the response's rows must be a list, not an object"),
        (read_response, b'{"data": {"ndarray": [[1, "b"]]}}', "a row of the response holds something else among its"),
        (read_response, b'{"data": {"ndarray": [1, []]}}', "one of the rows is empty"),
        (read_response, b"\x89PNG", "begins with '\ufffdPNG', is neither JSON nor a protobuf message of a response"),
        (read_feedback, b'{"truth": [null]}', "the feedback brings nothing: its labels are all null"),
        (read_feedback, b"{}", "the feedback brings nothing: it has neither reward nor label nor response"),
        (read_feedback, b'{"truth": [[1], {"a": 1}]}', "row 1 of the truth names no class"),
        (read_feedback, b'{"truth": {"predictions": [{"a": 1}]}}', "its column a holds no class"),
    ],
)
def test_a_refusal_names_what_was_wrong(read: Callable[[bytes], Any], value: bytes, words: str) -> None:
    with pytest.raises(RefusedError) as refused:
        read(value)
    assert words in refused.value.detail


READERS: dict[str, Callable[[bytes], Any]] = {
    "request": check_request,
    "response": read_response,
    "feedback": read_feedback,
}
HOSTILE: dict[str, bytes] = {
    "a deep row": b'{"data": {"ndarray": [%s]}}',
    "two deep cells": b'{"data": {"ndarray": [[%s, %s]]}}',
    "a deep part that is not read": b'{"data": {"ndarray": [[0.1, 0.9]]}, "more": %s}',
    "the same, not ASCII": '{{"data": {{"ndarray": [[0.1, 0.9]]}}, "ö": %s}}'.replace("{{", "{")
    .replace("}}", "}")
    .encode(),
    "a deep version": b'{"data": {"ndarray": [[0.1, 0.9]]}, "model_version": %s}',
    "the same version, not ASCII": b'{"data": {"ndarray": [[0.1, 0.9]]}, "model_version": %s, "x": "\xc3\xb6"}',
    "a deep reward": b'{"reward": %s}',
    "a deep reward beside a label": b'{"truth": {"data": {"ndarray": [1]}}, "reward": %s}',
    "a deep label": b'{"truth": {"data": {"ndarray": [%s]}}}',
    "a deep vector": b'{"truth": {"data": {"ndarray": [[%s, %s]]}}, "x": "\xc3\xb6"}',
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("depth", [100, 900, 980, 1015, 100_000])
@pytest.mark.parametrize("form", HOSTILE)
def test_deep_bodies_never_raise(reader: str, depth: int, form: str) -> None:
    value = HOSTILE[form].replace(b"%s", nested(depth))
    outcome(READERS[reader], value)  # a refusal or a result; anything else would end the worker


@pytest.mark.parametrize("digits", [1, 18, 19, 20, 39, 40, 150, 200, 300, 308, 310, 5000])
@pytest.mark.parametrize(
    "form",
    [
        b'{"data": {"ndarray": [[%s, 1]]}}',
        b'{"data": {"ndarray": [[%s, 1], [0, 1]]}}',
        b'{"data": {"ndarray": [%s]}}',
        b'{"truth": {"data": {"ndarray": [%s]}}}',
        b'{"truth": {"data": {"ndarray": [[%s, 1]]}}}',
        b'{"truth": {"data": {"ndarray": [1]}}, "reward": %s}',
        b'{"reward": -%s}',
        b'{"data": {"ndarray": [[0, 1]]}, "model_version": %s}',
    ],
)
def test_long_numbers_never_raise(form: bytes, digits: int) -> None:
    for read in READERS.values():
        outcome(read, form.replace(b"%s", b"9" * digits))


# -- two ways of reading, one meaning ---------------------------------------------------------------------------------

numbers = st.one_of(
    st.integers(-3, 3),
    st.integers(-(2**63), 2**63),
    st.floats(-2, 2, width=16),
    st.floats(allow_nan=False, allow_infinity=False),
)
words = st.sampled_from(["cat", "dog", "hündin", "0", "1", "4.0", "t:0", "t:1", "", "x" * 201])
cells = st.one_of(numbers, st.booleans(), words, st.none())
odd = st.one_of(cells, st.lists(cells, max_size=2), st.dictionaries(words, cells, max_size=2))
vectors = st.lists(st.lists(st.one_of(numbers, st.booleans()), min_size=2, max_size=2), min_size=1, max_size=3)
scalars = st.lists(st.one_of(numbers, words), min_size=1, max_size=3)
lists = st.one_of(vectors, scalars, st.lists(st.lists(cells, max_size=3), max_size=3), st.lists(odd, max_size=3), odd)
flats = st.lists(numbers | words | st.none(), max_size=6)
v2_tensors = st.fixed_dictionaries(
    {"datatype": st.sampled_from(["FP32", "INT64", "BYTES", "BOOL"]), "shape": st.lists(st.integers(0, 3), max_size=3)},
    optional={"name": words, "data": flats | odd, "contents": odd, "parameters": odd},
)
objects = st.dictionaries(st.sampled_from(["label", "scores", "classes", "a"]), flats | cells, max_size=3)
tensors = st.one_of(
    st.builds(
        lambda rows, width, values: {"shape": [rows, width], "values": values[: rows * width]},
        st.integers(0, 3),
        st.integers(0, 3),
        st.lists(numbers, min_size=9, max_size=9),
    ),
    st.fixed_dictionaries({}, optional={"shape": lists, "values": lists}),
)
names = st.one_of(st.lists(words, min_size=2, max_size=2), odd)
usual = st.fixed_dictionaries({"ndarray": st.one_of(vectors, scalars)}, optional={"names": names})
datas = st.one_of(
    usual, st.fixed_dictionaries({}, optional={"ndarray": lists, "tensor": tensors, "names": names}), lists
)
metas = st.one_of(st.fixed_dictionaries({}, optional={"requestPath": odd, "tags": odd}), odd)
forms = st.fixed_dictionaries(
    {},
    optional={
        "strData": odd,
        "jsonData": odd | objects,
        "instances": lists | st.lists(objects, max_size=3),
        "predictions": lists | st.lists(objects, max_size=3),
        "inputs": lists | objects | st.lists(v2_tensors, max_size=3),
        "outputs": lists | objects | st.lists(v2_tensors, max_size=3),
        "raw_output_contents": odd,
        "parameters": st.just({"content_type": "pd"}) | odd,
        "error": odd,
        "status": odd,
    },
)
messages = st.one_of(
    forms,
    st.fixed_dictionaries({"data": usual}, optional={"meta": metas, "model_version": odd, "x": odd}),
    st.fixed_dictionaries({}, optional={"data": datas, "meta": metas, "status": odd}),
    odd,
)
usual_truths = st.fixed_dictionaries({"data": usual})
feedbacks = st.one_of(
    st.fixed_dictionaries(
        {"truth": usual_truths}, optional={"reward": cells, "response": messages, "request": messages, "x": odd}
    ),
    st.fixed_dictionaries({}, optional={"truth": messages, "reward": odd, "response": messages, "request": messages}),
)


def written(body: Any, plain: bool) -> bytes:
    return json.dumps(body, ensure_ascii=plain).encode()


@given(messages, st.booleans())
def test_both_ways_of_reading_a_response_agree(body: Any, plain: bool) -> None:
    value = written(body, plain)
    quick: Output | Reason = outcome(read_response, value)
    assert quick == outcome(lambda: output_of(body_of(value, Kind.RESPONSE)))


@given(feedbacks, st.booleans())
def test_both_ways_of_reading_a_feedback_agree(body: Any, plain: bool) -> None:
    value = written(body, plain)
    quick: FeedbackBody | Reason = outcome(read_feedback, value)
    assert quick == outcome(lambda: feedback_of(body_of(value, Kind.FEEDBACK)))


@given(messages, st.booleans())
def test_both_ways_of_reading_a_request_agree(body: Any, plain: bool) -> None:
    value = written(body, plain)
    assert outcome(check_request, value) == outcome(lambda: check_request_body(body_of(value, Kind.REQUEST)))


@pytest.mark.parametrize("number", [2**53 + 1, 2**63, 2**64, -(2**63) - 1, 10**30])
def test_a_long_number_is_the_same_label_in_a_text_of_ascii_alone_or_not(number: int) -> None:
    plain = b'{"truth": {"data": {"ndarray": [%d]}}}' % number
    marked = b'{"truth": {"data": {"ndarray": [%d]}}, "x": "\xc3\xb6"}' % number
    assert read_feedback(plain).labels == read_feedback(marked).labels


kinds_of_rows = st.sampled_from(
    [
        st.sampled_from(["cat", " cat ", "1", "1.0", "true", "", "t:3", "x" * 300]),
        st.sampled_from(["cat", "dog"]),
        st.integers(-2, 5) | st.sampled_from([2**31 - 1, 2**31, 2**70]),
        st.integers(0, 5),
        st.floats(0, 3) | st.just(2.0),
        st.sampled_from([1, True, "a", [4], 2.5]),
    ]
)


@given(kinds_of_rows.flatmap(lambda kind: st.lists(kind, min_size=8, max_size=40)))
def test_many_rows_are_read_as_each_of_them_alone(rows: list[Any]) -> None:
    alone = [outcome(labels_of_rows, [row]) for row in rows]
    refused = [it for it in alone if isinstance(it, Reason)]
    assert outcome(labels_of_rows, rows) == (refused[0] if refused else [mark for (mark,) in alone])


@given(
    st.binary(max_size=4),
    st.integers(0, 60),
    st.sampled_from(
        [
            b'{"data": {"names": ["a", "b"], "ndarray": [[0.1, 0.9]]}, "meta": {"puid": "p"}}',
            b'{"truth": {"data": {"ndarray": [[0, 1]]}}, "reward": 1}',
        ]
    ),
)
def test_broken_bytes_never_raise_and_are_read_alike(noise: bytes, place: int, body: bytes) -> None:
    value = body[:place] + noise + body[place + len(noise) :]
    assert outcome(read_response, value) == outcome(lambda: output_of(body_of(value, Kind.RESPONSE)))
    assert outcome(read_feedback, value) == outcome(lambda: feedback_of(body_of(value, Kind.FEEDBACK)))
    assert outcome(check_request, value) == outcome(lambda: check_request_body(body_of(value, Kind.REQUEST)))
