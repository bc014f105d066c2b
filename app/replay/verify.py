"""The proof that the live state is what the topics say: each partition is folded anew up to its mark, and compared.

The mark comes first, then the topics are read up to it: so it does not matter that workers go on meanwhile. Nothing is
written anywhere.
"""

from collections.abc import Mapping, MutableMapping, Sequence
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from aiokafka import TopicPartition
from xxhash import xxh3_64_intdigest

from app.core.drift.first import First
from app.core.events import Identity
from app.core.join.deciding import take_references
from app.core.join.firsts import watched_of
from app.core.join.position import DamagedError, StateError
from app.core.join.shard import Shard
from app.core.wire.records import Record
from app.replay.comparing import (
    Difference,
    Exchanges,
    OfPartition,
    cells_of,
    compare_cells,
    drift_alone,
    exchanges_of,
    in_exchanges,
    in_force,
    outdated,
    without_drift,
    words_of,
)
from app.replay.first_rows import compare_gathered, rows_of_references, take_back_gathered
from app.replay.fold import Counting, Fold, Rows, quick
from app.replay.parallel import in_loop
from app.replay.processes import Progress, spread
from app.replay.reading import open_reader, read
from app.replay.state import DECIDING, Marked, read_counts, read_state, references_in
from app.replay.store import spilling_store
from app.replay.stretch import Bound, Stretch, StretchError

if TYPE_CHECKING:
    from app.replay.documents import Expected

_CHANGELOG: Final[Mapping[str, Any]] = {"auto_offset_reset": "earliest", "max_partition_fetch_bytes": 4 << 20}
#: Exchanges in memory at most, beside those of the changelog, which all are.
_MOST_IN_MEMORY: Final = 300_000
#: The parts into which puids fall for a sample.
PARTS: Final = 1_000_000


class Check(NamedTuple):
    """One partition to verify: where its workers began, and which share of the puids is looked at. `ids` are those of
    the topics now.
    """

    counting: Counting
    partition: int
    partitions: int
    begin: Bound
    sample: float
    ids: Mapping[str, str]
    documents: bool = False


class Checked(NamedTuple):
    """What came of it. `reach` is the time (ms) from which the topics hold all, None where they do from the beginning.

    `cells` is how many counts were compared, by the topics or, where these do not reach back, by the exchanges.
    `references` are the digests of those that are no longer in force and by which something is counted: nobody has them
    any more, so what was counted by them cannot be found by the topics. `made` are the references of first rows, as
    workers have made them, by which drift is compared, and `first_rows` of what they would be made by the topics.
    """

    partition: int
    has_state: bool
    events: int
    exchanges: int
    beyond: int
    cells: int
    reach: int | None
    differing_exchanges: int
    differing_cells: int
    told: list[Difference]
    documents: OfPartition | None = None
    references: tuple[str, ...] = ()
    made: Mapping[Identity, First] = {}
    first_rows: Mapping[Identity, Sequence[bytes]] = {}

    @property
    def differing(self) -> int:
        """How many exchanges, counts and documents differ."""
        documents = 0 if self.documents is None else self.documents.missing + self.documents.different
        return self.differing_exchanges + self.differing_cells + documents


def verify_all(checks: Sequence[Check], processes: int, progress: Progress) -> list[Checked]:
    """Verify partitions, in so many processes at most."""
    return spread(verify_partition, checks, processes, progress)


def verify_partition(check: Check, progress: Progress) -> Checked:
    """Verify one partition. Raises StretchError where it cannot be compared."""
    settings = check.counting.settings
    try:
        marked = in_loop(lambda: _read_state(check), check.counting)
        made = in_loop(lambda: _read_references(check, marked), check.counting)
    except DamagedError as error:
        return _damaged(check, str(error))
    except StateError as error:
        raise StretchError(f"Partition {check.partition} of {settings.app_id}: {error}.") from None
    if marked is None:
        return Checked(check.partition, False, 0, 0, 0, 0, None, 0, 0, [])
    _check_mark(check, marked)
    take_references(made, check.counting.rulebook)
    check = to_mark(check, marked)
    with (
        quick(),
        spilling_store(settings.data_dir, _MOST_IN_MEMORY) as store,
        spilling_store(settings.data_dir, 20_000) as bodies,
    ):
        expected = _expected(check, bodies) if check.documents else None
        fold = Fold(
            check.counting,
            check.partition,
            check.partitions,
            store=store,
            joined=None if expected is None else expected.take,
        )
        theirs = Fold(check.counting, check.partition, check.partitions).shard
        words = words_of(marked.exchanges)
        try:
            theirs.numbers.recover(iter(words))
            # With the same numbers equal exchanges are equal bytes. Which classes are told apart it finds out itself.
            fold.shard.numbers.recover(word for word in words if word[0][1:2] != b"t")
        except (ValueError, LookupError, TypeError) as error:
            return _damaged(check, f"its words cannot be read ({error})")
        reach = in_loop(lambda: _fold(fold, check, marked, progress), check.counting)
        compared = compare_partition(check, marked, fold, theirs, reach)._replace(made=made)
        if expected is None:
            return compared
        marks = {TopicPartition(topic, check.partition): offset for topic, offset in marked.position.offsets.items()}
        from app.replay.documents import compare_documents

        found = in_loop(lambda: compare_documents(settings, expected, marks), check.counting)
        return compared._replace(documents=found)


