"""The difference of two legs over time: a document of a window is the point that its panes make."""

from typing import Any

import pytest

from app.core.counts.accounts import Pair
from app.core.counts.panes import PaneClock, Window
from app.core.events import Identity
from app.core.outputs.difference_history import difference_of_document, differences, history_of
from app.core.outputs.history import History as Documents
from app.core.outputs.trends import Grid, grid_of
from tests.builders import START, Ledger
from tests.core.outputs.test_compared import bodies, shared

PAIR = Pair(Identity("ns", "svc", "default", "m", ""), Identity("ns", "svc", "shadow", "m", ""))
BODY = {
    "start": "2026-11-21T07:00:00Z", "measures": False, "samples": 8, "agreement": 0.5, "accuracy_difference": 0.25,
    "accuracy_difference_low": 0.0, "accuracy_difference_high": None,
}  # fmt: skip


def grid() -> Grid:
    found = grid_of(PaneClock(), 300, START, START + 100, START + 100)
    assert found is not None
    return found


@pytest.mark.parametrize("clock", ["predictions", "labels"])
@pytest.mark.parametrize(
    ("rows", "measures"),
    [
        ([("a", "a", "a"), ("a", "b", "b"), ("b", "b", "b"), ("a", "a", "b")], False),
        ([(1.5, 2.25, 2.0), (3.5, 3.75, 4.0), (1.0, 1.25, 1.5)], True),
        ([("a", "a", "a")], False),
    ],
)
def test_a_document_is_the_point_that_its_panes_make(
    rows: list[tuple[Any, Any, Any]], measures: bool, clock: str
) -> None:
    panes = PaneClock(by_labels=True)
    ledger = Ledger(clock=panes, windows=(Window("5m", 300),))
    readings = ledger.readings()
    documents = Documents(readings, panes, START)
    for number, row in enumerate(rows):
        ledger.absorb(*shared(f"p{number}", *row, at=number))
    for partition, written in enumerate(ledger.cut().panes):
        for key, value in written.items():
            readings.view.take(partition, key, value)
    documents.note(START + 100, writing=True)
    by_labels = clock == "labels"
    said = bodies(documents.take(START + 100, 100)).values()
    (body,) = (body for body in said if body["window"] == ("labels_5m" if by_labels else "5m"))
    of_panes = [*differences(readings, PAIR, grid(), by_labels=by_labels)]
    newer = history_of(PAIR, 300, [], of_panes, by_labels=by_labels)
    older = history_of(PAIR, 300, [difference_of_document(body)], [], by_labels=by_labels)
    assert len(newer["points"]) == 1
    assert (newer["points"][0]["samples"], newer["measures"], newer["clock"]) == (len(rows), measures, clock)
    assert older == {**newer, "source": "elasticsearch"}


def test_what_is_undefined_in_a_document_is_so_in_its_point() -> None:
    (point,) = history_of(PAIR, 300, [difference_of_document(BODY)], [], by_labels=False)["points"]
    assert point == {
        "start": START, "difference": 0.25, "low": 0.0, "high": None, "samples": 8, "agreement": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    "changes",
    [*({name: ...} for name in BODY), {"start": "soon"}, {"start": 1}, {"samples": None}, {"agreement": "much"}],
)
def test_what_is_no_such_document_is_refused(changes: dict[str, Any]) -> None:
    body = {name: value for name, value in {**BODY, **changes}.items() if value is not ...}
    with pytest.raises((LookupError, TypeError, ValueError)):
        difference_of_document(body)
