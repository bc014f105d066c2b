"""After every event of a random stream every score is that of scikit-learn, scipy, statsmodels or fairlearn.

Answers and labels come in any order, are corrected, taken back and delivered again, over one partition or several. What
the libraries are given are the rows as they stand at that moment.
"""

import math
import warnings
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
import pytest
from fairlearn.metrics import (
    MetricFrame,
    equal_opportunity_difference,
    equalized_odds_difference,
    false_positive_rate,
    selection_rate,
    true_positive_rate,
)
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from sklearn import metrics
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.weightstats import DescrStatsW

from app.core.outputs.comparisons import quantities
from app.core.rules import Fairness, Rules
from app.core.scores.catalogue import SCORES, score_of
from app.core.scores.comparison import compare
from app.core.scores.fairness import MEASURES, fairness_of
from app.core.scores.score import Score
from app.core.segments import TAGS, Segment
from tests.builders import MODEL, START, Ledger, Record, a_feedback, a_response
from tests.core.measures.test_probabilities import ece, vectors

_PUIDS: Final = "abcdef"
_few: Final = settings(max_examples=12)
_NAN: Final = math.nan


class Step(NamedTuple):
    """One event: the answers of a puid, by predictor, its label, or what came before once more (no puid)."""

    puid: str
    answers: Sequence[Any] = ()
    label: Any = None
    reward: float | None = None
    tags: Mapping[str, str] = {}


class Row(NamedTuple):
    """A puid as it stands: its answers, by predictor, its label, if it has one, and whose group it is of."""

    answers: Sequence[Any]
    label: Any
    group: str


@st.composite
def streams(draw: st.DrawFn, answers: Any, labels: Any, legs: int = 1, *, most: int = 14) -> list[Step]:
    """Some events of few puids."""
    steps = []
    for _ in range(draw(st.integers(2, most))):
        puid = draw(st.sampled_from(_PUIDS))
        kind = draw(st.sampled_from(["answer", "answer", "label", "label", "taken back", "again"]))
        if kind == "answer":
            sex = draw(st.sampled_from(["male", "female"]))
            steps.append(Step(puid, [draw(answers) for _ in range(legs)], tags={"sex": sex}))
        elif kind == "again":
            steps.append(Step(""))
        else:
            reward = draw(st.sampled_from([None, 0.5, -2.0]))
            steps.append(Step(puid, label=draw(labels) if kind == "label" else None, reward=reward))
    return steps


def told(steps: Sequence[Step], ledger: Ledger) -> Iterator[tuple[list[Row], list[float]]]:
    """After each event that the ledger has: the rows that are answered, and the rewards."""
    answers: dict[str, tuple[Sequence[Any], str]] = {}
    labels: dict[str, Any] = {}
    rewards: dict[str, float] = {}
    records: list[Record] = []
    for at, step in enumerate(steps):
        if step.answers:
            answers[step.puid] = step.answers, step.tags["sex"]
            records = [
                a_response(
                    body={"data": {"ndarray": [answer]}, "meta": {"tags": step.tags}},
                    puid=step.puid,
                    at=at,
                    predictor=predictor,
                )
                for answer, predictor in zip(step.answers, ("default", "shadow"), strict=False)
            ]
        elif step.puid:
            labels[step.puid] = step.label
            records = [a_feedback(step.label, puid=step.puid, at=at)]
            if step.reward is not None:
                rewards[step.puid] = step.reward
                records = [a_feedback(step.label, reward=step.reward, puid=step.puid, at=at)]
        ledger.absorb(*records).cut()
        yield (
            [Row(given, labels.get(puid), group) for puid, (given, group) in answers.items()],
            [*rewards.values()],  # also where nothing is answered yet: they name the model
        )


def undefined(value: Any) -> bool:
    return value is None or math.isnan(value)


def check(ledger: Ledger, expected: Mapping[tuple[str, str], Any]) -> None:
    """The scores that are expected, by name and class, are those of the one model."""
    read = ledger.models().get(MODEL)
    assert read is not None
    for (name, of_class), value in expected.items():
        found = score_of(read.reading, name, of_class)
        if found is None:
            assert undefined(value), (name, of_class)
            continue
        _check_score(read.reading, found, value)


