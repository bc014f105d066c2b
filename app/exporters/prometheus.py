"""The Prometheus text (format 0.0.4) of the merged view and of this worker.

The process's own collectors are left to prometheus_client.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from operator import itemgetter
from typing import Final

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector, generate_latest

from app.core.counts.panes import TOTAL
from app.core.events import Identity
from app.core.measures.confusion import CONFUSION
from app.core.measures.custom import CUSTOM, settled
from app.core.measures.measure import OF_CLASS, OF_MODEL, RANKS, Histogram
from app.core.measures.reading import Reading
from app.core.outputs.http_series import HTTP, HttpNumbers
from app.core.outputs.series import (
    CHANGE,
    COMPARISON,
    COUNTS,
    DRIFT,
    DRIFTED,
    ERROR,
    ERROR_SAMPLES,
    ESTIMATE_LABELS,
    ESTIMATE_ROWS,
    FAIRNESS,
    FAIRNESS_SAMPLES,
    FEATURE_ROWS,
    FEATURE_SHARE,
    FIRST_SEEN,
    INFO,
    LEAST_SAMPLES,
    MONITOR_ALERTING,
    MONITOR_THRESHOLD,
    MONITOR_VALUE,
    OTHERS,
    SCORE_ESTIMATE,
    SCORE_ESTIMATE_HIGH,
    SCORE_ESTIMATE_LOW,
    SCORE_HIGH,
    SCORE_LIMIT,
    SCORE_LOW,
    SEGMENT_ROWS,
    SEGMENT_SCORE,
    SEGMENT_SCORE_SAMPLES,
    SELDON,
    VERSION_DRIFT,
    VERSION_DRIFTED,
    VERSION_ROWS,
    seldon_samples,
)
from app.core.outputs.versions import Versions
from app.core.outputs.worker_series import WORKER, Numbers, WorkerNumbers, WorkerSeries
from app.core.payloads.metrics import COUNTER, GAUGE, TIMER, names_of
from app.core.rules import Rulebook
from app.exporters.boxkite import BoxkiteSeries, head_of, is_family
from app.exporters.lines import Block, Compared, Lines, family_name, histogram_lines, label_text, number
from app.exporters.packing import Packed, Packer, Unpacker
from app.exporters.segments import segment_lines
from app.exporters.sharing import Shares, shares

_KINDS: Final = {COUNTER: "counter", GAUGE: "gauge", TIMER: "histogram"}
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

#: Series that stand in the text only where a model has them.
_OPTIONAL: Final = frozenset(("tally_monitor_rows", "tally_window_monitor_rows")) | frozenset(
    series.name
    for series in (
        *(*SELDON, SCORE_LIMIT, SCORE_LOW, SCORE_HIGH, ERROR, ERROR_SAMPLES, COMPARISON),
        *(SCORE_ESTIMATE, SCORE_ESTIMATE_LOW, SCORE_ESTIMATE_HIGH, ESTIMATE_ROWS, ESTIMATE_LABELS),
        *(DRIFT, FEATURE_SHARE, FEATURE_ROWS, DRIFTED, CHANGE),
        *(VERSION_DRIFT, VERSION_ROWS, VERSION_DRIFTED),
        *(MONITOR_VALUE, MONITOR_THRESHOLD, MONITOR_ALERTING),
        *(SEGMENT_SCORE, SEGMENT_SCORE_SAMPLES, SEGMENT_ROWS, FAIRNESS, FAIRNESS_SAMPLES),
    )
)


def _head(name: str, kind: str, text: str) -> str:
    return f"# HELP {name} {text}\n# TYPE {name} {kind}\n"


class ModelText:
    """All model series: a block of each model, kept until another one is put in its place.

    At most so many series are shown: which, says `app.exporters.sharing`.
    """

    def __init__(self, *, seldon: bool, most: int, rulebook: Rulebook | None = None, boxkite: bool = False) -> None:
        self._rulebook = rulebook or Rulebook()
        #: The head of each series, in the order of the text.
        self._heads: dict[str, Packed] = {}
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
        self._boxkite = BoxkiteSeries() if boxkite else None
        self._blocks: dict[Identity, Block] = {}
        self._most = most
        self._series = 0  # of all blocks, shown or not
        self._shares = Shares({}, 0, (0,) * RANKS)
        self._settled = True
        self._families: set[tuple[str, str]] = set()  # the type and key of the custom metrics that are shown

    def _begin(self, name: str, kind: str, text: str) -> str:
        self._heads[name] = Packer().pack(_head(name, kind, text).encode())
        return name

    @property
    def dropped(self) -> dict[str, int]:
        """What is not shown as itself over all models, by what it is (`worker_series.DROPPED`)."""
        self._decide()
        found = Counter({"series": self._shares.dropped})
        families = set[tuple[str, str]]()
        for block in self._blocks.values():
            found.update(block.dropped)
            families |= block.metrics
        found["metrics"] += len(families - self._families)
        return dict(found)

    @property
    def dropped_series(self) -> int:
        """How many series are not shown."""
        return self._shares.dropped

    @property
    def trouble(self) -> str | None:
        """What is not shown and what to do, as a sentence; None where all is."""
        return self._shares.sentence(self._most)

    def block(
        self,
        identity: Identity,
        readings: Mapping[str, Reading],
        first_seen: int,
        compared: Compared = (),
        versions: Versions | None = None,
    ) -> Block:
        """The block of a model, which `put` takes: of its readings by "total" and window, first seen in seconds, its
        comparisons, and how far it is from the version before it. Only what is likely to be shown is made: `settle`
        says of whom more is wanted.
        """
        likely = RANKS if self._series <= self._most else 1
        lines = Lines(identity, self._shares.ranks.get(identity, likely))
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
        lines.add_limits(rules)
        lines.add(LEAST_SAMPLES.name, (), [()], [rules.least_count])
        if rules.intervals:
            lines.add_intervals(readings)
        lines.add_estimates({TOTAL: total, **dict(predicted)})
        for measure, family, name in self._histograms:
            for labels, histogram in family.samples(measure.of(total)):
                assert isinstance(histogram, Histogram)
                lines.add_histogram(name, label_text(family.labels, labels), histogram)
        lines.add_comparisons(compared)
        lines.add_drift({TOTAL: total, **dict(predicted)})
        if versions is not None:
            lines.add_versions(versions)
        lines.add_monitors({TOTAL: total, **dict(predicted)})
        if rules.changes:
            lines.add_changes(total)
        for series, names, rows, values, rank, window in segment_lines(readings, rules):
            lines.add_rows(series.name, names, rows, values, rank, window)
        lines.add(INFO.name, INFO.labels, [[total.nature.task]], [1])
        lines.add(FIRST_SEEN.name, (), (), [first_seen])
        for series, columns, values in seldon_samples(identity, total) if self._with_seldon else ():
            rank = OF_CLASS if "class" in series.labels else OF_MODEL
            lines.add(series.name, series.labels, columns, values, rank)
        if self._boxkite is not None:
            self._boxkite.add(lines, identity, total)
        custom = CUSTOM.of(total)
        lines.add_custom(custom)
        dropped = {
            "classes": CONFUSION.of(total).dropped_classes,
            "segment_values": total.folded_values,
            "metrics": custom.hidden + bool(custom.dropped),
            "metric_series": custom.folded,
        }
        return lines.block(dropped, custom.families)

    def put(self, identity: Identity, block: Block) -> None:
        """Show a model by its block."""
        self._take_out(identity)
        self._blocks[identity] = block
        self._series += sum(block.sizes)
        self._settled = False

    def drop(self, identity: Identity) -> None:
        """Show a model no more."""
        self._take_out(identity)
        if self._boxkite is not None:
            self._boxkite.forget(identity)

    def _take_out(self, identity: Identity) -> None:
        old = self._blocks.pop(identity, None)
        if old is not None:
            self._series -= sum(old.sizes)
            self._settled = False

    def settle(self) -> list[Identity]:
        """Decide what is shown of the models that there are. Returns those of which more is to be shown than was made:
        `block` makes it.
        """
        self._decide()
        wanted = self._shares.ranks
        for identity, block in self._blocks.items():
            if block.ranks > wanted[identity]:
                self._blocks[identity] = block.without(wanted[identity])
        return [identity for identity, block in self._blocks.items() if block.ranks < wanted[identity]]

    def _decide(self) -> None:
        if not self._settled:
            self._shares = shares({identity: block.sizes for identity, block in self._blocks.items()}, self._most)
            self._families = settled(chain.from_iterable(block.metrics for block in self._blocks.values()))
            self._settled = True

    def chunks(self) -> Iterator[Packed]:
        """The text in pieces, of the blocks as they are now. Of Seldon's series only those that any model has."""
        self.settle()
        shown = self._shares.ranks
        blocks = [(block.lines, shown[identity]) for identity, block in sorted(self._blocks.items())]
        for name, head in self._heads.items():
            own = _shown_texts(blocks, name)
            if own or name not in _OPTIONAL:
                yield head
                yield from own
        taken: set[str] = set()
        for of_type, key in sorted(self._families, key=itemgetter(1)):
            own = _shown_texts(blocks, family_name(of_type, key))
            if own:
                names = names_of(of_type, key)
                taken.update(names)
                yield Packer().pack(_head(names[0], _KINDS[of_type], f"Custom metric {key}.").encode())
                yield from own
        if self._boxkite is not None:
            families = {name for lines, _ in blocks for name in lines if is_family(name)}
            for name in sorted(families - taken):  # a custom metric of that name is there already
                own = _shown_texts(blocks, name)
                if own:
                    yield Packer().pack(_head(name, *head_of(name)).encode())
                    yield from own

    def text(self) -> str:
        """The whole text."""
        return Unpacker().unpack(b"".join(chunk.data for chunk in self.chunks())).decode()


def _shown_texts(blocks: Iterable[tuple[Mapping[str, Mapping[int, Packed]], int]], name: str) -> list[Packed]:
    """The lines of a family that are shown: of each block those of its first ranks."""
    return [text for lines, ranks in blocks if name in lines for rank, text in lines[name].items() if rank < ranks]


def worker_text(told: WorkerNumbers) -> str:
    """The series of this worker, in the catalogue's order."""
    return _text_of(WORKER, told)


def http_text(told: HttpNumbers) -> str:
    """The series of its port, the same way."""
    return _text_of(HTTP, told)


def _text_of(catalogue: Iterable[WorkerSeries[Numbers]], told: Numbers) -> str:
    lines: list[str] = []
    for series in catalogue:
        lines.append(_head(series.name, series.kind, series.help))
        for labels, value in series.samples(told):
            text = label_text(series.labels, labels)[1:]
            if isinstance(value, Histogram):
                lines += histogram_lines(series.name, text, value)
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
