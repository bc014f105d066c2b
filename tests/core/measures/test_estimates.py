"""Estimates: scores before labels, as exact as all counts through corrections, merges and restarts."""

from collections import Counter
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.isotonic import IsotonicRegression

from app.core.counts.panes import PaneClock
from app.core.measures.calibration import curve_of
from app.core.measures.estimates import ESTIMATES, learnt
from app.core.measures.measure import Evidence
from app.core.measures.probabilities import FINE_BINS, fine_bin, fine_bins, middle_of
from app.core.measures.reading import Nature, Reading
from app.core.rules import Rules
from app.core.scores.estimates import ESTIMATED, Estimate, Estimates, estimates_of
from app.core.segments import TAGS, Segment
from tests.builders import MODEL, Ledger, Record, a_feedback, a_request, a_response, tell
from tests.core.measures.test_probabilities import a_history, text

BINARY: Final = Rules(task="binary", positive="1", estimate=True, least_count=2)
ANY: Final = Rules(estimate=True, least_count=2)


def found(ledger: Ledger, window: str = "total") -> Estimates:
    """What a ledger estimates."""
    estimates = estimates_of(ledger.cut().models(window)[MODEL].reading)
    assert estimates is not None
    return estimates


def values(ledger: Ledger, window: str = "total") -> dict[str, float | None]:
    """The values of its estimates."""
    return {one.score: one.value for one in found(ledger, window).estimates}


def labelled(*rows: tuple[Any, Any], begin: int = 0) -> list[Record]:
    """Answers with their labels."""
    records = []
    for number, (answer, label) in enumerate(rows, begin):
        records += [a_response(answer, puid=f"l{number}", at=0), a_feedback(label, puid=f"l{number}", at=1)]
    return records


#: Of 0.25 one of four is positive, of 0.75 three of four.
KNOWN: Final = labelled(*[(0.25, label) for label in (0, 0, 0, 1)], *[(0.75, label) for label in (1, 1, 1, 0)])


def test_rows_without_label_are_estimated_by_the_calibration_of_those_with_one() -> None:
    ledger = Ledger(BINARY).absorb(*KNOWN)
    ledger.absorb(*(a_response(0.75, puid=f"n{number}", at=7200) for number in range(10)))
    ledger.cut(7200)
    estimates = estimates_of(ledger.models("1h", now=7200)[MODEL].reading)
    assert estimates is not None
    assert (estimates.rows, estimates.labels) == (10, 8)
    by_name = {one.score: one.value for one in estimates.estimates}
    assert by_name == {
        "accuracy": pytest.approx(0.75),
        "precision": pytest.approx(0.75),
        "recall": 1.0,
        "specificity": 0.0,
        "f1": pytest.approx(2 * 7.5 / (7.5 + 10)),
        "roc_auc": 0.5,
    }


def test_over_confident_probabilities_are_calibrated() -> None:
    """They say 0.99 and are right in three of four."""
    ledger = Ledger(BINARY).absorb(*labelled(*[(0.99, label) for label in (1, 1, 1, 0)], (0.01, 0), (0.01, 0)))
    accuracy = values(ledger)["accuracy"]
    assert accuracy == pytest.approx(5 / 6)


def test_of_a_class_beside_the_probabilities_its_own_counts() -> None:
    """It need not be the likeliest one."""
    rules = Rules(estimate=True, least_count=2, probability_field="proba")

    def answered(number: int, label: str | None = None) -> list[Record]:
        row = {"label": "b", "proba": {"a": 0.6, "b": 0.3, "c": 0.1}}
        answer = a_response(body={"predictions": [row]}, puid=f"p{number}")
        return [answer, *([] if label is None else [a_feedback(label, puid=f"p{number}", at=1)])]

    ledger = Ledger(rules).absorb(*answered(0, "b"), *answered(1, "a"), *answered(2))
    assert values(ledger) == {"accuracy": 0.5}
    rows = {int(column) for key, cells in ledger.rows().items() if key.row.startswith("estimates/") for column in cells}
    assert rows == {fine_bin(0.3)}


def test_of_more_classes_the_highest_probability_counts() -> None:
    sure, unsure = [0.8, 0.1, 0.1], [0.4, 0.3, 0.3]
    ledger = Ledger(ANY).absorb(*labelled((sure, 0), (sure, 0), (unsure, 0), (unsure, 2), (unsure, "bird")))
    ledger.absorb(*(a_response(unsure, puid=f"n{number}") for number in range(3)))
    estimates = found(ledger)
    assert (estimates.rows, estimates.labels) == (8, 5)
    assert values(ledger) == {"accuracy": pytest.approx((2 + 6 * 1 / 3) / 8)}


