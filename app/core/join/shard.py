"""The shard: everything that one partition knows, and the step that folds a batch of records into it.

Empty shard, `absorb` batch after batch, `cut` the changes of an epoch. The changes of an epoch, its outgoing records
and the offsets that it reaches are one value, so that a shell can make them durable together.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from math import inf
from operator import attrgetter
from typing import Any, Final

import msgspec

from app.core.clock import parse_time
from app.core.counts.counts import Changes, Counts
from app.core.counts.numbers import Numbers, is_number_key
from app.core.counts.panes import PaneClock
from app.core.counts.rows import owner_key
from app.core.events import Identity, Reason, RefusedError
from app.core.join import notes
from app.core.join.addressing import LENT_ROW, NO_ROW, row_of, unusable
from app.core.join.bulky import Bulky
from app.core.join.cut import Cut
from app.core.join.delta import Delta
from app.core.join.description import describe
from app.core.join.exchange import Exchange, decode, encode
from app.core.join.firsts import Firsts
from app.core.join.joined import Joining
from app.core.join.judging import Judging
from app.core.join.metrics import CustomMetrics, Pending
from app.core.join.outgoing import Outgoing
from app.core.join.parts import FEEDBACK, KINDS, MONITOR, REQUEST, Parts, Source
from app.core.join.position import AFRESH, FORMAT, POSITION_KEY, DamagedError, Position, check_whole, known_position
from app.core.join.putting import NEWS, NOTHING
from app.core.join.segmenting import EventReaders, Segmenting, ValueNumbers
from app.core.join.settling import Settling
from app.core.join.statements import LENT, waits
from app.core.join.store import LoadedStore, MemoryStore, Store, StoreError
from app.core.letters import AstrayError
from app.core.limits import Limits
from app.core.measures.verdict import is_labelled
from app.core.rules import Rulebook
from app.core.stats import Stats
from app.core.wire.records import Record

_AHEAD_US: Final = 300 * 1_000_000
#: So many exchanges are looked at once whether they are too old; the others follow with the next epochs.
_MOST_LOOKED_AT: Final = 20_000
#: Settled bit by bit, exchanges have about so many rows at once: of many classes, with probabilities, they take 25 ms.
_ROWS_AT_ONCE: Final = 600
#: So many changes are counted at once, and so many records of counts made, before a cut: this takes some 5 ms.
_CHANGES_AT_ONCE: Final = 5_000
_RECORDS_AT_ONCE: Final = 500

_key_of: Final = attrgetter("key")


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
        self.numbers = Numbers()
        self.judging = Judging(self.numbers, rulebook)
        self._values = ValueNumbers(self.numbers, self.judging, limits.segment_values)
        self.segmenting = Segmenting(self.numbers, self.judging, self._values)
        self._metrics = CustomMetrics(self.numbers, self.judging, limits, clock.pane_seconds)
        self._settling = Settling(
            self.numbers, self.judging, self.segmenting, clock.pane_seconds, by_labels=clock.by_labels
        )
        self._firsts = Firsts(partition, self.numbers, self._settling.by_version, rulebook)
        self.give_reference = self._firsts.give
        self.awaits_clock, self.hear_clock = self._firsts.awaits_clock, self._firsts.hear_clock
        self.gather_no_more = self._firsts.gather_no_more
        self.counts = Counts(partition, clock, self.numbers)
        self.stats = stats
        self.store: Store = MemoryStore()
        self.offsets: dict[str, int] = {}
        self.newest: dict[str, int] = {}
        #: The ids of the topics that this state belongs to, for the position.
        self.topic_ids: dict[str, str] = {}
        #: Those of both changelogs, as far as they are known: to be said before it is recovered.
        self.changelog_ids: dict[str, str] = {}
        self.config = rulebook.digest  # of the rules that it counts by
        self._live: dict[bytes, Exchange] = {}  # absorbed, not settled
        self._bulky = Bulky(
            self._settling.counted, limits.exchange_bytes
        )  # the same of exchanges that are settled when they are cut
        self._changed: dict[bytes, bytes | None] = {}  # settled, not cut; None is what is gone
        self._delta = Delta(self.numbers, self._settling.amounts_of)
        self._limits = limits
        self._outgoing = Outgoing(partition, Joining(self.numbers, self.judging, self.segmenting), limits, stats)
        readers = EventReaders(rulebook, self.judging, self._values)
        self._parts = Parts(
            self.numbers, self.judging, limits, stats, readers, self._metrics, self._settling.by_version, logs=logs
        )
        self._events = 0
        self._notes: list[str] = []
        self._moved = False
        self._looks_on = False  # more exchanges may be too old
        self.limit(limits)

    def limit(self, limits: Limits) -> None:
        """Set what bounds the partition from now on. What is larger already stays as it is, and grows no more."""
        self._limits = self._parts.limits = self._outgoing.limits = limits
        self._bulky.limit(limits.exchange_bytes)

    # -- reading ------------------------------------------------------------------------------------------------------

    def get(self, puid: bytes) -> Exchange | None:
        """What is known of a puid."""
        live = self._live.get(puid) or self._bulky.exchanges.get(puid)
        if live is not None:
            return live
        raw = self.store.get(puid)
        return decode(raw) if raw is not None else None

    @property
    def waiting(self) -> int:
        """How many changed keys wait for the next cut."""
        return len(self._changed) + len(self._live) + len(self._bulky) + len(self._outgoing)

    @property
    def changed_panes(self) -> int:
        """How many panes of models the next cut changes, by what is settled."""
        return len(self._delta)

    @property
    def unsettled(self) -> int:
        """How many exchanges have been absorbed and wait to be settled."""
        return len(self._live)

    @property
    def unprepared(self) -> int:
        """How many exchanges and panes the next cut has to settle, count and write."""
        return len(self._live) + len(self._bulky) + len(self._delta) + self.counts.unwritten

    @property
    def has_news(self) -> bool:
        """Whether a cut would hold anything."""
        return self._moved or self._looks_on or bool(self._changed) or self.counts.changed or self._firsts.has_news

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

    def first_rows(self, until: float = inf) -> Iterator[tuple[Identity, bytes]]:
        """The records of answers that are kept and whose version awaits its reference, by version.

        Exchanges are left out all of whose answers are later than a time (µs).
        """
        for puid, raw in self.store.items():
            exchange = decode(raw)
            if any(state.time and state.pane_time <= until for state in exchange.legs):
                for identity, record in self._firsts.records_of(puid, exchange, self._limits.row_bytes):
                    yield self.numbers.identities[identity], record

    def describe(self, puid: str) -> dict[str, Any] | None:
        """All that is known of a puid, for people; None where that is nothing."""
        exchange = self.get(puid.encode())
        return None if exchange is None else describe(puid, exchange, self.numbers, self.judging, self.segmenting)

    # -- folding ------------------------------------------------------------------------------------------------------

    def absorb(self, topic: str, records: Sequence[Record], partition_of: Callable[[bytes], int] | None = None) -> None:
        """Fold the records of one topic, in their order. `partition_of` is given where every key must be checked.

        Raises StoreError: then what has been folded is not whole.
        """
        if not records:
            return
        limits = self._limits
        largest, longest, retention = limits.body_bytes, limits.puid_bytes, limits.retention_seconds
        bulky_bytes, many, suspicious = self._bulky.bytes, self._bulky.parts, self._bulky.suspicious
        live, bulky, store, parts = self._live, self._bulky.exchanges, self.store, self._parts
        outgoing, tell, ages = self._outgoing, self._outgoing.tell, store.ages
        kept = store.fetch(map(_key_of, records))
        open_envelope, put, joined_part = parts.open, parts.put, parts.joined_part
        read = [0] * len(KINDS)
        newest = self.newest.get(topic, 0)
        for record in records:
            stamp = record.timestamp
            if stamp > newest:
                newest = stamp
            try:
                source, raw_time, raw_puid = open_envelope(record.header_block)
                kind, _, _, rekeyed, prefix, segments = source
                read[kind] += 1
                key, value = record.key, record.value
                if not key or value is None or len(value) > largest or key[0] == 0:
                    raise unusable(key, value, largest, raw_puid, feedback=kind == FEEDBACK)
                row = NO_ROW
                if raw_puid and (raw_puid != key or rekeyed):
                    row = row_of(raw_puid, key, feedback=kind == FEEDBACK)
                    read[kind] -= row == LENT_ROW  # it was counted where it was lent
                if partition_of is not None and partition_of(key) != self.partition:
                    raise AstrayError(Reason.WRONG_PARTITION, f"the key belongs to partition {partition_of(key)}", key)
                time = (parse_time(raw_time) if raw_time else None) or stamp * 1000
                ahead = 0
                if time > stamp * 1000 + _AHEAD_US:
                    ahead = time // 1000 - stamp
                    self.stats.clock_ahead += 1
                exchange = live.get(key)
                if exchange is None and key not in bulky:
                    raw = kept(key)
                    if raw is None:
                        if len(key) > longest:
                            raise RefusedError(Reason.TOO_LARGE, f"the puid has {len(key)} bytes; at most {longest}")
                        exchange = Exchange(0, [], [], [])
                    elif len(raw) <= bulky_bytes:
                        exchange = decode(raw)
                seconds = stamp // 1000
                if exchange is not None and 0 < exchange.newest <= seconds - retention:
                    exchange = self._anew(key, exchange)
                if (
                    exchange is None
                    or exchange.rows  # as `bulky.has_many_parts` has it: a call for every event costs too much
                    or len(exchange.feedbacks) + len(exchange.legs) + len(exchange.detections) > many
                    or (len(value) > suspicious and (kind != REQUEST or segments is not None))
                ):
                    exchange, done = self._put_bulky(key, exchange, seconds, source, time, ahead, row, value)
                else:
                    done = put[kind](exchange, source, time, ahead, row, value)
                if row >= 0 and done and not exchange.legs:
                    outgoing.lend(topic, record, raw_puid)
                if done < NEWS:
                    self.stats.duplicates[KINDS[kind]] += 1
                    if done == NOTHING:
                        continue
                if prefix:
                    text = raw_time if time != stamp * 1000 else b""
                    tell(topic, record, key, joined_part(source, text, time, row, value))
                if seconds > exchange.newest:
                    if not exchange.newest:
                        ages.add(key, seconds)
                    exchange.newest = seconds
                if key not in bulky:
                    live[key] = exchange
            except AstrayError as astray:
                if rekeyed:
                    outgoing.refuse(topic, record, astray.reason, astray.detail)
                else:
                    outgoing.bring(topic, record, astray)
            except RefusedError as refused:
                outgoing.refuse(topic, record, refused.reason, refused.detail)
            except StoreError:
                raise
            except Exception as error:  # noqa: BLE001 - a bug must not stop a partition at one event for ever
                outgoing.refuse(topic, record, Reason.UNEXPECTED, f"{type(error).__name__}: {error}")
        if parts.rewritten:
            parts.rewritten.clear()
        if parts.without_class:
            self._notes += notes.without_class(parts.without_class, self.numbers)
            parts.without_class.clear()
        if parts.without_probabilities:
            self._notes += notes.without_probabilities(parts.without_probabilities, self.numbers)
            parts.without_probabilities.clear()
        if parts.unfit:
            self._notes += notes.unfit(parts.unfit, self.numbers)
            parts.unfit.clear()
        if parts.refused_parts:
            self._refuse_parts(topic, records)
        self._events += len(records)
        self.stats.events.update(dict(zip(KINDS, read, strict=True)))
        self.newest[topic] = newest
        self.offsets[topic] = records[-1].offset + 1
        self._moved = True

    def _refuse_parts(self, topic: str, records: Sequence[Record]) -> None:
        """Put events aside of which a part does not count; all else that they bring does."""
        for value, reason, detail in self._parts.refused_parts:
            record = next(record for record in records if record.value == value)
            self._outgoing.refuse(topic, record, reason, detail)
        self._parts.refused_parts.clear()

    def skip(self, topic: str, next_offset: int) -> None:
        """Move on over offsets that hold no records (transaction markers, compaction)."""
        if next_offset > self.offsets.get(topic, -1):
            self.offsets[topic] = next_offset

    def begin_anew(self, topic: str) -> None:
        """Read a topic from its beginning: it has been made anew, and is not the one that was read before."""
        self.offsets[topic] = 0
        self.newest.pop(topic, None)
        self._moved = True

    def _put_bulky(
        self,
        key: bytes,
        exchange: Exchange | None,
        seconds: int,
        source: Source,
        time: int,
        ahead: int,
        row: int,
        value: bytes,
    ) -> tuple[Exchange, int]:
        """Put an event of a record of `seconds` into an exchange that is large, or may become so by it."""
        if exchange is None:
            exchange = self._bulky.exchanges.get(key) or decode(self.store[key])
            if 0 < exchange.newest <= seconds - self._limits.retention_seconds:
                exchange = self._anew(key, exchange)
        put = partial(self._parts.put[source.kind], source=source, time=time, ahead=ahead, row=row)
        growth = partial(self._parts.growth, source, row)
        refused, before, self._metrics.pending = len(self._parts.refused_parts), self._metrics.pending, Pending()
        old = exchange
        try:
            exchange, done = self._bulky.put(key, old, partial(put, value=value), growth(len(value)), len(value))
        except RefusedError as error:  # what has no room leaves no trace
            del self._parts.refused_parts[refused:]
            self._metrics.pending = Pending()
            if source.kind != MONITOR or error.reason is not Reason.EXCHANGE_TOO_LARGE:
                raise
            short = self._parts.result_in_short(value, error)
            exchange, done = self._bulky.put(key, old, partial(put, value=short), growth(len(short)), len(short))
        finally:
            before.merge(self._metrics.pending)
            self._metrics.pending = before
        if key in self._bulky.exchanges and self._live.pop(key, None) is not None:
            self._bulky.touch(key)  # it has changed before it was bulky
        return exchange, done

    def settle(self) -> None:
        """Out what was counted, in what counts now, for all that was absorbed; then keep it as bytes.

        Once for all events of a puid that were absorbed together, and soon after them, while they are in the cache:
        an exchange that is encoded only at the cut has long left it, and that cost more than decoding it again. Only
        bulky ones wait for the cut.
        """
        self._settle(self._live.items())
        self._live.clear()

    def settle_some(self) -> bool:
        """The same bit by bit, a few at once where they have many rows. Returns whether nothing is left."""
        settled = self._settle(self._live.items(), _ROWS_AT_ONCE)
        if len(settled) == len(self._live):
            self._live.clear()
        for key in settled if self._live else ():
            del self._live[key]
        return not self._live

    def prepare_some(self) -> bool:
        """Do some of what the next cut would have to do: settle, count, and make records. Returns whether nothing is
        left.
        """
        if self._live:
            self.settle_some()
        else:
            self._settle(self._bulky.changed(), _ROWS_AT_ONCE)
        if self._live or self._bulky:
            return False
        self._count(self._delta.take(_CHANGES_AT_ONCE))
        return not self._delta and self.counts.write_some(self._limits.row_bytes, _RECORDS_AT_ONCE)

    def _count(self, changes: Changes) -> None:
        """Add changes to the counts."""
        late = self.counts.add(changes)
        self.stats.late += sum(amount for atom, amount in late.items() if is_labelled(atom))

    def _settle(self, exchanges: Iterable[tuple[bytes, Exchange]], most_rows: float = inf) -> Mapping[bytes, bytes]:
        """Settle exchanges in their order, about so many rows of them. Returns those that are settled."""
        count, mixed, change = self._settling.counted, self._settling.mixed, self._delta.change
        settled, gathers, rows = dict[bytes, bytes](), self._firsts.active, 0
        for key, exchange in exchanges:
            counted = count(exchange)
            if mixed:
                self._notes += notes.mixed(mixed, key, self.numbers)
                mixed.clear()
            old = exchange.counted
            if counted != old:
                change(exchange, old, counted)
                exchange.counted = counted
            if gathers:
                self._firsts.note(key, exchange, self._limits.row_bytes)
            settled[key] = encode(exchange)
            for state in exchange.legs:
                rows += len(state.marks) or 1
            if rows >= most_rows:
                break
        self.store.put(settled)
        if gathers and self._settling.by_version.unfit:
            self._notes += notes.unfit(self._settling.by_version.unfit, self.numbers)
            self._settling.by_version.unfit.clear()
        self._changed.update(settled)
        self._delta.keep_small()
        return settled

    def _look_again(self, puids: list[bytes]) -> None:
        """Let exchanges be settled once more, by the references that are known now."""
        self.store.fetch(puids)
        for puid in puids:
            exchange = self.get(puid)
            if exchange is None:
                self._firsts.note(puid, None, 0)
            elif puid in self._bulky.exchanges:
                self._bulky.touch(puid)
            else:
                self._live[puid] = exchange

    def _settle_all(self) -> None:
        self.settle()
        self._settle(self._bulky.changed())

    def settle_again(self, puids: list[bytes]) -> None:
        """Settle what is kept of some puids once more: other references of versions are known than when it was settled.

        Raises StoreError.
        """
        self._look_again(puids)
        self._settle_all()

    def count_kept(self, exchanges: Iterable[bytes]) -> None:
        """Count what kept exchanges say that they have counted, for a shard that counts nothing else."""
        for raw in exchanges:
            exchange = decode(raw)
            self._delta.add(exchange, exchange.counted, 1)
            self._delta.keep_small()
            self._metrics.count_kept(exchange)

    # -- epochs -------------------------------------------------------------------------------------------------------

    def expire(self, clock: float) -> None:
        """Forget exchanges whose newest part is older than the retention, and panes that are no longer kept.

        Raises StoreError.
        """
        self._settle_all()
        self.counts.retire(clock)
        retention = self._limits.retention_seconds
        old = self.store.ages.take(clock - retention, _MOST_LOOKED_AT)
        self._looks_on = len(old) >= _MOST_LOOKED_AT
        self.store.fetch(key for _, key in old)
        for later, key in old:
            exchange = self.get(key)
            if exchange is None:
                continue
            if exchange.newest + retention > clock:
                self.store.ages.add(key, max(exchange.newest, later))
            else:
                self._expire(key, exchange)

    def _expire(self, key: bytes, exchange: Exchange) -> None:
        """Forget an exchange. What it has counted stays counted; whatever comes of its puid is new.

        An event does so too that comes when the exchange is too old: however late a partition is read, its labels join
        what they would have joined in time.
        """
        told = exchange.feedbacks or exchange.rows
        waited = told and not exchange.legs and all(map(waits, exchange.feedbacks))
        lent = waited and not exchange.rows and all(one.flags & LENT for one in exchange.feedbacks)
        if told and not lent and not any(state.time for state in exchange.legs):
            self.stats.orphans += 1
        self._outgoing.bury(key, exchange, waited=bool(waited))
        self._live.pop(key, None)
        self._bulky.forget(key)
        self.store.pop(key, None)
        self._changed[key] = None

    def _anew(self, key: bytes, exchange: Exchange) -> Exchange:
        """The exchange of a puid that is new again, since what was known of it is too old for what comes."""
        self._settle([(key, exchange)])
        self._expire(key, exchange)
        return Exchange(0, [], [], [])

    def cut(self, clock: float | None) -> Cut:
        """The changes since the last cut. They are the shard's own from now on: a shell that cannot make them durable
        must drop the shard. Raises StoreError.
        """
        if clock is not None:
            self.expire(clock)
        if self._firsts.active:
            self._look_again(self._firsts.due())  # what was gathered before its reference was known
        self._settle_all()
        self._bulky.forget_all()
        metrics = self._metrics.take()
        self._count(self._delta.take())
        self._count(metrics.sums)
        for account, latest in metrics.latest.items():
            self.counts.note(account, 0, latest)
        for account, pane in (*self._settling.seen.items(), *metrics.seen.items()):
            self.counts.see(account, pane)
        self._settling.seen.clear()
        outgoing, self._outgoing = self._outgoing, self._outgoing.next()
        for key, exchange in outgoing.join(self.get):
            self.store[key] = self._changed[key] = encode(exchange)
        exchanges: list[tuple[bytes, bytes | None]] = list(self._changed.items())
        exchanges.extend(self.numbers.unwritten)
        panes = list(self.counts.changes(self._limits.row_bytes, [*self._firsts.changes()]))
        exchanges.append((POSITION_KEY, msgspec.json.encode(self._position())))
        offsets = dict(self.offsets)
        result = Cut(
            exchanges,
            panes,
            outgoing.joined,
            outgoing.dead,
            outgoing.astray,
            outgoing.lent(self.get),
            offsets,
            self._events,
            self._notes,
        )
        self.store.seal()
        self.numbers.unwritten = []
        self._changed = {}
        self._events = 0
        self._notes = []
        self._moved = False
        return result

    def _position(self) -> Position:
        """Where the partition stands once all that has changed is written."""
        return Position(
            FORMAT,
            dict(self.offsets),
            self.partitions,
            dict(self.newest),
            self.counts.latest,
            self.config,
            dict(self.topic_ids),
            dict(self.changelog_ids),
            len(self.store) + self.numbers.written,
            self.counts.keys + self._firsts.keys,
            self.counts.epoch,
        )

    def recover(self, exchanges: Mapping[bytes, bytes] | LoadedStore, panes: Mapping[bytes, bytes]) -> Position | None:
        """Take the state from the newest records of both changelogs, by key; a store that holds those of the exchanges
        is kept. Returns the position, if there is one.

        Raises StateError, and DamagedError where it is this partition's state alone that is not whole; and StoreError.
        """
        store = self.store = exchanges if isinstance(exchanges, LoadedStore) else MemoryStore(exchanges)
        marks = store.take_marks()
        counts = len(panes) - (owner_key(self.partition) in panes)
        position = known_position(marks, len(store), counts, self.changelog_ids)
        if position is None:
            return None
        try:
            self._take_state(store, marks, panes)
        except Exception as error:  # noqa: BLE001 - there are as many errors as ways to write what is no state
            raise DamagedError(f"its state cannot be read ({type(error).__name__}: {error}); {AFRESH}") from None
        check_whole(position, exchanges=len(store) + len(marks) - 1, counts=counts, epoch=self.counts.epoch)
        self.offsets = dict(position.offsets)
        self.newest = dict(position.newest)
        self.counts.latest = position.clock
        return position

    def _take_state(self, store: LoadedStore, marks: Mapping[bytes, bytes], panes: Mapping[bytes, bytes]) -> None:
        words = [(key, value) for key, value in marks.items() if key != POSITION_KEY]
        if not all(is_number_key(key) for key, _ in words):
            raise ValueError("a key is none of an exchange, and none of a word")
        self.numbers.recover(iter(words))
        self._firsts.recover(self.counts.recover(panes.items()))
        self._settling.recover()
        self._values.recover()
        self._metrics.recover()
        store.note_ages()
