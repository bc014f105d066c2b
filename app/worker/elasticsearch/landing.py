"""Landing: what joined records say becomes documents in Elasticsearch, the right ones whatever happens on the way.

- A puid lives in one partition of the log, and its records are merged in their order there. Every write is the whole
  document, as it is after the records up to some offset, with that offset as its external version: Elasticsearch takes
  it only over a lower one. Whoever is behind finds (by reading, or by the conflict) that the document has its record.
- What a writer merges into is a document as Elasticsearch has it, read by its id at that moment, or as this writer has
  written it last. All records of the puid before the writer's own are in it, since they landed before the writer, or
  the one before it, went on. So the result depends on the log alone, and two writers of one version write the same. A
  conflict says that another writer has been at a document: from then on it is read again.
- A record that begins a document is written without reading, on the condition that there is none (`create`, which has
  no external version and leaves version 1). Only one record is written that way, and to merge a record again into the
  document that it made changes nothing; so version 1 needs no offset. Where there is a document it is read and merged.
- External versions begin at 2^32, so that documents of other writers, which count from 1, are older than the log. A
  version beyond the end of the log is of a log that is no more; such a document is taken as it is and counted on.
- Where it is not known in which index a document is, or it moves to another, one record of a puid is written at a time:
  what the next one says depends on where the one before has left the document.
- A document that has moved was removed, with the version of the record that moved it, wherever an earlier record would
  write it: that is refused. Nothing refuses a `create` there, so only what stays where it begins is created unread. Nor
  is there anything in the index of another engine, which a writer takes that does not know the engine: where it finds
  no document, it asks first whether one was removed. What Elasticsearch remembers of what it has removed it forgets
  after `index.gc_deletes` (an hour, by the templates), and when it starts the shard anew: a writer that wakes later
  than that, with a record from before the move, leaves a second document.
"""

import asyncio
import contextlib
import logging
from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass, field
from typing import Final, NamedTuple

import orjson
from aiokafka import TopicPartition

from app.core.events import Reason
from app.core.letters import DeadLetter
from app.core.outputs.documents.changes import Documents
from app.core.outputs.documents.merging import Change, merged, standing
from app.core.outputs.documents.places import Place
from app.core.stats import Stats
from app.core.wire.records import Record
from app.exporters.elasticsearch.writes import BULK_BYTES, BULK_DOCUMENTS, Elasticsearch, Found, Result, Write

log = logging.getLogger(__name__)

#: The version of a document with the record at offset 0.
FIRST_VERSION: Final = 1 << 32
#: Documents merged in one go; the lane and the web server have their turn in between.
_SLICE: Final = 25
#: The bytes that a document is taken for before any has been read; what is read in one go must fit a bulk.
_FIRST_GUESS: Final = 80_000
_FEWEST_READ: Final = 10
#: Of documents that were written, bodies of so many bytes are remembered.
_MOST_KNOWN: Final = 16 << 20

#: A record of the log, and its partition.
Logged = tuple[TopicPartition, Record]


class Step(NamedTuple):
    """What one record does to one document.

    Of a change that begins a document only the document is kept: bytes take less room, and less time to be freed. The
    change is made again where there is a document already.
    """

    version: int
    logged: Logged
    change: Change | None
    beginning: bytes | None = None


Steps = dict[Place, list[Step]]


@dataclass(slots=True)
class Batch:
    """Records whose documents are written together. Changes of one document become one write."""

    steps: Steps = field(default_factory=dict)
    puids: set[bytes | None] = field(default_factory=set)
    singly: set[bytes | None] = field(default_factory=set)  # puids whose records are written one at a time
    letters: dict[tuple[int, int], DeadLetter] = field(default_factory=dict)  # by partition and offset
    next_offsets: dict[TopicPartition, int] = field(default_factory=dict)  # where reading goes on behind it
    records: int = 0
    size: int = 0
    oldest: int | None = None  # ms
    begun: float = 0.0

    @property
    def full(self) -> bool:
        """Whether it is time to write it, however young it is."""
        return len(self.steps) >= BULK_DOCUMENTS or self.size >= BULK_BYTES

    def add(self, logged: Logged, changes: list[Change]) -> None:
        """Add what a record says."""
        record = logged[1]
        self.puids.add(record.key)
        for change in changes:
            if change.elsewhere or change.before:
                self.singly.add(record.key)
            steps = self.steps.get(change.place)
            step = Step(FIRST_VERSION + record.offset, logged, change)
            if change.begins and steps is None:
                with contextlib.suppress(TypeError):  # nested too deep: it is met again, and refused, in `_merge`
                    step = step._replace(change=None, beginning=orjson.dumps(merged(None, change)))
            if steps is None:
                self.steps[change.place] = [step]
            else:
                steps.append(step)

    def refuse(self, logged: Logged, reason: Reason, detail: str) -> bool:
        """Put a record aside, once. Returns whether it was not yet."""
        tp, record = logged
        letter = DeadLetter(tp.topic, tp.partition, record, reason, detail)
        return self.letters.setdefault((tp.partition, record.offset), letter) is letter


