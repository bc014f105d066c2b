"""References of first rows: just the first ones, whoever counts them, whatever is corrected, whenever that is known."""

from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.counts.view import View
from app.core.drift.declared import Declared
from app.core.drift.first import First, Predicted, first_of, read_record, record_of, until_of
from app.core.drift.live import Live, Version, Watched
from app.core.drift.recording import asked as asked_of
from app.core.drift.reference import PREDICTION, Reference
from app.core.events import Identity
from app.core.join.deciding import PATIENCE_SECONDS, full, learn
from app.core.join.exchange import decode
from app.core.limits import Limits
from app.core.measures.drift import DRIFT, DriftReading, answered
from app.core.measures.measure import Evidence
from app.core.rules import Rules
from tests.builders import MODEL, START, Ledger, Record, a_feedback, a_request, a_response
from tests.core.join.test_drift import asked

M: Final = Identity("ns", "svc", "default", "m", "")


def rules(first: int = 3, declared: tuple[Declared, ...] = (), **others: Any) -> Rules:
    return Rules(reference=Watched("", Live(Reference(()), 1, declared), first), **others)


def pair(puid: str, at: float, age: Any = 20, country: Any = "DE", answer: Any = 1, **fields: Any) -> list[Record]:
    names = ["age", "country"]
    return [
        asked([age, country], names=names, puid=puid, at=at),
        a_response(answer, puid=puid, at=at, **fields),
    ]


class Job:
    """A ledger and what its workers decide: `rulebook` is what they share."""

    def __init__(self, *own: Rules, partitions: int = 1) -> None:
        self.ledger = Ledger(*(own or (rules(),)), partitions=partitions)
        self.view = View(self.ledger._clock, ())
        self._seen: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]

    def tell(self, *records: Record, clock: float | None = None) -> "Job":
        self.ledger.absorb(*records)
        for shard in self.ledger.shards if clock is not None else ():
            shard.hear_clock(START + clock)
        self.ledger.cut(clock)
        return self.read()

    def read(self) -> "Job":
        """What every worker reads of the panes topic."""
        for number, changelog in enumerate(self.ledger.panes):
            seen = self._seen[number]
            for key in seen.keys() - changelog.keys():
                self.view.take(number, key, None)
            for key, value in changelog.items():
                if seen.get(key) != value:
                    self.view.take(number, key, value)
            self._seen[number] = dict(changelog)
        learn(self.view.gathered, self.ledger.rulebook)
        return self

    def decide(self) -> "Job":
        for one in full(self.view.gathered, self.ledger.rulebook, len(self.ledger.panes)):
            first = one.first()
            if first is not None:
                self.ledger.shards[0].give_reference(one.identity, first)
        return self

    def finish(self, clock: float) -> "Job":
        """All partitions are read to a clock; then everything takes its course."""
        for _ in range(4):
            self.tell(clock=clock).decide()
        return self

    def restart(self) -> "Job":
        """All workers are gone and begin again, with what is written."""
        entries = tuple(
            Rules(
                **{
                    **{name: getattr(entry, name) for name in Rules.__dataclass_fields__},
                    "reference": Watched("", entry.reference.live, entry.reference.first),
                }
            )
            if entry.reference is not None
            else entry
            for entry in self.ledger.rulebook.entries
        )
        self.ledger.restart(*entries)
        return self

    def reading(self, model: str = MODEL) -> DriftReading:
        return DRIFT.of(self.ledger.models()[model].reading)

    def first(self, identity: Identity = M) -> First | None:
        return self.view.gathered.references.get(identity)

    def live(self, name: str, model: str = MODEL) -> dict[str, int]:
        return {bin_: rows for bin_, _, rows in self.reading(model).bins(name) if rows}


def test_the_first_rows_become_the_reference_and_later_ones_are_compared_with_it() -> None:
    job = Job().tell(*pair("a", 1), *pair("b", 2, 30, "FR"), *pair("c", 3, 40), *pair("d", 4, 99, "IT"))
    assert job.first() is None
    job.finish(60)
    first = job.first()
    assert first is not None
    assert (first.rows, first.until) == (3, (START + 3) * 1_000_000)
    age, country = first.reference.features
    assert (age.name, age.edges, age.counts) == ("age", (20.0, 30.0, 40.0), (1, 1, 1))
    assert dict(zip(country.categories, country.counts, strict=True)) == {"DE": 2, "FR": 1}
    assert first.reference.prediction is not None
    assert (job.live("age"), job.live("country"), job.live(PREDICTION)) == ({"above": 1}, {"unseen": 1}, {"1": 1})
    job.tell(*pair("e", 61, 30), clock=90)
    assert job.live("age") == {"above": 1, "≤ 30": 1}
    assert job.view.gathered.records == {}
    compared = job.reading().live
    assert compared is not None
    assert compared.reference == first.reference


