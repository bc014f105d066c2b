"""A reading: what all measures say of one model, in total or in one stretch of time, and as what it is read."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from app.core.drift.live import Live
from app.core.measures.calibration import Learnt
from app.core.monitors import MonitorSpec
from app.core.rules import OwnScore, Task


class Nature(NamedTuple):
    """As what a model's counts are read: found out from its totals, and the same for all of its windows."""

    task: Task | Literal["unknown"]
    classes: frozenset[str] = frozenset()  # that are told apart
    shown: tuple[str, ...] = ()  # those of them that are shown, in order
    rest: int = 0  # how many more are known, which are shown as one
    positive: str = "1"
    own_scores: tuple[OwnScore, ...] = ()  # that the user has added
    reference: Live | None = None  # with which drift is measured
    gathered: int | None = None  # rows that have come of those of which its reference is to be made, until it is
    most_metrics: int = 50  # custom metrics that are shown
    most_metric_series: int = 50  # of each of them, of which the labels have the same names
    monitors: tuple[MonitorSpec, ...] = ()  # that it has
    learnt: Learnt | None = None  # of its probabilities by its labels, where scores are estimated


class Alerting(NamedTuple):
    """A monitor of a model, and whether it alerts now."""

    spec: MonitorSpec
    alerting: bool


class Reading(NamedTuple):
    """What each measure has read, by its name. `measure.of(reading)` gives one with its type."""

    nature: Nature
    by_measure: Mapping[str, Any]
    by_labels: bool = False  # whether it is of the labels and rewards that came then, not of the predictions
    segments: "Mapping[tuple[str, str], Reading]" = MappingProxyType({})  # of each (segment, value) that is shown
    folded_values: int = 0  # how many values of its segments are shown as `other`
    monitors: tuple[Alerting, ...] = ()  # of the whole model, in total
    history: tuple[tuple[int, int, int], ...] = ()  # of closed panes the beginning (s), rows judged, and those right


def class_order(text: str) -> tuple[int, float, str]:
    """The order of class texts: numbers by value, then texts."""
    try:
        value = float(text)
    except ValueError:
        return 1, 0.0, text
    return (0, value, text) if math.isfinite(value) else (1, 0.0, text)
