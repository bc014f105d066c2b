"""Custom metrics: what a model's own code counts, measures and times, as its answers and feedbacks bring it.

custom=[type, method, key, [label names], [label values]]     a row for each series
    counter   {"sum": in units of 1e-9, "zero": how often it was 0}
    gauge     {"": the latest value}
    timer     {bucket: how often, "ns": the sum}
custom/dropped   {"metrics": entries that were not counted, since there are too many names}

They count in total alone, in the segment `METRICS` of the model. `join.metrics` writes the rows, and says which series
are told apart.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import lru_cache
from heapq import nsmallest
from typing import Any, Final, NamedTuple

import orjson

from app.core.clock import format_time
from app.core.counts.atoms import Atom
from app.core.counts.cells import Latest, later
from app.core.measures.measure import MODEL, Cells, Field, Histogram, Measure
from app.core.measures.reading import Nature
from app.core.payloads.metrics import GAUGE, METHOD, METRIC_TYPES, TIMER, names_of
from app.core.segments import OTHER, value_rank

_ROW: Final = "custom="
DROPPED: Final = Atom("custom/dropped", "metrics")
SUM, ZERO, LATEST, NANOSECONDS = "sum", "zero", "", "ns"
#: Units of a counter's sum in one, and of a timer's sum in one second.
UNITS: Final = 10**9
_SHOWN_OTHER: Final = "other"

#: The bounds of a timer's buckets in seconds, those of Seldon's wrapper: 50 from a millisecond to half a minute, each
#: the same number of times the one before. A value belongs to the first bound that it does not exceed.
#: https://github.com/SeldonIO/seldon-core/blob/v1.17.1/python/seldon_core/metrics.py
BUCKETS: Final = (
    0.001, 0.0012341553253454693, 0.0015231393670785815, 0.001879790561123359, 0.002319953531544542,
    0.0028631830055097247, 0.0035336125536884733, 0.004361026750842238, 0.005382184388525997, 0.006642451525090609,
    0.008197816923039709, 0.010117379411776668, 0.012486417679584787, 0.015410178873747385, 0.019018554321561593,
    0.02347185009632733, 0.028967908792092947, 0.03575089889988335, 0.04412216226317853, 0.05445360152285871,
    0.06720420230367624, 0.0829404241586763, 0.10236136616184238, 0.12632982515827532, 0.15591062646904755,
    0.19241792993472334, 0.23747361292089023, 0.29307932401534564, 0.36170540848218913, 0.44640065608455204,
    0.5509277469444613, 0.6799304127720882, 0.8391397397870158, 1.035628778567157, 1.2781267721496807,
    1.577406962315144, 1.9467652027782552, 2.4026106422060365, 2.965194718810281, 3.65951085290597,
    4.516404807273444, 5.573945044312399, 6.879113959621136, 8.489895126924784, 10.477849282518772,
    12.931293490187748, 15.959224724520412, 19.696162182151948, 24.308123445970867, 29.999999999999996,
)  # fmt: skip


class Shape(NamedTuple):
    """What the series of one metric have in common that have labels of the same names."""

    type: str
    method: str
    key: str
    names: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """As one text, of which the rank says which are told apart."""
        return orjson.dumps([*self]).decode()


def row_of(shape: Shape, values: Iterable[str]) -> str:
    """The row of a series."""
    return _ROW + orjson.dumps([*shape, [*values]]).decode()


@lru_cache(maxsize=65_536)
def series_of(row: str) -> tuple[Shape, tuple[str, ...]]:
    """The shape of a row's series, and the values of its labels. Raises ValueError where it is no such row."""
    if not row.startswith(_ROW):
        raise ValueError("no row of a custom metric")
    of_type, method, key, names, values = orjson.loads(row.removeprefix(_ROW))
    return Shape(of_type, method, key, tuple(names)), tuple(values)


def values_text(values: Iterable[str]) -> str:
    """The values of labels as one text, of which the rank says which are told apart."""
    return "\0".join(values)


