"""Documents in a real Elasticsearch: exactly one for each row that was answered, through whatever happens."""

import asyncio
import base64
import json
import math
import ssl
import threading
import time
import urllib.error
import urllib.request
import uuid
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from confluent_kafka.admin import AdminClient
from xxhash import xxh3_64_intdigest

from app.exporters.elasticsearch.client import problem
from app.settings import load_settings
from tests.cases import cases
from tests.certificates import Certificates
from tests.live import servers
from tests.live.changelogs import commits, read_topic
from tests.live.forked import run_text
from tests.live.story import TYPES, Event, traffic
from tests.live.workers import Fleet, Worker, produce, topic_settings, wait_for
from tests.patience import PATIENCE
from tests.soak import SOAK

HEADERS = {
    "namespace": "ce_namespace",
    "service": "ce_inferenceservicename",
    "endpoint": "ce_endpoint",
    "model": "ce_modelid",
}


class Node:
    """What the tests ask of an Elasticsearch, over HTTP and by nothing of Tally's."""

    def __init__(self, server: servers.Elasticsearch) -> None:
        self.url = server.url
        #: How a worker reaches it.
        self.settings = {"ELASTICSEARCH_URL": server.url}
        if server.ca is not None:
            self.settings["ELASTICSEARCH_CA_FILE"] = str(server.ca)
        self.password = server.password or ""
        self._headers = {"Content-Type": "application/json"}
        if server.password:
            token = base64.b64encode(f"elastic:{server.password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {token}"
        trust = urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=server.ca))
        self._open = urllib.request.build_opener(urllib.request.ProxyHandler({}), trust).open

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.url + path, data, self._headers, method=method)  # noqa: S310 - as given
        with self._open(request, timeout=PATIENCE) as reply:
            return json.loads(reply.read() or b"{}")

    def remove(self, *patterns: str) -> None:
        """Remove the indices of these names; wildcards are resolved here, since a node may forbid them."""
        for pattern in patterns:
            try:
                indices = self.ask("GET", f"/{pattern}?expand_wildcards=all")
            except urllib.error.HTTPError:
                continue
            for index in indices:
                self.ask("DELETE", f"/{index}")

    def search(self, index: str, **body: Any) -> Any:
        self.ask("POST", f"/{index}/_refresh?ignore_unavailable=true")
        return self.ask("POST", f"/{index}/_search?ignore_unavailable=true", body)

    def documents(self, index: str) -> dict[tuple[str, str], Any]:
        """All documents, by index and id; none of an index that has just been made, and cannot be searched yet."""
        found: dict[tuple[str, str], Any] = {}
        after: list[Any] = []
        try:
            self.ask("POST", f"/{index}/_refresh")
        except urllib.error.HTTPError:
            return found
        while True:
            page = {"search_after": after} if after else {}
            body = {"size": 5000, "sort": [{"RequestId": "asc"}, {"@timestamp": "asc"}, {"Ce-Endpoint": "asc"}], **page}
            try:
                hits = self.ask("POST", f"/{index}/_search", body)["hits"]["hits"]
            except urllib.error.HTTPError as error:
                if error.code != 503:
                    raise
                return {}
            if not hits:
                return found
            found |= {(hit["_index"], hit["_id"]): hit["_source"] for hit in hits}
            after = hits[-1]["sort"]


@contextmanager
def workers(folder: Path, bootstrap: str, node: Node, **more: str) -> Iterator[tuple[Fleet, str]]:
    """Workers with topics and an app of their own, and the name of these; all is removed in the end."""
    name = f"docs{uuid.uuid4().hex[:8]}"
    settings = {
        **topic_settings(bootstrap, name),
        "LOG_TOPIC": f"{name}-log",
        "PARTITIONS": "4",
        "SESSION_TIMEOUT": "3s",
        **node.settings,
        **more,
    }
    admin = AdminClient({"bootstrap.servers": bootstrap})
    try:
        with Fleet(folder, settings) as fleet:
            yield fleet, name
    finally:
        topics = [topic for topic in admin.list_topics(timeout=PATIENCE).topics if topic.startswith(name)]
        for removed in admin.delete_topics(topics).values():
            removed.result()


