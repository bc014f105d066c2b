"""The page shows what `/api/models` gives: it knows no score and no count by its name."""

from importlib import resources
from typing import Any

from app.core.outputs.report import report_of
from app.core.rules import Rulebook
from tests.builders import START, Ledger, a_feedback, a_response


def test_the_page_names_no_field_of_a_window_and_no_score() -> None:
    ledger = Ledger()
    for number, label in enumerate(["0", "1", "2"]):
        puid = f"p-{number}"
        ledger.absorb(a_response(number, puid=puid), a_feedback(label, reward=1, puid=puid))
    readings = ledger.cut().readings()
    ((identity, of_model),) = readings.of_models(START)
    model = report_of(identity, of_model, readings.view.first_seen(identity), Rulebook())
    window: dict[str, Any] = model["windows"]["total"]
    numbers = [name for name, value in window.items() if isinstance(value, int | float)]
    scores = [name for name in window["scores"] if "/" not in name]
    page = resources.files("app.worker.http").joinpath("page", "index.html").read_text()
    named = [name for name in (*numbers, *window["rows"], *scores) if name in page]
    assert len(numbers) >= 3
    assert len(scores) >= 5
    assert named == []
