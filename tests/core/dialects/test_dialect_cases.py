"""What Seldon, KServe, MLServer and the CloudEvents SDK really wrote, from `../shared/cases/seldon` by the repository.

The cases are data of others, read where they are and never copied. What each must give is said in them, in neutral
names; payloads are read by other tests.
"""

import json
from base64 import b64decode
from typing import Any, Final

import orjson
import pytest
from google.protobuf.json_format import ParseDict

from app.core.clock import format_time, parse_time
from app.core.dialects.understand import Arrival, Understood, understand
from app.core.events import TYPE_OF, Kind, Reason, RefusedError
from app.core.payloads.forms import table_of
from app.core.payloads.messages import message_class
from tests.builders import START, Ledger, Record
from tests.cases import cases as content

STAMP: Final = START * 1000
#: What the cases call the parts of an event, and the headers that hold them.
HEADER_OF: Final = {
    "request_id": "ce_requestid",
    "event_id": "ce_id",
    "service": "ce_inferenceservicename",
    "namespace": "ce_namespace",
    "endpoint": "ce_endpoint",
    "model_id": "ce_modelid",
    "model": "ce_modelid",
    "pipeline": "ce_inferenceservicename",
}


def cases(name: str) -> dict[str, Any]:
    return {case["id"]: case for case in content(name)["cases"]}


def over_http(headers: dict[str, str], body: str | bytes) -> Arrival:
    value = body.encode() if isinstance(body, str) else body
    return Arrival(None, [(name, text.encode()) for name, text in headers.items()], None, value, STAMP)


def on_kafka(
    topic: str, headers: list[list[str]], value: bytes, key: str | None = None, timestamp: int = STAMP
) -> Arrival:
    pairs = [(name, text.encode()) for name, text in headers]
    return Arrival(topic, pairs, None if key is None else key.encode(), value, timestamp)


def one(arrived: Arrival) -> Understood:
    (understood,) = understand(arrived)
    return understood


def assert_as_expected(arrived: Arrival, expect: dict[str, Any]) -> None:
    """Kind, ids and leg are as the case says; an empty name is no header."""
    understood = one(arrived)
    headers = {name: value.decode() for name, value in understood.event.headers}
    assert expect.get("kind", understood.kind) == understood.kind.value
    told = {name: header for name, header in HEADER_OF.items() if name in expect}
    assert {name: headers.get(header, "") for name, header in told.items()} == {name: expect[name] for name in told}
    if "time" in expect:
        assert parse_time(headers["ce_time"].encode()) == parse_time(expect["time"].encode())


def rows(understood: Understood) -> list[Any]:
    return table_of(orjson.loads(understood.event.value), understood.kind.value).rows


def join(*arrivals: Arrival) -> Ledger:
    """What the join makes of what these mean."""
    ledger = Ledger()
    for arrived in arrivals:
        for _, _, event in understand(arrived):
            ledger.absorb(Record(0, arrived.timestamp, event.key, event.value, list(event.headers)))
    ledger.settle().cut()
    assert not ledger.dead
    return ledger


# -- 01 to 05: over HTTP ----------------------------------------------------------------------------------------------


def test_the_pair_of_seldons_executor() -> None:
    pair = [over_http(case["headers"], case["body"]) for case in cases("01").values()]
    for arrived, case in zip(pair, cases("01").values(), strict=True):
        assert_as_expected(arrived, case["expect"])
        assert one(arrived).event.value.decode() == case["body"]
    key = content("01")["join_expect"]["key"]
    (leg,) = join(*pair).describe(key)["legs"]
    assert (leg["request_time"], leg["response_time"]) == tuple(case["expect"]["time"] for case in cases("01").values())


def kserve_event(case: dict[str, Any]) -> Arrival:
    headers = {f"ce-{name}": value for name, value in case["attributes"].items() if name != "datacontenttype"}
    return over_http(headers | {"content-type": case["attributes"]["datacontenttype"]}, json.dumps(case["data"]))


def test_the_pairs_of_kserves_logger() -> None:
    told = cases("03")
    arrivals = {name: kserve_event(case) for name, case in told.items()}
    for name, arrived in arrivals.items():
        assert_as_expected(arrived, told[name]["expect"])
    ledger = join(*arrivals.values(), *arrivals.values())
    puids = [told[name]["expect"]["request_id"] for name in ("basic-request", "knative-request")]
    expected = content("03")["join_expect"]
    assert len(puids) == expected["joined_predictions"]
    for puid in puids:
        (leg,) = ledger.describe(puid)["legs"]
        assert (leg["request_time"] < leg["response_time"], len(leg["rows"])) == (True, expected["per_request_rows"])


