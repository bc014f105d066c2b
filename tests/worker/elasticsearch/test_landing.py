"""Landing: the same log leaves the same documents, however it is cut into bulks, and whoever dies or lags meanwhile."""

import asyncio
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import Reason
from app.core.outputs.documents.merging import Change
from app.core.rules import Rulebook, Rules
from app.core.wire.records import Record
from app.exporters.elasticsearch.writes import Result, Write
from app.worker.elasticsearch.landing import FIRST_VERSION
from tests.builders import a_feedback, a_request, a_response
from tests.worker.elasticsearch.landings import (
    KSERVE,
    MIDNIGHT,
    MOVES,
    SCORED,
    CrashError,
    Index,
    Writer,
    a_log,
    wanted,
    woken,
)


@st.composite
def stories(draw: st.DrawFn) -> list[Any]:
    """Events of some puids, around midnight, in any order; each puid is a KServe model's or a Seldon graph's."""
    events: list[Any] = []
    for puid in draw(st.lists(st.sampled_from("abcd"), unique=True, min_size=1)):
        engine = draw(st.sampled_from([{}, KSERVE]))
        service = "kserve" if engine else "seldon"
        rows = draw(st.integers(1, 2))
        common: Any = {"puid": puid, "service": service}
        times = st.integers(MIDNIGHT - 2, MIDNIGHT + 2)
        for model in ["m"] if engine else draw(st.sampled_from([["m"], ["m", "scored"]])):
            more = common | {"model": model, "headers": engine}
            if draw(st.booleans()):
                events.append(a_request({"data": {"ndarray": [[1]] * rows}}, at=draw(times), **more))
            if draw(st.booleans()):
                events.append(a_response(*[1] * rows, at=draw(times), **more))
        for number in range(draw(st.integers(0, 3))):
            reward = draw(st.sampled_from([0, 1]))
            events.append(a_feedback(draw(st.sampled_from([0, 1])), reward=reward, at=MIDNIGHT + number, **common))
    return draw(st.permutations(events))


@given(stories(), st.data(), st.booleans(), st.sampled_from([(), SCORED]))
def test_any_cut_any_crash_and_a_late_writer_leave_the_same(
    story: list[Any], data: st.DataObject, daily: bool, rules: tuple[Rules, ...]
) -> None:
    log = a_log(story, [1] * len(story), rules)
    index = Index()
    asyncio.run(some_history(log, index, data, daily=daily, rules=Rulebook(rules)))
    assert index.documents() == wanted(log, daily=daily, rules=rules)


async def some_history(log: list[Record], index: Index, data: st.DataObject, *, daily: bool, rules: Rulebook) -> None:
    """The log lands somehow."""

    def new_writer() -> Writer:
        return Writer(index, log, daily=daily, rules=rules)

    writer = new_writer()
    late: list[tuple[Writer, asyncio.Task[None]]] = []
    done = 0
    while done < len(log):
        for one in [one for one in late if data.draw(st.booleans())]:
            await woken(*one)
            late.remove(one)
        end = data.draw(st.integers(done + 1, len(log)))
        how = data.draw(st.sampled_from(["lands", "dies", "is late", "is another"]))
        if how == "is another":
            writer = new_writer()
        if how == "is late":  # it was taken for dead: others do its work, cut otherwise, and meanwhile it wakes
            late.append((writer, await writer.stalled(done, end, data.draw(st.integers(0, 8)))))
            writer = new_writer()
            continue
        if how == "dies":
            index.writes_left = data.draw(st.integers(0, 4))
            try:
                await writer.landed(done, end)
            except CrashError:
                writer = new_writer()
                continue
            finally:
                index.writes_left = float("inf")
        else:
            await writer.landed(done, end)
        done = end
    for one in late:
        await woken(*one)


def test_a_document_that_only_begins_is_not_read() -> None:
    log = a_log([event for n in range(50) for event in (a_request(puid=f"p{n}"), a_response(1, puid=f"p{n}"))])
    index = Index()
    writer = Writer(index, log)
    writer.land(0, 50)
    assert index.read == 0
    assert len(index.log) == 50
    assert writer.results == {"written": 50}
    assert {version for version, _ in index.kept.values()} == {1}


def test_what_a_bulk_says_of_one_document_is_one_write_of_the_last_version() -> None:
    events = [a_request(), a_response(1, at=1.0), a_feedback(0, at=2.0), a_feedback(1, at=3.0)]
    log = a_log(events, [1, 1, 1, 1])
    index = Index()
    Writer(index, log).land(0, 4)
    assert index.log == [("inference-log-seldon-ns-svc-default", "p")]
    assert index.documents() == wanted(log)
    assert [version for version, _ in index.kept.values()] == [FIRST_VERSION + 3]


def test_what_was_written_is_remembered() -> None:
    log = a_log([a_request(), a_response(1, at=1.0), a_feedback(0, at=2.0)], [2, 1])
    index = Index()
    writer = Writer(index, log)
    writer.land(0, 1)
    writer.land(1, 2)
    assert index.read == 0
    writer.landing.known.clear()
    writer.land(1, 2)
    assert index.read == 1
    assert writer.results == {"written": 2, "unchanged": 1}


def test_a_document_that_a_late_writer_has_changed_is_read_before_it_is_changed_again() -> None:
    log = a_log([a_request(), a_response(1, at=1.0), a_feedback(0, at=2.0)], [1, 1, 1])
    index = Index()
    writer, late = Writer(index, log), Writer(index, log)
    writer.land(0, 1)
    late.land(0, 2)
    writer.land(1, 2)
    writer.land(2, 3)
    assert index.documents() == wanted(log)


