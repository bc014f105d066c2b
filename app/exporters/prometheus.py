"""The Prometheus text (format 0.0.4) of the merged view and of this worker.

prometheus_client takes some 10 µs a line, which with many models is most of a scrape. Here all lines of a series and a
model are formatted in one go, at about 0.3 µs each. The process's own collectors are left to the library.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson
from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from app.core.counts.panes import TOTAL
from app.core.drift.drift import KINDS
from app.core.drift.drift import MEASURES as DISTANCES
from app.core.events import Identity, identity_fields
from app.core.measures.confusion import CONFUSION
from app.core.measures.drift import DRIFT as OF_DRIFT
from app.core.measures.measure import OF_CLASS, OF_MODEL, RANKS, Family, Histogram, Sample
from app.core.measures.reading import Reading
from app.core.outputs.comparisons import quantities
from app.core.outputs.http_series import HTTP, HttpNumbers
from app.core.outputs.series import (
    COMPARISON,
    COUNTS,
    DRIFT,
    DRIFTED,
    ERROR,
    ERROR_SAMPLES,
    FEATURE_ROWS,
    FEATURE_SHARE,
    FIRST_SEEN,
    INFO,
    OTHERS,
    SCORE,
    SCORE_HIGH,
    SCORE_LIMIT,
    SCORE_LOW,
    SCORE_SAMPLES,
    SELDON,
    seldon_samples,
)
from app.core.outputs.worker_series import WORKER, Numbers, WorkerNumbers, WorkerSeries
from app.core.rules import Rulebook
from app.core.scores.catalogue import scored
from app.core.scores.comparison import Comparison
from app.core.scores.score import wilson
from app.exporters.sharing import Shares, Sizes, shares

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: By the name of each other leg what comes out against it, by "total" and window.
Compared = Sequence[tuple[str, Mapping[str, Comparison]]]

#: Series that stand in the text only where a model has them.
_OPTIONAL: Final = frozenset(
    series.name
    for series in (
        *SELDON,
        SCORE_LIMIT,
        SCORE_LOW,
        SCORE_HIGH,
        ERROR,
        ERROR_SAMPLES,
        COMPARISON,
        DRIFT,
        FEATURE_SHARE,
        FEATURE_ROWS,
        DRIFTED,
    )
)


def number(value: Any) -> str:
    """A sample value as text; None is NaN."""
    if value is None or math.isnan(value):
        return "NaN"
    return str(value) if type(value) is int else repr(float(value))


def numbers(values: Sequence[Any]) -> Sequence[str]:
    """The same of many: orjson writes a number in a tenth of the time."""
    try:
        return orjson.dumps(values)[1:-1].replace(b"null", b"NaN").decode().split(",")
    except orjson.JSONEncodeError:  # a whole number beyond 64 bits
        return [number(value) for value in values]


@lru_cache(maxsize=10_000)
def _of_identity(identity: Identity) -> str:
    return ",".join(_pairs(identity_fields(identity).items()))


def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Labels behind others, each with its comma."""
    return "".join(f",{label}" for label in _pairs(zip(names, values, strict=True)))


