"""Probabilities: their scores are scikit-learn's after every event; no order, merging or correction shows."""

import math
import warnings
from collections.abc import Iterable
from typing import Any, Final

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics
from sklearn.calibration import calibration_curve

from app.core.counts.panes import TOTAL, PaneClock
from app.core.join.exchange import LegState
from app.core.join.position import FORMAT, OLDEST, POSITION_KEY
from app.core.limits import Limits
from app.core.measures.probabilities import FINE_BINS, PROBABILITIES, brier_units, fine_bins, logarithms
from app.core.payloads.bodies import MOST_PROBABILITIES, read_response
from app.core.rules import Rules
from app.core.scores.catalogue import scores_of
from app.core.segments import TAGS, Segment
from app.exporters.prometheus import ModelText
from tests.builders import MODEL, SHADOW, START, Ledger, Record, a_feedback, a_request, a_response, tell

NAMES: Final = ("log_loss", "brier", "ece", "roc_auc", "average_precision", "roc_auc_error", "average_precision_error")
BINARY: Final = Rules(task="binary", positive="1")
CLOCK: Final = PaneClock(by_labels=True)


def scores(ledger: Ledger, window: str = "total", model: str = MODEL) -> dict[str, float | None]:
    """The scores of probabilities that a ledger gives."""
    found = scores_of(ledger.cut().models(window)[model].reading)
    return {score.name: score.value for score in found if score.name in NAMES}


def rows(ledger: Ledger, model: str = MODEL) -> int:
    """How many rows count."""
    found = ledger.cut().models().get(model)
    return 0 if found is None else PROBABILITIES.of(found.reading).rows


def ece(outcomes: Iterable[bool], confidences: Iterable[float]) -> float:
    """By scikit-learn's calibration curve; its bins that hold nothing are left out."""
    outcomes, confidences = [*outcomes], [*confidences]
    observed, mean = calibration_curve(outcomes, confidences, n_bins=10, strategy="uniform")
    places = np.searchsorted(np.linspace(0, 1, 11)[1:-1], confidences)
    counts = np.unique(places, return_counts=True)[1]
    return float(np.sum(counts * np.abs(observed - mean)) / len(confidences))


def text(ledger: Ledger) -> str:
    """All that is exported of the models."""
    readings = ledger.cut().readings()
    exported = ModelText(seldon=True, most=10**9)
    for who, read in readings.of_models(START + 600):
        exported.put(who, exported.block(who, read, START, []))
    return exported.text()


@st.composite
def vectors(draw: st.DrawFn, width: int) -> list[float]:
    """Probabilities of so many classes: any, round ones, and some that are 0 or 1."""
    weights = draw(
        st.one_of(
            st.lists(st.integers(0, 10), min_size=width, max_size=width),
            st.lists(st.floats(0, 1, allow_subnormal=False), min_size=width, max_size=width),
        ).filter(lambda found: sum(found) > 1e-3)
    )
    return [weight / math.fsum(weights) for weight in weights]