def an_event(kind: str, puid: str, body: Any, named: Mapping[str, str], moment: float | None = None) -> Event:
    """A canonical event; `named` are namespace, service, endpoint, model, and further headers."""
    headers = {"ce_type": TYPES.get(kind, f"io.seldon.serving.inference.{kind}"), "ce_requestid": puid}
    headers |= {HEADERS.get(name, name): text for name, text in named.items()}
    if moment is not None:
        headers["ce_time"] = datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    topic = kind if kind in TYPES else "response"
    packed = [(name, text.encode()) for name, text in headers.items()]
    base = puid.partition("-item-")[0].encode()
    return Event(topic, base, json.dumps(body).encode(), packed, int(time.time() * 1000))


def started(fleet: Fleet, **changes: str) -> Worker:
    worker = fleet.start(**changes)
    wait_for("the worker is ready", worker.ready)
    return worker


def wait_until_written(fleet: Fleet, worker: Worker, events: int, seconds: float = PATIENCE) -> None:
    """Wait until so many events have been read, and all that they tell is in Elasticsearch."""
    settings, log = fleet.settings, fleet.settings["LOG_TOPIC"]
    fleet.wait_for("all events are read", lambda: worker.total("tally_events_total") >= events, seconds)
    # Those of epochs that have committed are counted there: what they tell is in the log by now.
    logged = read_topic(settings["KAFKA_BOOTSTRAP_SERVERS"], log)
    last = {number: records[-1].offset() for number, records in logged.items() if records}
    assert last, fleet.logs()

    def is_written() -> bool:
        done = commits(settings, f"{settings['APP_ID']}-documents", log)
        return all(done[number] > offset for number, offset in last.items())

    fleet.wait_for("all documents are written", is_written, seconds)


# -- the seed's exercise ----------------------------------------------------------------------------------------------


def test_the_seeds_query_gives_46_of_63(
    kafka: servers.Kafka, elasticsearch: servers.Elasticsearch, tmp_path: Path
) -> None:
    node, index = Node(elasticsearch), "inference-log-seldon-seldon-sklearn-default"
    leg = {"namespace": "seldon", "service": "sklearn", "endpoint": "default"}
    begin = 1_795_244_400.0
    events = []
    for number in range(100):
        puid = str(uuid.uuid4())
        events.append(an_event("request", puid, {"data": {"ndarray": [[1, 2, 3, 4]]}}, leg, begin + number))
        output = {"data": {"names": ["t:0", "t:1", "t:2"], "ndarray": [[0.001, 0.004, 0.995]]}, "meta": {}}
        events.append(an_event("response", puid, output, leg, begin + number + 0.25))
        if number < 63:
            events.append(an_event("feedback", puid, {"reward": number < 46}, leg, begin + 1000 + number))
    node.remove(index)
    with workers(tmp_path, kafka.bootstrap, node) as (fleet, _):
        try:
            worker = started(fleet)
            produce(fleet.settings, events)
            wait_until_written(fleet, worker, len(events))

            def rewards(*filters: Any) -> tuple[float, int]:
                reply = node.search(
                    index,
                    size=0,
                    query={"bool": {"filter": [{"exists": {"field": "feedback.reward"}}, *filters]}},
                    aggs={"sum": {"sum": {"field": "feedback.reward"}}},
                )
                return reply["aggregations"]["sum"]["value"], reply["hits"]["total"]["value"]

            def until(field: str, moment: float) -> Any:
                return {"range": {field: {"lt": datetime.fromtimestamp(moment, UTC).isoformat()}}}

            assert rewards() == (46, 63)
            assert rewards(until("request.ce-time", begin + 10)) == (10, 10)
            assert rewards(until("feedback.ce-time", begin + 1050)) == (46, 50)
            assert rewards({"range": {"request.ce-time": {"gte": "2026-11-21T07:00:50Z"}}}) == (0, 13)
            assert rewards({"term": {"Ce-Inferenceservicename": "sklearn"}}) == (46, 63)
            assert node.search(index, size=0, track_total_hits=True)["hits"]["total"]["value"] == 100
        finally:
            node.remove(index)


