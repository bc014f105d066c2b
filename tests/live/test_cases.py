"""Events that others recorded, through one worker: over a broker of its own, where topics have their own names, or over
its port. What they must give stands in the cases; what only says how a request is read is seen when a model answers
with what it was asked."""

import json
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import pytest
from confluent_kafka import Message, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from google.protobuf.json_format import ParseDict
from open_inference.grpc import protocol

from app.cli.tail import brought
from app.core.events import Kind
from tests.cases import cases
from tests.live import servers
from tests.live.test_http import SELDON_RESPONSE, ask, exchange, leg, post
from tests.live.test_intake import read
from tests.live.workers import Fleet, Worker, topic_settings, wait_for

NAME: Final = "cases"
REQUEST: Final = "io.seldon.serving.inference.request"
RESPONSE: Final = "io.seldon.serving.inference.response"
OUTLIER: Final = "io.seldon.serving.inference.outlier"  # holds whatever a detector says
PAYLOAD: Final = {"data": {"ndarray": [[1]]}}


class Record(NamedTuple):
    topic: str
    value: bytes
    key: str | None = None
    headers: Iterable[list[str]] = ()


class Tally(NamedTuple):
    """A worker that reads the topics of all cases, and the broker that they are on."""

    worker: Worker
    bootstrap: str

    def send(self, records: Iterable[Record]) -> list[Message]:
        """Write records one after the other, each a millisecond later; they come back with their places."""
        written: list[Message] = []

        def keep(error: Any, message: Message) -> None:
            assert error is None, error
            written.append(message)

        producer = Producer({"bootstrap.servers": self.bootstrap})
        now = int(time.time() * 1000)
        for number, record in enumerate(records):
            headers = [(name, value.encode()) for name, value in record.headers]
            producer.produce(
                record.topic, record.value, record.key, headers=headers, timestamp=now + number, on_delivery=keep
            )
            producer.flush()
        return written

    def post(self, case: str, kind: str, body: Any) -> None:
        post(self.worker, "/", body, SELDON_RESPONSE | {"Ce-Type": kind, "Ce-Requestid": case})

    def exchange(self, puid: str, parts: int) -> dict[str, Any]:
        return exchange(self.worker, puid, parts)

    def predicted(self, puid: str, parts: int) -> list[Any]:
        """The rows of the only leg that answered."""
        (one,) = self.exchange(puid, parts)["legs"]
        return [row["predicted"] for row in one["rows"]]

    def detections(self, puid: str) -> Any:
        known: dict[str, Any] = {}

        def is_known() -> bool:
            status, content, _ = ask(self.worker, "GET", f"/api/exchanges/{puid}")
            known.update(content)
            return status == 200

        wait_for(f"{puid} is known", is_known)
        return known["detections"]

    def letters(self) -> list[Message]:
        return read(self.bootstrap, f"{NAME}-dead-letters")

    def refused(self, puids: Iterable[str]) -> dict[str, str]:
        """Why events with these keys are dead letters."""
        told = ((letter.key() or b"", dict(letter.headers())["reason"].decode()) for letter in self.letters())
        wanted = {puid.encode() for puid in puids}
        return {key.decode(): reason for key, reason in told if key in wanted}

    def letters_of(self, sent: list[Message]) -> list[Message]:
        """The dead letters of records, in their order, once all are there."""
        found: dict[tuple[str, int], Message] = {}

        def all_there() -> bool:
            for letter in self.letters():
                headers = dict(letter.headers())
                found[headers["origin-topic"].decode(), int(headers["origin-offset"])] = letter
            return {(message.topic(), message.offset()) for message in sent} <= found.keys()

        wait_for("the dead letters are there", all_there)
        return [found[message.topic(), message.offset()] for message in sent]


@pytest.fixture(scope="module")
def tally(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tally]:
    core2 = cases("07")
    topics = {record["topic"] for story in ("inspect_mul10", "inspect_tfsimples") for record in core2[story]}
    topics |= {case["expect_topic"] for case in core2["topic_cases"]} | set(cases("09")["topics"].values())
    topics |= {"seldon.default.model.m.inputs", "seldon.default.model.m.outputs", "any"}
    intake = r"seldon\..*,foo\.bar\..*,mlserver-input,mlserver-output,any"
    with servers.kafka(tmp_path_factory.mktemp("cases-kafka"), own=True) as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap})
        for created in admin.create_topics([NewTopic(topic, 1) for topic in topics]).values():
            created.result(30)
        settings = topic_settings(broker.bootstrap, NAME) | {"PARTITIONS": "1", "INTAKE_TOPICS": intake}
        with Fleet(tmp_path_factory.mktemp("cases"), settings) as fleet:
            worker = fleet.start()
            wait_for("the worker is ready", worker.ready)
            yield Tally(worker, broker.bootstrap)


