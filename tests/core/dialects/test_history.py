"""Documents of request loggers, old and new, become the events that they were made of."""

from typing import Any

import orjson
import pytest

from app.core.dialects.history import Imported, LeftOut, StoredDocument, events_of, puid_of
from app.core.events import Kind
from app.core.outputs.documents.changes import Documents
from app.core.outputs.documents.merging import merged, standing
from app.core.outputs.documents.places import Body, Place
from app.core.rules import Rulebook
from tests.builders import Ledger, Record, a_feedback, a_request, a_response, time_text

ASKED, ANSWERED, TOLD = (time_text(at) for at in (0, 0.5, 60))
NAMES = ["t:0", "t:1", "t:2"]
ROW = [0.0007, 0.0037, 0.9956]
REQUEST = {"data": {"ndarray": [[1, 2, 3, 4]]}}
RESPONSE = {"data": {"names": NAMES, "ndarray": [ROW]}, "meta": {}}
ASKED_ROWS, ANSWERED_ROWS = [[1, 2], [3, 4]], [[1], [0]]
BATCH = {"data": {"names": ["a", "b"], "ndarray": ASKED_ROWS}}
ANSWERS = {"data": {"names": ["c"], "ndarray": ANSWERED_ROWS}}


def a_document(name: str = "p", **parts: Any) -> StoredDocument:
    """A document of `seldon/sklearn/default`, without the fields that are given as None."""
    source = {
        "@timestamp": TOLD,
        "RequestId": name.partition("-item-")[0],
        "ServingEngine": "seldon",
        "Ce-Namespace": "seldon",
        "Ce-Inferenceservicename": "sklearn",
        "Ce-Endpoint": "default",
        "Ce-Modelid": "classifier",
        **parts,
    }
    return StoredDocument(name, {field: said for field, said in source.items() if said is not None})


def a_part(payload: Any = None, time: str | None = ASKED, **others: Any) -> dict[str, Any]:
    part = {"payload": payload, "ce-time": time, "ce-source": "http:localhost:8000", **others}
    return {name: said for name, said in part.items() if said is not None}


def a_row(number: int, **parts: Any) -> StoredDocument:
    """A row of `BATCH`, in the form of the logger."""
    request = a_part(BATCH, instance=ASKED_ROWS[number], names=["a", "b"], dataType="tabular")
    response = a_part(ANSWERS, ANSWERED, instance=ANSWERED_ROWS[number], names=["c"], dataType="number")
    return a_document(f"p-item-{number}", **{"request": request, "response": response} | parts)


def imported(*documents: StoredDocument) -> Imported:
    """What documents say; in whatever order they come, it is the same."""
    found = events_of(documents, 1000)
    assert events_of(reversed(documents), 1000) == found
    return found


def said(*documents: StoredDocument) -> list[tuple[str, str, str, Any]]:
    """(kind, puid, time, body) of the events; nothing is left out."""
    found = imported(*documents)
    assert not found.left_out
    result = []
    for kind, event in found.events:
        headers = dict(event.headers)
        assert event.key == headers["ce_requestid"].partition(b"-item-")[0]
        result.append(
            (kind.value, headers["ce_requestid"].decode(), headers["ce_time"].decode(), orjson.loads(event.value))
        )
    return result


def left_out(*documents: StoredDocument) -> dict[LeftOut, int]:
    found = imported(*documents)
    assert not found.events
    return dict(found.left_out)


def join(*indices: list[StoredDocument]) -> Ledger:
    """What the join makes of the documents of some indices."""
    ledger = Ledger()
    for documents in indices:
        for _, event in imported(*documents).events:
            ledger.absorb(Record(0, 1_900_000_000_000, event.key, event.value, list(event.headers)))
    ledger.cut()
    assert ledger.refusals == []
    return ledger


# -- one row ----------------------------------------------------------------------------------------------------------


