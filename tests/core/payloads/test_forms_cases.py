"""The payloads of Seldon's own tests and samples, as each case says they are to be read."""

import base64
import json
from typing import Any

import orjson
import pytest
from google.protobuf import json_format
from open_inference.grpc import protocol

from app.core.events import Kind, RefusedError
from app.core.payloads.bodies import check_request, output_of, read_feedback, read_response
from app.core.payloads.forms import table_of
from app.core.payloads.marks import Mark, class_text
from app.core.payloads.protobuf import decode
from app.core.payloads.table import Table
from tests.cases import SELDON, cases_if_there, demand


def each(number: str, *, kind: str = "") -> pytest.MarkDecorator:
    """One test for each case of a file."""
    cases = [case for case in cases_if_there(number)["cases"] if not kind or case.get("kind", "") == kind]
    return pytest.mark.parametrize("case", cases, ids=lambda case: str(case.get("id", case.get("kind"))))


def test_the_cases_are_there() -> None:
    demand()
    assert len(list(SELDON.glob("*.json"))) > 20


def table(body: Any, kind: str = "") -> Table:
    return table_of(body, kind or ("request" if "inputs" in body else "response"))


def classes(marks: list[Mark], names: tuple[str, ...] = ()) -> list[Any]:
    return [class_text(mark, names) if isinstance(mark, (int, str)) else mark for mark in marks]


# -- V2 ---------------------------------------------------------------------------------------------------------------


@each("08")
def test_v2_tensors(case: Any) -> None:
    expect, body = case["expect"], case.get("body")
    if body is None:
        raw = case["raw_base64"]
        length = case.get("shape", [2])
        body = {
            "inputs": [{"name": "input1", "datatype": case["datatype"], "shape": length}],
            "raw_input_contents": [raw],
        }
    read = table(body)
    wanted = expect.get("rows", expect.get("flat", expect.get("decoded")))
    assert read.rows == wanted
    assert read.fits is ("shape product" not in expect.get("note", "") and "decoded" not in expect)
    if "inputs" in body:
        check_request(orjson.dumps(body))
    else:
        assert classes(output_of(body).marks) == wanted


@each("10")
def test_v2_frames_arrays_and_texts(case: Any) -> None:
    read = table(case["body"])
    assert read.rows == case["expect"]["rows"]
    if "names" in case["expect"]:
        assert read.names == tuple(case["expect"]["names"])
    if "inputs" in case["body"]:
        check_request(orjson.dumps(case["body"]))


def test_a_response_to_a_label_of_zero_is_class_zero() -> None:
    for case in cases_if_there("10")["cases"]:
        if case["id"] == "trustyai-response":
            assert classes(read_response(orjson.dumps(case["body"])).marks) == ["0"]


@pytest.mark.parametrize(
    "record",
    [*cases_if_there("07").get("inspect_mul10", ()), *cases_if_there("07").get("inspect_tfsimples", ())],
    ids=lambda record: record["topic"],
)
def test_core_2_messages(record: Any) -> None:
    """As protobuf, which is what Kafka holds, and as protobuf's JSON, which is what `seldon pipeline inspect` shows."""
    request = record["topic"].endswith(".inputs")
    kind = Kind.REQUEST if request else Kind.RESPONSE
    shown = record["value_proto_json"]
    message = protocol.ModelInferRequest() if request else protocol.ModelInferResponse()
    value = json_format.ParseDict(shown, message).SerializeToString()
    read = table(decode(value, kind), kind.value)
    assert read == table(shown, kind.value)
    tensors = shown["inputs" if request else "outputs"]
    wanted = [next(iter(tensor["contents"].values())) for tensor in tensors]
    if len(tensors) == 1:
        assert read.rows == wanted[0]
    else:
        assert read.rows == [wanted]
        assert read.names == tuple(tensor["name"] for tensor in tensors)


@each("09")
def test_mlserver_records(case: Any) -> None:
    if "rows" in case["expect"]:
        assert table(case["value"]).rows == case["expect"]["rows"]
    else:
        with pytest.raises(RefusedError):
            check_request(orjson.dumps(case["value"]))


# -- documents --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["11", "12", "13"])
def test_the_request_loggers_documents(file: str) -> None:
    for case in cases_if_there(file)["cases"]:
        kind = case["headers"]["Ce-Type"].rpartition(".")[2]
        read = table(case["body"], kind)
        assert len(read.rows) == len(case["docs"]), case["id"]
        for index, (row, written) in enumerate(zip(read.rows, case["docs"], strict=True)):
            part = written["doc"][kind]
            puid = case["headers"].get("Ce-Requestid", case["headers"].get("Ce-id"))
            assert written["id"] == (puid if len(read.rows) == 1 else f"{puid}-item-{index}")
            assert read.data_type == part["dataType"], case["id"]
            if read.record:  # the logger keeps the first tensor alone
                assert row[0] == part["instance"]
                assert (read.elements(index) or {}).keys() == {
                    tensor["name"] for tensor in case["body"].get("inputs", case["body"].get("outputs"))
                }
            else:
                assert row == part["instance"], case["id"]
                assert read.elements(index) == part.get("elements"), case["id"]
                assert list(read.names or ()) == part.get("names", [])


