"""Documents: each has the shape, the id and the index of Seldon's request logger, and says what holds in the end."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.clock import parse_time
from app.core.events import Leg, Reason, RefusedError
from app.core.join.joined import part, part_prefix
from app.core.limits import Limits
from app.core.outputs.documents.changes import Documents
from app.core.outputs.documents.contents import MOST_COPIED, elements_of
from app.core.outputs.documents.merging import merged, standing
from app.core.outputs.documents.places import KSERVE, SELDON, Body, Place, index_name, row_id
from app.core.rules import Column, Rulebook, Rules, Schema
from app.models_file import ModelEntry
from tests.builders import START, Fields, Record, a_feedback, a_request, a_response, run, time_text, ways
from tests.cases import cases_if_there, demand
from tests.soak import SOAK

INDEX: Final = "inference-log-seldon-ns-svc-default"
SHADOW: Final = "inference-log-seldon-ns-svc-shadow"

Shelf = dict[Place, Body]


def shelf(joined: Iterable[bytes], rules: Sequence[Rules] = (), *, daily: bool = False, anew: bool = False) -> Shelf:
    """The documents that records of the log leave. `anew`: whoever reads them begins anew with each."""
    documents = Documents(Rulebook(tuple(rules)), daily=daily)
    found: Shelf = {}
    for record in joined:
        if anew:
            documents = Documents(Rulebook(tuple(rules)), daily=daily)
        for change in documents.changes(record):
            place, now, before = standing(change, found)
            document = merged(now, change)
            assert merged(document, change) == document, "to merge a record again changes nothing"
            for there in before:
                del found[there]
            found[place] = document
    return found


def tell(*records: Record, rules: Sequence[Rules] = (), daily: bool = False) -> Shelf:
    """The documents of a story, which must be the same for every way in which its records can come."""
    told = shelf(map(second, run(records, [], rules=rules, logs=True).logged), rules, daily=daily)
    for how, again, batches in ways(records):
        logged = [value for _, value in run(again, batches, rules=rules, logs=True).logged]
        assert shelf(logged, rules, daily=daily) == told, how
        assert shelf(logged, rules, daily=daily, anew=True) == told, how
        assert shelf(in_pieces(logged), rules, daily=daily) == told, f"{how}, each part in a record of its own"
        assert shelf(in_pieces(logged), rules, daily=daily, anew=True) == told, (
            f"{how}, each part in a record of its own"
        )
    return told


def in_pieces(joined: Iterable[bytes]) -> Iterable[bytes]:
    """Records each of which has one part: what one that is too large becomes at most."""
    for record in map(orjson.loads, joined):
        parts = sorted(record["parts"], key=lambda part: str(part["kind"] == "feedback"))
        for number, one in enumerate(parts, 1):
            yield orjson.dumps(record | {"parts": [one], "more": number < len(parts)})


def second(pair: tuple[bytes, bytes]) -> bytes:
    return pair[1]


def only(found: Shelf) -> Body:
    (document,) = found.values()
    return document


def ids(found: Shelf) -> list[str]:
    return sorted(number for _, number in found)


def an_outlier(*told: Any, **fields: Any) -> Record:
    body = fields.pop("body", {"data": {"is_outlier": list(told)}})
    return a_response(body=body, headers={"ce_type": b"io.seldon.serving.inference.outlier"}, **fields)


def contains(ours: Any, theirs: Any) -> bool:
    """Whether a document says all that another does."""
    if isinstance(theirs, dict):
        return isinstance(ours, dict) and all(name in ours and contains(ours[name], theirs[name]) for name in theirs)
    return bool(ours == theirs)


# -- one prediction ---------------------------------------------------------------------------------------------------


def test_the_document_of_a_prediction() -> None:
    request = {"data": {"names": ["a", "b"], "ndarray": [[1, 2.5]]}}
    response = {"data": {"names": ["no", "yes"], "ndarray": [[0.25, 0.75]]}, "meta": {"tags": {"x": 1}}}
    source = {"ce_source": b"http:localhost:8000"}
    found = tell(
        a_request(request, at=1.0, headers=source),
        a_response(body=response, at=1.25, headers=source),
        a_feedback("yes", reward=True, at=61.25, headers=source),
    )
    asked, answered, told = time_text(1.0), time_text(1.25), time_text(61.25)
    assert found == {
        (INDEX, "p"): {
            "@timestamp": asked,
            "RequestId": "p",
            "ServingEngine": "seldon",
            "Ce-Inferenceservicename": "svc",
            "Ce-Endpoint": "default",
            "Ce-Namespace": "ns",
            "Ce-Modelid": "m",
            "request": {
                "payload": request,
                "instance": [1, 2.5],
                "elements": {"a": 1, "b": 2.5},
                "names": ["a", "b"],
                "dataType": "tabular",
                "ce-time": asked,
                "ce-source": "http:localhost:8000",
            },
            "response": {
                "payload": response,
                "instance": [0.25, 0.75],
                "elements": {"no": 0.25, "yes": 0.75},
                "names": ["no", "yes"],
                "dataType": "tabular",
                "meta": {"tags": {"x": 1}},
                "ce-time": answered,
                "ce-source": "http:localhost:8000",
            },
            "feedback": {
                "truth": {"data": {"ndarray": ["yes"]}},
                "reward": 1,
                "ce-time": told,
                "ce-source": "http:localhost:8000",
            },
            "verdict": {
                "predicted": "yes",
                "probability": 0.75,
                "label": "yes",
                "correct": True,
                "delay_seconds": 60.0,
                "reward": 1,
            },
        }
    }
    assert type(only(found)["feedback"]["reward"]) is int


def test_a_request_alone_is_a_document() -> None:
    document = only(tell(a_request(at=1.0)))
    assert document["@timestamp"] == time_text(1.0)
    assert document.keys() & {"request", "response", "verdict", "feedback"} == {"request"}


def test_a_response_alone_is_a_document_of_its_time() -> None:
    document = only(tell(a_response(1, at=2.0)))
    assert document["@timestamp"] == time_text(2.0)
    assert document["verdict"] == {"predicted": "1"}


def test_a_feedback_without_a_prediction_is_a_document_with_its_reward() -> None:
    ledger = run([a_feedback(1, reward=True, at=2.0)], [], logs=True).cut(8 * 86400)
    document = only(shelf(map(second, ledger.logged)))
    assert document["feedback"]["reward"] == 1
    assert document["@timestamp"] == time_text(2.0)


def test_ids_and_times_that_elasticsearch_would_not_take_are_changed() -> None:
    long = "p" * 513
    found = tell(a_request(puid=long, headers={"ce_time": b"2026-W47-6T08:00:00,5"}))
    assert [len(number) for number in ids(found)] == [64]
    assert only(found)["RequestId"] == long
    assert only(found)["request"]["ce-time"] == "2026-11-21T08:00:00.500000Z"
    assert row_id("é" * 256, 0, 1) == "é" * 256
    assert len(row_id("é" * 255, 12, 20)) == 64 + len("-item-12")


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ((SELDON, "seldon", "sklearn", "default"), "inference-log-seldon-seldon-sklearn-default"),
        ((KSERVE, "Team A", "Iris", "v1"), "inference-log-inferenceservice-team_a-iris-v1"),
        ((SELDON, "", "", ""), "inference-log-seldon-unknown-namespace-unknown-inferenceservice-unknown-endpoint"),
        ((SELDON, 'a*b\\c/d?e"f<g>h|i,j#k:l', "é", "ß"), "inference-log-seldon-a_b_c_d_e_f_g_h_i_j_k_l-_-_"),
    ],
)
def test_index_names(words: tuple[str, str, str, str], name: str) -> None:
    assert index_name(*words) == name


def test_long_index_names_stay_apart() -> None:
    names = {index_name(SELDON, "n" * 253, "s" * 253, end) for end in ("a", "b")}
    assert len(names) == 2
    assert all(len(name) <= 240 for name in names)


def test_what_goes_in_parts_makes_the_same_documents() -> None:
    """Also where the answer, the labels and what is known of the rows do not fit beside each other."""
    rows = [number % 3 for number in range(40)]
    requests = [a_request({"data": {"ndarray": [[n] for n in rows]}}, puid=puid, at=0.5) for puid in "pq"]
    answers = [a_response(*rows, puid=puid, at=1.0) for puid in "pq"]
    labels = [a_feedback(1, row=n, puid=puid, at=2.0 + n) for n in range(0, 40, 3) for puid in "pq"]
    story = [*requests, *answers, *labels, a_feedback(reward=1, puid="p", at=90.0)]
    whole = run(story, [], logs=True)
    limits = Limits(joined_bytes=max(len(raw) for _, raw in whole.logged) * 2 // 3)
    parted = run(story, [], logs=True, limits=limits)
    assert len(parted.logged) > len(whole.logged) == 2
    assert max(len(raw) for _, raw in parted.logged) <= limits.joined_bytes
    assert not parted.dead
    assert shelf(map(second, parted.logged)) == shelf(map(second, whole.logged))


# -- corrections ------------------------------------------------------------------------------------------------------


def test_a_correction_changes_the_verdict_and_the_feedback() -> None:
    document = only(tell(a_request(), a_response(1, at=1.0), a_feedback(1, at=2.0), a_feedback(0, reward=1, at=3.0)))
    assert document["verdict"] == {"predicted": "1", "label": "0", "correct": False, "delay_seconds": 2.0, "reward": 1}
    assert document["feedback"] == {"truth": {"data": {"ndarray": [0]}}, "reward": 1, "ce-time": time_text(3.0)}


@pytest.mark.parametrize(
    ("task", "prediction", "label", "error"),
    [
        (None, 2.5, 1.25, 1.25),
        (None, 0.75, 2.5, -1.75),  # a score it would be, if the label were a class
        (None, 2, 2.5, -0.5),
        ("regression", 3, 5, -2.0),
        ("regression", 0.75, 1, -0.25),
        (None, 1, 0, None),
        (None, 0.75, 1, None),
        (None, "cat", 0.5, None),
        (None, [0.25, 0.75], 2.5, None),
    ],
)
def test_a_row_that_measures_says_by_how_much_it_is_off(
    task: Any, prediction: Any, label: float, error: float | None
) -> None:
    story = (a_request(), a_response(prediction, at=1.0), a_feedback(label, at=2.0))
    assert only(tell(*story, rules=(Rules(task=task),)))["verdict"].get("error") == error


def test_of_several_rows_each_has_its_own_error() -> None:
    story = (
        a_request({"data": {"ndarray": [[1], [2]]}}),
        a_response(1.5, 2.5, at=1.0),
        a_feedback([1.25, 4.25], at=2.0),
    )
    found = tell(*story)
    assert [document["verdict"]["error"] for document in found.values()] == [0.25, -1.75]


def test_of_feedbacks_that_tell_different_things_each_field_is_the_newest() -> None:
    early, late = a_feedback(1, at=2.0), a_feedback(reward=0.5, at=3.0)
    document = only(tell(a_request(), a_response(1, at=1.0), early, late))
    assert document["feedback"] == {
        "truth": {"data": {"ndarray": [1]}},
        "reward": 0.5,
        "ce-time": time_text(3.0),
        "ce-times": {"truth": time_text(2.0)},
    }
    later = only(tell(a_request(), a_response(1, at=1.0), early, late, a_feedback(0, at=4.0)))
    assert later["feedback"]["truth"] == {"data": {"ndarray": [0]}}
    assert later["feedback"]["ce-times"] == {"reward": time_text(3.0)}
    outdated = a_feedback(body={"truth": {"data": {"ndarray": [1]}}, "note": "x"}, at=2.0)
    assert "note" not in only(tell(a_response(1, at=1.0), outdated, a_feedback(0, at=4.0)))["feedback"]


def test_what_came_with_an_older_statement_is_there_again_once_a_newer_reward_is_anothers() -> None:
    told = a_feedback(body={"note": "x", "truth": {"data": {"ndarray": [1]}}}, headers={"ce_source": b"one"})
    own = a_feedback(reward=1, at=5.0, headers={"ce_source": b"two"})
    found = tell(told, a_response(1, at=4.0), own)
    assert only(found)["feedback"]["ce-others"] == {"truth": {"note": "x", "ce-source": "one"}}
    elsewhere = a_response(1, service="other", at=4.5), a_feedback(reward=0, service="other", at=6.0)
    feedback = tell(told, a_response(1, at=4.0), own, *elsewhere)[INDEX, "p"]["feedback"]
    assert (feedback["note"], feedback["ce-source"], feedback["ce-time"]) == ("x", "one", time_text(0.0))
    assert not feedback.keys() & {"reward", "ce-others", "ce-times"}


def test_a_reward_that_is_taken_back_is_gone() -> None:
    document = only(tell(a_response(1, at=1.0), a_feedback(reward=1, at=2.0), a_feedback(reward=None, at=3.0)))
    assert "feedback" not in document
    assert document["verdict"] == {"predicted": "1"}


def test_a_newer_answer_replaces_the_older() -> None:
    document = only(tell(a_request(), a_response(1, at=1.0), a_response(0, at=2.0), a_feedback(1, at=5.0)))
    assert document["response"]["instance"] == 0
    assert document["verdict"]["correct"] is False


def test_a_document_names_the_version_of_the_answer() -> None:
    older = a_response(1, version="v1", at=1.0)
    assert only(tell(a_request(), older, a_response(0, version="v2", at=2.0)))["Ce-Modelversion"] == "v2"
    assert "Ce-Modelversion" not in only(tell(a_request(), older, a_response(0, at=2.0)))


# -- rows -------------------------------------------------------------------------------------------------------------


def test_every_row_has_its_document_and_its_label() -> None:
    found = tell(
        a_request({"data": {"ndarray": [[1], [2], [3]]}}), a_response(1, 0, 1, at=1.0), a_feedback([1, 1, 1], at=2.0)
    )
    assert ids(found) == ["p-item-0", "p-item-1", "p-item-2"]
    assert [found[INDEX, f"p-item-{row}"]["request"]["instance"] for row in range(3)] == [[1], [2], [3]]
    assert [found[INDEX, f"p-item-{row}"]["verdict"]["correct"] for row in range(3)] == [True, False, True]
    assert all(document["feedback"]["truth"]["data"]["ndarray"] == [1, 1, 1] for document in found.values())


def test_a_reward_of_several_rows_counts_once() -> None:
    found = tell(
        a_request({"data": {"ndarray": [[1], [2]]}}), a_response(1, 0, at=1.0), a_feedback(1, row=1, reward=1, at=2.0)
    )
    assert [document["feedback"].get("reward") for document in found.values()] == [1, None]
    assert [document["verdict"].get("label") for document in found.values()] == [None, "1"]
    assert {document["feedback"]["ce-time"] for document in found.values()} == {time_text(2.0)}


def test_rows_pair_where_their_numbers_are_equal_only() -> None:
    found = tell(a_request({"data": {"ndarray": [[1], [2], [3]]}}), a_response(1, 0, at=1.0))
    assert ids(found) == ["p-item-0", "p-item-1", "p-item-2"]
    mixed = tell(a_request({"data": {"ndarray": [[1, 2]]}}), a_response(1, 0, at=1.0))
    assert ids(mixed) == ["p", "p-item-0", "p-item-1"]
    assert "response" not in mixed[INDEX, "p"]


def test_a_large_body_is_copied_to_the_first_row_alone() -> None:
    rows = MOST_COPIED // 64_000
    found = tell(a_request({"data": {"ndarray": [["x" * 1000]] * rows}}))
    assert len(found) == rows
    assert ["payload" in found[INDEX, f"p-item-{row}"]["request"] for row in range(rows)] == [True] + [False] * (
        rows - 1
    )
    assert all(document["request"]["instance"] == ["x" * 1000] for document in found.values())


# -- legs -------------------------------------------------------------------------------------------------------------


def test_a_shadow_has_its_own_index_and_no_reward() -> None:
    found = tell(
        a_request(),
        a_response(1, at=1.0),
        a_request(predictor="shadow"),
        a_response(0, predictor="shadow", at=1.0),
        a_feedback(1, reward=1, at=2.0),
        a_feedback(1, reward=1, predictor="shadow", at=2.5),
    )
    assert found.keys() == {(INDEX, "p"), (SHADOW, "p")}
    assert found[INDEX, "p"]["feedback"]["reward"] == 1
    assert "reward" not in found[SHADOW, "p"]["feedback"]
    assert found[SHADOW, "p"]["verdict"]["correct"] is False


def test_a_graph_is_one_document_with_its_input_and_its_output() -> None:
    story = (
        a_request({"data": {"ndarray": [["raw"]]}}, model="transformer", at=1.0),
        a_request({"data": {"ndarray": [[7]]}}, model="classifier", at=2.0),
        a_response(1, model="classifier", at=3.0),
        a_response([8, 9], model="transformer", at=2.5),
        a_feedback(1, reward=1, model="classifier", at=9.0),
    )
    document = only(tell(*story))
    assert (document["request"]["instance"], document["response"]["instance"]) == (["raw"], 1)
    assert (document["Ce-Modelid"], document["request"]["ce-modelid"]) == ("classifier", "transformer")
    assert document["verdict"]["correct"] is True
    assert document["@timestamp"] == time_text(1.0)
    scored = only(tell(*story, rules=(Rules("ns/svc/default/*", scored_model="transformer"),)))
    assert (scored["request"]["instance"], scored["response"]["instance"]) == (["raw"], [8, 9])
    assert scored["Ce-Modelid"] == "transformer"


def test_a_feedback_follows_the_documents_of_another_engine() -> None:
    kserve = {"ce_servingengine": b"inferenceservice"}
    found = tell(a_request(headers=kserve), a_response(1, at=1.0, headers=kserve), a_feedback(0, reward=1, at=2.0))
    assert found.keys() == {("inference-log-inferenceservice-ns-svc-default", "p")}
    assert only(found)["verdict"]["correct"] is False


# -- detectors --------------------------------------------------------------------------------------------------------


def test_what_a_detector_of_outliers_says_is_split_by_row() -> None:
    body = {"data": {"is_outlier": [0, 1], "instance_score": [0.1, 0.9], "feature_score": None}, "meta": {"name": "o"}}
    found = tell(a_request({"data": {"ndarray": [[1], [2]]}}), a_response(1, 0, at=1.0), an_outlier(body=body, at=1.5))
    assert [document["outlier"]["data"]["is_outlier"] for document in found.values()] == [0, 1]
    assert [document["outlier"]["data"]["instance_score"] for document in found.values()] == [0.1, 0.9]
    assert all(document["verdict"] for document in found.values())


@pytest.mark.parametrize(
    "body", [{"data": {"is_outlier": [{"a": 1}]}}, {"data": {"": 1}}, {"x..y": 1}, {"data": [1]}, {"data": {}}]
)
def test_what_no_detector_says_is_kept_as_it_is(body: Any) -> None:
    outlier = only(tell(an_outlier(body=body)))["outlier"]
    assert body in (outlier.get("payload"), {"data": outlier.get("data")})


def test_drift_has_an_index_of_its_own() -> None:
    headers = {"ce_type": b"io.seldon.serving.inference.drift", "ce_source": b"io.seldon.serving.mydrift"}
    body = {"data": {"is_drift": 0, "distance": [0.1, 0.2], "p_val": [0.3, 0.4], "threshold": 0.05}}
    rules = (Rules(prediction_schema=Schema((Column("a"), Column("b")))),)
    found = tell(a_response(1), a_response(body=body, headers=headers, at=1.0), rules=rules)
    assert found["drift-log-seldon-ns-mydrift", "p"]["drift"]["data"] == {
        "is_drift": False,
        "drift_type": "feature",
        "feature_distance": {"a": 0.1, "b": 0.2},
        "feature_p_val": {"a": 0.3, "b": 0.4},
        "threshold": 0.05,
    }


# -- days -------------------------------------------------------------------------------------------------------------


def test_an_index_a_day_by_the_time_of_the_request() -> None:
    midnight = 17 * 3600
    story = (
        a_request(at=midnight - 0.5),
        a_response(1, at=midnight + 0.5),
        a_feedback(1, reward=1, at=midnight + 9 * 86400, stamp=midnight + 6 * 86400),
    )
    assert tell(*story, daily=True).keys() == {(f"{INDEX}-2026.11.21", "p")}
    assert tell(*story[1:], daily=True).keys() == {(f"{INDEX}-2026.11.22", "p")}


# -- what is left out -------------------------------------------------------------------------------------------------

HIDDEN: Final = "4711"
ONE_OF_TWO: Final = Rules(redact=("secret", "meta.tags.user", "truth.note"))


@pytest.mark.parametrize(
    "body",
    [
        {"data": {"names": ["a", "secret"], "ndarray": [["x", HIDDEN], ["y", HIDDEN]]}},
        {"data": {"names": ["secret"], "ndarray": [HIDDEN]}},
        {"data": {"names": ["a", "secret"], "tensor": {"shape": [1, 2], "values": [1, int(HIDDEN)]}}},
        {"instances": [{"a": 1, "secret": HIDDEN}]},
        {"inputs": {"a": [1], "secret": [HIDDEN]}},
        {"jsonData": {"deep": [{"secret": HIDDEN}]}},
        {"inputs": [{"name": "secret", "datatype": "BYTES", "shape": [1], "data": [HIDDEN]}]},
        {
            "inputs": [
                {"name": "a", "datatype": "INT32", "shape": [1], "data": [1]},
                {"name": "secret", "datatype": "INT32", "shape": [1], "data": [int(HIDDEN)]},
            ]
        },
        {"inputs": [{"name": "secret", "datatype": "INT32", "shape": [1, 2], "data": [1, int(HIDDEN)]}]},
        {"data": {"ndarray": [[1]]}, "meta": {"tags": {"user": HIDDEN}}},
    ],
)
def test_what_is_redacted_is_nowhere(body: Any) -> None:
    plain, found = tell(a_request(body)), tell(a_request(body), rules=(ONE_OF_TWO,))
    assert found.keys() == plain.keys()
    assert HIDDEN in orjson.dumps(list(plain.values())).decode()
    assert HIDDEN not in orjson.dumps(list(found.values())).decode()


def test_the_columns_beside_a_redacted_one_stay() -> None:
    body = {"data": {"names": ["a", "secret"], "ndarray": [["x", HIDDEN]]}}
    request = only(tell(a_request(body), rules=(ONE_OF_TWO,)))["request"]
    assert (request["instance"], request["elements"]) == (["x", None], {"a": "x", "secret": None})
    assert request["payload"]["data"]["ndarray"] == [["x", None]]


def test_a_redacted_field_of_a_feedback_is_gone() -> None:
    told = a_feedback(body={"truth": {"data": {"ndarray": [1]}, "note": HIDDEN}, "secret": HIDDEN}, at=2.0)
    document = only(tell(a_response(1), told, rules=(ONE_OF_TWO,)))
    assert document["feedback"]["truth"] == {"data": {"ndarray": [1]}}
    assert "secret" not in document["feedback"]


def test_a_column_of_a_prediction_schema_is_redacted_by_its_own_name() -> None:
    rules = Rules(redact=("one_hot",), prediction_schema=Schema((Column("one_hot", ("x", "y")), Column("z"))))
    request = only(tell(a_request({"data": {"ndarray": [[0, 1, 2]]}}), rules=(rules,)))["request"]
    assert request["elements"] == {"one_hot": {"x": None, "y": None}, "z": 2}
    assert request["payload"] == {"data": {"ndarray": [[None, None, 2]]}} or "ndarray" not in request["payload"]["data"]


# -- what is odd ------------------------------------------------------------------------------------------------------


#: A payload whose text is no UTF-8.
BINARY: Final = b'{"puid":"p","parts":[{"kind":"request","leg":["","","",""],"time":"","payload":"\xff"}],"legs":[]}'


@pytest.mark.parametrize(
    "record", [b"", b"nonsense", b'{"puid":"p"}', b'{"puid":1,"parts":[],"legs":[]}', b"[]", BINARY]
)
def test_what_is_no_joined_record_is_refused(record: bytes) -> None:
    with pytest.raises(RefusedError) as refused:
        Documents(Rulebook()).changes(record)
    assert refused.value.reason is Reason.DOCUMENT_REFUSED


def test_a_failed_prediction_is_kept_with_its_status() -> None:
    body = {"status": {"code": 500, "info": "out of memory"}}
    document = only(tell(a_request(), a_response(body=body, at=1.0)))
    assert document["response"]["status"] == body["status"]
    assert document["verdict"] == {"predicted": None}


@pytest.mark.parametrize("name", ["", ".", "a..b", " ", "ce-time", "ce-source", "payload"])
def test_a_feedback_keeps_fields_of_any_name(name: str) -> None:
    body = {"reward": 1, name: "x"}
    feedback = only(tell(a_response(1), a_feedback(body=body, at=2.0)))["feedback"]
    assert feedback["payload"] == body
    assert feedback["reward"] == 1
    assert feedback["ce-time"] == time_text(2.0)


def test_elements_that_nobody_could_search_are_left_out() -> None:
    names = ["a", "b\0c"]
    assert only(tell(a_request({"data": {"names": names, "ndarray": [[1, 2]]}})))["request"]["elements"] is None
    tensors = [{"name": f"t{n}", "datatype": "INT32", "shape": [1, 9000], "data": [0] * 9000} for n in range(2)]
    request = only(tell(a_request({"inputs": tensors})))["request"]
    assert request["elements"] is None
    assert request["payload"] == {"inputs": tensors}


# -- any order --------------------------------------------------------------------------------------------------------

LEGS: Final[tuple[Fields, ...]] = ({}, {"predictor": "shadow"}, {"service": "other"})


@st.composite
def stories(draw: st.DrawFn) -> list[Record]:
    """Events of one puid at times of their own; of several predictors where each has one row, else of one.

    Feedback names predictors that answer, of each service one, and takes no reward back.
    """
    count = draw(st.sampled_from([1, 1, 1, 3]))
    legs = draw(st.lists(st.sampled_from(LEGS), min_size=1, unique_by=str)) if count == 1 else LEGS[:1]
    named = {leg.get("service"): leg for leg in legs}
    kinds = draw(st.lists(st.sampled_from(["request", "response", "feedback", "row", "outlier"]), max_size=6))
    events = [("response", leg) for leg in legs] + [(kind, draw(st.sampled_from(legs))) for kind in kinds]
    records = []
    for number, (kind, leg) in enumerate(draw(st.permutations(events))):
        source = draw(st.sampled_from([b"", b"one", b"two"]))
        fields: Fields = {**(named[leg.get("service")] if kind in ("feedback", "row") else leg), "at": float(number)}
        if source and kind != "outlier":
            fields["headers"] = {"ce_source": source}
        rows = draw(st.lists(st.sampled_from([0, 1]), min_size=count, max_size=count))
        if kind == "request":
            records.append(a_request({"data": {"ndarray": [[number, row] for row in rows]}}, **fields))
        elif kind == "response":
            records.append(a_response(*rows, **fields))
        elif kind == "outlier":
            records.append(an_outlier(*rows, **fields))
        else:
            body: dict[str, Any] = {"note": str(number)} if draw(st.booleans()) else {}
            if draw(st.booleans()):
                body["truth"] = {"data": {"ndarray": rows if kind == "feedback" else rows[:1]}}
            if draw(st.booleans()) or "truth" not in body:
                body["reward"] = draw(st.sampled_from([0, 1, -0.5, True]))
            if kind == "row":
                fields["row"] = draw(st.integers(0, count - 1))
            records.append(a_feedback(body=body, **fields))
    return records


@settings(max_examples=20_000 if SOAK else 300)
@given(st.data(), stories())
def test_documents_are_the_same_in_any_order(data: st.DataObject, story: list[Record]) -> None:
    told = tell(*story)
    again = data.draw(st.permutations(story))
    batches = data.draw(st.lists(st.integers(1, 3), max_size=6))
    assert shelf(map(second, run(again, batches, logs=True).logged)) == told


@given(stories())
def test_documents_say_what_the_exchange_says(story: list[Record]) -> None:
    ledger = run(story, [], logs=True)
    found = shelf(map(second, ledger.logged))
    described = ledger.describe()
    told = [document["feedback"].get("reward") for document in found.values() if "feedback" in document]
    assert [reward for reward in told if reward is not None] == [described["reward"]] * (
        described["reward"] is not None
    )
    for leg in described["legs"]:
        index = index_name(SELDON, leg["model_namespace"], leg["model_service"], leg["predictor"])
        for number, row in enumerate(leg["rows"]):
            document = found[index, row_id("p", number, len(leg["rows"]))]
            assert contains(document["verdict"], {name: row[name] for name in row if name != "score"})
            asked = leg["request_time"]
            assert not asked or parse_time(document["@timestamp"].encode()) == parse_time(asked.encode())


# -- the cases of the request logger ----------------------------------------------------------------------------------


def joined(kind: str, leg: Leg, payload: bytes, *, puid: str = "p", source: str = "", engine: str = "") -> bytes:
    """A joined record with one part."""
    one = part(part_prefix(kind, leg, source, engine), b"", START * 1_000_000, -1, payload)
    return b'{"puid":%b,"parts":[%b],"legs":[]}' % (orjson.dumps(puid), one)


def cases(*numbers: str) -> list[Any]:
    return [
        pytest.param(case, id=f"{number}-{case['id']}")
        for number in numbers
        for case in cases_if_there(number)["cases"]
    ]


def test_the_cases_are_there() -> None:
    demand()
    assert all(cases_if_there(number) for number in ("11", "12", "13", "14", "15", "17", "29"))


def logged(headers: Mapping[str, str], body: Any) -> bytes:
    """The joined record of what the request logger was sent."""
    named = {name.lower(): text for name, text in headers.items()}
    family, _, kind = named["ce-type"].rpartition(".")
    leg = Leg(*(named.get(f"ce-{name}", "") for name in ("namespace", "inferenceservicename", "endpoint", "modelid")))
    puid = named.get("ce-requestid") or named["ce-id"]
    engine = KSERVE if family.startswith("org.kubeflow") else ""
    return joined(kind, leg, orjson.dumps(body), puid=puid, source=named.get("ce-source", ""), engine=engine)


@pytest.mark.parametrize("case", cases("11", "12", "13", "14"))
def test_the_documents_of_the_request_logger(case: Any) -> None:
    found = shelf([logged(case["headers"], case["body"])])
    assert found.keys() == {(doc["index"], doc["id"]) for doc in case["docs"]}
    for doc in case["docs"]:
        theirs, ours = doc["doc"], found[doc["index"], doc["id"]]
        for kind in ("request", "response"):
            if (
                len(theirs.get(kind, {}).get("payload", {}).get("inputs", ()))
                + len(theirs.get(kind, {}).get("payload", {}).get("outputs", ()))
                > 1
            ):
                # Of several tensors it kept the first alone; ours have all, by their names.
                assert theirs[kind].pop("elements") is None
                assert next(iter(ours[kind]["elements"].values())) == ours[kind]["instance"]
                assert len(ours[kind]["elements"]) == 2
        assert contains(ours, theirs)


@pytest.mark.parametrize("case", cases("15"))
def test_the_elements_of_a_prediction_schema(case: Any) -> None:
    if case["schema"] is None:
        body = {"data": {"names": case["names"], "ndarray": case["rows"]}}
        assert [only(tell(a_request(body)))["request"]["elements"]] == case["expect_elements"]
        return
    rules = ModelEntry(match="*", prediction_schema=case["schema"]).rules()
    kind, body = case["message_type"], {"data": {"ndarray": case["rows"]}}
    story = a_request(body) if kind == "request" else a_response(body=body)
    assert [only(tell(story, rules=(rules,)))[kind]["elements"]] == case["expect_elements"]


def test_a_row_that_does_not_fit_the_schema_has_no_elements_by_it() -> None:
    assert elements_of([1, 2], (Column("a"),)) is None
    assert elements_of([7.0], (Column("a", (), (("0", "zero"),)),)) == {"a": 7.0}


def test_the_documents_of_the_notebook() -> None:
    case = cases_if_there("17")
    if "request" not in case:
        pytest.skip("no case 17: the notebook's documents are not compared")
    leg = {"ce_namespace": b"seldon", "ce_inferenceservicename": b"sklearn", "ce_endpoint": b"default"}

    def headers(part: Any) -> dict[str, bytes]:
        return {**leg, "ce_time": part["ce-time"].encode(), "ce_source": part["ce-source"].encode()}

    request, response, feedback = case["request"], case["response"], case["feedback"]
    told = {name: feedback[name] for name in ("reward", "truth")}
    puid = case["expect"]["doc_id"].split()[-1]
    found = tell(
        a_request(request["payload"], puid=puid, headers=headers(request)),
        a_response(body=response["payload"], puid=puid, headers=headers(response)),
        a_feedback(body=told, puid=puid, headers=headers(feedback)),
    )
    assert found.keys() == {(case["index"], puid)}
    document = only(found)
    # It wrote elements as lists of one value then, and none as an empty object.
    assert document["request"].pop("elements") is None
    assert request.pop("elements") == {}
    response["elements"] = {name: value for name, (value,) in response["elements"].items()}
    assert contains(document, {"request": request, "response": response, "feedback": feedback})
    assert document["verdict"]["correct"] is case["expect"]["correct_by_truth"]


def test_the_drift_document_of_the_request_logger() -> None:
    for case in cases_if_there("29").get("request_logger_documents", ()):
        found = shelf([logged(case["headers"], case["body"])])
        assert found.keys() == {(case["original_index"], case["original_doc_id"])}
        assert only(found)["drift"]["data"]["drift_type"] == case["original_drift_type"]