class Known:
    """Documents as they were written last, so that they need not be read. The oldest are forgotten."""

    def __init__(self) -> None:
        self._generations: deque[dict[Place, tuple[int, bytes] | None]]
        self._sizes: deque[int]
        self.clear()

    def note(self, place: Place, version: int, body: bytes | None) -> None:
        """A document was written, or removed."""
        self._generations[0][place] = None if body is None else (version, body)
        self._sizes[0] += len(body or b"")
        if self._sizes[0] >= _MOST_KNOWN // 8:
            self._generations.appendleft({})
            self._sizes.appendleft(0)
            while sum(self._sizes) > _MOST_KNOWN:
                self._generations.pop()
                self._sizes.pop()

    def forget(self, place: Place) -> None:
        """Somebody else has written a document."""
        for generation in self._generations:
            generation.pop(place, None)

    def unknown(self, places: Iterable[Place]) -> set[Place]:
        """Those of which nothing is known."""
        return set(places).difference(*self._generations)

    def find(self, places: set[Place]) -> dict[Place, Found]:
        """Those that are known to be there."""
        newest: dict[Place, tuple[int, bytes] | None] = {}
        for generation in reversed(self._generations):
            for place in places & generation.keys():
                newest[place] = generation[place]
        return {place: Found(it[0], orjson.loads(it[1])) for place, it in newest.items() if it is not None}

    def clear(self) -> None:
        """Forget all: others may have written."""
        self._generations = deque([{}])
        self._sizes = deque([0])