def test_a_document_becomes_the_events_that_it_was_made_of() -> None:
    """The document that the notebooks print, of the request logger 1.5.1."""
    truth = {"data": {"names": NAMES, "ndarray": [[0, 0, 1]]}, "meta": {"tags": {"user": "Seldon Admin"}}}
    found = imported(
        a_document(
            "2cfe7cb7",
            request=a_part(REQUEST, instance=[1.0, 2.0, 3.0, 4.0], elements={}, dataType="tabular"),
            response=a_part(RESPONSE, ANSWERED, instance=ROW, names=NAMES, elements={"t:1": [0.0037]}),
            feedback={"reward": 0, "truth": truth, "ce-source": "http:localhost:8000", "ce-time": TOLD},
        )
    )
    assert not found.left_out
    assert [(kind, event.key, orjson.loads(event.value)) for kind, event in found.events] == [
        (Kind.REQUEST, b"2cfe7cb7", REQUEST),
        (Kind.RESPONSE, b"2cfe7cb7", RESPONSE),
        (Kind.FEEDBACK, b"2cfe7cb7", {"reward": 0, "truth": truth}),
    ]
    assert dict(found.events[2][1].headers) == {
        "ce_specversion": b"1.0",
        "ce_id": b"2cfe7cb7/feedback",
        "ce_source": b"http:localhost:8000",
        "ce_type": b"io.seldon.serving.feedback",
        "ce_time": TOLD.encode(),
        "ce_requestid": b"2cfe7cb7",
        "ce_inferenceservicename": b"sklearn",
        "ce_namespace": b"seldon",
        "ce_endpoint": b"default",
        "ce_modelid": b"classifier",
        "content-type": b"application/json",
    }


@pytest.mark.parametrize(
    "response",
    [
        a_part(RESPONSE, ANSWERED),
        a_part(None, ANSWERED, instance=ROW, names=NAMES, elements=dict(zip(NAMES, ROW, strict=True))),
        a_part(None, ANSWERED, elements={"t:1": [ROW[1]], "t:0": [ROW[0]], "t:2": [ROW[2]]}),
        a_part(None, ANSWERED, elements={"t:1": ROW[1], "t:0": ROW[0], "t:2": ROW[2]}, names=NAMES),
    ],
    ids=["payload", "instance", "elements of 1.5.1", "elements of 1.13"],
)
def test_all_forms_of_a_document_are_judged_alike(response: dict[str, Any]) -> None:
    feedback = {"reward": 1, "truth": {"data": {"ndarray": [[0, 0, 1]]}}, "ce-time": TOLD}
    ledger = join([a_document(request=a_part(REQUEST), response=response, feedback=feedback)])
    reading = ledger.models()["seldon/sklearn/default/classifier"]
    assert reading.confusion == {("2", "2"): 1}
    assert (reading.parts, reading.rewards) == ({"request": 1, "response": 1, "feedback": 1}, 1)


def test_parts_that_are_not_there_make_no_events() -> None:
    assert said(a_document(request=None, response=a_part(RESPONSE), feedback={})) == [
        ("response", "p", ASKED, RESPONSE)
    ]
    assert said(a_document(request=a_part(REQUEST), feedback={"ce-time": TOLD, "ce-source": "x"})) == [
        ("request", "p", ASKED, REQUEST)
    ]
    assert said(a_document(verdict={"predicted": "1"})) == []


@pytest.mark.parametrize("reward", [True, False, 0, 0.5, -1, None])
def test_a_reward_stays_what_it_was(reward: Any) -> None:
    ((_, _, _, body),) = said(a_document(feedback={"reward": reward, "ce-time": TOLD}))
    assert repr(body["reward"]) == repr(reward)


def test_a_payload_is_not_changed() -> None:
    payload = {"inputs": [{"name": "é", "datatype": "INT64", "shape": [1], "data": [9007199254740993]}], "id": "x"}
    ((*_, body),) = said(a_document(request=a_part(payload, instance=[1.0])))
    assert body == payload


# -- times and names --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "time", ["2020-07-14T19:51:55.897123716Z", "2020-07-14T19:51:55Z", "2020-07-14T21:51:55+02:00"]
)
def test_a_time_stays_as_it_was_written(time: str) -> None:
    assert [event[2] for event in said(a_document(request=a_part(REQUEST, time)))] == [time]


@pytest.mark.parametrize(
    ("time", "wanted"),
    [
        (None, TOLD),
        ("soon", TOLD),
        ("", TOLD),
        (1594756315897, "2020-07-14T19:51:55.897000Z"),
        (True, TOLD),
        (-1, TOLD),
    ],
)
def test_a_part_without_a_time_has_that_of_its_document(time: Any, wanted: str) -> None:
    assert [event[2] for event in said(a_document(request=a_part(REQUEST, time)))] == [wanted]


def test_what_has_no_time_is_left_out() -> None:
    document = a_document(request=a_part(REQUEST, None), feedback={"reward": 1}, **{"@timestamp": None})  # type: ignore[arg-type]
    assert left_out(document) == {LeftOut.NO_TIME: 2}


