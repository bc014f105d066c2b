"""What the page shows of a model, and of a comparison: the same as the answers that it is put together from."""

from collections.abc import Callable
from typing import Final

import pytest

from app.core.monitors import AlertWhen, Code, Monitor, MonitorSpec
from app.core.rules import OwnScore, Rules
from app.worker.running import Running
from tests.builders import a_feedback, a_response, a_result
from tests.worker.http.routes.scene import KEY, PAIR, a_worker, error, get
from tests.worker.http.routes.test_examples import searched
from tests.worker.http.routes.test_models import Searched, Slow

SHADOW: Final = "ns/svc/shadow/m"
RULES: Final = (Rules(monitors=(Monitor(MonitorSpec("odd", "v2", AlertWhen(">", 0.5)), Code("function", "m:f")),)),)


@pytest.mark.parametrize("query", ["", "?score=recall%7B%7D&step=5m", "?clock=labels&back=5m"])
def test_a_model_is_told_as_by_itself_with_its_history_and_its_comparisons(query: str) -> None:
    running = a_worker()
    view = get(f"/api/models/{KEY}/view{query}", running).content
    assert view["model"] == get(f"/api/models/{KEY}", running).content
    assert view["history"] == get(f"/api/models/{KEY}/history{query}", running).content
    assert view["comparisons"] == get("/api/comparisons", running).content["comparisons"]
    assert (view["monitor"], view["errors"], view["stale"], view["older"]) == (None, {}, None, False)
    assert view["now_at"] == running.lane.now()
    assert view["window"] == get("/api/overview", running).content["window"]


@pytest.mark.parametrize(
    ("score", "of_total"), [("accuracy", (0.488, 0.808)), ("recall", (0.488, 0.808)), ("f1", None)]
)
def test_the_score_has_its_interval_in_each_window(score: str, of_total: tuple[float, float] | None) -> None:
    running = a_worker()
    view = get(f"/api/models/{KEY}/view?score={score}", running).content
    assert view["intervals"].keys() == view["model"]["windows"].keys()
    total = view["intervals"]["total"]
    assert total == (None if of_total is None else pytest.approx(of_total, abs=0.001))
    (line, _) = get("/api/overview?window=1h", running).content["models"]
    if score == line["score"]["name"]:
        assert view["intervals"]["1h"] == [line["score"]["low"], line["score"]["high"]]


def test_only_comparisons_that_the_model_has_part_in_are_told() -> None:
    records = []
    for service in ("svc", "other"):
        puid, legs = f"{service}-1", ("default", "shadow")
        records += [a_response(1, puid=puid, service=service, predictor=leg) for leg in legs]
        records.append(a_feedback(1, puid=puid, service=service))
    running = a_worker(*records)
    assert len(get("/api/comparisons", running).content["comparisons"]) == 2
    for key in (KEY, SHADOW):
        (found,) = get(f"/api/models/{key}/view", running).content["comparisons"]
        assert (found["current"]["model_service"], found["shadow"]["predictor"]) == ("svc", "shadow")


@pytest.mark.parametrize("query", ["", "?monitor=", "?monitor=odd", "?monitor=odd&clock=labels"])
def test_the_history_of_a_monitor_is_that_of_the_first_unless_another_is_asked_for(query: str) -> None:
    running = a_worker(a_response(1), a_result(0.25), rules=RULES)
    view = get(f"/api/models/{KEY}/view{query}", running).content
    assert view["monitor"]["points"]
    assert view["monitor"] == get(f"/api/models/{KEY}/monitor-history?monitor=odd", running).content


