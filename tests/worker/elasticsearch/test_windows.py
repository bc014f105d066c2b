"""The writer of windows and comparisons: what it writes where, and that whoever takes over writes what is missing."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Sequence
from types import SimpleNamespace
from typing import Any, Final, Self

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.core.counts.panes import PaneClock
from app.core.counts.view import View
from app.core.measures.readings import Readings
from app.core.outputs import compared, windows
from app.core.rules import Rulebook
from app.exporters.elasticsearch.templates import HISTORY_TEMPLATES
from app.exporters.elasticsearch.writes import Outcome, Place, Write
from app.settings import load_settings
from app.worker.elasticsearch import windows as module
from app.worker.elasticsearch.windows import WindowWriter
from tests.builders import START, WINDOWS, Ledger, Record, a_feedback, a_response
from tests.worker.elasticsearch.landings import CrashError, Index

CLOCK: Final = PaneClock(by_labels=True)
NOW: Final = START + 600
SETTINGS: Final = load_settings(elasticsearch_url="http://127.0.0.1:1")


class Node(Index):
    """An Elasticsearch that takes what the writer gives it."""

    def __init__(self) -> None:
        super().__init__()
        self.templates: set[str] = set()

    async def prepare(self, templates: Any) -> None:
        self.templates |= templates.keys()

    async def write(self, writes: Sequence[Write]) -> AsyncIterator[tuple[Write, Outcome]]:
        given = {write.place: write for write in writes}
        packed = [write._replace(body=write.body and orjson.dumps(write.body)) for write in writes]
        async for write, outcome in super().write(packed):
            yield given[write.place], outcome

    def said(self) -> dict[Place, Any]:
        """The documents, without when those of totals were written."""
        return {
            place: {name: value for name, value in body.items() if name != "end" or body["window"] != "total"}
            for place, body in self.documents().items()
        }


@pytest.fixture
def node(monkeypatch: pytest.MonkeyPatch) -> Iterator[Node]:
    """What every writer of the test writes to; each that is made later has a later clock."""
    node = Node()
    moments = itertools.count(1)
    with monkeypatch.context() as patch:
        patch.setattr(module, "Elasticsearch", lambda _: node)
        patch.setattr(module, "time", SimpleNamespace(time_ns=lambda: next(moments) * 1_000_000))
        yield node


class Changelog:
    """What a ledger has written, as a compacted topic keeps it: the newest of each key, also that it is gone."""

    def __init__(self) -> None:
        self.ledger = Ledger(clock=CLOCK)
        self.records: dict[bytes, bytes | None] = {}

    def count(self, *records: Record) -> Self:
        """Count events, and write what changes."""
        (after,) = self.ledger.absorb(*records).cut().panes
        self.records = dict.fromkeys(self.records.keys() - after.keys()) | after  # the end of the epoch stands last
        return self


class Worker:
    """One that reads a changelog, and writes when it is told to."""

    def __init__(self, changelog: Changelog) -> None:
        self.exports = True
        self._changelog = changelog
        self._seen: dict[bytes, bytes | None] = {}
        self._view = View(CLOCK, WINDOWS)
        self.writer = WindowWriter(SETTINGS, Readings(self._view, Rulebook(), 200), lambda: self.exports, lambda: NOW)

    def note(self) -> None:
        """What every worker does every few seconds."""
        for key, value in self._changelog.records.items():
            if key not in self._seen or self._seen[key] != value:
                self._view.take(0, key, value)
        self._seen = dict(self._changelog.records)
        self.writer._documents.note(NOW, writing=self.exports)

    def write(self) -> None:
        self.note()
        asyncio.run(self.writer._write())


def shared(puid: str, current: Any, shadow: Any, label: Any, at: float = 0) -> list[Record]:
    return [
        a_response(current, puid=puid, at=at),
        a_response(shadow, puid=puid, at=at, predictor="shadow"),
        a_feedback(label, puid=puid, at=at + 1),
    ]


def test_models_and_comparisons_go_to_their_indices(node: Node) -> None:
    Worker(Changelog().count(*shared("a", 1, 0, 1))).write()
    assert node.templates == HISTORY_TEMPLATES.keys() == {windows.INDEX, compared.INDEX}
    by_index = [index for index, _ in node.documents()]
    assert by_index.count(windows.INDEX) == 12  # two models, three windows, two clocks
    assert by_index.count(compared.INDEX) == 7  # one pair likewise, and what is known by now


def test_what_is_gone_is_removed(node: Node) -> None:
    changelog = Changelog().count(*shared("a", 1, 0, 1))
    worker = Worker(changelog)
    worker.write()
    changelog.count(a_response(1, 1, puid="a", at=5))  # has other rows than the shadow's
    worker.write()
    assert not [place for place in node.documents() if place[0] == compared.INDEX]


def test_what_was_taken_back_while_all_workers_were_away_is_removed(node: Node) -> None:
    """They come again, and find nothing of it but that a pane was emptied."""
    changelog = Changelog().count(*shared("a", 1, 0, 1), *shared("b", 1, 1, 1, at=301))
    Worker(changelog).write()
    changelog.count(a_feedback(1, puid="a", at=302), a_response(1, 1, puid="b", at=301.5))
    Worker(changelog).write()
    found = node.said()
    of_labels = [place for place in found if "//labels_5m/" in place[1]]
    assert sorted(name for index, name in of_labels if index == windows.INDEX) == [
        f"ns/svc/{predictor}/m//labels_5m/2026-11-21T07:05:00Z" for predictor in ("default", "shadow")
    ]
    assert len([place for place in found if place[0] == compared.INDEX]) == 7
    changelog.count(a_response(1, 1, puid="a", at=1))
    Worker(changelog).write()
    assert not [place for place in node.said() if place[0] == compared.INDEX]


def test_a_document_that_is_refused_is_named_once(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    worker = Worker(Changelog().count(*shared("a", 1, 0, 1)))
    node.refused = {compared.INDEX}
    worker.write()
    worker.write()
    assert len(caplog.messages) == 1
    assert caplog.messages[0].startswith("documents=7 of windows were refused, among them tally-comparisons/ns/svc/")
    assert {index for index, _ in node.documents()} == {windows.INDEX}


def test_what_a_newer_document_keeps_out_comes_again(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    changelog = Changelog().count(*shared("a", 1, 0, 1))
    late = Worker(changelog)
    with monkeypatch.context() as patch:
        patch.setattr(module, "time", SimpleNamespace(time_ns=lambda: 10**15))
        Worker(changelog).write()
    written = node.said()
    changelog.count(a_feedback(0, puid="a", at=9))
    late.write()
    assert node.said() == written
    with monkeypatch.context() as patch:  # the fixture's own is taken back first
        patch.setattr(module, "time", SimpleNamespace(time_ns=lambda: 10**16))
        late.write()
    assert {body["samples"] for body in node.said().values()} == {1}
    assert node.said() != written


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=50)
@given(
    st.lists(
        st.tuples(
            st.builds(shared, st.sampled_from("ab"), *[st.integers(0, 1)] * 3, st.sampled_from((0, 298, 500))),
            st.sampled_from((0, 2, 5, 25)),  # documents that are written before the worker dies
        ),
        min_size=1,
        max_size=5,
    )
)
def test_whoever_writes_dies_and_the_next_one_leaves_what_a_single_one_would(
    node: Node, story: list[tuple[list[Record], int]]
) -> None:
    node.kept.clear()
    changelog = Changelog()
    worker, heir = Worker(changelog), Worker(changelog)
    for records, written in story:
        changelog.count(*records)
        heir.exports = False
        heir.note()
        node.writes_left = written
        try:
            asyncio.run(_until_it_dies(worker))
        except CrashError:
            worker = Worker(changelog)
        node.writes_left = float("inf")
        heir.exports = True
        worker, heir = heir, worker
    worker.write()
    found = node.said()
    node.kept.clear()
    Worker(changelog).write()
    assert found == node.said()


async def _until_it_dies(worker: Worker) -> None:
    worker.note()
    while await worker.writer._write_some():
        pass
