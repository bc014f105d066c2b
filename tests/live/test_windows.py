"""Documents of windows in Elasticsearch equal a brute-force count, through late labels, a kill -9 and an outage."""

import asyncio
import json
import random
import socket
import threading
import time
import uuid
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self

import pytest
from elasticsearch import ApiError, Elasticsearch

from app.core.counts.panes import PaneClock
from app.core.counts.view import View
from app.core.measures.readings import Readings
from app.core.rules import Rulebook
from app.settings import load_settings
from app.worker.elasticsearch.windows import WindowWriter
from tests.builders import START, Ledger, a_feedback, a_response
from tests.builders import WINDOWS as VIEWED
from tests.live import servers
from tests.live.story import NOW, Event, compared, counted, expected, traffic
from tests.live.workers import Fleet, Worker, assert_counts, produce, topic_settings, wait_for
from tests.patience import PATIENCE

INDEX = "tally-windows"
COMPARISONS = "tally-comparisons"
#: Seconds; and for how long a window can be restated: its first pane is kept so long, less a quarter of it.
WINDOWS = {"5m": (300, 7260 - 15), "1h": (3600, 90_600 - 150), "24h": (86400, 90_600 - 150)}
PUIDS = 3_000

Windows = dict[str, dict[str, Any]]


class Story:
    """Events of a namespace of this test alone: what is written and what it must come to."""

    def __init__(self, seed: int) -> None:
        self.namespace = f"windows-{uuid.uuid4().hex[:8]}"
        self.events = [self._own(event) for event in traffic(PUIDS, seed, broken=0)]
        self._rng = random.Random(seed)

    def _own(self, event: Event) -> Event:
        named = {"ce_namespace": self.namespace.encode()}
        return event._replace(headers=[(name, named.get(name, value)) for name, value in event.headers])

    def late_labels(self, count: int) -> list[Event]:
        """Feedback at the present moment for some puids, of which most have been labelled before."""
        told = []
        for event in self._rng.sample([event for event in self.events if event.kind == "feedback"], count):
            body = json.loads(event.value)
            (label,) = body["truth"]["data"]["ndarray"]
            body["truth"]["data"]["ndarray"] = [label[1:] + label[:1]] if isinstance(label, list) else [1 - label]
            moment = NOW.strftime("%Y-%m-%dT%H:%M:%S.") + f"{self._rng.randrange(10**6):06d}000Z"
            headers = [(name, moment.encode() if name == "ce_time" else value) for name, value in event.headers]
            told.append(Event("feedback", event.key, json.dumps(body).encode(), headers, int(NOW.timestamp() * 1000)))
        self.events += told
        return told

    def windows(self) -> Windows:
        """The documents that there must be, by id: their counts without zeros."""
        found: Windows = defaultdict(lambda: {"rewards": 0, "reward_points": 0})
        by_clock = zip(("", "labels_"), counted(self.events), strict=True)
        for prefix, (model, minute, name, labels), amount in (
            (prefix, *count) for prefix, counts in by_clock for count in counts.items()
        ):
            for window, start in starts(minute) if amount and name != "segment_rows" else ():
                document = found[f"{named(model)}//{prefix}{window}/{start}"]
                if labels:
                    cells = document.setdefault(name, {})
                    cells[labels] = cells.get(labels, 0) + amount
                else:
                    document[name] += amount
        for document in found.values():
            rows = document["rows"]
            judged = rows.get(("correct",), 0) + rows.get(("incorrect",), 0)
            document["accuracy"] = rows.get(("correct",), 0) / judged if judged else None
        return dict(found)

    def comparisons(self) -> Windows:
        """The same of the default and the shadow, on the rows that both have answered."""
        found: Windows = defaultdict(
            lambda: dict.fromkeys(("agree", "differ", "both", "first", "second", "neither"), 0)
        )
        for clock, counts in zip(("", "labels_"), compared(self.events), strict=True):
            for (first, second, minute, name), rows in counts.items():
                pair = f"{named(first)}/{named(second)}/"
                places = [f"{clock}{window}/{start}" for window, start in starts(minute)]
                for place in places if clock else ("total", *places):
                    found[f"{pair}/{place}"][name] += rows
        return {
            place: {
                "samples": (samples := it["both"] + it["first"] + it["second"] + it["neither"]),
                "agreement": it["agree"] / (it["agree"] + it["differ"]),
                "only_current_right": it["first"],
                "only_shadow_right": it["second"],
                "accuracy_difference": (it["second"] - it["first"]) / samples if samples else None,
            }
            for place, it in found.items()
        }


def named(model: tuple[str, ...]) -> str:
    return f"{'/'.join(model[:4])}@{model[4]}"