def test_two_named_classes_have_an_accuracy_and_an_area() -> None:
    answers = [([0.8, 0.2], "cat"), ([0.3, 0.7], "dog"), ([0.3, 0.7], "cat")]
    ledger = Ledger(ANY)
    for number, (answer, label) in enumerate(answers):
        ledger.absorb(a_response(answer, names=["cat", "dog"], puid=f"p{number}"), a_feedback(label, puid=f"p{number}"))
    assert values(ledger) == {"accuracy": pytest.approx(2 / 3), "roc_auc": pytest.approx(0.75)}


def test_its_own_rows_are_estimated_as_they_are() -> None:
    """Of labelled rows alone accuracy and precision are the realised ones where bins tell the predictions apart."""
    random = np.random.default_rng(3)
    scores = random.random(400).round(2)
    labels = random.random(400) < scores**2
    ledger = Ledger(BINARY).absorb(*labelled(*zip(scores.tolist(), labels.astype(int).tolist(), strict=True)))
    model = ledger.cut().models()[MODEL]
    assert values(ledger)["accuracy"] == pytest.approx(model.rows["correct"] / 400, abs=0.02)


@pytest.mark.parametrize(
    ("records", "lacking"),
    [
        ([a_response("dog", at=0), a_feedback("dog", at=1)], "no answer has given a probability"),
        ([a_response(0.75, at=0)], "0 of the 2 labels (least_count) that it needs have come"),
        (labelled((0.75, 1)), "1 of the 2 labels (least_count) that it needs have come"),
        (labelled((0.75, 1), (0.25, 1)), "all labels so far are of one class, and it needs both"),
        (labelled((0.75, 1), (0.25, "bird")), "1 of the 2 labels (least_count) that it needs have come"),
    ],
)
def test_with_too_little_nothing_is_estimated_and_why_is_said(records: list[Record], lacking: str) -> None:
    estimates = found(tell(*records, rules=[BINARY]))
    assert estimates.estimates == ()
    assert estimates.lacking == lacking


def test_where_nobody_asks_nothing_is_counted() -> None:
    ledger = Ledger(Rules(task="binary")).absorb(*KNOWN).cut()
    assert estimates_of(ledger.models()[MODEL].reading) is None
    assert not any(key.row.startswith("estimates") for key in ledger.rows())


@pytest.mark.parametrize(
    ("rules", "answers", "rows"),
    [
        (BINARY, [0, 1], 0),  # classes, as far as one can tell
        (BINARY, [0, 1, 0.5], 3),
        (Rules(task="binary", estimate=True, probabilities=True), [0, 1], 2),
        (Rules(task="regression", estimate=True), [0.5, [0.5, 0.5]], 0),
        (Rules(estimate=True, probabilities=False), [0.5, [0.5, 0.5]], 0),
        (ANY, [[0.5, 0.6], [0.5, 0.5]], 1),
    ],
)
def test_what_counts_is_what_counts_of_probabilities(rules: Rules, answers: list[Any], rows: int) -> None:
    ledger = Ledger(rules).absorb(*(a_response(answer, puid=f"p{number}") for number, answer in enumerate(answers)))
    assert found(ledger).rows == rows


@pytest.mark.parametrize("seed", range(4))
def test_order_merge_and_corrections_do_not_show(seed: int) -> None:
    random = np.random.default_rng(seed)
    records = a_history(random)
    clock = PaneClock(by_labels=True)
    whole = text(Ledger(ANY, clock=clock).absorb(*records))
    assert "tally_score_estimate_low" in whole
    for partitions in (1, 2, 4):
        ledger = Ledger(ANY, partitions=partitions, clock=clock)
        order = random.permutation(len(records)).tolist()
        for start in range(0, len(order), 7):
            ledger.absorb(*(records[place] for place in order[start : start + 7]))
            if random.random() < 0.5:
                ledger.cut()
                if random.random() < 0.5:
                    ledger.restart()
        assert text(ledger) == whole


def test_rows_of_a_batch_count_in_their_own_segments() -> None:
    rules = Rules(task="binary", estimate=True, segments=(Segment("country", TAGS, "country"),))
    asked = a_request({"data": {"ndarray": [1]}, "meta": {"tags": {"country": "be"}}}, at=0)
    ledger = Ledger(rules).absorb(asked, a_response([0.9, 0.1], at=1), a_feedback(0, at=3)).cut()
    ledger.absorb(a_response([0.2, 0.8], at=2)).cut()
    assert ledger.rows() == Ledger(rules).absorb(asked, a_response([0.2, 0.8], at=2), a_feedback(0, at=3)).cut().rows()
    own = {(key.level, key.segment): cells for key, cells in ledger.rows().items() if key.row.startswith("estimates/")}
    assert {segment for _, segment in own} >= {""}
    assert len({segment for _, segment in own}) == 2


