"""Two legs that answered the same request are compared, by what their rules say; whatever the order of events."""

import statistics
from typing import Any, Final

import pytest

from app.core.counts.panes import PaneClock
from app.core.measures.paired import Differences, PairedReading, Shared
from app.core.measures.probabilities import fine_bin
from app.core.rules import Rules
from tests.builders import START, Ledger, Record, a_feedback, a_response, tell

CURRENT: Final = {"predictor": "default", "model": "m"}
SHADOW: Final = {"predictor": "shadow", "model": "n"}


def both(puid: str, first: Any, second: Any, label: Any = None, at: float = 1) -> list[Record]:
    """Two answers to one request, each a row or a list of rows, and the label."""
    answers = [
        a_response(*(rows if isinstance(rows, list) else [rows]), puid=puid, at=at, **who)  # type: ignore[arg-type]
        for rows, who in ((first, CURRENT), (second, SHADOW))
    ]
    return [*answers, *([] if label is None else [a_feedback(label, puid=puid, at=at + 60)])]


def pairs(ledger: Ledger, window: str = "total", now: float = 0) -> dict[str, PairedReading]:
    found = ledger.readings().of_pairs(START + now)
    return {f"{pair.first} {pair.second}": readings[window] for pair, readings in found}


def the_pair(ledger: Ledger, window: str = "total", now: float = 0) -> PairedReading:
    (reading,) = pairs(ledger, window, now).values()
    return reading


STORY: Final = [
    *both("a", 1, 1, 1),
    *both("b", 1, 0, 1),
    *both("c", 0, 1, 1),
    *both("d", 0, 0, 1),
    *both("e", 0, 2, 0),
    *both("f", 0, 2),
]


def test_rows_count_by_who_was_right() -> None:
    reading = the_pair(tell(*STORY))
    assert reading.classes == {"0": Shared(first=1), "1": Shared(both=1, first=1, second=1, neither=1)}
    assert reading.whole == Shared(1, 2, 1, 1)
    assert (reading.agree, reading.differ) == (2, 4)


def test_a_correction_and_a_later_answer_count_anew() -> None:
    ledger = tell(*STORY, a_feedback(0, puid="a", at=100), a_response(1, puid="b", at=100, **SHADOW))  # type: ignore[arg-type]
    assert the_pair(ledger).whole == Shared(1, 1, 1, 2)


def test_a_label_that_is_taken_back_leaves_whether_they_agree() -> None:
    ledger = tell(*both("a", 1, 0, 1), a_feedback(None, puid="a", at=100))
    assert the_pair(ledger) == PairedReading({}, Shared(), 0, 1, named={"0": (0, 1), "1": (1, 0)})


def test_the_classes_that_both_name_are_counted_of_the_rows_that_both_name_one_for() -> None:
    records = [*both("a", [1, 0, 2], [1, 1, 2]), *both("b", 1, 2), *both("c", 1, None), a_response(1, puid="d", at=1)]
    assert the_pair(tell(*records)).named == {"0": (1, 0), "1": (2, 2), "2": (1, 2)}
    corrected = tell(*records, a_response(0, puid="b", at=100, **SHADOW))  # type: ignore[arg-type]
    assert the_pair(corrected).named == {"0": (1, 1), "1": (2, 2), "2": (1, 1)}
    assert the_pair(tell(*both("a", 1.5, 2.5, 2.25))).named == {}


def test_the_probabilities_that_both_give_are_counted_by_their_bins_and_taken_back() -> None:
    low, half, high = [[0.9, 0.1]], [[0.5, 0.5]], [[0.2, 0.8]]
    records = [*both("a", low, high), *both("b", low, 1), *both("c", half, high, 1)]
    far, near, even = fine_bin(0.8), fine_bin(0.1), fine_bin(0.5)
    ledger = tell(*records)
    assert the_pair(ledger).scores == {near: (1, 0), even: (1, 0), far: (0, 2)}
    corrected = tell(*records, a_response(*low, puid="c", at=100, **SHADOW))  # type: ignore[arg-type]
    assert the_pair(corrected).scores == {near: (1, 1), even: (1, 0), far: (0, 1)}


def test_rows_of_a_batch_count_each() -> None:
    ledger = tell(*both("a", [1, 0, 2], [1, 1, 2], [1, None, 0]))
    assert the_pair(ledger) == PairedReading(
        {"0": Shared(neither=1), "1": Shared(both=1)},
        Shared(1, 0, 0, 1),
        2,
        1,
        named={"0": (1, 0), "1": (1, 2), "2": (1, 1)},
    )


@pytest.mark.parametrize(("first", "second"), [([1, 0], 1), ([1], [1, 0, 1])])
def test_answers_with_other_rows_are_not_compared(first: Any, second: Any) -> None:
    assert not pairs(tell(*both("a", first, second, 1)))


def test_failed_answers_are_not_compared() -> None:
    ledger = tell(
        a_response(1, puid="a", at=1),
        a_response(body={"status": {"status": "FAILURE", "code": 500}}, puid="a", at=2, **SHADOW),  # type: ignore[arg-type]
    )
    assert not pairs(ledger)


def test_windows_go_by_the_prediction_of_the_current_leg() -> None:
    ledger = tell(*both("a", 1, 1, 1), *both("b", 1, 0, 1, at=4000))
    assert the_pair(ledger, "5m", now=4100).whole == Shared(first=1)
    assert the_pair(ledger, "24h", now=4100).whole == Shared(both=1, first=1)
    assert the_pair(ledger, now=4100).whole == Shared(both=1, first=1)