@each("15")
def test_elements_by_the_names_of_the_columns(case: Any) -> None:
    if case["schema"] is None:  # the others need a prediction schema, which is metadata of Seldon Deploy
        read = table_of({"data": {"names": case["names"], "ndarray": case["rows"]}}, "request")
        assert [read.elements(index) for index in range(len(read.rows))] == case["expect_elements"]


def test_the_notebooks_document() -> None:
    printed = cases_if_there("17")
    for part in ("request", "response") if "request" in printed else ():
        read = table(printed[part]["payload"], part)
        assert (read.rows, read.data_type) == ([printed[part]["instance"]], printed[part]["dataType"])
        assert list(read.names or ()) == printed[part].get("names", [])
    if "expect" in printed:
        response = read_response(orjson.dumps(printed["response"]["payload"]))
        truth = read_feedback(orjson.dumps({"truth": printed["feedback"]["truth"]}))
        assert classes(response.marks) == [str(printed["expect"]["prediction_class"])]
        assert classes(truth.labels or []) == [str(printed["expect"]["truth_class"])]


# -- feedback and forms -----------------------------------------------------------------------------------------------


@each("18")
def test_the_metrics_servers_verdicts(case: Any) -> None:
    """Its tests give the arrays alone, of one row: a label, or one entry a class."""

    def message(array: Any) -> Any:
        whole = case["kind"] != "onehot" or isinstance(array[0], list)
        return {"data": {"ndarray": array if whole else [array]}}

    body = case.get("body") or {"truth": message(case["truth"]), "response": message(case["response"])}
    feedback = read_feedback(orjson.dumps(body))
    assert feedback.output is not None
    (predicted,), (label,) = classes(feedback.output.marks), classes(feedback.labels or [])
    expect = case["expect"]
    if case["kind"] == "binary":
        assert expect == {{("1", "1"): "tp", ("1", "0"): "fp"}[predicted, label]: 1}
        return
    counts = {"tp": {label: 1}} if predicted == label else {"fn": {label: 1}, "fp": {predicted: 1}}
    assert {name: expect[name] for name in ("tp", "fn", "fp") if name in expect} == counts
    others = {str(index) for index in range(feedback.output.width)} - {predicted, label}
    assert expect.get("tn", {}).keys() <= others


@each("23", kind="feedback")
def test_the_wrappers_feedback(case: Any) -> None:
    body, expect = case["body"], case["expect"]
    feedback = read_feedback(orjson.dumps(body))
    if "reward" in expect:
        assert feedback.reward == expect["reward"] * 1e9
    if "response_rows" in expect:
        assert table(body["response"], "response").rows == expect["response_rows"]
        assert feedback.output is not None
        assert len(feedback.output.marks) == len(expect["response_rows"])
    if expect.get("request_rows"):
        assert table(body["request"], "request").rows == expect["request_rows"]
        assert feedback.has_request
    if "truth_rows" in expect:
        assert table(body["truth"], "truth").rows == expect["truth_rows"]
        assert len(feedback.labels or []) == len(expect["truth_rows"])


@each("23")
def test_the_wrappers_forms(case: Any) -> None:
    body, expect = case["body"], case["expect"]
    if case.get("kind") == "feedback":
        return
    value = orjson.dumps(body)
    if type(body) is dict and ("error" in expect or expect.get("rows") == []):
        with pytest.raises(RefusedError):
            check_request(value)
        return
    check_request(value)
    if type(body) is list:  # MLflow's rows; the wrapper knows only its own
        return
    read = table_of(body, "request")
    if isinstance(expect.get("rows"), list):
        assert read.rows == expect["rows"]
        assert list(read.names or ()) == expect.get("names", body["data"].get("names", []))
    else:
        assert len(read.rows) == 1
        if "value_base64" in expect:
            assert read.rows == [base64.b64encode(b"123").decode()] == [expect["value_base64"]]
        else:
            assert read.rows == [expect["value"]]
    words = {"data": {"number", "text", "tabular"}, "jsonData": {"json"}, "strData": {"text"}, "binData": {"image"}}
    assert read.data_type in words[expect.get("data_type", "data")]


# -- payloads of the other files --------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", ["01", "03", "04"])
def test_rows_of_logged_pairs(file: str) -> None:
    for case in cases_if_there(file)["cases"]:
        body = case.get("data") or json.loads(case["body"])
        read = table(body, case["expect"]["kind"])
        assert read.rows == case["expect"]["rows"]
        assert list(read.names or ()) == case["expect"].get("names", [])


@each("05")
def test_what_kserves_logger_logs(case: Any) -> None:
    if "request_rows" in case["expect"]:
        assert table(json.loads(case["request_body"]), "request").rows == case["expect"]["request_rows"]
        assert table(json.loads(case["response_body"]), "response").rows == case["expect"]["response_rows"]


def test_the_wrappers_error_body_is_a_failed_prediction() -> None:
    for body in [cases_if_there("27")["error_body"]] if "error_body" in cases_if_there("27") else []:
        assert read_response(orjson.dumps(body)).marks == [None]