def test_the_pairs_of_kserves_logger_in_knatives_binary_mode() -> None:
    for case in cases("03").values():
        headers = [[f"ce_{name}", value] for name, value in case["attributes"].items()]
        arrived = on_kafka("knative-broker-default-default", headers, json.dumps(case["data"]).encode())
        assert one(arrived).event == one(kserve_event(case)).event


def test_the_quoted_headers_of_kserves_old_logger() -> None:
    told = cases("04")
    arrivals = [over_http(case["headers"], case["body"]) for case in told.values()]
    for arrived, case in zip(arrivals, told.values(), strict=True):
        assert_as_expected(arrived, case["expect"])
    (leg,) = join(*arrivals).describe(told["response-first"]["expect"]["request_id"])["legs"]
    assert leg["request_time"] < leg["response_time"]
    assert len(leg["rows"]) == content("04")["join_expect"]["joined_predictions"]


def test_the_cases_of_kserves_logger() -> None:
    told = cases("05")
    both = told["all-mode-two-events"]
    ids = {"Ce-Id": "x", "Ce-Time": "2026-01-01T00:00:00.000000001Z", "Ce-Recordedtime": "2026-01-01T00:00:09Z"}
    request, response = (
        one(over_http(ids | {"Ce-Type": f"org.kubeflow.serving.inference.{kind}"}, both[f"{kind}_body"]))
        for kind in ("request", "response")
    )
    assert rows(request) == both["expect"]["request_rows"]
    assert rows(response) == both["expect"]["response_rows"]
    assert "occurrence" in told["times"]["expect"]["event_time"]
    assert dict(request.event.headers)["ce_time"].decode() == ids["Ce-Time"]
    for name in ("metadata-extension", "annotations-extension"):
        assert one(over_http(ids | told[name]["headers"], both["request_body"])).kind is Kind.REQUEST


def test_a_call_that_failed_is_a_request_alone_or_a_failed_prediction() -> None:
    case = cases("05")["non-200-response"]
    ids = {"Ce-Id": "x", "Ce-Time": "2026-01-01T00:00:00Z"}
    request = over_http(ids | {"Ce-Type": "org.kubeflow.serving.inference.request"}, '{"instances": [[1]]}')
    (leg,) = join(request).describe("x")["legs"]
    assert case["expect"]["orphan_request"]
    assert (leg["response_time"], leg["rows"]) == (None, [])
    # Later loggers (kserve pull 6036) say it.
    status = {"Ce-Type": "org.kubeflow.serving.inference.response", "Ce-Statuscode": str(case["response_status"])}
    (leg,) = join(request, over_http(ids | status, case["response_body"])).describe("x")["legs"]
    assert leg["rows"] == [{"predicted": None}]


# -- 06: the CloudEvents binding --------------------------------------------------------------------------------------


def binding_case(name: str, **changes: str) -> Arrival:
    """A case with a type of ours (theirs are examples), and a request id."""
    case = cases("06")[name]
    if case["expect"].get("mode") == "structured" or name.startswith("structured"):
        envelope = json.loads(case["value_utf8"]) | changes
        return on_kafka("any", case["headers"], json.dumps(envelope).encode(), case["key"])
    ours = {f"ce_{attribute}": value for attribute, value in changes.items()}
    kept = [[header, value] for header, value in case["headers"] if header.lower() not in ours]
    return on_kafka("any", kept + [list(pair) for pair in ours.items()], case["value_utf8"].encode(), case["key"])


def test_the_types_of_others_are_refused() -> None:
    for case in cases("06").values():
        with pytest.raises(RefusedError) as refused:
            understand(on_kafka("any", case["headers"], case["value_utf8"].encode(), case["key"]))
        assert refused.value.reason is Reason.UNKNOWN_TYPE
        expected = case["expect"].get("type", "com.")
        assert expected in refused.value.detail


@pytest.mark.parametrize(
    "name", ["binary-json", "structured", "structured-data-base64", "structured-key", "structured-no-headers"]
)
def test_the_modes_of_the_binding(name: str) -> None:
    case = cases("06")[name]
    payload = {} if "data" in case["expect"] else {"data": {"x": 1}}
    event = one(binding_case(name, type=TYPE_OF[Kind.REQUEST], requestid="p", **payload)).event  # type: ignore[arg-type]
    headers = {header: value.decode() for header, value in event.headers}
    assert orjson.loads(event.value) == case["expect"].get("data", {"x": 1})
    assert headers["ce_id"] == case["expect"].get("id", "123")
    assert headers["ce_source"] in (case["expect"].get("source"), "/test", "pytest")
    if "time has no zone" in case["expect"].get("note", ""):
        assert parse_time(headers["ce_time"].encode()) == parse_time(b"2000-01-01T06:42:33Z")


