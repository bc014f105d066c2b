"""What becomes of a dead letter that is sent back: the records to write, or why it would be of no use.

- A letter of a canonical topic is written there again: the event as it came, under its key and with its time.
- One of another source is read as the intake reads it, and its events go to the canonical topics. Nothing is written to
  the source: others may read it, and would take the event for a new one.
- One of the log of joined records is written to the log again (`app.worker.letters.joined`).

What this version refuses whatever the settings are is not sent: it would only be refused again.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from app.core.counts.panes import PaneClock
from app.core.dialects.dating import younger
from app.core.dialects.keeping import SegmentHeaders
from app.core.dialects.rekeying import Rekeying
from app.core.dialects.understand import Arrival
from app.core.events import Kind, RefusedError
from app.core.join.shard import Shard
from app.core.letters import Headers, Letter, sent_back
from app.core.outputs.documents.changes import Documents
from app.core.rules import Rulebook
from app.core.stats import Stats
from app.core.wire.partitioning import partition_of
from app.core.wire.records import Record, pack_headers
from app.settings import Settings
from app.worker.kafka.metadata import RETENTION, TopicFacts
from app.worker.kafka.sizes import Sizes

#: No setting allows more.
_ANY: Final = 1 << 40


class Out(NamedTuple):
    """A record to write. Without a partition the key has its own."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp: int  # ms
    partition: int | None = None


class UselessError(Exception):
    """Sending a letter back would be of no use; the message says why, of this and others like it."""


class Returning:
    """Makes the records of letters. `facts` are those of the topics that are written; `now` is in ms."""

    def __init__(self, settings: Settings, facts: Mapping[str, TopicFacts], rulebook: Rulebook, now: int) -> None:
        self._settings = settings
        self._facts = facts
        self._rulebook = rulebook
        self._now = now
        self._sizes = Sizes(facts)
        self._rekeying = Rekeying(SegmentHeaders(rulebook))
        self._documents = Documents(rulebook, daily=settings.elasticsearch_daily)
        self._limits = replace(settings.limits, body_bytes=_ANY, label_length=_ANY, models=_ANY)

    def records(self, letter: Letter) -> list[Out]:
        """The records that send a letter back. Raises `UselessError`."""
        if letter.original_length is not None:
            raise UselessError("cut short, and the whole is not in the topic any more from which it came")
        if not letter.topic:
            raise UselessError("do not say where they come from: Tally has not written them")
        if letter.topic == self._settings.log_topic or letter.reason == "document-refused":
            made = [self._joined(letter)]
        elif letter.topic in self._settings.topics:
            made = [self._canonical(letter)]
        else:
            made = self._rekeyed(letter)
        for out in made:
            if not self._sizes.fits(out.topic, out.key, out.value, out.headers):
                raise UselessError(f"too large for their topic: {self._sizes.sentence(out.topic)}")
        return made

    def _canonical(self, letter: Letter) -> Out:
        time, headers = _time(letter), sent_back(letter)
        self._try(letter.topic, letter.key, letter.value, headers, time)
        earliest = self._earliest(letter.topic)
        if time < earliest:
            arrival = Arrival(letter.topic, headers, letter.key, letter.value, time)
            dated = younger(arrival, earliest, canonical=True)
            headers, time = [(name, value or b"") for name, value in dated or headers], earliest
        return Out(letter.topic, letter.key, letter.value, headers, time)

    def _rekeyed(self, letter: Letter) -> list[Out]:
        record = Record(letter.origin_offset, _time(letter), letter.key, letter.value, pack_headers(letter.headers))
        rekeyed = self._rekeying.rekey(letter.topic, [record])
        for _, reason, _ in rekeyed.refused:
            raise _refused(reason)
        made = []
        for kind, event, time in rekeyed.events:
            topic = self._topic(kind)
            headers = sent_back(letter._replace(headers=list(event.headers)))
            self._try(topic, event.key, event.value, headers, time)
            made.append(Out(topic, event.key, event.value, headers, max(time, self._earliest(topic))))
        return made

    def _topic(self, kind: Kind) -> str:
        requests, responses, feedback = self._settings.topics
        return requests if kind is Kind.REQUEST else feedback if kind is Kind.FEEDBACK else responses

    def _joined(self, letter: Letter) -> Out:
        topic = self._settings.log_topic
        if topic is None:
            raise UselessError("documents, and none are written: TALLY_LOG_TOPIC is not set")
        if topic not in self._facts:
            raise UselessError(f"documents, and the topic {topic} does not exist")
        if topic != letter.topic:
            raise UselessError(f"documents from {letter.topic}, and TALLY_LOG_TOPIC is {topic}")
        if letter.origin_offset < 0 or letter.origin_partition >= self._facts[topic].partitions:
            raise UselessError(f"joined records that {topic} has never taken")
        try:
            self._documents.changes(letter.value or b"")
        except RefusedError as refused:
            raise _refused(refused.reason) from None
        return Out(topic, letter.key, letter.value, sent_back(letter), self._now, letter.origin_partition)

    def _earliest(self, topic: str) -> int:
        """The oldest time of a record that the brokers keep until it is read."""
        kept = int(self._facts[topic].config.get(RETENTION, "-1"))
        most = int(self._settings.exchange_retention * 1000)
        return self._now - (min(kept, most) if kept >= 0 else most) // 2

    def _try(
        self, topic: str, key: bytes | None, value: bytes | None, headers: Sequence[tuple[str, bytes]], time: int
    ) -> None:
        """Let an empty partition with the most generous settings take the event. Raises `UselessError`."""
        partitions = self._facts[topic].partitions
        shard = Shard(
            partition_of(key or b"", partitions), partitions, self._rulebook, PaneClock(), self._limits, Stats()
        )
        shard.absorb(topic, [Record(0, time, key, value, pack_headers(headers))])
        cut = shard.cut(None)
        if cut.dead and shard.get(key or b"") is None:  # else only its request is refused
            raise _refused(cut.dead[0].reason)


def _refused(reason: str) -> UselessError:
    return UselessError(f"of no use to this version, whatever the settings ({reason})")


def _time(letter: Letter) -> int:
    """The time of the record that was refused, in ms; of an older version's letter that of the letter."""
    return letter.timestamp if letter.origin_timestamp is None else letter.origin_timestamp
