"""The topic of dead letters as the commands read it: letters, and what was done with them.

A record that says what was done with letters stands in their own partition, after them. So whoever reads a partition
from a letter to its end knows all of it.
"""

import re
from collections import Counter, defaultdict
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from aiokafka import TopicPartition

from app.core.letters import Done, Letter, read_done, read_letter
from app.settings import Settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.metadata import RETENTION, TopicFacts
from app.worker.kafka.reading import Reader, open_offsets_reader
from app.worker.kafka.topics import admin_client, describe_cluster

_ID: Final = re.compile(r"([0-9]{1,9})-([0-9]{1,18})", re.ASCII)

#: Partition and offset.
Place = tuple[int, int]


class LetterError(Exception):
    """What is asked of dead letters cannot be done; the message is one sentence that says why."""


class Shown(NamedTuple):
    """A letter, and what was done with it."""

    letter: Letter
    done: Done | None


class Selection(NamedTuple):
    """Which letters are meant: those of these places, where there are any, of a reason, put aside since a time (ms)."""

    places: frozenset[Place]
    reason: str | None = None
    since: float | None = None

    def takes(self, letter: Letter) -> bool:
        """Whether a letter is meant."""
        return (
            (not self.places or (letter.partition, letter.offset) in self.places)
            and (self.reason is None or letter.reason == self.reason)
            and (self.since is None or letter.timestamp >= self.since)
        )


@dataclass(slots=True)
class Survey:
    """The letters that are meant: what waits, by partition and offset; how many are done, and how that is called.

    `again` are those that wait and had been sent back once before they were refused again.
    """

    waiting: dict[int, set[int]] = field(default_factory=dict)
    again: dict[int, set[int]] = field(default_factory=dict)
    done: Counter[str] = field(default_factory=Counter)
    ends: dict[TopicPartition, int] = field(default_factory=dict)

    def __len__(self) -> int:
        return sum(map(len, self.waiting.values()))


def parse_id(text: str) -> Place:
    """The partition and the offset of a letter."""
    found = _ID.fullmatch(text)
    if found is None:
        raise LetterError(
            f"{text!r} is no id of a dead letter: one looks like 3-1042, as `tally dead-letters list` shows it."
        )
    return int(found[1]), int(found[2])


async def topic_facts(settings: Settings) -> TopicFacts:
    """What the brokers say of the topic. Raises `SetupError` where it does not exist."""
    topic = settings.dead_letters_topic
    async with admin_client(settings) as admin:
        facts = (await describe_cluster(admin, [topic])).topics.get(topic)
    if facts is None:
        raise SetupError(f"Topic {topic} does not exist: run `tally topics --create`, or let a worker create it.")
    return facts