def test_it_waits_until_every_partition_has_been_read_to_a_little_later() -> None:
    job = Job(partitions=2).tell(*(one for n in range(4) for one in pair(chr(97 + n), n)))
    job.read().decide()
    assert job.first() is None
    late = 2 + PATIENCE_SECONDS
    for shard in job.ledger.shards:
        shard.hear_clock(START + late - 1 + shard.partition)
    job.ledger.cut()
    job.read().decide().tell()
    assert job.first() is None
    first = job.finish(late).first()
    assert first is not None
    assert first.rows == 3


def test_answers_of_one_moment_stand_together() -> None:
    whole = asked([20, "DE"], [30, "FR"], [40, "IT"], names=["age", "country"], puid="a", at=1)
    job = Job(rules(2)).tell(whole, a_response(0, 1, 1, puid="a", at=1), *pair("b", 1), *pair("c", 2))
    job.finish(60)
    first = job.first()
    assert first is not None
    assert first.rows == 4
    assert job.live("age") == {"≤ 20": 1}


def test_each_version_has_its_own() -> None:
    job = Job(rules(1)).tell(
        *pair("a", 1, 20, version="1"), *pair("b", 2, 70, version="2"), *pair("c", 3, 20, version="2"),
        *pair("d", 4, 70, version="1"),
    )  # fmt: skip
    job.finish(60)
    assert [job.live("age", f"{MODEL}@{version}") for version in "12"] == [{"unseen": 1}, {"unseen": 1}]
    job.tell(*pair("d", 61, 70, version="2"), clock=90)
    assert [job.live("age", f"{MODEL}@{version}") for version in "12"] == [{}, {"unseen": 1, "70": 1}]


def test_what_comes_late_counts_neither_to_the_reference_nor_against_it() -> None:
    job = Job(rules(2)).tell(*pair("a", 1), *pair("c", 5)).finish(60)
    before = job.first()
    job.tell(*pair("b", 3), clock=61).finish(90)
    assert job.first() == before
    assert job.live("age") == {}


def test_what_is_declared_is_checked_from_the_first_row_on() -> None:
    job = Job(rules(3, (Declared("age", 0.0, 30.0),))).tell(*pair("a", 1), *pair("b", 2, 99))
    assert job.reading().drifts["age"].invalid_rows == 1
    job.tell(*pair("c", 3, 50), *pair("d", 4, 100), *pair("e", 5)).finish(60)
    assert (job.reading().drifts["age"].invalid_rows, job.reading().drifts["(row)"].rows) == (1, 2)
    assert job.live("age") == {"above": 1, "≤ 20": 1}


def test_requests_that_do_not_fit_are_said_once() -> None:
    job = Job(rules(1)).tell(*pair("a", 1)).finish(60)
    shard = job.ledger.shards[0]
    for puid in "bc":
        job.ledger.absorb(asked([1, 2, 3], puid=puid, at=61), a_response(1, puid=puid, at=61))
    notes = shard.cut(START + 62).notes
    assert [note.partition("does not fit: ")[2] for note in notes] == [
        "requests have 3 columns, and it has 2 features: none is compared"
    ]


@pytest.mark.parametrize(
    ("request_", "columns", "rows"),
    [
        (asked([1, 2]), 2, [[1, 2]]),
        (asked([1, 2], names=["a", "a"]), 2, [[1, 2]]),
        (asked([1, 2], names=["a", ""]), 2, [[1, 2]]),
        (asked([1, 2], names=["(a)", "b"]), 2, [[1, 2]]),
        (asked([1, 2], names=["a", "b"]), ("a", "b"), [[1, 2]]),
        (asked(5), 1, [[5]]),
        (a_request(value=b'{"data": {"ndarray": [[1' + b"0" * 400 + b", null]]}}"), 2, [[None, None]]),
        (a_request(value=b'{"data": {"ndarray": [[18446744073709551616, -5]]}}'), 2, [[2.0**64, -5]]),
        (asked([0] * 1500), 1000, [[0] * 1000]),
        (asked(*[["x" * 100, "y" * 100]] * 500), 2, [["x" * 100, "y" * 100]] * 125),
    ],
)  # fmt: skip
def test_what_is_kept_of_a_request_has_bounds_and_keeps_no_request_from_counting(
    request_: Record, columns: Any, rows: list[list[Any]]
) -> None:
    job = Job(rules(1000)).tell(request_, a_response(1))
    (record,) = job.view.gathered.records[M].values()
    found, _ = read_record(record)
    assert (found.columns, found.rows) == (columns, rows)
    assert job.ledger.refusals == []


def test_a_record_fits_its_topic() -> None:
    job = Job(rules(1000))
    shard = job.ledger.shards[0]
    shard.limit(Limits(row_bytes=20_000))
    rows = [["x" * 50, "y" * 50]] * 200
    job.tell(asked(*rows), a_response(*["a class with a name of some length"] * 200))
    (record,) = job.view.gathered.records[M].values()
    found, predicted = read_record(record)
    assert len(record) < 12_000
    assert (len(found.rows), len(predicted)) == (50, 50)
    shard.limit(Limits(row_bytes=8_000))
    job.tell(*pair("b", 1))
    assert job.view.gathered.rows[M] == 50


