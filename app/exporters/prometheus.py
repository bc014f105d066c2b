"""The Prometheus text (format 0.0.4) of the merged view and of this worker.

prometheus_client takes some 10 µs a line; with twenty models that is most of a scrape. So the lines are written here,
with label texts kept between scrapes, and the process's own collectors are left to the library.
"""

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from app.core.counts.panes import TOTAL
from app.core.events import Identity, identity_fields
from app.core.measures.measure import Histogram
from app.core.measures.reading import Reading
from app.core.outputs.series import COUNTS, FIRST_SEEN, INFO, SCORE, SCORE_SAMPLES, SELDON, seldon_samples
from app.core.outputs.worker_series import WORKER, WorkerNumbers
from app.core.scores.catalogue import scores_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: (identity, readings by "total" and window, first seen in seconds)
Model = tuple[Identity, Mapping[str, Reading], int]
Models = Iterable[Model]


def number(value: Any) -> str:
    """A sample value as text; None is NaN."""
    if value is None or math.isnan(value):
        return "NaN"
    return str(value) if type(value) is int else repr(float(value))


@lru_cache(maxsize=200_000)
def _labels(identity: Identity | None, names: tuple[str, ...], values: tuple[str, ...]) -> str:
    pairs = list(identity_fields(identity).items()) if identity is not None else []
    pairs += zip(names, values, strict=True)
    return "{" + ",".join(f'{name}="{_escape(value)}"' for name, value in pairs) + "}" if pairs else ""


def _escape(value: str) -> str:
    return value.replace("\\", "\\\\").replace("\n", "\\n").replace('"', '\\"')


def _head(lines: list[str], name: str, kind: str, text: str) -> None:
    lines.append(f"# HELP {name} {text}")
    lines.append(f"# TYPE {name} {kind}")


def model_text(models: Models, *, seldon: bool) -> str:
    """All model series. `models` gives (identity, readings by "total" and window, first seen in seconds)."""
    known = list(models)
    lines: list[str] = []
    gauges = [(measure, family) for measure, family in COUNTS if family.kind == "gauge"]
    for measure, family in gauges:
        name = f"tally_{family.name}"
        _head(lines, name, family.kind, family.help)
        for identity, readings, _ in known:
            for labels, value in family.samples(measure.of(readings[TOTAL])):
                lines.append(f"{name}{_labels(identity, family.labels, labels)} {number(value)}")
    for measure, family in gauges:
        if not family.windows:
            continue
        name = f"tally_window_{family.name}"
        _head(lines, name, family.kind, f"{family.help} In the last window.")
        names = (*family.labels, "window")
        for identity, readings, _ in known:
            for window, reading in readings.items():
                if window != TOTAL:
                    for labels, value in family.samples(measure.of(reading)):
                        lines.append(f"{name}{_labels(identity, names, (*labels, window))} {number(value)}")
    _scores(lines, known)
    _histograms(lines, known)
    _head(lines, INFO.name, INFO.kind, INFO.help)
    for identity, readings, _ in known:
        lines.append(f"{INFO.name}{_labels(identity, INFO.labels, (readings[TOTAL].nature.task,))} 1")
    _head(lines, FIRST_SEEN.name, FIRST_SEEN.kind, FIRST_SEEN.help)
    for identity, _, first_seen in known:
        lines.append(f"{FIRST_SEEN.name}{_labels(identity, (), ())} {first_seen}")
    if seldon:
        _seldon(lines, known)
    return "\n".join(lines) + "\n"


def _scores(lines: list[str], models: list[Model]) -> None:
    values: list[str] = []
    samples: list[str] = []
    for identity, readings, _ in models:
        for window, reading in readings.items():
            for score, of_class, value, rows in scores_of(reading):
                labels = _labels(identity, SCORE.labels, (score, of_class, window))
                values.append(f"{SCORE.name}{labels} {number(value)}")
                samples.append(f"{SCORE_SAMPLES.name}{labels} {rows}")
    for series, its_lines in ((SCORE, values), (SCORE_SAMPLES, samples)):
        _head(lines, series.name, series.kind, series.help)
        lines += its_lines


def _histograms(lines: list[str], models: list[Model]) -> None:
    for measure, family in COUNTS:
        if family.kind != "histogram":
            continue
        name = f"tally_{family.name}"
        _head(lines, name, family.kind, family.help)
        bounded = (*family.labels, "le")
        for identity, readings, _ in models:
            for labels, histogram in family.samples(measure.of(readings[TOTAL])):
                assert isinstance(histogram, Histogram)
                count = 0
                for bound, amount in zip([*map(float, histogram.bounds), None], histogram.counts, strict=True):
                    count += amount
                    text = "+Inf" if bound is None else str(bound)
                    lines.append(f"{name}_bucket{_labels(identity, bounded, (*labels, text))} {count}")
                own = _labels(identity, family.labels, labels)
                lines.append(f"{name}_sum{own} {number(histogram.total)}")
                lines.append(f"{name}_count{own} {count}")


def _seldon(lines: list[str], models: list[Model]) -> None:
    by_series: dict[str, list[str]] = {series.name: [] for series in SELDON}
    names = {series.name: series.labels for series in SELDON}
    for identity, readings, _ in models:
        for series, labels, value in seldon_samples(identity, readings[TOTAL]):
            by_series[series].append(f"{series}{_labels(identity, names[series], labels)} {number(value)}")
    for name, kind, text, _ in SELDON:
        if by_series[name]:
            _head(lines, name, kind, text)
            lines += by_series[name]


def worker_text(numbers: WorkerNumbers) -> str:
    """The series of this worker, in the catalogue's order."""
    lines: list[str] = []
    for series in WORKER:
        _head(lines, series.name, series.kind, series.help)
        for labels, value in series.samples(numbers):
            lines.append(f"{series.name}{_labels(None, series.labels, labels)} {number(value)}")
    return "\n".join(lines) + "\n"


_PROCESS = CollectorRegistry()
ProcessCollector(registry=_PROCESS)
PlatformCollector(registry=_PROCESS)
GCCollector(registry=_PROCESS)


def process_text() -> str:
    """CPU, memory, open files and garbage collection of this process."""
    return generate_latest(_PROCESS).decode()
