"""Custom metrics on their way to the counts: what an event brings of them, as atoms and amounts.

Counters and timers are sums, so an answer keeps what it has counted of them, and gives it back when another takes its
place: nothing else bears on it, so that is counted at once and not when the exchange is settled. A gauge is a moment's
reading, and nothing can be taken from the latest of several: so each counts that was ever said, by an answer that has
been replaced, too, and by one that comes too late to hold. Then order cannot matter. What is never read is the gauge in
an answer that a feedback carries: that is a copy of an older time.

Of a leg so many metrics, and so many label sets of each, are told apart as are shown, and as many more, as with the
values of segments (`segmenting`).
"""

from bisect import bisect_left
from collections.abc import Iterable, Mapping
from typing import Any, Final, NamedTuple

from app.core.counts.accounts import METRICS, Account
from app.core.counts.atoms import Atom
from app.core.counts.cells import Latest
from app.core.counts.numbers import Numbers
from app.core.join.classes import LowestTexts
from app.core.join.exchange import Exchange
from app.core.join.judging import Judging
from app.core.limits import Limits
from app.core.measures.custom import (
    BUCKETS,
    DROPPED,
    LATEST,
    NANOSECONDS,
    SUM,
    UNITS,
    ZERO,
    Shape,
    row_of,
    series_of,
    values_text,
)
from app.core.payloads.metrics import (
    COUNTER,
    GAUGE,
    TIMER,
    VALUE_RULES,
    Metric,
    MetricsError,
    labels_of,
    metrics_of,
    metrics_of_detection,
    own_key,
    trouble_of,
)
from app.core.segments import OTHER, value_rank

#: What a metric came with: the label `method`. The first three are those of Seldon's wrapper.
PREDICT, FEEDBACK = "predict", "feedback"

#: So many times as many are told apart, whatever their ranks.
_MOST_TIMES: Final = 4
_CACHED: Final = 20_000
_NS: Final = 10**6  # of a millisecond
_LARGEST: Final = 1.7976931348623157e308
_RANGES: Final = {COUNTER: (0, 1e9), GAUGE: (-_LARGEST, _LARGEST), TIMER: (0, 1e12)}
_COUNTER, _GAUGE, _TIMER, _DROPPED = range(4)
_TOTALS: Final = {COUNTER: SUM, GAUGE: LATEST, TIMER: NANOSECONDS}
_CODES: Final = {COUNTER: _COUNTER, GAUGE: _GAUGE, TIMER: _TIMER}


class _Series(NamedTuple):
    """A series as it is counted: `total` is the number of the atom of its sum, or of a gauge's value; `zero` that of a
    counter's zeros; `buckets` are those of a timer, which has the row `row`.
    """

    code: int
    least: float
    most: float
    total: int
    zero: int
    buckets: dict[int, int]
    row: str


_Said = tuple[int, int, float]  # time, digest, value


class Taken(NamedTuple):
    """What is pending, for the counts: sums by account, pane and atom; the latest of gauges by account; and by account
    the earliest pane that metrics without an answer came in.
    """

    sums: dict[tuple[int, int], dict[int, int]]
    latest: dict[int, dict[Atom, Latest]]
    seen: dict[int, int]


class Pending:
    """What has come and is in no counts yet, by account and the number of an atom: sums, and the latest of gauges. And
    by account the earliest time (µs) of what came without an answer.
    """

    __slots__ = ("gauges", "seen", "sums")

    def __init__(self) -> None:
        self.sums: dict[int, dict[int, int]] = {}
        self.gauges: dict[int, dict[int, _Said]] = {}
        self.seen: dict[int, int] = {}

    def add(self, account: int, amounts: Mapping[int, int], sign: int = 1) -> None:
        """Add amounts, or take them back."""
        own = self.sums.get(account)
        if own is None:
            own = self.sums[account] = {}
        for number, amount in amounts.items():
            own[number] = own.get(number, 0) + sign * amount

    def say(self, account: int, number: int, said: _Said) -> None:
        """Take what a gauge says."""
        own = self.gauges.get(account)
        if own is None:
            own = self.gauges[account] = {}
        known = own.get(number)
        if known is None or known < said:
            own[number] = said

    def see(self, account: int, time: int) -> None:
        """Note when something came."""
        self.seen[account] = min(time, self.seen.get(account, time))

    def merge(self, other: "Pending") -> None:
        """Take what another one has."""
        for account, amounts in other.sums.items():
            self.add(account, amounts)
        for account, gauges in other.gauges.items():
            for number, said in gauges.items():
                self.say(account, number, said)
        for account, time in other.seen.items():
            self.see(account, time)


