"""What is shown of drift: series, `/api/models` and documents of windows."""

from typing import Any

import orjson
import pytest

from app.core.drift.declared import Declared
from app.core.drift.distribution import Distribution
from app.core.drift.live import Live, Watched
from app.core.drift.reference import Reference
from app.core.outputs.report import reports_of
from app.core.outputs.windows import MAPPINGS
from app.core.rules import Rules
from tests.builders import START, Ledger, a_request, a_response
from tests.core.join.test_drift import COUNTRY, asked, rules
from tests.core.join.test_firsts import Job, pair
from tests.core.join.test_firsts import rules as first_rules
from tests.core.outputs.test_windows import History, bodies
from tests.exporters.test_prometheus import samples, text_of

HOUR = 3600
AGES = Distribution("age", "continuous", (18.0, 30.0, 65.0), (), (1, 59, 40))
OWN = Rules(reference=Watched("here", Live(Reference((AGES, COUNTRY)), 50)))


def drifted(*own: Rules) -> Ledger:
    """All ages are too high, all else is as in the reference."""
    ledger = Ledger(*own)
    for number in range(100):
        ledger.absorb(asked([70, "DE" if number % 10 < 7 else "FR"], puid=f"p{number}", at=HOUR))
        ledger.absorb(a_response(1, puid=f"p{number}", at=HOUR))
    return ledger.cut()


def series(ledger: Ledger, name: str) -> dict[tuple[str, ...], float]:
    """The samples of a series by its own labels."""
    return {
        tuple(
            value for label, value in one.labels.items() if not label.startswith("model") and label != "predictor"
        ): one.value
        for one in samples(text_of(ledger, seldon=False), name)
    }


def test_series_say_which_feature_has_drifted_and_how() -> None:
    ledger = drifted(OWN)
    drift, share = series(ledger, "tally_drift"), series(ledger, "tally_feature_share")
    assert drift["age", "psi", "5m"] == drift["age", "psi", "total"] > 3
    assert (drift["age", "ks", "5m"], drift["age", "js", "5m"]) == (1.0, 1.0)
    assert max(drift["age", "ks_p", "5m"], drift["age", "chi2_p", "5m"]) < 1e-20
    assert drift["country", "psi", "5m"] == 0.0
    assert ("country", "ks", "5m") not in drift
    assert (share["age", "above", "5m"], share["age", "below", "5m"], share["age", "missing", "5m"]) == (1.0, 0.0, 0.0)
    assert {kind for feature, kind, _ in share if feature == "country"} == {"missing", "unseen"}
    assert series(ledger, "tally_feature_rows")["age", "5m"] == 100
    assert series(ledger, "tally_drifted_share") == {(window,): 0.5 for window in ("total", "5m", "1h", "24h")}


def test_a_window_without_rows_has_no_distance_and_no_judgement() -> None:
    ledger = Ledger(OWN).absorb(asked([20, "DE"]), a_response(1)).cut()
    assert not [labels for labels in series(ledger, "tally_drift") if labels[-1] == "5m"]
    assert series(ledger, "tally_feature_rows")["age", "5m"] == 0
    assert all(value != value for value in series(ledger, "tally_drifted_share").values())  # noqa: PLR0124 - NaN


def test_models_without_reference_have_none_of_it() -> None:
    ledger = drifted()
    text = text_of(ledger, seldon=False)
    assert not any(f"tally_{name}" in text for name in ("drift", "feature_", "drifted"))
    (report,) = reports_of(ledger.readings(), START + HOUR)
    assert "drift" not in report["windows"]["5m"]
    history = History()
    (body, *_) = bodies(history.tell(a_request(), a_response(1))).values()
    assert "drift" not in body