@pytest.mark.parametrize("width", [2, 3, 5])
@given(data=st.data())
@settings(max_examples=25)
def test_after_every_label_the_scores_are_those_of_scikit_learn(width: int, data: st.DataObject) -> None:
    given_ = data.draw(st.lists(st.tuples(vectors(width), st.integers(0, width - 1)), min_size=1, max_size=12))
    ledger = Ledger(BINARY if width == 2 else Rules())
    seen: list[tuple[list[float], int]] = []
    for number, (vector, label) in enumerate(given_):
        ledger.absorb(a_response(vector, puid=f"p{number}"), a_feedback(label, puid=f"p{number}"))
        seen.append((vector, label))
        found = scores(ledger)
        predicted, actual = np.array([one for one, _ in seen]), np.array([one for _, one in seen])
        classes = [*range(width)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            assert found["log_loss"] == pytest.approx(
                metrics.log_loss(actual, predicted, labels=classes), rel=1e-9, abs=1e-11
            )
            if width > 2:
                brier = metrics.brier_score_loss(actual, predicted, labels=classes)
                expected = ece(predicted.argmax(axis=1) == actual, predicted.max(axis=1))
            else:
                positive = np.clip(predicted[:, 1], 0, 1)
                brier = metrics.brier_score_loss(actual, positive, pos_label=1, labels=classes)
                expected = ece(actual == 1, positive)
        assert found["brier"] == pytest.approx(brier, rel=1e-9, abs=1e-11)
        assert found["ece"] == pytest.approx(expected, rel=1e-9, abs=1e-11)
        if width == 2:
            check_ranking(found, actual, predicted[:, 1])
        else:
            assert "roc_auc" not in found


def check_ranking(found: dict[str, float | None], actual: Any, scores_: Any) -> None:
    """The ranking scores are as near to scikit-learn's as they say."""
    if len({*actual.tolist()}) == 2:
        auc, error = found["roc_auc"], found["roc_auc_error"]
        assert auc is not None
        assert error is not None
        assert abs(auc - metrics.roc_auc_score(actual, scores_)) <= error + 1e-12
    else:
        assert found["roc_auc"] is None
    if actual.any():
        precision, error = found["average_precision"], found["average_precision_error"]
        assert precision is not None
        assert error is not None
        assert abs(precision - metrics.average_precision_score(actual, scores_)) <= error + 1e-12
    else:
        assert found["average_precision"] is None


@pytest.mark.parametrize(("spread", "share"), [(1.0, 0.5), (3.0, 0.5), (2.0, 0.01), (8.0, 0.3)])
def test_ranking_scores_are_near_and_say_how_near(spread: float, share: float) -> None:
    """Scores of many rows, rare positives among them: off by a few thousandths at most, mostly far less."""
    random = np.random.default_rng(round(spread))
    actual = random.random(1500) < share
    logits = random.normal(size=1500) * spread + np.log(share / (1 - share)) + 2 * actual
    probabilities = 1 / (1 + np.exp(-logits))
    ledger = Ledger(BINARY)
    for number, (score, label) in enumerate(zip(probabilities.tolist(), actual.tolist(), strict=True)):
        ledger.absorb(a_response(score, puid=f"p{number}"), a_feedback(int(label), puid=f"p{number}"))
    found = scores(ledger)
    check_ranking(found, actual, probabilities)
    assert (found["roc_auc_error"] or 0) < 0.005
    assert found["roc_auc"] == pytest.approx(metrics.roc_auc_score(actual, probabilities), abs=5e-4)


# -- order, merge, correction -----------------------------------------------------------------------------------------


def a_history(random: np.random.Generator) -> list[Record]:
    """Answers of several rows and legs, labels and corrections of both, at times of their own."""
    records = []
    for number in range(40):
        puid = f"p{number}"
        for time in range(int(random.integers(1, 3))):  # a second one corrects the first
            width = int(random.choice([2, 3]))
            batch = random.dirichlet([1] * width, int(random.integers(1, 3))).tolist()
            version = str(random.choice(["v1", "v2"]))
            records.append(a_response(*batch, puid=puid, version=version, at=number + time))
        if random.random() < 0.5:
            records.append(a_response(*random.dirichlet([1, 1], 1).tolist(), puid=puid, predictor="shadow", at=number))
        for time in range(int(random.integers(0, 3))):
            labels = random.integers(0, 3, int(random.integers(1, 3))).tolist()
            records.append(a_feedback(labels, puid=puid, at=number + 60 * time + 1))
        if random.random() < 0.2:
            records.append(a_feedback(int(random.integers(0, 2)), puid=puid, row=0, at=number + 200))
    return records


@pytest.mark.parametrize("seed", range(6))
def test_order_merge_and_corrections_do_not_show(seed: int) -> None:
    random = np.random.default_rng(seed)
    records = a_history(random)
    whole = text(Ledger(clock=CLOCK).absorb(*records))
    assert "log_loss" in whole
    for partitions in (1, 2, 4):
        ledger = Ledger(partitions=partitions, clock=CLOCK)
        order = random.permutation(len(records)).tolist()
        for start in range(0, len(order), 7):
            ledger.absorb(*(records[place] for place in order[start : start + 7]))
            if random.random() < 0.5:
                ledger.settle()
            if random.random() < 0.5:
                ledger.cut()
                if random.random() < 0.5:
                    ledger.restart()
        assert text(ledger) == whole


def test_an_answer_that_is_replaced_is_taken_out_as_it_was_counted() -> None:
    good, bad, label = a_response([0.9, 0.1], at=1), a_response([0.2, 0.8], at=2), a_feedback(0, at=3)
    only = tell(bad, label)
    ledger = Ledger().absorb(good, label).cut()
    ledger.absorb(bad).cut()
    assert ledger.rows() == only.rows()
    assert rows(ledger) == 1
    ledger = Ledger().absorb(good, label).cut()
    assert ledger.restart() != [None]
    assert ledger.absorb(bad).cut().rows() == only.rows()


def test_segments_have_their_own() -> None:
    """Also where the answer is replaced."""
    rules = Rules(segments=(Segment("country", TAGS, "country"),))
    asked = a_request({"data": {"ndarray": [1]}, "meta": {"tags": {"country": "be"}}}, at=0)
    ledger = Ledger(rules).absorb(asked, a_response([0.9, 0.1], at=1), a_feedback(0, at=3)).cut()
    ledger.absorb(a_response([0.2, 0.8], at=2)).cut()
    assert ledger.rows() == Ledger(rules).absorb(asked, a_response([0.2, 0.8], at=2), a_feedback(0, at=3)).cut().rows()
    whole = {key: cells for key, cells in ledger.rows().items() if key.level == TOTAL}
    own = {key.segment: cells for key, cells in whole.items() if key.row == "probabilities"}
    assert len(own) == 2
    assert own[""] == next(cells for segment, cells in own.items() if segment)
    assert own[""]["rows"] == 1


def test_a_label_that_is_taken_back_leaves_nothing() -> None:
    ledger = tell(a_response([0.9, 0.1], at=1), a_feedback(0, at=2), a_feedback(None, at=3))
    assert rows(ledger) == 0
    assert not scores(ledger)
    assert not any(key.row.startswith("probabilities") for key in ledger.rows())


def test_of_each_row_of_a_batch_its_own_counts() -> None:
    """The second has none that could be used, the fourth no label."""
    batch = [0.9, 0.1], [0.9, 0.2], [0.3, 0.7], [0.5, 0.5]
    ledger = tell(a_response(*batch, at=1), a_feedback([0, 0, 0, None], at=2))
    assert rows(ledger) == 2
    assert scores(ledger)["brier"] == pytest.approx((0.1**2 + 0.7**2) / 2)
    known = ledger.describe()["legs"][0]["rows"]
    assert [row["score"] for row in known] == [0.9, pytest.approx(0.9), 0.7, 0.5]


def test_a_late_label_restates_both_clocks() -> None:
    ledger = Ledger(BINARY, clock=CLOCK)
    ledger.absorb(a_response([0.25, 0.75], at=0), a_feedback(1, at=3 * 86400)).cut(3 * 86400)
    by_labels = ledger.models("labels_1h", now=3 * 86400)[MODEL].reading
    assert PROBABILITIES.of(by_labels).rows == 1
    assert PROBABILITIES.of(ledger.models("24h", now=3 * 86400)[MODEL].reading).rows == 0


# -- what counts, and what does not -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "label", "names"),
    [
        ([0.5, 0.4], 1, None),  # they do not sum to 1
        ([0.5, 0.6], 1, None),
        ([1.0 + 1e-5, 0.0], 1, None),
        ([1.2, -0.2], 1, None),  # they do, and one is negative
        ([3.0, 1.0], 1, None),  # no probabilities at all
        ([0.25, 0.75], 2, None),  # the label is none of the classes
        ([0.25, 0.75], "bird", ["cat", "dog"]),
        ([0.25, 0.75], "cat", ["cat", "cat"]),  # which one is not known
        ([0.25, 0.75], None, None),
        ([1 / (MOST_PROBABILITIES + 1)] * (MOST_PROBABILITIES + 1), 1, None),  # more than are kept
        ("dog", "dog", None),
        (1, 1, None),  # of which nobody knows whether it is a probability
        (7.5, 1, None),  # a measurement
        (0.25, 0.5, None),
    ],
)
def test_what_is_no_probability_of_the_label_does_not_count(answer: Any, label: Any, names: Any) -> None:
    ledger = tell(a_response(answer, names=names, at=1), a_feedback(label, at=2))
    assert rows(ledger) == 0
    assert not scores(ledger)


