"""`tally import`: what a request logger has written, in old and new form, counts as its events would have directly."""

import json
import random
import re
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator
from datetime import datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from elastic_transport import ConnectionTimeout
from elasticsearch import AsyncElasticsearch, Elasticsearch
from elasticsearch.helpers import bulk
from prometheus_client.parser import text_string_to_metric_families

from app.cli.import_ import import_documents
from app.core.drift.building import distribution_of
from app.core.drift.reference import PREDICTION
from app.reference_file import read_reference
from tests.live import servers
from tests.live.story import NOW, TYPES, Event
from tests.live.test_cli import Tally
from tests.live.workers import COUNT_SERIES, Fleet, Series, assert_counts, produce, topic_settings, wait_for
from tests.soak import SOAK

DOCUMENTS = 50_000 if SOAK else 5_000
#: Documents that `tally import` publishes before it says how far it is.
STEP = 500
Leg = tuple[str, str, str, str]


class Stored(NamedTuple):
    """One document of a request logger."""

    where: str
    id: str
    source: dict[str, Any]


class History:
    """Predictions with their feedback: the events, and what request loggers have made of them.

    The logger of 1.5.1 has written those of one index: values of elements in lists, rewards as booleans, some without
    the payload. In the other index the values are plain, and some documents have no request id.
    """

    def __init__(self, name: str, documents: int, seed: int = 5) -> None:
        self.old, self.new, self.shadow = (f"inference-log-seldon-{name}-{of}" for of in ("old", "new", "shadow"))
        self.events: list[Event] = []
        self.documents: list[Stored] = []
        self._rng = random.Random(seed)
        while len(self.documents) < documents:
            self._predict(f"{self._rng.getrandbits(64):016x}", old=self._rng.random() < 0.5)

    def _predict(self, puid: str, *, old: bool) -> None:
        rng = self._rng
        asked = NOW - timedelta(microseconds=rng.randrange(1, 3 * 3600 * 1_000_000))
        rows = rng.choice([1, 1, 1, 2, 3, 5])
        many = rng.random() < 0.6
        service, model = ("iris", "forest") if many else ("cancer", "logistic")
        asks = [[float(rng.randrange(10)), rng.random()] for _ in range(rows)]
        legs: list[Leg] = [("demo", service, "default", model)]
        if not old and rng.random() < 0.2:
            legs.append(("demo", service, "shadow", "net"))
        for leg in legs:
            index = self.shadow if leg[2] == "shadow" else self.old if old else self.new
            answers = [[rng.random() for _ in range(3)] if many else [round(rng.random(), 6)] for _ in range(rows)]
            names = [f"t:{number}" for number in range(len(answers[0]))]
            meta = {"requestPath": {leg[3]: f"registry/{leg[3]}:1.{rng.randrange(2)}"}}
            request = {"data": {"names": ["a", "b"], "ndarray": asks}}
            response = {"data": {"names": names, "ndarray": answers}, "meta": meta}
            answered = asked + timedelta(microseconds=rng.randrange(1, 50_000))
            self._event("request", puid, leg, asked, request)
            self._event("response", puid, leg, answered, response)
            bare = old and rng.random() < 0.3
            unnamed = index == self.new and rng.random() < 0.05
            for row in range(rows):
                parts = {
                    "request": part(request, row, asked, old=old, bare=bare),
                    "response": part(response, row, answered, old=old, bare=bare) | {"meta": meta},
                }
                self._document(index, puid, leg, puid if rows == 1 else f"{puid}-item-{row}", parts, unnamed=unnamed)
        if rng.random() < 0.9:
            self._feed_back(puid, legs[0], asked, rows, 3 if many else 2, old=old)

    def _feed_back(self, puid: str, leg: Leg, asked: datetime, rows: int, classes: int, *, old: bool) -> None:
        rng = self._rng
        told = asked + timedelta(microseconds=rng.randrange(50_000, 600 * 1_000_000))
        index = self.old if old else self.new
        of_row = rng.randrange(rows) if rows > 1 and rng.random() < 0.5 else None
        labels = [rng.randrange(classes) for _ in range(rows if of_row is None else 1)]
        truth = {"data": {"ndarray": [[int(one == n) for n in range(3)] for one in labels] if classes == 3 else labels}}
        body = {"truth": truth, "reward": rng.random() < 0.5 if old else rng.choice([0, 1, 0.5, -1])}
        name = puid if of_row is None else f"{puid}-item-{of_row}"
        self._event("feedback", name, leg, told, body)
        feedback = body | {"ce-time": moment(told), "ce-source": "http:localhost:8000"}
        for stored in self.documents[-20:]:
            if (stored.where, stored.id) == (index, name):
                stored.source["feedback"] = feedback
                stored.source["@timestamp"] = moment(told)
                return
        self._document(index, puid, leg, name, {"feedback": feedback})

    def _event(self, kind: str, name: str, leg: Leg, at: datetime, body: Any) -> None:
        names = zip(("ce_namespace", "ce_inferenceservicename", "ce_endpoint", "ce_modelid"), leg, strict=True)
        headers = {"ce_type": TYPES[kind], "ce_time": moment(at), "ce_requestid": name} | dict(names)
        key = name.partition("-item-")[0].encode()
        packed = [(header, value.encode()) for header, value in headers.items()]
        self.events.append(Event(kind, key, json.dumps(body).encode(), packed, int(at.timestamp() * 1000)))

    def _document(
        self, index: str, puid: str, leg: Leg, name: str, parts: dict[str, Any], *, unnamed: bool = False
    ) -> None:
        source = {
            "@timestamp": next(iter(parts.values()))["ce-time"],
            "ServingEngine": "seldon",
            "Ce-Namespace": leg[0],
            "Ce-Inferenceservicename": leg[1],
            "Ce-Endpoint": leg[2],
            "Ce-Modelid": leg[3],
            **({} if unnamed else {"RequestId": puid}),
            **parts,
        }
        self.documents.append(Stored(index, name, source))

    def store(self, client: Elasticsearch) -> None:
        """Index the documents: the old ones as their first one maps them, the others by a mapping as of 1.13."""
        properties = {"RequestId": {"type": "keyword"}, "@timestamp": {"type": "date"}}
        for index in (self.new, self.shadow):
            client.indices.create(index=index, mappings={"dynamic": False, "properties": properties})
        bulk(
            client,
            ({"_index": index, "_id": name, "_source": source} for index, name, source in self.documents),
            refresh=True,
        )


