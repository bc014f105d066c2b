"""Changes: found where the level has changed and not where it has not, alike by all who have the counts."""

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.measures.reading import Nature, Reading
from app.core.outputs.report import reports_of
from app.core.rules import Rules
from app.core.scores.changes import DETECTORS, Pane, adwin, changes_of, page_hinkley
from app.exporters.prometheus import ModelText
from tests.builders import MODEL, START, Ledger, a_feedback, a_response, run, ways
from tests.exporters.test_prometheus import samples

PANE = 600


def stream(*levels: tuple[int, int, float], seed: int = 0) -> list[Pane]:
    """Panes of (how many panes, rows of each, accuracy), each row right by chance."""
    rng = random.Random(seed)
    found: list[Pane] = []
    for panes, rows, accuracy in levels:
        for _ in range(panes):
            found.append(Pane(PANE * len(found), rows, sum(rng.random() < accuracy for _ in range(rows))))
    return found


@pytest.mark.parametrize(
    ("before", "after", "rows", "found"),
    [
        (0.9, 0.6, 100, {"adwin", "page_hinkley"}),
        (0.95, 0.85, 100, {"adwin", "page_hinkley"}),
        (0.6, 0.9, 100, {"adwin"}),
        (1.0, 0.5, 20, {"adwin", "page_hinkley"}),
        (0.9, 0.9, 100, set()),
        (0.9, 0.85, 3, set()),
    ],
)
def test_a_change_of_level_is_found_near_where_it_was(before: float, after: float, rows: int, found: set[str]) -> None:
    panes = stream((50, rows, before), (50, rows, after), seed=5)
    times = {name: detect(panes) for name, detect in DETECTORS.items()}
    assert {name for name, time in times.items() if time is not None} == found
    assert all(abs(time - 50 * PANE) <= 5 * PANE for time in times.values() if time is not None)


def test_without_change_there_are_few_alarms() -> None:
    """A day of panes each, of several accuracies and amounts of traffic."""
    cases = [(rows, accuracy, seed) for rows in (5, 50, 500) for accuracy in (0.5, 0.9, 0.99) for seed in range(12)]
    streams = [stream((150, rows, accuracy), seed=seed) for rows, accuracy, seed in cases]
    assert sum(adwin(panes) is not None for panes in streams) <= 1
    assert sum(page_hinkley(panes) is not None for panes in streams) <= 1


@given(st.lists(st.tuples(st.integers(1, 50), st.floats(0, 1)), max_size=30))
def test_the_time_is_the_beginning_of_a_pane(given_panes: list[tuple[int, float]]) -> None:
    panes = [Pane(PANE * n, rows, round(rows * share)) for n, (rows, share) in enumerate(given_panes)]
    for detect in DETECTORS.values():
        time = detect(panes)
        assert time is None or time in {pane.begin for pane in panes}


@pytest.mark.parametrize("detect", DETECTORS.values())
def test_of_nothing_or_of_one_pane_nothing_has_changed(detect: Any) -> None:
    assert detect([]) is None
    assert detect([Pane(0, 1000, 0)]) is None
    assert detect(stream((100, 40, 1.0))) is None
    assert detect(stream((100, 40, 0.0))) is None


def test_panes_without_rows_say_nothing() -> None:
    full = stream((20, 60, 0.9), (20, 60, 0.4))
    gaps = [one for pane in full for one in (pane, Pane(pane.begin + 1, 0, 0))]
    nature = Nature("binary")
    assert changes_of(Reading(nature, {}, history=tuple(gaps))) == changes_of(Reading(nature, {}, history=tuple(full)))


RECORDS = [
    record
    for number in range(240)
    for record in (
        a_response(1, puid=f"p{number}", at=number * 100),
        a_feedback(1 if number < 120 else number % 2, puid=f"p{number}", at=number * 100 + 5),
    )
]
NOW = 240 * 100 + 2 * PANE


def found(ledger: Ledger, now: float = NOW) -> dict[tuple[str, str], float]:
    (report,) = reports_of(ledger.readings(), START + now)
    said = {(one["score"], one["detector"]): one["time"] for one in report["changes"]}
    assert [*said] == [("accuracy", "adwin"), ("accuracy", "page_hinkley")]
    return said


def exposed(ledger: Ledger) -> str:
    """The series of the one model."""
    readings = ledger.readings()
    text = ModelText(seldon=False, most=10**9, rulebook=readings.rulebook)
    for who, read in readings.of_models(START + NOW):
        text.put(who, text.block(who, read, 0))
    return text.text()


def test_series_and_api_say_when_in_any_order_and_after_a_restart() -> None:
    own = Rules(changes=True)
    ledger = Ledger(own).absorb(*RECORDS).cut()
    wanted = found(ledger)
    time = wanted["accuracy", "adwin"]
    assert abs(time - START - 120 * 100) <= 3 * PANE
    ledger.restart()
    assert found(ledger) == wanted
    for how, again, batches in list(ways(RECORDS))[:4]:
        assert found(run(again, batches, rules=(own,))) == wanted, how
    shown = {("accuracy", one.labels["detector"]): one.value for one in samples(exposed(ledger), "tally_change")}
    assert {name: None if math.isnan(value) else value for name, value in shown.items()} == wanted


def test_the_pane_that_is_open_does_not_count_and_old_ones_are_forgotten() -> None:
    ledger = Ledger(Rules(changes=True)).absorb(*RECORDS).cut()
    ends = {begin for begin, _, _ in ledger.readings().of_models(START + 12_300).__next__()[1]["total"].history}
    assert max(ends) == START + 11_400  # the pane from 12,000 on is open
    assert found(ledger, now=NOW + 3 * 86_400) == dict.fromkeys(found(ledger), None)


def test_whoever_keeps_what_was_found_is_told_when_another_pane_closes() -> None:
    asks, others = (Ledger(Rules(changes=asked)).absorb(*RECORDS).cut() for asked in (True, False))
    (identity,) = asks.view().identities()
    moments = [float(START + second) for second in (0, 300, PANE - 1, PANE, 2 * PANE)]
    versions = [asks.readings().history_version(identity, now) for now in moments]
    assert [version - versions[0] for version in versions] == [0, 0, 0, 1, 2]
    assert {others.readings().history_version(identity, now) for now in moments} == {0}


def test_a_late_label_restates_what_was_found() -> None:
    ledger = Ledger(Rules(changes=True)).absorb(*RECORDS).cut()
    assert found(ledger)["accuracy", "adwin"] is not None
    corrected = [a_feedback(1, puid=f"p{number}", at=NOW + number) for number in range(240)]
    assert found(ledger.absorb(*corrected).cut()) == dict.fromkeys(found(ledger), None)


def test_models_that_do_not_ask_have_none_of_it() -> None:
    ledger = Ledger().absorb(*RECORDS).cut()
    (report,) = reports_of(ledger.readings(), START + NOW)
    assert "changes" not in report
    assert "tally_change" not in exposed(ledger)
    assert ledger.models()[MODEL].reading.history == ()
