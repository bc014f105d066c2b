"""What growth costs: two loads, or two ways to count one, and the CPU time that a worker takes for an event of each.

The worker has its partitions and stands still while the load is written, so that neither its start nor the writer is in
the figure.
"""

import statistics
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from tests.bench import load
from tests.bench.load import ORDINARY, Shape
from tests.bench.table import Row
from tests.bench.tally_runs import Tally
from tests.bench.workers import SETTLE_SECONDS, Bench, exported, wait_for_commit, watch, worker

#: Longer than a load takes to be written: a worker that stands still must not lose its partitions.
SESSION_SECONDS: Final = 60
#: A worker exports models once its first heartbeat is answered, which comes after a tenth of the session time-out.
EXPORTS_SECONDS: Final = SESSION_SECONDS / 10 + SETTLE_SECONDS
SECONDS: Final = 300.0


@dataclass(frozen=True, slots=True)
class Load:
    """One of the two loads. `puids` are those of a run in full size; `partitions` are the usual ones where None.

    `rules` are those of its model, as the YAML file has them, and `settings` the worker's.
    """

    name: str
    shape: Shape = ORDINARY
    puids: int = 100_000
    partitions: int | None = None
    rules: str = ""
    settings: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Growth:
    """Two loads to compare, and how often /metrics is scraped meanwhile; never where None.

    The ratio is the median of so many `pairs`, one after the other: where it is near 1, a machine whose speed changes
    makes more of a difference than what is measured.
    """

    less: Load
    more: Load
    scrape_seconds: float | None = None
    pairs: int = 1

    @property
    def figures(self) -> str:
        return f"{self.more.name} against {self.less.name}"


_SLICED: Final = Shape(sliced=True)
_WITHOUT: Final = Load("without probabilities and segments", _SLICED, rules="probabilities: false")
_SEGMENTS: Final = "segments: {country: tags.country, age: {field: features.age, bins: [30, 50]}}"
_RANKED: Final = f'classes: ["0", "1", "2"], probabilities: true, {_SEGMENTS}'

GROWTHS: Final[Mapping[str, Growth]] = {
    "partitions": Growth(Load("8 partitions", partitions=8), Load("64 partitions", partitions=64)),
    "models": Growth(
        Load("1 model", puids=300_000), Load("300 models", Shape(models=300), puids=300_000), scrape_seconds=0.5
    ),
    "classes": Growth(
        Load("3 classes", Shape(scored=False)),
        Load("200 classes", Shape(classes=200, scored=False)),
    ),
    "rows": Growth(Load("1 row"), Load("1,000 rows", Shape(rows=1000), puids=400)),
    "headers": Growth(Load("10 headers", Shape(headers=10)), Load("200 headers", Shape(headers=200), puids=20_000)),
    "label-windows": Growth(
        Load("without windows by labels", settings={"TALLY_LABEL_WINDOWS": "false"}),
        Load("windows by labels"),
        pairs=5,
    ),
    "segments": Growth(_WITHOUT, Load("probabilities and two segments", _SLICED, rules=_SEGMENTS), pairs=5),
    "ranks": Growth(_WITHOUT, Load("these with declared classes", _SLICED, rules=_RANKED)),
}


def run(name: str, tally: Tally) -> list[Row]:
    """CPU time an event of both loads (a row, where they differ in rows), and the ratio."""
    growth = GROWTHS[name]
    by_row = growth.less.shape.rows != growth.more.shape.rows
    unit = "µs/row" if by_row else "µs/event"
    both = growth.less, growth.more
    pairs = [
        [
            _cpu_us(f"{name}-{pair}-{number}", each, growth.scrape_seconds, tally.bench)
            / (each.shape.rows if by_row else 1)
            for number, each in enumerate(both)
        ]
        for pair in range(growth.pairs)
    ]
    ratios = sorted(more / less for less, more in pairs)
    rows = [
        Row(f"{each.name}: CPU", statistics.median(of), unit)
        for each, of in zip(both, zip(*pairs, strict=True), strict=True)
    ]
    rows.append(Row(f"{growth.figures}: CPU", statistics.median(ratios), "x"))
    if growth.pairs > 1:
        rows.append(Row(f"{growth.figures}: each pair", ", ".join(f"{ratio:.2f}" for ratio in ratios)))
    return rows


def _cpu_us(name: str, of: Load, scrape_seconds: float | None, bench: Bench) -> float:
    """Microseconds of CPU time an event, from the first one read to the last one committed."""
    topics = bench.empty(name, of.partitions)
    app_id = f"{bench.prefix}-{name}"
    settings = {"TALLY_SESSION_TIMEOUT": f"{SESSION_SECONDS}s", **of.settings}
    if of.rules:
        config = bench.folder / f"{app_id}.yaml"
        config.write_text(f'models: [{{match: "*", {of.rules}}}]')
        settings["TALLY_CONFIG"] = str(config)
    with worker(topics, app_id, bench.folder, **settings) as held:
        bench.ready(held, topics.partitions)
        time.sleep(EXPORTS_SECONDS)
        with held.held():
            topics = load.fill(topics, bench.part(of.puids), of.shape)
            begin = held.cpu_seconds()
        if scrape_seconds is None:
            wait_for_commit(topics, app_id, SECONDS)
        else:
            watch([held], topics, app_id, scrape_seconds)
        seconds = held.cpu_seconds() - begin
        counted = exported([held], topics.events)
    if counted != topics.events:
        raise RuntimeError(f"the exported counts hold {counted:.0f} of {topics.events} events of {of.name}")
    return seconds * 1e6 / topics.events