# -- the request logger's documents -----------------------------------------------------------------------------------


def test_what_the_request_logger_wrote_is_there(
    kafka: servers.Kafka, elasticsearch: servers.Elasticsearch, tmp_path: Path
) -> None:
    events, wanted = [], defaultdict(list)
    for number in ("11", "12", "13", "14"):
        for case in cases(number)["cases"]:
            named = {name.lower(): text for name, text in case["headers"].items()}
            family, _, kind = named["ce-type"].rpartition(".")
            puid = named.get("ce-requestid") or named["ce-id"]
            words = {
                name: named[header.replace("_", "-")]
                for name, header in HEADERS.items()
                if header.replace("_", "-") in named
            }
            if family.startswith("org.kubeflow"):
                words["ce_servingengine"] = "inferenceservice"
            events.append(an_event(kind, puid, case["body"], words))
            for doc in case["docs"]:
                wanted[doc["index"], doc["id"]].append(doc["doc"])
    node = Node(elasticsearch)
    indices = sorted({index for index, _ in wanted})
    node.remove(*indices)
    with workers(tmp_path, kafka.bootstrap, node) as (fleet, name):
        try:
            worker = started(fleet)
            produce(fleet.settings, events)
            wait_until_written(fleet, worker, len(events))
            found = node.documents(",".join(indices))
            refused = read_topic(kafka.bootstrap, f"{name}-dead-letters")
            assert not any(refused.values())
            assert found.keys() == wanted.keys()
            for place, parts in wanted.items():
                for part in parts:
                    assert part["RequestId"] == found[place]["RequestId"]
                    for kind in ("request", "response"):
                        assert found[place].get(kind, {}).get("payload") == part.get(kind, {}).get(
                            "payload", found[place].get(kind, {}).get("payload")
                        )
                        if kind in part:
                            assert found[place][kind]["instance"] == part[kind]["instance"]
                    if "outlier" in part:
                        assert found[place]["outlier"]["data"] == part["outlier"]["data"]
        finally:
            node.remove(*indices)


# -- any payload ------------------------------------------------------------------------------------------------------

ODD: tuple[Any, ...] = (
    {"data": {"names": ["a"], "ndarray": [[1]]}},
    {"data": {"names": ["a"], "ndarray": [["a text in a column that was a number"]]}},
    {"data": {"names": ["a"], "ndarray": [[[1, 2]]]}},
    {"data": {"names": ["a", "a.b", "", " ", "..", "x" * 900], "ndarray": [[1, 2, 3, 4, 5, "y" * 40_000]]}},
    {"data": {"ndarray": [[1]], "": 1, "a..b": 2}, "meta": {"tags": {".": 1}}},
    {"jsonData": {"a": {"b": [1, "2", None, {"c": True}]}}},
    {"jsonData": {"a": "not an object"}},
    {"strData": "text"},
    {"instances": [{"a": {"b": 1}}]},
    {"data": {"names": [f"n{number}" for number in range(3000)], "ndarray": [list(range(3000))]}},
)


def test_no_payload_is_lost_to_another_before_it(
    kafka: servers.Kafka, elasticsearch: servers.Elasticsearch, tmp_path: Path
) -> None:
    node = Node(elasticsearch)
    with workers(tmp_path, kafka.bootstrap, node, MAX_LABEL_LENGTH="50000") as (fleet, name):
        leg = {"namespace": name, "service": "odd", "endpoint": "default"}
        index = f"inference-log-seldon-{name}-odd-default"
        events = [an_event("request", f"p{number}", body, leg) for number, body in enumerate(ODD)]
        rewards = (True, 1, 0.5, -1, 1e9)
        events += [an_event("response", f"p{number}", {"data": {"ndarray": [1]}}, leg) for number in range(5)]
        events += [an_event("feedback", f"p{number}", {"reward": it}, leg) for number, it in enumerate(rewards)]
        try:
            worker = started(fleet)
            produce(fleet.settings, events)
            wait_until_written(fleet, worker, len(events))
            found = node.documents(index)
            assert sorted(number for _, number in found) == sorted(f"p{number}" for number in range(len(ODD)))
            for number, body in enumerate(ODD):
                assert found[index, f"p{number}"]["request"]["payload"] == body
            assert [found[index, f"p{number}"]["feedback"]["reward"] for number in range(5)] == [1, 1, 0.5, -1, 1e9]
            by_text = node.search(index, query={"term": {"request.elements.a": "a text in a column that was a number"}})
            assert [hit["_id"] for hit in by_text["hits"]["hits"]] == ["p1"]
            fields = node.ask("GET", f"/{index}/_mapping")[index]["mappings"]["properties"]
            assert len(json.dumps(fields)) < 10_000
        finally:
            node.remove(index)