def test_values_that_nobody_has_seen_become_no_label() -> None:
    ledger = Ledger(OWN)
    for number in range(300):
        ledger.absorb(asked([20, f"country-{number}"], puid=f"p{number}"), a_response(1, puid=f"p{number}"))
    text = text_of(ledger.cut(), seldon=False)
    assert "country-" not in text
    assert series(ledger, "tally_feature_share")["country", "unseen", "total"] == 1.0


def test_the_report_has_the_bins() -> None:
    ledger = drifted(OWN)
    (report,) = reports_of(ledger.readings(), START + HOUR)
    window = orjson.loads(orjson.dumps(report))["windows"]["5m"]
    age, country = window["drift"]
    assert (age["feature"], age["rows"], age["drifted"], country["drifted"]) == ("age", 100, True, False)
    assert window["drifted_share"] == 0.5
    assert age["bins"][-1] == {"bin": "above", "reference": 0, "rows": 100}
    assert [one["bin"] for one in country["bins"]] == ["missing", "unseen", "DE", "FR"]


def mapped(value: Any, mapping: Any, path: str = "") -> None:
    """Each field has a mapping of its own type, or stands where nothing is indexed."""
    kinds: dict[str, tuple[type, ...]] = {"keyword": (str,), "long": (int,), "double": (int, float), "boolean": (bool,)}
    if mapping.get("enabled") is False:
        return
    if isinstance(value, list):
        for one in value:
            mapped(one, mapping, path)
    elif isinstance(value, dict):
        for name, one in value.items():
            assert name in mapping["properties"], f"{path}.{name}"
            mapped(one, mapping["properties"][name], f"{path}.{name}")
    elif value is not None:
        assert isinstance(value, kinds[mapping["type"]]), path


def test_documents_of_windows_have_it_in_fields_that_are_mapped() -> None:
    history = History(OWN)
    records = [
        record
        for number in range(60)
        for record in (asked([70, "DE"], puid=f"p{number}"), a_response(1, puid=f"p{number}"))
    ]
    found = bodies(history.tell(*records))
    body = next(iter(found.values()))
    assert [one["feature"] for one in body["drift"]] == ["age", "country"]
    mapped(body["drift"], MAPPINGS["properties"]["drift"])
    mapped(body["drifted_share"], MAPPINGS["properties"]["drifted_share"])
    assert body["drifted_share"] == pytest.approx(1.0)


def test_documents_are_restated_when_another_reference_is_in_force() -> None:
    own = rules()
    assert own.reference is not None
    history = History(own)
    assert len(history.tell(asked([20, "DE"]), a_response(1))) == 3
    assert history.take() == []
    own.reference.live = Live(Reference((AGES, COUNTRY)), 50)
    written = history.tell(asked([20, "DE"], puid="q", at=HOUR), a_response(1, puid="q", at=HOUR), now=HOUR)
    restated = [
        document.body for document in written if document.slot.start == START and document.slot.window.name == "5m"
    ]
    assert [body["drift"][0]["rows"] for body in restated if body] == [0]


def test_a_model_says_how_many_of_its_first_rows_have_come_and_then_the_digest_of_its_reference() -> None:
    job = Job(first_rules(2, declared=(Declared("age", 0.0, 50.0),))).tell(*pair("a", 1))

    def said() -> Any:
        (report,) = reports_of(job.ledger.readings(), START + HOUR)
        return report["reference"]

    assert said() == {"digest": None, "first": 2, "gathered": 1}
    job.tell(*pair("b", 2), *pair("c", 3, 70)).finish(60)
    compared, by_file = job.reading().live, OWN.reference
    assert compared is not None
    assert by_file is not None
    assert said() == {"digest": compared.digest}
    assert series(job.ledger, "tally_feature_rows")["age", "total"] == 1
    (report,) = reports_of(Ledger(OWN).absorb(asked([20, "DE"])).cut().readings(), START + HOUR)
    assert report["reference"] == {"digest": by_file.live.digest}
    (report,) = reports_of(Ledger().absorb(asked([20, "DE"])).cut().readings(), START + HOUR)
    assert "reference" not in report
