"""Recorded predictions of two models each, through real workers: the scores and the comparison that were worked out."""

import json
import math
import statistics
import subprocess
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from tests.cases import FOLDER, demand
from tests.live.forked import run_text
from tests.live.servers import Kafka
from tests.live.story import NOW, Event, an_event
from tests.live.test_exactness import COMMON
from tests.live.workers import Fleet, Worker, produce, topic_settings, wait_for

CASES: Final = FOLDER / "monitoring"
RULES: Final = """
models:
  - {match: "demo/cancer/*", task: binary, classes: [benign, malignant], positive: malignant}
  - {match: "demo/diabetes/*", task: regression}
  - {match: "demo/chances/*", task: binary, classes: [benign, malignant], positive: malignant}
  - {match: "demo/edge-*/*", task: binary, probabilities: true}
"""
OF_CLASS: Final = {"precision": "precision", "recall": "recall", "specificity": "specificity", "f1": "f1",
                   "npv": "negative_predictive_value"}  # fmt: skip
OF_ALL: Final = ("accuracy", "balanced_accuracy", "mcc")
OF_ERRORS: Final = {"mae": "mae", "mse": "mse", "rmse": "rmse", "bias": "mean_error_prediction_minus_label",
                    "r2": "r2_not_forced", "mape": "mape_sklearn_fraction"}  # fmt: skip


def case(name: str) -> dict[str, Any]:
    demand(CASES)
    content: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    return content


def events_of(service: str, rows: list[tuple[str, Any, Any, Any]]) -> Iterator[Event]:
    """Each row (puid, the current model's answer, the shadow's, the label), answered in the last half hour."""
    end = int(NOW.timestamp() * 1_000_000)
    for number, (puid, current, shadow, label) in enumerate(rows):
        asked = end - (len(rows) - number) * 1_000_000
        for predictor, answer in (("default", current), ("shadow", shadow)):
            leg = ("demo", service, predictor, predictor)
            yield an_event("request", puid, leg, asked, {"data": {"ndarray": [[0]]}})
            yield an_event("response", puid, leg, asked + 1000, {"data": {"ndarray": [answer]}})
        truth = {"truth": {"data": {"ndarray": [label]}}}
        yield an_event("feedback", puid, ("demo", service, "default", "default"), asked + 2000, truth)


def is_close(value: float | None, expected: float) -> bool:
    return value is not None and math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)


def models(worker: Worker) -> dict[tuple[str, str], dict[str, Any]]:
    return {(one["model_service"], one["predictor"]): one for one in json.loads(worker.get("/api/models"))["models"]}


def samples(worker: Worker) -> list[int]:
    """How many rows of each comparison are labelled."""
    found = json.loads(worker.get("/api/comparisons"))["comparisons"]
    return [one["windows"]["total"]["samples"] for one in found]


def compared(worker: Worker, service: str, *more: str) -> subprocess.CompletedProcess[str]:
    return run_text({}, "compare", f"demo/{service}/default/*", f"demo/{service}/shadow/*", "--url", worker.url, *more)


@pytest.fixture
def workers(kafka: Kafka, tmp_path: Path) -> Iterator[Fleet]:
    rules = tmp_path / "tally.yaml"
    rules.write_text(RULES)
    name = f"compared-{uuid.uuid4().hex[:8]}"
    settings = topic_settings(kafka.bootstrap, name) | COMMON | {"PARTITIONS": "4", "CONFIG": str(rules)}
    with Fleet(tmp_path, settings) as fleet:
        first = fleet.start()
        second = fleet.start()
        wait_for("both are ready", lambda: first.ready() and second.ready())
        yield fleet


def test_what_was_recorded_comes_out(workers: Fleet) -> None:
    cancer, diabetes = case("binary-breast-cancer"), case("regression-diabetes")
    answers = [
        (row["puid"], row["logreg"]["prediction"], row["perceptron"]["prediction"], row["label"])
        for row in cancer["rows"]
    ]
    numbers = [(row["puid"], row["linear"], row["ridge"], row["label"]) for row in diabetes["rows"]]
    produce(workers.settings, [*events_of("cancer", answers), *events_of("diabetes", numbers)])
    first, second = workers.workers

    def counted() -> bool:
        found = models(first)
        return [
            found.get(("cancer", leg), {}).get("exchanges", {}).get("feedback") for leg in ("default", "shadow")
        ] == [len(answers)] * 2 and found.get(("diabetes", "shadow"), {}).get("exchanges", {}).get("feedback") == len(
            numbers
        )

    wait_for("all is counted", counted)
    for worker in (first, second):  # any of them knows all
        wait_for("it has read what the other has counted", lambda worker=worker: models(worker) == models(first))  # type: ignore[misc]
        wait_for("and what is compared", lambda worker=worker: samples(worker) == [len(answers), len(numbers)])  # type: ignore[misc]
    found = models(first)
    for predictor, model in (("default", "logreg"), ("shadow", "perceptron")):
        expected = cancer["expected"][model]
        for window in ("total", "24h", "1h"):
            scores = found["cancer", predictor]["windows"][window]["scores"]
            assert all(is_close(scores[name], expected["overall"][name]) for name in OF_ALL), window
            malignant = expected["per_class"]["malignant"]
            assert all(is_close(scores[name], malignant[theirs]) for name, theirs in OF_CLASS.items()), window
    for predictor, model in (("default", "linear"), ("shadow", "ridge")):
        scores = found["diabetes", predictor]["windows"]["total"]["scores"]
        for name, theirs in OF_ERRORS.items():
            assert is_close(scores[name], diabetes["expected"][model][theirs]), (model, name)

    of_cancer, of_diabetes = json.loads(second.get("/api/comparisons"))["comparisons"]
    right = Counter((current == label, shadow == label) for _, current, shadow, label in answers)
    total = of_cancer["windows"]["total"]
    assert (total["only_current_right"], total["only_shadow_right"]) == (right[True, False], right[False, True])
    assert total["samples"] == len(answers)
    assert total == of_cancer["windows"]["24h"]
    errors, expected = of_diabetes["windows"]["total"], diabetes["expected"]["shadow_paired"]
    assert is_close(errors["error_difference"], expected["mean_abs_error_difference_ridge_minus_linear"])
    assert is_close(errors["p_value"], expected["paired_t_abs_error"]["pvalue"])

    for service, rows in (("cancer", len(answers)), ("diabetes", len(numbers))):
        said = compared(second, service)
        assert said.returncode == 1, said
        assert "No difference shown" in said.stdout
        assert f"n = {rows})" in said.stdout
    as_json = compared(first, "cancer", "--format", "json")
    assert json.loads(as_json.stdout) == of_cancer


