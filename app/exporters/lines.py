"""The lines of the Prometheus text: those of one model, gathered into a block, and what all lines have in common.

prometheus_client takes some 10 µs a line, which with many models is most of a scrape. Here all lines of a series, a
model and a window are put together in one go, at about 0.2 µs each. Windows mostly name the same classes, so the labels
of a line are made once for all of them.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import orjson

from app.core.counts.panes import TOTAL
from app.core.drift.drift import KINDS
from app.core.drift.drift import MEASURES as DISTANCES
from app.core.events import Identity, identity_fields
from app.core.measures.custom import CustomReading
from app.core.measures.drift import DRIFT as OF_DRIFT
from app.core.measures.measure import OF_CLASS, OF_MODEL, OF_SEGMENT, RANKS, Family, Histogram
from app.core.measures.monitors import MONITORS
from app.core.measures.reading import Reading
from app.core.monitors import words_of
from app.core.outputs.comparisons import quantities
from app.core.outputs.series import (
    CHANGE,
    COMPARISON,
    DRIFT,
    DRIFTED,
    ERROR,
    ERROR_SAMPLES,
    ESTIMATE_LABELS,
    ESTIMATE_ROWS,
    FEATURE_ROWS,
    FEATURE_SHARE,
    MONITOR_ALERTING,
    MONITOR_THRESHOLD,
    MONITOR_VALUE,
    SCORE,
    SCORE_ESTIMATE,
    SCORE_ESTIMATE_HIGH,
    SCORE_ESTIMATE_LOW,
    SCORE_HIGH,
    SCORE_LIMIT,
    SCORE_LOW,
    SCORE_SAMPLES,
    VERSION_DRIFT,
    VERSION_DRIFTED,
    VERSION_ROWS,
)
from app.core.outputs.versions import Versions
from app.core.payloads.metrics import names_of
from app.core.rules import Rules
from app.core.scores.catalogue import less_is_better, scored, scored_shares
from app.core.scores.changes import changes_of
from app.core.scores.comparison import Comparison
from app.core.scores.estimates import estimates_of
from app.core.scores.score import wilson
from app.exporters.packing import Packed, Packer
from app.exporters.sharing import Sizes

#: By the name of each other leg what comes out against it, by "total" and window.
Compared = Sequence[tuple[str, Mapping[str, Comparison]]]
#: The values of the labels of a line.
Row = tuple[str, ...]


def number(value: Any) -> str:
    """A sample value as text; None is NaN."""
    if value is None or math.isnan(value):
        return "NaN"
    return str(value) if type(value) is int else repr(float(value))


def numbers(values: Sequence[Any]) -> Sequence[bytes]:
    """The same of many: orjson writes a number in a tenth of the time."""
    try:
        return orjson.dumps(values)[1:-1].replace(b"null", b"NaN").split(b",")
    except orjson.JSONEncodeError:  # a whole number beyond 64 bits
        return [number(value).encode() for value in values]


def family_name(of_type: str, key: str) -> str:
    """By what name a block has the lines of a custom metric: no series is called so."""
    return f"{of_type} {key}"


def label_text(names: tuple[str, ...], values: Row) -> str:
    """Labels behind others, each with its comma."""
    return "".join(f",{label}" for label in _pairs(zip(names, values, strict=True)))


def _pairs(labels: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in labels:
        yield f'{name}="{_escape(value)}"'


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _label_texts(names: tuple[str, ...], rows: Sequence[Row]) -> list[bytes]:
    """The labels of many lines, each behind others."""
    words = [word for row in rows for word in row]
    together = "".join(words)
    if "\\" in together or '"' in together or "\n" in together:
        words = [_escape(word) for word in words]
    line = "".join([f',{name}="%s"' for name in names]) + "\n"
    return (line * len(rows) % tuple(words)).encode().split(b"\n")[:-1]


def histogram_lines(name: str, labels: str, histogram: Histogram) -> list[str]:
    """The lines of a histogram, with their ends."""
    lines, count = [], 0
    for bound, amount in zip([*map(float, histogram.bounds), None], histogram.counts, strict=True):
        count += amount
        text = "+Inf" if bound is None else str(bound)
        lines.append(f'{name}_bucket{{{labels},le="{text}"}} {count}\n')
    lines.append(f"{name}_sum{{{labels}}} {number(histogram.total)}\n")
    lines.append(f"{name}_count{{{labels}}} {count}\n")
    return lines


class Block(NamedTuple):
    """The text of one model, packed: of each series the lines of each rank. `sizes` counts the series of each rank,
    made or not; `dropped` is what limits keep back, as `worker_series.DROPPED` names it.
    """

    lines: Mapping[str, Mapping[int, Packed]]
    sizes: Sizes
    dropped: Mapping[str, int]
    ranks: int  # that were made
    metrics: frozenset[tuple[str, str]] = frozenset()  # the type and key of its custom metrics

    def without(self, ranks: int) -> "Block":
        """The same of so many ranks alone."""
        lines = {name: {rank: text for rank, text in own.items() if rank < ranks} for name, own in self.lines.items()}
        return self._replace(lines=lines, ranks=ranks)


class Lines:
    """Gathers the lines of one model: those of the first ranks are made, all are counted."""

    def __init__(self, identity: Identity, ranks: int) -> None:
        self._who = ",".join(_pairs(identity_fields(identity).items()))
        self._ranks = ranks
        self._sizes = [0] * RANKS
        self._parts: defaultdict[str, defaultdict[int, list[bytes]]] = defaultdict(lambda: defaultdict(list))
        #: By the names of labels and the rank the rows that came last, and their texts.
        self._labels: dict[tuple[tuple[str, ...], int], tuple[Sequence[Row], list[bytes]]] = {}

    def add(
        self,
        name: str,
        names: tuple[str, ...],
        columns: Iterable[Sequence[str]],
        values: Sequence[Any],
        rank: int = OF_MODEL,
    ) -> None:
        """Add lines of one series and rank: the values of each of its labels, a column each, and its own."""
        self.add_rows(name, names, [*zip(*columns, strict=True)] if names else [()] * len(values), values, rank)

    def add_rows(
        self, name: str, names: tuple[str, ...], rows: Sequence[Row], values: Sequence[Any], rank: int,
        window: str | None = None,
    ) -> None:  # fmt: skip
        """The same by the labels of each line. One that says the window stands behind these."""
        self._sizes[rank] += len(values)
        if not values or rank >= self._ranks:
            return
        before, labels = self._labels.get((names, rank), ((), []))
        if rows != before:
            labels = _label_texts(names, rows)
            self._labels[names, rank] = rows, labels
        begin = f"\n{name}{{{self._who}".encode()
        words: list[Any] = [begin, None, b"} " if window is None else f',window="{window}"}} '.encode(), None]
        words *= len(values)
        words[1::4] = labels
        words[3::4] = numbers(values)
        words[0] = begin[1:]
        words.append(b"\n")
        self._parts[name][rank].append(b"".join(words))

    def add_family(self, name: str, family: Family[Any], read: Mapping[str, Any]) -> None:
        """Add what a measure has read, by window; or in total, which has no label for it."""
        for window, reading in read.items():
            samples = [*family.samples(reading)]
            if samples:
                rows, values = zip(*samples, strict=True)
                rank = OF_MODEL if "" in rows[0] else family.rank
                self.add_rows(name, family.labels, rows, values, rank, None if window == TOTAL else window)

    def add_scores(self, readings: Mapping[str, Reading]) -> None:
        """Add the scores, and the rows that they rest on."""
        for window, reading in readings.items():
            whole: list[tuple[Row, float | None, int]] = []
            of_classes: list[tuple[Row, float | None, int]] = []
            errors: list[tuple[Row, float | None, int]] = []
            for formula, found in scored(reading):
                if formula.in_units:
                    errors += [((formula.name,), value, samples) for _, value, samples in found]
                else:
                    lines = of_classes if found[0][0] else whole
                    lines += [((formula.name, of), value, samples) for of, value, samples in found]
            self._add_scores(SCORE.name, SCORE_SAMPLES.name, ("score", "class"), whole, OF_MODEL, window)
            self._add_scores(SCORE.name, SCORE_SAMPLES.name, ("score", "class"), of_classes, OF_CLASS, window)
            self._add_scores(ERROR.name, ERROR_SAMPLES.name, ("error",), errors, OF_MODEL, window)

    def _add_scores(
        self, name: str, name_of_samples: str, names: tuple[str, ...], lines: Sequence[tuple[Row, Any, Any]], rank: int,
        window: str,
    ) -> None:  # fmt: skip
        if lines:
            rows, values, samples = zip(*lines, strict=True)
            self.add_rows(name, names, rows, values, rank, window)
            self.add_rows(name_of_samples, names, rows, samples, rank, window)

    def add_limits(self, rules: Rules) -> None:
        """Add what scores should reach, or not exceed."""
        if rules.limits:
            names, classes, values = zip(*rules.limits, strict=True)
            bounds = ["upper" if less_is_better(name, rules) else "lower" for name in names]
            self.add(SCORE_LIMIT.name, SCORE_LIMIT.labels, [names, classes, bounds], values)

    def add_intervals(self, readings: Mapping[str, Reading]) -> None:
        """Add the intervals of the scores that are shares, where they rest on anything."""
        for rank, of_class in ((OF_MODEL, False), (OF_CLASS, True)):
            found = [
                (formula.name, name, window, *wilson(value, samples))
                for window, reading in readings.items()
                for formula, values in scored_shares(reading)
                for name, value, samples in values
                if bool(name) == of_class and value is not None
            ]
            if found:
                *labels, lows, highs = zip(*found, strict=True)
                self.add(SCORE_LOW.name, SCORE.labels, labels, lows, rank)
                self.add(SCORE_HIGH.name, SCORE.labels, labels, highs, rank)

    def add_estimates(self, readings: Mapping[str, Reading]) -> None:
        """Add what is estimated of scores before labels come, by window; nothing where no estimates are asked for."""
        for window, reading in readings.items():
            found = estimates_of(reading)
            if found is None:
                continue
            if window == TOTAL:
                self.add(ESTIMATE_LABELS.name, (), (), [found.labels])
            self.add(ESTIMATE_ROWS.name, ESTIMATE_ROWS.labels, [[window]], [found.rows])
            rows = [(one.score, "") for one in found.estimates]
            for series, place in ((SCORE_ESTIMATE, 1), (SCORE_ESTIMATE_LOW, 2), (SCORE_ESTIMATE_HIGH, 3)):
                values = [one[place] for one in found.estimates]
                self.add_rows(series.name, SCORE.labels[:-1], rows, values, OF_MODEL, window)

    def add_comparisons(self, compared: Compared) -> None:
        """Add the comparisons with other legs, by window."""
        found = [
            (shadow, quantity, window, value)
            for shadow, by_window in compared
            for window, comparison in by_window.items()
            for quantity, value in quantities(comparison).items()
        ]
        if found:
            *labels, values = zip(*found, strict=True)
            self.add(COMPARISON.name, COMPARISON.labels, labels, values)

    def add_drift(self, readings: Mapping[str, Reading]) -> None:
        """Add how far features are from the reference of the model, and how valid, by window; nothing where it has
        neither.
        """
        for window, reading in readings.items():
            found = OF_DRIFT.of(reading)
            if not found.drifts:
                continue
            values = {feature: drift._asdict() for feature, drift in found.drifts.items()}
            for series, names in ((DRIFT, DISTANCES), (FEATURE_SHARE, KINDS)):
                rows = [(feature, name) for feature, own in values.items() for name in names if own[name] is not None]
                shown = [values[feature][name] for feature, name in rows]
                self.add_rows(series.name, series.labels[:-1], rows, shown, OF_CLASS, window)
            features = [(feature,) for feature in values]
            counts = [drift.rows for drift in found.drifts.values()]
            self.add_rows(FEATURE_ROWS.name, FEATURE_ROWS.labels[:-1], features, counts, OF_CLASS, window)
            if found.counts:
                self.add(DRIFTED.name, DRIFTED.labels, [[window]], [found.share])

    def add_versions(self, versions: Versions) -> None:
        """Add how far a version is from the one before it, by window: each feature is in `/api` alone."""
        before = versions.before.version
        for window, found in versions.windows.items():
            apart = {name: one for name, one in found.apart.items() if name not in found.features}
            values = {name: one.drift._asdict() for name, one in apart.items()}
            rows = [(before, name, of) for name, own in values.items() for of in DISTANCES if own[of] is not None]
            shown = [values[name][of] for _, name, of in rows]
            self.add_rows(VERSION_DRIFT.name, VERSION_DRIFT.labels[:-1], rows, shown, OF_CLASS, window)
            names = [(before, name) for name in apart]
            counts = [one.samples for one in apart.values()]
            self.add_rows(VERSION_ROWS.name, VERSION_ROWS.labels[:-1], names, counts, OF_CLASS, window)
            if found.features:
                self.add(VERSION_DRIFTED.name, VERSION_DRIFTED.labels, [[before], [window]], [found.share])

    def add_monitors(self, readings: Mapping[str, Reading]) -> None:
        """Add what the user's monitors say of rows, by window, and which of them alert."""
        for window, reading in readings.items():
            found = [
                ((*words_of(key), stat), value)
                for key, counts in MONITORS.of(reading).items()
                for stat, value in counts.stats().items()
            ]
            if found:
                rows, values = zip(*found, strict=True)
                self.add_rows(MONITOR_VALUE.name, MONITOR_VALUE.labels[:-1], rows, values, OF_CLASS, window)
            for spec, alerting in reading.monitors:
                own = [[spec.name], [spec.version]]
                condition = [*own, [spec.when.comparison]]
                self.add(MONITOR_THRESHOLD.name, MONITOR_THRESHOLD.labels, condition, [spec.when.threshold])
                self.add(MONITOR_ALERTING.name, MONITOR_ALERTING.labels, own, [int(alerting)])

    def add_changes(self, total: Reading) -> None:
        """Add when scores have changed."""
        *labels, times = zip(*changes_of(total), strict=True)
        self.add(CHANGE.name, CHANGE.labels, labels, times)

    def add_histogram(self, name: str, labels: str, histogram: Histogram) -> None:
        """Add a histogram."""
        lines = histogram_lines(name, self._who + labels, histogram)
        self._sizes[OF_MODEL] += len(lines)
        if self._ranks > OF_MODEL:
            self._parts[name][OF_MODEL].append("".join(lines).encode())

    def add_lines(self, family: str, lines: Sequence[tuple[str, str, Any]], rank: int) -> None:
        """Add lines of one family: of each its name, its labels behind those of the model, and its value."""
        self._sizes[rank] += len(lines)
        if rank < self._ranks:
            texts = [f"{name}{{{self._who}{labels}}} {number(value)}\n" for name, labels, value in lines]
            self._parts[family][rank].append("".join(texts).encode())

    def add_custom(self, reading: CustomReading) -> None:
        """Add the custom metrics, each under the name of its family."""
        for one in reading.series:
            of_type, _, key, _ = one.shape
            labels = self._who + label_text(*one.labels)
            name = names_of(of_type, key)[0]
            if isinstance(one.value, Histogram):
                lines = histogram_lines(name, labels, one.value)
            else:
                lines = [f"{name}{{{labels}}} {number(one.value)}\n"]
            rank = OF_SEGMENT if one.values else OF_MODEL
            self._sizes[rank] += len(lines)
            if rank < self._ranks:
                self._parts[family_name(of_type, key)][rank].append("".join(lines).encode())

    def block(self, dropped: Mapping[str, int], metrics: Iterable[tuple[str, str]]) -> Block:
        """The block of the model."""
        packer = Packer()
        lines = {
            name: {rank: packer.pack(b"".join(parts)) for rank, parts in own.items()}
            for name, own in self._parts.items()
        }
        return Block(lines, tuple(self._sizes), dropped, self._ranks, frozenset(metrics))