def part(body: dict[str, Any], row: int, at: datetime, *, old: bool, bare: bool) -> dict[str, Any]:
    """What a request logger has of one row."""
    data = body["data"]
    cells = data["ndarray"][row]
    made = {
        "instance": cells,
        "elements": {name: [cell] if old else cell for name, cell in zip(data["names"], cells, strict=True)},
        "names": data["names"],
        "dataType": "tabular",
        "ce-time": moment(at),
        "ce-source": "http:localhost:8000",
    }
    return made if bare else {"payload": body} | made


def moment(at: datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%f789Z")


@pytest.fixture
def client(elasticsearch: servers.Elasticsearch) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch.url, request_timeout=60) as client:
        yield client


@pytest.fixture
def history(client: Elasticsearch) -> Iterator[History]:
    """A history in Elasticsearch."""
    made = History(f"import-{uuid.uuid4().hex[:8]}", DOCUMENTS)
    made.store(client)
    yield made
    client.indices.delete(index=[made.old, made.new, made.shadow])


def settings_for(kafka: servers.Kafka) -> dict[str, str]:
    """Of a worker that writes no documents."""
    name = f"import-{uuid.uuid4().hex[:8]}"
    return topic_settings(kafka.bootstrap, name) | {"PARTITIONS": "4", "NOW": NOW.strftime("%Y-%m-%dT%H:%M:%SZ")}


def counts_of(events: list[Event], kafka: servers.Kafka, folder: Path) -> Series:
    """What a worker exports when the events come directly."""
    settings = settings_for(kafka)
    folder.mkdir()
    with Fleet(folder, settings) as fleet:
        wait_for("the worker is ready", fleet.start().ready)
        produce(settings, events)
        wait_for("all is read", lambda: fleet.total("tally_events_total") == len(events))
        answered = [event.key for event in events if event.kind == "response"]
        told = {event.key for event in events if event.kind == "feedback"}
        parts = {"response": len(answered), "request": len(answered), "feedback": sum(key in told for key in answered)}
        found: Series = {}

        def all_exported() -> bool:
            found.clear()
            found.update(fleet.counts())
            return {part: exported(found, part=part) for part in parts} == parts

        wait_for("all is exported", all_exported)
        assert fleet.total("tally_rejected_total") == 0
        return found


def exported(counts: Series, **label: str) -> float:
    """The sum over models of the puids that have a part."""
    wanted = set(label.items())
    return sum(value for (name, labels), value in counts.items() if name == "tally_exchanges" and wanted <= set(labels))


