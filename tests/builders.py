"""Events and shards for tests. Every field has a default, so that a test names only what matters to its fact.

Times are seconds after `START`, the start of a coarse pane.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from math import ceil
from typing import Any, Final, NamedTuple, TypedDict, Unpack, cast

import orjson

from app.core import events
from app.core.counts.panes import PaneClock, RowKey, Window, parse_key, parse_row_value
from app.core.counts.view import View
from app.core.events import TYPE_OF, Identity, Kind, Reason
from app.core.join.description import describe
from app.core.join.shard import Cut, Position, Shard
from app.core.letters import DeadLetter
from app.core.limits import Limits
from app.core.measures.reading import Reading
from app.core.rules import Rulebook, Rules
from app.core.stats import Stats
from app.core.wire import records as wire

START: Final = 1_795_244_400  # 2026-11-21T07:00:00Z
MODEL: Final = "ns/svc/default/m"  # the identity of an event that names no other
SHADOW: Final = "ns/svc/shadow/m"
WINDOWS: Final = (Window("5m", 300), Window("1h", 3600), Window("24h", 86400))
_UNSET: Final = object()


# -- events -----------------------------------------------------------------------------------------------------------


class Record(NamedTuple):
    """A Kafka record, with its headers as one writes them."""

    offset: int
    timestamp: int  # milliseconds
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes]]

    def read(self) -> wire.Record:
        """The record as it is read from Kafka."""
        return wire.Record(self.offset, self.timestamp, self.key, self.value, wire.pack_headers(self.headers))


class Fields(TypedDict, total=False):
    """What every event has."""

    puid: str
    row: int | None  # the event addresses `puid-item-<row>`
    namespace: str | None
    service: str | None
    predictor: str | None
    model: str | None
    at: float | None  # the event time; None: no ce_time
    stamp: float | None  # the record timestamp; when not given, the first whole ms from the event time on
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Mapping[str, bytes | None]  # more headers, or others


def a_request(body: Any = _UNSET, **fields: Unpack[Fields]) -> Record:
    """A request of one row."""
    return _event(Kind.REQUEST, {"data": {"ndarray": [[1.5, 2.5]]}} if body is _UNSET else body, fields)


def a_response(
    *rows: Any, names: Any = None, version: Any = None, body: Any = _UNSET, **fields: Unpack[Fields]
) -> Record:
    """A response with these rows, one with class 1 where none is given."""
    if body is _UNSET:
        body = {"data": {"ndarray": list(rows) or [1]}}
        if names is not None:
            body["data"]["names"] = names
        if version is not None:
            body["model_version"] = version
    return _event(Kind.RESPONSE, body, fields)


def a_feedback(
    label: Any = _UNSET, *, reward: Any = _UNSET, truth: Any = _UNSET, response: Any = None, request: Any = None,
    body: Any = _UNSET, **fields: Unpack[Fields],
) -> Record:  # fmt: skip
    """A feedback that brings what is given: a label (a value, a list with one a row, None), a reward, a response."""
    if body is _UNSET:
        body = {}
        if truth is not _UNSET:
            body["truth"] = truth
        elif label is None:
            body["truth"] = None
        elif label is not _UNSET:
            body["truth"] = {"data": {"ndarray": label if isinstance(label, list) else [label]}}
        if reward is not _UNSET:
            body["reward"] = reward
        if response is not None:
            body["response"] = response
        if request is not None:
            body["request"] = request
        if not body:
            body["truth"] = {"data": {"ndarray": [1]}}
    return _event(Kind.FEEDBACK, body, fields)


def _event(kind: Kind, body: Any, fields: Fields) -> Record:
    puid = fields.get("puid", "p")
    row = fields.get("row")
    at, stamp = fields.get("at", 0.0), fields.get("stamp")
    headers: dict[str, bytes | None] = {
        "ce_specversion": b"1.0",
        "ce_type": TYPE_OF[kind].encode(),
        "ce_requestid": (puid if row is None else f"{puid}-item-{row}").encode(),
        "content-type": b"application/json",
    }
    if at is not None:
        headers["ce_time"] = time_text(at).encode()
    for header, word in (
        ("ce_namespace", fields.get("namespace", "ns")),
        ("ce_inferenceservicename", fields.get("service", "svc")),
        ("ce_endpoint", fields.get("predictor", "default")),
        ("ce_modelid", fields.get("model", "m")),
    ):
        if word is not None:
            headers[header] = word.encode()
    headers.update(fields.get("headers", {}))
    moment = stamp if stamp is not None else at or 0
    return Record(
        fields.get("offset", 0),
        START * 1000 + ceil(round(moment * 1000, 3)),
        fields.get("key", puid.encode()),
        fields.get("value", orjson.dumps(body)),
        cast("list[tuple[str, bytes]]", list(headers.items())),  # Kafka knows headers without value, too
    )


def time_text(at: float) -> str:
    """The RFC 3339 time of a moment."""
    moment = datetime.fromtimestamp(START, UTC) + timedelta(seconds=at)
    return moment.isoformat(timespec="microseconds").replace("+00:00", "Z")


def kind_of(record: Record) -> str:
    """The name of a record's topic in these tests: its kind."""
    raw = dict(record.headers).get("ce_type") or b""
    kind = events.TYPES.get(raw)
    return kind.value if kind is not None else "response"


