"""The Prometheus text: all of it for a few models, as a file to read, and what other readers make of it."""

import math
import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from app.core.counts.panes import TOTAL, Window
from app.core.events import Identity
from app.core.measures.measure import Histogram
from app.core.outputs.comparisons import compared_with
from app.core.outputs.http_series import HttpNumbers
from app.core.outputs.series import COUNTS, SELDON
from app.core.outputs.worker_series import DocumentNumbers, IntakeNumbers, WorkerNumbers
from app.core.rules import Rulebook, Rules
from app.core.stats import Stats
from app.exporters.lines import number
from app.exporters.prometheus import ModelText, http_text, process_text, worker_text
from app.worker.http.requests import Requests
from tests.builders import START, Fields, Ledger, Tally, a_feedback, a_reading, a_request, a_response, a_result

EXPECTED = Path(__file__).parent / "models.txt"
EXPECTED_OF_WORKER = Path(__file__).parent / "worker.txt"
HOUR = 3600
#: Where the Seldon-compatible series begin.
SELDON_BEGINS = "# HELP correct_total"
#: Where the custom metrics do.
CUSTOM_BEGINS = "# HELP lookup_seconds"


def of(service: str, puid: str, at: float) -> Fields:
    return {"namespace": "seldon", "service": service, "model": "clf", "puid": puid, "at": at}


def some_models() -> Ledger:
    """A binary model with its shadow, a model of three classes whose last window is empty, and a regression that has a
    monitor.
    """
    ledger = Ledger(Rules("seldon/credit/*", task="binary", positive="1"), windows=(Window("5m", 300),))
    credit: list[tuple[int, int, Any, Any]] = [(1, 1, 1, True), (1, 0, 0, False), (0, 0, 0, 1), (0, 1, 1, -0.5)]
    for order, (current, shadow, label, reward) in enumerate([*credit, (1, 1, None, None)]):
        asked = of("credit", f"credit-{order}", HOUR + order)
        copied: Fields = {**asked, "predictor": "shadow"}
        ledger.absorb(a_request(**asked), a_response([1 - current, current], version="v1", **asked))
        ledger.absorb(a_response([1 - shadow, shadow], **copied))
        if label is not None:
            ledger.absorb(a_feedback(label, reward=reward, **of("credit", f"credit-{order}", HOUR + order + 10**order)))
    iris: list[tuple[list[float], Any]] = [
        ([0.9, 0.1, 0], "setosa"),
        ([0.2, 0.5, 0.3], 1),
        ([0.1, 0.6, 0.3], "virginica"),
    ]
    for order, (scores, label) in enumerate(iris):
        names = ["setosa", "versicolor", "virginica"]
        ledger.absorb(a_response(scores, names=names, **of("iris", f"iris-{order}", 0)))
        late: Fields = {**of("iris", f"iris-{order}", 40 * 86400), "stamp": HOUR}
        ledger.absorb(a_feedback(label, **late))
    ledger.absorb(a_response(body={"status": {"code": 503}}, **of("iris", "iris-failed", 0)))
    house: Fields = {"namespace": "", "service": "house", "predictor": "main", "model": "price", "at": HOUR}
    later: Fields = {**house, "at": HOUR + 1}
    other: Fields = {**house, "puid": "q"}
    own = [("COUNTER", "rooms", 3, {"floor": "1"}), ("GAUGE", "queue", 2.5, {}), ("TIMER", "lookup_seconds", 20.2, {})]
    metrics = [{"type": of, "key": key, "value": value, "tags": tags} for of, key, value, tags in own]
    body = {"data": {"ndarray": [2.5]}, "meta": {"metrics": metrics}}
    ledger.absorb(a_response(body=body, **house), a_feedback(2, **later), a_response(3, **other))
    return ledger.absorb(a_result(0.25, None, **house)).cut()


