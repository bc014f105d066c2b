"""How values of a monitor are spread, with the threshold: as a table with bars, and as JSON."""

import math
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import orjson
from rich.text import Text

from app.cli.screen import counted, screen, table
from app.core.monitors import AlertWhen

_BINS: Final = 20
_WIDTH_OF_A_BAR: Final = 40
_MOST_REASONS: Final = 10
#: What is beyond these quantiles by more than half of their distance has no bins of its own: it would flatten the rest.
_INNER: Final = (0.01, 0.99)
_QUANTILES: Final = {"p1": 0.01, "p5": 0.05, "p50": 0.5, "p95": 0.95, "p99": 0.99}


class Tried(NamedTuple):
    """What a monitor said of the rows of a file.

    `values` are those of the rows that have one; `reasons` why others have none: the words, how many rows, and the
    first line.
    """

    name: str
    when: AlertWhen | None
    where: str
    inputs: Sequence[str]
    outputs: Sequence[str]
    values: Sequence[float]
    reasons: Sequence[tuple[str, int, int]]

    @property
    def failed(self) -> int:
        """Rows that have no value."""
        return sum(count for _, count, _ in self.reasons)

    @property
    def alerts(self) -> int:
        """Rows whose value is an alert."""
        when = self.when
        return 0 if when is None else sum(when(value) for value in self.values)


class Bin(NamedTuple):
    """Rows whose values are above the bin before, and up to this edge."""

    edge: float
    rows: int
    alerts: int


def bins_of(values: Sequence[float], when: AlertWhen | None) -> list[Bin]:
    """The bins of finite values, of one width but at the ends; the threshold is an edge where it is among them."""
    finite = np.sort(np.array([value for value in values if math.isfinite(value)]))
    if not len(finite):
        return []
    least, most = float(finite[0]), float(finite[-1])
    inner = [float(edge) for edge in np.quantile(finite, _INNER)]
    low = max(least, inner[0] - (inner[1] - inner[0]) / 2)
    high = min(most, inner[1] + (inner[1] - inner[0]) / 2)
    edges = {float(edge) for edge in np.linspace(low, high, _BINS + 1)[1:]} | {most} if low < high else {low, most}
    edges = {edge for edge in edges if edge <= most}
    if when is not None and least <= when.threshold < most:
        edges.add(when.threshold)
    ordered = np.array(sorted(edges))
    places = np.searchsorted(ordered, finite, side="left")
    alerting = np.array([when is not None and when(float(value)) for value in finite])
    rows = np.bincount(places, minlength=len(ordered))
    alerts = np.bincount(places[alerting], minlength=len(ordered))
    return [Bin(*one) for one in zip(ordered.tolist(), rows.tolist(), alerts.tolist(), strict=True)]


def _numbers(tried: Tried) -> dict[str, float]:
    """Mean, quantiles and ends of the finite values, none where there are none."""
    finite = np.array([value for value in tried.values if math.isfinite(value)])
    if not len(finite):
        return {}
    quantiles = {name: float(np.quantile(finite, share)) for name, share in _QUANTILES.items()}
    return {"mean": float(finite.mean()), "min": float(finite.min()), **quantiles, "max": float(finite.max())}


def json_of(tried: Tried) -> str:
    """All of it."""
    body: dict[str, Any] = {
        "monitor": tried.name,
        "file": tried.where,
        "inputs": [*tried.inputs],
        "outputs": [*tried.outputs],
        "alert_when": None if tried.when is None else str(tried.when),
        "rows": len(tried.values) + tried.failed,
        "ok": len(tried.values) - tried.alerts,
        "alert": tried.alerts,
        "failed": tried.failed,
        "infinite": sum(map(math.isinf, tried.values)),
        "values": _numbers(tried),
        "bins": [
            {"up_to": one.edge, "rows": one.rows, "alerts": one.alerts} for one in bins_of(tried.values, tried.when)
        ],
        "reasons": [{"why": why, "rows": count, "first_line": line} for why, count, line in tried.reasons],
    }
    return orjson.dumps(body, option=orjson.OPT_INDENT_2).decode()


def draw(tried: Tried) -> None:
    """Print it: the bins as bars, those of alerts in red, the counts, and why rows have failed."""
    console = screen()
    when = "no alert_when: give --alert-when" if tried.when is None else f"alert_when {tried.when}"
    bins = bins_of(tried.values, tried.when)
    drawn = table(f"{tried.name} over {tried.where}  ({when})", "value", "rows", "share", "alerts", "")
    most = max((one.rows for one in bins), default=1) or 1
    total = sum(one.rows for one in bins)
    for one in bins:
        red = round(_WIDTH_OF_A_BAR * one.alerts / most)
        bar = Text("█" * (round(_WIDTH_OF_A_BAR * one.rows / most) - red), style="cyan") + Text("█" * red, style="red")
        mark = "  ◄ threshold" if tried.when is not None and one.edge == tried.when.threshold else ""
        drawn.add_row(
            f"≤ {one.edge:.6g}", f"{one.rows:,}", f"{one.rows / total:.1%}", f"{one.alerts:,}", bar + Text(mark)
        )
    if bins:
        console.print(drawn)
        console.print("  ".join(f"{name} {value:.6g}" for name, value in _numbers(tried).items()), soft_wrap=True)
    _draw_counts(tried)
    for side, names in (("Inputs", tried.inputs), ("Outputs", tried.outputs)):
        missing = "none: name the columns of answers with --answer" if side == "Outputs" else "none"
        console.print(f"{side}: {', '.join(names) or missing}", soft_wrap=True)


def _draw_counts(tried: Tried) -> None:
    console = screen()
    rows = len(tried.values) + tried.failed
    counts = table("", "outcome", "rows", "share")
    outcomes = {"ok": len(tried.values) - tried.alerts, "alert": tried.alerts, "failed": tried.failed}
    for outcome, count in outcomes.items():
        counts.add_row(outcome, f"{count:,}", f"{count / rows:.2%}")
    console.print(counts)
    infinite = sum(map(math.isinf, tried.values))
    if infinite:
        console.print(f"{counted(infinite, 'value')} of these are infinite, and drawn nowhere.")
    if tried.reasons:
        why = table("Why rows failed", "rows", "first line", "reason")
        for reason, count, line in tried.reasons[:_MOST_REASONS]:
            why.add_row(f"{count:,}", str(line), reason)
        if len(tried.reasons) > _MOST_REASONS:
            rest = tried.reasons[_MOST_REASONS:]
            why.add_row(f"{sum(count for _, count, _ in rest):,}", "", f"{counted(len(rest), 'other reason')}")
        console.print(why)