def test_windows_by_labels_go_by_the_label_of_each_row() -> None:
    records = both("a", [1, 0, 2], [1, 1, 2], [1, None, None])
    late = a_feedback(0, puid="a", row=1, at=9000)
    ledger = Ledger(clock=PaneClock(by_labels=True)).absorb(*records, late).cut()
    assert the_pair(ledger, "labels_5m", now=100) == PairedReading(
        {"1": Shared(both=1)}, Shared(both=1), 1, 0, named={"1": (1, 1)}
    )
    assert the_pair(ledger, "labels_5m", now=9001) == PairedReading(
        {"0": Shared(first=1)}, Shared(first=1), 0, 1, named={"0": (1, 0), "1": (0, 1)}
    )
    assert the_pair(ledger, "labels_24h", now=9001).whole == Shared(both=1, first=1)
    assert the_pair(ledger, "24h", now=9001).agree == 2
    taken_back = ledger.absorb(a_feedback(None, puid="a", row=1, at=9100)).cut()
    assert the_pair(taken_back, "labels_5m", now=9101) == PairedReading({}, Shared(), 0, 0)


def test_measurements_are_compared_by_how_close_they_come() -> None:
    rows = [(1.5, 2.25, 2), (3.5, 3.75, 3), (5.5, 5.25, 5)]
    story = [record for at, row in enumerate(rows) for record in both(f"p{at}", *row, at=at)]
    reading = the_pair(tell(*story, rules=[Rules(task="regression")]))
    differences = [0.25 - 0.5, 0.75 - 0.5, 0.25 - 0.5]
    mean = sum(differences) / 3
    assert (reading.errors, reading.whole) == (3, Shared())
    assert reading.difference == pytest.approx(mean)
    assert reading.variance == pytest.approx(sum((one - mean) ** 2 for one in differences) / 2)


@pytest.mark.parametrize(
    ("rules", "compared"),
    [
        (Rules(), ["ns/svc/canary/m ns/svc/shadow/m", "ns/svc/default/m ns/svc/shadow/m"]),
        (Rules(shadow=("canary",)), ["ns/svc/default/m ns/svc/canary/m", "ns/svc/shadow/m ns/svc/canary/m"]),
        (Rules(compare=("canary",)), ["ns/svc/default/m ns/svc/canary/m", "ns/svc/shadow/m ns/svc/canary/m"]),
        (Rules(compare=("canary", "shadow")), ["ns/svc/default/m ns/svc/canary/m", "ns/svc/default/m ns/svc/shadow/m"]),
        (Rules(compare=()), []),
        (Rules(compare=("canary", "default", "shadow")), []),
    ],
)
def test_the_rules_say_which_predictors_are_compared(rules: Rules, compared: list[str]) -> None:
    story = [a_response(1, predictor=predictor, at=1) for predictor in ("default", "shadow", "canary")]
    assert sorted(pairs(tell(*story, a_feedback(1, at=2), rules=[rules]))) == compared


def test_legs_of_other_services_are_not_compared() -> None:
    assert not pairs(tell(a_response(1, at=1), a_response(1, service="other", predictor="shadow", at=1)))


def test_only_so_many_pairs_of_one_request_are_compared() -> None:
    """Those of the lowest names, whatever comes first."""
    story = [
        a_response(1, predictor=predictor, model=f"m{number}", at=1)
        for predictor in ("default", "shadow")
        for number in range(5)
    ]
    found = sorted(pairs(tell(*story)))
    assert len(found) == 16
    assert all(not pair.endswith("/m4") for pair in found)


def test_the_brier_scores_of_both_are_compared_row_by_row() -> None:
    """A row to whose label one of them gives no probability has no difference."""
    current = [[0.2, 0.8], [0.6, 0.4], [0.5, 0.5]], [[0.1, 0.2, 0.7]]
    shadow = [[0.5, 0.5], [0.9, 0.1], [0.7, 0.7]], [[0.3, 0.3, 0.4]]
    ledger = tell(
        a_response(*current[0], puid="a", at=1),
        a_response(*shadow[0], puid="a", at=1, **SHADOW),  # type: ignore[arg-type]
        a_feedback([1, 0, 1], puid="a", at=2),
        a_response(*current[1], puid="b", at=1),
        a_response(*shadow[1], puid="b", at=1, **SHADOW),  # type: ignore[arg-type]
        a_feedback(2, puid="b", at=2),
        a_response([0.2, 0.8], puid="c", at=1),
        a_response(1, puid="c", at=1, **SHADOW),  # type: ignore[arg-type]
        a_feedback(1, puid="c", at=2),
    )
    three = (0.3**2 + 0.3**2 + 0.6**2) - (0.1**2 + 0.2**2 + 0.3**2)
    differences = [0.5**2 - 0.2**2, 0.1**2 - 0.4**2, three]
    found = the_pair(ledger).brier
    assert found.rows == 3
    assert found.mean == pytest.approx(statistics.mean(differences), abs=1e-11)
    assert found.variance == pytest.approx(statistics.variance(differences), abs=1e-11)


def test_classes_of_either_leg_go_by_its_own_names() -> None:
    ledger = tell(
        a_response([0.1, 0.9], names=["no", "yes"], puid="a", at=1),
        a_response([0.1, 0.9], names=["yes", "no"], puid="a", at=1, **SHADOW),  # type: ignore[arg-type]
        a_feedback("yes", puid="a", at=2),
    )
    found = the_pair(ledger)
    assert found.brier.rows == 1
    assert found.brier.mean == pytest.approx(0.9**2 - 0.1**2, abs=1e-12)
    none = Differences()
    assert found._replace(brier=none) == PairedReading(
        {"yes": Shared(first=1)},
        Shared(first=1),
        0,
        1,
        brier=none,
        named={"no": (0, 1), "yes": (1, 0)},
        scores={fine_bin(0.9): (1, 0), fine_bin(0.1): (0, 1)},
    )