def test_header_names_in_any_case_a_time_and_a_text_in_any_script() -> None:
    for name in ("binary-case-insensitive", "binary-time", "binary-extension", "unicode-subject"):
        arrived = binding_case(name, type=TYPE_OF[Kind.RESPONSE], requestid="p")._replace(value=b"{}")
        headers = {header: value.decode() for header, value in one(arrived).event.headers}
        expect = cases("06")[name]["expect"]
        assert (headers["ce_source"], headers["ce_id"][:4] in ("123", "test")) == ("/test", True)
        assert headers["ce_time"] == expect.get("time", format_time(STAMP * 1000))


def test_the_partition_key_is_the_last_place_of_a_request_id() -> None:
    for name in ("binary-key-is-partitionkey", "structured-key"):
        case = cases("06")[name]
        arrived = binding_case(name, type=TYPE_OF[Kind.REQUEST], **({"data": {}} if "structured" in name else {}))  # type: ignore[arg-type]
        assert one(arrived._replace(value=arrived.value or b"{}")).event.key.decode() == case["expect"]["partitionkey"]


# -- 07, 08, 29: Core 2 -----------------------------------------------------------------------------------------------


def core2_value(topic: str, value: dict[str, Any]) -> bytes:
    side = "Request" if topic.endswith(".inputs") else "Response"
    raw: bytes = ParseDict(value, message_class(f"inference.ModelInfer{side}")()).SerializeToString()
    return raw


@pytest.mark.parametrize("story", ["inspect_mul10", "inspect_tfsimples"])
def test_the_records_that_core2_shows(story: str) -> None:
    records = content("07")[story]
    arrivals = []
    for at, record in enumerate(records):
        value = core2_value(record["topic"], record["value_proto_json"])
        arrivals.append(on_kafka(record["topic"], [], value, record["request_id"], STAMP + at))
        assert_as_expected(arrivals[-1], {"request_id": record["request_id"]} | record.get("expect", {}))
        body = orjson.loads(one(arrivals[-1]).event.value)
        tensors = {
            tensor["name"]: tensor["data"]
            for tensor in body.get("inputs" if ".inputs" in record["topic"] else "outputs")
        }
        for name, values in record.get("expect", {}).get("tensors", {}).items():
            assert tensors[name] == values
    (puid,) = {record["request_id"] for record in records}
    legs = join(*arrivals).describe(puid)["legs"]
    assert len(legs) == len(records) / 2
    assert all(leg["request_time"] and leg["response_time"] for leg in legs)


def test_the_topics_of_core2() -> None:
    for case in content("07")["topic_cases"]:
        name, way = case["reference"].split(".")[:2]
        leg = {"namespace": case["namespace"], "service": name, "kind": "request" if way == "inputs" else "response"}
        arrived = on_kafka(case["expect_topic"], [["x-request-id", "p"]], b"{}")
        assert_as_expected(arrived, leg | {"model": name if ".model." in case["expect_topic"] else ""})


def test_the_request_ids_of_core2() -> None:
    topic = "seldon.default.pipeline.pipeline-mul10.inputs"
    for case in content("07")["composite_key_cases"]:
        assert_as_expected(on_kafka(topic, [], b"{}", case["key"]), {"request_id": case["expect"]["request_id"]})
    for case in content("07")["header_cases"]:
        if "kafka" in case:
            arrived = on_kafka(topic, case["kafka"], b"{}", case["request_id"])
            assert_as_expected(arrived, {"request_id": case["expect_request_id"]})


@pytest.mark.parametrize("name", ["raw-bytes-two-strings", "raw-int32"])
def test_the_raw_tensors_of_core2(name: str) -> None:
    case = cases("08")[name]
    message = message_class("inference.ModelInferRequest")(model_name="m")
    flat = case["expect"].get("flat")
    message.inputs.add(name="x", datatype=case["datatype"], shape=case.get("shape", [len(flat or ())]))
    message.raw_input_contents.append(b64decode(case["raw_base64"]))
    arrived = on_kafka("seldon.ns.model.m.inputs", [], message.SerializeToString(), "p")
    assert rows(one(arrived)) == (flat or case["expect"]["rows"])


