"""Monitors: the user's own scoring functions, and when the value of a row is an alert.

Hydrosphere's MetricSpec says when a model is *healthy*: `value OP threshold`, so its alert is the opposite comparison.
Its operators, as its SDK names them (`hydrosdk/monitoring.py`) and as its proto does (`ThresholdConfig.ComparisonOp`):
Eq, NotEq, Greater, GreaterEq, Less, LessEq, which its code compares as IEEE 754 says. Its `serving.yaml` has the signs.
"""

import math
import operator
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, NamedTuple

#: The six comparisons, as `alert_when` writes them.
COMPARISONS: Final[Mapping[str, Callable[[float, float], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_OPPOSITES: Final = {"==": "!=", "!=": "==", ">": "<=", ">=": "<", "<": ">=", "<=": ">"}
_WORDS: Final = {"eq": "==", "noteq": "!=", "greater": ">", "greatereq": ">=", "less": "<", "lesseq": "<="}
_HEALTHY: Final = _WORDS | {sign: sign for sign in COMPARISONS}
_CONDITION: Final = re.compile(r"\s*(==|!=|>=|<=|>|<)\s*(\S+)\s*")
NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,63}")


class Columns(NamedTuple):
    """What a monitor is given, a table by columns: the names of these, and the rows, each a list of values."""

    names: tuple[str, ...]
    rows: list[list[Any]]


class AlertWhen(NamedTuple):
    """When the value of a row is an alert: `value <comparison> <threshold>`."""

    comparison: str
    threshold: float

    def __call__(self, value: float) -> bool:
        """Whether this value is one."""
        return COMPARISONS[self.comparison](value, self.threshold)

    def __str__(self) -> str:
        return f"{self.comparison} {repr(self.threshold).removesuffix('.0')}"


class MonitorSpec(NamedTuple):
    """What is known of a monitor: which version of its code it runs, and when it alerts.

    A monitor begins to alert once `hold` rows have been alerts within the shortest window, and ends when it has `clear`
    such rows or fewer.
    """

    name: str
    version: str
    when: AlertWhen
    hold: int = 1
    clear: int = 0

    @property
    def key(self) -> str:
        """By what its results are counted."""
        return key_of(self.name, self.version)


class Code(NamedTuple):
    """What a monitor runs: which file or module, how it is called, and what it may take.

    `kind` is file, function or model; `place` the path of a file, or module:function. `call` is predict (a row at a
    time) or score (all rows at once); empty where the file itself says it. `digest` is that of a model that is trusted,
    `trusted` are types of a skops model that are, `output` is that of an ONNX model that has the values.
    """

    kind: str
    place: str
    folder: str = ""  # of the YAML file: modules are found there, too
    call: str = ""
    digest: str = ""
    timeout: float = 10.0  # seconds for a batch
    memory: int = 1 << 30  # bytes beside what the process has when it begins to score
    trusted: tuple[str, ...] = ()
    output: str = ""


def model_form(place: str) -> str:
    """What a model file is by its name: skops, onnx, else joblib."""
    ending = place.rpartition(".")[2].lower()
    return ending if ending in ("skops", "onnx") else "joblib"


class Monitor:
    """A monitor of a model in use: what the YAML file and the monitor's own file said when they were last read."""

    def __init__(self, spec: MonitorSpec, code: Code) -> None:
        self.spec = spec
        self.code = code


def key_of(name: str, version: str) -> str:
    """By what the results of a version of a monitor are counted."""
    return f"{name}@{version}"


def words_of(key: str) -> tuple[str, str]:
    """The name of a monitor and its version, of its key."""
    name, _, version = key.partition("@")
    return name, version


def alert_when(text: str) -> AlertWhen:
    """The condition that a text is, like `> 0.5`. Raises ValueError with the rest of a sentence."""
    found = _CONDITION.fullmatch(text)
    if found is None:
        raise ValueError(f"must be a comparison ({', '.join(COMPARISONS)}) and a number, like '> 0.5'")
    try:
        threshold = float(found[2])
    except ValueError:
        raise ValueError(f"{found[2]} is no number: write one, like '> 0.5'") from None
    if not math.isfinite(threshold):
        raise ValueError(f"{found[2]} cannot be compared with: write a finite number")
    return AlertWhen(found[1], threshold)


def alert_unless_healthy(comparison: Any, threshold: Any) -> AlertWhen:
    """When a monitor alerts whose MetricSpec says by these when it is healthy. Raises ValueError."""
    word = comparison.get("kind") if isinstance(comparison, Mapping) else comparison
    healthy = _HEALTHY.get(str(word).replace("_", "").lower())
    if healthy is None:
        raise ValueError(
            f"thresholdCmpOperator is {word!r}, and must be one of Eq, NotEq, Greater, GreaterEq, Less, LessEq, "
            "or a sign like <="
        )
    if isinstance(threshold, bool) or not isinstance(threshold, int | float) or not math.isfinite(threshold):
        raise ValueError(f"threshold is {threshold!r}, and must be a finite number")
    return AlertWhen(_OPPOSITES[healthy], float(threshold))


def is_alerting(alerts: Iterable[int], panes: int, hold: int, clear: int) -> bool:
    """Whether a monitor alerts at the end of some panes, given by the rows that were alerts in each.

    A window has so many panes. It depends on what is counted alone: neither order nor restarts show.
    """
    rows = [*alerts]
    alerting, within = False, 0
    for place, amount in enumerate(rows):
        within += amount - (rows[place - panes] if place >= panes else 0)
        alerting = within > clear if alerting else within >= hold
    return alerting
