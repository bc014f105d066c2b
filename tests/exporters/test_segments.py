"""The series of segments, the report and the documents of rows: all say what the one reading says."""

from typing import Any, Final

from app.core.outputs.report import reports_of
from app.core.rules import Rules
from app.core.segments import FEATURES, TAGS, Segment
from app.exporters.prometheus import ModelText
from tests.builders import START, Ledger, a_feedback, a_request, a_response, tell
from tests.core.outputs.test_documents import tell as documents_of

RULES: Final = (Rules(segments=(Segment("country", TAGS, "country"), Segment("age", FEATURES, "age", (30.0,)))),)
RECORDS: Final = (
    a_request({"data": {"names": ["age"], "ndarray": [[20], [40]]}}, at=0),
    a_response(body={"data": {"ndarray": [0, 1]}, "meta": {"tags": {"country": 'D"E'}}}, at=1),
    a_feedback([0, 0], at=2),
)


def text_of(ledger: Ledger, most: int = 10_000) -> ModelText:
    readings = ledger.readings()
    text = ModelText(seldon=False, most=most, rulebook=ledger.rulebook)
    for identity, of in readings.of_models(START + 60):
        text.put(identity, text.block(identity, of, readings.view.first_seen(identity)))
    return text


def series(text: str, name: str, *labels: str) -> dict[str, str]:
    """The samples of a series that have these labels, by the rest of their labels."""
    found = {}
    for line in text.splitlines():
        head, _, value = line.rpartition(" ")
        if head.startswith(f"{name}{{") and all(label in head for label in labels):
            found[head.partition('model_version="",')[2].rstrip("}")] = value
    return found


def test_the_series_of_segments() -> None:
    text = text_of(tell(*RECORDS, rules=RULES)).text()
    assert series(text, "tally_segment_score", 'score="accuracy"', 'window="total"', 'class=""') == {
        'segment="country",value="D\\"E",score="accuracy",class="",window="total"': "0.5",
        'segment="age",value="<30",score="accuracy",class="",window="total"': "1.0",
        'segment="age",value=">=30",score="accuracy",class="",window="total"': "0.0",
        'segment="age",value="(several)",score="accuracy",class="",window="total"': "NaN",
    }
    samples = series(text, "tally_segment_score_samples", 'score="accuracy"', 'window="5m"', "country")
    assert [*samples.values()] == ["2"]
    rows = series(text, "tally_segment_rows", 'value=">=30"', 'window="5m"')
    assert {line.split('"')[5]: value for line, value in rows.items() if value != "0"} == {"incorrect": "1"}


def test_a_model_without_segments_has_no_such_series() -> None:
    assert "tally_segment" not in text_of(tell(*RECORDS)).text()


def test_segments_go_before_classes_do() -> None:
    ledger = tell(*RECORDS, rules=RULES)
    whole = text_of(ledger)
    lines = [line for line in whole.text().splitlines() if not line.startswith("#")]
    of_segments = sum(line.startswith("tally_segment") for line in lines)
    cells = sum("_confusion{" in line for line in lines)
    text = text_of(ledger, most=len(lines) - cells - 1)
    assert "tally_segment" not in text.text()
    assert text.dropped_series == of_segments + cells
    assert "tally_class{" in text.text()


def test_how_many_values_are_shown_as_one() -> None:
    ledger = Ledger(*RULES)
    for number in range(60):
        body = {"data": {"ndarray": [1]}, "meta": {"tags": {"country": f"v{number}"}}}
        ledger.absorb(a_response(body=body, puid=f"p{number}"))
    assert text_of(ledger.cut()).dropped["segment_values"] == 10


def test_the_report_has_them_by_window() -> None:
    ledger = tell(*RECORDS, rules=RULES)
    readings = ledger.readings()
    (model,) = reports_of(readings, START + 60)
    for window in ("total", "5m", "24h"):
        said: dict[str, Any] = model["windows"][window]["segments"]
        assert said.keys() == {"country", "age"}
        assert said["age"]["<30"]["scores"]["accuracy"] == 1.0
        assert said["age"]["<30"]["rows"]["correct"] == 1
        assert said["country"]['D"E']["score_samples"]["accuracy"] == 2
    readings = tell(*RECORDS).readings()
    (model,) = reports_of(readings, START + 60)
    assert "segments" not in model["windows"]["total"]


def test_documents_of_rows_say_their_values() -> None:
    shelf = documents_of(*RECORDS, rules=RULES)
    said = {puid: document["verdict"]["segments"] for (_, puid), document in shelf.items()}
    assert said == {
        "p-item-0": {"country": 'D"E', "age": "<30"}, "p-item-1": {"country": 'D"E', "age": ">=30"},
    }  # fmt: skip