def test_names_that_are_missing_make_no_headers() -> None:
    leg: dict[str, Any] = dict.fromkeys(
        ("Ce-Namespace", "Ce-Inferenceservicename", "Ce-Endpoint", "Ce-Modelid", "ServingEngine")
    )
    ((_, event),) = imported(a_document(request=a_part(REQUEST), **leg)).events
    assert [name for name, _ in event.headers] == [
        "ce_specversion", "ce_source", "ce_type", "content-type", "ce_id", "ce_time", "ce_requestid",
    ]  # fmt: skip


def test_the_engine_of_kserve_is_kept() -> None:
    document = a_document(request=a_part({"instances": [[1]]}), ServingEngine="inferenceservice")
    ((_, event),) = imported(document).events
    assert dict(event.headers)["ce_servingengine"] == b"inferenceservice"


def test_models_that_answered_one_puid_stay_apart() -> None:
    """Of two predictors, in two indices; and of a graph whose models share a document."""
    shadow = a_document(request=a_part(REQUEST), response=a_part(RESPONSE), **{"Ce-Endpoint": "shadow"})
    graph = a_document(
        request=a_part(REQUEST, **{"ce-modelid": "transformer"}), response=a_part(RESPONSE), feedback={"reward": 1}
    )
    legs = [
        (kind.value, dict(event.headers)["ce_endpoint"], dict(event.headers)["ce_modelid"])
        for document in (shadow, graph)
        for kind, event in imported(document).events
    ]
    assert sorted(legs) == [
        ("feedback", b"default", b"classifier"),
        ("request", b"default", b"transformer"),
        ("request", b"shadow", b"classifier"),
        ("response", b"default", b"classifier"),
        ("response", b"shadow", b"classifier"),
    ]


@pytest.mark.parametrize(
    ("name", "request_id", "puid"),
    [
        ("p", "p", "p"),
        ("p-item-3", "p", "p"),
        ("p-item-3", None, "p"),
        ("p-item-3", "", "p"),
        ("p-item-x", None, "p-item-x"),
        ("p-item-3", "p-item-3", "p-item-3"),  # Seldon's batch client names the rows of its batches so itself
        ("4f1d", "a very long one", "a very long one"),
    ],
)
def test_the_puid_of_a_document(name: str, request_id: str | None, puid: str) -> None:
    document = a_document(name, request=a_part(REQUEST), RequestId=request_id)
    assert puid_of(document) == puid
    ((_, event),) = imported(document).events
    assert (event.key, dict(event.headers)["ce_requestid"]) == (puid.encode(), puid.encode())


@pytest.mark.parametrize("puid", ["\0", "\ud800", "x" * 1001])
def test_a_puid_that_no_event_can_have_is_left_out(puid: str) -> None:
    assert left_out(a_document(puid, request=a_part(REQUEST), RequestId=puid)) == {LeftOut.NO_PUID: 1}


def test_what_is_too_large_is_left_out() -> None:
    assert left_out(a_document(request=a_part({"strData": "x" * 1000}))) == {LeftOut.TOO_LARGE: 1}


# -- batches ----------------------------------------------------------------------------------------------------------


def test_the_rows_of_a_batch_have_one_request_and_one_response() -> None:
    assert said(a_row(0), a_row(1)) == [("request", "p", ASKED, BATCH), ("response", "p", ANSWERED, ANSWERS)]


def test_a_row_alone_has_them_whole() -> None:
    assert said(a_row(1)) == [("request", "p", ASKED, BATCH), ("response", "p", ANSWERED, ANSWERS)]


def test_a_batch_is_put_together_from_its_rows() -> None:
    rows = [
        a_row(
            number,
            request=a_part(None, instance=ASKED_ROWS[number], names=["a", "b"]),
            response=a_part(None, ANSWERED, elements={"c": ANSWERED_ROWS[number]}),
        )
        for number in range(2)
    ]
    assert said(*rows) == [("request", "p", ASKED, BATCH), ("response", "p", ANSWERED, ANSWERS)]


@pytest.mark.parametrize("rows", [[0], [1], [0, 2], [1, 2]])
def test_a_batch_of_which_rows_are_missing_is_left_out(rows: list[int]) -> None:
    """Labels are for rows by their position."""
    part = {"response": a_part(None, ANSWERED, instance=[1])}
    assert left_out(*(a_document(f"p-item-{row}", **part) for row in rows)) == {LeftOut.NO_PAYLOAD: 1}