def test_an_import_counts_as_a_direct_run_killed_and_run_again_the_same(
    history: History, kafka: servers.Kafka, elasticsearch: servers.Elasticsearch, tmp_path: Path
) -> None:
    wanted = counts_of(history.events, kafka, tmp_path / "direct")
    assert exported(wanted, part="feedback") > DOCUMENTS / 3
    tally = Tally(kafka.bootstrap)
    tally.settings = settings_for(kafka)
    state = tmp_path / "state.json"
    command = ["import", "--from-elasticsearch", history.old, history.new, history.shadow, "--state", str(state)]
    with Fleet(tmp_path, tally.settings) as fleet:
        wait_for("the worker is ready", fleet.start().ready)
        environment = tally.environment(ELASTICSEARCH_URL=elasticsearch.url)
        process = subprocess.Popen([sys.executable, "-m", "app", *command], env=environment)
        wait_for("the import has come somewhere", lambda: state.exists() and '"after"' in state.read_text())
        process.kill()
        process.wait()
        before = sum(entry["documents"] for entry in json.loads(state.read_text())["indices"].values())
        assert STEP / 2 < before < DOCUMENTS - STEP, "it was killed in the middle"

        said = tally.says(*command, ELASTICSEARCH_URL=elasticsearch.url)
        assert f"an import that was interrupted had published {before} documents" in said
        assert f"imported {len(history.documents) - before} documents of 3 indices" in said
        assert "left out" not in said
        assert not state.exists()
        assert_counts(fleet, wanted)

        said = tally.says(*command, ELASTICSEARCH_URL=elasticsearch.url)
        told = sum(event.kind == "feedback" for event in history.events)
        wanted_words = rf"imported {len(history.documents)} documents of 3 indices: \d+ requests, \d+ responses, "
        assert re.fullmatch(rf"{wanted_words}{told} feedbacks\n", said)
        again = len(history.events)
        wait_for("all that came again is read", lambda: fleet.total("tally_duplicates_total") >= again)
        assert_counts(fleet, wanted)
        assert fleet.total("tally_rejected_total") == 0
    assert replayed(tally, elasticsearch, history.old, history.new, history.shadow) == wanted


def replayed(tally: Tally, elasticsearch: servers.Elasticsearch, *indices: str) -> Series:
    """What a replay of the same documents counts, of which no Kafka is asked."""
    named = [word for index in indices for word in ("--from-elasticsearch", index)]
    nowhere = f"127.0.0.1:{servers.free_port()}"
    said = tally.says(
        "replay", *named, "--format", "prometheus",
        ELASTICSEARCH_URL=elasticsearch.url, KAFKA_BOOTSTRAP_SERVERS=nowhere,
    )  # fmt: skip
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(said)
        for sample in family.samples
        if sample.name in COUNT_SERIES and sample.value
    }


def test_a_replay_of_documents_is_bounded_by_their_times(tally: Tally, index: str) -> None:
    second, third = ((NOW + timedelta(days=days)).isoformat() for days in (1, 2))
    command = ("replay", "--from-elasticsearch", index, "--format", "json")
    of_one = json.loads(tally.says(*command, "--from", second, "--to", third))
    assert of_one["events"] == 1
    assert tally.refuses(*command, "--from", "x:0:1").startswith("--from must be a time where documents are replayed")
    assert tally.refuses(*command, "--topic", "x") == "FILE, --topic and --from-elasticsearch exclude each other."
    assert tally.refuses(*command, "--repair").startswith(
        "--to-elasticsearch and --repair are for the canonical topics"
    )
    assert tally.refuses(*command, "--to", "2020-01-01") == f"{index} hold no events from earliest to 2020-01-01."
    del tally.settings["ELASTICSEARCH_URL"]
    assert tally.refuses(*command).startswith("TALLY_ELASTICSEARCH_URL is not set:")


