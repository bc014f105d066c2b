"""The Prometheus text (format 0.0.4) of the merged view and of this worker.

prometheus_client takes some 10 µs a line; with twenty models that is most of a scrape. So the lines are written here,
with label texts kept between scrapes, and the process's own collectors are left to the library.
"""

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from app.core.counts.panes import TOTAL
from app.core.events import Identity, identity_fields
from app.core.measures.confusion import CONFUSION
from app.core.measures.measure import Histogram
from app.core.measures.reading import Reading
from app.core.outputs.http_series import HTTP, HttpNumbers
from app.core.outputs.series import COUNTS, FIRST_SEEN, INFO, SCORE, SCORE_SAMPLES, SELDON, seldon_samples
from app.core.outputs.worker_series import WORKER, Numbers, WorkerNumbers, WorkerSeries
from app.core.scores.catalogue import scores_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

_SELDON_LABELS: Final = {series.name: series.labels for series in SELDON}


def number(value: Any) -> str:
    """A sample value as text; None is NaN."""
    if value is None or math.isnan(value):
        return "NaN"
    return str(value) if type(value) is int else repr(float(value))


@lru_cache(maxsize=10_000)
def _of_identity(identity: Identity) -> str:
    return ",".join(_pairs(identity_fields(identity).items()))


@lru_cache(maxsize=50_000)  # those of the models besides their identity, which are the same in many models
def _labels(names: tuple[str, ...], values: tuple[str, ...]) -> str:
    """Labels behind others, each with its comma."""
    return "".join(f",{label}" for label in _pairs(zip(names, values, strict=True)))


def _pairs(labels: Iterable[tuple[str, str]]) -> Iterator[str]:
    for name, value in labels:
        yield f'{name}="{_escape(value)}"'


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _head(name: str, kind: str, text: str) -> list[str]:
    return [f"# HELP {name} {text}", f"# TYPE {name} {kind}"]


class Block(NamedTuple):
    """The lines of one model, by series; and how many of its classes are shown as one."""

    lines: Mapping[str, str]
    folded_classes: int


class ModelText:
    """All model series: a block of each model, kept until another one is put in its place."""

    def __init__(self, *, seldon: bool) -> None:
        #: The head of each series, in the order of the text.
        self._heads: dict[str, str] = {}
        gauges = [(measure, family) for measure, family in COUNTS if family.kind == "gauge"]
        self._totals = [
            (measure, family, self._begin(f"tally_{family.name}", family.kind, family.help))
            for measure, family in gauges
        ]
        self._windows = [
            (
                measure,
                family,
                (*family.labels, "window"),
                self._begin(f"tally_window_{family.name}", family.kind, f"{family.help} In the last window."),
            )
            for measure, family in gauges
            if family.windows
        ]
        for series in (SCORE, SCORE_SAMPLES):
            self._begin(series.name, series.kind, series.help)
        self._histograms = [
            (measure, family, self._begin(f"tally_{family.name}", family.kind, family.help))
            for measure, family in COUNTS
            if family.kind == "histogram"
        ]
        for series in (INFO, FIRST_SEEN, *SELDON):
            self._begin(series.name, series.kind, series.help)
        self._with_seldon = seldon
        self._blocks: dict[Identity, Block] = {}

    def _begin(self, name: str, kind: str, text: str) -> str:
        self._heads[name] = "\n".join(_head(name, kind, text)) + "\n"
        return name

    @property
    def folded_classes(self) -> int:
        """How many classes are shown as one, over all models."""
        return sum(block.folded_classes for block in self._blocks.values())

    def add(self, identity: Identity, readings: Mapping[str, Reading], first_seen: int) -> None:
        """Put a model: its readings by "total" and window, first seen in seconds."""
        who, total = _of_identity(identity), readings[TOTAL]
        lines: defaultdict[str, list[str]] = defaultdict(list)
        for measure, family, name in self._totals:
            own = lines[name]
            for labels, value in family.samples(measure.of(total)):
                own.append(f"{name}{{{who}{_labels(family.labels, labels)}}} {number(value)}\n")
        for measure, family, names, name in self._windows:
            own = lines[name]
            for window, reading in readings.items():
                if window != TOTAL:
                    for labels, value in family.samples(measure.of(reading)):
                        own.append(f"{name}{{{who}{_labels(names, (*labels, window))}}} {number(value)}\n")
        _add_scores(lines, who, readings)
        for measure, family, name in self._histograms:
            for labels, histogram in family.samples(measure.of(total)):
                assert isinstance(histogram, Histogram)
                _add_histogram(lines[name], name, who + _labels(family.labels, labels), histogram)
        lines[INFO.name].append(f"{INFO.name}{{{who}{_labels(INFO.labels, (total.nature.task,))}}} 1\n")
        lines[FIRST_SEEN.name].append(f"{FIRST_SEEN.name}{{{who}}} {first_seen}\n")
        if self._with_seldon:
            for name, labels, value in seldon_samples(identity, total):
                text = _labels(_SELDON_LABELS[name], labels)
                lines[name].append(f"{name}{{{who}{text}}} {number(value)}\n")
        block = {name: "".join(own) for name, own in lines.items() if own}
        self._blocks[identity] = Block(block, CONFUSION.of(total).dropped_classes)

    def drop(self, identity: Identity) -> None:
        """Show a model no more."""
        self._blocks.pop(identity, None)

    def chunks(self) -> Iterator[str]:
        """The text in pieces, of the blocks as they are now. Of Seldon's series only those that any model has."""
        blocks = [block.lines for _, block in sorted(self._blocks.items())]
        for name, head in self._heads.items():
            own = [lines[name] for lines in blocks if name in lines]
            if own or name not in _SELDON_LABELS:
                yield head
                yield from own

    def text(self) -> str:
        """The whole text."""
        return "".join(self.chunks())


def _add_scores(lines: Mapping[str, list[str]], who: str, readings: Mapping[str, Reading]) -> None:
    values, samples = lines[SCORE.name], lines[SCORE_SAMPLES.name]
    for window, reading in readings.items():
        for score, of_class, value, rows in scores_of(reading):
            labels = _labels(SCORE.labels, (score, of_class, window))
            values.append(f"{SCORE.name}{{{who}{labels}}} {number(value)}\n")
            samples.append(f"{SCORE_SAMPLES.name}{{{who}{labels}}} {rows}\n")


def _add_histogram(lines: list[str], name: str, labels: str, histogram: Histogram) -> None:
    count = 0
    for bound, amount in zip([*map(float, histogram.bounds), None], histogram.counts, strict=True):
        count += amount
        text = "+Inf" if bound is None else str(bound)
        lines.append(f'{name}_bucket{{{labels},le="{text}"}} {count}\n')
    lines.append(f"{name}_sum{{{labels}}} {number(histogram.total)}\n")
    lines.append(f"{name}_count{{{labels}}} {count}\n")


def worker_text(numbers: WorkerNumbers) -> str:
    """The series of this worker, in the catalogue's order."""
    return _text_of(WORKER, numbers)


def http_text(numbers: HttpNumbers) -> str:
    """The series of its port, the same way."""
    return _text_of(HTTP, numbers)


def _text_of(catalogue: Iterable[WorkerSeries[Numbers]], numbers: Numbers) -> str:
    lines: list[str] = []
    for series in catalogue:
        lines += (f"{line}\n" for line in _head(series.name, series.kind, series.help))
        for labels, value in series.samples(numbers):
            text = _labels(series.labels, labels)[1:]
            if isinstance(value, Histogram):
                _add_histogram(lines, series.name, text, value)
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