def test_a_document_that_is_refused_is_put_aside_with_the_reason(
    kafka: servers.Kafka, elasticsearch: servers.Elasticsearch, tmp_path: Path
) -> None:
    node = Node(elasticsearch)
    with workers(tmp_path, kafka.bootstrap, node) as (fleet, name):
        good = {"namespace": name, "service": "good", "endpoint": "default"}
        bad = good | {"service": "bad"}
        body: Any = {"data": {"ndarray": [[1]]}}
        try:
            node.ask(
                "PUT",
                f"/inference-log-seldon-{name}-bad-default",
                {"mappings": {"properties": {"request": {"properties": {"dataType": {"type": "long"}}}}}},
            )
            worker = started(fleet)
            events = [
                an_event("request", "refused", body, bad),
                an_event("request", "fine", body, good),
            ]
            produce(fleet.settings, events)
            wait_until_written(fleet, worker, len(events))
            assert [number for _, number in node.documents(f"inference-log-seldon-{name}-*")] == ["fine"]
            letters = [
                letter for some in read_topic(kafka.bootstrap, f"{name}-dead-letters").values() for letter in some
            ]
            told = {letter.key(): dict(letter.headers()) for letter in letters}
            assert told.keys() == {b"refused"}
            assert {headers["reason"] for headers in told.values()} == {b"document-refused"}
            assert b"document_parsing_exception" in told[b"refused"]["detail"]
            assert {headers["origin-topic"] for headers in told.values()} == {f"{name}-log".encode()}
            assert worker.total("tally_documents_total", result="refused") == 1
            assert worker.total("tally_rejected_total", reason="document-refused") == 1
        finally:
            node.remove(f"inference-log-seldon-{name}-*")


def test_an_index_for_each_day_has_the_plain_name_as_alias(
    kafka: servers.Kafka, elasticsearch: servers.Elasticsearch, tmp_path: Path
) -> None:
    node = Node(elasticsearch)
    with workers(tmp_path, kafka.bootstrap, node, ELASTICSEARCH_DAILY="true") as (fleet, name):
        leg = {"namespace": name, "service": "svc", "endpoint": "default"}
        plain, midnight = f"inference-log-seldon-{name}-svc-default", 1_795_219_200.0
        output: Any = {"data": {"ndarray": [1]}}
        try:
            worker = started(fleet)
            produce(fleet.settings, [an_event("response", "late", output, leg, midnight + 0.5)])
            wait_until_written(fleet, worker, 1)
            assert node.documents(plain).keys() == {(f"{plain}-2026.11.21", "late")}
            rest = [
                an_event("request", "late", {"data": {"ndarray": [[1]]}}, leg, midnight - 0.5),
                an_event("response", "next", output, leg, midnight + 9),
                an_event("feedback", "late", {"reward": 1}, leg, midnight + 90_000),
            ]
            produce(fleet.settings, rest)
            wait_until_written(fleet, worker, 4)
            found = node.documents(plain)
            assert found.keys() == {(f"{plain}-2026.11.20", "late"), (f"{plain}-2026.11.21", "next")}
            assert found[f"{plain}-2026.11.20", "late"]["feedback"]["reward"] == 1
        finally:
            node.remove(f"{plain}*")


# -- through whatever happens -----------------------------------------------------------------------------------------