def to_mark(check: Check, marked: Marked) -> Check:
    """The same, whose clock stops where that of the workers stood at a mark."""
    return check._replace(counting=check.counting._replace(latest=marked.position.clock))


async def _read_references(check: Check, marked: Marked | None) -> Mapping[Identity, First]:
    """The references of first rows that are made: read after a mark, so that all are there that it has counted by."""
    if marked is None or not watched_of(check.counting.rulebook):
        return {}
    if check.partition == DECIDING:
        return references_in(marked.panes)
    settings = check.counting.settings
    consumer = await open_reader(settings, changelogs=True, **_CHANGELOG)
    try:
        return references_in(await read_counts(consumer, settings, DECIDING))
    finally:
        await consumer.stop()


def _expected(check: Check, bodies: MutableMapping[bytes, bytes]) -> "Expected":
    from app.replay.documents import Expected  # where nobody asks for documents, no client of Elasticsearch is loaded

    return Expected(check.counting.rulebook, check.counting.settings, bodies)


def _damaged(check: Check, sentence: str) -> Checked:
    told = [Difference(f"the state of partition {check.partition}", sentence, "not compared")]
    return Checked(check.partition, True, 0, 0, 0, 0, None, 1, 0, told)


async def _read_state(check: Check) -> Marked | None:
    settings = check.counting.settings
    consumer = await open_reader(settings, changelogs=True, **_CHANGELOG)
    try:
        return await read_state(consumer, settings, check.partition)
    finally:
        await consumer.stop()


def _check_mark(check: Check, marked: Marked) -> None:
    """Raise StretchError where the mark is of other rules, other topics or another partition count."""
    position, settings = marked.position, check.counting.settings
    where = f"Partition {check.partition} of {settings.app_id}"
    if position.config != check.counting.rulebook.digest:
        raise StretchError(
            f"{where} is counted by other rules than those here: give this command the same TALLY_CONFIG."
        )
    if position.partitions != check.partitions:
        raise StretchError(
            f"{where} was written with {position.partitions} partitions, and the topics have {check.partitions}: they "
            "cannot be compared."
        )
    for topic, known in position.topics.items():
        if check.ids.get(topic, known) != known:
            raise StretchError(
                f"Topic {topic} was made anew since {where[:1].lower()}{where[1:]} read it: it lacks what was counted."
            )
    if not position.offsets.keys() <= set(settings.topics):
        raise StretchError(
            f"{where} was written for topics {', '.join(sorted(position.offsets))}, and the settings name "
            f"{', '.join(sorted(settings.topics))}."
        )


async def _fold(fold: Fold, check: Check, marked: Marked, progress: Progress) -> int | None:
    """Fold the topics up to the mark. Returns the time (ms) from which they hold all, None where they do."""
    tps = [TopicPartition(topic, check.partition) for topic in sorted(marked.position.offsets)]
    consumer = await open_reader(check.counting.settings)
    try:
        consumer.assign(tps)
        beginnings, ends = await consumer.beginning_offsets(tps), await consumer.end_offsets(tps)
        marks = {tp: marked.position.offsets[tp.topic] for tp in tps}
        for tp in tps:
            if marks[tp] > ends[tp]:
                raise StretchError(
                    f"Partition {tp.partition} of {tp.topic} ends at {ends[tp]}, and was read to {marks[tp]}: it was "
                    "cut, or this is another broker."
                )
        starts = await _starts(consumer, check.begin, beginnings)
        cut = [tp for tp in tps if beginnings[tp] > 0 and starts[tp] <= beginnings[tp] and check.begin.edge is not None]
        stretch = Stretch({tp: min(starts[tp], marks[tp]) for tp in tps}, marks)
        fold.expect({tp.topic for tp, start in stretch.starts.items() if start < marks[tp]})
        first: dict[TopicPartition, int] = {}
        async with aclosing(read(consumer, stretch)) as lists:
            async for tp, records in lists:
                if records:
                    first.setdefault(tp, records[0].timestamp)
                fold.take(tp.topic, records if check.sample >= 1 else _sampled(records, check.sample))
                if (consumer.next_offset(tp) or 0) >= marks[tp]:
                    fold.end(tp.topic)
                progress(len(records))
        return max((first.get(tp, 0) for tp in cut), default=None)
    finally:
        await consumer.stop()