def test_an_answer_without_its_request_is_neither_gathered_nor_compared() -> None:
    job = Job(rules(1)).tell(a_response(1, puid="a")).finish(60)
    assert job.first() is None
    job.tell(*pair("b", 61)).finish(90).tell(a_response(0, puid="c", at=91)).finish(99)
    assert job.live(PREDICTION) == {}
    job.tell(pair("c", 91, 50)[0]).finish(120)
    assert (job.live("age"), job.live(PREDICTION)) == ({"unseen": 1}, {"unseen": 1})


# -- laws -------------------------------------------------------------------------------------------------------------

cells = st.sampled_from([17, 20, 30.5, None, "DE", "FR", True])
requests = st.builds(
    lambda rows, puid, at, predictor: asked(*rows, puid=puid, at=at, predictor=predictor),
    st.lists(st.lists(cells, min_size=2, max_size=2), min_size=1, max_size=3),
    st.sampled_from("abcd"),
    st.integers(0, 20),
    st.sampled_from(["default", "default", "shadow"]),
)
responses = st.builds(
    lambda rows, puid, at, predictor, version: a_response(
        *rows, puid=puid, at=at, predictor=predictor, version=version
    ),
    st.lists(st.sampled_from([0, 1, 0.25]), min_size=1, max_size=3),
    st.sampled_from("abcd"),
    st.integers(0, 20),
    st.sampled_from(["default", "default", "shadow"]),
    st.sampled_from([None, None, "2"]),
)
feedbacks = st.builds(
    lambda label, puid, at: a_feedback(label, puid=puid, at=at),
    st.sampled_from([0, 1, None]),
    st.sampled_from("abcd"),
    st.integers(0, 20),
)
stories = st.lists(st.one_of(requests, responses, feedbacks), max_size=8)


def as_it_should_be(job: Job, first: int) -> dict[Identity, First]:
    """The references of all that was told, found by looking at the exchanges themselves."""
    found: dict[Identity, list[bytes]] = {}
    for shard in job.ledger.shards:
        for raw in shard.store.values():
            for state in decode(raw).legs:
                kept = None if state.evidence is None else asked_of(state.evidence)
                if kept is not None and state.time:
                    classes = shard.numbers.classes[state.classes]
                    evidence = Evidence(rules=Rules(), classes=classes, marks=state.marks)
                    rows = [Predicted(one.predicted, one.number, one.score, one.measures) for one in answered(evidence)]
                    record = record_of(state.pane_time, kept, rows)
                    found.setdefault(shard.numbers.identities[state.identity], []).append(record)
    made = {}
    for identity, records in found.items():
        until = until_of(records, first)
        if until is not None:
            made[identity] = first_of(records, until)
    return made


@settings(max_examples=40)
@given(stories, st.integers(1, 4), st.integers(1, 3), st.data())
def test_any_story_makes_the_same_references_in_any_order_with_any_partitions_and_restarts(
    records: list[Record], first: int, partitions: int, data: st.DataObject
) -> None:
    plain = Job(rules(first)).tell(*records).finish(60)
    assert plain.view.gathered.references == as_it_should_be(plain, first)
    some = data.draw(st.permutations(records))
    job = Job(rules(first), partitions=partitions)
    while some:
        size = data.draw(st.integers(1, len(some)))
        job.tell(*some[:size])
        some = some[size:]
        if data.draw(st.booleans()):
            job.restart()
    job.finish(60)
    assert job.view.gathered.references == plain.view.gathered.references
    assert job.ledger.rows() == plain.ledger.rows()


@settings(max_examples=40)
@given(stories, stories, st.integers(1, 4), st.integers(1, 3), st.data())
def test_what_is_compared_does_not_depend_on_when_the_reference_was_known(
    before: list[Record], after: list[Record], first: int, partitions: int, data: st.DataObject
) -> None:
    job = Job(rules(first), partitions=partitions).tell(*before).finish(30)
    some = [*after, *data.draw(st.lists(st.sampled_from(before), max_size=3) if before else st.just([]))]
    while some:
        size = data.draw(st.integers(1, len(some)))
        if data.draw(st.booleans()):
            job.restart()  # what was known is forgotten
        if data.draw(st.booleans()):
            job.read().decide()
        job.ledger.absorb(*some[:size]).settle().cut()
        some = some[size:]
    job.finish(90)
    known = Ledger(rules(first))
    reference = known.rulebook.entries[0].reference
    assert reference is not None
    for identity, made in job.view.gathered.references.items():
        reference.versions[identity] = Version(reference.live.with_reference(made.reference), made.until)
    known.absorb(*before, *after).cut()
    assert job.ledger.rows() == known.rows()
    assert not any(identity in job.view.gathered.records for identity in job.view.gathered.references)
    assert all(amount > 0 for key, row in job.ledger.rows().items() if "drift" in key.row for amount in row.values())
