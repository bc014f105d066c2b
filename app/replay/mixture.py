"""Records of any topics in any dialect, folded as one partition: as the intake and then the join would."""

from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from itertools import groupby
from typing import Final

from aiokafka import TopicPartition

from app.core.dialects.keeping import SegmentHeaders
from app.core.dialects.rekeying import Rekeying
from app.core.events import Kind
from app.core.join.shard import Shard
from app.core.join.store import Store
from app.core.stats import Stats
from app.core.wire.records import Record, pack_headers
from app.replay.fold import Counting, Fold, Folded
from app.replay.reading import open_reader, read
from app.replay.stretch import Stretch

#: So many records of a topic are rekeyed at once.
_TOGETHER: Final = 300


class Mixture:
    """Folds records as they come. Those of the canonical topics are taken as the join takes them."""

    def __init__(self, counting: Counting, store: Store) -> None:
        self._fold = Fold(counting, 0, 1, store=store, alone=True)
        requests, responses, feedback = self._canonical = counting.settings.topics
        self._topics: Mapping[Kind, str] = {
            **dict.fromkeys(Kind, responses),  # outliers and drift travel with these
            Kind.REQUEST: requests,
            Kind.FEEDBACK: feedback,
        }
        self._rekey = Rekeying(SegmentHeaders(counting.rulebook)).rekey
        self._refused = Stats()

    @property
    def newest(self) -> int:
        """The time of the newest event so far, in ms."""
        return max(self._fold.shard.newest.values(), default=0)

    def take(self, topic: str, records: Sequence[Record]) -> None:
        """Fold records of one topic, in their order."""
        if topic in self._canonical:
            self._fold.take(topic, [*records])
            return
        for begin in range(0, len(records), _TOGETHER):
            rekeyed = self._rekey(topic, records[begin : begin + _TOGETHER])
            for _, reason, _ in rekeyed.refused:
                self._refused.rejected[reason] += 1
            for name, events in groupby(rekeyed.events, key=lambda one: self._topics[one[0]]):
                self._fold.take(
                    name,
                    [Record(0, time, event.key, event.value, pack_headers(event.headers)) for _, event, time in events],
                )

    def settled(self) -> Shard:
        """All that has been taken, as a shard of which nothing waits."""
        self._fold.cut(None)
        self._fold.cut(None)  # what was brought home by the one before
        return self._fold.shard

    def finish(self) -> Folded:
        """Count all that has been taken."""
        folded = self._fold.finish()
        folded.stats.add(self._refused)
        return folded


async def fold_sources(mixture: Mixture, counting: Counting, stretch: Stretch, progress: Callable[[int], None]) -> None:
    """Fold a stretch of topics in any dialect."""
    consumer = await open_reader(counting.settings)
    try:
        last: dict[TopicPartition, int] = dict(stretch.starts)
        async with aclosing(read(consumer, stretch)) as lists:
            async for tp, records in lists:
                mixture.take(tp.topic, records)
                place = min(consumer.next_offset(tp) or 0, stretch.ends[tp])
                progress(place - last[tp])
                last[tp] = place
    finally:
        await consumer.stop()
