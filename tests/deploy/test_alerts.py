"""Each alert fires when it must, and is silent with too few rows, at no traffic and at its limit's edge."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from app.settings import load_settings
from tests.deploy.promtool import ALERTS, Case, is_accepted, run, shown
from tests.readme import README

MODEL: Final = 'model_namespace="ns",model_service="fraud",predictor="default",model="clf",model_version=""'
#: Where days matter a value stands for a quarter of an hour: so many of them are a day.
DAY: Final = 96
#: Parts of the rules that a mistake is made in.
LEAST: Final = "ignoring (score, class, window) group_left () tally:least_samples"
QUANTITIES: Final = '{window="total", quantity=~"verdict|accuracy_difference|error_difference"}'


def of_model(name: str, more: str = "", worker: str = "a") -> str:
    """A series of the model as one worker exports it."""
    return f'{name}{{job="tally",instance="{worker}",{MODEL}{"," if more else ""}{more}}}'


def of_worker(name: str, more: str = "", worker: str = "a") -> str:
    return f'{name}{{job="tally",instance="{worker}"{"," if more else ""}{more}}}'


def score(values: str, samples: str, name: str = "accuracy", window: str = "1h", worker: str = "a") -> dict[str, str]:
    """A score of the model and the rows that it rests on."""
    labels = f'score="{name}",class="",window="{window}"'
    return {
        of_model("tally_score", labels, worker): values,
        of_model("tally_score_samples", labels, worker): samples,
    }


def error(values: str, samples: str) -> dict[str, str]:
    labels = 'error="mae",window="1h"'
    return {of_model("tally_error", labels): values, of_model("tally_error_samples", labels): samples}


def rules(limit: str = "0.9x3000", name: str = "accuracy", bound: str = "lower", worker: str = "a") -> dict[str, str]:
    """What the YAML file says of the model: the limit of a score, and 100 rows."""
    return {
        of_model("tally_score_limit", f'score="{name}",class="",bound="{bound}"', worker): limit,
        of_model("tally_least_samples", "", worker): "100x5000",
    }


def delays(seconds: float) -> dict[str, str]:
    """A hundred labels that all took about so long."""
    bounds = (60, 600, 3600, 86400)
    return {
        of_model("tally_feedback_delay_seconds_bucket", f'le="{bound}"'): f"{100 if seconds <= bound else 0}x3000"
        for bound in bounds
    } | {of_model("tally_feedback_delay_seconds_bucket", 'le="+Inf"'): "100x3000"}


def taken_over(series: Mapping[str, str]) -> dict[str, str]:
    """The same: worker a is killed in minute 20, and worker b exports it from minute 22 on."""
    found = {}
    for name, values in series.items():
        value, _ = values.split("x")
        found[name] = f"{value}x20 stale"
        found[name.replace('instance="a"', 'instance="b"')] = f"_x22 {value}x3000"
    return found


def before_and_now(before: str, now: str, *, rows: int = 1000, recent: int = 400) -> dict[str, str]:
    """The score of the day and of the hour, which ends another way in minute 100."""
    return (
        rules()
        | score(f"{before}x300", f"{rows}x300", window="24h")
        | score(f"{before}x100 {now}x200", f"{recent}x300", window="1h")
    )


def labels(window: str, values: str) -> dict[str, str]:
    return score("0.9x9000", values, window=window)


def of_days(alert: str, what: str, series: Mapping[str, str], at: int, **more: Any) -> Case:
    """A case in which a value stands for a quarter of an hour."""
    return Case(alert, what, series, at, every=15, **more)


REWARDED: Final = rules("0.5x300", "reward_mean")
ANSWERED: Final = score("0.5x12000", "50x12000", "coverage")
NOT_ANSWERED: Final = score("NaNx9", "0x9000", "coverage")
NEVER: Final = labels("labels_1h", "0x9000") | labels("labels_24h", "0x9000")
ALL_DAY: Final = labels("labels_1h", f"5x{2 * DAY} 0x{2 * DAY}") | labels("labels_24h", "120x9000")
ONCE_A_DAY: Final = labels("labels_1h", "0x9000") | labels("labels_24h", f"120x{5 * DAY} 0x{2 * DAY}")


def coverage(before: str, now: str, samples: str = "500x3000") -> dict[str, str]:
    return score(f"{before}x{DAY} {now}x{DAY}", samples, "coverage", "24h")


def alerting(values: str) -> dict[str, str]:
    """Whether a monitor of the model alerts."""
    return {of_model("tally_monitor_alerting", 'monitor="outliers",monitor_version="3f2a9c01"'): values}


def monitored(ok: str, failed: str) -> dict[str, str]:
    """The rows of the last hour that a monitor has scored, and those on which it failed."""
    labels = 'monitor="outliers",monitor_version="3f2a9c01",window="1h",outcome='
    return {
        of_model("tally_window_monitor_rows", labels + '"ok"'): ok,
        of_model("tally_window_monitor_rows", labels + '"failed"'): failed,
    }


def comparison(verdict: str) -> dict[str, str]:
    labels = 'shadow="shadow",window="total",quantity='
    return {
        of_model("tally_comparison", labels + '"verdict"'): f"{verdict}x300",
        of_model("tally_comparison", labels + '"accuracy_difference"'): "0.04x300",
    }


def drift(psi: str, p_value: str, rows: str = "100x90") -> dict[str, str]:
    labels = 'feature="age",window="1h"'
    return {
        of_model("tally_drift", f'{labels},measure="psi"'): psi,
        of_model("tally_drift", f'{labels},measure="chi2_p"'): p_value,
        of_model("tally_feature_rows", labels): rows,
    }


def unseen(share: str, rows: str = "100x90") -> dict[str, str]:
    labels = 'feature="age",window="1h"'
    return {
        of_model("tally_feature_share", f'{labels},kind="unseen"'): share,
        of_model("tally_feature_rows", labels): rows,
    }


def invalid(share: str, rows: str = "100x90", feature: str = "age") -> dict[str, str]:
    labels = f'feature="{feature}",window="1h"'
    return {
        of_model("tally_feature_share", f'{labels},kind="invalid"'): share,
        of_model("tally_feature_rows", labels): rows,
    }


def missing(day: str, hour: str, rows: str = "100x150") -> dict[str, str]:
    labels = 'feature="age",kind="missing",window='
    return {
        of_model("tally_feature_share", labels + '"24h"'): day,
        of_model("tally_feature_share", labels + '"1h"'): hour,
        of_model("tally_feature_rows", 'feature="age",window="1h"'): rows,
    }


def share_drifted(share: str) -> dict[str, str]:
    return {of_model("tally_drifted_share", 'window="1h"'): share}


def of_version(
    psi: str, p_value: str, rows: str = "100x90", before: str = "1", feature: str = "(score)"
) -> dict[str, str]:
    """How far the last day of a version is from the version before it."""
    version, labels = 'model_version="2"', f'before="{before}",feature="{feature}",window="24h"'
    return {
        name.replace('model_version=""', version): values
        for name, values in {
            of_model("tally_least_samples"): "100x5000",
            of_model("tally_version_drift", f'{labels},measure="psi"'): psi,
            of_model("tally_version_drift", f'{labels},measure="chi2_p"'): p_value,
            of_model("tally_version_rows", labels): rows,
        }.items()
    }


def lossy(name: str, more: str, values: str) -> dict[str, str]:
    return {of_worker(name, more): values}


def unscored(values: str, worker: str = "a") -> dict[str, str]:
    """The records that a worker knows to wait for a monitor."""
    return {of_worker("tally_monitor_lag_records", 'monitor="outliers"', worker): values}


def refusals(per_minute: int, of: int) -> dict[str, str]:
    return lossy("tally_rejected_total", 'reason="bad-json"', f"0+{per_minute}x60") | lossy(
        "tally_events_total", 'kind="request"', f"0+{of}x60"
    )


UNDER, OVER, FELL = "TallyScoreUnderLimit", "TallyErrorOverLimit", "TallyScoreFell"
BETTER, COVERAGE, STOPPED = "TallyShadowBetter", "TallyCoverageLow", "TallyLabelsStopped"
REWARD = "TallyRewardUnderLimit"
DRIFTED, UNSEEN = "TallyFeatureDrifted", "TallyFeatureUnseen"
MONITOR, MONITOR_FAILS, LAGGING = "TallyMonitorAlerts", "TallyMonitorFails", "TallyMonitorLags"
INVALID, MISSING, MODEL_DRIFTED = "TallyFeatureInvalid", "TallyFeatureMissing", "TallyModelDrifted"
VERSION = "TallyVersionDrifted"
NONE, DOWN, NOT_READY = "TallyNoWorker", "TallyWorkerDown", "TallyPartitionNotReady"
LAG, SILENT, STALLED = "TallyLag", "TallyKafkaSilent", "TallyIntakeStalled"
LOST, REFUSED, BEHIND = "TallyEventsLost", "TallyEventsRefused", "TallyDocumentsBehind"
NO_DOCUMENTS, DIFFER, DROPPED = "TallyDocumentsRefused", "TallySettingsDiffer", "TallySeriesDropped"

OF_MODELS: Final = [
    Case(
        UNDER, "it is under its limit", rules() | score("0.8x60", "100x60"), 30,
        summary="fraud/default/clf: accuracy is 0.8, under its limit",
    ),
    Case(UNDER, "too few rows", rules() | score("0.8x60", "99x60"), 30, fires=False),
    Case(UNDER, "no traffic", rules() | score("NaNx60", "0x60"), 30, fires=False),
    Case(UNDER, "no series at all", {}, 30, fires=False),
    Case(UNDER, "just at its limit", rules() | score("0.9x60", "100x60"), 30, fires=False),
    Case(UNDER, "another score than the limit's", rules(name="recall") | score("0.8x60", "100x60"), 30, fires=False),
    Case(UNDER, "for four minutes only", rules() | score("0.95x10 0.8x3 0.95x60", "100x90"), 40, False, 0),
    Case(UNDER, "a takeover", taken_over(rules() | score("0.8x60", "100x60")), 60, minutes=56),
    Case(UNDER, "a takeover of a good model", taken_over(rules() | score("0.95x60", "100x60")), 60, False, 0),
    Case(UNDER, "it recovers", rules() | score("0.8x20 0.95x60", "100x90"), 60, False),
    Case(
        UNDER, "late labels: those that came are watched",
        rules() | delays(9000) | score("NaNx300", "0x300") | score("0.8x60", "100x60", window="labels_1h"), 30,
    ),
    Case(
        UNDER, "late labels are good while the few early ones are not",
        rules() | delays(9000) | score("0.5x60", "100x60") | score("0.95x60", "100x60", window="labels_1h"), 30, False,
    ),
    Case(
        UNDER, "labels in time: the predictions are watched",
        rules() | delays(30) | score("0.95x60", "100x60") | score("0.5x60", "100x60", window="labels_1h"), 30, False,
    ),
    Case(UNDER, "there is no window of an hour", rules() | score("0.8x60", "100x60", window="24h"), 30),
    Case(
        OVER, "it is over its limit", rules("2x60", "mae", "upper") | error("2.5x60", "100x60"), 30,
        summary="fraud/default/clf: mae is 2.5, over its limit",
    ),
    Case(OVER, "too few rows", rules("2x60", "mae", "upper") | error("2.5x60", "99x60"), 30, fires=False),
    Case(OVER, "no traffic", rules("2x60", "mae", "upper") | error("NaNx60", "0x60"), 30, fires=False),
    Case(OVER, "just at its limit", rules("2x60", "mae", "upper") | error("2x60", "100x60"), 30, fires=False),
    Case(OVER, "a takeover", taken_over(rules("2x60", "mae", "upper") | error("2.5x60", "100x60")), 60, minutes=56),
    Case(OVER, "a score that is one better the higher", rules("0.5x60") | score("0.8x60", "100x60"), 30, fires=False),
    Case(
        FELL, "by much more than noise", before_and_now("0.9", "0.7"), 120,
        summary="fraud/default/clf: accuracy has fallen to 0.7",
    ),
    # Of 0.9 in 1,000 rows and 400 the standard error is about 0.018.
    Case(FELL, "by four standard errors and a bit", before_and_now("0.9", "0.82"), 120),
    Case(FELL, "by just under four", before_and_now("0.9", "0.83"), 120, fires=False),
    Case(FELL, "too few rows now", before_and_now("0.9", "0.5", recent=99), 120, fires=False),
    Case(FELL, "too few rows before", before_and_now("0.9", "0.5", rows=99), 120, fires=False),
    Case(FELL, "no traffic", before_and_now("0.9", "NaN"), 120, fires=False),
    Case(FELL, "it rises", before_and_now("0.7", "0.9"), 120, fires=False),
    Case(
        FELL, "a takeover",
        taken_over(rules() | score("0.9x300", "1000x300", window="24h") | score("0.7x300", "400x300")), 120, minutes=56,
    ),
    Case(
        BETTER, "the verdict says so", rules() | comparison("1"), 30,
        summary="fraud: shadow is better than default/clf",
    ),
    Case(BETTER, "no difference is shown", rules() | comparison("0"), 30, fires=False),
    Case(BETTER, "too few rows", rules() | comparison("NaN"), 30, fires=False),
    Case(BETTER, "a takeover", taken_over(comparison("1")), 60, minutes=56),
    Case(
        COVERAGE, "it is under its limit", rules("0.3x3000", "coverage") | coverage("0.25", "0.25"), 80,
        summary="fraud/default/clf: only 25% of the last day's rows have a label",
    ),
    Case(COVERAGE, "just at its limit", rules("0.25x3000", "coverage") | coverage("0.25", "0.25"), 80, False),
    of_days(COVERAGE, "less than half of the day before's", rules() | coverage("0.8", "0.35"), DAY + 12),
    of_days(COVERAGE, "just half of it", rules() | coverage("0.8", "0.4"), DAY + 12, fires=False),
    of_days(COVERAGE, "too few rows", rules() | coverage("0.8", "0.1", "99x3000"), DAY + 12, fires=False),
    of_days(COVERAGE, "no traffic", rules() | coverage("0.8", "NaN"), DAY + 12, fires=False),
    Case(COVERAGE, "a takeover", taken_over(rules("0.3x9", "coverage") | score("0.2x9", "500x9", "coverage", "24h")),
         120, minutes=61),
    of_days(
        STOPPED, "they came all day long, and none for an hour", rules() | ANSWERED | ALL_DAY, 2 * DAY + 6,
        summary="fraud/default/clf gets no labels any more",
    ),
    of_days(STOPPED, "a day later it still fires", rules() | ANSWERED | ALL_DAY, 3 * DAY - 4),
    of_days(STOPPED, "they still come", rules() | ANSWERED | ALL_DAY, 2 * DAY - 1, fires=False),
    of_days(STOPPED, "they came once a day, and none for a day", rules() | ANSWERED | ONCE_A_DAY, 5 * DAY + 6),
    of_days(STOPPED, "once a day they still come", rules() | ANSWERED | ONCE_A_DAY, 4 * DAY, fires=False),
    of_days(STOPPED, "there are no predictions either", ALL_DAY | NOT_ANSWERED, 2 * DAY + 6, fires=False),
    of_days(STOPPED, "there never were labels", ANSWERED | NEVER, 2 * DAY, fires=False),
    Case(
        REWARD, "it is under its limit", REWARDED | score("0.4x60", "100x60", "reward_mean"), 30,
        summary="fraud/default/clf: the mean reward is 0.4, under its limit",
    ),
    Case(REWARD, "too few rewards", REWARDED | score("0.4x60", "99x60", "reward_mean"), 30, False),
    Case(REWARD, "just at its limit", REWARDED | score("0.5x60", "100x60", "reward_mean"), 30, False),
    Case(REWARD, "no traffic", REWARDED | score("NaNx60", "0x60", "reward_mean"), 30, False),
    Case(
        REWARD, "a model that has labels is judged by them",
        REWARDED | score("0.4x60", "100x60", "reward_mean") | score("0.9x60", "1x60", window="24h"), 30, False,
    ),
    Case(
        DRIFTED, "far and beyond chance", rules() | drift("0.2x90", "0.001x90"), 60,
        summary="fraud/default/clf: age has drifted from the reference",
    ),
    Case(DRIFTED, "far, and maybe by chance", rules() | drift("0.2x90", "0.01x90"), 60, fires=False),
    Case(DRIFTED, "beyond chance, and just not far", rules() | drift("0.1x90", "0x90"), 60, fires=False),
    Case(DRIFTED, "too few rows", rules() | drift("0.2x90", "0.001x90", "99x90"), 60, fires=False),
    Case(DRIFTED, "no traffic", rules() | drift("NaNx90", "NaNx90", "0x90"), 60, fires=False),
    Case(DRIFTED, "for a quarter of an hour only", rules() | drift("0x9 0.2x15 0x60", "0x90"), 40, False, 0),
    Case(DRIFTED, "a takeover", taken_over(rules() | drift("0.2x90", "0.001x90")), 70, minutes=41),
    Case(
        UNSEEN, "one in ten", rules() | unseen("0.1x90"), 40,
        summary="fraud/default/clf: 10% of age are values that the reference has not seen",
    ),
    Case(UNSEEN, "just one in twenty", rules() | unseen("0.05x90"), 40, fires=False),
    Case(UNSEEN, "too few rows", rules() | unseen("0.1x90", "99x90"), 40, fires=False),
    Case(UNSEEN, "no traffic", rules() | unseen("NaNx90", "0x90"), 40, fires=False),
    Case(UNSEEN, "a takeover", taken_over(rules() | unseen("0.1x90")), 60, minutes=46),
    Case(
        INVALID, "one in ten", rules() | invalid("0.1x90"), 40,
        summary="fraud/default/clf: 10% of age are not what is declared",
    ),
    Case(INVALID, "just one in twenty", rules() | invalid("0.05x90"), 40, fires=False),
    Case(INVALID, "too few rows", rules() | invalid("0.1x90", "99x90"), 40, fires=False),
    Case(INVALID, "no traffic", rules() | invalid("NaNx90", "0x90"), 40, fires=False),
    Case(INVALID, "the rows as a whole", rules() | invalid("0.1x90", feature="(row)"), 40, fires=False),
    Case(INVALID, "a takeover", taken_over(rules() | invalid("0.1x90")), 60, minutes=46),
    Case(
        MISSING, "one in ten more than the day before", rules("0.9x150") | missing("0.25x150", "0.35x150"), 120,
        summary="fraud/default/clf: age is missing in 10% more of the rows",
    ),
    Case(MISSING, "as many as the day before", rules("0.9x150") | missing("0.5x150", "0.5x150"), 120, fires=False),
    Case(MISSING, "too few rows", rules("0.9x150") | missing("0x150", "1x150", "99x150"), 120, False),
    Case(MISSING, "no traffic", rules("0.9x150") | missing("NaNx150", "NaNx150", "0x150"), 120, False),
    Case(MISSING, "there is no day before", rules("0.9x150") | missing("_x40 0.1x150", "_x40 1x150"), 90, False),
    Case(MISSING, "a takeover", taken_over(rules("0.9x150") | missing("0x150", "0.5x150")), 150, minutes=76),
    Case(
        MODEL_DRIFTED, "half of the features", share_drifted("0.5x90"), 60,
        summary="fraud/default/clf: 50% of its features have drifted",
    ),
    Case(MODEL_DRIFTED, "less than half", share_drifted("0.49x90"), 60, False),
    Case(MODEL_DRIFTED, "no traffic, or too few rows", share_drifted("NaNx90"), 60, False),
    Case(MODEL_DRIFTED, "for a quarter of an hour only", share_drifted("0x9 1x15 0x60"), 40, False, 0),
    Case(MODEL_DRIFTED, "a takeover", taken_over(share_drifted("1x90")), 70, minutes=41),
    Case(
        VERSION, "far and beyond chance", of_version("0.2x90", "0.001x90"), 60,
        summary="fraud/default/clf: version 2 does not answer as version 1 did",
    ),
    Case(
        VERSION, "before it there was no version", of_version("0.2x90", "0.001x90", before=""), 60,
        summary="fraud/default/clf: version 2 does not answer as what had no version did",
    ),
    Case(VERSION, "far, and maybe by chance", of_version("0.2x90", "0.01x90"), 60, fires=False),
    Case(VERSION, "beyond chance, and just not far", of_version("0.1x90", "0x90"), 60, fires=False),
    Case(VERSION, "too few rows of one of them", of_version("0.2x90", "0.001x90", "99x90"), 60, fires=False),
    Case(VERSION, "no traffic", of_version("NaNx90", "NaNx90", "0x90"), 60, fires=False),
    Case(VERSION, "what it is asked", of_version("0.2x90", "0x90", feature="age"), 60, fires=False),
    Case(VERSION, "for a quarter of an hour only", of_version("0x9 0.2x15 0x60", "0x90"), 40, False, 0),
    Case(VERSION, "a takeover", taken_over(of_version("0.2x90", "0.001x90")), 70, minutes=41),
    Case(
        MONITOR, "it alerts", alerting("1x90"), 10,
        summary="fraud/default/clf: its monitor outliers alerts",
    ),
    Case(MONITOR, "it does not", alerting("0x90"), 30, fires=False),
    Case(MONITOR, "it has ended", alerting("1x20 0x90"), 40, False, 25),
    Case(MONITOR, "a takeover", taken_over(alerting("1x90")), 60, minutes=60),
    Case(
        MONITOR_FAILS, "a fifth of the rows", monitored("80x90", "20x90"), 30,
        summary="fraud/default/clf: its monitor outliers fails on 20% of the rows",
    ),
    Case(MONITOR_FAILS, "a tenth", monitored("90x90", "10x90"), 30, fires=False),
    Case(MONITOR_FAILS, "no traffic", monitored("0x90", "0x90"), 30, fires=False),
    Case(MONITOR_FAILS, "for four minutes only", monitored("80x90", "0x10 20x3 0x60"), 40, False, 0),
    Case(MONITOR_FAILS, "a takeover", taken_over(monitored("0x90", "20x90")), 60, minutes=56),
    Case(REWARD, "a takeover", taken_over(REWARDED | score("0.4x9", "100x9", "reward_mean")), 60, minutes=56),
]  # fmt: skip

UP = of_worker("up")
READY, WANTED = of_worker("tally_partitions", 'state="ready"'), of_worker("tally_topic_partitions")
READY_B = of_worker("tally_partitions", 'state="ready"', "b")
OF_WORKERS: Final = [
    Case(NONE, "none answers", {UP: "0x30"}, 10, summary="No Tally worker answers"),
    Case(NONE, "there is none", {}, 10),
    Case(NONE, "one of two answers", {UP: "0x30", of_worker("up", "", "b"): "1x30"}, 10, fires=False),
    Case(DOWN, "one does not answer", {UP: "0x30"}, 10, summary="The Tally worker a does not answer"),
    Case(DOWN, "it answers again soon", {UP: "1x5 0 1x30"}, 20, fires=False, minutes=0),
    Case(NOT_READY, "a partition has no owner", {READY: "3x30", READY_B: "4x30", WANTED: "8x30"}, 10,
         summary="1 partitions are not counted"),
    Case(NOT_READY, "all have one", {READY: "4x30", READY_B: "4x30", WANTED: "8x30"}, 10, fires=False),
    Case(NOT_READY, "a takeover", {READY: "4x9 stale", READY_B: "4x10 8x30", WANTED: "8x40"}, 30, False, 0),
    Case(LAG, "six minutes behind", lossy("tally_lag_seconds", "", "360x30"), 20, summary="Tally is 6m 0s behind"),
    Case(LAG, "just five", lossy("tally_lag_seconds", "", "300x30"), 20, fires=False),
    Case(LAG, "a takeover", taken_over(lossy("tally_lag_seconds", "", "360x30")), 60, minutes=56),
    Case(LAG, "a takeover that is caught up soon", lossy("tally_lag_seconds", "", "0x5 400x2 0x30"), 30, False, 0),
    Case(SILENT, "no fetch is answered", lossy("tally_fetch_age_seconds", "", "61x30"), 20,
         summary="Kafka does not answer the Tally worker a"),
    Case(SILENT, "no heartbeat is answered", lossy("tally_heartbeat_age_seconds", "", "61x30"), 20),
    Case(SILENT, "just a minute", lossy("tally_fetch_age_seconds", "", "60x30"), 20, fires=False),
    Case(SILENT, "nothing is fetched", lossy("tally_fetch_age_seconds", "", "NaNx30"), 20, fires=False),
    Case(STALLED, "for six minutes", lossy("tally_intake_stalled_seconds", "", "360x30"), 20,
         summary="The intake of the Tally worker a stands still"),
    Case(STALLED, "just five", lossy("tally_intake_stalled_seconds", "", "300x30"), 20, fires=False),
    Case(LAGGING, "it gets more", unscored("2000+100x40"), 30,
         summary="The monitor outliers does not keep up"),
    Case(LAGGING, "it stays as it is", unscored("1001x40"), 30),
    Case(LAGGING, "it catches up", unscored("90000-100x40"), 30, fires=False),
    Case(LAGGING, "just a thousand", unscored("1000x40"), 30, fires=False),
    Case(LAGGING, "its runner does not run", unscored("5x9 NaNx40"), 40,
         summary="No worker knows how many joined records wait for the monitor outliers"),
    Case(LAGGING, "it begins", unscored("NaNx8 0x40"), 40, False, 0),
    Case(LAGGING, "another worker knows", unscored("NaNx40") | unscored("0x40", "b"), 30, fires=False),
    Case(LOST, "some were deleted", lossy("tally_lost_events_total", 'topic="asked"', "0x10 5x30"), 15,
         summary="Kafka has deleted events of asked before they were counted"),
    Case(LOST, "long ago", lossy("tally_lost_events_total", 'topic="asked"', "5x40"), 30, fires=False),
    Case(REFUSED, "one in ten", refusals(10, 90), 30, summary="Tally refuses 10% of what it gets"),
    Case(REFUSED, "just one in twenty", refusals(5, 95), 30, fires=False),
    Case(REFUSED, "too few", refusals(1, 1), 30, fires=False),
    Case(REFUSED, "no traffic", refusals(0, 0), 30, fires=False),
    Case(BEHIND, "for eleven minutes", lossy("tally_documents_oldest_seconds", "", "660x30"), 20,
         summary="Documents wait for Elasticsearch for 11m 0s"),
    Case(BEHIND, "just ten", lossy("tally_documents_oldest_seconds", "", "600x30"), 20, fires=False),
    Case(NO_DOCUMENTS, "some", lossy("tally_documents_total", 'result="refused"', "0x10 3x30"), 15,
         summary="Elasticsearch refuses documents"),
    Case(NO_DOCUMENTS, "others are written", lossy("tally_documents_total", 'result="written"', "0+9x30"), 15, False),
    Case(DIFFER, "two workers have two files", lossy("tally_rules_differ", "", "4x30"), 20,
         summary="Tally's workers have different rules"),
    Case(DIFFER, "a rollout of new ones", lossy("tally_rules_differ", "", "0x5 4x3 0x30"), 30, False, 0),
    Case(DROPPED, "series are left out", lossy("tally_dropped_total", 'what="series"', "25x30"), 20,
         summary="A limit keeps 25 series from being exported"),
    Case(DROPPED, "none is", lossy("tally_dropped_total", 'what="series"', "0x30"), 20, fires=False),
]  # fmt: skip
JOB = 'namespace="ns",job_name="tally-verify-1"'


def of_verify(started: str, failed: str, right: str, created: str = "0x900") -> dict[str, str]:
    """What kube-state-metrics tells of the CronJob and of one Job, times in seconds; `_x1` is what it does not tell."""
    cron_job = 'namespace="ns",cronjob="tally-verify"'
    return {
        f"kube_job_status_start_time{{{JOB}}}": started,
        f"kube_job_status_failed{{{JOB}}}": failed,
        f"kube_cronjob_status_last_successful_time{{{cron_job}}}": right,
        f"kube_cronjob_created{{{cron_job}}}": created,
    }


VERIFY_FAILED, VERIFY_STOPPED = "TallyVerifyFailed", "TallyVerifyStopped"
OF_VERIFY: Final = [
    Case(VERIFY_FAILED, "the last one has failed", of_verify("600x60", "_x19 1x60", "300x60"), 25,
         summary="`tally verify` in ns has found a difference, or could not look"),
    Case(VERIFY_FAILED, "the first one has failed", of_verify("600x60", "_x19 1x60", "_x1"), 25),
    Case(VERIFY_FAILED, "one has been right since", of_verify("600x60", "1x60", "300x30 1800x30"), 40, False),
    Case(VERIFY_FAILED, "it runs, or was right", of_verify("600x60", "0x60", "300x60"), 25, fires=False),
    Case(VERIFY_FAILED, "nobody tells", {}, 25, fires=False),
    of_days(VERIFY_STOPPED, "two nights have gone by", of_verify("0x1", "0x1", "600x900"), 2 * DAY + 4,
            summary="`tally verify` in ns has not been right for 2d"),
    of_days(VERIFY_STOPPED, "it never was right", of_verify("0x1", "0x1", "_x1"), 2 * DAY + 4),
    of_days(VERIFY_STOPPED, "not quite two days", of_verify("0x1", "0x1", "600x900"), 2 * DAY - 1, fires=False),
    of_days(VERIFY_STOPPED, "there is no such CronJob", {}, 2 * DAY + 4, fires=False),
]  # fmt: skip
CASES: Final = [*OF_MODELS, *OF_WORKERS, *OF_VERIFY]


def alerts() -> Iterator[dict[str, Any]]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from (rule for rule in group["rules"] if "alert" in rule)


def test_every_alert_does_what_it_should(tmp_path: Path) -> None:
    assert run(CASES, tmp_path, ALERTS.read_text()) == ""


@pytest.mark.parametrize("case", [case for case in CASES if case.summary], ids=str)
def test_an_alert_names_what_it_is_about(case: Case, tmp_path: Path) -> None:
    said = shown(case, tmp_path, ALERTS.read_text())
    assert case.summary is not None
    assert case.summary in said
    assert "<error" not in said
    assert "<no value>" not in said


def test_every_alert_is_tried_both_ways_and_shown() -> None:
    names = {rule["alert"] for rule in alerts()}
    assert {case.alert for case in CASES if case.fires} == names
    assert {case.alert for case in CASES if not case.fires} == names
    assert {case.alert for case in CASES if case.summary} == names
    of_models = {rule["alert"] for rule in alerts() if rule["labels"].get("about") == "model"}
    assert {case.alert for case in CASES if case.what == "a takeover" and case.minutes} >= of_models - {STOPPED}


@pytest.mark.parametrize(
    ("alert", "right", "wrong"),
    [
        (UNDER, '"1h"} unless', '"labels_1h"} unless'),
        (UNDER, "tally:watched_samples >=", "tally:watched_samples >"),
        (UNDER, f"tally:watched_samples >= {LEAST}", "tally:watched_samples > 0"),
        (UNDER, "< ignoring (window, bound)", "<= ignoring (window, bound)"),
        (BETTER, f"last_over_time(tally_comparison{QUANTITIES}[2m])", f"tally_comparison{QUANTITIES}"),
        (FELL, "> 4\n", "> 5\n"),
        (REFUSED, "> 0.05\n", "> 0.04\n"),
        (LAG, "> 300\n", ">= 300\n"),
        (LAGGING, "> 1000 and", ">= 1000 and"),
        (VERSION, "tally:version_rows >= ignoring", "tally:version_rows > ignoring"),
        (VERSION, '"[(](prediction|score|labelled score)[)]"', '".+"'),
        (LAGGING, ">= tally:monitor_lag offset", "> tally:monitor_lag offset"),
    ],
)
def test_a_mistake_in_the_rules_is_found(alert: str, right: str, wrong: str, tmp_path: Path) -> None:
    text = ALERTS.read_text()
    assert right in text
    assert is_accepted(text.replace(right, wrong), tmp_path), "it is a mistake that promtool would see at once"
    cases = [case for case in CASES if case.alert == alert]
    assert "FAILED" in run(cases, tmp_path, text.replace(right, wrong))


def test_every_alert_says_how_bad_it_is_and_where_to_read_on() -> None:
    anchors = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^#+ (.*)$", README.read_text(), re.MULTILINE)
    }
    for rule in alerts():
        assert rule["labels"]["severity"] in ("critical", "warning", "info"), rule
        assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}, rule
        assert rule["annotations"]["runbook_url"] == f"README.md#{rule['alert'].lower()}"
        assert rule["alert"].lower() in anchors, f"README has no heading {rule['alert']}"


def test_a_takeover_is_shorter_than_what_the_rules_remember() -> None:
    settings = load_settings()
    assert settings.session_timeout + settings.scrape_interval < 60