def moment(text: str) -> str:
    """A time as the API says it; one without a zone is UTC."""
    told = datetime.fromisoformat(text)
    return told.replace(tzinfo=told.tzinfo or UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")


def written_at(message: Message) -> str:
    return moment(datetime.fromtimestamp(message.timestamp()[1] / 1000, UTC).isoformat())


def told_by(row: Any) -> Any:
    """What a row says as an answer: its only value as a class, or which entry of a vector is the largest."""
    if isinstance(row, list):
        return told_by(row[0]) if len(row) == 1 else str(row.index(max(row)))
    return row if row is None or isinstance(row, str) or row % 1 else str(int(row))


# 06: the CloudEvents binding


def typed(case: dict[str, Any], kind: str, payload: Any = None) -> Record:
    """A case with a type that Tally takes, and with what it lacks: a request id unless its key is one, a payload."""
    ours = {"type": kind} | ({} if "partitionkey" in case["expect"] else {"requestid": case["id"]})
    value, headers = case["value_utf8"], case["headers"]
    if case["id"].startswith("structured"):
        value = json.dumps(json.loads(value) | ours | ({"data": payload} if payload else {}))
    else:
        headers = [header for header in headers if header[0].lower() != "ce_type"]
        headers = [*headers, *([f"ce_{name}", text] for name, text in ours.items())]
        value = json.dumps(payload) if payload else value
    return Record("any", value.encode(), case["key"], headers)


def said_by(case: dict[str, Any]) -> dict[str, Any]:
    """The attributes of a case, wherever they stand."""
    envelope = json.loads(case["value_utf8"]) if case["id"].startswith("structured") else {}
    return {name.lower().removeprefix("ce_"): value for name, value in case["headers"]} | envelope


def test_types_of_others_are_dead_letters(tally: Tally) -> None:
    told = cases("06")["cases"]
    sent = [Record("any", case["value_utf8"].encode(), case["key"], case["headers"]) for case in told]
    for case, record, letter in zip(told, sent, tally.letters_of(tally.send(sent)), strict=True):
        headers = dict(letter.headers())
        assert headers["reason"] == b"unknown-type"
        assert said_by(case)["type"] in headers["detail"].decode()
        original = [(name, value.encode()) for name, value in record.headers]
        assert letter.headers()[: len(original)] == original
        assert (letter.key(), letter.value() or b"") == (record.key and record.key.encode(), record.value)


def test_modes_of_the_binding(tally: Tally) -> None:
    """What a case's data holds is no payload of a prediction, so a detector says it."""
    told = cases("06")["cases"]
    typed_so = [typed(case, OUTLIER) if "data" in case["expect"] else typed(case, REQUEST, PAYLOAD) for case in told]
    sent = tally.send(typed_so)
    found = {}
    for case, message in zip(told, sent, strict=True):
        puid = case["expect"].get("partitionkey", case["id"])
        said = said_by(case) | {name: value for name, value in case["expect"].items() if name in ("id", "source")}
        at = moment(said["time"]) if "time" in said else written_at(message)
        if "data" in case["expect"]:
            assert tally.detections(puid) == [{"kind": "outlier", "leg": "", "time": at}]
        else:
            assert tally.exchange(puid, 1)["legs"] == [leg("", "", "", "", request_time=at)]
        found[puid.encode()] = said["id"], said["source"], case["expect"].get("data", PAYLOAD)
    canonical = [*read(tally.bootstrap, f"{NAME}-requests"), *read(tally.bootstrap, f"{NAME}-responses")]
    heads = [(message, dict(message.headers())) for message in canonical if message.key() in found]
    assert found == {
        message.key(): (head["ce_id"].decode(), head["ce_source"].decode(), json.loads(message.value()))
        for message, head in heads
    }


def test_events_without_data(tally: Tally) -> None:
    empty = [typed(case, REQUEST) for case in cases("06")["cases"] if "data" not in case["expect"]]
    reasons = [dict(letter.headers())["reason"] for letter in tally.letters_of(tally.send(empty))]
    assert reasons == [b"bad-json" if record.value.strip() else b"empty" for record in empty]


# 07: Core 2


def core2(topic: str, shown: dict[str, Any]) -> bytes:
    """A message as it is in Kafka, from what `seldon pipeline inspect` shows of it."""
    message = protocol.ModelInferRequest() if topic.endswith(".inputs") else protocol.ModelInferResponse()
    raw: bytes = ParseDict(shown, message).SerializeToString()
    return raw


def core2_leg(topic: str, **known: Any) -> dict[str, Any]:
    namespace, what, name, _ = topic.split(".")[-4:]
    return leg(name, namespace, "", name if what == "model" else "", **known)


@pytest.mark.parametrize("story", ["inspect_mul10", "inspect_tfsimples"])
def test_what_core2_shows(tally: Tally, story: str) -> None:
    records = cases("07")[story]
    (puid,) = {record["request_id"] for record in records}
    sent = tally.send(
        Record(record["topic"], core2(record["topic"], record["value_proto_json"]), puid) for record in records
    )
    wanted = []
    for number in range(0, len(records), 2):
        (asked, answered), (request, response) = sent[number : number + 2], records[number : number + 2]
        given = response.get("expect", {}).get("tensors", {}).values()
        wanted.append(
            core2_leg(
                request["topic"],
                model_version=response["value_proto_json"].get("modelVersion", ""),
                request_time=written_at(asked),
                response_time=written_at(answered),
                rows=[{"predicted": told_by(row)} for tensor in given for row in tensor],
            )
        )
    found = tally.exchange(puid, len(records))["legs"]
    if "expect" not in records[0]:  # nothing is said of its two tensors but that they are one row
        assert [len(one.pop("rows")) for one in found] == [1] * len(found)
        assert all(one.pop("rows") == [] for one in wanted)
    assert found == sorted(wanted, key=lambda one: str(one["model_service"]))
    assert tally.refused([puid]) == {}


def test_topics_of_core2(tally: Tally) -> None:
    told = cases("07")["topic_cases"]
    sent = []
    for number, case in enumerate(told):
        tensor = {"name": case["expect_tensor"] or "x", "datatype": "INT64", "shape": [1]}
        side = "inputs" if case["expect_topic"].endswith(".inputs") else "outputs"
        value = core2(case["expect_topic"], {side: [tensor | {"contents": {"int64Contents": [7]}}]})
        sent.append(Record(case["expect_topic"], value, f"topic-{number}"))
    for number, (case, message) in enumerate(zip(told, tally.send(sent), strict=True)):
        assert case["namespace"] == case["expect_topic"].split(".")[-4]
        at = written_at(message)
        known = {"request_time": at} if message.topic().endswith(".inputs") else {"response_time": at}
        rows = [{"predicted": "7"}] if "response_time" in known else []
        assert tally.exchange(f"topic-{number}", 1)["legs"] == [core2_leg(message.topic(), rows=rows, **known)]


def test_keys_and_headers_of_core2(tally: Tally) -> None:
    topic = "seldon.default.pipeline.pipeline-mul10.inputs"
    value = core2(topic, cases("07")["inspect_mul10"][0]["value_proto_json"])
    records, puids = [], []
    for number, case in enumerate(cases("07")["composite_key_cases"]):
        puids.append(f"{case['expect']['request_id']}-{number}")  # they all have the same
        assert case["key"].endswith(case["expect"]["request_id"])
        records.append(Record(topic, value, f"{case['key']}-{number}"))
    for case in cases("07")["header_cases"]:
        headers = case.get("kafka") or [list(pair) for pair in case["expect_kafka"].items()]
        puids.append(case.get("expect_request_id", "of-http"))
        records.append(Record(topic, value, case.get("request_id", "of-http"), headers))
    for puid, message in zip(puids, tally.send(records), strict=True):
        assert tally.exchange(puid, 1)["legs"] == [core2_leg(topic, request_time=written_at(message))]


# 08 and 10: V2


def v2_message(case: dict[str, Any], side: str) -> bytes:
    """A tensor whose values stand beside it, as they are in memory."""
    tensor = {"name": "x", "datatype": case["datatype"], "shape": case.get("shape") or [len(case["expect"]["flat"])]}
    whole = {side: [tensor], f"raw_{side[:-1]}_contents": [case["raw_base64"]]}
    return core2(f".{side}", whole)


@pytest.mark.parametrize("file", ["08", "10"])
def test_v2(tally: Tally, file: str) -> None:
    records: list[Record] = []
    parts: dict[str, int] = {}
    wanted: dict[str, list[Any]] = {}
    unread: dict[str, str] = {}
    for case in cases(file)["cases"]:
        puid, expect = f"{file}-{case['id']}", case["expect"]
        if case["id"] == "pd-json-cells":
            continue  # see below
        headers = [["seldon-infer-type", "json"]] if "body" in case else []
        if "outputs" in case.get("body", {}) and not case["body"].get("inputs"):
            bodies = {"outputs": json.dumps(case["body"]).encode()}
        elif "body" in case:
            asked, answer = case["body"], {"outputs": case["body"]["inputs"]}
            bodies = {"inputs": json.dumps(asked).encode(), "outputs": json.dumps(answer).encode()}
        else:
            bodies = {side: v2_message(case, side) for side in ("inputs", "outputs")}
        records += [Record(f"seldon.default.model.m.{side}", body, puid, headers) for side, body in bodies.items()]
        parts[puid] = len(bodies)
        rows = expect.get("rows", expect.get("flat", expect.get("decoded")))
        if any(row in (None, [None]) for row in rows):  # among features null is data, in an answer it is refused
            unread[puid] = "not-finite"
        elif len(expect.get("names", ())) > 1:  # a frame whose names do not tell which column is the class
            wanted[puid] = []
        else:
            wanted[puid] = [told_by(row) for row in rows]
    tally.send(records)
    assert {puid: tally.predicted(puid, parts[puid]) for puid in wanted} == wanted
    wait_for("the others are dead letters", lambda: tally.refused(unread).keys() == unread.keys())
    assert tally.refused([*wanted, *unread]) == unread


def test_cells_that_are_lists(tally: Tally) -> None:
    (case,) = (case for case in cases("10")["cases"] if case["id"] == "pd-json-cells")
    value = json.dumps(case["body"]).encode()
    tally.send([Record("seldon.default.model.m.outputs", value, "cells", [["seldon-infer-type", "json"]])])

    def is_taken() -> bool:
        return ask(tally.worker, "GET", "/api/exchanges/cells")[0] == 200

    wait_for("it is taken or refused", lambda: is_taken() or bool(tally.refused(["cells"])))
    assert is_taken()


# 09: MLServer


def test_mlserver(tally: Tally) -> None:
    told = {case["id"]: case for case in cases("09")["cases"]}
    sent = tally.send(
        Record(case["topic"], json.dumps(case["value"]).encode(), case["key"], case["headers"])
        for case in told.values()
    )
    wanted = told["response"]["expect"]
    named = dict(told["response"]["headers"])
    assert tally.exchange(wanted["request_id"], 2)["legs"] == [
        leg(
            named["Ce-Inferenceservicename"], "", named["Ce-Endpoint"], wanted["model_id"],
            request_time=written_at(sent[0]), response_time=written_at(sent[1]),
            rows=[{"predicted": told_by(row)} for row in wanted["rows"]],
        )
    ]  # fmt: skip
    assert told["request-without-model-header"]["expect"].startswith("dead-letter")
    (letter,) = tally.letters_of(sent[2:])
    headers = dict(letter.headers())
    assert headers["reason"] == b"bad-headers"
    assert b"mlserver-model" in headers["detail"]


# 18: the metrics server


def test_metrics_server(tally: Tally) -> None:
    """Each case is a model of its own. A true negative is one of every other class, as the file's note says."""
    wanted = {}
    for number, case in enumerate(cases("18")["cases"]):
        service = f"{case['kind']}-{number}"
        body = case.get("body") or {
            part: {"data": {"ndarray": in_rows(case["kind"], case[part])}} for part in ("truth", "response")
        }
        post(tally.worker, f"/seldon/adserver/{service}/api/v1.0/feedback", body, {"Seldon-Puid": service})
        expect = case["expect"]
        if case["kind"] == "binary":
            wanted[service] = {("", outcome): count for outcome, count in expect.items()}
            continue
        classes = {name for outcome in ("tp", "fp", "fn") for name in expect.get(outcome, {})}
        if case["kind"] != "multiclass":
            width = len(body["truth"]["data"]["ndarray"][0])
            expect = {"tn": {str(index): 1 for index in range(width) if str(index) not in classes}} | expect
        wanted[service] = {(name, outcome): n for outcome, each in expect.items() for name, n in each.items()}

    def found() -> dict[str, dict[tuple[str, str], float]]:
        counts: dict[str, dict[tuple[str, str], float]] = defaultdict(dict)
        for (_, pairs), value in tally.worker.series("tally_class").items():
            labels = dict(pairs)
            if labels["model_namespace"] == "adserver" and value:
                counts[labels["model_service"]][labels["class"], labels["outcome"]] = value
        return counts

    wait_for("all are counted", lambda: found().keys() >= wanted.keys())
    assert found() == wanted


def in_rows(kind: str, value: Any) -> list[Any]:
    """The metrics server takes one row: a number, or one entry a class."""
    if kind == "onehot":
        return value if isinstance(value[0], list) else [value]
    return value if isinstance(value, list) else [value]


# 23: Seldon's wrapper


def class_rows(case: dict[str, Any]) -> list[Any] | None:
    """The rows of a case where they alone say a class: words, bytes, objects and names do not."""
    rows = case["expect"].get("rows", [case["expect"].get("value")])
    words = not isinstance(rows, list) or any(isinstance(row, list) and isinstance(row[0], str) for row in rows)
    named = len(case["body"].get("data", {}).get("names", ())) > 1
    return None if words or named or not isinstance(rows[0], (list, str, int, float)) else rows


def test_forms_of_the_wrapper(tally: Tally) -> None:
    told = {
        f"23-{case['id']}": case
        for case in cases("23")["cases"]
        if case.get("kind") != "feedback" and not is_refused(case) and "error" not in case["expect"]
    }
    for puid, case in told.items():
        for kind in (REQUEST, RESPONSE):
            tally.post(puid, kind, case["body"])
    found = {puid: tally.predicted(puid, 2) for puid in told}
    wanted = {puid: [told_by(row) for row in class_rows(case) or ()] for puid, case in told.items() if class_rows(case)}
    assert {puid: found[puid] for puid in wanted} == wanted
    assert tally.refused(told) == {}
    (case,) = (case for case in told.values() if "meta_puid" in case["expect"])
    assert ask(tally.worker, "GET", f"/api/exchanges/{case['expect']['meta_puid']}")[0] == 404


def is_refused(case: dict[str, Any]) -> bool:
    """Empty data is no prediction, either; a list of rows is one, for others than the wrapper."""
    return not isinstance(case["body"], list) and ("error" in case["expect"] or case["expect"].get("rows") == [])


def test_what_the_wrapper_refuses(tally: Tally) -> None:
    wanted = {}
    for case in cases("23")["cases"]:
        if is_refused(case):
            wanted[f"23-{case['id']}"] = "bad-payload"
            tally.post(f"23-{case['id']}", REQUEST, case["body"])
    wait_for("all are dead letters", lambda: tally.refused(wanted).keys() == wanted.keys())
    assert tally.refused(wanted) == wanted
    assert {ask(tally.worker, "GET", f"/api/exchanges/{puid}")[0] for puid in wanted} == {404}


def test_feedback_of_the_wrapper(tally: Tally) -> None:
    told = {f"23-{case['id']}": case for case in cases("23")["cases"] if case.get("kind") == "feedback"}
    for puid, case in told.items():
        post(tally.worker, "/seldon/wrapper/m/api/v1.0/feedback", case["body"], {"Seldon-Puid": puid})
    for puid, case in told.items():
        body, expect = case["body"], case["expect"]
        answered = "response_rows" in expect
        found = tally.exchange(puid, 1 + answered + (answered and "request" in body))
        assert found["reward"] == expect.get("reward", body["reward"])
        names = body.get("response", {}).get("data", {}).get("names", ())  # where they outnumber the columns, of values
        labels = [names[row[0]] if names else told_by(row) for row in expect.get("truth_rows", ())]
        assert found["label"] == (labels or None)
        rows = [{"predicted": names[row[0]] if names else told_by(row)} for row in expect.get("response_rows", ())]
        for row, label in zip(rows, labels, strict=False):
            row |= {"label": label, "correct": row["predicted"] == label}
        shown = [{name: row[name] for name in row if name != "score"} for one in found["legs"] for row in one["rows"]]
        assert shown == rows
        if "warn_unknown_field" in expect:  # where somebody looks who misses something
            assert f"ignores {expect['warn_unknown_field']}" in brought(Kind.FEEDBACK, json.dumps(body).encode())
    assert tally.refused(told) == {}
