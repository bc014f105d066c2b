"""Ranks: each of more than two classes against the rest, where the rules ask for them, and what that costs."""

from typing import Any, Final

import numpy as np
import orjson
import pytest
from sklearn import metrics

from app.core.counts.panes import PaneClock
from app.core.join.exchange import decode, encode
from app.core.measures.ranks import MOST_RANKED, RANKS, added
from app.core.rules import Rules
from app.core.scores.catalogue import scores_of
from app.core.segments import FEATURES, Segment
from tests.builders import MODEL, Ledger, a_feedback, a_request, a_response, tell

ASKED: Final = Rules(classes=("a", "b", "c"), probabilities=True)
CLOCK: Final = PaneClock(by_labels=True)


def scores(ledger: Ledger, window: str = "total") -> dict[tuple[str, str], float | None]:
    found = scores_of(ledger.models(window)[MODEL].reading)
    return {(one.name, one.of_class): one.value for one in found if one.name.startswith(("roc_auc", "average_prec"))}


def test_areas_are_those_of_scikit_learn_within_what_they_say_and_near() -> None:
    random = np.random.default_rng(3)
    labels = random.choice(3, 600, p=[0.6, 0.3, 0.1])
    logits = random.normal(size=(600, 3)) + 1.5 * np.eye(3)[labels]
    vectors = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    ledger = Ledger(ASKED, clock=CLOCK)
    for number, (vector, label) in enumerate(zip(vectors.tolist(), labels.tolist(), strict=True)):
        ledger.absorb(a_response(vector, puid=f"p{number}"), a_feedback("abc"[label], puid=f"p{number}"))
    ledger.cut()
    for window in ("total", "5m", "labels_5m"):
        found = scores(ledger, window)
        wanted = {
            ("roc_auc_macro", ""): metrics.roc_auc_score(labels, vectors, multi_class="ovr", average="macro"),
            ("average_precision_macro", ""): metrics.average_precision_score(labels, vectors, average="macro"),
            **{
                (name, of_class): metric(labels == place, vectors[:, place])
                for place, of_class in enumerate("abc")
                for name, metric in (
                    ("roc_auc", metrics.roc_auc_score),
                    ("average_precision", metrics.average_precision_score),
                )
            },
        }
        assert {key for key in found if not key[0].endswith("_error")} == wanted.keys()
        for (name, of_class), value in wanted.items():
            own, error = found[name, of_class], found[f"{name}_error", of_class]
            assert own is not None
            assert error is not None
            assert abs(own - value) <= error + 1e-12
            assert error < 0.02


@pytest.mark.parametrize(
    ("rules", "answer", "label"),
    [
        (Rules(classes=("a", "b", "c")), [0.2, 0.3, 0.5], "a"),  # nobody has said that they are probabilities
        (Rules(probabilities=True), [0.2, 0.3, 0.5], 0),  # nor which classes there are
        (Rules(classes=("a", "b"), probabilities=True), [0.5, 0.5], "a"),  # two have one side
        (Rules(classes=tuple(map(str, range(MOST_RANKED + 1))), probabilities=True), [1.0] + [0.0] * MOST_RANKED, 0),
        (ASKED, [0.2, 0.3, 0.6], "a"),
        (ASKED, [0.2, 0.3, 0.5], "d"),
        (ASKED, [0.2, 0.3, 0.5], None),
        (ASKED, "a", "a"),
    ],
)
def test_what_has_no_ranks(rules: Rules, answer: Any, label: Any) -> None:
    ledger = tell(a_response(answer, at=1), a_feedback(label, at=2), rules=[rules])
    assert not RANKS.of(ledger.models()[MODEL].reading)
    assert not any(key.row.startswith("ranks") for key in ledger.rows())


def test_a_class_that_nothing_is_labelled_as_has_none_and_is_in_no_mean() -> None:
    found = scores(
        tell(
            *(a_response([0.7, 0.2, 0.1], puid="p"), a_feedback("a", puid="p", at=1)),
            *(a_response([0.2, 0.7, 0.1], puid="q"), a_feedback("b", puid="q", at=1)),
            rules=[ASKED],
        )
    )
    assert (found["roc_auc", "a"], found["roc_auc", "b"], found["roc_auc", "c"]) == (1.0, 1.0, None)
    assert found["roc_auc_macro", ""] == 1.0
    assert found["average_precision", "c"] is None


def test_corrections_batches_and_segments_of_rows_leave_what_would_be_without_them() -> None:
    rules = Rules(classes=("a", "b", "c"), probabilities=True, segments=(Segment("age", FEATURES, "age", (30.0,)),))
    asked = a_request({"data": {"names": ["age"], "ndarray": [[20], [40]]}})
    good = a_response([0.7, 0.2, 0.1], [0.1, 0.8, 0.1], at=4)
    ledger = Ledger(rules, clock=CLOCK)
    for record in (
        *(asked, a_response([0.1, 0.1, 0.8], [0.2, 0.2, 0.6], at=1), a_feedback(["c", "c"], at=2)),
        *(a_feedback(["a", "b"], at=3), good),
    ):
        ledger.absorb(record).cut()
        ledger.restart()
    assert ledger.rows() == Ledger(rules, clock=CLOCK).absorb(asked, good, a_feedback(["a", "b"], at=3)).cut().rows()
    young = next(key for key in ledger.rows() if key.segment == "age=<30" and key.row == "ranks/own=a")
    assert sum(ledger.rows()[young].values()) == 1
    assert scores(ledger)["roc_auc_macro", ""] == 1.0


def test_what_an_older_version_has_counted_one_by_one_is_taken_back() -> None:
    """It kept the atoms of ranks in the exchange itself."""
    answer = a_response([0.7, 0.2, 0.1], at=1)
    ledger = Ledger(ASKED, clock=CLOCK).absorb(answer, a_feedback("b", at=2)).cut()
    records = ledger.exchanges[0]
    atoms = {int(key[2:]): orjson.loads(value)[0] for key, value in records.items() if key.startswith(b"\0a")}
    exchange = decode(records[b"p"])
    for one in exchange.counted:
        one.values = tuple(b"o" + values[1:2] for values in one.values)
        one.atoms += [number for number, row in atoms.items() if row.startswith("ranks/")]
    records[b"p"] = encode(exchange)
    ledger.restart()
    ledger.absorb(a_feedback("a", at=3)).cut()
    assert ledger.rows() == Ledger(ASKED, clock=CLOCK).absorb(answer, a_feedback("a", at=3)).cut().rows()


@pytest.mark.parametrize("classes", [3, 10])
def test_an_exchange_has_a_few_bytes_more(classes: int) -> None:
    """With windows by labels, and a label; without being asked for nothing."""
    names = tuple("abcdefghij"[:classes])
    vector = [1 / classes] * classes
    sizes = []
    for probabilities in (True, None):
        ledger = Ledger(Rules(classes=names, probabilities=probabilities), clock=CLOCK)
        ledger.absorb(a_response(vector, at=1), a_feedback("a", at=2)).cut()
        sizes.append(len(ledger.exchanges[0][b"p"]))
    assert 0 < sizes[0] - sizes[1] <= 4


def test_a_row_that_a_state_before_format_9_kept_as_nan_is_counted_and_taken_back() -> None:
    found = np.full(3, np.nan).tobytes()
    counted = [*added(found, [[0]], ASKED.classes)]
    assert [amount for _, _, amount in counted] == [1, 1, 1]
    assert [*added(found, [[~0]], ASKED.classes)] == [(group, atom, -amount) for group, atom, amount in counted]
