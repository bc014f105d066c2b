"""The difference of two legs over time: what is older than the panes that are kept comes from Elasticsearch."""

from typing import Any

import jsonschema
import pytest

from tests.builders import START
from tests.worker.http.routes.scene import KEY, PAIR, get
from tests.worker.http.routes.test_examples import searched
from tests.worker.http.routes.test_models import Searched
from tests.worker.http.routes.test_openapi import schema_of

WEEK = 7 * 86400


def a_document(start: str, difference: float) -> dict[str, Any]:
    return {
        "start": start, "measures": False, "samples": 40, "agreement": 0.5, "accuracy_difference": difference,
        "accuracy_difference_low": difference - 0.125, "accuracy_difference_high": difference + 0.125,
    }  # fmt: skip


def history(answers: Searched, query: str = f"from={START - WEEK}&step=4m") -> Any:
    return searched(answers, f"/api/comparisons/history?{PAIR}&{query}")


def test_what_is_older_than_the_panes_comes_from_documents_of_the_next_window() -> None:
    answers = Searched(a_document("2026-11-14T07:05:00Z", 0.5), a_document("2026-11-14T07:00:00Z", 0.25))
    found = history(answers)
    assert (found["source"], found["step"], found["note"], found["measures"]) == ("both", 300, None, False)
    assert [point["start"] - START for point in found["points"]] == [-WEEK, -WEEK + 300, 0, 300]
    assert found["points"][0] == {
        "start": START - WEEK, "difference": 0.25, "low": 0.125, "high": 0.375, "samples": 40, "agreement": 0.5,
    }  # fmt: skip
    jsonschema.Draft202012Validator(schema_of("/api/comparisons/history")).validate(found)


def test_the_documents_asked_for_are_those_of_the_pair_as_a_whole() -> None:
    answers = Searched()
    assert history(answers)["source"] == "panes"
    ((index, query),) = answers.asked
    *terms, between = query["bool"]["filter"]
    assert index == "tally-comparisons"
    assert {name: value for term in terms for name, value in term["term"].items()} == {
        "current.identity": KEY, "shadow.identity": "ns/svc/shadow/m", "segment": "", "window": "5m",
        "clock": "predictions",
    }  # fmt: skip
    assert between["range"]["start"]["gte"] == "2026-11-14T07:00:00Z"


def test_only_documents_are_a_history_too() -> None:
    found = history(Searched(a_document("2026-11-14T07:00:00Z", 0.25)), f"from={START - WEEK}&to={START - 600}&step=5m")
    assert (found["source"], len(found["points"])) == ("elasticsearch", 1)


def test_windows_by_labels_are_documents_of_their_own() -> None:
    answers = Searched()
    found = history(answers, f"from={START - WEEK}&step=1h&clock=labels")
    assert (found["source"], found["step"], found["clock"]) == ("panes", 3600, "labels")
    filters = answers.asked[0][1]["bool"]["filter"]
    assert {"term": {"window": "labels_1h"}} in filters
    assert {"term": {"clock": "labels"}} in filters


def test_within_what_is_kept_elasticsearch_is_not_asked() -> None:
    answers = Searched()
    assert history(answers, "step=5m")["source"] == "panes"
    assert not answers.asked


def test_without_elasticsearch_only_panes_are_answered() -> None:
    found = get(f"/api/comparisons/history?{PAIR}&from={START - WEEK}&step=5m").content
    assert (found["source"], found["note"], len(found["points"])) == ("panes", None, 2)


@pytest.mark.parametrize(
    ("answers", "note"),
    [
        (Searched(trouble="Elasticsearch is away."), "Elasticsearch is away."),
        (
            Searched({"id": "x", "start": "2026-11-14T07:00:00Z"}),
            "tally-comparisons holds what no Tally has written: x.",
        ),
    ],
)
def test_why_documents_say_nothing_is_a_note(answers: Searched, note: str) -> None:
    found = history(answers)
    assert (found["source"], found["note"], len(found["points"])) == ("panes", note, 2)
