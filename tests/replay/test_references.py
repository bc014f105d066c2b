"""What verify makes of counts by references: one in force, one that was read again since, those of first rows."""

from collections.abc import Callable
from typing import Any

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from app.core.counts.rows import FirstKey, RowKey, parse_key
from app.core.drift.declared import Declared
from app.core.drift.kept import content_of, places_and_bins
from app.core.drift.live import Live, Watched
from app.core.drift.reference import Reference
from app.core.events import Identity
from app.core.join.deciding import take_references
from app.core.join.exchange import decode, encode
from app.core.join.position import POSITION_KEY, read_position
from app.core.measures.drift import DRIFT
from app.core.rules import Rules
from app.core.segments import Segment
from app.replay.comparing import words_of
from app.replay.first_rows import together, unproven
from app.replay.fold import CHANGES_PER_CUT, Counting, Fold
from app.replay.state import DECIDING, Marked, references_in
from app.replay.stretch import Bound
from app.replay.verify import Check, Checked, compare_partition, to_mark
from app.settings import Settings
from tests.builders import START, Ledger, Record, a_feedback, a_response, kind_of
from tests.core.join.test_drift import AGE, COUNTRY, WHOLE, asked
from tests.core.join.test_firsts import Job, M, pair, stories
from tests.core.join.test_firsts import rules as first_rules

STORY: list[Record] = [
    asked([20, "DE"], names=["age", "country"], puid="a"), a_response([0.2, 0.8], puid="a", at=1),
    a_feedback(1, puid="a", at=2), asked([40, "FR"], puid="only asked"),
]  # fmt: skip
LATER: list[Record] = [asked([70, "FR"], puid="b", at=5), a_response([0.2, 0.8], puid="b", at=6)]
SEGMENTS = (Segment("land", "features", "country"),)
OTHER = Reference((AGE._replace(edges=(0.0, 50.0, 65.0)), COUNTRY))


def rules(reference: Reference = WHOLE, segments: tuple[Segment, ...] = ()) -> Rules:
    return Rules(reference=Watched("", Live(reference, 1)), segments=segments)


def verified(
    ledger: Ledger,
    *records: Record,
    partition: int = 0,
    reach: int | None = None,
    changes_per_cut: int = CHANGES_PER_CUT,
) -> Checked:
    """What verify says of a partition of a ledger, where these are the records of its topics."""
    exchanges, panes = ledger.exchanges[partition], ledger.panes[partition]
    counting = Counting(Settings.model_validate({"label_windows": False}), ledger.rulebook, ledger._limits)
    partitions = len(ledger.panes)
    check = Check(counting, partition, partitions, Bound("--from", "earliest", edge="earliest"), 1.0, {})
    take_references(references_in(ledger.panes[DECIDING]), ledger.rulebook)
    marked = Marked(exchanges, panes, read_position(exchanges[POSITION_KEY]))
    check = to_mark(check, marked)
    fold, theirs = (
        Fold(check.counting, partition, partitions, alone=True, changes_per_cut=changes_per_cut) for _ in range(2)
    )
    words = words_of(exchanges)
    theirs.shard.numbers.recover(iter(words))
    fold.shard.numbers.recover(word for word in words if word[0][1:2] != b"t")
    for record in records:
        if ledger.shard_of(record.key or b"").partition == partition:
            fold.take(kind_of(record), [record.read()])
    return compare_partition(check, marked, fold, theirs.shard, reach)


def read_again(before: Rules, now: Reference) -> Ledger:
    """A worker that has read its reference again on the way."""
    assert before.reference is not None
    ledger = Ledger(before).absorb(*STORY).cut()
    before.reference.live = before.reference.live.with_reference(now)
    return ledger.absorb(*LATER).cut()