def test_recorded_probabilities_come_out(workers: Fleet) -> None:
    """The shadow says how sure it is in single scores, and less sure: what both say is compared row by row."""
    cancer, edges = case("binary-breast-cancer"), case("calibration")["cases"]
    of_rows = [(row["logreg"]["probabilities"], row["label"]) for row in cancer["rows"]]
    shadows = [0.25 + one["malignant"] / 2 for one, _ in of_rows]
    rows = [
        (row["puid"], [one["benign"], one["malignant"]], shadow, label)
        for row, (one, label), shadow in zip(cancer["rows"], of_rows, shadows, strict=True)
    ]
    produce(workers.settings, events_of("chances", rows))
    for number, edge in enumerate(edges):
        pairs = zip(edge["score"], edge["y_true"], strict=True)
        own = [(f"edge-{number}-{row}", score, score, label) for row, (score, label) in enumerate(pairs)]
        produce(workers.settings, events_of(f"edge-{number}", own))
    worker = workers.workers[0]
    wanted = {"chances": len(rows)} | {f"edge-{number}": len(edge["score"]) for number, edge in enumerate(edges)}

    def counted() -> bool:
        found = models(worker)
        return all(
            found.get((service, "shadow"), {}).get("exchanges", {}).get("feedback") == count
            for service, count in wanted.items()
        )

    wait_for("all is counted", counted)
    found = models(worker)
    expected = cancer["expected"]["logreg"]["probabilistic"]
    for window in ("total", "24h", "1h", "labels_1h"):
        scores = found["chances", "default"]["windows"][window]["scores"]
        assert is_close(scores["log_loss"], expected["log_loss"]), window
        assert is_close(scores["brier"], expected["brier_score"]), window
        assert is_close(scores["ece"], expected["calibration"]["uniform_10"]["ece"]), window
        for name in ("roc_auc", "average_precision"):
            assert abs(scores[name] - expected[name]) <= scores[f"{name}_error"] + 1e-9, (window, name)
    for number, edge in enumerate(edges):
        window = found[f"edge-{number}", "default"]["windows"]["total"]
        assert window["score_samples"]["log_loss"] == len(edge["score"])
        assert is_close(window["scores"]["log_loss"], edge["expected"]["log_loss"]), edge["name"]
        assert is_close(window["scores"]["brier"], edge["expected"]["brier"]), edge["name"]
        if "uniform_10" in edge["expected"]:
            assert is_close(window["scores"]["ece"], edge["expected"]["uniform_10"]["ece"]), edge["name"]

    said = 'model_service="chances",predictor="default",model="default",model_version="",score="log_loss"'
    wait_for("one of them exports it", lambda: any(said in one.get("/metrics") for one in workers.workers))
    compared_ = json.loads(worker.get("/api/comparisons"))["comparisons"]
    total = next(one for one in compared_ if one["current"]["model_service"] == "chances")["windows"]["total"]
    briers = [
        (shadow - (label == "malignant")) ** 2 - (one["malignant"] - (label == "malignant")) ** 2
        for shadow, (one, label) in zip(shadows, of_rows, strict=True)
    ]
    assert total["brier_samples"] == len(rows)
    assert is_close(total["brier_difference"], statistics.fmean(briers))
    known = worker.answer(f"/api/exchanges/{rows[0][0]}")["legs"]
    assert known[0]["rows"][0]["score"] == max(rows[0][1])


def test_too_few_labels_are_said_and_have_an_exit_code_of_their_own(workers: Fleet) -> None:
    produce(workers.settings, [*events_of("cancer", [(f"p{n}", "benign", "benign", "benign") for n in range(12)])])
    worker = workers.workers[0]
    wait_for("they are counted", lambda: compared(worker, "cancer").stdout.endswith("(12, need 100)\n"))
    assert compared(worker, "cancer").returncode == 3


def test_what_is_not_there_is_named(workers: Fleet) -> None:
    nobody = compared(workers.workers[0], "nothing")
    assert (nobody.returncode, nobody.stdout) == (2, "")
    assert nobody.stderr.startswith("tally: No comparison of demo/nothing/default/* with demo/nothing/shadow/*: ")
