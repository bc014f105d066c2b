"""Events and shards for tests. Every field has a default, so that a test names only what matters to its fact.

Times are seconds after `START`, the start of a coarse pane.
"""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from math import ceil
from typing import Any, Final, NamedTuple, Self, TypedDict, Unpack, cast

import orjson

from app.core import events, ledger
from app.core.counts.accounts import Account
from app.core.counts.atoms import measure_of
from app.core.counts.book import Sums
from app.core.counts.cells import Latest, later
from app.core.counts.panes import COARSE, DAY, FINE, TOTAL, PaneClock, Window
from app.core.counts.rows import RowKey, parse_key, parse_rows
from app.core.counts.view import View
from app.core.events import TYPE_OF, Identity, Kind, Reason
from app.core.join.position import Position
from app.core.join.shard import Shard
from app.core.limits import Limits
from app.core.measures.confusion import CONFUSION, Confusion, Outcomes, nature_of
from app.core.measures.delay import DELAY
from app.core.measures.exchanges import EXCHANGES
from app.core.measures.mismatches import MISMATCHES
from app.core.measures.reading import Nature, Reading
from app.core.measures.readings import read
from app.core.measures.rewards import REWARDS
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


def a_result(
    *values: float | None, name: str = "odd", version: str = "v1", body: Any = _UNSET, **fields: Unpack[Fields]
) -> Record:
    """What a monitor said of rows, by their values: above 0.5 they are alerts, and without one they have failed."""
    if body is _UNSET:
        outcomes = ["failed" if value is None else "alert" if value > 0.5 else "ok" for value in values]
        body = {"monitor": name, "version": version, "values": values, "outcomes": outcomes}
    return _event(Kind.MONITOR, body, fields)


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
    """The name of a record's topic in these tests: its kind; response for what travels there besides."""
    raw = dict(record.headers).get("ce_type") or b""
    kind = events.TYPES.get(raw)
    return kind.value if kind in (Kind.REQUEST, Kind.FEEDBACK) else "response"


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
    view = View(PaneClock(), WINDOWS)
    for shard in shards:
        for key, value in shard.cut(None).panes:
            view.take(shard.partition, key, value)
    return totals_of(view)


def totals_of(view: View) -> dict[Identity, dict[tuple[str, str], int]]:
    """The totals of a view by identity and atom."""
    return {
        identity: {atom: n for cells in view.total(Account(identity)).values() for atom, n in cells.items()}
        for identity in view.identities()
    }


def partition_of(puid: bytes, partitions: int) -> int:
    """Where a puid lives."""
    return sum(puid) % partitions


class Read(NamedTuple):
    """What is read of a model, in flat words."""

    reading: Reading

    @property
    def task(self) -> str:
        return self.reading.nature.task

    @property
    def parts(self) -> dict[str, int]:
        return EXCHANGES.of(self.reading)

    @property
    def rows(self) -> dict[str, int]:
        return CONFUSION.of(self.reading).rows

    @property
    def judged(self) -> int:
        return CONFUSION.of(self.reading).judged

    @property
    def confusion(self) -> Confusion:
        return CONFUSION.of(self.reading).confusion

    @property
    def classes(self) -> list[str]:
        return CONFUSION.of(self.reading).classes

    @property
    def outcomes(self) -> dict[str, Outcomes]:
        return CONFUSION.of(self.reading).outcomes

    @property
    def dropped_classes(self) -> int:
        return CONFUSION.of(self.reading).dropped_classes

    @property
    def rewards(self) -> int:
        return REWARDS.of(self.reading).feedbacks

    @property
    def reward_points(self) -> float:
        return REWARDS.of(self.reading).points

    @property
    def mismatched(self) -> int:
        return MISMATCHES.of(self.reading)

    @property
    def delays(self) -> Sequence[int]:
        return DELAY.of(self.reading).counts

    @property
    def delay_seconds(self) -> float:
        return DELAY.of(self.reading).total


Tally = Mapping[tuple[str, str], int]


def a_tally(cells: Tally) -> Sums:
    """Counts by (row, column) as the view gives them: by measure."""
    sums: Sums = {}
    for (row, column), amount in cells.items():
        sums.setdefault(measure_of(row), {})[row, column] = amount
    return sums