def some_numbers() -> WorkerNumbers:
    """Those of a worker that reads sources and writes documents, each of them another."""
    stats = Stats(
        events=Counter(request=40, response=39, feedback=7),
        rejected=Counter({"too-large": 1, "bad-json": 2}),
        duplicates=Counter(response=3),
        rekeyed=4,
        corrections=5,
        late=6,
        orphans=8,
        failed=9,
        clock_ahead=10,
        lost=Counter(asked=22),
    )
    return WorkerNumbers(
        stats=stats,
        dropped={"classes": 11, "segment_values": 12, "series": 25, "metrics": 27, "metric_series": 28},
        score_failures={"cost": 26},
        documents=DocumentNumbers({"written": 19, "unchanged": 0, "refused": 20}, backlog=21, oldest_seconds=2.0),
        intake=IntakeNumbers(Counter({"seldon": 12, 'a-"b"': 13}), lag=14, stalled=0.5),
        monitor_lag={"outliers": 29, "slow": float("nan")},
        lag_events={"asked": 15, "answered": 0, "told": 16},
        lag_seconds=0.25,
        open_exchanges=17,
        store_bytes={"memory": 1_000, "disk": 2_000},
        standbys=2,
        standby_lag=42,
        ready=3,
        loading=1,
        failed=22,
        of_topics=26,
        other_rules=23,
        clock_offset=24.5,
        recovered_records=18,
        recovery_seconds=1.5,
        fetch_age=0.1,
        heartbeat_age=0.75,
    )


def text_of(ledger: Ledger, *, seldon: bool) -> str:
    readings = ledger.readings()
    found = readings.of_models(START + HOUR + 30)
    text = ModelText(seldon=seldon, most=10**9)
    for who, by_window in found:
        pairs = [(pair, read) for pair, read in readings.of_pairs(START + HOUR + 30) if pair.first == who]
        compared = compared_with(pairs, readings.rulebook)
        text.put(who, text.block(who, by_window, readings.view.first_seen(who), compared))
    return text.text()


def text_of_tally(tally: Tally, identity: Identity | None = None, rules: Rules | None = None) -> str:
    """The text of one model without windows."""
    reading = a_reading(tally, rules)
    text = ModelText(seldon=True, most=10**9)
    identity = identity or Identity("ns", "svc", "default", "m", "")
    text.put(identity, text.block(identity, {TOTAL: reading}, 0))
    return text.text()


def samples(text: str, name: str = "") -> Iterator[Sample]:
    """All samples as the official parser reads them, or those of one name."""
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if name in ("", sample.name):
                yield sample


def value(text: str, name: str, **labels: str) -> float:
    (found,) = [one.value for one in samples(text, name) if labels.items() <= one.labels.items()]
    return found


# -- the whole --------------------------------------------------------------------------------------------------------


def test_the_whole_text() -> None:
    """Else run `python -m tests.exporters.rewrite`, and see what has changed in the file."""
    assert text_of(some_models(), seldon=True) == EXPECTED.read_text()


def test_without_the_seldon_series_the_rest_is_the_same() -> None:
    before, _, rest = EXPECTED.read_text().partition(SELDON_BEGINS)
    assert text_of(some_models(), seldon=False) == before + rest[rest.index(CUSTOM_BEGINS) :]