def _check_score(reading: Any, found: Score, value: Any) -> None:
    name = found.name
    if undefined(value):
        assert found.value is None, found
        return
    assert found.value is not None, found
    error = score_of(reading, f"{name}_error", found.of_class)
    if error is not None:  # of binned scores
        assert error.value is not None
        assert abs(found.value - value) <= error.value + 1e-12, found
    elif name.startswith(("error_p", "max_error")):  # of a sketch
        assert math.isclose(found.value, value, rel_tol=1 / 64, abs_tol=1e-12), found
    else:
        assert math.isclose(found.value, value, rel_tol=1e-9, abs_tol=1e-9), (found, value)


def of_feedback(rows: Sequence[Row], rewards: Sequence[float]) -> dict[tuple[str, str], Any]:
    labelled = [row for row in rows if row.label is not None]
    return {
        ("reward_mean", ""): np.mean(rewards) if rewards else _NAN,
        ("coverage", ""): len(labelled) / len(rows) if rows else _NAN,
    }


def of_classes(actual: Sequence[str], predicted: Sequence[str], positive: str | None) -> dict[tuple[str, str], Any]:
    """All scores of classes, of one positive class or of each."""
    occurring = sorted({*actual, *predicted})
    found: dict[tuple[str, str], Any] = {("accuracy", ""): metrics.accuracy_score(actual, predicted)}
    by_name: dict[str, dict[str, float]] = {}
    for name in occurring if positive is None else [positive]:
        sides = [[one == name for one in side] for side in (actual, predicted)]
        rest = [[not one for one in side] for side in sides]
        own = {
            "precision": metrics.precision_score(*sides, zero_division=_NAN),
            "recall": metrics.recall_score(*sides, zero_division=_NAN),
            "f1": metrics.f1_score(*sides, zero_division=_NAN),
            "specificity": metrics.recall_score(*rest, zero_division=_NAN),
            "npv": metrics.precision_score(*rest, zero_division=_NAN),
        }
        for score, value in own.items():
            found[score, name if positive is None else ""] = value
            by_name.setdefault(score, {})[name] = value
    varies = len({*actual}) > 1 and len({*predicted}) > 1
    found["balanced_accuracy", ""] = metrics.balanced_accuracy_score(actual, predicted)
    found["mcc", ""] = metrics.matthews_corrcoef(actual, predicted) if varies else _NAN
    if positive is None:
        found["kappa", ""] = metrics.cohen_kappa_score(actual, predicted) if len(occurring) > 1 else _NAN
        supports = Counter(actual)
        for score, metric in (("precision", metrics.precision_score), ("recall", metrics.recall_score),
                              ("f1", metrics.f1_score)):  # fmt: skip
            for average in ("macro", "micro", "weighted"):
                found[f"{score}_{average}", ""] = metric(actual, predicted, average=average, zero_division=_NAN)
            if all(math.isnan(value) for name, value in by_name[score].items() if supports[name]):
                found[f"{score}_weighted", ""] = _NAN  # scikit-learn takes the mean of the classes without rows
        found["specificity_macro", ""] = np.nanmean([*by_name["specificity"].values()])
    return found


def of_probabilities(
    actual: Sequence[str], given_: Sequence[Sequence[float]], width: int
) -> dict[tuple[str, str], Any]:
    """All scores of probabilities."""
    classes = [*range(width)]
    labels, predicted = np.array([*map(int, actual)]), np.array(given_)
    found: dict[tuple[str, str], Any] = {("log_loss", ""): metrics.log_loss(labels, predicted, labels=classes)}
    if width == 2:
        positive = np.clip(predicted[:, 1], 0, 1)
        found["brier", ""] = metrics.brier_score_loss(labels, positive, pos_label=1, labels=classes)
        found["ece", ""] = ece(labels == 1, positive)
        both = len({*actual}) == 2
        found["roc_auc", ""] = metrics.roc_auc_score(labels, positive) if both else _NAN
        found["average_precision", ""] = metrics.average_precision_score(labels, positive) if labels.any() else _NAN
    else:
        found["brier", ""] = metrics.brier_score_loss(labels, predicted, labels=classes)
        found["ece", ""] = ece(predicted.argmax(axis=1) == labels, predicted.max(axis=1))
        found |= of_ranks(labels, predicted)
    return found


