"""What is answered of a monitor over time: the values of each version by stretch, beside its threshold."""

from typing import Any

import pytest

from app.core.monitors import AlertWhen, Code, Monitor, MonitorSpec
from app.core.rules import Rules
from tests.builders import START, Record, a_response, a_result
from tests.worker.http.routes.scene import KEY, Reply, a_worker, ask, error, get
from tests.worker.http.routes.test_models import ELASTIC, Of, Searched

RULES = (Rules(monitors=(Monitor(MonitorSpec("odd", "v2", AlertWhen(">", 0.5)), Code("function", "m:f")),)),)


def results() -> list[Record]:
    """Three answers in two minutes, the last of another version."""
    found: list[Record] = []
    for puid, at, value, version in (("p", 0.0, 0.25, "v1"), ("q", 20.0, 0.75, "v1"), ("r", 60.0, None, "v2")):
        found += [a_response(1, puid=puid, at=at), a_result(value, puid=puid, at=at, version=version)]
    return found


def history(query: str = "monitor=odd") -> Reply:
    return get(f"/api/models/{KEY}/monitor-history?{query}", a_worker(*results(), rules=RULES))


def test_each_stretch_and_version_has_a_point_and_the_threshold_stands_beside_them() -> None:
    found = history().content
    first, second = found.pop("points")
    assert {**first, "p50": 0, "p95": 0} == {
        "start": START, "version": "v1", "ok": 1, "alert": 1, "failed": 0, "mean": 0.5, "p50": 0, "p95": 0,
    }  # fmt: skip
    assert (first["p50"], first["p95"]) == (pytest.approx(0.25, rel=1 / 64), pytest.approx(0.75, rel=1 / 64))
    assert second == {
        "start": START + 60, "version": "v2", "ok": 0, "alert": 0, "failed": 1, "mean": None, "p50": None, "p95": None,
    }  # fmt: skip
    assert found == {
        "key": KEY, "monitor": "odd", "version": "v2", "comparison": ">", "threshold": 0.5, "step": 60,
        "source": "panes", "note": None,
    }  # fmt: skip


def test_two_versions_in_one_stretch_are_two_points() -> None:
    points = history("monitor=odd&step=5m").content["points"]
    assert [(point["start"], point["version"]) for point in points] == [(START, "v1"), (START, "v2")]


def test_a_monitor_that_is_no_longer_in_the_rules_has_its_history_and_no_threshold() -> None:
    found = get(f"/api/models/{KEY}/monitor-history?monitor=odd", a_worker(*results())).content
    assert len(found["points"]) == 2
    assert (found["version"], found["comparison"], found["threshold"]) == (None, None, None)


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ("", f"monitor: give it, as `/api/models/{KEY}/monitor-history?monitor=…`."),
        ("monitor=even", "monitor: 'even' is no monitor of this model: it has odd."),
        ("monitor=odd&step=7", "step: 7 s is no multiple of the panes of 60 s (TALLY_PANE_SECONDS)."),
        ("monitor=odd&from=x", "from: 'x' is no time: give seconds since 1970."),
        (
            "monitor=odd&clock=labels",
            f"/api/models/{KEY}/monitor-history has no parameter clock: it has monitor, step, back, from, to.",
        ),
    ],
)
def test_what_cannot_be_is_refused(query: str, sentence: str) -> None:
    assert error(history(query)) == (400, sentence)


def test_a_model_without_monitors_says_so() -> None:
    said = "monitor: 'odd' is no monitor of this model: it has none (`monitors:` in the YAML file)."
    assert error(get(f"/api/models/{KEY}/monitor-history?monitor=odd")) == (400, said)


# -- from Elasticsearch -----------------------------------------------------------------------------------------------

SAID = {"monitor": "odd", "version": "v0", "ok": 3, "alert": 1, "failed": 0, "mean": 0.5, "p50": 0.25, "p95": None}


def of_documents(*bodies: dict[str, Any]) -> Any:
    searched: Any = Searched(*bodies)
    found: list[Reply] = []

    async def story(of: Of, _: Any) -> None:
        found.append(await of(f"/api/models/{KEY}/monitor-history?monitor=odd&from={START - 7 * 86400}&step=5m"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.worker.elasticsearch.searching.Searching", lambda _: searched)
        ask(story, a_worker(*results(), rules=RULES, settings=ELASTIC), ELASTIC)
    return found[0].content


def test_what_is_older_than_the_panes_comes_from_documents() -> None:
    other = {**SAID, "monitor": "even"}
    found = of_documents(
        {"start": "2026-11-14T07:00:00Z", "monitors": [other, SAID]}, {"start": "2026-11-14T06:55:00Z"}
    )
    old, *new = found["points"]
    assert old == {"start": START - 7 * 86400, **{name: said for name, said in SAID.items() if name != "monitor"}}
    assert [point["version"] for point in new] == ["v1", "v2"]
    assert found["source"] == "both"


def test_a_document_of_somebody_else_is_a_note() -> None:
    found = of_documents({"id": "x", "start": "2026-11-14T07:00:00Z", "monitors": [{"monitor": "odd"}]})
    assert (found["note"], found["source"]) == ("tally-windows holds what no Tally has written: x.", "panes")