def test_large_documents_are_read_some_at_a_time() -> None:
    """What is known of the size of documents is what the last ones weighed."""
    wide = {"data": {"ndarray": [["x" * 49] * 4000]}}  # a document of 400 kB
    puids = [f"p{number}" for number in range(250)]
    asked = [event for puid in puids for event in (a_request(wide, puid=puid), a_response(1, puid=puid))]
    log = a_log([*asked, *(a_feedback(1, puid=puid) for puid in puids)], [2] * len(puids))
    index = Index()
    writer = Writer(index, log)
    writer.land(0, len(puids))
    assert index.reads == []
    writer.landing.known.clear()
    writer.land(len(puids), len(log))
    first, *others = index.reads
    assert first < 110
    assert set(others[:-1]) == {8_388_608 // (len(index.kept["inference-log-seldon-ns-svc-default", "p0"][1] or b""))}
    assert sum(index.reads) == len(puids)
    assert len(index.documents()) == len(puids)


def test_a_record_of_many_rows_is_understood_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = 500
    log = a_log([a_request({"data": {"ndarray": [[1]] * rows}}), a_response(*[1] * rows, at=1.0)], [1, 1])
    index = Index()
    writer = Writer(index, log)
    batch = writer.batch(0, len(log))
    understood = []
    changes = writer.documents.changes

    def counted(record: bytes) -> list[Change]:
        understood.append(record)
        return changes(record)

    monkeypatch.setattr(writer.documents, "changes", counted)
    asyncio.run(writer.landing.write(batch, set(batch.puids)))
    assert index.documents() == wanted(log)
    assert len(understood) <= len(log)


@pytest.mark.parametrize(("story", "rules"), MOVES)
def test_who_is_late_leaves_a_document_that_has_moved_where_it_is(story: list[Any], rules: tuple[Rules, ...]) -> None:
    log = a_log(story, [1] * len(story), rules)
    for number in range(len(log)):
        index = Index()
        for begin in range(len(log)):
            Writer(index, log, daily=True, rules=Rulebook(rules)).land(begin, begin + 1)
        Writer(index, log, daily=True, rules=Rulebook(rules)).land(number, number + 1)
        assert index.documents() == wanted(log, daily=True, rules=rules)
        assert len(index.documents()) == 1


@pytest.mark.parametrize(("at", "read"), [(0, 0), (MIDNIGHT - 3600, 0), (MIDNIGHT - 60, 1), (MIDNIGHT + 60, 1)])
def test_in_daily_indices_only_what_begins_near_midnight_is_read_first(at: float, read: int) -> None:
    log = a_log([a_request(at=at), a_response(1, at=at + 1)])
    index = Index()
    Writer(index, log, daily=True).land(0, len(log))
    assert index.read == read
    assert index.documents() == wanted(log, daily=True)
    assert index.asked_whether_moved == 0


def test_a_document_that_cannot_move_stays_where_it_is() -> None:
    """Answered after midnight, and only then known to have been asked before it."""
    story = [a_response(1, at=MIDNIGHT + 1), a_request(at=MIDNIGHT - 1)]
    log = a_log(story, [1, 1])
    index = Index()
    writer = Writer(index, log, daily=True)
    writer.land(0, 1)
    before = index.documents()
    index.refused = {"inference-log-seldon-ns-svc-default-2026.11.21"}
    batch = writer.land(1, 2)
    assert index.documents() == before
    assert [letter.reason for letter in batch.letters.values()] == [Reason.DOCUMENT_REFUSED]
    index.refused = set()
    writer.land(1, 2)
    assert index.documents() == wanted(log, daily=True)
    assert len(index.documents()) == 1


def test_of_a_refused_bulk_what_can_be_written_is() -> None:
    """The second record makes what is refused; the first and the third are not to suffer."""
    log = a_log([a_request(), a_response(1, at=1.0), a_feedback(1, at=2.0)], [1, 1, 1])

    class Picky(Index):
        def _write(self, write: Write) -> Result:
            assert isinstance(write.body, bytes)
            return Result.REFUSED if b'"response"' in write.body else super()._write(write)

    index = Picky()
    batch = Writer(index, log).land(0, 3)
    (document,) = index.documents().values()
    assert "request" in document
    assert document["feedback"]["truth"]
    assert [letter.record.offset for letter in batch.letters.values()] == [1]


@pytest.mark.parametrize(
    "theirs", [{"request": "x"}, {"request": {"ce-time": None}}, {"request": {"ce-time": 3}}, {"feedback": [1]}]
)
def test_a_document_of_an_unknown_shape_stops_no_other(theirs: Any) -> None:
    log = a_log([event for p in "ab" for event in (a_request(puid=p), a_response(1, puid=p), a_feedback(1, puid=p))])
    index = Index()
    index.kept["inference-log-seldon-ns-svc-default", "a"] = 1, orjson.dumps(theirs)
    writer = Writer(index, log)
    batch = writer.land(0, len(log))
    assert index.documents()["inference-log-seldon-ns-svc-default", "b"]["request"]
    assert sum(writer.results.values()) == 2
    for letter in batch.letters.values():
        assert letter.record.key == b"a"
        assert "it cannot be merged" in letter.detail