def test_text_and_json_are_put_together_too() -> None:
    text = a_part(None, instance="bad actors", dataType="text", names=["review"])
    assert said(a_document(request=text))[0][3] == {"data": {"names": ["review"], "ndarray": ["bad actors"]}}
    content = a_part(None, instance={"a": [1]}, dataType="json", meta={"tags": {}})
    assert said(a_document(request=content))[0][3] == {"jsonData": {"a": [1]}, "meta": {"tags": {}}}


@pytest.mark.parametrize("content", [{"dataType": "json"}, {"elements": {}}, {"names": ["a"]}, {"payload": 5}])
def test_what_has_no_payload_is_left_out(content: dict[str, Any]) -> None:
    assert left_out(a_document(request={**content, "ce-time": ASKED})) == {LeftOut.NO_PAYLOAD: 1}


def test_the_feedback_of_a_batch_has_a_document_of_its_own_in_seldons_logger() -> None:
    truth = {"data": {"ndarray": [1, 1]}}
    documents = [a_row(0), a_row(1), a_document("p", feedback={"truth": truth, "reward": 1, "ce-time": TOLD})]
    assert said(*documents)[2:] == [("feedback", "p", TOLD, {"truth": truth, "reward": 1})]
    assert join(documents).models()["seldon/sklearn/default/classifier"].rows["correct"] == 1


def test_the_feedback_of_a_row_labels_that_row() -> None:
    feedback = {"truth": {"data": {"ndarray": [1]}}, "ce-time": TOLD}
    assert said(a_row(0), a_row(1, feedback=feedback))[2:] == [
        ("feedback", "p-item-1", TOLD, {"truth": {"data": {"ndarray": [1]}}})
    ]
    assert join([a_row(0), a_row(1, feedback=feedback)]).models()["seldon/sklearn/default/classifier"].confusion == {
        ("1", "0"): 1
    }


@pytest.mark.parametrize("labels", [[0, 1], [1]])
def test_the_feedback_of_a_batch_that_each_row_has_is_one(labels: list[int]) -> None:
    """As Tally writes it: the truth in all rows, the reward in the first. (One label for two rows does not fit.)"""
    truth = {"data": {"ndarray": labels}}
    told = {"truth": truth, "ce-time": TOLD, "ce-source": "x"}
    documents = [a_row(0, feedback={**told, "reward": 1.0}), a_row(1, feedback=told)]
    assert said(*documents)[2:] == [("feedback", "p", TOLD, {"truth": truth, "reward": 1.0})]


def test_labels_of_several_rows_are_those_of_the_batch() -> None:
    """Of a large feedback Tally keeps one copy, in the first row."""
    truth = {"data": {"ndarray": [0, 1]}}
    documents = [a_row(0, feedback={"truth": truth, "ce-time": TOLD}), a_row(1, feedback={"ce-time": TOLD})]
    assert said(*documents)[2:] == [("feedback", "p", TOLD, {"truth": truth})]


def test_what_was_told_at_different_times_are_different_feedbacks() -> None:
    feedback = {"truth": None, "reward": 1, "ce-time": TOLD, "ce-times": {"reward": ANSWERED}}
    assert said(a_document(feedback=feedback)) == [
        ("feedback", "p", TOLD, {"truth": None}),
        ("feedback", "p", ANSWERED, {"reward": 1}),
    ]


# -- Tally's own documents --------------------------------------------------------------------------------------------


def documents_of(ledger: Ledger) -> list[list[StoredDocument]]:
    """What the document writer makes of the log, index by index."""
    documents = Documents(Rulebook())
    shelf: dict[Place, Body] = {}
    for _, record in ledger.logged:
        for change in documents.changes(record):
            place, now, before = standing(change, shelf)
            for there in before:
                del shelf[there]
            shelf[place] = merged(now, change)
    indices: dict[str, list[StoredDocument]] = {}
    for (index, name), source in shelf.items():
        indices.setdefault(index, []).append(StoredDocument(name, source))
    return list(indices.values())


PREDICTION = (a_request(), a_response(1, at=1))
BATCH_OF_3 = (a_request({"data": {"ndarray": [[1], [2], [3]]}}), a_response(1, 0, 1, at=1))