def damage(ledger: Ledger, level: str, place: str) -> None:
    """Count one row too many in a bin."""
    panes = ledger.panes[0]
    for key, value in panes.items():
        parsed = parse_key(key)
        if isinstance(parsed, RowKey) and parsed.level == level and not parsed.segment:
            rows = orjson.loads(value)
            for columns in (columns for row, columns in rows.items() if row.startswith("drift=")):
                for column in columns:
                    if column.startswith(place):
                        columns[column] += 1
                        panes[key] = orjson.dumps(rows)
                        return
    raise AssertionError


def test_where_records_are_stamped_ahead_panes_are_kept_as_long_as_workers_keep_them() -> None:
    """Their clock stops at the present, whatever producers' clocks say."""
    records = [record._replace(timestamp=record.timestamp + 3 * 3_600_000) for record in (*STORY, *LATER)]
    ledger = Ledger(rules()).absorb(*records).cut(10)
    assert verified(ledger, *records, changes_per_cut=1).differing == 0


def test_with_one_reference_all_is_compared() -> None:
    for segments in ((), SEGMENTS):
        found = verified(read_again(rules(segments=segments), WHOLE), *STORY, *LATER)
        assert (found.differing, found.references) == (0, ())


@pytest.mark.parametrize(
    ("place", "words"),
    [("0", "age"), ("1", "country"), ("p", "(prediction)"), ("s", "(score)"), ("l", "(label)")],
)
def test_a_count_of_drift_that_is_damaged_is_found_and_named(place: str, words: str) -> None:
    ledger = read_again(rules(), WHOLE)
    damage(ledger, "fine", place)
    found = verified(ledger, *STORY, *LATER)
    assert found.differing == 1
    (told,) = found.told
    assert told.what.startswith("ns/svc/default/m (fine pane of 2026-11-21T07:00:00Z): drift of " + words + ", ")
    assert int(told.changelog) == int(told.topics) + 1


def test_declared_features_are_named() -> None:
    declared = Rules(reference=Watched("", Live(Reference(()), 1, (Declared("age", 0.0, 30.0),))))
    for place, words in (("0:", "drift of age, valid"), ("1:", "drift of (row), valid")):
        ledger = Ledger(declared).absorb(*STORY).cut()
        damage(ledger, "fine", place)
        (told,) = verified(ledger, *STORY).told
        assert told.what.endswith(words)


def packed_as_before(kept: bytes) -> bytes:
    """The bins of a request of one row as a state of format 9 has them: a byte each, and a digest of 8 bytes."""
    bins = bytes(bin_ for _, bin_ in places_and_bins(kept))
    if not content_of(kept):
        return b"\x00" + kept[1:5] + bins
    return b"\x08" + kept[1:5] + (content_of(kept) << 32 | 12_345).to_bytes(8, "little") + bins


def written_before(ledger: Ledger) -> None:
    """Let the state be one of format 9."""
    for key, raw in ledger.exchanges[0].items():
        if key[0]:
            exchange = decode(raw)
            for leg in exchange.legs:
                leg.evidence = leg.evidence and packed_as_before(leg.evidence)
            for one in exchange.counted:
                one.values = tuple(
                    values[:1] + packed_as_before(values[1:]) if values[:1] == DRIFT.letter else values
                    for values in one.values
                )
            ledger.exchanges[0][key] = encode(exchange)


@pytest.mark.parametrize("segments", [(), SEGMENTS])
@pytest.mark.parametrize("restart", [False, True])
def test_bins_that_an_older_version_has_written_are_the_same(segments: tuple[Segment, ...], restart: bool) -> None:
    own = rules(segments=segments)
    replaced = [asked([70, "DE"], puid="a", at=3), asked([20, "IT"], puid="only asked")]
    ledger = Ledger(own).absorb(*STORY).cut()
    before = {key: raw for key, raw in ledger.exchanges[0].items() if key[0]}
    written_before(ledger)
    assert all(raw != ledger.exchanges[0][key] for key, raw in before.items())
    if restart:
        ledger.restart()
    assert verified(ledger, *STORY).differing == 0
    ledger.absorb(*replaced).cut()
    assert ledger.rows() == Ledger(own).absorb(*STORY, *replaced).cut().rows()
    assert verified(ledger, *STORY, *replaced).differing == 0