async def _starts(consumer: Any, begin: Bound, beginnings: Mapping[TopicPartition, int]) -> dict[TopicPartition, int]:
    """Where the workers began, as they find it by TALLY_START."""
    if begin.moment is None:
        return {tp: max(beginning, begin.offsets.get(tp, 0)) for tp, beginning in beginnings.items()}
    tps = [*beginnings]
    ends: dict[TopicPartition, int] = await consumer.end_offsets(tps)
    found = await consumer.offsets_for_times({tp: int(begin.moment * 1000) for tp in tps})
    return {tp: ends[tp] if found.get(tp) is None else found[tp].offset for tp in tps}


def _sampled(records: list[Record], share: float) -> list[Record]:
    most = round(share * PARTS)
    return [record for record in records if record.key and is_sampled(record.key, most)]


def is_sampled(puid: bytes, most: int) -> bool:
    """Whether a puid is in a sample of so many of a million parts."""
    return xxh3_64_intdigest(puid) % PARTS < most


def _counted_by_exchanges(check: Check, marked: Marked) -> Rows:
    """The rows of what the exchanges of a changelog say that they have counted."""
    fold = Fold(check.counting, check.partition, check.partitions)
    fold.shard.numbers.recover(iter(words_of(marked.exchanges)))
    fold.shard.count_kept(raw for _, raw in exchanges_of(marked.exchanges))
    fold.cut(None)
    return fold.rows


def compare_partition(check: Check, marked: Marked, fold: Fold, theirs: Shard, reach: int | None) -> Checked:
    """Compare what the changelogs hold, whose words `theirs` has, with what the topics have given, up to the mark and
    from `reach` (ms) on, or from the beginning (None). The fold is empty of what is equal afterwards.
    """
    rulebook = check.counting.rulebook
    fold.cut(marked.position.clock)
    if watched_of(rulebook):
        take_back_gathered(fold.shard, marked.panes, rulebook)
        fold.cut(None)
    first_rows = rows_of_references(fold.shard, rulebook)
    settings, position = check.counting.settings, marked.position
    edge = position.clock - settings.exchange_retention
    most = round(check.sample * PARTS)
    state = (one for one in exchanges_of(marked.exchanges) if check.sample >= 1 or is_sampled(one[0], most))
    live = cells_of(marked.panes, settings.clock, position.clock)
    known = in_force(rulebook)
    references = outdated(live, rulebook)
    edge_of_topics = None if reach is None else reach * 1000
    found = Exchanges(fold.shard, theirs, edge, edge_of_topics, references).compare(state)
    cells = differing = 0
    told: list[Difference] = []
    if check.sample >= 1:
        clock = settings.clock
        ours = cells_of(fold.rows, clock, position.clock)
        if reach is not None or references:  # then the exchanges say what panes hold, as far as they are kept
            said = in_exchanges(cells_of(_counted_by_exchanges(check, marked), clock, position.clock), clock, edge)
            in_panes = in_exchanges(live, clock, edge)
            if reach is None:
                live = without_drift(live) | drift_alone(in_panes)
                ours = without_drift(ours) | drift_alone(said)
            else:
                live, ours = in_panes, said
        cells = len(live)
        differing, told = compare_cells(live, ours, clock, known)
        if reach is None:
            records, more, of_firsts = compare_gathered(marked.panes, fold.rows, rulebook)
            cells, differing, told = cells + records, differing + more, [*told, *of_firsts]
    return Checked(
        check.partition,
        True,
        fold.events,
        found.compared,
        found.beyond,
        cells,
        reach,
        found.differing,
        differing,
        [*found.told, *told],
        references=tuple(references),
        first_rows=first_rows,
    )
