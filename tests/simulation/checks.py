"""What must hold at the end of every history.

The oracle is a straight pass: the same records, each once, through one shard that nothing happens to.
"""

from collections import Counter
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

import orjson
from aiokafka import TopicPartition
from aiokafka.errors import KafkaError

from app.core.counts.accounts import BY_LABELS, METRICS, Account
from app.core.counts.atoms import Atom
from app.core.counts.cells import Latest, later
from app.core.counts.rows import FirstKey, parse_key
from app.core.counts.view import View
from app.core.drift.first import First, decode_first
from app.core.drift.live import Version
from app.core.events import Identity
from app.core.join.firsts import watched_of
from app.core.join.shard import Shard
from app.core.letters import REKEYED
from app.core.measures.readings import Readings
from app.core.outputs.comparisons import compared_with
from app.core.rules import Rulebook, Rules
from app.core.wire.records import Record
from app.exporters.prometheus import ModelText
from app.worker.lane.partition import Partition
from tests.builders import START, Ledger, a_shard, known, run
from tests.builders import Record as Told
from tests.core.outputs.test_documents import shelf
from tests.simulation.loop import process_of
from tests.simulation.story import MONITOR, RULES, rules
from tests.simulation.worker import Worker

if TYPE_CHECKING:
    from tests.simulation.history import History

State = dict[bytes, bytes]
#: The series are worked out of every so many histories: that takes as long as all the rest.
_EXPORTED: Final = 10
#: What is counted, by account, level, pane and atom, without zeros.
Cells = dict[tuple[Account, str, int, Atom], Any]


def unrest(history: "History") -> str:
    """What is still to be done: until every partition has one owner, who has read all and made all durable."""
    workers = history.living()
    for worker in workers:
        if not worker.lane.ready:
            return f"{worker.process} is not ready: {worker.lane.assigned} given, {list(worker.lane.running)} run"
        if not worker.feed.at_end.is_set():
            return f"the feed of {worker.process} is not at its end"
    parts = [part for worker in workers for part in worker.lane.running.values()]
    if sorted(part.number for part in parts) != list(range(history.partitions)):
        return f"of {history.partitions} partitions there are {[part.number for part in parts]}"
    for part in parts:
        if part.lost is not None or part.committing or part.has_news:
            return f"partition {part.number} is lost, or commits, or has something to commit"
        if history.expired and part.shard.counts.latest < history.wall() - 60:
            return f"in partition {part.number} nothing has expired"
        if part.shard.topic_ids != {topic: history.broker.ids[topic] for topic in history.settings.topics}:
            return f"partition {part.number} reads topics that have been made anew"
        for topic in history.settings.topics:
            place, end = part.shard.offsets.get(topic, 0), history.broker.topics[topic][part.number].end
            if place < end:
                return f"{topic}-{part.number} is read to {place} of {end}"
    if any(_waits(worker) for worker in workers):
        return "a version waits for its reference"
    for topic, logs in history.broker.topics.items():
        for number, log in enumerate(logs):
            if log.stable < log.end:
                return f"a transaction is open in {topic}-{number}"
    if unended := history.broker.transactions.unended():
        return f"a transaction of {unended[0]} has not ended"
    for worker in workers:
        # A producer for each partition; a consumer for the lane, the feed and the membership each.
        wanted = Counter({"producer": len(worker.lane.running), "consumer": 3})
        if (left := _connections(history, worker)) != wanted:
            return f"{worker.process} has {dict(left)} open instead of {dict(wanted)}"
    if history.monitors is not None and (unscored := history.monitors.unrest()):
        return unscored
    return "" if _views_follow(history) else "a view has not followed"


def _waits(worker: Worker) -> bool:
    """Whether a version has its first rows and no reference, or had none when the worker looked last."""
    gathered = worker.view.gathered
    return any(reference.waits for reference in watched_of(worker.rulebook)) or any(
        identity not in gathered.references and rows >= watched.first
        for identity, rows in gathered.rows.items()
        if (watched := worker.rulebook.of(identity.leg).reference) is not None and watched.first
    )


def _connections(history: "History", worker: Worker) -> Counter[str]:
    """What a worker has open."""
    return Counter(
        client.name
        for client in history.kafka.clients
        if not client.closed and process_of(client.context) is worker.process
    )


def _views_follow(history: "History") -> bool:
    """Whether every worker's view says what the panes topic says."""
    view = View(history.settings.clock, history.settings.windows)
    for number, log in enumerate(history.broker.topics[history.settings.panes_topic]):
        for record in log.committed():
            if not log.is_strange(record.offset):
                view.take(number, record.key or b"", record.value)
    sums, gathered = seen(view), view.gathered
    return all(
        seen(worker.view) == sums
        and worker.view.gathered.records == gathered.records
        and all(
            identity in entry.versions or not entry.first
            for identity in gathered.references
            if (entry := worker.rulebook.of(identity.leg).reference) is not None
        )
        for worker in history.living()
    )