class Landing:
    """Writes batches. `results` counts what becomes of documents; `end_of` says where a partition of the log ends."""

    def __init__(
        self,
        elasticsearch: Elasticsearch,
        documents: Documents,
        stats: Stats,
        results: Counter[str],
        end_of: Callable[[TopicPartition], Awaitable[int]],
        *,
        daily: bool = False,
    ) -> None:
        self.known = Known()
        self._elasticsearch = elasticsearch
        self._documents = documents
        self._stats = stats
        self._results = results
        self._end_of = end_of
        self._daily = daily
        self._typical = _FIRST_GUESS  # bytes of a document that was read and merged

    async def write(self, batch: Batch, puids: set[bytes | None]) -> None:
        """Return once all documents of these puids are as the batch says, and what was refused is among its letters."""
        singly = batch.singly & puids
        together = puids - singly
        steps_of = (
            batch.steps
            if len(together) == len(batch.puids)
            else {place: steps for place, steps in batch.steps.items() if steps[0].logged[1].key in together}
        )
        refused = await self._write(batch, steps_of)
        rounds: list[Steps] = []
        for place in refused:
            for number, step in enumerate(steps_of[place]):
                _round(rounds, number)[place] = [step]
        records: defaultdict[bytes | None, dict[int, Logged]] = defaultdict(dict)
        for steps in batch.steps.values():
            for step in steps if steps[0].logged[1].key in singly else ():
                records[step.logged[1].key][step.version] = step.logged
        for own in records.values():
            await asyncio.sleep(0)
            for number, version in enumerate(sorted(own)):
                for change in self._documents.changes(own[version][1].value or b""):
                    _round(rounds, number)[change.place] = [Step(version, own[version], change)]
        for steps_of in rounds:
            await self._write(batch, steps_of)

    async def _write(self, batch: Batch, steps_of: Steps) -> list[Place]:
        """Write documents. Those that only begin are tried unread; what conflicts, and all others, are read and merged.
        Returns those that were refused as several records make them.
        """
        begun: list[Write] = []
        unread: list[Place] = []
        unknown = self.known.unknown(steps_of)
        for place, steps in steps_of.items():
            if len(steps) == 1 and steps[0].beginning is not None and place in unknown:
                begun.append(Write(place, None, steps[0].beginning))
            else:
                unread.append(place)
        await self._prepare(begun)
        async for write, outcome in self._elasticsearch.write(begun):
            steps = steps_of[write.place]
            if outcome.result is Result.WRITTEN:
                self._note(write, steps[0].version)
            elif outcome.result is Result.REFUSED:
                self._refuse(batch, write.place, steps, outcome.reason)
            else:
                unread.append(write.place)
        refused: list[Place] = []
        while unread:
            most = max(_FEWEST_READ, min(BULK_BYTES // self._typical, BULK_DOCUMENTS))
            some, unread = unread[:most], unread[most:]
            refused += await self._merge(batch, {place: steps_of[place] for place in some})
        return refused

    async def _merge(self, batch: Batch, steps_of: Steps) -> list[Place]:
        """Read documents, merge what their steps say, and write them. Returns as `_write`."""
        made: dict[tuple[TopicPartition, int], dict[Place, Change]] = {}  # by record
        changes: dict[Place, list[Change]] = {}
        for number, (place, steps) in enumerate(steps_of.items()):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            changes[place] = [step.change or self._made_again(step, made)[place] for step in steps]
        wanted = {there for some in changes.values() for change in some for there in change.places}
        found = self.known.find(wanted)
        found |= await self._elasticsearch.find(sorted(wanted - found.keys()))
        gone = await self._moved(steps_of, changes, found)
        writes: list[Write] = []
        asked: dict[Place, Place] = {}  # for which place of a step a document is written
        moved: dict[Place, list[Write]] = {}  # what is removed once it is there
        for number, (place, steps) in enumerate(steps_of.items()):
            if number % _SLICE == _SLICE - 1:
                await asyncio.sleep(0)
            there, old, before = standing(changes[place][-1], found)
            version = steps[-1].version
            known = found[there].version if there in found else 0  # where it moves, its new place has nothing yet
            newest = max((found[it].version for it in (there, *before) if it in found), default=0)
            end = FIRST_VERSION + await self._end_of(steps[0].logged[0]) if newest > version else 0
            if newest < end or not gone.isdisjoint(changes[place][-1].places):
                self._results["unchanged"] += 1  # others are ahead
                continue
            if known > version and known >= end:
                version, known = known + 1, 0
            try:
                body = None if old is None else old.body
                for step, change in zip(steps, changes[place], strict=True):
                    if step.version > known:
                        body = merged(body, change)
                same = there in found and old is not None and body == old.body
                text = None if body is None or same else orjson.dumps(body)
            except (AttributeError, LookupError, RecursionError, TypeError, ValueError) as error:
                # It is nested too deep; or the document is somebody else's, in a shape that none of ours has.
                self._refuse(batch, place, steps, f"it cannot be merged: {type(error).__name__}: {error}")
                continue
            moved[there] = [Write(it, max(version, found[it].version + 1), None) for it in before]
            if text is None:
                self._results["unchanged"] += 1
            else:
                asked[there] = place
                writes.append(Write(there, version, text))
        if writes:
            self._typical = max(1, sum(len(write.body or b"") for write in writes) // len(writes))
        refused: list[Place] = []
        await self._prepare(writes)
        async for write, outcome in self._elasticsearch.write(writes):
            steps = steps_of[asked[write.place]]
            if outcome.result is Result.WRITTEN:
                self._note(write, steps[-1].version)
            elif outcome.result is Result.CONFLICT:
                self._results["unchanged"] += 1
                self.known.forget(write.place)
            elif len(steps) > 1:
                refused.append(asked[write.place])
            else:
                self._refuse(batch, write.place, steps, outcome.reason)
                moved.pop(write.place)
        async for write, _ in self._elasticsearch.write([gone for some in moved.values() for gone in some]):
            self.known.note(write.place, write.version or 0, None)
        return refused

    async def _prepare(self, writes: list[Write]) -> None:
        """Make the indices of days that are written to, with their aliases."""
        if self._daily:
            for index in sorted({write.place[0] for write in writes}):
                await self._elasticsearch.prepare_alias(index, index.rpartition("-")[0])

    async def _moved(
        self, steps_of: Steps, changes: dict[Place, list[Change]], found: dict[Place, Found]
    ) -> set[Place]:
        """Of documents that are found nowhere, and whose engine is not known: where later records have removed them.

        They would be written in the index of the likelier engine, and that takes them if they were in the other's.
        """
        versions = {
            (index, place[1]): steps[-1].version
            for place, steps in (steps_of.items() if self._daily else ())
            for change in changes[place][-1:]
            if change.elsewhere and found.keys().isdisjoint(change.places)
            for index in change.elsewhere
        }
        return await self._elasticsearch.moved(versions) if versions else set()

    def _made_again(
        self, step: Step, made: dict[tuple[TopicPartition, int], dict[Place, Change]]
    ) -> dict[Place, Change]:
        tp, record = step.logged
        changes = made.get((tp, record.offset))
        if changes is None:
            changes = {change.place: change for change in self._documents.changes(record.value or b"")}
            made[tp, record.offset] = changes
        return changes

    def _note(self, write: Write, version: int) -> None:
        assert isinstance(write.body, bytes)
        self._results["written"] += 1
        self.known.note(write.place, write.version or version, write.body)

    def _refuse(self, batch: Batch, place: Place, steps: list[Step], reason: str) -> None:
        """Put the records aside that a refused document was made of."""
        self._results["refused"] += 1
        for step in steps:
            if batch.refuse(step.logged, Reason.DOCUMENT_REFUSED, f"{'/'.join(place)}: {reason}"):
                self._stats.rejected[Reason.DOCUMENT_REFUSED] += 1


def _round(rounds: list[Steps], number: int) -> Steps:
    while len(rounds) <= number:
        rounds.append({})
    return rounds[number]
