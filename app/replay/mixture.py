"""Records of any topics in any dialect, folded together: as the intake and then the join would."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final

from aiokafka import TopicPartition

from app.core.dialects.keeping import SegmentHeaders
from app.core.dialects.rekeying import Rekeying
from app.core.events import Kind, RefusedError
from app.core.join.shard import Shard
from app.core.stats import Stats
from app.core.wire.headers import Envelopes
from app.core.wire.records import Record, pack_headers
from app.replay.fold import Counting, Folded
from app.replay.lanes import LANES, Batch, Lanes, LanesHere, lane_of, lanes_apart, lanes_here
from app.replay.reading import open_reader, read
from app.replay.stretch import Stretch

#: So many records of a topic are rekeyed at once, and as many of a lane are given on together.
_TOGETHER: Final = 300
#: Records of a lane are given on by topic, which is quicker, where they are not further apart than this.
_SPAN_MS: Final = 60_000
#: Fewer records than this are folded before other processes would have begun.
_WORTH_PROCESSES: Final = 20_000


class Mixture:
    """Takes records as they come. Those of the canonical topics are taken as the join takes them."""

    def __init__(self, counting: Counting, processes: int, stack: contextlib.ExitStack) -> None:
        requests, responses, feedback = counting.settings.topics
        self._canonical: Mapping[str, int] = {requests: 0, responses: 1, feedback: 2}
        self._of_kind: Mapping[Kind, int] = {
            **dict.fromkeys(Kind, 1),  # outliers and drift travel with the responses
            Kind.REQUEST: 0,
            Kind.FEEDBACK: 2,
        }
        self._rekey = Rekeying(SegmentHeaders(counting.rulebook)).rekey
        self._open = Envelopes(lambda _: None, ()).open
        self._refused = Stats()
        self._waiting = [_Waiting() for _ in range(LANES)]
        self._counting = counting
        self._processes = processes
        self._stack = stack
        self._early: list[tuple[int, list[Batch]]] = []  # until it is known that processes are worth it
        self._count = 0
        self._lanes: Lanes | None = None if processes > 1 else self._begin_here()

    def take(self, topic: str, records: Sequence[Record]) -> None:
        """Take records of one topic, in their order."""
        number = self._canonical.get(topic)
        if number is not None:
            for record in records:
                self._put(number, self._own_id(record), record)
            return
        of_kind, put = self._of_kind, self._put
        for begin in range(0, len(records), _TOGETHER):
            rekeyed = self._rekey(topic, records[begin : begin + _TOGETHER])
            for _, reason, _ in rekeyed.refused:
                self._refused.rejected[reason] += 1
            for kind, event, time in rekeyed.events:
                put(of_kind[kind], event.key, Record(0, time, event.key, event.value, pack_headers(event.headers)))

    def finish(self) -> list[Folded]:
        """Count all that has been taken."""
        lanes = self._all_given()
        first, *others = lanes.finish()
        stats = replace(self._refused)
        stats.add(first.stats)
        return [first._replace(stats=stats), *others]

    def settled(self) -> list[Shard]:
        """All that has been taken, as shards of which nothing waits; of a mixture without other processes."""
        lanes = self._all_given()
        assert isinstance(lanes, LanesHere)
        return lanes.settled()

    def _own_id(self, record: Record) -> bytes:
        """The request id of a record of a canonical topic, which may stand under another key."""
        try:
            _, _, puid = self._open(record.header_block)
        except RefusedError:
            puid = b""
        return puid or record.key or b""

    def _put(self, topic: int, puid: bytes, record: Record) -> None:
        lane = lane_of(puid)
        waiting = self._waiting[lane]
        if not -_SPAN_MS < record.timestamp - waiting.since < _SPAN_MS:
            self._give(lane, waiting)
            waiting.since = record.timestamp
        waiting.by_topic[topic].append(record)
        waiting.count += 1
        if waiting.count >= _TOGETHER:
            self._give(lane, waiting)
            waiting.since = record.timestamp

    def _give(self, lane: int, waiting: "_Waiting") -> None:
        """Give on what waits of a lane."""
        batches = waiting.take()
        if self._lanes is None:
            self._early.append((lane, batches))
            self._count += sum(len(records) for _, records in batches)
            if self._count >= _WORTH_PROCESSES:
                self._begin(self._stack.enter_context(lanes_apart(self._counting, self._processes)))
        else:
            self._lanes.take(lane, batches)

    def _all_given(self) -> Lanes:
        for lane, waiting in enumerate(self._waiting):
            self._give(lane, waiting)
        return self._begin_here() if self._lanes is None else self._lanes

    def _begin_here(self) -> Lanes:
        return self._begin(self._stack.enter_context(lanes_here(self._counting)))

    def _begin(self, lanes: Lanes) -> Lanes:
        for early in self._early:
            lanes.take(*early)
        self._early.clear()
        self._lanes = lanes
        return lanes


class _Waiting:
    """What waits of a lane, by topic; the first of it was of the time `since`, in ms."""

    __slots__ = ("by_topic", "count", "since")

    def __init__(self) -> None:
        self.by_topic: tuple[list[Record], ...] = ([], [], [])
        self.count = 0
        self.since = 0

    def take(self) -> list[Batch]:
        taken = [(topic, records) for topic, records in enumerate(self.by_topic) if records]
        self.by_topic = ([], [], [])
        self.count = 0
        return taken


@contextlib.contextmanager
def mixing(counting: Counting, processes: int = 1) -> Iterator[Mixture]:
    """A mixture that is folded by so many processes, or by this one where there is little of it."""
    with contextlib.ExitStack() as stack:
        yield Mixture(counting, processes, stack)


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
