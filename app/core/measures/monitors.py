"""Monitors: what the user's own functions said of rows, by monitor and by the version of its code.

monitors=<name>@<version>          {"ok", "alert", "failed": rows; "valued": rows with a value; "sum": of values, 2^-80}
monitors/value=<name>@<version>    {bucket of the value, negative ones with a sign: rows}

What a result counts is kept as bytes, so that it can be taken back: the length of the key (1 byte), the key, then of
each row its outcome (1 byte) and its value (64-bit float, little-endian; NaN where it has none). Where a result says in
short that all rows have failed, one entry stands for them: 3 as the outcome, and as the value how many they are.

Sums are whole numbers and buckets those of `errors`, so that order, merge and retraction cannot show; the middle of a
bucket is at most 1/64 from any value in it.
"""

import math
import struct
from collections import Counter
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from app.core.counts.atoms import Atom
from app.core.measures.errors import UNIT_BITS, bucket_of, middle_of, units
from app.core.measures.measure import DOCUMENT, OF_CLASS, WINDOW, Cells, Family, Field, Measure, Sample
from app.core.measures.reading import Nature
from app.core.monitors import words_of

OUTCOMES: Final = ("ok", "alert", "failed")
OK, ALERT, FAILED = range(3)
_ALL_FAILED: Final = 3
#: The statistics of values that are shown.
STATS: Final = ("mean", "p50", "p95")
#: What kept values of monitors begin with.
LETTER: Final = b"w"

_ROW: Final = "monitors="
_VALUES: Final = "monitors/value="
_ENTRY: Final = struct.Struct("<Bd")
_pack: Final = _ENTRY.pack
_KEYWORD: Final = {"type": "keyword"}
_LONG: Final = {"type": "long"}
_DOUBLE: Final = {"type": "double"}
_MAPPING: Final = {
    "type": "nested",
    "dynamic": False,
    "properties": {
        "monitor": _KEYWORD,
        "version": _KEYWORD,
        **dict.fromkeys(OUTCOMES, _LONG),
        **dict.fromkeys(STATS, _DOUBLE),
    },
}

#: A row's outcome, and its value where it has a finite one.
Scored = tuple[int, float | None]