def check(history: "History") -> None:
    """Raise AssertionError where anything does not hold."""
    story = history.story
    records = [*story.folded, *(story.results or ())]
    straight = run(
        records,
        [],
        rules=_rules_with(_references(history)),
        logs=story.documents,
        clock=history.settings.clock,
        windows=history.settings.windows,
    )
    if history.expired:
        straight.cut(history.wall() - START)
    parts = {part.number: part for worker in history.living() for part in worker.lane.running.values()}
    _check_counts(history, straight, parts)
    _check_knowledge(history, straight, parts)
    _check_changelogs(history, parts)
    _check_letters(history, straight)
    _check_rekeyed(history)
    _check_tasks(history)
    if story.results is not None:
        _check_scored(history, story.results)
    if story.documents:
        _check_log(history, straight)


def _references(history: "History") -> dict[Identity, First]:
    """The references of first rows that were made: of each version one, and none twice."""
    made: dict[Identity, First] = {}
    for number, record in committed(history, history.settings.panes_topic):
        if history.broker.topics[history.settings.panes_topic][number].is_strange(record.offset):
            continue
        key = parse_key(record.key or b"")
        if isinstance(key, FirstKey) and key.puid is None and record.value is not None:
            assert number == 0, "it is not the owner of partition 0 who decides"
            first = decode_first(record.value)
            assert made.setdefault(key.identity, first) == first, f"{key.identity} has two references"
    for worker in history.living():
        gathered = worker.view.gathered
        assert gathered.references == made, f"{worker.process} knows other references"
        assert not gathered.records.keys() & made.keys(), "what a reference is made of is still kept"
    return made


def _rules_with(references: dict[Identity, First]) -> tuple[Rules, ...]:
    """The rules of one who knows the references from the start."""
    rulebook = Rulebook(rules())
    for identity, first in references.items():
        watched = rulebook.of(identity.leg).reference
        assert watched is not None
        watched.versions[identity] = Version(watched.live.with_reference(first.reference), first.until)
    return rulebook.entries


def committed(history: "History", topic: str) -> Iterable[tuple[int, Record]]:
    """What readers see of a topic."""
    for number, log in enumerate(history.broker.topics[topic]):
        for record in log.committed():
            yield number, record


def changelog(history: "History", topic: str, number: int) -> State:
    """What a changelog holds."""
    state: State = {}
    log = history.broker.topics[topic][number]
    for record in log.committed():
        assert record.key
        if log.is_strange(record.offset):
            continue
        if record.value is None:
            state.pop(record.key, None)
        else:
            state[record.key] = record.value
    return state


def seen(view: View) -> dict[tuple[Account, str, int], Any]:
    """What a view shows of each model and of each two that are compared, in every segment and by either clock: the
    total, as pane -1 of no level, and each pane.
    """
    found: dict[tuple[Account, str, int], Any] = {}
    accounts = [
        Account(identity, segment)
        for identity in view.identities()
        for segment in ("", METRICS, BY_LABELS, *view.segments(identity))
    ]
    accounts += [Account(pair, segment) for pair in view.pairs() for segment in ("", BY_LABELS)]
    for account in accounts:
        if total := view.total(account):
            found[account, "", -1] = total
        for level, pane in view.counted_panes(account):
            found[account, level, pane] = view.panes(account, level, range(pane, pane + 1))
    return found


def exported(view: View, rulebook: Rulebook, now: float) -> str:
    """All series of models, with segments, fairness and windows of either clock; but for when one was first seen."""
    readings = Readings(view, rulebook, 200)
    text = ModelText(seldon=True, most=10**9, rulebook=readings.rulebook)
    for who, read in readings.of_models(now):
        own_pairs = ((pair, both) for pair, both in readings.of_pairs(now) if pair.first == who)
        text.put(who, text.block(who, read, 0, compared_with(own_pairs, readings.rulebook)))
    return text.text()


def cells(*shards: Shard) -> Cells:
    """What shards have counted together."""
    found: Cells = {}
    for shard in shards:
        for account, level, pane, atom, cell in shard.counts.cells():
            at = account, level, pane, atom
            if isinstance(cell, Latest):
                found[at] = later(found.get(at), cell)
            else:
                found[at] = found.get(at, 0) + cell
    return {at: cell for at, cell in found.items() if cell}


def _check_counts(history: "History", straight: Ledger, parts: dict[int, Partition]) -> None:
    total, wanted = cells(*(part.shard for part in parts.values())), cells(*straight.shards)
    other = {at: (total.get(at), wanted.get(at)) for at in total.keys() | wanted if total.get(at) != wanted.get(at)}
    assert not other, f"the counts are not those of a straight pass: {other}"
    whole, now = straight.view(), history.wall()
    view = seen(whole)
    for worker in history.living():
        assert seen(worker.view) == view, f"the view of {worker.process} is another"
    if history.seed % _EXPORTED == 0:
        worker = history.living()[0]  # of views that are the same
        shown = {*exported(whole, straight.rulebook, now).splitlines()}
        found = {*exported(worker.view, straight.rulebook, now).splitlines()}
        assert found == shown, f"{worker.process} exports {sorted(found ^ shown)}"