def brute_force(events: Iterable[Event], namespace: str) -> dict[tuple[str, str], Any]:
    """The documents that are right: every event is kept, the winners are found by sorting."""
    best: dict[tuple[str, str, tuple[str, ...]], tuple[tuple[int, int], Any, tuple[str, ...], str]] = {}
    for event in events:
        names = {name: text.decode(errors="replace") for name, text in event.headers}
        kind = next((kind for kind, known in TYPES.items() if known == names.get("ce_type")), None)
        try:
            body = json.loads(event.value)
        except ValueError:
            continue
        if event.key is None or kind is None or type(body) is not dict or names.get("ce_namespace") != namespace:
            continue
        if names.get("ce_requestid", event.key.decode()) != event.key.decode():
            continue
        leg = tuple(names[header] for header in HEADERS.values())
        text = names["ce_time"]
        second = datetime.fromisoformat(text[:19] + "+00:00").timestamp()
        rank = (int(second) * 1_000_000 + int(text[20:26]), xxh3_64_intdigest(event.value))
        if not rank[0] % 1000:  # of an event at its record's own time the record's is taken, which has no ns
            text = f"{text[:26]}Z"
        at = (event.key.decode(), kind, leg if kind != "feedback" else ())
        if at not in best or rank > best[at][0]:
            best[at] = (rank, body, leg, text)
    documents: dict[tuple[str, str], Any] = {}
    for (puid, kind, leg), ((asked, _), request, _, text) in best.items():
        if kind != "request":
            continue
        (answered, _), response, _, answer_text = best[puid, "response", leg]
        namespace, service, endpoint, model = leg
        row = response["data"]["ndarray"][0]
        predicted = str(row.index(max(row))) if len(row) > 1 else str(int(row[0] >= 0.5))
        document: Any = {
            "@timestamp": text,
            "RequestId": puid,
            "ServingEngine": "seldon",
            "Ce-Inferenceservicename": service,
            "Ce-Endpoint": endpoint,
            "Ce-Namespace": namespace,
            "Ce-Modelid": model,
            "Ce-Modelversion": next(iter(response["meta"]["requestPath"].values())).rpartition(":")[2],
            "request": {
                "payload": request,
                "instance": request["data"]["ndarray"][0],
                "names": request["data"]["names"],
                "elements": dict(zip(request["data"]["names"], request["data"]["ndarray"][0], strict=True)),
                "dataType": "tabular",
                "ce-time": text,
            },
            "response": {
                "payload": response,
                "instance": row,
                "elements": None,
                "dataType": "tabular" if len(row) > 1 else "number",
                "meta": response["meta"],
                "ce-time": answer_text,
            },
            "verdict": {"predicted": predicted} | ({} if len(row) > 1 else {"probability": max(row[0], 1 - row[0])}),
        }
        assert asked <= answered
        if (told := best.get((puid, "feedback", ()))) is not None:
            (moment, _), feedback, named, told_text = told
            truth = feedback["truth"]["data"]["ndarray"][0]
            label = str(truth.index(1)) if isinstance(truth, list) else str(truth)
            document["verdict"] |= {
                "label": label,
                "correct": label == predicted,
                "delay_seconds": max(0, moment - answered) / 1e6,
            }
            if named == leg:
                document["verdict"]["reward"] = feedback["reward"]
                document["feedback"] = {**feedback, "ce-time": told_text}
        documents[f"inference-log-seldon-{namespace}-{service}-{endpoint}", puid] = document
    return documents


def renamed(events: Iterable[Event], namespace: str) -> list[Event]:
    """The same events of models in another namespace."""
    return [
        event._replace(
            headers=[
                (name, namespace.encode() if name == "ce_namespace" and text == b"demo" else text)
                for name, text in event.headers
            ]
        )
        for event in events
    ]