def of_ranks(labels: Any, predicted: Any) -> dict[tuple[str, str], Any]:
    """Each class against the rest, and the means: over all classes where all occur, as scikit-learn demands."""
    found: dict[tuple[str, str], Any] = {}
    for place in range(predicted.shape[1]):
        own, scores = labels == place, predicted[:, place]
        found["roc_auc", str(place)] = metrics.roc_auc_score(own, scores) if len({*own.tolist()}) == 2 else _NAN
        found["average_precision", str(place)] = metrics.average_precision_score(own, scores) if own.any() else _NAN
    if {*labels.tolist()} == {*range(predicted.shape[1])}:
        found["roc_auc_macro", ""] = metrics.roc_auc_score(labels, predicted, multi_class="ovr", average="macro")
        found["average_precision_macro", ""] = metrics.average_precision_score(labels, predicted, average="macro")
    return found


_RANKED: Final = Rules(task="multiclass", classes=("0", "1", "2"), probabilities=True)


@pytest.mark.parametrize("width", [2, 3])
@given(data=st.data())
@_few
def test_classes_and_probabilities(width: int, data: st.DataObject) -> None:
    steps = data.draw(streams(vectors(width), st.integers(0, width - 1).map(str)))
    rules = Rules(task="binary", positive="1") if width == 2 else _RANKED
    ledger = Ledger(rules, partitions=data.draw(st.sampled_from([1, 2, 4])))
    for rows, rewards in told(steps, ledger):
        if not rows:
            continue
        judged = [row for row in rows if row.label is not None]
        expected = of_feedback(rows, rewards)
        if judged:
            actual = [row.label for row in judged]
            chances = [row.answers[0] for row in judged]
            predicted = [str(np.argmax(one)) for one in chances]
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of scikit-learn, where a score is undefined
                expected |= of_classes(actual, predicted, "1" if width == 2 else None)
                expected |= of_probabilities(actual, chances, width)
        check(ledger, expected)


_numbers: Final = st.integers(-20, 20).map(lambda value: value / 4) | st.floats(-100, 100).filter(
    lambda value: not value or abs(value) > 1e-6
)


@given(streams(_numbers, _numbers), st.sampled_from([1, 2, 4]))
@_few
def test_measurements(steps: list[Step], partitions: int) -> None:
    ledger = Ledger(Rules(task="regression"), partitions=partitions)
    for rows, rewards in told(steps, ledger):
        if not rows:
            continue
        judged = [row for row in rows if row.label is not None]
        expected = of_feedback(rows, rewards)
        if judged:
            expected |= of_errors(np.array([row.label for row in judged]), np.array([row.answers[0] for row in judged]))
        check(ledger, expected)


def of_errors(actual: Any, predicted: Any) -> dict[tuple[str, str], Any]:
    """All scores of measurements."""
    sizes = np.abs(predicted - actual)
    found = {
        "mae": metrics.mean_absolute_error(actual, predicted),
        "mse": metrics.mean_squared_error(actual, predicted),
        "rmse": metrics.root_mean_squared_error(actual, predicted),
        "bias": np.mean(predicted - actual),
        "max_error": metrics.max_error(actual, predicted),
        "mape": metrics.mean_absolute_percentage_error(actual, predicted) if (actual != 0).all() else _NAN,
        **{f"error_p{percent}": np.percentile(sizes, percent, method="inverted_cdf") for percent in (50, 90, 99)},
    }
    if len({*actual.tolist()}) == 1:
        found["r2"] = _NAN
    elif np.var(actual) > 1e-6:  # below that floats are too coarse for scikit-learn's own sums
        found["r2"] = metrics.r2_score(actual, predicted, force_finite=False)
    return {(name, ""): value for name, value in found.items()}