# -- shards -----------------------------------------------------------------------------------------------------------


def a_shard(
    *rules: Rules, partition: int = 0, partitions: int = 1, pane_seconds: int = 60, limits: Limits | None = None,
    stats: Stats | None = None, logs: bool = False,
) -> Shard:  # fmt: skip
    """A shard of which nothing is known."""
    return Shard(
        partition,
        partitions,
        Rulebook(rules),
        PaneClock(pane_seconds),
        limits or Limits(),
        stats or Stats(),
        logs=logs,
    )


def absorb(shard: Shard, arriving: Iterable[Record]) -> None:
    """Fold records in their order, neighbours of one topic together."""
    for topic, batch in groupby(arriving, key=kind_of):
        shard.absorb(topic, [record.read() for record in batch])


def totals(shards: Iterable[Shard]) -> dict[Identity, dict[tuple[str, str], int]]:
    """The totals over shards that have not been cut yet, read from what they write."""
    view = View(PaneClock(), WINDOWS, Rulebook(), 200)
    for shard in shards:
        for key, value in shard.cut(None).panes:
            view.apply(shard.partition, key, value)
    return view.sums()


def partition_of(puid: bytes, partitions: int) -> int:
    """Where a puid lives."""
    return sum(puid) % partitions


class Ledger:
    """A few shards, and all that they have written as their changelogs would keep it."""

    def __init__(
        self, *rules: Rules, partitions: int = 1, limits: Limits | None = None, windows: tuple[Window, ...] = WINDOWS,
        logs: bool = False,
    ) -> None:  # fmt: skip
        self.rules = rules
        self.limits = limits
        self.windows = windows
        self.stats = Stats()
        self.logs = logs
        self.exchanges: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]
        self.panes: list[dict[bytes, bytes]] = [{} for _ in range(partitions)]
        self.logged: list[tuple[bytes, bytes]] = []
        self.dead: list[DeadLetter] = []
        self.shards = [self._shard(number) for number in range(partitions)]

    def _shard(self, number: int) -> Shard:
        return a_shard(
            *self.rules,
            partition=number,
            partitions=len(self.panes),
            limits=self.limits,
            stats=self.stats,
            logs=self.logs,
        )

    def absorb(self, *records: Record) -> "Ledger":
        """Fold records, each in the shard of its key."""
        for shard in self.shards:
            own = [one for one in records if partition_of(one.key or b"", len(self.shards)) == shard.partition]
            absorb(shard, own)
        return self

    def settle(self) -> "Ledger":
        """Settle all shards."""
        for shard in self.shards:
            shard.settle()
        return self

    def cut(self, clock: float | None = None) -> "Ledger":
        """Cut all shards at a clock, and write what they give."""
        for shard in self.shards:
            cut = shard.cut(clock if clock is None else START + clock)
            self._write(shard.partition, cut)
        return self

    def _write(self, partition: int, cut: Cut) -> None:
        for changelog, changes in (
            (self.exchanges[partition], cut.exchanges),
            (self.panes[partition], cut.panes),
        ):
            for key, value in changes:
                if value is None:
                    changelog.pop(key, None)
                else:
                    changelog[key] = value
        self.logged += cut.joined
        self.dead += cut.dead

    def restart(self, *rules: Rules) -> list[Position | None]:
        """Lose all shards and recover them from what was written, by other rules where some are given."""
        self.rules = rules or self.rules
        self.shards = [self._shard(number) for number in range(len(self.panes))]
        return [
            shard.recover(self.exchanges[shard.partition].items(), self.panes[shard.partition].items())
            for shard in self.shards
        ]

    def copy(self) -> "Ledger":
        """A ledger of the same changelogs, whose shards are recovered from them."""
        twin = Ledger(*self.rules, partitions=len(self.panes), limits=self.limits, windows=self.windows, logs=self.logs)
        twin.exchanges, twin.panes = copy.deepcopy(self.exchanges), copy.deepcopy(self.panes)
        twin.restart()
        return twin

    def describe(self, puid: str = "p") -> dict[str, Any]:
        """All that is known of a puid."""
        shard = self.shards[partition_of(puid.encode(), len(self.shards))]
        exchange = shard.get(puid.encode())
        assert exchange is not None
        return describe(puid, exchange, shard.names, shard.counting)

    def knows(self, puid: str = "p") -> bool:
        """Whether anything is known of a puid."""
        return self.shards[partition_of(puid.encode(), len(self.shards))].get(puid.encode()) is not None

    def rows(self) -> dict[RowKey, dict[str, int]]:
        """What has been written as counts, the sum over partitions, without zeros."""
        result: dict[RowKey, dict[str, int]] = {}
        for changelog in self.panes:
            for raw, value in changelog.items():
                key = parse_key(raw)
                if isinstance(key, RowKey):
                    row = result.setdefault(key, {})
                    for column, amount in parse_row_value(value).items():
                        row[column] = row.get(column, 0) + amount
        return {key: cells for key, row in result.items() if (cells := {name: n for name, n in row.items() if n})}

    def view(self) -> View:
        """The merged view of what was written."""
        view = View(PaneClock(), self.windows, Rulebook(self.rules), 200)
        for number, changelog in enumerate(self.panes):
            for key, value in changelog.items():
                view.apply(number, key, value)
        return view

    def totals(self) -> dict[Identity, dict[tuple[str, str], int]]:
        """The totals by identity and atom."""
        return self.view().sums()

    def readings(self, window: str = "total", now: float = 0) -> dict[str, Reading]:
        """What is read out of each model: by its identity's text."""
        return {str(who): found[window] for who, found in self.view().readings(START + now)}

    @property
    def refusals(self) -> list[Reason]:
        """Why events were put aside, in their order."""
        return [letter.reason for letter in self.dead]


