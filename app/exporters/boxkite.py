"""boxkite's own series of models that have a reference, so that its dashboards and expressions run as they are.

As boxkite 0.0.5 has them at `/metrics`, with the labels that name the model besides:

    feature_<place>_value            what came, of a feature of numbers: a histogram by the edges of the reference
    feature_<place>_value_total      what came, of a feature of categories: a counter by `bin`; "nan" is missing
    inference_value(_total)          what was predicted
    …_baseline(_total)               the same of the reference
    baseline_metrics_info            what each of them is called

Where boxkite is blind or has no limit, they say what Tally knows: all that the reference has not seen is one bin,
`(unseen)`, and what is missing is "nan" or above all edges, however it was written. Tally keeps bins, no sums: in a
`_sum` a number counts as the middle of its bin.

Tally's counts may fall, where a request is replaced by another one. Prometheus would take that for a restart and count
all rows anew, so here a bin keeps the greatest count that was shown: it is right again when as many rows have come.
"""

import re
from collections.abc import Iterator, Sequence
from typing import Any, Final

from app.core.drift.distribution import BELOW, FIRST, MISSING, UNSEEN, Distribution, number_in
from app.core.events import Identity
from app.core.measures.drift import DRIFT
from app.core.measures.exchanges import EXCHANGES
from app.core.measures.measure import OF_CELL
from app.core.measures.reading import Reading
from app.exporters.lines import Lines, label_text

_INFO: Final = "baseline_metrics_info"
_INFO_LABELS: Final = ("feature_name", "metric_name", "metric_type")
_OURS: Final = re.compile(rf"(?:feature_\d+|inference)_value(?:_baseline)?(?:_total)?|{_INFO}")
_BASELINE: Final = "_baseline"
_UNSEEN: Final = "(unseen)"
#: What boxkite calls the predictions, where it says what families are called.
_PREDICTIONS: Final = "Baseline inference values for test set"

#: The name of a sample, its labels behind those of the model, and its value.
_Line = tuple[str, str, Any]


def is_family(name: str) -> bool:
    """Whether lines of this name are boxkite's."""
    return _OURS.fullmatch(name) is not None


def head_of(family: str) -> tuple[str, str]:
    """The type of a family and its help, which cannot name the feature: each model has its own."""
    if family == _INFO:
        return "gauge", "Which feature a family is of."
    what = "predicted" if family.startswith("inference") else "asked of the feature at that place"
    since = "in the reference" if _BASELINE in family else "since the reference is in force"
    return "counter" if family.endswith("_total") else "histogram", f"Values {what}, {since}."


class BoxkiteSeries:
    """Makes the lines of models, and remembers which counts were shown."""

    def __init__(self) -> None:
        self._shown: dict[Identity, tuple[str, dict[str, list[int]]]] = {}

    def forget(self, identity: Identity) -> None:
        """Nothing is shown of a model any more."""
        self._shown.pop(identity, None)

    def add(self, lines: Lines, identity: Identity, total: Reading) -> None:
        """Add the lines of a model, if it has a reference, and has answered: requests that wait for their answer are
        counted without its version, and would be shown as a model of their own.
        """
        found = DRIFT.of(total)
        if found.live is None or not EXCHANGES.of(total)["response"]:
            return
        reference = found.live.reference
        named = [(f"feature_{place}_value", one.name, one) for place, one in enumerate(reference.features)]
        if reference.prediction is not None:
            named.append(("inference_value", _PREDICTIONS, reference.prediction))
        came = self._risen(identity, found.live.digest, found.counts)
        info: list[_Line] = []
        for family, about, distribution in named:
            kind = "histogram" if distribution.kind == "continuous" else "counter"
            info.append((_INFO, label_text(_INFO_LABELS, (about, family + _BASELINE, kind)), 1))
            for name, counts in ((family, came[distribution.name]), (family + _BASELINE, distribution.by_bin())):
                if kind == "histogram":
                    lines.add_lines(name, [*_of_numbers(name, distribution.edges, counts)], OF_CELL)
                else:
                    total_name = f"{name}_total"
                    lines.add_lines(total_name, [*_of_categories(total_name, distribution, counts)], OF_CELL)
        lines.add_lines(_INFO, info, OF_CELL)

    def _risen(self, identity: Identity, digest: str, counts: dict[str, list[int]]) -> dict[str, list[int]]:
        """The counts, each at least as high as it was shown by the same reference."""
        before_digest, before = self._shown.get(identity, ("", {}))
        if before_digest == digest:
            counts = {
                name: [max(both) for both in zip(bins, before[name], strict=True)] for name, bins in counts.items()
            }
        self._shown[identity] = digest, counts
        return counts


def _of_numbers(name: str, edges: Sequence[float], counts: Sequence[int]) -> Iterator[_Line]:
    below, *own, above = counts[BELOW:]
    rows, total, before = below, float(below) * edges[0], edges[0]
    for edge, count in zip(edges, own, strict=True):
        rows += count
        total += count * (before + edge) / 2
        before = edge
        yield f"{name}_bucket", f',le="{edge!r}"', rows
    rows += above + counts[MISSING]
    yield f"{name}_bucket", ',le="+Inf"', rows
    if edges[0] >= 0 or not name.endswith(_BASELINE):
        yield f"{name}_count", "", rows
    if edges[0] >= 0:  # else prometheus_client leaves it out, since it might fall
        yield f"{name}_sum", "", total + above * edges[-1]


def _of_categories(name: str, distribution: Distribution, counts: Sequence[int]) -> Iterator[_Line]:
    rows = {_bin_text(text): count for text, count in zip(distribution.categories, counts[FIRST:], strict=True)}
    if distribution.missing or counts[MISSING] or not rows:
        rows["nan"] = counts[MISSING]
    if counts[UNSEEN]:
        rows[_UNSEEN] = rows.get(_UNSEEN, 0) + counts[UNSEEN]
    for text, count in rows.items():
        yield name, label_text(("bin",), (text,)), count


def _bin_text(category: str) -> str:
    """A category as boxkite writes it: a number as a float."""
    number = number_in(category)
    return category if number is None else repr(number)