def test_rounding_of_32_bits_is_allowed() -> None:
    vector = np.array([0.1, 0.2, 0.7], np.float32).tolist()
    assert sum(vector) != 1
    assert rows(tell(a_response(vector, at=1), a_feedback(1, at=2))) == 1


@pytest.mark.parametrize(
    ("rules", "answers", "counted"),
    [
        (BINARY, [0, 1], 0),  # classes, as far as one can tell
        (BINARY, [0, 1, 0.5], 3),  # of a model that gives probabilities
        (Rules(task="binary", positive="1", probabilities=True), [0, 1], 2),
        (Rules(task="binary", positive="1", probabilities=False), [0, 1, 0.5, [0.5, 0.5]], 0),
        (Rules(task="regression"), [0.5, [0.5, 0.5]], 0),
    ],
)
def test_a_bare_0_or_1_counts_where_it_is_a_probability(rules: Rules, answers: list[Any], counted: int) -> None:
    ledger = Ledger(rules)
    for number, answer in enumerate(answers):
        ledger.absorb(a_response(answer, puid=f"p{number}"), a_feedback(1, puid=f"p{number}"))
    assert rows(ledger) == counted
    if counted == 3:
        assert scores(ledger)["brier"] == pytest.approx((1 + 0 + 0.25) / 3)


