"""What detectors of outliers and drift say is a part of the exchange, and is never judged (design 3.13)."""

from itertools import permutations
from typing import Any

import pytest

from app.core.events import Reason
from tests.builders import Ledger, Record, a_feedback, a_request, a_response

OUTLIER = b"io.seldon.serving.inference.outlier"
DRIFT = b"io.seldon.serving.inference.drift"


def a_detection(kind: bytes = OUTLIER, body: Any = None, **fields: Any) -> Record:
    body = {"data": {"is_outlier": [1]}} if body is None else body
    return a_response(body=body, headers={"ce_type": kind}, **fields)


def detections(ledger: Ledger) -> list[tuple[str, str, str]]:
    return [(found["kind"], found["leg"], found["time"][17:22]) for found in ledger.describe()["detections"]]


def test_a_detection_changes_no_count() -> None:
    story = [a_request(), a_response(1), a_feedback(1)]
    assert Ledger().absorb(*story, a_detection()).cut().totals() == Ledger().absorb(*story).cut().totals()
    assert detections(Ledger().absorb(*story, a_detection()).cut()) == [("outlier", "ns/svc/default/m", "00.00")]


def test_of_each_kind_and_leg_the_newest_is_kept_in_any_order() -> None:
    events = [a_detection(at=1.0), a_detection(at=2.0), a_detection(DRIFT, at=1.0), a_detection(model="n", at=1.0)]
    for order in permutations(events):
        assert detections(Ledger().absorb(*order).cut()) == [
            ("outlier", "ns/svc/default/m", "02.00"),
            ("outlier", "ns/svc/default/n", "01.00"),
            ("drift", "ns/svc/default/m", "01.00"),
        ]


def test_a_detection_twice_is_a_duplicate() -> None:
    ledger = Ledger().absorb(a_detection(), a_detection()).cut()
    assert ledger.stats.duplicates == {"outlier": 1}
    assert ledger.stats.events["outlier"] == 2


@pytest.mark.parametrize(("body", "reason"), [([1], Reason.NOT_AN_OBJECT), ("x", Reason.NOT_AN_OBJECT)])
def test_a_detection_that_is_no_object_is_refused(body: Any, reason: Reason) -> None:
    assert Ledger().absorb(a_detection(body=body)).cut().refusals == [reason]