def test_every_type_of_tensor_travels_as_sent() -> None:
    for case in cases("08").values():
        if "body" in case:
            raw = json.dumps(case["body"]).encode()
            topic = f"seldon.ns.model.m.{'inputs' if 'inputs' in case['body'] else 'outputs'}"
            assert one(on_kafka(topic, [["seldon-infer-type", "json"]], raw, "p")).event.value == raw


def test_the_events_of_detectors() -> None:
    for case in content("29")["request_logger_documents"]:
        arrived = over_http(case["headers"], json.dumps(case["body"]))
        leg = {"namespace": "seldon", "service": "m", "endpoint": "default", "request_id": case["original_doc_id"]}
        assert_as_expected(arrived, leg | {"kind": "drift"})
    case = content("29")["core2_drift_output"]
    value = core2_value(case["topic"], {"outputs": [case["tensor"]]})
    understood = one(on_kafka(case["topic"], [], value, case["request_id"]))
    assert rows(understood) == [[case["expect"]["is_drift"]]]
    assert understood.event.key.decode() == case["request_id"]


# -- 09: MLServer -----------------------------------------------------------------------------------------------------


def test_the_pair_of_mlserver() -> None:
    pair = []
    for name in ("request", "response"):
        case = cases("09")[name]
        pair.append(on_kafka(case["topic"], case["headers"], json.dumps(case["value"]).encode(), case["key"]))
        assert_as_expected(pair[-1], case["expect"])
    (leg,) = join(*pair).describe(cases("09")["request"]["key"])["legs"]
    assert leg["request_time"]
    assert leg["response_time"]


def test_mlservers_input_without_a_model_is_refused() -> None:
    case = cases("09")["request-without-model-header"]
    with pytest.raises(RefusedError, match="mlserver-model"):
        understand(on_kafka(case["topic"], case["headers"], json.dumps(case["value"]).encode(), case["key"]))


# -- 28: the executor's events ----------------------------------------------------------------------------------------


def executor_event(kind: str, model: str, body: bytes, requestid: str = "1") -> Arrival:
    headers = [["type", kind], ["modelid", model], ["requestid", requestid], ["inferenceservicename", "d"]]
    return on_kafka("seldon", [*headers, ["namespace", "ns"], ["endpoint", "p"], ["protocol", "seldon"]], body)


BODIES: Final = {"request": b'{"data": {"ndarray": [[1]]}}', "response": b'{"data": {"ndarray": [1]}}'}


def test_the_events_of_the_executors_graphs() -> None:
    for graph in content("28")["graphs"]:
        for event in graph["events"] if isinstance(graph["events"], list) else ():
            kind = event["type"].rpartition(".")[2]
            arrived = executor_event(event["type"], event["modelid"], BODIES[kind], event.get("requestid", "1"))
            assert_as_expected(arrived, {"kind": kind, "model_id": event["modelid"], "request_id": "1"})


def test_what_a_combiner_logs_twice_counts_once() -> None:
    (graph,) = (graph for graph in content("28")["graphs"] if graph["graph"].startswith("COMBINER"))
    assert graph["ours_must"].startswith("count the prediction once")
    events = [executor_event(TYPE_OF[kind], "a", BODIES[kind.value]) for kind in (Kind.REQUEST, Kind.RESPONSE)]
    ledger = join(*events, *events)
    (counted,) = (row for key, row in ledger.rows().items() if key.level == "total" and key.row == "exchanges")
    assert (counted["request"], counted["response"]) == (1, 1)


def test_the_nodes_of_a_graph_are_told_apart() -> None:
    (graph,) = (graph for graph in content("28")["graphs"] if "3873" in str(graph["events"]))
    assert graph["ours_must"].startswith("keep one document per modelid")
    nodes = ("before", "model", "after")
    events = [
        executor_event(TYPE_OF[kind], node, BODIES[kind.value])
        for node in nodes
        for kind in (Kind.REQUEST, Kind.RESPONSE)
    ]
    assert {leg["model"] for leg in join(*events).describe("1")["legs"]} == set(nodes)


def test_who_asks_not_to_be_logged() -> None:
    for values, skipped in content("28")["skip_header_truthy"]:
        event = executor_event(TYPE_OF[Kind.REQUEST], "m", BODIES["request"])
        event = event._replace(headers=[*event.headers, *(("Seldon-Skip-Logging", value.encode()) for value in values)])
        assert (understand(event) == []) is skipped