class MetricSeries(NamedTuple):
    """One series: its shape, the values of its labels, and its own. A gauge's `time` is when that was said, in µs."""

    shape: Shape
    values: tuple[str, ...]
    value: float | Histogram
    time: int = 0

    @property
    def labels(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The names and values of all its labels."""
        return (METHOD, *self.shape.names), (self.shape.method, *self.values)


class CustomReading(NamedTuple):
    """All series that are shown, in order; and how many are not: label sets that are shown as `other`, names that are
    not shown at all, and entries that were never told apart.
    """

    series: tuple[MetricSeries, ...] = ()
    folded: int = 0
    hidden: int = 0
    dropped: int = 0

    @property
    def families(self) -> set[tuple[str, str]]:
        """The type and key of all that is shown."""
        return {(one.shape.type, one.shape.key) for one in self.series}


def settled(families: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those of some (type, key) that can be shown together: a name has one type in Prometheus.

    Of two that would have a name in common counters come before gauges, and these before timers; what comes first in
    time does not matter, so that all partitions and all workers decide alike.
    """
    taken: set[str] = set()
    accepted: set[tuple[str, str]] = set()
    for of_type, key in sorted(families, key=lambda family: (METRIC_TYPES.index(family[0]), family[1])):
        names = {key, *names_of(of_type, key)}
        if names.isdisjoint(taken):
            taken |= names
            accepted.add((of_type, key))
    return accepted


class CustomMeasure(Measure[CustomReading]):
    """Custom metrics. What they count is found out where events are read: it depends on nothing else."""

    name = "custom"
    fields = (Field("custom_metrics", lambda it: [*_as_data(it)], (MODEL,)),)

    def read(self, cells: Cells, nature: Nature) -> CustomReading:
        """All series, as far as they are shown."""
        if not cells:
            return _NOTHING
        found: dict[Shape, dict[tuple[str, ...], dict[str, Any]]] = {}
        for (row, column), cell in cells.items():
            if row != DROPPED.row and cell:
                shape, values = series_of(row)
                found.setdefault(shape, {}).setdefault(values, {})[column] = cell
        shown = {*found}
        if len(found) > nature.most_metrics:
            shown = {*nsmallest(nature.most_metrics, found, key=lambda shape: value_rank(shape.text))}
        series: list[MetricSeries] = []
        folded = 0
        for shape in sorted(shown):
            together, more = _folded(found[shape], nature.most_metric_series)
            folded += more
            series += [_read(shape, values, columns) for values, columns in sorted(together.items())]
        return CustomReading(tuple(series), folded, len(found) - len(shown), cells.get(DROPPED, 0))


def _folded(
    by_values: Mapping[tuple[str, ...], Mapping[str, Any]], most: int
) -> tuple[dict[tuple[str, ...], Mapping[str, Any]], int]:
    """The columns of each label set that is shown, and how many are shown as one."""
    own = [values for values in by_values if OTHER not in values]
    if len(own) > most:
        own = nsmallest(most, own, key=lambda values: value_rank(values_text(values)))
    together = {values: by_values[values] for values in own}
    rest = [values for values in by_values if values not in together]
    if rest:
        other = (_SHOWN_OTHER,) * len(rest[0])
        sums: dict[str, Any] = dict(together.get(other, {}))
        for values in rest:
            for column, cell in by_values[values].items():
                known = sums.get(column)
                sums[column] = later(known, cell) if type(cell) is Latest else cell + (known or 0)
        together[other] = sums
    return together, len(rest)


def _read(shape: Shape, values: tuple[str, ...], columns: Mapping[str, Any]) -> MetricSeries:
    if shape.type == GAUGE:
        latest = columns[LATEST]
        return MetricSeries(shape, values, latest.value, latest.time)
    if shape.type == TIMER:
        counts = [columns.get(str(bucket), 0) for bucket in range(len(BUCKETS) + 1)]
        return MetricSeries(shape, values, Histogram(BUCKETS, counts, columns.get(NANOSECONDS, 0) / UNITS))
    return MetricSeries(shape, values, columns.get(SUM, 0) / UNITS)


def _as_data(reading: CustomReading) -> Iterator[dict[str, Any]]:
    """As JSON, a series each."""
    for one in reading.series:
        said: dict[str, Any] = {"key": one.shape.key, "type": one.shape.type, "method": one.shape.method}
        said["tags"] = dict(zip(one.shape.names, one.values, strict=True))
        if isinstance(one.value, Histogram):
            said |= {"count": sum(one.value.counts), "sum": one.value.total}
        else:
            said["value"] = one.value
        if one.shape.type == GAUGE:
            said["time"] = format_time(one.time)
        yield said


def notes_of(reading: CustomReading, accepted: Collection[tuple[str, str]] | None) -> Iterator[str]:
    """What should be known of a model's custom metrics: what is not shown, and why. `accepted` are those (type, key)
    that are shown of all models; None asks this one alone.
    """
    accepted = settled(reading.families) if accepted is None else accepted
    for of_type, key in sorted(reading.families.difference(accepted)):
        yield (
            f"Custom metric {key} comes as a {of_type} and, here or from another model, as something that has a name "
            "in common with that: only the other is exported to Prometheus. Give one of them another key."
        )
    if reading.hidden or reading.dropped:
        yield "There are more custom metrics than TALLY_MAX_METRICS allows for a model: some are not shown."
    if reading.folded:
        yield (
            f"{reading.folded} label sets of custom metrics are shown as `other`, beyond TALLY_MAX_METRIC_SERIES of a "
            "metric."
        )


_NOTHING: Final = CustomReading()
CUSTOM: Final = CustomMeasure()
