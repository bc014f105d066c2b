"""What labels and rewards say is counted in the panes in which they came, too, exactly and through corrections."""

from collections.abc import Mapping
from typing import Any, Final

import pytest

from app.core.counts.panes import PaneClock
from app.core.measures.errors import ERRORS
from app.core.rules import Rules
from tests.builders import MODEL, SHADOW, Ledger, Read, Record, a_feedback, a_request, a_response

CLOCK: Final = PaneClock(by_labels=True)
HOUR: Final = 3600


def told(*records: Record, rules: tuple[Rules, ...] = (), batches: int | None = None) -> Ledger:
    ledger = Ledger(*rules, clock=CLOCK)
    for record in records:
        ledger.absorb(record)
        if batches:
            ledger.cut()
    return ledger.cut()


def read(ledger: Ledger, window: str, now: float, model: str = MODEL) -> Read:
    return ledger.models(window, now)[model]


def rows(ledger: Ledger, window: str, now: float, model: str = MODEL) -> Mapping[str, int]:
    return {verdict: number for verdict, number in read(ledger, window, now, model).rows.items() if number}


LATE: Final = [a_request(at=0), a_response(1, at=1), a_feedback(1, reward=0.5, at=3 * HOUR)]


@pytest.mark.parametrize("batches", [None, 1])
@pytest.mark.parametrize("order", [1, -1])
def test_a_late_label_is_in_the_window_in_which_it_came(order: int, batches: int | None) -> None:
    ledger = told(*LATE[::order], batches=batches)
    now = 3 * HOUR + 60
    assert rows(ledger, "5m", now) == {}
    assert rows(ledger, "labels_5m", now) == {"correct": 1}
    assert read(ledger, "labels_5m", now).confusion == {("1", "1"): 1}
    assert (read(ledger, "labels_5m", now).rewards, read(ledger, "labels_5m", now).reward_points) == (1, 0.5)
    assert read(ledger, "5m", now).rewards == 0
    assert rows(ledger, "24h", now) == rows(ledger, "labels_24h", now) == {"correct": 1}
    assert rows(ledger, "labels_5m", now + 600) == {}
    assert rows(ledger, "total", now) == {"correct": 1}


def test_a_corrected_label_moves_to_the_pane_of_the_one_that_holds() -> None:
    ledger = told(*LATE, a_feedback(0, at=5 * HOUR))
    assert rows(ledger, "labels_5m", 3 * HOUR + 60) == {}
    assert rows(ledger, "labels_5m", 5 * HOUR + 60) == {"incorrect": 1}
    assert read(ledger, "labels_5m", 3 * HOUR + 60).rewards == 1  # of the earlier feedback, which still holds
    ledger.absorb(a_feedback(None, at=6 * HOUR)).cut()
    assert rows(ledger, "labels_24h", 6 * HOUR) == {}
    assert rows(ledger, "total", 6 * HOUR) == {"unlabelled": 1}


def test_rows_of_a_batch_fall_each_where_its_own_label_came() -> None:
    ledger = told(
        a_response(1, 1, 0, at=1),
        a_feedback([1, 0, None], at=HOUR),
        a_feedback(0, row=2, at=2 * HOUR),
        a_feedback(1, row=1, at=3 * HOUR),
    )
    assert rows(ledger, "labels_5m", HOUR + 60) == {"correct": 1}
    assert rows(ledger, "labels_5m", 2 * HOUR + 60) == {"correct": 1}
    assert rows(ledger, "labels_5m", 3 * HOUR + 60) == {"correct": 1}
    assert rows(ledger, "labels_24h", 3 * HOUR + 60) == {"correct": 3}


def test_a_label_judges_every_leg_in_its_own_window() -> None:
    ledger = told(a_response(1, at=1), a_response(0, predictor="shadow", at=1), a_feedback(1, reward=1, at=HOUR))
    assert rows(ledger, "labels_5m", HOUR) == {"correct": 1}
    assert rows(ledger, "labels_5m", HOUR, SHADOW) == {"incorrect": 1}
    assert [read(ledger, "labels_5m", HOUR, leg).rewards for leg in (MODEL, SHADOW)] == [1, 0]


def test_a_reward_alone_counts_where_it_came() -> None:
    ledger = told(a_response(1, at=1), a_feedback(reward=2, at=HOUR))
    assert rows(ledger, "labels_5m", HOUR) == {}
    assert read(ledger, "labels_5m", HOUR).reward_points == 2


def test_measurements_are_there_too() -> None:
    ledger = told(a_response(1.5, at=1), a_feedback(2.25, at=HOUR), rules=(Rules(task="regression"),))
    assert ERRORS.of(read(ledger, "labels_5m", HOUR).reading).rows == 1
    assert ERRORS.of(read(ledger, "5m", HOUR).reading).rows == 0


def test_a_late_label_is_late_once() -> None:
    ledger = told(*LATE)
    ledger.cut(40 * HOUR)
    ledger.absorb(a_feedback(0, at=5 * HOUR)).cut(40 * HOUR)
    assert ledger.stats.late == 1


def test_what_is_counted_by_labels_comes_back_after_a_restart() -> None:
    ledger = told(*LATE)
    before: dict[str, Any] = {window: rows(ledger, window, 3 * HOUR) for window in ("labels_5m", "labels_1h")}
    ledger.restart()
    ledger.absorb(a_feedback(0, at=3 * HOUR + 5)).cut()
    assert before == {"labels_5m": {"correct": 1}, "labels_1h": {"correct": 1}}
    assert rows(ledger, "labels_5m", 3 * HOUR) == {"incorrect": 1}


def test_without_the_setting_there_are_none() -> None:
    ledger = Ledger().absorb(*LATE).cut()
    assert "labels_5m" not in next(iter(ledger.readings().of_models(0)))[1]