def test_no_score_lacks_an_oracle() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        known = {
            *of_feedback([], []),
            *of_classes(["0", "1"], ["0", "1"], None),
            *of_probabilities("012", [[0.5, 0.25, 0.25], [0.25, 0.5, 0.25], [0.25, 0.25, 0.5]], 3),
            *of_errors(np.array([1.0, 2.0]), np.array([1.0, 1.5])),
        }
    # Which the scores are checked against.
    bounds = {f"{of}{end}_error" for of in ("roc_auc", "average_precision") for end in ("", "_macro")}
    assert {name for name, _ in known} | bounds == {formula.name for formula in SCORES}


# -- groups -----------------------------------------------------------------------------------------------------------

_RULE: Final = Fairness("sex", "male", "1")
_FAIR: Final = Rules(
    task="binary", positive="1", segments=(Segment("sex", TAGS, "sex", kept=("male",)),), fairness=_RULE
)


@given(streams(st.integers(0, 1), st.integers(0, 1), most=20), st.sampled_from([1, 2, 4]))
@settings(max_examples=8)
def test_groups(steps: list[Step], partitions: int) -> None:
    ledger = Ledger(_FAIR, partitions=partitions)
    for rows, _ in told(steps, ledger):
        if not rows:
            continue
        ((_, readings),) = ledger.readings().of_models(START + 60)
        found = {one.measure: one.score for one in fairness_of(readings["total"], _RULE) if not one.value}
        assert found.keys() == {*MEASURES}
        parity, impact, opportunity, odds = (found[measure] for measure in MEASURES)
        judged = [row for row in rows if row.label is not None]
        selected = _by_group(selection_rate, rows, [row.answers[0] for row in rows])
        if len(selected) < 2:
            assert parity is None
        else:
            assert parity == pytest.approx(selected["female"] - selected["male"])
            privileged = selected["male"]
            assert impact == (pytest.approx(selected["female"] / privileged) if privileged else None)
        true, false = (
            _by_group(rate, [row for row in judged if row.label == side])
            for rate, side in ((true_positive_rate, 1), (false_positive_rate, 0))
        )
        assert opportunity == (pytest.approx(true["female"] - true["male"]) if len(true) == 2 else None)
        if len(true) < 2 or len(false) < 2:
            assert odds is None
            continue
        assert odds == pytest.approx((true["female"] - true["male"] + false["female"] - false["male"]) / 2)
        columns = [row.label for row in judged], [row.answers[0] for row in judged]
        sexes = [row.group for row in judged]
        assert abs(opportunity or 0) == pytest.approx(equal_opportunity_difference(*columns, sensitive_features=sexes))
        mean = (abs(opportunity or 0) + abs(false["female"] - false["male"])) / 2
        assert mean == pytest.approx(equalized_odds_difference(*columns, sensitive_features=sexes, agg="mean"))


def _by_group(rate: Any, rows: Sequence[Row], labels: Sequence[int] | None = None) -> dict[str, float]:
    """fairlearn's rate of each group that has rows."""
    if not rows:
        return {}
    frame = MetricFrame(
        metrics=rate,
        y_true=[row.label for row in rows] if labels is None else labels,
        y_pred=[row.answers[0] for row in rows],
        sensitive_features=[row.group for row in rows],
    )
    return {str(group): float(value) for group, value in frame.by_group.items()}


# -- two legs ---------------------------------------------------------------------------------------------------------


def of_pair(ledger: Ledger) -> dict[str, float | None]:
    (readings,) = [readings for _, readings in ledger.readings().of_pairs(START + 60)]
    return quantities(compare(readings["total"], 1))


