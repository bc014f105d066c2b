"""The dashboard of the user's own monitors: what they say of rows, beside their thresholds."""

from typing import Final

from grafana_foundation_sdk.builders import dashboard

from k8s.dashboards.words import COUNT, HALF, IN_WINDOW, MODEL, PLAIN, dashboard_of, lines, number, of_models

NO_MONITORS: Final = "No monitors, or no row scored yet: see README, Monitors of your own"
OF_MONITOR: Final = f"{MODEL} {{{{monitor}}}} {{{{monitor_version}}}}"


def _value(stat: str) -> str:
    return of_models("tally_monitor_value", f'stat="{stat}"', IN_WINDOW)


def _rows(outcome: str) -> str:
    return of_models("tally_window_monitor_rows", f'outcome="{outcome}"', IN_WINDOW)


def _share(outcome: str) -> str:
    every = f"sum without (outcome) ({of_models('tally_window_monitor_rows', IN_WINDOW)})"
    return f"{_rows(outcome)} / ignoring (outcome) {every}"


def monitors() -> dashboard.Dashboard:
    """The score line and the threshold line, as Hydrosphere draws them."""
    return dashboard_of(
        "monitors",
        "Tally: monitors",
        "What the monitors of the YAML file say of answered rows.",
        {
            "": [
                number(
                    "Alerting", of_models("tally_monitor_alerting"), legend=OF_MONITOR, span=HALF,
                    what="Whether a monitor alerts: so many rows as its hold says, within the shortest window.",
                    empty=NO_MONITORS, mapped={"0": ("fine", "green"), "1": ("alerts", "red")},
                ),
                number(
                    "Rows that failed", _share("failed"), legend=OF_MONITOR, span=HALF, unit="percentunit",
                    what="Share of the rows of which a monitor gives no value.", empty=NO_MONITORS,
                    steps=[(0.01, "orange"), (0.1, "red")],
                ),
            ],
            "Values": [
                lines(
                    "Mean and threshold", {f"mean {OF_MONITOR}": _value("mean")}, unit=PLAIN,
                    what="Mean of the values. The red line is what each row's value is compared with.",
                    empty=NO_MONITORS, limit=of_models("tally_monitor_threshold"),
                    limit_legend=f"{{{{comparison}}}} {OF_MONITOR}",
                ),
                lines(
                    "Quantiles and threshold", {f"{stat} {OF_MONITOR}": _value(stat) for stat in ("p50", "p95")},
                    what="Values that half and 95 % of the rows do not exceed, within 1/64.", unit=PLAIN,
                    empty=NO_MONITORS, limit=of_models("tally_monitor_threshold"),
                    limit_legend=f"{{{{comparison}}}} {OF_MONITOR}",
                ),
            ],
            "Rows": [
                lines(
                    "Rows that alert", {OF_MONITOR: _share("alert")}, empty=NO_MONITORS,
                    what="Share of the rows whose value meets the condition of alert_when.",
                ),
                lines(
                    "Rows by outcome",
                    {f"{outcome} {OF_MONITOR}": _rows(outcome) for outcome in ("ok", "alert", "failed")},
                    what="Rows that were scored, by outcome.", empty=NO_MONITORS, unit=COUNT,
                ),
            ],
        },
        models="tally_monitor_threshold",
        windows="tally_window_monitor_rows",
    )  # fmt: skip