def test_what_the_text_says_in_figures_worked_out_by_hand() -> None:
    text = EXPECTED.read_text()
    current = {"model_service": "credit", "predictor": "default", "model_version": "v1"}
    shadow = {"model_service": "credit", "predictor": "shadow"}
    iris = {"model_service": "iris"}
    for name, labels, figure in [
        ("tally_exchanges", {**current, "part": "request"}, 5),
        ("tally_exchanges", {**current, "part": "feedback"}, 4),
        ("tally_exchanges", {**shadow, "part": "request"}, 0),
        ("tally_exchanges", {**shadow, "part": "feedback"}, 4),
        ("tally_rows", {**current, "verdict": "correct"}, 2),
        ("tally_rows", {**current, "verdict": "incorrect"}, 2),
        ("tally_rows", {**current, "verdict": "unlabelled"}, 1),
        ("tally_rows", {**shadow, "verdict": "correct"}, 4),
        ("tally_rows", {**iris, "verdict": "failed"}, 1),
        ("tally_confusion", {**current, "actual": "0", "predicted": "1"}, 1),
        ("tally_class", {**current, "class": "", "outcome": "tp"}, 1),
        ("tally_class", {**iris, "class": "setosa", "outcome": "tn"}, 2),
        ("tally_rewards", current, 4),
        ("tally_reward_points", current, 1.5),
        ("tally_rewards", shadow, 0),
        ("tally_window_rows", {**current, "verdict": "correct", "window": "5m"}, 2),
        ("tally_window_rows", {**iris, "verdict": "correct", "window": "5m"}, 0),
        ("tally_score", {**current, "score": "accuracy", "window": "total"}, 0.5),
        ("tally_score", {**current, "score": "precision", "class": "", "window": "5m"}, 0.5),
        ("tally_score", {**shadow, "score": "f1", "window": "total"}, 1),
        ("tally_score", {**current, "score": "reward_mean", "window": "total"}, 0.375),
        ("tally_score", {**iris, "score": "recall", "class": "versicolor", "window": "total"}, 1),
        ("tally_score", {**iris, "score": "precision", "class": "versicolor", "window": "total"}, 0.5),
        ("tally_score_samples", {**iris, "score": "precision", "class": "versicolor", "window": "total"}, 2),
        ("tally_score_samples", {**iris, "score": "recall_macro", "class": "", "window": "total"}, 3),
        ("tally_feedback_delay_seconds_sum", current, 1111),
        ("tally_feedback_delay_seconds_count", current, 4),
        ("tally_feedback_delay_seconds_count", iris, 3),
        ("tally_model_info", {**current, "task": "binary"}, 1),
        ("tally_model_info", {**iris, "task": "multiclass"}, 1),
        ("tally_model_info", {"model_service": "house", "task": "regression"}, 1),
        ("tally_model_first_seen_timestamp_seconds", current, START + HOUR),
        ("tally_model_first_seen_timestamp_seconds", iris, START),
        ("correct_total", {"app": "credit-default-0-clf"}, 1.5),
        ("total_total", {"app": "credit-default-0-clf"}, 4),
        ("true_pos", {"app": "credit-shadow-0-clf"}, 2),
        ("false_neg", {"app": "credit-default-0-clf"}, 1),
        ("score_TP", {"class": "class_setosa", "seldon_app": "iris-default"}, 1),
        ("score_FN", {"class": "class_virginica", "seldon_app": "iris-default"}, 1),
    ]:
        assert value(text, name, **labels) == figure, (name, labels)
    of_shadow = {**current, "shadow": "shadow/clf"}
    for quantity, figure in {"samples": 4, "only_current_right": 0, "only_shadow_right": 2, "agreement": 0.6}.items():
        assert value(text, "tally_comparison", **of_shadow, quantity=quantity, window="total") == figure
    assert math.isnan(value(text, "tally_comparison", **of_shadow, quantity="verdict", window="total"))
    assert math.isnan(value(text, "tally_score", **iris, score="accuracy", window="5m"))
    assert math.isnan(value(text, "tally_score", **iris, score="precision", **{"class": "virginica"}, window="total"))


def test_no_sample_comes_twice_and_every_family_is_in_one_piece() -> None:
    text = EXPECTED.read_text()
    every = [(sample.name, tuple(sorted(sample.labels.items()))) for sample in samples(text)]
    assert len(every) == len(set(every)) == len([line for line in text.splitlines() if line[0] != "#"])
    heads = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads))
    assert text.endswith("\n")
    assert "\n\n" not in text


def test_every_sample_carries_the_identity_and_nothing_that_grows_with_traffic() -> None:
    identity = {"model_namespace", "model_service", "predictor", "model", "model_version"}
    known = {"part", "verdict", "actual", "predicted", "class", "outcome", "window", "score", "le", "task"}
    known |= {"error", "shadow", "quantity", "method", "floor", "monitor", "monitor_version", "stat"}
    for sample in samples(EXPECTED.read_text()):
        assert identity <= sample.labels.keys()
        assert sample.labels.keys() - identity <= known | {"app", "seldon_app"}


