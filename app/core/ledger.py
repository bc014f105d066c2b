"""The ledger: the whole job in memory, from records of the canonical topics to what is read of each model.

It does what the workers do together, without Kafka: a shard for each partition, its changelogs, and the merged view of
what all have written. What is not cut is not written, as in an epoch that does not commit; a restart begins from what
is written.
"""

from collections.abc import Callable, Iterable, Sequence
from typing import Self

from app.core.counts.panes import PaneClock, Window
from app.core.counts.view import View
from app.core.join.cut import Cut
from app.core.join.position import Position
from app.core.join.shard import Shard
from app.core.letters import Astray, DeadLetter
from app.core.limits import Limits
from app.core.measures.readings import Readings
from app.core.rules import Rulebook
from app.core.stats import Stats
from app.core.wire.partitioning import partition_of
from app.core.wire.records import Record

Changelog = dict[bytes, bytes]


class Ledger:
    """Shards, and all that they have written. `partition_of` gives a key's partition, as `partition_of(key, count)`."""

    def __init__(
        self,
        rulebook: Rulebook,
        *,
        partitions: int = 1,
        clock: PaneClock | None = None,
        limits: Limits | None = None,
        windows: tuple[Window, ...] = (),
        most_classes: int = 200,
        logs: bool = False,
        partition_of: Callable[[bytes, int], int] = partition_of,
    ) -> None:
        self.rulebook = rulebook
        self.stats = Stats()
        #: Of each partition what its changelogs hold, by key.
        self.exchanges: list[Changelog] = [{} for _ in range(partitions)]
        self.panes: list[Changelog] = [{} for _ in range(partitions)]
        self.logged: list[tuple[bytes, bytes]] = []
        self.dead: list[DeadLetter] = []
        self.astray: list[Astray] = []
        self.lent: list[Astray] = []
        self._clock = clock or PaneClock()
        self._limits = limits or Limits()
        self._windows = windows
        self._most_classes = most_classes
        self._logs = logs
        self._partition_of = partition_of
        self.shards = [self._new_shard(number) for number in range(partitions)]

    def _new_shard(self, number: int) -> Shard:
        return Shard(number, len(self.panes), self.rulebook, self._clock, self._limits, self.stats, logs=self._logs)

    def shard_of(self, key: bytes) -> Shard:
        """The shard that a key belongs to."""
        return self.shards[self._partition_of(key, len(self.shards))]

    def take(self, topic: str, records: Sequence[Record]) -> None:
        """Fold records of one topic, in their order, each in the shard of its key."""
        for shard in self.shards:
            shard.absorb(topic, [one for one in records if self.shard_of(one.key or b"") is shard])

    def settle(self) -> Self:
        """Settle all shards."""
        for shard in self.shards:
            shard.settle()
        return self

    def write(self, clock: float | None = None) -> None:
        """Cut all shards at a clock, in seconds, and write what they give."""
        for shard in self.shards:
            self._write(shard.partition, shard.cut(clock))

    def _write(self, partition: int, cut: Cut) -> None:
        _apply(self.exchanges[partition], cut.exchanges)
        _apply(self.panes[partition], cut.panes)
        self.logged += cut.joined
        self.dead += cut.dead
        self.astray += cut.astray
        self.lent += cut.lent

    def recover(self, rulebook: Rulebook) -> list[Position | None]:
        """Lose all shards, and begin from what was written, by these rules."""
        self.rulebook = rulebook
        self.shards = [self._new_shard(number) for number in range(len(self.panes))]
        return [shard.recover(self.exchanges[shard.partition], self.panes[shard.partition]) for shard in self.shards]

    def view(self) -> View:
        """The merged view of what was written."""
        view = View(self._clock, self._windows)
        for number, changelog in enumerate(self.panes):
            for key, value in changelog.items():
                view.take(number, key, value)
        return view

    def readings(self) -> Readings:
        """What is read of it."""
        limits = self._limits
        most_metrics = limits.metrics, limits.metric_series
        return Readings(self.view(), self.rulebook, self._most_classes, limits.segment_values, most_metrics)


def _apply(changelog: Changelog, changes: Iterable[tuple[bytes, bytes | None]]) -> None:
    for key, value in changes:
        changelog.pop(key, None)  # what is written again stands last, as in a topic that is compacted
        if value is not None:
            changelog[key] = value