class CustomMetrics:
    """Reads custom metrics, with one partition's `Numbers`."""

    def __init__(self, numbers: Numbers, judging: Judging, limits: Limits, pane_seconds: int) -> None:
        self._numbers = numbers
        self._judging = judging
        self._pane_us = pane_seconds * 1_000_000
        self._most = limits.metrics
        self._most_series = limits.metric_series
        self._known: dict[tuple[int, str], dict[Any, _Series]] = {}  # by leg and method
        self._shapes: dict[int, LowestTexts] = {}
        self._label_sets: dict[tuple[int, Shape], LowestTexts] = {}
        self._accounts: dict[int, int] = {}
        self.pending = Pending()
        self.trouble = ""  # why some of the metrics that were read last do not count

    def read(
        self, leg: int, identity: int, method: str, given: Any, time: int, digest: int, *, gauges: bool = True
    ) -> dict[int, int] | None:
        """The amounts that `meta.metrics` counts, by number; None where there are none. `time` is in µs.

        What its gauges say is pending from now on.
        """
        self.trouble = ""
        if not self._most:
            return None
        try:
            metrics = metrics_of(given)
        except MetricsError as error:
            self.trouble = str(error)
            return None
        return self._count(leg, identity, method, metrics, time, digest, gauges=gauges)

    def read_detection(
        self, leg: int, identity: int, kind: str, body: dict[str, Any], time: int, digest: int
    ) -> dict[int, int] | None:
        """The same of what a detector says, which is of this kind."""
        self.trouble = ""
        if not self._most:
            return None
        return self._count(leg, identity, kind, metrics_of_detection(body, kind), time, digest, gauges=True)

    def _count(
        self, leg: int, identity: int, method: str, metrics: Iterable[Metric], time: int, digest: int, *, gauges: bool
    ) -> dict[int, int] | None:
        known = self._known.get((leg, method))
        if known is None:
            known = self._known[leg, method] = {}
        amounts: dict[int, int] = {}
        latest: dict[int, float] = {}  # of two that an event says of a gauge the last one counts
        for metric in metrics:
            tags, value = metric.tags, metric.value
            try:
                series = known[metric.key, metric.type] if not tags else known[(metric.key, metric.type, *tags.items())]
            except (KeyError, TypeError, AttributeError):
                found = self._find(known, leg, method, metric)
                if found is None:
                    continue
                series = found
            code, least, most, total, zero, buckets, row = series
            kind = type(value)
            if (kind is not int and kind is not float and kind is not bool) or not least <= value <= most:
                self._refuse(metric, VALUE_RULES[metric.type])
            elif code == _COUNTER:
                amount = round(value * UNITS) if kind is float else value * UNITS
                if amount:
                    amounts[total] = amounts.get(total, 0) + amount
                else:
                    amounts[zero] = amounts.get(zero, 0) + 1
            elif code == _TIMER:
                bucket = bisect_left(BUCKETS, value / 1000)
                number = buckets.get(bucket)
                if number is None:
                    number = buckets[bucket] = self._numbers.atom(Atom(row, str(bucket)))
                amounts[number] = amounts.get(number, 0) + 1
                amounts[total] = amounts.get(total, 0) + round(value * _NS)
            elif code == _GAUGE:
                latest[total] = float(value)
            else:
                amounts[total] = amounts.get(total, 0) + 1
        if latest and gauges:
            account, say = self.account(identity), self.pending.say
            for number, value in latest.items():
                say(account, number, (time, digest, value))
        return amounts or None

    def count(self, identity: int, metrics: dict[int, int] | None, sign: int = 1) -> None:
        """Count what an identity's metrics are, or take it back."""
        if metrics is not None:
            self.pending.add(self.account(identity), metrics, sign)

    def account(self, identity: int) -> int:
        """The account of an identity's custom metrics."""
        account = self._accounts.get(identity)
        if account is None:
            own = Account(self._numbers.identities[identity], METRICS)
            account = self._accounts[identity] = self._numbers.account(own)
        return account

    def count_kept(self, exchange: Exchange) -> None:
        """Count what a kept exchange has counted. What its gauges said it does not know."""
        for state in exchange.legs:
            self.count(state.identity, state.metrics)
        for one in exchange.detections:
            self.count(self._judging.unversioned(one.leg), one.metrics)

    def take(self) -> Taken:
        """What is pending. It begins anew."""
        pending, self.pending = self.pending, Pending()
        atoms = self._numbers.atoms
        sums = {(account, 0): amounts for account, amounts in pending.sums.items()}
        latest = {
            account: {atoms[number]: Latest(*said) for number, said in gauges.items()}
            for account, gauges in pending.gauges.items()
        }
        return Taken(sums, latest, {account: time // self._pane_us for account, time in pending.seen.items()})

    def recover(self) -> None:
        """Take from the numbers which series are told apart."""
        for leg, row in self._numbers.metric_series:
            shape, values = series_of(row)
            self._shapes_of(leg).add(shape.text)
            if OTHER not in values:
                self._label_sets_of(leg, shape).add(values_text(values))

    # -- series -------------------------------------------------------------------------------------------------------

    def _refuse(self, metric: Metric, why: str) -> None:
        """Remember why a metric does not count: the first of those of one event."""
        if not self.trouble:
            self.trouble = f"custom metric {str(metric.key)[:100]!r} does not count: {why}"

    def _find(self, known: dict[Any, _Series], leg: int, method: str, metric: Metric) -> _Series | None:
        """The series of a metric, which is known from now on; None where it cannot be used."""
        why = trouble_of(metric)
        if why:
            self._refuse(metric, why)
            return None
        names, values = labels_of(metric.tags, self._judging.rules(leg).redact)
        series = self._series(leg, Shape(metric.type, method, own_key(metric), names), values)
        tags = metric.tags or {}
        if all(type(value) is str for value in tags.values()):  # 1 and True are one key
            if len(known) >= _CACHED:
                known.clear()
            known[(metric.key, metric.type, *tags.items())] = series
        return series

    def _series(self, leg: int, shape: Shape, values: tuple[str, ...]) -> _Series:
        shapes = self._shapes_of(leg)
        if shape.text not in shapes.texts and not shapes.takes(shape.text):
            number = self._numbers.atom(DROPPED)
            return _Series(_DROPPED, *_RANGES[shape.type], number, number, {}, "")
        label_sets, text = self._label_sets_of(leg, shape), values_text(values)
        if values and text not in label_sets.texts and not label_sets.takes(text):
            values = (OTHER,) * len(values)
        row = row_of(shape, values)
        if shape.text not in shapes.texts:
            shapes.add(shape.text)
        if OTHER not in values and text not in label_sets.texts:
            label_sets.add(text)
        self._numbers.tell_metric(leg, row)
        atom = self._numbers.atom
        code = _CODES[shape.type]
        total = atom(Atom(row, _TOTALS[shape.type]))
        zero = atom(Atom(row, ZERO)) if code == _COUNTER else total
        return _Series(code, *_RANGES[shape.type], total, zero, {}, row)

    def _shapes_of(self, leg: int) -> LowestTexts:
        found = self._shapes.get(leg)
        if found is None:
            found = self._shapes[leg] = LowestTexts(2 * max(1, self._most), _MOST_TIMES, value_rank)
        return found

    def _label_sets_of(self, leg: int, shape: Shape) -> LowestTexts:
        found = self._label_sets.get((leg, shape))
        if found is None:
            found = self._label_sets[leg, shape] = LowestTexts(2 * self._most_series, _MOST_TIMES, value_rank)
        return found