class MonitorCounts(NamedTuple):
    """What one version of a monitor has said: rows by outcome, and of the values their number, sum and buckets."""

    outcomes: tuple[int, int, int]
    valued: int
    total: int  # in units of 2^-80
    buckets: tuple[tuple[int, int], ...]  # in the order of values

    @property
    def mean(self) -> float | None:
        """That of the values; None without any."""
        return self.total / self.valued / 2.0**UNIT_BITS if self.valued else None

    def value_at(self, percent: int) -> float | None:
        """The value that so many percent of the values do not exceed, within 1/64 of it; None without any."""
        rest = max(1, -(-percent * self.valued // 100))
        for bucket, rows in self.buckets:
            rest -= rows
            if rest <= 0:
                return math.copysign(middle_of(abs(bucket)), bucket)
        return None

    def stats(self) -> Mapping[str, float | None]:
        """All statistics, by name."""
        return dict(zip(STATS, (self.mean, self.value_at(50), self.value_at(95)), strict=True))


def head_of(key: str) -> bytes:
    """What is kept of a result, its rows aside."""
    name = key.encode()
    return bytes([len(name)]) + name


def entry(outcome: int, value: float | None) -> bytes:
    """What is kept of a row."""
    return _pack(outcome, math.nan if value is None else value)


def all_failed(key: str, rows: int) -> bytes:
    """What is kept of a result that says of so many rows that all have failed."""
    return head_of(key) + entry(_ALL_FAILED, float(rows))


def unpacked(kept: bytes) -> tuple[str, list[Scored]]:
    """The same again: the key of the monitor, and its rows."""
    begin = 1 + kept[0]
    rows = [(outcome, None if value != value else value) for outcome, value in _ENTRY.iter_unpack(kept[begin:])]  # noqa: PLR0124 - NaN
    if rows and rows[0][0] == _ALL_FAILED:
        rows = [(FAILED, None)] * int(rows[0][1] or 0)
    return kept[1:begin].decode(), rows


@lru_cache(maxsize=65_536)
def _atom(row: str, column: str) -> Atom:
    return Atom(row, column)


def amounts_of(kept: bytes) -> Iterator[tuple[Atom, int]]:
    """What results of one monitor count as: what is kept of one, and the rows of others behind it."""
    begin = 1 + kept[0]
    key, entries = kept[1:begin].decode(), kept[begin:]
    row, outcomes = _ROW + key, entries[:: _ENTRY.size]
    counts = [outcomes.count(outcome) for outcome in range(len(OUTCOMES))]
    found = [*_ENTRY.iter_unpack(entries)]
    if _ALL_FAILED in outcomes:
        counts[FAILED] += sum(int(rows) for outcome, rows in found if outcome == _ALL_FAILED)
        found = [one for one in found if one[0] != _ALL_FAILED]
    for outcome, number in zip(OUTCOMES, counts, strict=True):
        if number:
            yield _atom(row, outcome), number
    valued = [units(value) for _, value in found if value == value]  # noqa: PLR0124 - not NaN
    if valued:
        yield _atom(row, "valued"), len(valued)
        yield _atom(row, "sum"), sum(valued)
        for bucket, number in Counter(-bucket_of(-one) if one < 0 else bucket_of(one) for one in valued).items():
            yield _atom(_VALUES + key, str(bucket)), number


def alerts_atom(key: str) -> tuple[str, str]:
    """The cell in which the alerts of a monitor are counted."""
    return _ROW + key, OUTCOMES[ALERT]


Monitors = Mapping[str, MonitorCounts]


def _rows(reading: Monitors) -> Iterator[Sample]:
    for key, counts in reading.items():
        for outcome, rows in zip(OUTCOMES, counts.outcomes, strict=True):
            yield (*words_of(key), outcome), rows


def _documents(reading: Monitors) -> list[dict[str, Any]] | None:
    """As JSON, a version of a monitor each; None without any."""
    found = []
    for key, counts in reading.items():
        name, version = words_of(key)
        rows = dict(zip(OUTCOMES, counts.outcomes, strict=True))
        found.append({"monitor": name, "version": version, **rows, **counts.stats()})
    return found or None


class MonitorsMeasure(Measure[Monitors]):
    """Rows by outcome, and values. What is kept of a result is put among the counts by `app.core.join.monitored`."""

    name = "monitors"
    families = (
        Family(
            "monitor_rows",
            "gauge",
            "Rows that a monitor has scored, by outcome.",
            ("monitor", "monitor_version", "outcome"),
            _rows,
            rank=OF_CLASS,
        ),
    )
    fields = (Field("monitors", _documents, (DOCUMENT, WINDOW), _MAPPING, optional=True),)

    def read(self, cells: Cells, nature: Nature) -> Monitors:
        """Of each version of a monitor, in order, what it has said."""
        sums: dict[str, dict[str, int]] = {}
        values: dict[str, dict[int, int]] = {}
        for (row, column), amount in cells.items():
            if row.startswith(_ROW):
                sums.setdefault(row.removeprefix(_ROW), {})[column] = amount
            elif amount:
                values.setdefault(row.removeprefix(_VALUES), {})[int(column)] = amount
        return {
            key: MonitorCounts(
                (own.get("ok", 0), own.get("alert", 0), own.get("failed", 0)),
                own.get("valued", 0),
                own.get("sum", 0),
                tuple(sorted(values.get(key, {}).items())),
            )
            for key, own in sorted(sums.items())
            if any(own.get(outcome) for outcome in OUTCOMES)
        }


MONITORS: Final = MonitorsMeasure()
