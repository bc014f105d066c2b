"""Scores of recorded predictions, as scikit-learn gave them: whole, and in runs of rows."""

import json
import math
from typing import Any, Final

import pytest

from app.core.rules import Rules
from app.core.scores.catalogue import scores_of
from tests.builders import MODEL, Ledger, a_feedback, a_response
from tests.cases import FOLDER, demand

CASES: Final = FOLDER / "monitoring"
#: Our names of regression scores, and those in the files.
ERRORS: Final = {
    "mae": "mae",
    "mse": "mse",
    "rmse": "rmse",
    "bias": "mean_error_prediction_minus_label",
    "r2": "r2_not_forced",
}
#: Of binary models, those of the positive class and of all.
OF_CLASS: Final = {
    "precision": "precision",
    "recall": "recall",
    "f1": "f1",
    "specificity": "specificity",
    "npv": "negative_predictive_value",
}
OVERALL: Final = ("accuracy", "balanced_accuracy", "mcc")


def case(name: str) -> dict[str, Any]:
    demand(CASES)
    content: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    return content


def scores(pairs: list[tuple[Any, Any]], rules: Rules) -> dict[str, float | None]:
    ledger = Ledger(rules)
    for index, (prediction, label) in enumerate(pairs):
        ledger.absorb(a_response(prediction, puid=f"p{index}"), a_feedback(label, puid=f"p{index}"))
    return {score.name: score.value for score in scores_of(ledger.cut().models()[MODEL].reading)}


def is_close(value: float | None, expected: float | None) -> bool:
    if value is None or expected is None:
        return value is None and expected is None
    return math.isclose(value, expected, rel_tol=1e-9, abs_tol=1e-12)


@pytest.mark.parametrize("model", ["linear", "ridge"])
def test_regression_of_diabetes(model: str) -> None:
    told = case("regression-diabetes")
    pairs = [(row[model], row["label"]) for row in told["rows"]]
    spans = [(pairs, told["expected"][model])]
    if model == "linear":
        spans += [(pairs[one["first"] : one["last"] + 1], one) for one in told["expected"]["tumbling_25_linear"]]
    for own, expected in spans:
        found = scores(own, Rules(task="regression"))
        for name, theirs in ERRORS.items():
            assert is_close(found[name], expected[theirs]), name
        assert is_close(found["mape"], expected["mape_sklearn_fraction"])
        assert expected["n"] % 2  # so that the median is one of them
        for name, theirs in (("error_p50", "median_absolute_error"), ("max_error", "max_error")):
            value = found[name]
            assert value is not None
            assert math.isclose(value, expected[theirs], rel_tol=1 / 64), name


def test_regression_at_the_edges() -> None:
    """Where a label is 0 scikit-learn gives a MAPE of 10^15, and Tally none."""
    for one in case("regression-diabetes")["edge_cases"]:
        pairs = [*zip(one["y_pred"], one["y_true"], strict=True)]
        if not pairs:
            continue
        found = scores(pairs, Rules(task="regression"))
        for name, theirs in ERRORS.items():
            expected = one["expected"][theirs]
            assert is_close(found[name], expected if isinstance(expected, float | int) else None), (one["name"], name)
        if 0 not in one["y_true"]:
            assert is_close(found["mape"], one["expected"]["mape_sklearn_fraction"]), one["name"]


@pytest.mark.parametrize("as_vector", [True, False])
def test_probabilities_of_breast_cancer(as_vector: bool) -> None:
    told = case("binary-breast-cancer")
    expected = told["expected"]["logreg"]["probabilistic"]
    of_rows = [row["logreg"]["probabilities"] for row in told["rows"]]
    answers = [[one["benign"], one["malignant"]] if as_vector else one["malignant"] for one in of_rows]
    rules = Rules(task="binary", classes=("benign", "malignant"), positive="malignant")
    found = scores([*zip(answers, (row["label"] for row in told["rows"]), strict=True)], rules)
    assert is_close(found["log_loss"], expected["log_loss"])
    assert is_close(found["brier"], expected["brier_score"])
    assert is_close(found["ece"], expected["calibration"]["uniform_10"]["ece"])
    for name in ("roc_auc", "average_precision"):
        value, error = found[name], found[f"{name}_error"]
        assert value is not None
        assert error is not None
        assert abs(value - expected[name]) <= error + 1e-9


def test_calibration_at_the_edges() -> None:
    for one in case("calibration")["cases"]:
        found = scores([*zip(one["score"], one["y_true"], strict=True)], Rules(task="binary", probabilities=True))
        expected = one["expected"]
        assert is_close(found["brier"], expected["brier"]), one["name"]
        assert is_close(found["log_loss"], expected["log_loss"]), one["name"]
        if "uniform_10" in expected:
            assert is_close(found["ece"], expected["uniform_10"]["ece"]), one["name"]


@pytest.mark.parametrize("model", ["logreg", "perceptron"])
def test_classification_of_breast_cancer(model: str) -> None:
    told = case("binary-breast-cancer")
    rules = Rules(task="binary", classes=("benign", "malignant"), positive="malignant")
    pairs = [(row[model]["prediction"], row["label"]) for row in told["rows"]]
    spans = [(pairs, told["expected"][model])]
    spans += [(pairs[one["first"] : one["last"] + 1], one) for one in told["expected"][f"tumbling_25_{model}"]]
    for own, expected in spans:
        found = scores(own, rules)
        for name in OVERALL:
            if name in expected["overall"]:
                assert is_close(found[name], expected["overall"][name]), name
        for name, theirs in OF_CLASS.items():
            of_class = expected.get("per_class", {}).get("malignant", {})
            if theirs in of_class:
                assert is_close(found[name], of_class[theirs]), name
