"""The series of custom metrics: a family for each name, of all models that have it, as Prometheus reads them."""

from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from app.core.limits import Limits
from app.core.outputs.series import SELDON
from app.core.payloads.metrics import RESERVED
from app.exporters.prometheus import ModelText
from tests.builders import START, Ledger, Record, a_response, tell

WHO = 'model_namespace="ns",model_service="svc",predictor="default",model="m",model_version="",method="predict"'


def answer(*metrics: tuple[str, str, Any, dict[str, str]], **fields: Any) -> Record:
    said = [{"type": of, "key": key, "value": value, "tags": tags} for of, key, value, tags in metrics]
    return a_response(body={"data": {"ndarray": [1]}, "meta": {"metrics": said}}, **fields)


def text_of(ledger: Ledger, most: int = 100_000) -> ModelText:
    readings = ledger.readings()
    text = ModelText(seldon=True, most=most, rulebook=ledger.rulebook)
    for identity, of in readings.of_models(START + 60):
        text.put(identity, text.block(identity, of, readings.view.first_seen(identity)))
    return text


def lines_of(text: ModelText, word: str) -> list[str]:
    return [line for line in text.text().splitlines() if word in line]


def test_the_series_of_each_type() -> None:
    story = answer(("COUNTER", "hits", 2.5, {}), ("GAUGE", "queue", 7, {"store": 'a"b'}), ("TIMER", "lookup", 20.2, {}))
    text = text_of(tell(story))
    assert lines_of(text, "hits") == [
        "# HELP hits_total Custom metric hits.", "# TYPE hits_total counter", f"hits_total{{{WHO}}} 2.5",
    ]  # fmt: skip
    assert lines_of(text, "queue") == [
        "# HELP queue Custom metric queue.", "# TYPE queue gauge", f'queue{{{WHO},store="a\\"b"}} 7.0',
    ]  # fmt: skip
    lookup = lines_of(text, "lookup")
    assert lookup[:2] == ["# HELP lookup Custom metric lookup.", "# TYPE lookup histogram"]
    assert lookup[-2:] == [f"lookup_sum{{{WHO}}} 0.0202", f"lookup_count{{{WHO}}} 1"]
    buckets = lookup[2:-2]
    assert len(buckets) == 51
    assert buckets[0] == f'lookup_bucket{{{WHO},le="0.001"}} 0'
    assert f'lookup_bucket{{{WHO},le="0.02347185009632733"}} 1' in buckets
    assert buckets[-1] == f'lookup_bucket{{{WHO},le="+Inf"}} 1'


def test_models_share_a_family_with_one_head() -> None:
    ledger = tell(
        answer(("COUNTER", "hits", 1, {"k": "v"}), ("COUNTER", "hits", 1, {})),
        answer(("COUNTER", "hits", 3, {}), model="n", puid="q"),
    )
    text = text_of(ledger).text()
    assert text.count("# TYPE hits_total") == 1
    (family,) = [one for one in text_string_to_metric_families(text) if one.name == "hits"]
    assert family.type == "counter"
    found = {(sample.labels["model"], sample.labels.get("k")): sample.value for sample in family.samples}
    assert found == {("m", "v"): 1, ("m", None): 1, ("n", None): 3}


@pytest.mark.parametrize(
    ("ours", "theirs", "shown"),
    [
        (("COUNTER", "x", 1), ("GAUGE", "x", 2), {"x_total"}),
        (("GAUGE", "x", 1), ("TIMER", "x", 2), {"x"}),
        (("GAUGE", "x_count", 1), ("TIMER", "x", 2), {"x_count"}),
        (("COUNTER", "x", 1), ("GAUGE", "x_total", 2), {"x_total"}),
        (("COUNTER", "x", 1), ("TIMER", "y", 2), {"x_total", "y"}),
    ],
)
def test_of_two_types_with_one_name_one_is_shown_whoever_came_first(ours: Any, theirs: Any, shown: set[str]) -> None:
    records = [answer((*ours, {})), answer((*theirs, {}), model="n", puid="q")]
    for story in (records, records[::-1], [answer((*theirs, {}), (*ours, {}))]):
        text = text_of(tell(*story))
        heads = {line.split()[2] for line in lines_of(text, "# HELP") if "Custom metric" in line}
        assert heads == shown
        assert text.dropped["metrics"] == 2 - len(shown)


def test_what_limits_keep_back_is_counted() -> None:
    ledger = Ledger(limits=Limits(metrics=2, metric_series=3))
    metrics: list[tuple[str, str, Any, dict[str, str]]] = [("COUNTER", f"m{number}", 1, {}) for number in range(4)]
    ledger.absorb(answer(*metrics))
    ledger.absorb(*(answer(("GAUGE", "g", 1, {"k": f"{it}"}), puid=f"{it}", model="n") for it in range(5)))
    text = text_of(ledger.cut())
    assert (text.dropped["metrics"], text.dropped["metric_series"]) == (2, 2)
    assert len([line for line in lines_of(text, "g{") if 'model="n"' in line]) == 4


def test_series_with_tags_go_before_those_of_whole_models() -> None:
    ledger = tell(answer(("GAUGE", "plain", 1, {}), ("GAUGE", "tagged", 1, {"k": "v"})))
    whole = [line for line in text_of(ledger).text().splitlines() if not line.startswith("#")]
    text = text_of(ledger, most=len(whole) - 1)
    assert "tagged" not in text.text()
    assert "plain{" in text.text()


def test_a_model_that_goes_takes_its_families_along() -> None:
    ledger = tell(answer(("COUNTER", "hits", 1, {})))
    text = text_of(ledger)
    text.drop(next(iter(ledger.readings().of_models(START)))[0])
    assert "hits" not in text.text()


def test_the_names_that_are_kept_for_tally_are_those_of_its_series() -> None:
    assert {series.name for series in SELDON} == RESERVED
    names = {line.split()[2] for line in text_of(tell(a_response(1))).text().splitlines() if line.startswith("# TYPE")}
    assert {name for name in names if not name.startswith("tally_")} <= RESERVED