def test_the_positive_class_is_the_rules() -> None:
    ledger = tell(
        a_response([0.2, 0.8], names=["good", "bad"], at=1),
        a_feedback("good", at=2),
        rules=[Rules(positive="good")],
    )
    assert scores(ledger)["ece"] == pytest.approx(0.8)
    assert PROBABILITIES.of(ledger.models()[MODEL].reading).sides == ((1, 0),)


def test_where_they_are_turned_off_nothing_is_kept() -> None:
    off = Ledger(Rules(probabilities=False)).absorb(a_response([0.25, 0.75])).cut()
    assert off.describe()["legs"][0]["rows"] == [{"predicted": "1", "score": 0.75}]
    exchange = off.shards[0].get(b"p")
    assert exchange is not None
    assert exchange.legs[0].probabilities is None


def test_one_class_alone_has_no_area_under_its_curve() -> None:
    found = scores(tell(a_response(0.75, at=1), a_feedback(1, at=2), rules=[BINARY]))
    assert (found["roc_auc"], found["roc_auc_error"]) == (None, None)
    assert found["average_precision"] == 1
    found = scores(tell(a_response(0.75, at=1), a_feedback(0, at=2), rules=[BINARY]))
    assert (found["roc_auc"], found["average_precision"]) == (None, None)


def test_a_certain_answer_that_is_wrong_costs_what_scikit_learn_says() -> None:
    found = scores(tell(a_response([1.0, 0.0, 0.0], at=1), a_feedback(1, at=2)))
    assert found["log_loss"] == pytest.approx(-math.log(np.finfo(np.float64).eps), rel=1e-12)


def test_scores_of_a_shadow_are_its_own() -> None:
    ledger = tell(a_response([0.25, 0.75], at=1), a_response([1.0, 0.0], predictor="shadow", at=1), a_feedback(1, at=2))
    assert scores(ledger)["brier"] == pytest.approx(0.0625)
    assert scores(ledger, model=SHADOW)["brier"] == 1