@pytest.mark.parametrize(
    ("query", "errors"),
    [
        ("score=acuracy", {"history": "score: 'acuracy' is none of "}),
        ("monitor=even", {"monitor": "monitor: 'even' is no monitor of this model: it has odd."}),
        ("clock=wall", {"history": "clock: 'wall' is neither "}),
        ("step=7", dict.fromkeys(("history", "monitor"), "step: 7 s is no multiple of the panes of 60 s")),
        ("back=1d&from=0", dict.fromkeys(("history", "monitor"), "back: give either `back` or `from`.")),
    ],
)
def test_a_part_that_cannot_be_answered_says_why_and_the_others_are_there(query: str, errors: dict[str, str]) -> None:
    view = get(f"/api/models/{KEY}/view?{query}", a_worker(a_response(1), a_result(0.25), rules=RULES)).content
    assert {name: said[: len(errors[name])] for name, said in view["errors"].items()} == errors
    assert {name for name in ("history", "monitor") if view[name] is None} == errors.keys()
    assert view["model"]["exchanges"]["response"] == 1
    assert (view["intervals"] == {}) == ("history" in errors)


@pytest.mark.parametrize("query", ["", "&step=5m&clock=labels"])
def test_a_comparison_is_told_as_among_all_with_its_history_and_the_scores_of_both(query: str) -> None:
    running = a_worker()
    view = get(f"/api/comparisons/view?{PAIR}{query}", running).content
    assert [view["comparison"]] == get("/api/comparisons", running).content["comparisons"]
    assert view["history"] == get(f"/api/comparisons/history?{PAIR}{query}", running).content
    for name, key in (("current", KEY), ("shadow", SHADOW)):
        windows = get(f"/api/models/{key}", running).content["windows"]
        assert view[name] == {window: of["scores"] for window, of in windows.items()}
    assert (view["errors"], view["stale"], view["older"]) == ({}, None, False)


def test_scores_of_single_classes_are_left_to_the_models_own_view() -> None:
    legs = ("default", "shadow")
    answers = [a_response(one, puid=one, predictor=leg) for one in "abc" for leg in legs]
    running = a_worker(*answers, *(a_feedback("a", puid=one) for one in "abc"))
    total = get(f"/api/models/{KEY}", running).content["windows"]["total"]["scores"]
    view = get(f"/api/comparisons/view?{PAIR}", running).content
    assert view["current"]["total"] == {name: value for name, value in total.items() if "/" not in name}
    assert view["current"]["total"] != total


def test_a_comparison_whose_history_cannot_be_answered_says_why() -> None:
    view = get(f"/api/comparisons/view?{PAIR}&step=7").content
    assert view["history"] is None
    assert view["errors"] == {"history": "step: 7 s is no multiple of the panes of 60 s (TALLY_PANE_SECONDS)."}


def gone(running: Running) -> None:
    running.readings.of_pair = lambda *_: None  # type: ignore[method-assign]


@pytest.mark.parametrize(
    ("change", "pair", "sentence"),
    [
        (
            None,
            f"current={SHADOW}&shadow={KEY}",
            f"{KEY} is not compared with {SHADOW}; /api/comparisons lists what is.",
        ),
        (gone, PAIR, "Nothing that these two have both answered is counted any more."),
    ],
)
def test_a_comparison_that_is_not_there(change: Callable[[Running], None] | None, pair: str, sentence: str) -> None:
    running = a_worker()
    if change is not None:
        change(running)
    assert error(get(f"/api/comparisons/view?{pair}", running)) == (404, sentence)


def test_scores_that_are_the_users_own_code_are_in_both() -> None:
    running = a_worker(rules=(Rules(scores=(OwnScore("rows", Slow(), greater_is_better=True),)),))
    assert get(f"/api/comparisons/view?{PAIR}", running).content["shadow"]["total"]["rows"] == 30.0
    assert get(f"/api/models/{KEY}/view", running).content["model"]["windows"]["total"]["scores"]["rows"] == 30.0


def test_what_is_kept_by_elasticsearch_is_said() -> None:
    answers = Searched()
    for path in (f"/api/models/{KEY}/view?back=7d", f"/api/comparisons/view?{PAIR}&back=7d"):
        assert searched(answers, path)["older"] is True
    assert [index for index, _ in answers.asked] == ["tally-windows", "tally-comparisons"]
