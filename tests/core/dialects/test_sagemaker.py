"""SageMaker's capture records and ground truth: the request, the response and the label that they mean."""

from base64 import b64encode
from typing import Any

import orjson
import pytest

from app.core.dialects.origins import Dialect
from app.core.dialects.understand import Arrival, Understood, understand
from app.core.events import Kind, Reason, RefusedError
from tests.builders import START, Ledger, Record

STAMP = START * 1000
TIME = "2026-11-21T06:59:58Z"


def side(data: Any, encoding: str = "CSV", content_type: str = "text/csv") -> dict[str, Any]:
    return {"observedContentType": content_type, "mode": "OUTPUT", "data": data, "encoding": encoding}


def capture(given: Any = None, answer: Any = None, **metadata: Any) -> dict[str, Any]:
    sides = {"endpointInput": given, "endpointOutput": answer}
    return {
        "captureData": {name: side for name, side in sides.items() if side is not None},
        "eventMetadata": {"eventId": "e1", "inferenceTime": TIME} | metadata,
        "eventVersion": "0",
    }


def truth(data: Any, encoding: str = "CSV", event_id: Any = "e1") -> dict[str, Any]:
    groundtruth = {"data": data, "encoding": encoding}
    return {"groundTruthData": groundtruth, "eventMetadata": {"eventId": event_id}, "eventVersion": "0"}


def arrival(record: Any, **headers: str) -> Arrival:
    given = [(name, text.encode()) for name, text in headers.items()]
    return Arrival("sagemaker", given, None, orjson.dumps(record), STAMP)


def events(record: Any, **headers: str) -> list[Understood]:
    found = understand(arrival(record, **headers))
    assert {one.dialect for one in found} == {Dialect.SAGEMAKER}
    return found


def described(*arrivals: Arrival, puid: str = "e1") -> dict[str, Any]:
    ledger = Ledger()
    for arrived in arrivals:
        for _, _, event in understand(arrived):
            ledger.absorb(Record(0, STAMP, event.key, event.value, list(event.headers)))
    ledger.settle().cut()
    assert not ledger.dead
    return ledger.describe(puid)


@pytest.mark.parametrize(
    ("answer", "label", "predicted"),
    [
        (side("0.1,0.7,0.2"), truth("1"), "1"),
        (side("oak\n"), truth("oak"), "oak"),
        (side("oak,0.9"), truth("oak"), "oak"),
        (side("[[0.2, 0.8]]", "JSON", "application/json"), truth("1"), "1"),
        (side('{"predictions": [{"score": 0.9, "predicted_label": 1}]}', "JSON"), truth("1", "JSON"), "1"),
        (side('{"prob_oak": 0.9, "prob_elm": 0.1}', "JSON"), truth('"oak"', "JSON"), "oak"),
        (side('[{"label": "oak", "score": 0.9}]', "JSON"), truth('{"label": "oak"}', "JSON"), "oak"),
        (side(b64encode(b"oak").decode(), "BASE64"), truth(b64encode(b"oak").decode(), "BASE64"), "oak"),
        (side(b64encode(b'{"predictions": [1]}').decode(), "BASE64", "application/json"), truth("1"), "1"),
        (side("1", "", ""), truth("1", ""), "1"),
        (side({"predictions": [1]}, "JSON"), truth(1, "JSON"), "1"),
    ],
)
def test_a_capture_and_its_ground_truth_are_an_exchange(answer: Any, label: Any, predicted: str) -> None:
    (leg,) = described(arrival(capture(side("1,2.5,x,"), answer)), arrival(label))["legs"]
    row = {name: leg["rows"][0][name] for name in ("predicted", "label", "correct")}
    assert row == {"predicted": predicted, "label": predicted, "correct": True}
    assert (leg["model_service"], leg["request_time"]) == ("sagemaker", "2026-11-21T06:59:58.000000Z")


def test_rows_of_csv_are_numbers_texts_and_nothing() -> None:
    request, response = events(capture(side('1,2.5,"a, b",\n-3,1e3,b,7\n'), side("1\n0\n")))
    assert orjson.loads(request.event.value) == {"data": {"ndarray": [[1, 2.5, "a, b", None], [-3, 1000, "b", 7]]}}
    assert orjson.loads(response.event.value) == {"data": {"ndarray": [1, 0]}}


def test_a_body_of_json_has_its_own_form_or_is_one_row() -> None:
    for body, wanted in (
        ({"instances": [[1]]}, {"instances": [[1]]}),
        ([[1], [2]], [[1], [2]]),
        ({"age": "31", "city": "Rome"}, {"data": {"ndarray": [{"age": "31", "city": "Rome"}]}}),
        (3, {"data": {"ndarray": [3]}}),
    ):
        (request,) = events(capture(side(orjson.dumps(body).decode(), "JSON")))
        assert (request.kind, orjson.loads(request.event.value)) == (Kind.REQUEST, wanted)


def test_the_inference_id_names_the_call() -> None:
    given = capture(side("1"), side("1"), inferenceId="mine-item-2")
    assert {one.event.key for one in events(given)} == {b"mine-item-2"}
    (feedback,) = events(truth("1", event_id="mine-item-2"))
    assert (feedback.event.key, dict(feedback.event.headers)["ce_requestid"]) == (b"mine", b"mine-item-2")


def test_headers_name_the_endpoint() -> None:
    headers = dict(events(capture(side("1"), side("1")), inferenceservicename="fraud", modelid="v1")[0].event.headers)
    assert (headers["ce_inferenceservicename"], headers["ce_modelid"], headers["ce_time"]) == (
        b"fraud", b"v1", TIME.encode()
    )  # fmt: skip
    assert "ce_inferenceservicename" not in dict(events(truth("1"))[0].event.headers)


def test_a_missing_feature_is_data_and_a_missing_answer_is_refused() -> None:
    request, response = events(capture(side("nan,1"), side('{"predictions": [NaN]}', "JSON")))
    ledger = Ledger()
    for one in (request, response):
        ledger.absorb(Record(0, STAMP, one.event.key, one.event.value, list(one.event.headers)))
    assert ledger.settle().cut().refusals == [Reason.NOT_FINITE]


@pytest.mark.parametrize(
    ("record", "reason", "words"),
    [
        (capture(), Reason.EMPTY, "neither endpointInput nor endpointOutput"),
        (capture(side("1"), eventId=None), Reason.NO_PUID, "neither inferenceId nor eventId"),
        ({"captureData": {}}, Reason.NOT_AN_OBJECT, "eventMetadata is not a JSON object"),
        ({"captureData": [], "eventMetadata": {"eventId": "x"}}, Reason.NOT_AN_OBJECT, "captureData is not"),
        (capture(side("{", "JSON")), Reason.BAD_JSON, "not JSON"),
        (capture(side(b64encode(b"\xff\xfe").decode(), "BASE64", "image/png")), Reason.BAD_PAYLOAD, "image/png"),
        (capture(side("!", "BASE64", "")), Reason.BAD_PAYLOAD, "unknown type"),
    ],
)
def test_why_a_record_cannot_be_used(record: Any, reason: Reason, words: str) -> None:
    with pytest.raises(RefusedError) as refused:
        understand(arrival(record))
    assert (refused.value.reason, words in refused.value.detail) == (reason, True), refused.value.detail