# -- how it is kept ---------------------------------------------------------------------------------------------------


def test_what_was_written_before_there_were_probabilities_is_read() -> None:
    """An exchange of then has no place for them, and its position says an older format."""
    ledger = Ledger().absorb(a_response([0.25, 0.75], at=1)).cut()
    kept = msgspec.msgpack.decode(ledger.exchanges[0][b"p"])
    legs = 1
    kept[legs] = [leg[: LegState.__struct_fields__.index("probabilities")] for leg in kept[legs]]
    ledger.exchanges[0][b"p"] = msgspec.msgpack.encode(kept)
    position = ledger.exchanges[0][POSITION_KEY]
    ledger.exchanges[0][POSITION_KEY] = position.replace(b'"format":%d' % FORMAT, b'"format":%d' % OLDEST)
    ledger.restart()
    ledger.absorb(a_feedback(1, at=2)).cut()
    assert ledger.models()[MODEL].rows["correct"] == 1
    assert rows(ledger) == 0


@pytest.mark.parametrize(("answer", "more"), [([0.25, 0.75], 31), ([0.25, 0.25, 0.5], 39), (0.75, 16)])
def test_a_common_exchange_has_few_bytes_more(answer: Any, more: int) -> None:
    """With windows by labels, and a label."""
    sizes = []
    for probabilities in (None, False):
        ledger = Ledger(Rules(probabilities=probabilities), clock=CLOCK)
        ledger.absorb(a_response(answer, at=1), a_feedback(1, at=2)).cut()
        sizes.append(len(ledger.exchanges[0][b"p"]))
    assert sizes[0] - sizes[1] <= more <= 40


def test_an_answer_keeps_only_so_many() -> None:
    rows_ = MOST_PROBABILITIES // 2
    for count, kept in ((rows_, True), (rows_ + 1, False)):
        body = b'{"data":{"ndarray":[' + b",".join([b"[0.25,0.75]"] * count) + b"]}}"
        output = read_response(body)
        assert (output.probabilities is not None) is kept
        assert (output.scores is None) is kept


def test_a_bulky_exchange_is_corrected_like_any_other() -> None:
    batch = [[0.25, 0.75]] * (MOST_PROBABILITIES // 2)
    limits = Limits(exchange_bytes=20_000)
    first, second = a_response(*batch, at=1), a_response(*([[0.5, 0.5]] * len(batch)), at=3)
    label = a_feedback([1] * len(batch), at=2)
    ledger = Ledger(limits=limits).absorb(first, label).cut().absorb(second).cut()
    assert not ledger.dead
    assert ledger.rows() == Ledger(limits=limits).absorb(second, label).cut().rows()
    assert rows(ledger) == len(batch)


@given(st.lists(st.floats(2.0**-53, 1 - 2.0**-53), min_size=1, max_size=20))
def test_the_logarithm_is_that_of_the_library(values: list[float]) -> None:
    for found, value in zip(logarithms(np.array(values)).tolist(), values, strict=True):
        assert found == pytest.approx(math.log(value), rel=1e-14, abs=2e-16)


@given(vectors(3), st.integers(0, 2))
def test_one_row_is_rounded_as_many_are(vector: list[float], label: int) -> None:
    ledger = Ledger().absorb(a_response(vector), a_feedback(label)).cut()
    packed = np.array(vector, "<f8").tobytes()
    assert PROBABILITIES.of(ledger.models()[MODEL].reading).brier == brier_units(packed, 2 * label)


@given(st.lists(st.floats(0, 1) | st.sampled_from([0.0, 0.5, 1.0, 2.0**-24, 2.0**-5]), min_size=2, max_size=30))
def test_fine_bins_keep_the_order(values: list[float]) -> None:
    values.sort()
    bins = fine_bins(np.array(values)).tolist()
    assert bins == sorted(bins)
    assert bins[0] >= 0
    assert bins[-1] < FINE_BINS
