"""The stretch that is replayed: `--from` and `--to`, and the offsets that they mean."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from aiokafka import TopicPartition

from app.core.clock import format_time
from app.setting_values import parse_duration, parse_moment

_OFFSET: Final = re.compile(r"([A-Za-z0-9._-]{1,249}):([0-9]{1,9}):([0-9]{1,18})")
_FORMS: Final = (
    "must be earliest, latest, a time like 2026-11-21T07:00:00Z, a duration ago like 2h, or a comma list of "
    "topic:partition:offset"
)


class StretchError(Exception):
    """The stretch cannot be replayed; the message is one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Bound:
    """One end of a stretch: an edge of the topics, a moment in seconds since 1970, or offsets of some partitions."""

    option: str
    text: str
    edge: str | None = None
    moment: float | None = None
    offsets: Mapping[TopicPartition, int] = field(default_factory=dict)


def parse_bound(option: str, text: str, now: float) -> Bound:
    """The bound that an option names, with durations before `now` (seconds). Raises StretchError."""
    if text in ("earliest", "latest"):
        return Bound(option, text, edge=text)
    places = text.split(",")
    if all(map(_OFFSET.fullmatch, places)):
        offsets: dict[TopicPartition, int] = {}
        for place in places:
            topic, number, offset = place.rsplit(":", 2)
            tp = TopicPartition(topic, int(number))
            if tp in offsets:
                raise StretchError(f"{option} names partition {number} of {topic} twice: name each once.")
            offsets[tp] = int(offset)
        return Bound(option, text, offsets=offsets)
    try:
        moment = now - parse_duration(text)
    except ValueError:
        try:
            moment = parse_moment(text)
        except (ValueError, OSError):
            raise StretchError(f"{option} {_FORMS} (got {text[:100]!r}).") from None
    if moment < 0:
        raise StretchError(f"{option} {text} is before 1970: name a later time.")
    return Bound(option, text, moment=moment)


def check_order(begin: Bound, end: Bound) -> None:
    """Raise StretchError where the times alone say that a stretch ends before it begins."""
    backwards = begin.moment is not None and end.moment is not None and end.moment <= begin.moment
    if backwards or begin.edge == "latest" or end.edge == "earliest":
        raise StretchError(f"--to {end.text} is not after --from {begin.text}: nothing lies between.")


class Stretch(NamedTuple):
    """What is replayed of some partitions: the records from `starts` to before `ends`, and of these those whose time
    (ms) is at least `since` and before `until`, where these are set.
    """

    starts: dict[TopicPartition, int]
    ends: dict[TopicPartition, int]
    since: int | None = None
    until: int | None = None

    @property
    def records(self) -> int:
        """How many offsets it spans."""
        return sum(max(0, self.ends[tp] - start) for tp, start in self.starts.items())

    def of(self, tps: Sequence[TopicPartition]) -> "Stretch":
        """The same of some of its partitions."""
        return self._replace(starts={tp: self.starts[tp] for tp in tps}, ends={tp: self.ends[tp] for tp in tps})


async def find_stretch(consumer: Any, tps: Sequence[TopicPartition], begin: Bound, end: Bound) -> Stretch:
    """The stretch between two bounds of some partitions, as the brokers know them now. Raises StretchError.

    A time is that of a record. Records need not lie in the order of their times, so what follows the first that is
    young enough is read to the end, and each record is asked for its own.
    """
    consumer.assign(tps)
    beginnings: dict[TopicPartition, int] = await consumer.beginning_offsets(tps)
    latest: dict[TopicPartition, int] = await consumer.end_offsets(tps)
    for bound in (begin, end):
        _check_places(bound, beginnings, latest)
    starts = {tp: begin.offsets.get(tp, beginnings[tp]) for tp in tps}
    ends = {tp: end.offsets.get(tp, latest[tp]) for tp in tps}
    if begin.moment is not None:
        found = await consumer.offsets_for_times({tp: int(begin.moment * 1000) for tp in tps})
        starts = {tp: latest[tp] if found.get(tp) is None else found[tp].offset for tp in tps}
    for tp in tps:
        if ends[tp] < starts[tp] and (begin.offsets or end.offsets):
            raise StretchError(
                f"The stretch of {tp.topic} ends at {ends[tp]} in partition {tp.partition} and begins at "
                f"{starts[tp]}: --to must be after --from."
            )
    return Stretch(starts, ends, _in_ms(begin), _in_ms(end))


def _in_ms(bound: Bound) -> int | None:
    return None if bound.moment is None else round(bound.moment * 1000)


def _check_places(bound: Bound, beginnings: Mapping[TopicPartition, int], latest: Mapping[TopicPartition, int]) -> None:
    """Raise StretchError where a bound names an offset that is not there."""
    topics = {tp.topic for tp in latest}
    for tp, offset in bound.offsets.items():
        where = f"{bound.option} {tp.topic}:{tp.partition}:{offset}"
        if tp.topic not in topics:
            raise StretchError(f"{where}: {tp.topic} is not replayed; {', '.join(sorted(topics))} are.")
        if tp not in latest:
            count = sum(one.topic == tp.topic for one in latest)
            raise StretchError(f"{where}: {tp.topic} has the partitions 0 to {count - 1}.")
        if not beginnings[tp] <= offset <= latest[tp]:
            raise StretchError(
                f"{where}: partition {tp.partition} of {tp.topic} has the offsets {beginnings[tp]} to {latest[tp]}."
            )


def moment_text(seconds: float) -> str:
    """A moment as people read it."""
    return format_time(round(seconds * 1_000_000)).replace(".000000", "")
