"""The Prometheus text (format 0.0.4) of the merged view and of this worker.

prometheus_client takes some 10 µs a line; with twenty models that is most of a scrape. So the lines are written here,
with label texts kept between scrapes, and the process's own collectors are left to the library.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any, Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from app.core.counts.panes import TOTAL
from app.core.events import Identity, identity_fields
from app.core.measures.confusion import CONFUSION
from app.core.measures.measure import Histogram
from app.core.measures.reading import Reading
from app.core.outputs.series import COUNTS, FIRST_SEEN, INFO, SCORE, SCORE_SAMPLES, SELDON, seldon_samples
from app.core.outputs.worker_series import WORKER, WorkerNumbers
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


class ModelText:
    """All model series. Models are added one by one, so that their reader can do something else in between."""

    def __init__(self, *, seldon: bool) -> None:
        #: Of each series its lines, in the order of the text.
        self._lines: dict[str, list[str]] = {}
        gauges = [(measure, family) for measure, family in COUNTS if family.kind == "gauge"]
        self._totals = [
            (measure, family, *self._begin(f"tally_{family.name}", family.kind, family.help))
            for measure, family in gauges
        ]
        self._windows = [
            (
                measure,
                family,
                (*family.labels, "window"),
                *self._begin(f"tally_window_{family.name}", family.kind, f"{family.help} In the last window."),
            )
            for measure, family in gauges
            if family.windows
        ]
        for series in (SCORE, SCORE_SAMPLES):
            self._begin(series.name, series.kind, series.help)
        self._histograms = [
            (measure, family, *self._begin(f"tally_{family.name}", family.kind, family.help))
            for measure, family in COUNTS
            if family.kind == "histogram"
        ]
        for series in (INFO, FIRST_SEEN):
            self._begin(series.name, series.kind, series.help)
        self._seldon = {series.name: self._begin(series.name, series.kind, series.help)[1] for series in SELDON}
        self._with_seldon = seldon
        self.folded_classes = 0  # of all models

    def _begin(self, name: str, kind: str, text: str) -> tuple[str, list[str]]:
        lines = self._lines[name] = _head(name, kind, text)
        return name, lines

    def add(self, identity: Identity, readings: Mapping[str, Reading], first_seen: int) -> None:
        """Add a model: its readings by "total" and window, first seen in seconds."""
        who, total = _of_identity(identity), readings[TOTAL]
        self.folded_classes += CONFUSION.of(total).dropped_classes
        for measure, family, name, lines in self._totals:
            for labels, value in family.samples(measure.of(total)):
                lines.append(f"{name}{{{who}{_labels(family.labels, labels)}}} {number(value)}")
        for measure, family, names, name, lines in self._windows:
            for window, reading in readings.items():
                if window != TOTAL:
                    for labels, value in family.samples(measure.of(reading)):
                        lines.append(f"{name}{{{who}{_labels(names, (*labels, window))}}} {number(value)}")
        self._add_scores(who, readings)
        self._add_histograms(who, total)
        self._lines[INFO.name].append(f"{INFO.name}{{{who}{_labels(INFO.labels, (total.nature.task,))}}} 1")
        self._lines[FIRST_SEEN.name].append(f"{FIRST_SEEN.name}{{{who}}} {first_seen}")
        if self._with_seldon:
            for name, labels, value in seldon_samples(identity, total):
                text = _labels(_SELDON_LABELS[name], labels)
                self._seldon[name].append(f"{name}{{{who}{text}}} {number(value)}")

    def _add_scores(self, who: str, readings: Mapping[str, Reading]) -> None:
        values, samples = self._lines[SCORE.name], self._lines[SCORE_SAMPLES.name]
        for window, reading in readings.items():
            for score, of_class, value, rows in scores_of(reading):
                labels = _labels(SCORE.labels, (score, of_class, window))
                values.append(f"{SCORE.name}{{{who}{labels}}} {number(value)}")
                samples.append(f"{SCORE_SAMPLES.name}{{{who}{labels}}} {rows}")

    def _add_histograms(self, who: str, total: Reading) -> None:
        for measure, family, name, lines in self._histograms:
            for labels, histogram in family.samples(measure.of(total)):
                assert isinstance(histogram, Histogram)
                own = who + _labels(family.labels, labels)
                count = 0
                for bound, amount in zip([*map(float, histogram.bounds), None], histogram.counts, strict=True):
                    count += amount
                    text = "+Inf" if bound is None else str(bound)
                    lines.append(f'{name}_bucket{{{own},le="{text}"}} {count}')
                lines.append(f"{name}_sum{{{own}}} {number(histogram.total)}")
                lines.append(f"{name}_count{{{own}}} {count}")

    def text(self) -> str:
        """The lines of all models that were added. Of Seldon's series only those that any model has."""
        return "".join(
            "\n".join(lines) + "\n" for name, lines in self._lines.items() if name not in self._seldon or len(lines) > 2
        )


def worker_text(numbers: WorkerNumbers) -> str:
    """The series of this worker, in the catalogue's order."""
    lines: list[str] = []
    for series in WORKER:
        lines += _head(series.name, series.kind, series.help)
        for labels, value in series.samples(numbers):
            text = f"{{{_labels(series.labels, labels)[1:]}}}" if labels else ""
            lines.append(f"{series.name}{text} {number(value)}")
    return "\n".join(lines) + "\n"


_PROCESS = CollectorRegistry()
ProcessCollector(registry=_PROCESS)
PlatformCollector(registry=_PROCESS)
GCCollector(registry=_PROCESS)


def process_text() -> str:
    """CPU, memory, open files and garbage collection of this process."""
    return generate_latest(_PROCESS).decode()
