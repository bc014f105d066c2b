"""Documents of windows by segment: one for each value that is shown, restated when another one is."""

from typing import Any, Final

import pytest

from app.core.counts.accounts import Account
from app.core.counts.panes import Window
from app.core.events import Identity
from app.core.outputs.slots import Slot, document_id
from app.core.outputs.windows import MAPPINGS, WindowDocument
from app.core.rules import Rules
from app.core.segments import TAGS, Segment, value_rank
from tests.builders import Record, a_feedback, a_response
from tests.core.outputs.test_windows import History

RULES: Final = Rules(segments=(Segment("country", TAGS, "country"),), task="binary")
LOW, HIGH, HIGHER = sorted((f"v{n}" for n in range(3)), key=value_rank)


def of(value: str, puid: str = "p", at: float = 0) -> Record:
    return a_response(body={"data": {"ndarray": [1]}, "meta": {"tags": {"country": value}}}, puid=puid, at=at)


def in_5m(documents: list[WindowDocument]) -> dict[str, Any]:
    """Of the documents of five minutes the rows, by segment; None for a document that goes."""
    return {
        document.place[1].split("/")[4]: document.body and document.body["rows"]["unlabelled"]
        for document in documents
        if document.slot.window.name == "5m"
    }


def test_a_document_of_a_value_says_what_that_of_the_whole_says() -> None:
    written = History(RULES).tell(of("DE"), a_feedback(1), of("FR", "q"))
    bodies = {document.place[1]: document.body for document in written if document.slot.window.name == "5m"}
    whole = bodies["ns/svc/default/m//5m/2026-11-21T07:00:00Z"]
    own = bodies["ns/svc/default/m/country=DE/5m/2026-11-21T07:00:00Z"]
    assert whole is not None
    assert own is not None
    assert own.keys() == whole.keys() | {"value"}
    assert own.keys() <= MAPPINGS["properties"].keys()
    assert (whole["segment"], own["segment"], own["value"]) == ("", "country", "DE")
    assert (whole["samples"], own["samples"], own["scores"]["accuracy"]) == (1, 1, 1.0)
    assert (whole["rows"]["unlabelled"], own["rows"]["unlabelled"]) == (1, 0)


def test_the_document_of_a_value_goes_with_what_it_counted() -> None:
    history = History(RULES)
    assert in_5m(history.tell(of("DE"))) == {"": 1, "country=DE": 1}
    assert in_5m(history.tell(of("FR", at=1))) == {"country=DE": None, "country=FR": 1}
    assert in_5m(history.tell(of("FR", at=1))) == {}


def test_a_value_that_becomes_one_of_others_loses_its_documents() -> None:
    history = History(RULES, most_values=1)
    assert in_5m(history.tell(of(HIGH))) == {"": 1, f"country={HIGH}": 1}
    assert in_5m(history.tell(of(LOW, "q"))) == {
        "": 2, f"country={HIGH}": None, f"country={LOW}": 1, "country=other": 1,
    }  # fmt: skip
    assert in_5m(history.tell(of(HIGHER, "r"))) == {"": 3, "country=other": 2}
    assert in_5m(history.tell(of(HIGH, "q", at=1))) == {
        f"country={LOW}": None, f"country={HIGH}": 2, "country=other": 1,
    }  # fmt: skip


def test_all_are_restated_when_the_model_is_read_as_something_else() -> None:
    history = History(Rules(segments=RULES.segments))
    history.tell(of("DE"), a_feedback(1))
    tasks = {
        document.place[1].split("/")[4]: document.body["task"]
        for document in history.tell(of("FR", "q", at=600), a_feedback("cat", puid="q"))
        if document.body is not None and document.place[1].endswith("/5m/2026-11-21T07:00:00Z")
    }
    assert tasks == {"": "multiclass", "country=DE": "multiclass"}


@pytest.mark.parametrize(
    ("value", "segment"),
    [("a/b@c%", "country=a%2Fb%40c%25"), (" ", "country= "), ("é" * 100, "country=" + "é" * 100)],
)
def test_the_id_names_the_value(value: str, segment: str) -> None:
    slot = Slot(Account(Identity("n", "s", "p", "m", ""), f"country={value}"), Window("5m", 300), 1)
    assert document_id(slot) == f"n/s/p/m/{segment}/5m/1970-01-01T00:05:00Z"


def test_no_id_is_longer_than_elasticsearch_takes() -> None:
    identity = Identity("é" * 250, "s", "p", "m", "")
    for value in ("/" * 100, "\U0001f600" * 100):
        assert len(document_id(Slot(Account(identity, "c" * 60 + "=" + value), Window("5m", 300), 1)).encode()) <= 512
