"""Monitors: six comparisons, what a MetricSpec means, and when a monitor alerts."""

import json
import math
from typing import Any

import pytest

from app.core.monitors import AlertWhen, alert_unless_healthy, alert_when, is_alerting
from tests.cases import FOLDER, demand


def number(value: Any) -> float:
    return {"NaN": math.nan, "+Inf": math.inf, "-Inf": -math.inf}[value] if isinstance(value, str) else float(value)


def test_a_metric_spec_alerts_wherever_hydrosphere_finds_a_row_unhealthy() -> None:
    demand(FOLDER / "monitoring")
    cases = json.loads((FOLDER / "monitoring/threshold-checks.json").read_text())["cases"]
    assert len({case["operator"] for case in cases}) == 6
    for case in cases:
        value = number(case["value"])
        if not math.isnan(value):  # a row that has no number has failed: nothing is compared
            assert alert_unless_healthy(case["operator"], case["threshold"])(value) == case["alarm"], case


@pytest.mark.parametrize("kind", ["LessEq", "LESS_EQ", {"kind": "LessEq"}, "<="])
def test_the_operator_of_a_metric_spec_has_four_spellings(kind: Any) -> None:
    assert alert_unless_healthy(kind, 0.97) == AlertWhen(">", 0.97)


@pytest.mark.parametrize(
    ("operator", "threshold", "sentence"),
    [
        ("Near", 1, "thresholdCmpOperator is 'Near', and must be one of Eq"),
        (None, 1, "thresholdCmpOperator is None"),
        ("Less", "1", "threshold is '1', and must be a finite number"),
        ("Less", True, "threshold is True"),
        ("Less", math.inf, "threshold is inf"),
    ],
)
def test_a_metric_spec_that_says_no_comparison_is_refused(operator: Any, threshold: Any, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        alert_unless_healthy(operator, threshold)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("> 0.5", AlertWhen(">", 0.5)),
        (">=1e3", AlertWhen(">=", 1000)),
        (" < -2 ", AlertWhen("<", -2)),
        ("<= 0", AlertWhen("<=", 0)),
        ("== 1", AlertWhen("==", 1)),
        ("!= 1", AlertWhen("!=", 1)),
        ("> 0.30000000000000004", AlertWhen(">", 0.1 + 0.2)),
        ("<= -1e-300", AlertWhen("<=", -1e-300)),
    ],
)
def test_a_condition_is_a_comparison_and_a_number(text: str, found: AlertWhen) -> None:
    assert alert_when(text) == found
    assert alert_when(str(found)) == found


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("0.5", "must be a comparison"),
        ("", "must be a comparison"),
        ("=> 1", "must be a comparison"),
        ("> much", "much is no number"),
        ("> nan", "write a finite number"),
        ("> 1 or < 0", "must be a comparison"),
    ],
)
def test_anything_else_is_refused(text: str, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        alert_when(text)


@pytest.mark.parametrize(
    ("alerts", "hold", "clear", "alerting"),
    [
        ([0, 0, 0], 1, 0, False),
        ([0, 0, 1], 1, 0, True),
        ([1, 0, 0], 1, 0, True),  # within three panes
        ([1, 0, 0, 0], 1, 0, False),
        ([2, 2, 0], 5, 0, False),
        ([2, 2, 1], 5, 0, True),
        ([5, 0, 0, 2], 5, 1, True),  # it has begun, and ends at one row or none
        ([5, 0, 0, 1], 5, 1, False),
        ([0, 0, 0, 2], 5, 1, False),  # it has not begun
        ([], 1, 0, False),
    ],
)
def test_a_monitor_begins_to_alert_at_so_many_rows_and_ends_at_fewer(
    alerts: list[int], hold: int, clear: int, alerting: bool
) -> None:
    assert is_alerting(alerts, 3, hold, clear) == alerting