def a_nature(cells: Tally, rules: Rules | None = None, most_classes: int = 200) -> Nature:
    """As what a model with these counts in total is read."""
    return nature_of(a_tally(cells).get("confusion", {}), rules or Rules(), most_classes)


def a_reading(cells: Tally, rules: Rules | None = None, most_classes: int = 200, total: Tally | None = None) -> Reading:
    """What is read of these counts, in the whole or as a part of `total`."""
    return read(a_tally(cells), a_nature(cells if total is None else total, rules, most_classes))


def places(key: RowKey, *, days: bool) -> list[tuple[str, int]]:
    """The panes that hold what a row counts: its own, the coarse one, the day where there are any, the total."""
    found = [(key.level, key.pane)]
    if key.level == FINE:
        found.append((COARSE, key.pane // 10))
    if days and key.level in (FINE, COARSE):
        found.append((DAY, found[-1][1] // 144))
    return [*found, (TOTAL, 0)] if key.level != TOTAL else found


class Ledger(ledger.Ledger):
    """A ledger that takes records as tests write them, at times after `START`."""

    def __init__(
        self, *rules: Rules, partitions: int = 1, limits: Limits | None = None, windows: tuple[Window, ...] = WINDOWS,
        logs: bool = False, most_classes: int = 200, clock: PaneClock | None = None,
    ) -> None:  # fmt: skip
        super().__init__(
            Rulebook(rules), partitions=partitions, limits=limits, windows=windows, logs=logs,
            most_classes=most_classes, partition_of=partition_of, clock=clock,
        )  # fmt: skip

    def absorb(self, *records: Record) -> Self:
        """Fold records, each in the shard of its key."""
        for topic, batch in groupby(records, key=kind_of):
            self.take(topic, [record.read() for record in batch])
        return self

    def cut(self, clock: float | None = None) -> Self:
        """Cut all shards at a clock, and write what they give."""
        self.write(clock if clock is None else START + clock)
        return self

    def restart(self, *rules: Rules) -> list[Position | None]:
        """Lose all shards and recover them from what was written, by other rules where some are given."""
        return self.recover(Rulebook(rules or self.rulebook.entries))

    def copy(self) -> "Ledger":
        """A ledger of the same changelogs, whose shards are recovered from them."""
        twin = Ledger(
            *self.rulebook.entries,
            partitions=len(self.panes),
            limits=self._limits,
            windows=self._windows,
            logs=self._logs,
            clock=self._clock,
        )
        twin.exchanges, twin.panes = copy.deepcopy(self.exchanges), copy.deepcopy(self.panes)
        twin.restart()
        return twin

    def describe(self, puid: str = "p") -> dict[str, Any]:
        """All that is known of a puid."""
        known = self.shard_of(puid.encode()).describe(puid)
        assert known is not None
        return known

    def knows(self, puid: str = "p") -> bool:
        """Whether anything is known of a puid."""
        return self.shard_of(puid.encode()).get(puid.encode()) is not None

    def rows(self) -> dict[RowKey, dict[str, Any]]:
        """What is counted in each pane of each level and in total, the sum over partitions, without zeros."""
        result: dict[RowKey, dict[str, Any]] = {}
        for changelog in self.panes:
            for raw, value in changelog.items():
                key = parse_key(raw)
                if isinstance(key, RowKey):
                    for row, columns in parse_rows(key.row, value).items():
                        for place in places(key, days=self._clock.days_after > 0):
                            sums = result.setdefault(RowKey(*key.account, *place, row), {})
                            for column, amount in columns.items():
                                known = sums.get(column)
                                latest = type(amount) is Latest
                                sums[column] = later(known, amount) if latest else amount + (known or 0)
        return {key: cells for key, row in result.items() if (cells := {name: n for name, n in row.items() if n})}

    def totals(self) -> dict[Identity, dict[tuple[str, str], int]]:
        """The totals by identity and atom."""
        return totals_of(self.view())

    def models(self, window: str = "total", now: float = 0) -> dict[str, Read]:
        """What is read of each model: by its identity's text."""
        found = self.readings().of_models(START + now)
        return {str(who): Read(readings[window]) for who, readings in found}

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