@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.booleans()), min_size=1, max_size=40))
def test_the_curve_is_the_isotonic_regression_of_scikit_learn(rows: list[tuple[float, bool]]) -> None:
    by_place: dict[float, list[int]] = {}
    for place, true in rows:
        own = by_place.setdefault(place, [0, 0])
        own[0] += 1
        own[1] += true
    curve = curve_of((place, own[0], own[1]) for place, own in sorted(by_place.items()))
    theirs = IsotonicRegression().fit([place for place, _ in rows], [true for _, true in rows])
    for block in curve:
        assert theirs.predict([block.low, block.high]) == pytest.approx([block.true / block.rows] * 2)
    shares = [block.true / block.rows for block in curve]
    assert shares == sorted(shares)


@given(st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0, 2.0**-24, 2.0**-5, 1 - 2.0**-24]))
def test_one_fine_bin_is_that_of_many_and_its_middle_lies_in_it(value: float) -> None:
    assert fine_bin(value) == fine_bins(np.array([value]))[0]
    assert fine_bin(middle_of(fine_bin(value))) == fine_bin(value)


def test_the_middles_of_fine_bins_rise() -> None:
    used = sorted({fine_bin(value) for value in np.linspace(0, 1, 5000).tolist()})
    assert used[0] >= 0
    assert used[-1] < FINE_BINS
    middles = [middle_of(bin_) for bin_ in used]
    assert middles == sorted(set(middles))


def _answers(random: np.random.Generator, rows: int, shift: float) -> tuple[Any, Any]:
    """Scores and what is true: over-confident ones, of questions that are harder the smaller the spread is."""
    logits = random.normal(shift, 2.0, rows)
    return 1 / (1 + np.exp(-1.5 * logits)), random.random(rows) < 1 / (1 + np.exp(-logits))


def _estimated(score: Any, actual: Any, later: Any) -> tuple[Estimate, ...]:
    """What is estimated of later scores by labels of earlier ones."""
    cells: Counter[tuple[str, str]] = Counter()
    for scores, labels in ((score, actual.astype(int).tolist()), (later, None)):
        evidence = Evidence(rules=BINARY, response=True, marks=scores.tolist(), labels=labels)
        now: Counter[tuple[str, str]] = Counter(dict(ESTIMATES.amounts(evidence)))
        cells.update(now)
    nature = Nature("binary", learnt=learnt(cells, 2))
    reading = Reading(nature, {"estimates": ESTIMATES.read(now, nature)})
    estimates = estimates_of(reading)
    assert estimates is not None
    return estimates.estimates


#: What NannyML 0.13.1 says of the answers of the test below (`CBPE`, calibrated by the first 10,000), by shift.
NANNYML: Final[dict[float, tuple[float, ...]]] = {
    # accuracy, precision, recall, specificity, f1, roc_auc
    0.0: (0.777534, 0.772174, 0.773442, 0.781453, 0.772808, 0.861071),
    0.5: (0.779916, 0.800638, 0.828856, 0.711507, 0.814503, 0.858136),
    1.0: (0.794356, 0.817104, 0.880115, 0.635818, 0.847440, 0.865050),
    -1.0: (0.793120, 0.740980, 0.636795, 0.878468, 0.684948, 0.862304),
    2.0: (0.840409, 0.864973, 0.940023, 0.503090, 0.900938, 0.874297),
}


def test_estimates_are_those_of_nannyml() -> None:
    """Within 0.0015: it takes probabilities as they are where we have 562 bins."""
    random = np.random.default_rng(2024)
    score, actual = _answers(random, 10_000, shift=0.0)
    for shift, theirs in NANNYML.items():
        later, _ = _answers(random, 2000, shift=shift)
        ours = {one.score: one.value for one in _estimated(score, actual, later)}
        assert [ours[name] for name in ESTIMATED] == pytest.approx(theirs, abs=0.0015), shift


def _realised(score: str, scores: Any, actual: Any) -> float:
    predicted = scores >= 0.5
    if score == "roc_auc":
        return float(metrics.roc_auc_score(actual, scores))
    if score == "specificity":
        return float(metrics.recall_score(~actual, ~predicted))
    return float(getattr(metrics, f"{score}_score")(actual, predicted))


@pytest.mark.parametrize(("labels", "rows"), [(150, 400), (2000, 400), (500, 5000)])
def test_intervals_hold_the_score_that_comes(labels: int, rows: int) -> None:
    """Of models that are over-confident alike, asked something else than before: in nine of ten windows at least."""
    random = np.random.default_rng(labels)
    rounds, inside = 150, dict.fromkeys(ESTIMATED, 0)
    for _ in range(rounds):
        score, actual = _answers(random, labels, shift=0.0)
        later, truth = _answers(random, rows, shift=0.7)
        estimates = _estimated(score, actual, later)
        for one in estimates:
            realised = _realised(one.score, later, truth)
            assert one.low is not None
            assert one.high is not None
            inside[one.score] += one.low <= realised <= one.high
    for name, count in inside.items():
        assert count / rounds >= 0.9, (name, count / rounds)