def assert_documents(node: Node, pattern: str, wanted: dict[tuple[str, str], Any], seconds: float) -> None:
    """Wait until the documents are those wanted; fail with what differs."""
    end = time.monotonic() + seconds
    while (found := node.documents(pattern)) != wanted:
        if time.monotonic() > end:
            wrong = [place for place in found.keys() | wanted.keys() if found.get(place) != wanted.get(place)]
            some = "\n".join(f"{place}: {found.get(place)} instead of {wanted.get(place)}" for place in wrong[:3])
            raise AssertionError(f"{len(wrong)} of {len(wanted)} documents differ, among them\n{some}")
        time.sleep(1)


def lag(*workers: Worker) -> float:
    return sum(worker.total("tally_lag_events") for worker in workers)


@pytest.mark.timeout(1800)
def test_nothing_is_lost_and_nothing_twice(
    kafka: servers.Kafka, tmp_path_factory: pytest.TempPathFactory, tmp_path: Path
) -> None:
    """Elasticsearch stops in the middle, an index is read-only for a while, the worker is killed: the join goes on."""
    puids, rate, away = (100_000, 4_000, 60) if SOAK else (5_000, 1_500, 5)
    with servers.elasticsearch(tmp_path_factory.mktemp("own"), own=True) as server:
        node = Node(server)
        with workers(tmp_path, kafka.bootstrap, node) as (fleet, name):
            events = renamed(traffic(puids), name)
            wanted = brute_force(events, name)
            assert len(wanted) > puids
            worker = started(fleet)
            sending = threading.Thread(target=produce, args=(fleet.settings, events, rate))
            sending.start()
            locked = f"inference-log-seldon-{name}-iris-default"
            wait_for("the first documents", lambda: len(node.documents(locked)) > 0)
            node.ask("PUT", f"/{locked}/_settings", {"index.blocks.write": True})
            wait_for("documents wait", lambda: "cluster_block_exception" in fleet.logs())
            node.ask("PUT", f"/{locked}/_settings", {"index.blocks.write": None})
            server.stop()
            wait_for("documents wait", lambda: worker.total("tally_documents_oldest_seconds") > 1)
            other = started(fleet)  # takes half of the partitions while nothing of them can land
            wait_for("all caught up", lambda: lag(worker, other) < rate)
            lags = []
            end = time.monotonic() + away
            while time.monotonic() < end:
                lags.append(lag(worker, other))
                time.sleep(0.5)
            wait_for("both are ready", lambda: worker.ready() and other.ready())
            wait_for(
                "documents wait at both", lambda: all(it.total("tally_documents_backlog") > 0 for it in (worker, other))
            )
            wait_for("the oldest waits", lambda: worker.total("tally_documents_oldest_seconds") > 1)
            worker.kill()
            worker = started(fleet)
            server.start()
            sending.join()
            assert_documents(node, f"inference-log-seldon-{name}-*", wanted, PATIENCE)
            # As long as there was no Elasticsearch, the join was never more than a moment behind; while partitions move
            # nobody knows how far it is.
            known = [it for it in lags if not math.isnan(it)]
            assert known
            assert max(known) < 3 * rate, lags
            letters = [
                dict(letter.headers())["reason"]
                for some in read_topic(kafka.bootstrap, f"{name}-dead-letters").values()
                for letter in some
            ]
            assert b"document-refused" not in letters


# -- credentials ------------------------------------------------------------------------------------------------------


#: What the README says that Tally needs.
RIGHTS: Final[dict[str, Any]] = {
    "cluster": ["manage_index_templates"],
    "indices": [
        {
            "names": ["inference-log-*", "drift-log-*", "tally-windows", "tally-comparisons"],
            "privileges": ["auto_configure", "read", "write"],
        }
    ],
}


def api_key(server: servers.Elasticsearch, rights: Any) -> str:
    key = Node(server).ask("POST", "/_security/api_key", {"name": "tally", "role_descriptors": {"tally": rights}})
    return str(key["encoded"])


def credentials(kind: str, server: servers.Elasticsearch) -> tuple[dict[str, str], dict[str, str]]:
    """Settings that open a node, and settings that do not."""
    if kind == "password":
        right = {"ELASTICSEARCH_USERNAME": "elastic", "ELASTICSEARCH_PASSWORD": server.password or ""}
        return right, right | {"ELASTICSEARCH_PASSWORD": "wr0ng-passw0rd"}
    right = {"ELASTICSEARCH_API_KEY": api_key(server, RIGHTS)}
    return right, {"ELASTICSEARCH_API_KEY": "d3Jvbmc6d3Jvbmctd3Jvbmctd3Jvbmc="}


