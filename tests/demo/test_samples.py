"""The recorded samples are what the demo says of them, and recording them again gives the same answers."""

import json
import math
from collections.abc import Callable
from typing import Literal, cast

import pytest

from app.demo.recordings import Phase, Recording, Row
from tests.demo.record import RADIUS_ERROR, SAMPLES, as_bytes, record_breast_cancer, record_iris

Leg = Literal["current", "shadow"]
LEGS: tuple[Leg, Leg] = ("current", "shadow")
RECORDERS: dict[str, Callable[[], Recording]] = {"breast-cancer": record_breast_cancer, "iris": record_iris}


def recorded(service: str) -> Recording:
    return cast("Recording", json.loads((SAMPLES / f"{service}.json").read_bytes()))


def predicted(row: Row, leg: Leg) -> int:
    return row[leg].index(max(row[leg]))


def accuracy(phase: Phase, leg: Leg) -> float:
    return sum(predicted(row, leg) == row["label"] for row in phase["rows"]) / len(phase["rows"])


def recall(phase: Phase, leg: Leg, label: int) -> float:
    of_class = [row for row in phase["rows"] if row["label"] == label]
    return sum(predicted(row, leg) == label for row in of_class) / len(of_class)


@pytest.mark.parametrize(
    ("service", "classes", "positive", "features", "phases"),
    [
        ("breast-cancer", ["0", "1"], "1", 10, [("steady", 569), ("drifted", 569)]),
        ("iris", ["0", "1", "2"], None, 4, [("steady", 150)]),
    ],
)
def test_a_file_says_what_it_holds(
    service: str, classes: list[str], positive: str | None, features: int, phases: list[tuple[str, int]]
) -> None:
    recording = recorded(service)
    assert (recording["service"], recording["namespace"]) == (service, "demo")
    assert (recording["classes"], recording["positive"]) == (classes, positive)
    assert len(recording["feature_names"]) == features
    assert [(phase["name"], len(phase["rows"])) for phase in recording["phases"]] == phases


@pytest.mark.parametrize("service", RECORDERS)
def test_every_row_has_its_features_a_known_label_and_probabilities_that_sum_to_one(service: str) -> None:
    recording = recorded(service)
    for row in (row for phase in recording["phases"] for row in phase["rows"]):
        assert len(row["features"]) == len(recording["feature_names"])
        assert str(row["label"]) in recording["classes"]
        for leg in LEGS:
            assert len(row[leg]) == len(recording["classes"])
            assert all(0 <= probability <= 1 for probability in row[leg])
            assert math.isclose(sum(row[leg]), 1, abs_tol=1e-3)


@pytest.mark.parametrize("service", RECORDERS)
def test_the_classes_are_mixed_from_the_first_rows_on(service: str) -> None:
    recording = recorded(service)
    for phase in recording["phases"]:
        assert {str(row["label"]) for row in phase["rows"][:20]} == set(recording["classes"])


@pytest.mark.parametrize(("service", "least", "most"), [("breast-cancer", 0.90, 0.94), ("iris", 0.88, 0.92)])
def test_the_current_model_is_imperfect_and_the_shadow_better(service: str, least: float, most: float) -> None:
    steady = recorded(service)["phases"][0]
    assert least <= accuracy(steady, "current") <= most
    assert accuracy(steady, "current") + 0.02 <= accuracy(steady, "shadow") < 0.99


def test_only_the_current_model_fails_once_the_inputs_drift() -> None:
    steady, drifted = recorded("breast-cancer")["phases"]
    assert 0.60 <= accuracy(drifted, "current") <= 0.75
    assert accuracy(drifted, "current") < accuracy(steady, "current") - 0.15
    assert recall(drifted, "current", 1) < recall(steady, "current", 1) - 0.30
    assert accuracy(drifted, "shadow") > 0.90


def test_the_drifted_rows_are_the_steady_ones_with_one_feature_disturbed() -> None:
    steady, drifted = recorded("breast-cancer")["phases"]
    for before, after in zip(steady["rows"], drifted["rows"], strict=True):
        assert after["label"] == before["label"]
        assert after["features"][1:] == before["features"][1:]
        assert math.isclose(after["features"][0], before["features"][0] * RADIUS_ERROR, rel_tol=1e-5)


def test_the_files_are_small() -> None:
    assert sum(path.stat().st_size for path in SAMPLES.glob("*.json")) < 300_000


@pytest.mark.parametrize("service", RECORDERS)
def test_recording_again_gives_the_same_answers(service: str) -> None:
    """To the byte in one place; elsewhere the last digits may differ, and with them a row that stood on the edge."""
    again = RECORDERS[service]()
    assert as_bytes(again) == as_bytes(RECORDERS[service]())
    for old, new in zip(recorded(service)["phases"], again["phases"], strict=True):
        assert [row["label"] for row in new["rows"]] == [row["label"] for row in old["rows"]]
        for leg in LEGS:
            pairs = zip(old["rows"], new["rows"], strict=True)
            same = sum(predicted(before, leg) == predicted(after, leg) for before, after in pairs)
            assert same >= 0.99 * len(old["rows"])