def test_a_reference_is_made_of_what_the_documents_say_of_a_model(
    tally: Tally, client: Elasticsearch, tmp_path: Path
) -> None:
    made = History(f"reference-{uuid.uuid4().hex[:8]}", 400)
    made.store(client)
    tally.settings["KAFKA_BOOTSTRAP_SERVERS"] = f"127.0.0.1:{servers.free_port()}"
    indices = [word for index in (made.old, made.new) for word in ("--from-elasticsearch", index)]
    output = tmp_path / "past.prom"
    command: tuple[str | Path, ...] = ("reference", "build", *indices, "--output", output, "--model")
    tally.says(*command, "demo/iris/default/forest")
    rows: dict[str, list[Any]] = {
        kind: [
            row
            for event in made.events
            if event.kind == kind and {("ce_modelid", b"forest"), ("ce_endpoint", b"default")} <= {*event.headers}
            for row in json.loads(event.value)["data"]["ndarray"]
        ]
        for kind in ("request", "response")
    }
    found = read_reference(output)
    asked = zip(*rows["request"], strict=True)
    assert found.features == tuple(distribution_of(name, values) for name, values in zip("ab", asked, strict=True))
    predicted = [str(row.index(max(row))) for row in rows["response"]]
    assert found.prediction == distribution_of(PREDICTION, predicted, "categorical")
    assert tally.refuses(*command, "demo/iris/default/forest", "--to", "2020-01-01").endswith(" has no answer of it.")
    other = tally.refuses(*command, "demo/iris/default/tree")
    assert other.startswith(
        "--model demo/iris/default/tree: the stretch has no answer of it; there are answers of demo/"
    )
    client.indices.delete(index=[made.old, made.new, made.shadow])


# -- what goes wrong --------------------------------------------------------------------------------------------------


@pytest.fixture
def tally(kafka: servers.Kafka, elasticsearch: servers.Elasticsearch) -> Tally:
    """A command line that knows the servers, and whose topics exist."""
    tally = Tally(kafka.bootstrap)
    tally.says("topics", "--create")
    tally.settings["ELASTICSEARCH_URL"] = elasticsearch.url
    return tally


@pytest.fixture
def index(client: Elasticsearch) -> Iterator[str]:
    """The name of an index of three documents."""
    name = f"import-{uuid.uuid4().hex[:8]}"
    source = {"@timestamp": moment(NOW), "request": {"payload": {"data": {"ndarray": [1]}}}}
    for puid in ("a", "b", "c"):
        at = NOW + timedelta(days="abc".index(puid))
        document = source | {"RequestId": puid, "@timestamp": moment(at)}
        client.index(index=name, id=puid, document=document, refresh=True)
    yield name
    client.indices.delete(index=name)


def test_one_sentence_says_what_elasticsearch_lacks(tally: Tally, index: str, tmp_path: Path) -> None:
    state = ("--state", tmp_path / "state.json")
    url = tally.settings["ELASTICSEARCH_URL"]
    missing = tally.refuses("import", "--from-elasticsearch", index, f"{index}-2", *state)
    assert missing == f"There is no index {index}-2 at {url}."
    assert tally.refuses("import", "--from-elasticsearch", "no-such-*", *state) == (
        f"There is no index like no-such-* at {url}."
    )
    nowhere = f"http://127.0.0.1:{servers.free_port()}"
    assert tally.refuses("import", "--from-elasticsearch", index, *state, ELASTICSEARCH_URL=nowhere).startswith(
        f"Elasticsearch at {nowhere} cannot be reached ("
    )
    del tally.settings["ELASTICSEARCH_URL"]
    assert tally.refuses("import", "--from-elasticsearch", index, *state).startswith(
        "TALLY_ELASTICSEARCH_URL is not set:"
    )
    assert not (tmp_path / "state.json").exists()


@pytest.mark.parametrize(
    "document", [{"window": "1h", "exchanges": {"request": 3}}, {"RequestId": "a", "message": "x"}]
)
def test_one_sentence_says_that_an_index_is_no_request_loggers(
    tally: Tally, index: str, client: Elasticsearch, document: Any, tmp_path: Path
) -> None:
    foreign = f"{index}-foreign"
    client.index(index=foreign, document=document, refresh=True)
    said = tally.refuses("import", "--from-elasticsearch", index, foreign, "--state", tmp_path / "state.json")
    client.indices.delete(index=foreign)
    assert said == (f"{foreign} holds no documents of a request logger: none has a request, response or feedback.")


class Stranger(BaseHTTPRequestHandler):
    """Answers 401, and says that it is Elasticsearch only to those who bring an API key."""

    def do_GET(self) -> None:
        self.send_response(401)
        if "ApiKey" in self.headers.get("Authorization", ""):
            self.send_header("X-Elastic-Product", "Elasticsearch")
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(
            b'{"error": {"type": "security_exception", "reason": "unable to authenticate"}, "status": 401}'
        )

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def test_one_sentence_says_that_credentials_are_wrong(tally: Tally) -> None:
    with HTTPServer(("127.0.0.1", 0), Stranger) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        tally.settings["ELASTICSEARCH_URL"] = url = f"http://127.0.0.1:{server.server_port}"
        said = tally.refuses("import", "--from-elasticsearch", "x", ELASTICSEARCH_API_KEY="c2VjcmV0OmtleQ==")
        assert said == f"Elasticsearch at {url} refuses the API key in TALLY_ELASTICSEARCH_API_KEY (401)."
        server.shutdown()