@given(streams(vectors(2), st.integers(0, 1), legs=2, most=30), st.sampled_from([1, 2, 4]))
@_few
def test_two_legs_that_name_classes(steps: list[Step], partitions: int) -> None:
    ledger = Ledger(Rules(task="binary", positive="1"), partitions=partitions)
    for rows, _ in told(steps, ledger):
        judged = [row for row in rows if row.label is not None]
        if not judged:
            continue
        right = [[np.argmax(one) == row.label for one in row.answers] for row in judged]
        table = Counter(map(tuple, right))
        first, second = table[True, False], table[False, True]
        test = mcnemar(
            [[table[True, True], first], [second, table[False, False]]], exact=first + second < 25, correction=True
        )
        differences = np.array([int(other) - int(one) for one, other in right])
        found = of_pair(ledger)
        assert found["samples"] == len(judged)
        assert (found["only_current_right"], found["only_shadow_right"]) == (first, second)
        assert found["agreement"] == pytest.approx(
            np.mean([np.argmax(row.answers[0]) == np.argmax(row.answers[1]) for row in rows])
        )
        assert found["p_value"] == pytest.approx(min(1.0, test.pvalue))
        spread = stats.norm.ppf(0.975) * differences.std() / math.sqrt(len(judged))
        wanted = differences.mean(), differences.mean() - spread, differences.mean() + spread
        names = [f"accuracy_difference{end}" for end in ("", "_low", "_high")]
        assert [found[name] for name in names] == pytest.approx(wanted, abs=1e-9)
        assert found["p_value_always"] == pytest.approx(min(1.0, 1 / _evidence_of_classes(first, second)), rel=1e-6)
        briers = [np.subtract(*((one[1] - row.label) ** 2 for one in reversed(row.answers))) for row in judged]
        _check_differences(found, "brier", np.array(briers))


def _evidence_of_classes(first: int, second: int) -> float:
    """How much likelier these are with a share that is drawn from Beta(2, 2) than with 1/2."""

    def likelihood(share: float) -> float:
        return float(stats.beta.pdf(share, 2, 2)) * (2 * share) ** second * (2 * (1 - share)) ** first

    return float(integrate.quad(likelihood, 0, 1)[0])


@given(streams(_numbers, _numbers, legs=2, most=30), st.sampled_from([1, 2, 4]))
@_few
def test_two_legs_that_measure(steps: list[Step], partitions: int) -> None:
    ledger = Ledger(Rules(task="regression"), partitions=partitions)
    for rows, _ in told(steps, ledger):
        judged = [row for row in rows if row.label is not None]
        if judged:
            sizes = [[abs(one - row.label) for one in row.answers] for row in judged]
            _check_differences(of_pair(ledger), "error", np.array([other - one for one, other in sizes]))


def _check_differences(found: Mapping[str, float | None], what: str, differences: Any) -> None:
    """The mean of paired differences, its interval and p-values, by scipy and statsmodels."""
    before = "brier_" if what == "brier" else ""
    name, rows = f"{what}_difference", len(differences)
    assert found[f"{before}samples"] == rows
    assert found[name] == pytest.approx(differences.mean(), abs=1e-9)
    if rows < 2 or np.ptp(differences) < 1e-6:
        return
    summary = DescrStatsW(differences)
    assert [found[f"{name}_low"], found[f"{name}_high"]] == pytest.approx(
        [*summary.tconfint_mean()], rel=1e-6, abs=1e-9
    )
    assert found[f"{before}p_value"] == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=1e-6, abs=1e-12)
    t = summary.ttest_mean()[0]

    def likelihood(size: float) -> float:
        return float(stats.norm.pdf(size, 0, 0.1)) * math.exp(size * t * math.sqrt(rows) - rows * size**2 / 2)

    evidence = float(integrate.quad(likelihood, -2, 2, points=[0.0])[0])
    assert found[f"{before}p_value_always"] == pytest.approx(min(1.0, 1 / evidence), rel=1e-4)
    # The interval that may be looked at always ends where the evidence against its end is 20.
    low = found[f"{name}_low_always"]
    assert low is not None
    size = (differences.mean() - low) / (summary.std_mean)
    growth = rows * 0.1**2
    assert math.exp(growth * size**2 / (2 * (growth + 1))) / math.sqrt(growth + 1) == pytest.approx(20, rel=1e-4)
    if what == "error":
        detectable = found["detectable"]
        assert detectable is not None
        assert stats.norm.cdf(detectable / summary.std_mean - size) == pytest.approx(0.8, rel=1e-6)