def test_totals_and_windows_have_the_same_families() -> None:
    names = {sample.name for sample in samples(EXPECTED.read_text())}
    for family in [family for _, family in COUNTS if family.windows]:
        assert {f"tally_{family.name}", f"tally_window_{family.name}"} <= names
    assert {series.name for series in SELDON} <= names


# -- details ----------------------------------------------------------------------------------------------------------

WICKED = ['say "no"', "back\\slash", "two\nlines", "ö{}=,", "\\n", ""]


def test_limits_and_intervals_are_shown_where_the_user_asks_for_them() -> None:
    tally = {("confusion=1", "1"): 8, ("confusion=1", "0"): 2, ("confusion=0", "0"): 10}
    rules = Rules(limits=(("accuracy", "", 0.9), ("recall", "fraud", 0.8)), intervals=True)
    identity = Identity("ns", "svc", "default", "m", "")
    text = ModelText(seldon=False, most=10**9, rulebook=Rulebook((rules,)))
    text.put(identity, text.block(identity, {TOTAL: a_reading(tally, rules)}, 0))
    shown = text.text()
    assert value(shown, "tally_score_limit", score="accuracy", bound="lower", **{"class": ""}) == 0.9
    assert value(shown, "tally_score_limit", score="recall", bound="lower", **{"class": "fraud"}) == 0.8
    ends = [value(shown, f"tally_score_{end}", score="recall", window="total") for end in ("low", "high")]
    assert ends == pytest.approx([0.49016, 0.94331], abs=1e-5)
    assert "tally_score_l" not in text_of_tally(tally)


def test_label_values_are_escaped() -> None:
    for text in WICKED:
        found = text_of_tally({(f"confusion={text}", "other"): 1}, Identity("ns", text, "default", "m", ""))
        assert value(found, "tally_confusion", actual=text, predicted="other", model_service=text) == 1
        assert value(found, "score_FN", **{"class": f"class_{text}"}) == 1
        assert all(line.startswith(("#", "tally_", "score_")) for line in found.splitlines())


@pytest.mark.parametrize(
    ("sample", "text"),
    [
        (None, "NaN"),
        (math.nan, "NaN"),
        (0, "0"),
        (3, "3"),
        (2**80, str(2**80)),
        (0.5, "0.5"),
        (1e-9, "1e-09"),
        (-1.5, "-1.5"),
        (2.0, "2.0"),
        (True, "1.0"),
    ],
)
def test_a_sample_value(sample: float | None, text: str) -> None:
    assert number(sample) == text


def test_buckets_are_cumulative_and_end_with_the_count() -> None:
    tally = {("delay", f"{bucket}"): bucket + 1 for bucket in range(12)} | {("delay", "us"): 2_500_000}
    text = text_of_tally(tally)
    buckets = [(float(one.labels["le"]), one.value) for one in samples(text, "tally_feedback_delay_seconds_bucket")]
    bounds = [1, 10, 60, 300, 1800, 3600, 21600, 86400, 259200, 604800, 2592000, math.inf]
    assert buckets == [(bound, sum(range(1, place + 2))) for place, bound in enumerate(bounds)]
    assert value(text, "tally_feedback_delay_seconds_count") == 78
    assert value(text, "tally_feedback_delay_seconds_sum") == 2.5


@pytest.mark.parametrize(("classes", "cells"), [(20, 20), (21, 0)])
def test_confusion_cells_are_exported_up_to_twenty_classes(classes: int, cells: int) -> None:
    text = text_of_tally({(f"confusion={number}", str(number)): 1 for number in range(classes)})
    assert len(list(samples(text, "tally_confusion"))) == cells
    assert len(list(samples(text, "tally_class"))) == 4 * classes


