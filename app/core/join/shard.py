"""The shard: everything that one partition knows, and the step that folds a batch of records into it.

Empty shard, `absorb` batch after batch, `cut` the changes of an epoch. The changes of an epoch, its outgoing records
and the offsets that it reaches are one value, so that a shell can make them durable together.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from app.core.clock import parse_time
from app.core.counts.numbers import DELAY_US, POINTS, Names, is_name_key
from app.core.counts.panes import TOTAL, Counts, PaneClock, owner_key
from app.core.events import Reason, RefusedError, shown
from app.core.join.exchange import Exchange, Group, decode, decode_age, encode
from app.core.join.joined import MOST_HELD, Joining, is_feedback, part
from app.core.join.parts import FEEDBACK, KINDS, REQUEST, Parts
from app.core.join.settling import Counting
from app.core.letters import Astray, AstrayError, DeadLetter
from app.core.limits import Limits
from app.core.rules import Rulebook
from app.core.stats import Stats
from app.core.wire.records import Record

MARK_KEY: Final = b"\0mark"
LARGEST_EXCHANGE: Final = 256_000
#: Answers and feedbacks above this many bytes may make an exchange too large; 64 smaller ones cannot.
_SUSPICIOUS: Final = 1_400
#: A larger record is not brought to its key: it might not fit a batch.
_MOVABLE: Final = 800_000
_AHEAD_US: Final = 300 * 1_000_000
_HOUR: Final = 3600


class Position(msgspec.Struct):
    """Where a partition stands: what makes its changelogs and its inputs fit together."""

    offsets: dict[str, int]  # topic → next offset
    partitions: int
    newest: dict[str, int]  # topic → newest record timestamp, ms
    clock: float  # the latest clock by which panes were retired, s
    config: str


@dataclass(slots=True)
class Cut:
    """The changes of one epoch of one partition."""

    exchanges: list[tuple[bytes, bytes | None]]
    panes: list[tuple[bytes, bytes | None]]
    joined: list[tuple[bytes, bytes]]
    dead: list[DeadLetter]
    astray: list[Astray]
    offsets: dict[str, int]
    events: int


class Shard:
    """The state of one partition. Not thread-safe; every method is quick but `recover` and a large `absorb`."""

    def __init__(
        self,
        partition: int,
        partitions: int,
        rulebook: Rulebook,
        clock: PaneClock,
        limits: Limits,
        stats: Stats,
        *,
        logs: bool = False,
    ) -> None:
        self.partition = partition
        self.partitions = partitions
        self.names = Names()
        self.counting = Counting(self.names, rulebook, clock.pane_seconds)
        self.counts = Counts(clock)
        self.stats = stats
        self.store: dict[bytes, bytes] = {}
        self.offsets: dict[str, int] = {}
        self.newest: dict[str, int] = {}
        self._limits = limits
        self._config = rulebook.digest
        self._live: dict[bytes, Exchange] = {}  # absorbed, not settled
        self._changed: dict[bytes, None] = {}  # settled, not cut
        self._delta: defaultdict[tuple[int, int], defaultdict[int, int]] = defaultdict(_counter)
        self._dead: list[DeadLetter] = []
        self._astray: list[Astray] = []
        self._told: dict[bytes, list[bytes]] = {}  # the parts that are not in a joined record yet
        self._joined: list[tuple[bytes, bytes]] = []
        self._joining = Joining(self.names, self.counting)
        self._by_hour: defaultdict[int, list[bytes]] = defaultdict(list)
        self._parts = Parts(self.names, self.counting, limits, stats, logs=logs)
        self._events = 0
        self._moved = False

    # -- reading ------------------------------------------------------------------------------------------------------

    def get(self, puid: bytes) -> Exchange | None:
        """What is known of a puid."""
        live = self._live.get(puid)
        if live is not None:
            return live
        raw = self.store.get(puid)
        return decode(raw) if raw is not None else None

    @property
    def waiting(self) -> int:
        """How many changed keys wait for the next cut."""
        return len(self._changed) + len(self._live) + len(self._dead) + len(self._astray)

    @property
    def has_news(self) -> bool:
        """Whether a cut would hold anything."""
        return self._moved or bool(self._changed) or self.counts.changed

    @property
    def open_exchanges(self) -> int:
        """How many exchanges are kept."""
        return len(self.store)

    def clock(self, now: float, at_end: Iterable[str], topics: Iterable[str]) -> float | None:
        """The partition's clock in seconds: the oldest of its topics' newest timestamps; a topic read to its end is at
        `now`. None while a topic with unread records has given none.
        """
        ended = set(at_end)
        times = []
        for topic in topics:
            newest = self.newest.get(topic)
            if topic in ended:
                times.append(now)
            elif newest is None:
                return None
            else:
                times.append(min(now, newest / 1000))
        return min(times, default=None)

    # -- folding ------------------------------------------------------------------------------------------------------

    def absorb(self, topic: str, records: Sequence[Record], partition_of: Callable[[bytes], int] | None = None) -> None:
        """Fold the records of one topic, in their order. `partition_of` is given where every key must be checked."""
        if not records:
            return
        largest = self._limits.body_bytes
        live, store, open_envelope, put = self._live, self.store, self._parts.open, self._parts.put
        rewritten = self._parts.rewritten
        read = [0] * len(KINDS)
        newest = self.newest.get(topic, 0)
        for record in records:
            stamp = record.timestamp
            if stamp > newest:
                newest = stamp
            try:
                (kind, leg, version, rekeyed, prefix), raw_time, raw_puid = open_envelope(record.header_block)
                read[kind] += 1
                key, value = record.key, record.value
                if not key or value is None or len(value) > largest or key[0] == 0:
                    raise _unusable(key, value, largest)
                row = -1 if raw_puid == key or not raw_puid else _row_of(raw_puid, key, kind)
                if partition_of is not None and partition_of(key) != self.partition:
                    raise AstrayError(Reason.WRONG_PARTITION, f"the key belongs to partition {partition_of(key)}", key)
                time = (parse_time(raw_time) if raw_time else None) or stamp * 1000
                ahead = 0
                if time > stamp * 1000 + _AHEAD_US:
                    ahead = time // 1000 - stamp
                    self.stats.clock_ahead += 1
                exchange = live.get(key)
                if exchange is None:
                    raw = store.get(key)
                    exchange = decode(raw) if raw is not None else Exchange(0, [], [], [])
                    large = raw is not None and len(raw) > LARGEST_EXCHANGE // 2
                else:
                    large = len(exchange.feedbacks) + len(exchange.legs) + len(exchange.detections) > 64
                large = large or (len(value) > _SUSPICIOUS and kind != REQUEST)
                if large:
                    exchange = decode(encode(exchange))  # a copy, so that what does not fit leaves no trace
                if not put[kind](exchange, leg, time, ahead, row, version, value):
                    self.stats.duplicates[KINDS[kind]] += 1
                    continue
                if large and self._is_too_large(exchange):
                    raise RefusedError(
                        Reason.EXCHANGE_TOO_LARGE, f"the exchange would grow beyond {LARGEST_EXCHANGE} bytes"
                    )
                if prefix:
                    text = raw_time if time != stamp * 1000 else b""
                    payload = rewritten.get(value, value) if rewritten else value
                    self._told.setdefault(key, []).append(part(prefix, text, time, row, payload))
                seconds = stamp // 1000
                if seconds > exchange.newest:
                    if not exchange.newest:
                        self._by_hour[seconds // _HOUR].append(key)
                    exchange.newest = seconds
                live[key] = exchange
            except AstrayError as astray:
                if rekeyed or len(value or b"") + len(record.header_block) > _MOVABLE:
                    self.refuse(topic, record, astray.reason, astray.detail)
                else:
                    self._astray.append(Astray(topic, record, astray.key))
                    self.stats.rekeyed += 1
            except RefusedError as refused:
                self.refuse(topic, record, refused.reason, refused.detail)
            except Exception as error:  # noqa: BLE001 - a bug must not stop a partition at one event for ever
                self.refuse(topic, record, Reason.UNEXPECTED, f"{type(error).__name__}: {error}")
        if rewritten:
            rewritten.clear()
        if self._parts.refused_requests:
            self._refuse_carried_requests(topic, records)
        self._events += len(records)
        self.stats.events.update(dict(zip(KINDS, read, strict=True)))
        self.newest[topic] = newest
        self.offsets[topic] = records[-1].offset + 1
        self._moved = True

    def _refuse_carried_requests(self, topic: str, records: Sequence[Record]) -> None:
        """Put feedbacks aside whose own request cannot be read; all else that they bring counts."""
        for value, reason, detail in self._parts.refused_requests:
            record = next(record for record in records if record.value == value)
            self.refuse(topic, record, reason, f"the feedback counts without its request: {detail}")
        self._parts.refused_requests.clear()

    def skip(self, topic: str, next_offset: int) -> None:
        """Move on over offsets that hold no records (transaction markers, compaction)."""
        if next_offset > self.offsets.get(topic, -1):
            self.offsets[topic] = next_offset

    def refuse(self, topic: str, record: Record, reason: Reason, detail: str) -> None:
        """Put a record aside, with the reason."""
        self._dead.append(DeadLetter(topic, self.partition, record, reason, detail))
        self.stats.rejected[reason] += 1
        self._moved = True

    def _is_too_large(self, exchange: Exchange) -> bool:
        exchange = decode(encode(exchange))
        exchange.counted = self.counting.groups(exchange)
        return len(encode(exchange)) > LARGEST_EXCHANGE

    def settle(self) -> None:
        """Out what was counted, in what counts now, for all that was absorbed; then keep it as bytes.

        Once for all events of a puid that were absorbed together, and soon after them, while they are in the cache:
        an exchange that is encoded only at the cut has long left it, and that cost more than decoding it again.
        """
        groups, store, changed = self.counting.groups, self.store, self._changed
        for key, exchange in self._live.items():
            counted = groups(exchange)
            old = exchange.counted
            if counted != old:
                if old:
                    self._count(old, -1)
                self._count(counted, 1)
                exchange.counted = counted
            store[key] = encode(exchange)
            changed[key] = None
        self._live.clear()

    def _count(self, groups: list[Group], sign: int) -> None:
        delta = self._delta
        for group in groups:
            atoms = delta[group.identity, group.pane]
            for atom in group.atoms:
                atoms[atom] += sign
            if group.delay:
                atoms[DELAY_US] += sign * group.delay
            if group.points:
                atoms[POINTS] += sign * group.points

    # -- epochs -------------------------------------------------------------------------------------------------------

    def expire(self, clock: float) -> None:
        """Forget exchanges whose newest part is older than the retention, and panes that are no longer kept."""
        self.settle()
        self.counts.retire(clock)
        edge = clock - self._limits.retention_seconds
        for hour in [hour for hour in self._by_hour if (hour + 1) * _HOUR <= edge]:
            for key in self._by_hour.pop(hour):
                exchange = self.get(key)
                if exchange is None:
                    continue
                if exchange.newest + self._limits.retention_seconds > clock:
                    self._by_hour[max(exchange.newest // _HOUR, hour + 1)].append(key)
                    continue
                if exchange.feedbacks and not any(state.time for state in exchange.legs):
                    self.stats.orphans += 1
                if orphaned := exchange.held + self._told.pop(key, []):
                    self._joined.append((key, self._joining.record(key, orphaned, exchange)))
                del self.store[key]
                self._changed[key] = None

    def cut(self, clock: float | None) -> Cut:
        """The changes since the last cut. They are the shard's own from now on: a shell that cannot make them durable
        must drop the shard.
        """
        if clock is not None:
            self.expire(clock)
        self.settle()
        self.stats.late += self.counts.add(self._delta, self.names)
        self._delta.clear()
        for key, parts in self._told.items():
            self._join(key, parts)
        get = self.store.get
        exchanges: list[tuple[bytes, bytes | None]] = [(key, get(key)) for key in self._changed]
        mark = Position(dict(self.offsets), self.partitions, dict(self.newest), self.counts.latest, self._config)
        exchanges.extend(self.names.unwritten)
        exchanges.append((MARK_KEY, msgspec.json.encode(mark)))
        panes = list(self.counts.changes())
        result = Cut(exchanges, panes, self._joined, self._dead, self._astray, dict(self.offsets), self._events)
        self.names.unwritten = []
        self._changed = {}
        self._told = {}
        self._joined = []
        self._dead = []
        self._astray = []
        self._events = 0
        self._moved = False
        return result

    def _join(self, key: bytes, parts: list[bytes]) -> None:
        """Make the joined record of what was told of a puid. A feedback without its prediction waits for that."""
        exchange = self.get(key)
        if exchange is None:  # it has expired since
            return
        answered = any(state.time for state in exchange.legs)
        if exchange.held or not answered:
            parts = exchange.held + parts
            held = [] if answered else [one for one in parts if is_feedback(one)]
            if sum(map(len, held)) > MOST_HELD:
                held = []
            if held != exchange.held:
                exchange.held = held
                self.store[key] = encode(exchange)
            if held:
                parts = [one for one in parts if not is_feedback(one)]
        if parts:
            self._joined.append((key, self._joining.record(key, parts, exchange)))

    def recover(
        self, exchanges: Iterable[tuple[bytes, bytes]], panes: Iterable[tuple[bytes, bytes]]
    ) -> Position | None:
        """Take the state from the newest records of both changelogs, by key. Returns the mark, if there is one."""
        store = self.store
        store.update(exchanges)
        words = [(key, store.pop(key)) for key in [key for key in store if key[0] == 0 and is_name_key(key)]]
        self.names.recover(iter(words))
        raw_mark = store.pop(MARK_KEY, None)
        owner = owner_key(self.partition)
        self.counts.recover((key, value) for key, value in panes if key != owner)
        self.counting.recover_classes(
            (key.identity, key.row, column)
            for key, row in self.counts.rows.items()
            if key.level == TOTAL
            for column in row
        )
        for key, raw in store.items():
            self._by_hour[decode_age(raw).newest // _HOUR].append(key)
        if raw_mark is None:
            return None
        mark = msgspec.json.decode(raw_mark, type=Position)
        self.offsets = dict(mark.offsets)
        self.newest = dict(mark.newest)
        self.counts.latest = mark.clock
        return mark


def _counter() -> defaultdict[int, int]:
    return defaultdict(int)


def _unusable(key: bytes | None, value: bytes | None, largest: int) -> RefusedError:
    """Why a record's key and value cannot be used."""
    if not key:
        return RefusedError(Reason.NO_KEY, "the record has no key")
    if key[0] == 0:
        return RefusedError(Reason.NO_PUID, "a puid cannot begin with a NUL byte")
    if value is None:
        return RefusedError(Reason.BAD_JSON, "the record has no value")
    return RefusedError(Reason.TOO_LARGE, f"the value has {len(value)} bytes; at most {largest}")


def _row_of(puid: bytes, key: bytes, kind: int) -> int:
    """The row that a feedback for `puid-item-N` addresses, under the key of its base puid."""
    base, _, number = puid.rpartition(b"-item-")
    of_row = bool(base) and number.isdigit() and len(number) < 8
    if of_row and base == key and kind == FEEDBACK:
        return int(number)
    sentence = f"the key is {shown(key)}, the puid {shown(puid)}"
    own = base if of_row else puid
    if own == key or own[0] == 0:
        raise RefusedError(Reason.WRONG_KEY, sentence)
    raise AstrayError(Reason.WRONG_KEY, sentence, own)