def said_by(fleet: Fleet, changes: Mapping[str, str], code: int, *command: str) -> str:
    """What a command says with these settings."""
    done = run_text({**fleet.settings, **changes}, *command)
    assert done.returncode == code, done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).split())


def checked(fleet: Fleet, changes: Mapping[str, str], code: int) -> str:
    """What `tally check` says with these settings."""
    return said_by(fleet, changes, code, "check")


@pytest.mark.parametrize("kind", ["password", "api_key"])
def test_a_credential_opens_and_a_wrong_one_is_told_in_a_sentence(
    kind: str,
    kafka: servers.Kafka,
    secure_elasticsearch: servers.Elasticsearch,
    certificates: Certificates,
    tmp_path: Path,
) -> None:
    """By TLS: certificates that it is not checked with are told so, too."""
    node = Node(secure_elasticsearch)
    right, wrong = credentials(kind, secure_elasticsearch)
    with workers(tmp_path, kafka.bootstrap, node, **right) as (fleet, name):
        leg = {"namespace": name, "service": "svc", "endpoint": "default"}
        refused = started(fleet, **wrong)
        produce(fleet.settings, [an_event("response", "p", {"data": {"ndarray": [1]}}, leg)])
        wait_for("the sentence", lambda: f"in TALLY_{next(iter(wrong))}" in fleet.logs())
        time.sleep(3)
        assert fleet.logs().count("(401)") == 1
        assert f"in TALLY_{next(iter(wrong))}" in checked(fleet, wrong, 2)
        foreign = {"ELASTICSEARCH_CA_FILE": str(certificates.another_ca)}
        said = checked(fleet, foreign, 2)
        assert said.count("has a certificate that is not trusted (") == 1
        assert "name the certificates that it is checked with in TALLY_ELASTICSEARCH_CA_FILE." in said
        indices = "inference-log-*, drift-log-*, tally-windows, tally-comparisons"
        assert f"Elasticsearch at {node.url} answers. Indices: {indices}" in checked(fleet, {}, 0)
        assert f"Indices of Elasticsearch: {indices}" in said_by(fleet, {}, 0, "topics")
        wait_for("the event is counted", lambda: refused.total("tally_events_total", kind="response") == 1)
        wait_for("its document waits", lambda: refused.total("tally_documents_backlog") >= 1)
        refused.stop()
        worker = started(fleet)
        wait_for("the document", lambda: worker.total("tally_documents_total", result="written") == 1)
        assert [number for _, number in node.documents(f"inference-log-seldon-{name}-*")] == ["p"]
        compare = ("compare", "default", "shadow", "--elasticsearch")
        assert f"in TALLY_{next(iter(wrong))}" in said_by(fleet, wrong, 2, *compare)
        assert "tally-comparisons" in said_by(fleet, {}, 2, *compare)  # which nobody has made yet
        hidden = [text for name, text in [*right.items(), *wrong.items()] if not name.endswith("USERNAME")]
        assert not any(text in fleet.logs() for text in hidden)


def test_an_index_that_the_credentials_do_not_open_is_told_before_a_worker_starts(
    secure_elasticsearch: servers.Elasticsearch,
) -> None:
    few = {
        **RIGHTS,
        "indices": [{**RIGHTS["indices"][0], "names": ["inference-log-*", "drift-log-*", "tally-windows"]}],
    }
    for rights, told in ((RIGHTS, False), (few, True)):
        settings = load_settings(
            elasticsearch_url=secure_elasticsearch.url,
            elasticsearch_ca_file=secure_elasticsearch.ca,
            elasticsearch_api_key=api_key(secure_elasticsearch, rights),
        )
        said = asyncio.run(problem(settings)) or ""
        assert ("lets this user not write tally-comparisons: give it " in said) is told, said