def _pairs(labels: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in labels:
        yield f'{name}="{_escape(value)}"'


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _lines(name: str, who: str, names: tuple[str, ...], columns: Iterable[Sequence[str]], values: Sequence[Any]) -> str:
    """Lines of one series: `columns` are the values of each of the labels that stand behind `who`."""
    own = "".join([f',{label}="%s"' for label in names])
    line = f"{name}{{{who}{own}}} %s\n"
    width = len(names) + 1
    words: list[Any] = [None] * (width * len(values))
    for place, column in enumerate(columns):
        together = "".join(column)
        plain = "\\" not in together and '"' not in together and "\n" not in together
        words[place::width] = column if plain else [_escape(value) for value in column]
    words[width - 1 :: width] = numbers(values)
    return (line * len(values)) % tuple(words)


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


class Block(NamedTuple):
    """The text of one model: of each series the lines of each rank. `sizes` counts the series of each rank, made or
    not; `folded_classes` the classes that are shown as one.
    """

    lines: Mapping[str, Mapping[int, bytes]]
    sizes: Sizes
    folded_classes: int
    ranks: int  # that were made

    def without(self, ranks: int) -> "Block":
        """The same of so many ranks alone."""
        lines = {name: {rank: text for rank, text in own.items() if rank < ranks} for name, own in self.lines.items()}
        return self._replace(lines=lines, ranks=ranks)


class _Scores(NamedTuple):
    """The labels of scores, a column each, in the order of `SCORE.labels`."""

    names: list[str]
    classes: list[str]
    windows: list[str]


class _Lines:
    """Gathers the lines of one model, whose labels are `who`: those of the first ranks are made, all are counted."""

    def __init__(self, who: str, ranks: int) -> None:
        self._who = who
        self._line = who.replace("%", "%%")
        self._ranks = ranks
        self._sizes = [0] * RANKS
        self._lines: defaultdict[str, dict[int, str]] = defaultdict(dict)

    def add(
        self,
        name: str,
        names: tuple[str, ...],
        columns: Iterable[Sequence[str]],
        values: Sequence[Any],
        rank: int = OF_MODEL,
    ) -> None:
        """Add all lines of one series and rank: the values of each of its labels, and its own."""
        self._sizes[rank] += len(values)
        if values and rank < self._ranks:
            self._lines[name][rank] = _lines(name, self._line, names, columns, values)

    def add_family(self, name: str, family: Family[Any], read: Mapping[str, Any]) -> None:
        """Add what a measure has read, by window; or in total, which has no label for it."""
        samples: list[Sample] = []
        windows: list[str] = []
        for window, reading in read.items():
            samples += family.samples(reading)
            windows += [window] * (len(samples) - len(windows))
        if not samples:
            return
        labels, values = zip(*samples, strict=True)
        rank = OF_MODEL if "" in labels[0] else family.rank
        columns = zip(*labels, strict=True)
        if TOTAL in read:
            self.add(name, family.labels, columns, values, rank)
        else:
            self.add(name, (*family.labels, "window"), (*columns, windows), values, rank)

    def add_scores(self, readings: Mapping[str, Reading]) -> None:
        """Add the scores, and the rows that they rest on."""
        of_rank: list[tuple[_Scores, list[float | None], list[int]]] = [
            (_Scores([], [], []), [], []) for _ in (OF_MODEL, OF_CLASS)
        ]
        errors: list[tuple[str, str, float | None, int]] = []
        for window, reading in readings.items():
            for formula, found in scored(reading):
                if formula.in_units:
                    errors += [(formula.name, window, value, rows) for _, value, rows in found]
                    continue
                labels, values, rows = of_rank[OF_CLASS if found[0][0] else OF_MODEL]
                classes, own_values, own_rows = zip(*found, strict=True)
                labels.names.extend([formula.name] * len(found))
                labels.classes.extend(classes)
                labels.windows.extend([window] * len(found))
                values.extend(own_values)
                rows.extend(own_rows)
        for rank, (labels, values, rows) in enumerate(of_rank):
            self.add(SCORE.name, SCORE.labels, labels, values, rank)
            self.add(SCORE_SAMPLES.name, SCORE.labels, labels, rows, rank)
        if errors:
            *of_errors, missed, on_rows = zip(*errors, strict=True)
            self.add(ERROR.name, ERROR.labels, of_errors, missed)
            self.add(ERROR_SAMPLES.name, ERROR.labels, of_errors, on_rows)

    def add_limits(self, limits: Sequence[tuple[str, str, float]]) -> None:
        """Add what scores should reach."""
        if limits:
            *labels, values = zip(*limits, strict=True)
            self.add(SCORE_LIMIT.name, SCORE_LIMIT.labels, labels, values)

    def add_intervals(self, readings: Mapping[str, Reading]) -> None:
        """Add the intervals of the scores that are shares, where they rest on anything."""
        for rank, of_class in ((OF_MODEL, False), (OF_CLASS, True)):
            found = [
                (formula.name, name, window, *wilson(value, rows))
                for window, reading in readings.items()
                for formula, values in scored(reading)
                if formula.share
                for name, value, rows in values
                if bool(name) == of_class and value is not None
            ]
            if found:
                *labels, lows, highs = zip(*found, strict=True)
                self.add(SCORE_LOW.name, SCORE.labels, labels, lows, rank)
                self.add(SCORE_HIGH.name, SCORE.labels, labels, highs, rank)

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
        """Add how far features are from the reference of the model, by window; nothing where it has none."""
        distances: list[tuple[str, str, str, float]] = []
        shares: list[tuple[str, str, str, float]] = []
        rows: list[tuple[str, str, int]] = []
        drifted: list[tuple[str, float | None]] = []
        for window, reading in readings.items():
            found = OF_DRIFT.of(reading)
            for feature, drift in found.drifts.items():
                rows.append((feature, window, drift.rows))
                known = drift._asdict()
                distances += [(feature, name, window, known[name]) for name in DISTANCES if known[name] is not None]
                shares += [(feature, kind, window, known[kind]) for kind in KINDS if known[kind] is not None]
            if found.drifts:
                drifted.append((window, found.share))
        for series, samples, rank in (
            (DRIFT, distances, OF_CLASS),
            (FEATURE_SHARE, shares, OF_CLASS),
            (FEATURE_ROWS, rows, OF_CLASS),
            (DRIFTED, drifted, OF_MODEL),
        ):
            if samples:
                *labels, values = zip(*samples, strict=True)
                self.add(series.name, series.labels, labels, values, rank)

    def add_histogram(self, name: str, labels: str, histogram: Histogram) -> None:
        """Add a histogram."""
        lines = _histogram_lines(name, self._who + labels, histogram)
        self._sizes[OF_MODEL] += len(lines)
        if self._ranks > OF_MODEL:
            self._lines[name][OF_MODEL] = self._lines[name].get(OF_MODEL, "") + "".join(lines)

    def block(self, folded_classes: int) -> Block:
        """The block of the model."""
        lines = {name: {rank: text.encode() for rank, text in own.items()} for name, own in self._lines.items()}
        return Block(lines, tuple(self._sizes), folded_classes, self._ranks)


class ModelText:
    """All model series: a block of each model, kept until another one is put in its place.

    At most so many series are shown: which, says `app.exporters.sharing`.
    """

    def __init__(self, *, seldon: bool, most: int, rulebook: Rulebook | None = None) -> None:
        self._rulebook = rulebook or Rulebook()
        #: The head of each series, in the order of the text.
        self._heads: dict[str, bytes] = {}
        gauges = [(measure, family) for measure, family in COUNTS if family.kind == "gauge"]
        self._totals = [
            (measure, family, self._begin(f"tally_{family.name}", family.kind, family.help))
            for measure, family in gauges
        ]
        self._windows = [
            (
                measure,
                family,
                self._begin(f"tally_window_{family.name}", family.kind, f"{family.help} In the last window."),
            )
            for measure, family in gauges
            if family.windows
        ]
        self._histograms = [
            (measure, family, self._begin(f"tally_{family.name}", family.kind, family.help))
            for measure, family in COUNTS
            if family.kind == "histogram"
        ]
        for series in (*OTHERS, *SELDON):
            self._begin(series.name, series.kind, series.help)
        self._with_seldon = seldon
        self._blocks: dict[Identity, Block] = {}
        self._most = most
        self._series = 0  # of all blocks, shown or not
        self._shares = Shares({}, 0, (0,) * RANKS)
        self._settled = True

    def _begin(self, name: str, kind: str, text: str) -> str:
        self._heads[name] = ("\n".join(_head(name, kind, text)) + "\n").encode()
        return name

    @property
    def folded_classes(self) -> int:
        """How many classes are shown as one, over all models."""
        return sum(block.folded_classes for block in self._blocks.values())

    @property
    def dropped_series(self) -> int:
        """How many series are not shown."""
        return self._shares.dropped

    @property
    def trouble(self) -> str | None:
        """What is not shown and what to do, as a sentence; None where all is."""
        return self._shares.sentence(self._most)

    def block(
        self, identity: Identity, readings: Mapping[str, Reading], first_seen: int, compared: Compared = ()
    ) -> Block:
        """The block of a model, which `put` takes: of its readings by "total" and window, first seen in seconds, and
        its comparisons. Only what is likely to be shown is made: `settle` says of whom more is wanted.
        """
        likely = RANKS if self._series <= self._most else 1
        lines = _Lines(_of_identity(identity), self._shares.ranks.get(identity, likely))
        total = readings[TOTAL]
        windows = {window: reading for window, reading in readings.items() if window != TOTAL}
        predicted = [(window, reading) for window, reading in windows.items() if not reading.by_labels]
        for measure, family, name in self._totals:
            lines.add_family(name, family, {TOTAL: measure.of(total)})
        for measure, family, name in self._windows:
            shown = windows.items() if measure.by_labels else predicted
            lines.add_family(name, family, {window: measure.of(reading) for window, reading in shown})
        rules = self._rulebook.of(identity.leg)
        lines.add_scores(readings)
        lines.add_limits(rules.limits)
        if rules.intervals:
            lines.add_intervals(readings)
        for measure, family, name in self._histograms:
            for labels, histogram in family.samples(measure.of(total)):
                assert isinstance(histogram, Histogram)
                lines.add_histogram(name, _labels(family.labels, labels), histogram)
        lines.add_comparisons(compared)
        lines.add_drift({TOTAL: total, **dict(predicted)})
        lines.add(INFO.name, INFO.labels, [[total.nature.task]], [1])
        lines.add(FIRST_SEEN.name, (), (), [first_seen])
        for series, columns, values in seldon_samples(identity, total) if self._with_seldon else ():
            rank = OF_CLASS if "class" in series.labels else OF_MODEL
            lines.add(series.name, series.labels, columns, values, rank)
        return lines.block(CONFUSION.of(total).dropped_classes)

    def put(self, identity: Identity, block: Block) -> None:
        """Show a model by its block."""
        self.drop(identity)
        self._blocks[identity] = block
        self._series += sum(block.sizes)
        self._settled = False

    def drop(self, identity: Identity) -> None:
        """Show a model no more."""
        old = self._blocks.pop(identity, None)
        if old is not None:
            self._series -= sum(old.sizes)
            self._settled = False

    def settle(self) -> list[Identity]:
        """Decide what is shown of the models that there are. Returns those of which more is to be shown than was made:
        `block` makes it.
        """
        if not self._settled:
            self._shares = shares({identity: block.sizes for identity, block in self._blocks.items()}, self._most)
            self._settled = True
        wanted = self._shares.ranks
        for identity, block in self._blocks.items():
            if block.ranks > wanted[identity]:
                self._blocks[identity] = block.without(wanted[identity])
        return [identity for identity, block in self._blocks.items() if block.ranks < wanted[identity]]

    def chunks(self) -> Iterator[bytes]:
        """The text in pieces, of the blocks as they are now. Of Seldon's series only those that any model has."""
        self.settle()
        shown = self._shares.ranks
        blocks = [(block.lines, shown[identity]) for identity, block in sorted(self._blocks.items())]
        for name, head in self._heads.items():
            own = [
                text for lines, ranks in blocks if name in lines for rank, text in lines[name].items() if rank < ranks
            ]
            if own or name not in _OPTIONAL:
                yield head
                yield from own

    def text(self) -> str:
        """The whole text."""
        return b"".join(self.chunks()).decode()


def _histogram_lines(name: str, labels: str, histogram: Histogram) -> list[str]:
    lines, count = [], 0
    for bound, amount in zip([*map(float, histogram.bounds), None], histogram.counts, strict=True):
        count += amount
        text = "+Inf" if bound is None else str(bound)
        lines.append(f'{name}_bucket{{{labels},le="{text}"}} {count}\n')
    lines.append(f"{name}_sum{{{labels}}} {number(histogram.total)}\n")
    lines.append(f"{name}_count{{{labels}}} {count}\n")
    return lines


def worker_text(told: WorkerNumbers) -> str:
    """The series of this worker, in the catalogue's order."""
    return _text_of(WORKER, told)


def http_text(told: HttpNumbers) -> str:
    """The series of its port, the same way."""
    return _text_of(HTTP, told)


def _text_of(catalogue: Iterable[WorkerSeries[Numbers]], told: Numbers) -> str:
    lines: list[str] = []
    for series in catalogue:
        lines += (f"{line}\n" for line in _head(series.name, series.kind, series.help))
        for labels, value in series.samples(told):
            text = _labels(series.labels, labels)[1:]
            if isinstance(value, Histogram):
                lines += _histogram_lines(series.name, text, value)
            else:
                lines.append(f"{series.name}{f'{{{text}}}' if text else ''} {number(value)}\n")
    return "".join(lines)


_PROCESS = CollectorRegistry()
ProcessCollector(registry=_PROCESS)
PlatformCollector(registry=_PROCESS)
GCCollector(registry=_PROCESS)


def process_text() -> str:
    """CPU, memory, open files and garbage collection of this process."""
    return generate_latest(_PROCESS).decode()