@pytest.mark.parametrize(
    "records",
    [
        PREDICTION,
        (*PREDICTION, a_feedback(1, reward=True, at=60)),
        (*PREDICTION, a_feedback(1, at=60), a_feedback(0, at=61)),
        (*PREDICTION, a_feedback(0, at=60), a_feedback(reward=0.5, body={"reward": 0.5}, at=70)),
        (*PREDICTION, a_feedback(0, reward=1, at=60), a_feedback(body={"reward": None}, at=70)),
        (*PREDICTION, a_feedback(0, reward=1, at=60), a_feedback(body={"truth": None}, at=70)),
        (a_request(), a_response([0.1, 0.9], names=["no", "yes"], version="2", at=1), a_feedback("yes", at=2)),
        (a_request(), a_response(1, at=1, headers={"ce_modelversion": b"7"}), a_feedback(1, at=2)),
        (a_response(0.25, at=1), a_feedback(0.5, at=2)),
        (a_request(), a_response(body={"status": {"status": 1, "code": -1}}, at=1)),
        (*PREDICTION, a_response(0, at=1, predictor="shadow"), a_feedback(1, reward=1, at=60)),
        BATCH_OF_3,
        (*BATCH_OF_3, a_feedback([1, 1, 1], reward=2, at=60)),
        (*BATCH_OF_3, a_feedback([1, 1], reward=2, at=60)),
        (*BATCH_OF_3, a_feedback(1, reward=2, row=2, at=60)),
        (*BATCH_OF_3, a_feedback(1, reward=2, row=0, at=60), a_feedback(1, row=1, at=60)),
        (*BATCH_OF_3, a_feedback([1, 1, 1], reward=2, at=60), a_feedback(0, row=1, at=70), a_feedback(0, row=0, at=71)),
        (*BATCH_OF_3, a_feedback([1, 1, 1], at=60), a_feedback(body={"reward": -1}, at=70)),
    ],
)
def test_tallys_own_documents_count_as_what_they_were_made_of(records: tuple[Record, ...]) -> None:
    told = Ledger(logs=True).absorb(*records).cut()
    again = join(*documents_of(told))
    assert again.totals() == told.totals()
    # When a statement was taken back, no document says.
    assert {**again.describe(), "feedback_time": None} == {**told.describe(), "feedback_time": None}


def test_the_version_of_a_document_is_that_of_the_answer_of_its_model() -> None:
    parts = {"request": a_part(REQUEST), "response": a_part(RESPONSE, ANSWERED)}
    parts["feedback"] = {"reward": 1, "ce-time": TOLD}
    named = StoredDocument("p", {**a_document("p", **parts).source, "Ce-Modelversion": "7"})
    versions = [dict(event.headers).get("ce_modelversion") for _, event in imported(named).events]
    assert versions == [None, b"7", None]
    named.source["response"]["ce-modelid"] = "another"
    assert all("ce_modelversion" not in dict(event.headers) for _, event in imported(named).events)


def test_what_came_with_an_older_statement_comes_with_it_again() -> None:
    told = a_feedback(body={"truth": {"data": {"ndarray": [1]}}, "note": "x"}, at=60)
    documents = documents_of(Ledger(logs=True).absorb(*PREDICTION, told, a_feedback(reward=1, at=70)).cut())
    bodies = [orjson.loads(event.value) for kind, event in imported(*documents[0]).events if kind is Kind.FEEDBACK]
    assert bodies == [{"truth": {"data": {"ndarray": [1]}}, "note": "x"}, {"reward": 1}]


@pytest.mark.parametrize(
    "records",
    [
        (*PREDICTION, a_feedback(1, reward=True, at=60)),
        (*PREDICTION, a_feedback(1, at=60), a_feedback(reward=0.5, at=70)),
        (*BATCH_OF_3, a_feedback([1, 1, 1], reward=2, at=60), a_feedback(0, row=1, at=70)),
        (*BATCH_OF_3, a_feedback([1, 0, 1], predictor=None, model=None, at=60)),
    ],
)
def test_labels_that_are_imported_beside_their_equals_correct_nothing(records: tuple[Record, ...]) -> None:
    ledger = Ledger(logs=True).absorb(*records).cut()
    counted, corrections = ledger.totals(), ledger.stats.corrections
    for documents in documents_of(ledger) * 2:
        for _, event in imported(*documents).events:
            ledger.absorb(Record(0, 1_795_244_500_000, event.key, event.value, list(event.headers)))
    ledger.cut()
    assert (ledger.totals(), ledger.stats.corrections) == (counted, corrections)