def test_one_sentence_says_that_a_topic_is_missing(tally: Tally, index: str) -> None:
    said = tally.refuses("import", "--from-elasticsearch", index, FEEDBACK_TOPIC="nowhere")
    assert said == "Topic nowhere does not exist: run `tally topics --create`."


def test_the_file_of_another_import_is_not_taken(tally: Tally, index: str, tmp_path: Path) -> None:
    state = tmp_path / "state.json"
    command = ("import", "--from-elasticsearch", index, "--state", state)
    for content in ("", "[]", "{}", '{"import": 1, "indices": 2}', '{"import": 1, "indices": {"a": 2}}'):
        state.write_text(content)
        assert tally.refuses(*command) == f"{state} is not the position of an import: name another file with --state."
    state.write_text('{"import": {"from": "elsewhere"}, "indices": {}}')
    assert tally.refuses(*command).startswith(f"{state} is the position of another import:")
    assert tally.refuses(*command[:-1], tmp_path) == (
        f"{tmp_path} cannot be read (Is a directory): name another file with --state."
    )
    assert "cannot be written (No such file or directory)" in tally.refuses(*command[:-1], tmp_path / "no" / "file")


def test_since_and_until_bound_the_documents(tally: Tally, index: str, tmp_path: Path) -> None:
    command = ("import", "--from-elasticsearch", index, "--state", tmp_path / "state.json")
    assert tally.refuses(*command, "--since", "yesterday") == (
        "--since must be a time like 2026-11-21T07:00:00Z (got 'yesterday')."
    )
    second, third = ((NOW + timedelta(days=days)).isoformat() for days in (1, 2))
    assert tally.says(*command, "--since", second, "--until", third).startswith("imported 1 document of 1 index:")
    assert [record[1] for record in tally.records(tally.requests)] == [b"b"]


def test_events_keep_their_time_and_records_have_the_present_one(tally: Tally, index: str, tmp_path: Path) -> None:
    tally.says("import", "--from-elasticsearch", index, "--state", tmp_path / "state.json")
    records = {record[1]: record for record in tally.records(tally.requests)}
    assert {key: dict(record[3])["ce_time"] for key, record in records.items()} == {
        puid.encode(): moment(NOW + timedelta(days=days)).encode() for days, puid in enumerate("abc")
    }
    assert all(abs(record[0] / 1000 - time.time()) < 300 for record in records.values())


class Forgetful(AsyncElasticsearch):
    """Forgets a snapshot at the third question, and does not answer the fifth."""

    asked = 0

    async def search(self, **question: Any) -> Any:
        self.asked += 1
        if self.asked == 3:
            await self.close_point_in_time(id=question["pit"]["id"])
        if self.asked == 5:
            raise ConnectionTimeout("too slow")
        return await super().search(**question)


def test_a_snapshot_that_is_lost_is_taken_again(
    tally: Tally, client: Elasticsearch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And nothing is published twice: not even the rows of a puid on two pages."""
    index = f"import-{uuid.uuid4().hex[:8]}"
    payload = {"data": {"ndarray": [[1], [2], [3]]}}
    count = 700
    properties = {"RequestId": {"type": "keyword"}, "@timestamp": {"type": "date"}}
    client.indices.create(index=index, mappings={"dynamic": False, "properties": properties})
    bulk(
        client,
        (
            {
                "_index": index,
                "_id": f"{number}-item-{row}",
                "_source": {"RequestId": str(number), "@timestamp": moment(NOW), "request": {"payload": payload}},
            }
            for number in range(count)
            for row in range(3)
        ),
        refresh=True,
    )
    url = tally.settings["ELASTICSEARCH_URL"]
    for name, value in tally.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("app.exporters.elasticsearch.history.connect", lambda _: Forgetful(url))
    import_documents([index], since=None, until=None, state=str(tmp_path / "state.json"))
    client.indices.delete(index=index)
    assert sorted(int(record[1] or b"") for record in tally.records(tally.requests)) == list(range(count))
