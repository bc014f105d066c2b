"""Rows that show something, in what is known of exchanges and in documents."""

from typing import Any

import pytest

from app.core.counts.accounts import Pair
from app.core.events import Identity
from app.core.outputs.examples import (
    Wanted,
    example_of,
    examples_in,
    filters_of,
    pair_examples_in,
    pair_examples_of,
    row_of,
    wanted_filters,
)
from tests.builders import START, Ledger, a_feedback, a_response

M = Identity("ns", "svc", "default", "m", "")
S = Identity("ns", "svc", "shadow", "m", "")


def known() -> dict[str, Any]:
    ledger = Ledger().absorb(
        a_response([1, 0, 1, 0], body={"data": {"ndarray": [1, 0, 1, 0]}}, puid="p", at=2),
        a_response([1, 1, 0, 0], body={"data": {"ndarray": [1, 1, 0, 0]}}, puid="p", at=3, predictor="shadow"),
        a_feedback([1, 1, 1, 1], puid="p", at=5),
    )
    return ledger.cut().describe("p")


@pytest.mark.parametrize(
    ("wanted", "rows"),
    [
        (Wanted(), [1, 3]),
        (Wanted(actual="1"), [0, 1, 2, 3]),
        (Wanted(predicted="0"), [1, 3]),
        (Wanted("1", "1"), [0, 2]),
        (Wanted("0", "1"), []),
    ],
)
def test_the_rows_of_a_cell_of_the_confusion(wanted: Wanted, rows: list[int]) -> None:
    found = [*examples_in(known(), M, wanted)]
    assert [one["row"] for one in found] == rows
    assert all((one["puid"], one["actual"], one["time_at"]) == ("p", "1", START + 2) for one in found)


def test_measurements_that_are_off_are_shown_with_nothing_asked_for() -> None:
    ledger = Ledger().absorb(a_response(1.5, 2.5, puid="p"), a_feedback([1.5, 2.25], puid="p")).cut()
    (found,) = examples_in(ledger.describe("p"), M, Wanted())
    assert (found["row"], found["actual"], found["predicted"]) == (1, 2.25, 2.5)


def test_rows_without_label_and_other_models_are_none() -> None:
    unlabelled = Ledger().absorb(a_response(1, puid="p")).cut().describe("p")
    assert not [*examples_in(unlabelled, M, Wanted(predicted="1"))]
    assert not [*examples_in(known(), M._replace(version="2"), Wanted())]


@pytest.mark.parametrize(
    ("right", "rows"),
    [(None, [(1, "shadow"), (2, "current")]), ("current", [(2, "current")]), ("shadow", [(1, "shadow")])],
)
def test_the_rows_of_which_one_leg_alone_is_right(right: str | None, rows: list[tuple[int, str]]) -> None:
    found = [*pair_examples_in(known(), Pair(M, S), right)]
    assert [(one["row"], one["right"]) for one in found] == rows
    assert not [*pair_examples_in(known(), Pair(M, S._replace(model="n")), right)]


def test_elasticsearch_is_asked_for_the_names_that_there_are() -> None:
    assert filters_of(Identity("ns", "", "default", "m", "")) == [
        {"term": {"Ce-Namespace": "ns"}},
        {"term": {"Ce-Inferenceservicename": "m"}},
        {"term": {"Ce-Endpoint": "default"}},
        {"term": {"Ce-Modelid": "m"}},
        {"bool": {"must_not": [{"exists": {"field": "Ce-Modelversion"}}]}},
    ]
    assert wanted_filters(Wanted("1", "0"))[1:] == [
        {"term": {"verdict.label": "1"}},
        {"term": {"verdict.predicted": "0"}},
    ]
    assert {"term": {"verdict.correct": False}} in wanted_filters(Wanted())[0]["bool"]["should"]


@pytest.mark.parametrize(
    ("id_", "puid", "row"), [("p", "p", 0), ("p-item-3", "p", 3), ("p-item-3", "p-item-3", 0), ("ab12", "p", 0)]
)
def test_the_row_of_a_document(id_: str, puid: str, row: int) -> None:
    assert row_of(id_, puid) == row


def a_document(predicted: str, label: str = "1", puid: str = "p") -> dict[str, Any]:
    return {
        "RequestId": puid,
        "@timestamp": "2026-11-21T07:00:02Z",
        "verdict": {"predicted": predicted, "label": label, "correct": predicted == label},
    }


def test_a_document_is_a_row() -> None:
    assert example_of("p-item-2", a_document("0")) == {
        "puid": "p", "row": 2, "actual": "1", "predicted": "0", "time_at": START + 2,
    }  # fmt: skip
    with pytest.raises(LookupError):
        example_of("p", {"RequestId": "p"})


@pytest.mark.parametrize(("right", "current", "shadow"), [("current", "1", "0"), ("shadow", "0", "1")])
def test_documents_of_two_legs_meet_by_their_ids(right: str, current: str, shadow: str) -> None:
    wrong = [("p-item-1", a_document("0")), ("q", a_document("0", puid="q"))]
    (found,) = pair_examples_of(right, wrong, [("p-item-1", a_document("1"))])
    assert (found["puid"], found["row"], found["current"], found["shadow"], found["right"]) == (
        "p", 1, current, shadow, right,
    )  # fmt: skip
