"""The fold of one partition: the core's shard, as the lane fills it, and the rows of counts that come of it.

Nothing is written to Kafka. What the lane would write to `<app>-panes` is kept as the rows that would stand there.
"""

import gc
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from app.core.events import Identity
from app.core.join.exchange import Exchange, decode
from app.core.join.shard import Shard
from app.core.join.store import Store
from app.core.letters import REKEYED
from app.core.limits import Limits
from app.core.rules import Rulebook
from app.core.stats import Stats
from app.core.wire.partitioning import partition_of
from app.core.wire.records import Record, pack_headers
from app.replay.first_rows import earliest
from app.replay.sweep import Swept, sweep_shard
from app.settings import Settings

#: So many changed exchanges are settled and cut together: what changes in between is decoded, counted and encoded once.
CHANGES_PER_CUT: Final = 10_000
_MARKED: Final = REKEYED.encode()

Rows = dict[bytes, bytes]


class Counting(NamedTuple):
    """By what is counted: the settings, the rules of each model, and what bounds a partition.

    With `thresholds` it is counted, too, how many rows reach each of them; then nothing expires. With `gathers` the
    first rows of versions are looked for, and nothing expires.

    The clock of a partition stops at `latest` (s), whatever later times records have: a worker's stops at the present.
    """

    settings: Settings
    rulebook: Rulebook
    limits: Limits
    thresholds: tuple[float, ...] = ()
    gathers: bool = False
    latest: float = math.inf


class Folded(NamedTuple):
    """What came of a partition: the rows of its counts, as its changelog would hold them, and what was seen.

    `astray` events stand under another key than their request id, `brought` are those that a worker has brought to
    their own already. `newest` is the time of the newest record, in ms. `documents` says what became of its
    documents, where they were to be written; `first_rows` has those of versions, where they were looked for.
    """

    partition: int
    rows: Rows
    stats: Stats
    events: int
    astray: int
    brought: int
    orphans: int
    exchanges: int
    newest: int
    swept: Swept
    documents: Mapping[str, int] = {}
    first_rows: Mapping[Identity, Sequence[bytes]] = {}


class Fold:
    """A partition that is being folded. Where it is `alone`, whatever key an event stands under, the event is its own.
    Joined records are given to `joined`, where that is wanted.
    """

    def __init__(
        self,
        counting: Counting,
        partition: int,
        partitions: int,
        *,
        store: Store | None = None,
        alone: bool = False,
        joined: Callable[[bytes], None] | None = None,
        changes_per_cut: int = CHANGES_PER_CUT,
    ) -> None:
        settings = counting.settings
        self.stats = Stats()
        logs = joined is not None
        self.shard = Shard(
            partition, partitions, counting.rulebook, settings.clock, counting.limits, self.stats, logs=logs
        )
        self._joined = joined
        if store is not None:
            self.shard.store = store
        self.rows: Rows = {}
        self.events = 0
        self._partitions = partitions
        self._alone = alone
        self._thresholds = counting.thresholds
        self._expires = not counting.thresholds and not counting.gathers
        self._latest = counting.latest
        self._rulebook = counting.rulebook if counting.gathers else None
        if counting.gathers:
            self.shard.gather_no_more()
        self._changes_per_cut = changes_per_cut
        self._astray = 0
        self._brought = 0
        self._met: set[str] = set()
        self._checked: set[str] = set()
        self._open: set[str] = set()  # the topics with records to come

    def expect(self, topics: set[str]) -> None:
        """Say of which topics records come: the partition's clock waits for them."""
        self._open = topics

    def end(self, topic: str) -> None:
        """No more records come of a topic."""
        self._open.discard(topic)

    def take(self, topic: str, records: list[Record]) -> None:
        """Fold records of one canonical topic, in their order."""
        if not records:
            return
        shard = self.shard
        self.events += len(records)
        if topic not in self._checked and self._partitions > 1 and not self._alone:  # as the lane samples them
            some = records[-1:] if topic in self._met else records
            self._met.add(topic)
            if any(record.key and partition_of(record.key, self._partitions) != shard.partition for record in some):
                self._checked.add(topic)
        every = (lambda key: partition_of(key, self._partitions)) if topic in self._checked else None
        self._brought += sum(_MARKED in record.header_block for record in records)
        shard.absorb(topic, records, every)
        if shard.waiting >= self._changes_per_cut:
            self.cut(self._clock() if self._expires else None)

    def _clock(self) -> float | None:
        """The partition's clock, in seconds; None while a topic with records to come has given none."""
        newest = self.shard.newest
        times = [newest.get(topic) for topic in self._open or newest]
        known = [time for time in times if time is not None]
        return min(min(known) / 1000, self._latest) if known and len(known) == len(times) else None

    def cut(self, clock: float | None) -> None:
        """Write the rows of what has changed; forget what has expired at a clock."""
        cut = self.shard.cut(clock)
        for key, value in cut.panes:
            self.rows.pop(key, None)  # what is written again stands last: the end of the epoch behind all of it
            if value is not None:
                self.rows[key] = value
        self._astray += len(cut.astray)
        if self._joined is not None:
            for _, joined in cut.joined:
                self._joined(joined)
        for astray in (*cut.astray, *cut.lent) if self._alone else ():
            record = astray.record
            headers = pack_headers(astray.headers)
            home = Record(record.offset, record.timestamp, astray.key, record.value, headers)
            self.shard.absorb(astray.topic, [home])
        gc.collect(1)

    def settled(self) -> Shard:
        """All that has been taken, as a shard of which nothing waits."""
        self.cut(None)
        self.cut(None)  # what was brought home by the one before
        return self.shard

    def finish(self) -> Folded:
        """Count all that has been taken."""
        shard = self.settled()
        orphans = self.stats.orphans + sum(map(is_orphan, map(decode, shard.store.values())))
        return Folded(
            shard.partition,
            self.rows if self._rulebook is None else {},
            self.stats,
            self.events,
            self._astray,
            self._brought,
            orphans,
            len(shard.store),
            max(shard.newest.values(), default=0),
            sweep_shard(shard, self._thresholds) if self._thresholds else {},
            first_rows={} if self._rulebook is None else earliest(shard.first_rows(), self._rulebook),
        )


def is_orphan(exchange: Exchange) -> bool:
    """Whether there is feedback of a request id, and no answer."""
    return bool(exchange.feedbacks or exchange.rows) and not any(state.time for state in exchange.legs)


@contextmanager
def quick() -> Iterator[None]:
    """Fold without the collector of cycles, as the lane does: lists of records have none, and it walks through all.

    It never looks again at what was there before: a process folds one partition after the other.
    """
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