class LetterBox:
    """Reads the topic of dead letters."""

    def __init__(self, settings: Settings, facts: TopicFacts, reader: Reader) -> None:
        self._settings = settings
        self._facts = facts
        self._reader = reader

    async def newest(
        self, count: int, wanted: Callable[[Letter], bool], *, done: bool, value_bytes: int = 0
    ) -> list[Shown]:
        """The newest wanted letters with so many bytes of their values, the newest first; with `done` also those that
        are done.
        """
        beginnings, ends = await self._reader.span(self._settings.dead_letters_topic, self._facts.partitions)
        found: list[Shown] = []
        left, span = [*ends], 2 * count
        while left:  # any partition may have all of the newest
            starts = {tp: max(beginnings[tp], ends[tp] - span) for tp in left}
            read: defaultdict[TopicPartition, list[Shown]] = defaultdict(list)
            async for tp, shown in self._letters(starts, ends, wanted, value_bytes):
                if done or shown.done is None:
                    read[tp].append(shown)
            left = [tp for tp in left if len(read[tp]) < count and starts[tp] > beginnings[tp]]
            found += [shown for tp, some in read.items() if tp not in left for shown in some[-count:]]
            span *= 10
        found.sort(key=lambda shown: (shown.letter.timestamp, shown.letter.partition, shown.letter.offset))
        return found[: -count - 1 : -1]

    async def reasons(self, most: int) -> tuple[Counter[str], bool]:
        """How many letters wait, by reason, among so many of the newest offsets of each partition, and whether these
        are all offsets that there are.
        """
        beginnings, ends = await self._reader.span(self._settings.dead_letters_topic, self._facts.partitions)
        starts = {tp: max(beginning, ends[tp] - most) for tp, beginning in beginnings.items()}
        found: Counter[str] = Counter()
        async for _, shown in self._letters(starts, ends, lambda _: True, 0):
            if shown.done is None:
                found[shown.letter.reason] += 1
        return found, starts == beginnings

    async def find(self, place: Place) -> Shown:
        """One letter. Raises `LetterError` where it is not there, with the reason."""
        number, offset = place
        topic, name = self._settings.dead_letters_topic, f"{number}-{offset}"
        beginnings, ends = await self._reader.span(topic, self._facts.partitions)
        if number >= self._facts.partitions:
            raise LetterError(f"There is no letter {name}: {topic} has {self._facts.partitions} partitions, from 0.")
        tp = TopicPartition(topic, number)
        if offset < beginnings[tp]:
            raise LetterError(
                f"Letter {name} is gone: {topic} keeps letters for {self.kept}, "
                "or `tally dead-letters drop --all` has deleted it."
            )
        if offset < ends[tp]:
            async for _, shown in self._letters({tp: offset}, ends, lambda letter: letter.offset == offset):
                return shown
        raise LetterError(f"There is no letter {name}: `tally dead-letters list` shows those that there are.")

    @property
    def kept(self) -> str:
        """For how long the brokers keep a letter."""
        kept = int(self._facts.config.get(RETENTION, "-1"))
        return "as long as its retention.ms says" if kept < 0 else f"{kept / 3600_000:g} h (its retention.ms)"

    async def survey(self, selection: Selection) -> Survey:
        """Which of the letters that are meant wait.

        It reads what is there now, whatever transactions are still open: of who was fenced just before, all is known.
        """
        topic = self._settings.dead_letters_topic
        beginnings, _ = await self._reader.span(topic, self._facts.partitions)
        async with open_offsets_reader(self._settings) as consumer:
            ends = await consumer.end_offsets([*beginnings])
        found = Survey(ends=ends)
        if selection.places:
            starts: dict[TopicPartition, int] = {}
            for number, offset in selection.places:
                tp = TopicPartition(topic, number)
                if tp not in beginnings or not beginnings[tp] <= offset < ends[tp]:
                    await self.find((number, offset))  # says why it is not there
                starts[tp] = min(offset, starts.get(tp, offset))
        else:
            starts = beginnings
        done: defaultdict[int, dict[int, str]] = defaultdict(dict)
        async for tp, one in self._read(starts, ends):
            number = tp.partition
            if isinstance(one, Done):
                done[number].update(dict.fromkeys(one.offsets, one.what))
            elif selection.takes(one):
                found.waiting.setdefault(number, set()).add(one.offset)
                if one.resent_from:
                    found.again.setdefault(number, set()).add(one.offset)
        for number, offsets in found.waiting.items():
            over = offsets & done[number].keys()
            found.done.update(done[number][offset] for offset in over)
            offsets.difference_update(over)
            found.again.get(number, set()).difference_update(over)
        self._require(selection, found, done)
        return found

    def _require(self, selection: Selection, found: Survey, done: Mapping[int, Mapping[int, str]]) -> None:
        """Raise `LetterError` for a letter that was named and that is none."""
        for number, offset in sorted(selection.places):
            if offset not in found.waiting.get(number, ()) and offset not in done[number]:
                what = "no such letter" if selection.reason or selection.since else "no letter"
                raise LetterError(
                    f"There is {what} {number}-{offset}: `tally dead-letters list` shows those that there are."
                )

    async def waiting(self, survey: Survey) -> AsyncGenerator[Letter, None]:
        """The letters that wait, those of a partition in their order."""
        topic = self._settings.dead_letters_topic
        starts = {TopicPartition(topic, number): min(some) for number, some in survey.waiting.items() if some}
        ends = {TopicPartition(topic, number): max(some) + 1 for number, some in survey.waiting.items() if some}
        async with aclosing(self._read(starts, ends)) as all_of_them:
            async for tp, one in all_of_them:
                if isinstance(one, Letter) and one.offset in survey.waiting[tp.partition]:
                    yield one

    async def _letters(
        self,
        starts: Mapping[TopicPartition, int],
        ends: Mapping[TopicPartition, int],
        wanted: Callable[[Letter], bool],
        value_bytes: int | None = None,
    ) -> AsyncGenerator[tuple[TopicPartition, Shown], None]:
        """The wanted letters between two places, once all is known of them; of their values all, or so many bytes."""
        letters: defaultdict[TopicPartition, dict[int, Letter]] = defaultdict(dict)
        done: defaultdict[TopicPartition, dict[int, Done]] = defaultdict(dict)
        async for tp, one in self._read(starts, ends):
            if isinstance(one, Done):
                done[tp].update(dict.fromkeys(one.offsets, one))
            elif wanted(one):
                letters[tp][one.offset] = one if value_bytes is None else _cut(one, value_bytes)
        for tp, some in letters.items():
            for offset, letter in some.items():
                yield tp, Shown(letter, done[tp].get(offset))

    async def _read(
        self, starts: Mapping[TopicPartition, int], ends: Mapping[TopicPartition, int]
    ) -> AsyncGenerator[tuple[TopicPartition, Letter | Done], None]:
        async with aclosing(self._reader.between(starts, ends)) as lists:
            async for tp, records in lists:
                for record in records:
                    one = read_letter(tp.partition, record) or read_done(record)
                    if one is not None:
                        yield tp, one


def _cut(letter: Letter, most: int) -> Letter:
    return letter._replace(value=letter.value[:most] if letter.value is not None and most else None)