def test_the_bins_of_an_exchange_that_are_damaged_are_found_and_named() -> None:
    ledger = read_again(rules(), WHOLE)
    exchanges = ledger.exchanges[0]
    exchange = decode(exchanges[b"a"])
    evidence = exchange.legs[0].evidence
    assert evidence is not None
    exchange.legs[0].evidence = evidence[:-1] + bytes([evidence[-1] + 1])
    exchanges[b"a"] = encode(exchange)
    found = verified(ledger, *STORY, *LATER)
    assert found.differing == 1
    (told,) = found.told
    assert told.what == "puid a"
    assert told.changelog != told.topics
    assert "drift=" in told.changelog


def test_what_was_counted_by_another_reference_is_compared_with_the_exchanges_and_named() -> None:
    for segments in ((), SEGMENTS):
        for before in (WHOLE, OTHER, Reference((AGE,))):
            after = OTHER if before is WHOLE else WHOLE
            found = verified(read_again(rules(before, segments), after), *STORY, *LATER)
            assert (found.differing, found.references) == (0, (before.digest,))


def test_a_count_that_is_damaged_is_found_where_references_were_read_again() -> None:
    for by in (0, -1):
        ledger = read_again(rules(), OTHER)
        digest = (WHOLE, OTHER)[by].digest
        key, value = next((key, value) for key, value in ledger.panes[0].items() if f"drift={digest}".encode() in value)
        rows = orjson.loads(value)
        rows[f"drift={digest}"]["0:3"] = 9
        ledger.panes[0][key] = orjson.dumps(rows)
        found = verified(ledger, *STORY, *LATER)
        assert (found.differing, found.references) == (1, (WHOLE.digest,))
        assert found.told[0].changelog == "9"


def test_all_else_is_still_compared() -> None:
    found = verified(read_again(rules(), OTHER), *(record for record in (*STORY, *LATER) if record.key != b"a"))
    assert found.differing_exchanges == 1
    assert found.differing_cells > 5


def test_counts_in_panes_whose_exchanges_have_expired_are_not_compared_with_these() -> None:
    day = 8 * 86400.0
    ledger = Ledger(rules()).absorb(*STORY).cut(10)
    ledger.absorb(*(record._replace(timestamp=record.timestamp + int(day * 1000)) for record in LATER)).cut(day + 10)
    assert b"a" not in ledger.exchanges[0]
    assert verified(ledger, *LATER, reach=START * 1000).differing_cells == 0


# -- first rows -------------------------------------------------------------------------------------------------------


def differing(job: Job, *records: Record) -> list[Any]:
    return [
        told
        for partition in range(len(job.ledger.panes))
        for told in verified(job.ledger, *records, partition=partition).told
    ]


FEW = [*pair("a", 1), *pair("b", 2, 30, "FR"), *pair("c", 3, 40), *pair("d", 4, 99, "IT")]


def test_records_of_first_rows_are_compared_while_they_are_gathered() -> None:
    job = Job(first_rules(100)).tell(*FEW)
    assert differing(job, *FEW) == []
    panes = job.ledger.panes[0]
    key = next(key for key in panes if isinstance(parse_key(key), FirstKey))
    del panes[key]
    (told,) = differing(job, *FEW)
    assert told.what == "first rows of ns/svc/default/m, puid a"
    assert told.changelog == "nothing"
    assert '"columns":["age","country"],"rows":[[20,"DE"]]' in told.topics
    panes[key] = b"damaged"
    (told,) = differing(job, *FEW)
    assert told.changelog.startswith("7 bytes that are no record (")


def test_drift_against_first_rows_is_compared_by_the_reference_that_was_made() -> None:
    job = Job().tell(*FEW).finish(60)
    found = verified(job.ledger, *FEW)
    assert (found.differing, found.references) == (0, ())
    damage(job.ledger, "fine", "0")
    (told,) = differing(job, *FEW)
    assert told.what.endswith("drift of age, above")
    assert (told.changelog, told.topics) == ("2", "1")