def test_zero_cells_are_not_exported() -> None:
    text = text_of_tally({("confusion=1", "1"): 1, ("confusion=1", "0"): 0})
    assert [one.labels["predicted"] for one in samples(text, "tally_confusion")] == ["1"]


@pytest.mark.parametrize(
    ("tally", "names"),
    [
        ({("exchanges", "request"): 1}, set()),
        ({("rewards", "count"): 2, ("rewards", "points"): 0}, {"correct_total", "total_total"}),
        ({("confusion=1", "0"): 1}, {"true_pos", "true_neg", "false_pos", "false_neg"}),
        ({("confusion=2", "0"): 1}, {"score_TP", "score_FP", "score_FN"}),
        ({("confusion=1", "0"): 1, ("confusion", "measured"): 2}, set()),
        ({("confusion/unlabelled", "1"): 1}, set()),
    ],
)
def test_which_seldon_series_a_model_has(tally: Tally, names: set[str]) -> None:
    assert {sample.name for sample in samples(text_of_tally(tally)) if not sample.name.startswith("tally_")} == names


def test_no_models_give_heads_alone() -> None:
    text = ModelText(seldon=True, most=10**9).text()
    assert all(line.startswith("#") for line in text.splitlines())
    assert not list(samples(text))


def test_the_whole_text_of_a_worker() -> None:
    """Else run `python -m tests.exporters.rewrite`, and see what has changed in the file."""
    assert worker_text(some_numbers()) == EXPECTED_OF_WORKER.read_text()


def test_the_text_of_a_port() -> None:
    numbers = HttpNumbers(
        {("/live", "200"): 3, ("/", "202"): 2, ("/", "400"): 0},
        {"/": Histogram((0.005, 1.0), (1, 0, 1), 2.5), "/live": Histogram((0.005, 1.0), (3, 0, 0), 0.003)},
    )
    assert [line for line in http_text(numbers).splitlines() if not line.startswith("# HELP")] == [
        "# TYPE tally_http_requests_total counter",
        'tally_http_requests_total{route="/",code="202"} 2',
        'tally_http_requests_total{route="/",code="400"} 0',
        'tally_http_requests_total{route="/live",code="200"} 3',
        "# TYPE tally_http_request_duration_seconds histogram",
        'tally_http_request_duration_seconds_bucket{route="/",le="0.005"} 1',
        'tally_http_request_duration_seconds_bucket{route="/",le="1.0"} 1',
        'tally_http_request_duration_seconds_bucket{route="/",le="+Inf"} 2',
        'tally_http_request_duration_seconds_sum{route="/"} 2.5',
        'tally_http_request_duration_seconds_count{route="/"} 2',
        'tally_http_request_duration_seconds_bucket{route="/live",le="0.005"} 3',
        'tally_http_request_duration_seconds_bucket{route="/live",le="1.0"} 3',
        'tally_http_request_duration_seconds_bucket{route="/live",le="+Inf"} 3',
        'tally_http_request_duration_seconds_sum{route="/live"} 0.003',
        'tally_http_request_duration_seconds_count{route="/live"} 3',
    ]


def test_a_worker_without_sources_and_documents_has_heads_alone_for_them() -> None:
    text = worker_text(replace(some_numbers(), documents=None, intake=None))
    lines = EXPECTED_OF_WORKER.read_text().splitlines()
    assert text.splitlines() == [line for line in lines if not line.startswith(("tally_documents", "tally_intake"))]


def test_the_process_is_described() -> None:
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes"} <= {
        one.name for one in samples(process_text())
    }


def test_promtool_finds_nothing_to_say() -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        message = "promtool is missing: install the Debian package prometheus"
        if os.environ.get("CI") == "true":
            pytest.fail(message)
        pytest.skip(message)
    text = text_of(some_models(), seldon=False) + worker_text(some_numbers()) + http_text(Requests().numbers())
    done = subprocess.run([promtool, "check", "metrics"], input=text.encode(), capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