def _check_knowledge(history: "History", straight: Ledger, parts: dict[int, Partition]) -> None:
    found: list[dict[str, Any]] = []
    for part in parts.values():
        for puid in part.shard.store:
            if _is_of_row(puid):  # lent to it; no story has such puids of its own
                continue
            description = part.shard.describe(puid.decode())
            assert description is not None
            found.append(description)
    assert sorted(found, key=_puid) == known(straight, history.story.folded), "what is known of puids is another"


def _is_of_row(puid: bytes | None) -> bool:
    return b"-item-" in (puid or b"")


def _puid(description: dict[str, Any]) -> str:
    puid: str = description["puid"]
    return puid


def _check_changelogs(history: "History", parts: dict[int, Partition]) -> None:
    """Alone they give the state that runs; their position, and the group's offsets, are the ends of the inputs."""
    settings, broker = history.settings, history.broker
    for number, part in parts.items():
        running = part.shard
        shard = a_shard(*RULES, partition=number, partitions=history.partitions)
        position = shard.recover(
            changelog(history, settings.exchanges_topic, number),
            changelog(history, settings.panes_topic, number),
        )
        assert position is not None, "no position is kept"
        assert shard.store == running.store, "the changelog does not hold the exchanges that run"
        assert cells(shard) == cells(running), "the changelog does not hold the counts that run"
        assert shard.counts.first_seen == running.counts.first_seen
        for topic in settings.topics:
            log = broker.topics[topic][number]
            kept = position.offsets[topic]
            left = [record.offset for record in log.committed() if record.offset >= kept]
            assert not left, f"{topic}-{number}: the position is {kept}, and behind it are {left}"
            offset = broker.group(settings.app_id).offsets.get(TopicPartition(topic, number))
            assert offset == kept, f"{topic}-{number}: the group is at {offset}, the position is {kept}"


def _check_letters(history: "History", straight: Ledger) -> None:
    """Each bad event has one dead letter, with its reason."""
    assert len(straight.dead) == history.story.bad, f"{straight.dead} of {history.story.bad} bad events"
    wanted = Counter((it.topic, it.record.key, it.record.value, it.reason.encode()) for it in straight.dead)
    found: Counter[Any] = Counter()
    origins: set[Any] = set()
    for _, record in committed(history, history.settings.dead_letters_topic):
        headers = dict(record.headers)
        found[(headers["origin-topic"] or b"").decode(), record.key, record.value, headers["reason"]] += 1
        origins.add((headers["origin-topic"], headers["origin-partition"], headers["origin-offset"]))
    if history.made_anew:  # a topic that is made anew may be read on for a moment before it is read from its beginning
        found = Counter({letter: min(count, wanted[letter] or 1) for letter, count in found.items()})
    assert found == wanted, f"dead letters: {found} instead of {wanted}"
    assert history.made_anew or len(origins) == found.total(), "two dead letters of one event"


def _check_rekeyed(history: "History") -> None:
    """Each event astray has been rekeyed once."""
    found = sum(
        any(name == REKEYED for name, _ in record.headers) and not _is_of_row(record.key)
        for record in (
            *history.gone,
            *(
                record
                for topic in history.settings.topics
                for log in history.broker.topics[topic]
                for record in (*log.deleted, *log.committed())
            ),
        )
    )
    wanted = history.story.astray
    assert found == wanted or (history.made_anew and found > wanted), f"{found} events were rekeyed instead of {wanted}"


def _check_tasks(history: "History") -> None:
    """No task has ended with anything but what Kafka may say."""
    for task in history.loop.tasks():
        if task.done() and not task.cancelled() and (error := task.exception()) is not None:
            assert isinstance(error, KafkaError | TimeoutError), f"{task} ended: {error!r}"


def _check_scored(history: "History", results: list[Told]) -> None:
    """Each row is scored once, with the value that it has: counted here from what the monitor must have said."""
    wanted: Counter[str] = Counter()
    for result in results:
        body = orjson.loads(result.value or b"")
        values = [value for value in body["values"] if value is not None]
        wanted.update(body["outcomes"])
        wanted.update(valued=len(values), sum=sum(int(value * 2**80) for value in values))
    for worker in history.living():
        found: Counter[str] = Counter()
        for identity in worker.view.identities():
            for sums in worker.view.total(Account(identity)).values():
                for atom, amount in sums.items():
                    if atom[0] == f"monitors={MONITOR}@v1":
                        found[atom[1]] += amount
        assert +found == +wanted, f"of the monitor {worker.process} has counted {found} instead of {wanted}"


def _check_log(history: "History", straight: Ledger) -> None:
    """The log of joined records tells each part once, and its documents are those of a straight pass."""
    assert history.settings.log_topic is not None
    told: Counter[Any] = Counter()
    records = [record.value or b"" for _, record in committed(history, history.settings.log_topic)]
    for value in records:
        joined = orjson.loads(value)
        told.update((joined["puid"], orjson.dumps(part)) for part in joined["parts"])
    assert not (twice := [it for it, count in told.items() if count > 1]), f"told twice: {twice}"
    assert shelf(records) == shelf(value for _, value in straight.logged), "the documents are others"