def ending_earlier(made: dict[str, Any]) -> None:
    made["until"] -= 2_000_000


def with_more_rows(made: dict[str, Any]) -> None:
    made["reference"][0][0][4][0] += 1


@pytest.mark.parametrize("change", [ending_earlier, with_more_rows])
def test_a_reference_of_first_rows_that_is_damaged_is_found_by_what_is_counted(
    change: Callable[[dict[str, Any]], None],
) -> None:
    job = Job().tell(*FEW).finish(60)
    panes = job.ledger.panes[DECIDING]
    key, value = next(
        (key, value) for key, value in panes.items() if isinstance(one := parse_key(key), FirstKey) and one.puid is None
    )
    job.ledger.rulebook.entries[0].reference.versions.clear()  # type: ignore[union-attr]
    made = msgspec.json.decode(value)
    change(made)
    panes[key] = msgspec.json.encode(made)
    assert any("drift" in told.what for told in differing(job, *FEW))


def others(job: Job, *records: Record) -> list[Identity]:
    """The versions whose reference is another one than the topics give."""
    found = [verified(job.ledger, *records, partition=number) for number in range(len(job.ledger.panes))]
    return unproven(references_in(job.ledger.panes[DECIDING]), together(one.first_rows for one in found))


def test_the_topics_give_the_reference_that_was_made_unless_a_row_of_it_came_late_or_was_corrected() -> None:
    job = Job(partitions=2).tell(*FEW).finish(60)
    assert references_in(job.ledger.panes[DECIDING]).keys() == {M}
    assert others(job, *FEW) == []
    for late in (pair("e", 2.5), [asked([31, "FR"], names=["age", "country"], puid="b", at=2.1)]):
        since = Job(partitions=2).tell(*FEW).finish(60)
        since.tell(*late, clock=61)
        assert differing(since, *FEW, *late) == []
        assert others(since, *FEW, *late) == [M]


def decided(job: Job) -> Job:
    """The same with the references made and written, of which no partition has heard yet."""
    job.read().tell(clock=60).decide().ledger.cut()
    return job


def test_what_has_not_been_counted_yet_by_a_reference_is_no_difference() -> None:
    for partitions in (1, 2):
        job = decided(Job(partitions=partitions).tell(*FEW))
        assert any(isinstance(one := parse_key(key), FirstKey) and one.puid for key in job.ledger.panes[0])
        assert differing(job, *FEW) == []


answers = st.lists(
    st.builds(pair, st.sampled_from("abcdef"), st.integers(0, 20), st.sampled_from([17, 30, 40])),
    min_size=1,
    max_size=5,
).map(lambda pairs: [record for both in pairs for record in both])
mixed = st.lists(st.one_of(answers, stories), max_size=2).map(lambda some: [record for one in some for record in one])


@examples(max_examples=60)
@given(answers, mixed, st.integers(1, 4), st.integers(1, 3), st.data())
def test_there_is_no_difference_whenever_a_partition_has_heard_of_its_references(
    before: list[Record], after: list[Record], first: int, partitions: int, data: st.DataObject
) -> None:
    job = decided(Job(first_rules(first), partitions=partitions).tell(*before))
    for record in after:
        step = data.draw(st.sampled_from(["", "read", "restart", "decide"]))
        if step == "read":
            job.read()
        elif step == "restart":
            job.restart()  # what was known is forgotten
        elif step == "decide":
            decided(job)
        job.ledger.absorb(record).settle().cut()
    _forget(job)
    assert differing(job, *before, *after) == []


def _forget(job: Job) -> None:
    """Whoever verifies knows nothing that is not written."""
    (entry,) = job.ledger.rulebook.entries
    assert entry.reference is not None
    entry.reference.versions.clear()