def starts(minute: int) -> Iterator[tuple[str, str]]:
    """The windows that can still be stated and that hold a minute, and when they begin."""
    for window, (seconds, kept) in WINDOWS.items():
        start = minute * 60 // seconds * seconds
        if start + kept > NOW.timestamp():
            yield window, datetime.fromtimestamp(start, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def stored_comparisons(client: Elasticsearch, namespace: str) -> Windows:
    """The documents of comparisons that there are, in the same form."""
    names = ("samples", "agreement", "only_current_right", "only_shadow_right", "accuracy_difference")
    found = search(client, COMPARISONS, {"term": {"shadow.model_namespace": namespace}})
    return {place: {name: source[name] for name in names} for place, source in found.items()}


def search(client: Elasticsearch, index: str, query: dict[str, Any]) -> dict[str, Any]:
    """What is found, by id."""
    if not client.indices.exists(index=index):
        return {}
    client.indices.refresh(index=index)
    try:
        reply = client.search(index=index, query=query, size=10_000)
    except ApiError as error:
        if error.status_code != HTTPStatus.SERVICE_UNAVAILABLE:
            raise
        return {}  # it has just been made
    return {hit["_id"]: hit["_source"] for hit in reply["hits"]["hits"]}


def stored(client: Elasticsearch, namespace: str) -> Windows:
    """The documents that there are, in the same form."""
    found: Windows = {}
    for place, source in search(client, INDEX, {"term": {"model_namespace": namespace}}).items():
        document: dict[str, Any] = {name: source[name] for name in ("rewards", "reward_points")}
        for name in ("exchanges", "rows"):
            if name in source:
                document[name] = {(key,): amount for key, amount in source[name].items() if amount}
        cells = {(cell["actual"], cell["predicted"]): cell["rows"] for cell in source["confusion"]}
        found[place] = (
            document
            | ({"confusion": cells} if cells else {})
            | {"accuracy": source["scores"]["accuracy"] if source["samples"] else None}
        )
    return found


def all_stored(client: Elasticsearch, namespace: str) -> Windows:
    """Of models and of comparisons."""
    return stored(client, namespace) | stored_comparisons(client, namespace)


def assert_stored(client: Elasticsearch, wanted: Story, fleet: Fleet, seconds: float = PATIENCE) -> None:
    """Wait until the documents are those wanted; fail with what differs."""
    documents = wanted.windows() | wanted.comparisons()
    end = time.monotonic() + seconds
    while (found := all_stored(client, wanted.namespace)) != documents:
        if time.monotonic() > end:
            wrong = [
                f"{at}: {found.get(at)} instead of {documents.get(at)}"
                for at in sorted(found.keys() | documents.keys())
                if found.get(at) != documents.get(at)
            ]
            raise AssertionError(f"{len(wrong)} documents differ, among them\n" + "\n".join(wrong[:5]) + fleet.logs())
        time.sleep(1)


def settings_for(kafka: servers.Kafka, url: str) -> dict[str, str]:
    name = f"windows-{uuid.uuid4().hex[:8]}"
    common = {"PARTITIONS": "4", "NOW": NOW.strftime("%Y-%m-%dT%H:%M:%SZ"), "SESSION_TIMEOUT": "3s"}
    return topic_settings(kafka.bootstrap, name) | common | {"ELASTICSEARCH_URL": url, "LOG_TOPIC": f"{name}-log"}


def exporter_of(fleet: Fleet) -> Worker:
    found: list[Worker] = []

    def is_found() -> bool:
        found[:] = (worker for worker in fleet.running() if worker.series("tally_rows"))
        return len(found) == 1

    wait_for("one exports", is_found)
    return found[0]


@pytest.fixture
def client(elasticsearch: servers.Elasticsearch) -> Iterator[Elasticsearch]:
    with Elasticsearch(elasticsearch.url, request_timeout=60) as client:
        yield client


def test_windows_equal_brute_force_through_late_labels_and_a_kill(
    kafka: servers.Kafka, elasticsearch: servers.Elasticsearch, client: Elasticsearch, tmp_path: Path,
) -> None:  # fmt: skip
    told = Story(seed=21)
    settings = settings_for(kafka, elasticsearch.url)
    with Fleet(tmp_path, settings) as fleet:
        first, second = fleet.start(), fleet.start()
        wait_for("both are ready", lambda: first.ready() and second.ready())
        produce(settings, told.events)
        assert_stored(client, told, fleet)
        produce(settings, told.late_labels(200))
        assert_stored(client, told, fleet)

        # The next one writes all that is kept, whatever became of what this one has written.
        documents = sorted(told.windows())
        for lost in documents[::7]:
            client.delete(index=INDEX, id=lost)
        client.update(index=INDEX, id=documents[1], doc={"rewards": -1})
        pairs = sorted(told.comparisons())
        for lost in pairs[::5]:
            client.delete(index=COMPARISONS, id=lost)
        client.update(index=COMPARISONS, id=pairs[1], doc={"samples": -1})
        produce(settings, told.late_labels(200))
        exporter_of(fleet).kill()
        assert_stored(client, told, fleet)

        assert_searchable(client, told)


def assert_searchable(client: Elasticsearch, told: Story) -> None:
    """What a dashboard asks: one model's accuracy and samples over time, and one class of it."""
    iris = {"model_service": "iris", "model": "forest", "model_version": "1.0", "window": "5m"}
    filters = [{"term": {name: value}} for name, value in (iris | {"model_namespace": told.namespace}).items()]
    reply = client.search(
        index=INDEX,
        query={"bool": {"filter": filters}},
        sort=[{"start": "asc"}],
        aggs={
            "samples": {"sum": {"field": "samples"}},
            "accuracy": {"max": {"field": "scores.accuracy"}},
            "recall": {
                "nested": {"path": "classes"},
                "aggs": {
                    "one": {
                        "filter": {"term": {"classes.class": "1"}},
                        "aggs": {"best": {"max": {"field": "classes.scores.recall"}}},
                    }
                },
            },
        },
        size=100,
    )
    sources = [hit["_source"] for hit in reply["hits"]["hits"]]
    starts = [source["start"] for source in sources]
    assert len(starts) > 20
    assert starts == sorted(starts)
    answers = reply["aggregations"]
    assert answers["samples"]["value"] == sum(source["samples"] for source in sources)
    assert answers["accuracy"]["value"] == max(source["scores"]["accuracy"] for source in sources)
    recalls = [one["scores"]["recall"] for source in sources for one in source["classes"] if one["class"] == "1"]
    assert answers["recall"]["one"]["best"]["value"] == max(recall for recall in recalls if recall is not None)
    properties = client.indices.get_mapping(index=INDEX)[INDEX]["mappings"]["properties"]
    assert "properties" not in properties["confusion"]
    assert set(properties["scores"]["properties"]) >= {"accuracy", "recall", "recall_macro"}


class Relay:
    """A port of this machine that leads to another one, as long as it is open."""

    def __init__(self, port: int, goal: tuple[str, int]) -> None:
        self._goal = goal
        self._sockets: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                near = self._listener.accept()[0]
                far = socket.create_connection(self._goal)
            except OSError:
                return
            self._sockets += [near, far]
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._carry, args=(one, other), daemon=True).start()

    @staticmethod
    def _carry(one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(1 << 16):
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for one in self._sockets:
            one.close()


def test_an_elasticsearch_that_is_away_is_waited_for_and_disturbs_nothing(
    kafka: servers.Kafka, elasticsearch: servers.Elasticsearch, client: Elasticsearch, tmp_path: Path,
) -> None:  # fmt: skip
    told = Story(seed=22)
    host, _, port = elasticsearch.url.rpartition("/")[2].rpartition(":")
    between = servers.free_port()
    settings = settings_for(kafka, f"http://127.0.0.1:{between}")
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        produce(settings, told.events)
        assert_counts(fleet, expected(told.events))
        with Relay(between, (host, int(port))):
            assert_stored(client, told, fleet)
        produce(settings, told.late_labels(200))
        assert_counts(fleet, expected(told.events))
        time.sleep(6)  # so that it has been tried
        before = stored(client, told.namespace)
        assert before != told.windows()
        with Relay(between, (host, int(port))):
            assert_stored(client, told, fleet)
        assert worker.stop() == 0


def test_what_is_sent_late_overwrites_nothing_newer(
    elasticsearch: servers.Elasticsearch, client: Elasticsearch, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By a worker that stood still while another took over, or whose clock is behind: then it is written later."""
    model = f"m-{uuid.uuid4().hex[:8]}"
    ledger = Ledger().absorb(a_response(1, model=model)).cut()
    before = dict(ledger.panes[0])
    ledger.absorb(a_feedback(1, model=model)).cut()

    def labelled() -> list[int]:
        client.indices.refresh(index=INDEX)
        found = client.search(index=INDEX, query={"term": {"model": model}})["hits"]["hits"]
        return [hit["_source"]["samples"] for hit in found]

    async def write() -> None:
        late, heir = (writer_of(elasticsearch.url, panes) for panes in (before, ledger.panes[0]))
        await heir._write()
        assert labelled() == [1, 1, 1]
        moment = time.time_ns()
        monkeypatch.setattr("app.worker.elasticsearch.windows.time.time_ns", lambda: moment - 60_000_000_000)
        await late._write()
        assert labelled() == [1, 1, 1]
        monkeypatch.undo()
        await late._write()
        assert labelled() == [0, 0, 0]
        await late.stop()
        await heir.stop()

    asyncio.run(write())


def writer_of(url: str, panes: dict[bytes, bytes]) -> WindowWriter:
    """The writer of a worker that has read these counts, and exports."""
    view = View(PaneClock(), VIEWED)
    readings = Readings(view, Rulebook(), 200)
    writer = WindowWriter(load_settings(elasticsearch_url=url), readings, lambda: True, lambda: START)
    for key, value in panes.items():
        view.take(0, key, value)
    writer._documents.note(START, writing=True)
    return writer
