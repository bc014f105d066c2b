"""What monitors say stands in the documents of the rows, in windows, in `/api/models` and in the series."""

from typing import Any

import pytest

from app.core.monitors import AlertWhen, Code, Monitor, MonitorSpec
from app.core.outputs.documents.changes import Documents
from app.core.outputs.documents.merging import merged
from app.core.outputs.report import reports_of
from app.core.rules import Rulebook, Rules
from app.exporters.prometheus import ModelText
from tests.builders import MODEL, START, Ledger, Record, a_feedback, a_request, a_response, a_result, time_text

RULES = Rules(monitors=(Monitor(MonitorSpec("odd", "v1", AlertWhen(">", 0.5)), Code("function", "m:f")),))


def documents(*records: Record, epochs: int = 1) -> dict[str, dict[str, Any]]:
    ledger = Ledger(logs=True)
    size = -(-len(records) // epochs)
    for begin in range(0, len(records), size):
        ledger.absorb(*records[begin : begin + size]).cut()
    maker = Documents(Rulebook())
    found: dict[str, dict[str, Any]] = {}
    for _, value in ledger.logged:
        for change in maker.changes(value):
            found[change.place[1]] = merged(found.get(change.place[1]), change)
    return found


@pytest.mark.parametrize("epochs", [1, 2, 4])
def test_each_row_has_in_its_document_what_monitors_say_of_it(epochs: int) -> None:
    result = {
        "monitor": "odd", "version": "v1", "values": [0.25, None], "outcomes": ["ok", "failed"],
        "why": {"1": "it gave NaN"},
    }  # fmt: skip
    other = a_result(0.75, 0.5, name="even")
    records = [a_request({"data": {"ndarray": [[1], [2]]}}), a_response(1, 0), a_result(body=result), other]
    first, second = documents(*records, epochs=epochs).values()
    time = "2026-11-21T07:00:00.000000Z"
    assert first["monitors"] == {
        "odd": {"value": 0.25, "outcome": "ok", "version": "v1", "ce-time": time},
        "even": {"value": 0.75, "outcome": "alert", "version": "v1", "ce-time": time},
    }
    assert second["monitors"]["odd"] == {
        "outcome": "failed", "version": "v1", "why": "it gave NaN", "ce-time": time,
    }  # fmt: skip
    assert first["verdict"]["predicted"] == "1"


def test_of_a_result_in_short_each_row_has_in_its_document_that_it_failed() -> None:
    short = {"monitor": "odd", "version": "v1", "failed": 2, "why": "the result has 2000000 bytes"}
    found = documents(a_response(1, 0), a_result(body=short)).values()
    said = {"outcome": "failed", "version": "v1", "why": short["why"], "ce-time": time_text(0)}
    assert [document["monitors"]["odd"] for document in found] == [said, said]


def test_a_document_keeps_its_monitors_when_a_label_comes() -> None:
    records = [a_request(), a_response(1), a_result(0.75), a_feedback(1, at=5.0)]
    (document,) = documents(*records, epochs=4).values()
    assert document["monitors"]["odd"]["outcome"] == "alert"
    assert document["verdict"]["correct"]


def text_of(ledger: Ledger) -> list[str]:
    text = ModelText(seldon=False, most=100_000, rulebook=Rulebook((RULES,)))
    for identity, readings in ledger.readings().of_models(START + 100):
        text.put(identity, text.block(identity, readings, START))
    return [line for line in text.text().splitlines() if "monitor" in line]


def test_the_series_of_a_monitor_say_outcomes_values_threshold_and_whether_it_alerts() -> None:
    ledger = Ledger(RULES).absorb(a_response(0, 1, 1), a_result(0.25, 0.75, None)).cut()
    lines = {line.partition("{")[0] + "{" + line.partition('model_version="",')[2] for line in text_of(ledger)}
    own = 'monitor="odd",monitor_version="v1"'
    assert {
        f'tally_monitor_rows{{{own},outcome="ok"}} 1',
        f'tally_monitor_rows{{{own},outcome="alert"}} 1',
        f'tally_monitor_rows{{{own},outcome="failed"}} 1',
        f'tally_window_monitor_rows{{{own},outcome="alert",window="5m"}} 1',
        f'tally_monitor_value{{{own},stat="mean",window="total"}} 0.5',
        f'tally_monitor_threshold{{{own},comparison=">"}} 0.5',
        f"tally_monitor_alerting{{{own}}} 1",
    } <= lines


def test_a_model_without_monitors_has_none_of_their_series() -> None:
    assert text_of(Ledger().absorb(a_response(1)).cut()) == []


def test_a_monitor_that_has_scored_nothing_yet_shows_its_threshold() -> None:
    lines = text_of(Ledger(RULES).absorb(a_response(1)).cut())
    assert any(line.startswith("tally_monitor_threshold{") for line in lines)
    assert any(line.startswith("tally_monitor_alerting{") and line.endswith(" 0") for line in lines)


def test_the_api_says_it_by_window() -> None:
    ledger = Ledger(RULES).absorb(a_response(0, 1, 1), a_result(0.25, 0.75, None)).cut()
    (report,) = reports_of(ledger.readings(), START + 100)
    (found,) = report["windows"]["total"]["monitors"]
    assert {**found, "p50": 0, "p95": 0} == {
        "monitor": "odd", "version": "v1", "ok": 1, "alert": 1, "failed": 1, "mean": 0.5, "p50": 0, "p95": 0,
    }  # fmt: skip
    assert report["monitors"] == [
        {"monitor": "odd", "version": "v1", "alert_when": "> 0.5", "hold": 1, "clear": 0, "alerting": True}
    ]
    assert report["model"] == MODEL.rpartition("/")[2]