def run(records: Sequence[Record], batches: Iterable[int], **options: Any) -> Ledger:
    """A ledger after these records, in batches of these sizes (the rest in one), each settled and cut."""
    ledger = Ledger(*options.pop("rules", ()), **options)
    done = 0
    for size in batches:
        ledger.absorb(*records[done : done + size]).settle().cut()
        done += size
    return ledger.absorb(*records[done:]).cut()


def ways(records: Sequence[Record]) -> Iterator[tuple[str, Sequence[Record], list[int]]]:
    """Some ways in which the same records can come: (how, records, batches)."""
    yield "at once", records, []
    yield "one by one", records, [1] * len(records)
    yield "backwards", records[::-1], [1] * len(records)
    yield "all twice", [*records, *records], [1] * len(records)


def tell(*records: Record, rules: Sequence[Rules] = ()) -> Ledger:
    """The ledger of a story, which must be the same for every way in which its records can come."""
    told = run(records, [], rules=rules)
    for how, again, batches in ways(records):
        other = run(again, batches, rules=rules)
        assert other.rows() == told.rows(), how
        assert known(other, records) == known(told, records), how
    return told


def known(ledger: Ledger, records: Iterable[Record]) -> list[dict[str, Any]]:
    """All that a ledger knows of the puids of these records."""
    puids = sorted({(record.key or b"").decode() for record in records})
    return [ledger.describe(puid) for puid in puids if ledger.knows(puid)]
