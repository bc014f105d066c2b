"""Dead letters of joined records go back to their log, and what the log said of their puids since goes after them.

Of a document the log's last word holds. A refused record that came back alone would be that, and take from its document
what a later one has said: the label, the verdict. So those are written again too, in their order.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import aclosing
from typing import Final, Protocol

from aiokafka import TopicPartition

from app.core.letters import RESENT, RESENT_BACK, Letter
from app.core.wire.records import Record
from app.settings import Settings
from app.worker.kafka.reading import open_offsets_reader, open_reader
from app.worker.letters.returning import Out

#: How often it is looked for what was written while the last of it was on its way.
_LOOKS: Final = 10


class Writes(Protocol):
    """Whatever writes records, and that letters are done, in one transaction."""

    async def commit(self, records: Sequence[Out], done: str, offsets: dict[int, list[int]]) -> None:
        """Write all of it or nothing."""


class LogLetters:
    """Sends letters of joined records back."""

    def __init__(self, settings: Settings) -> None:
        assert settings.log_topic is not None
        self._settings = settings
        self._topic = settings.log_topic

    async def send(self, writing: Writes, logged: Sequence[tuple[Letter, Out]], letters: dict[int, list[int]]) -> None:
        """Send letters back; `letters` are their offsets by partition."""
        records: defaultdict[int, dict[int, Out]] = defaultdict(dict)  # by partition of the log, and offset
        first: dict[tuple[int, bytes | None], int] = {}
        marks: dict[tuple[int, bytes | None], bytes] = {}
        for letter, out in logged:
            records[letter.origin_partition][letter.origin_offset] = out
            place = letter.origin_partition, letter.key
            first[place] = min(letter.origin_offset, first.get(place, letter.origin_offset))
            marks[place] = letter.id.encode()
        starts = {TopicPartition(self._topic, number): min(some) for number, some in records.items()}
        ends, since = await self._since(starts, first)
        for number, some in since.items():
            for record in some:
                out = _again(self._topic, number, record, marks[number, record.key])
                records[number].setdefault(record.offset, out)
        ordered = [out for _, some in sorted(records.items()) for _, out in sorted(some.items())]
        await writing.commit(ordered, RESENT_BACK, letters)
        for _ in range(_LOOKS):
            ends, since = await self._since(ends, dict.fromkeys(first, 0))
            meanwhile = [
                _again(self._topic, number, record, marks[number, record.key])
                for number, some in since.items()
                for record in some
                if RESENT not in dict(record.headers)
            ]
            if not meanwhile:
                return
            await writing.commit(meanwhile, RESENT_BACK, {})

    async def _since(
        self, starts: Mapping[TopicPartition, int], first: Mapping[tuple[int, bytes | None], int]
    ) -> tuple[dict[TopicPartition, int], dict[int, list[Record]]]:
        """Where the log ends, and what it says of these puids after the first offset of each, in its order."""
        async with open_offsets_reader(self._settings) as consumer:
            ends = await consumer.end_offsets([*starts])
            beginnings = await consumer.beginning_offsets([*starts])
        found: defaultdict[int, list[Record]] = defaultdict(list)
        async with open_reader(self._settings) as reader:
            await reader.span(self._topic, 1 + max(tp.partition for tp in starts))
            places = {tp: max(start, beginnings[tp]) for tp, start in starts.items()}
            async with aclosing(reader.between(places, ends)) as lists:
                async for tp, records in lists:
                    for record in records:
                        after = first.get((tp.partition, record.key))
                        if after is not None and record.offset > after and record.offset < ends[tp]:
                            found[tp.partition].append(record)
        return ends, found


def _again(topic: str, partition: int, record: Record, mark: bytes) -> Out:
    return Out(topic, record.key, record.value, [(RESENT, mark)], record.timestamp, partition)
