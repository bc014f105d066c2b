"""The Prometheus text (format 0.0.4) of the merged view and of this worker.

prometheus_client takes some 10 µs a line; with twenty models that is most of a scrape. So the lines are written here,
with label texts kept between scrapes, and the process's own collectors are left to the library.
"""

import math
from collections.abc import Iterable, Mapping
from functools import lru_cache

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from app.core.counts.panes import TOTAL
from app.core.events import Identity, identity_fields
from app.core.measures.reading import Reading
from app.core.outputs.series import (
    COUNTS,
    DELAY,
    FIRST_SEEN,
    INFO,
    SCORE,
    SCORE_SAMPLES,
    SELDON,
    TOTALS,
    delay_buckets,
    seldon_samples,
)
from app.core.outputs.worker_series import WORKER, WorkerNumbers
from app.core.scores.classification import scores_of

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Models = Iterable[tuple[Identity, Mapping[str, Reading], int]]


def number(value: float | None) -> str:
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
    for family in (*COUNTS, *TOTALS):
        name = f"tally_{family.name}"
        _head(lines, name, family.kind, family.help)
        for identity, readings, _ in known:
            for labels, value in family.samples(readings[TOTAL]):
                lines.append(f"{name}{_labels(identity, family.labels, labels)} {number(value)}")
    for family in COUNTS:
        name = f"tally_window_{family.name}"
        _head(lines, name, family.kind, f"{family.help} In the last window.")
        names = (*family.labels, "window")
        for identity, readings, _ in known:
            for window, reading in readings.items():
                if window != TOTAL:
                    for labels, value in family.samples(reading):
                        lines.append(f"{name}{_labels(identity, names, (*labels, window))} {number(value)}")
    _scores(lines, known)
    _delays(lines, known)
    _head(lines, INFO[0], "gauge", INFO[1])
    for identity, readings, _ in known:
        lines.append(f"{INFO[0]}{_labels(identity, ('task',), (readings[TOTAL].task,))} 1")
    _head(lines, FIRST_SEEN[0], "gauge", FIRST_SEEN[1])
    for identity, _, first_seen in known:
        lines.append(f"{FIRST_SEEN[0]}{_labels(identity, (), ())} {first_seen}")
    if seldon:
        _seldon(lines, known)
    return "\n".join(lines) + "\n"


def _scores(lines: list[str], models: list[tuple[Identity, Mapping[str, Reading], int]]) -> None:
    values: list[str] = []
    samples: list[str] = []
    names = ("score", "class", "window")
    for identity, readings, _ in models:
        for window, reading in readings.items():
            for score, of_class, value, rows in scores_of(reading):
                labels = _labels(identity, names, (score, of_class, window))
                values.append(f"{SCORE[0]}{labels} {number(value)}")
                samples.append(f"{SCORE_SAMPLES[0]}{labels} {rows}")
    _head(lines, SCORE[0], "gauge", SCORE[1])
    lines += values
    _head(lines, SCORE_SAMPLES[0], "gauge", SCORE_SAMPLES[1])
    lines += samples


def _delays(lines: list[str], models: list[tuple[Identity, Mapping[str, Reading], int]]) -> None:
    _head(lines, DELAY[0], "histogram", DELAY[1])
    for identity, readings, _ in models:
        reading = readings[TOTAL]
        count = 0
        for bound, count in delay_buckets(reading):
            lines.append(f"{DELAY[0]}_bucket{_labels(identity, ('le',), (bound,))} {count}")
        lines.append(f"{DELAY[0]}_sum{_labels(identity, (), ())} {number(reading.delay_seconds)}")
        lines.append(f"{DELAY[0]}_count{_labels(identity, (), ())} {count}")


def _seldon(lines: list[str], models: list[tuple[Identity, Mapping[str, Reading], int]]) -> None:
    by_series: dict[str, list[str]] = {name: [] for name, _, _ in SELDON}
    names = {name: labels for name, _, labels in SELDON}
    for identity, readings, _ in models:
        for series, labels, value in seldon_samples(identity, readings[TOTAL]):
            by_series[series].append(f"{series}{_labels(identity, names[series], labels)} {number(value)}")
    for name, text, _ in SELDON:
        if by_series[name]:
            _head(lines, name, "gauge", text)
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
