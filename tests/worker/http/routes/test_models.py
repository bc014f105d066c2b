"""What is answered of models: in a line each, over time, and one at a time."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import Any, Final
from urllib.parse import quote

import pytest

from app.core.events import Identity
from app.core.outputs.keys import key_of
from app.core.outputs.overview import line_of
from app.core.rules import OwnScore, Rules
from app.settings import load_settings
from app.worker.elasticsearch.search import Hit, SearchError
from app.worker.http.api import Api
from app.worker.http.routes import overview
from tests.builders import START, a_feedback, a_response
from tests.patience import PATIENCE
from tests.worker.http.routes.scene import KEY, Reply, a_worker, ask, get

Of = Callable[..., Awaitable[Reply]]
ELASTIC = load_settings(elasticsearch_url="http://127.0.0.1:1")


class Searched:
    """An Elasticsearch that gives the same documents to whoever asks."""

    def __init__(self, *bodies: dict[str, Any], trouble: str = "") -> None:
        self.bodies = bodies
        self.trouble = trouble
        self.asked: list[tuple[str, Mapping[str, Any]]] = []

    async def find(self, index: str, query: Mapping[str, Any], **_: Any) -> list[Hit]:
        self.asked.append((index, query))
        if self.trouble:
            raise SearchError(self.trouble)
        return [Hit(("index", body.get("id", "id")), body) for body in self.bodies]

    async def close(self) -> None:
        pass


def test_the_overview_says_of_when_it_is_and_what_can_be_asked_for() -> None:
    found = get("/api/overview").content
    assert (found["now_at"], found["window"], found["clock"]) == (START + 600, "1h", "predictions")
    assert (found["windows"], found["clocks"]) == (["5m", "1h", "24h", "total"], ["predictions", "labels"])
    assert (found["stale"], found["notes"]) == (None, [])
    assert [model["key"] for model in found["models"]] == [KEY, "ns/svc/shadow/m"]
    assert [model["shadow"] for model in found["models"]] == [False, True]
    assert found["events_per_second"] == sum(model["events_per_second"] for model in found["models"]) > 0


@pytest.mark.parametrize("query", ["window=total", "window=5m", "clock=labels", "window=24h&clock=labels"])
def test_each_window_and_clock_is_answered(query: str) -> None:
    found = get(f"/api/overview?{query}")
    assert (found.status, len(found.content["models"])) == (200, 2)


def test_one_answer_is_made_for_all_who_ask_within_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "_REST_SECONDS", PATIENCE)  # a second that lasts as long as they need
    running = a_worker()
    made: list[Any] = []

    def noted(known: Any, window: str) -> Any:
        made.append(known.identity)
        return line_of(known, window)

    monkeypatch.setattr(overview, "line_of", noted)

    async def story(of: Of, _: Api) -> None:
        both = await asyncio.gather(of("/api/overview"), of("/api/overview"))
        assert both[0] == both[1] == await of("/api/overview")
        assert len(made) == 2
        await of("/api/overview?window=5m")
        assert len(made) == 4

    ask(story, running)


def test_a_model_of_which_nothing_has_changed_is_not_made_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overview, "_REST_SECONDS", 0.0)
    monkeypatch.setattr(overview, "_REST", 0)
    running = a_worker()
    made: list[Identity] = []

    def noted(known: Any, window: str) -> Any:
        made.append(known.identity)
        return line_of(known, window)

    monkeypatch.setattr(overview, "line_of", noted)

    async def story(of: Of, _: Api) -> None:
        first = (await of("/api/overview")).content
        assert (await of("/api/overview")).content == first
        assert len(made) == 2
        shard = running.lane.running[0].shard
        shard.absorb("response", [a_response(1, puid="new", at=590).read()])
        for key, value in shard.cut(None).panes:
            running.readings.view.take(0, key, value)
        predictions = {one["key"]: one["predictions"] for one in (await of("/api/overview")).content["models"]}
        assert predictions == {KEY: 31, "ns/svc/shadow/m": 30}
        assert [identity.predictor for identity in made[2:]] == ["default"]

    ask(story, running)


def test_one_model_is_told_as_among_all() -> None:
    everything = get("/api/models").content["models"]
    assert [get(f"/api/models/{key}").content for key in (KEY, "ns/svc/shadow/m")] == everything


@pytest.mark.parametrize(
    "names",
    [
        {"namespace": "a/b", "service": "c@d", "predictor": "50%", "model": "é ü"},
        {"namespace": "history", "service": "", "predictor": "examples", "model": "history"},
        {"namespace": "ns", "service": "svc", "predictor": "default", "model": "<script>alert(1)</script>"},
    ],
)
def test_any_name_can_be_asked_for(names: dict[str, Any]) -> None:
    running = a_worker(a_response(1, puid="p", version="1/2@3", **names), a_feedback(1, puid="p", **names))
    leg = names["namespace"], names["service"], names["predictor"], names["model"]
    key = key_of(Identity(*leg, "1/2@3"))
    (line,) = get("/api/overview", running).content["models"]
    assert line["key"] == key
    assert get(f"/api/models/{key}", running).content["model_version"] == "1/2@3"
    assert get(f"/api/models/{key}/history", running).content["key"] == key
    assert get(f"/api/models/{key}/examples?actual=1", running).content["examples"][0]["puid"] == "p"
    assert key == "/".join(quote(name, safe="") for name in names.values()) + "@1%2F2%403"


def test_a_history_is_of_the_panes_that_are_kept() -> None:
    found = get(f"/api/models/{KEY}/history").content
    assert (found["score"], found["step"], found["source"], found["note"]) == ("accuracy", 60, "panes", None)
    assert [point["start"] - START for point in found["points"]] == [*range(0, 600, 60)]
    assert [point["value"] for point in found["points"]] == [2 / 3] * 10
    assert all(point["low"] < point["value"] < point["high"] for point in found["points"])


@pytest.mark.parametrize(
    ("query", "starts"),
    [
        ("step=5m", [0, 300]),
        ("step=300", [0, 300]),
        ("step=10m", [0]),
        (f"from={START + 120}&to={START + 179.5}", [120]),
        (f"from={START + 90}&to={START + 200}", [60, 120, 180]),
        ("clock=labels&step=5m", [0, 300]),
        ("score=recall%7B%7D&step=5m", [0, 300]),
        (f"back=2m&to={START + 179}", [0, 60, 120]),
        ("back=4m&step=2m", [360, 480]),
        ("back=240&step=2m", [360, 480]),
        ("back=kept&step=5m", [0, 300]),
        ("back=all&step=5m", [0, 300]),
        ("back=7d&step=5m", [0, 300]),
        ("to=1000", []),
    ],
)
def test_a_history_has_the_stretches_that_are_asked_for(query: str, starts: list[int]) -> None:
    found = get(f"/api/models/{KEY}/history?{query}".replace("to=1000", "from=0&to=1000&step=60"))
    assert found.status == 200
    assert [point["start"] - START for point in found.content["points"]] == starts


@pytest.mark.parametrize("query", ["back=7d", "back=30d", "from=0", "back=all", "back=kept"])
@pytest.mark.parametrize(("hours", "step"), [(0.5, 60), (3, 600), (24, 1200)])
def test_stretches_are_as_short_as_what_there_is_lets_them_be(hours: float, step: int, query: str) -> None:
    running = a_worker(now=START + hours * 3600)
    assert get(f"/api/models/{KEY}/history?{query}", running).content["step"] == step


LACKING: Final = (
    "Workers keep counts for 25 h (TALLY_WINDOW_RETENTION): what is older is shown where they write to Elasticsearch "
    "(TALLY_ELASTICSEARCH_URL)."
)


@pytest.mark.parametrize(
    ("hours", "query", "note"),
    [
        (1, "back=7d", None),  # the model is younger
        (3, "back=1d", None),
        (3, "", None),
        (3, "step=1m", "Stretches of 60 s are kept for 2 h: longer ones (`step`) reach further back."),
        (3, "step=1m&back=1h", None),
        (24, "", None),
        (24, "back=all", None),
        (30, "back=1d", None),
        (30, "back=7d", LACKING),
        (30, "back=all", LACKING),
        (30, f"from={START}", LACKING),
    ],
)
def test_why_a_history_does_not_reach_as_far_as_is_asked_for(hours: int, query: str, note: str | None) -> None:
    running = a_worker(now=START + hours * 3600.0)
    found = get(f"/api/models/{KEY}/history?{query}", running).content
    assert found["note"] == note


class Slow:
    """A score that is the user's own code."""

    runs_code = True
    failures = 0

    def __call__(self, confusion: Mapping[tuple[str, str], int]) -> float | None:
        return float(sum(confusion.values()))


def test_a_score_that_is_the_users_own_code_has_a_history_and_a_limit() -> None:
    rules = (Rules(scores=(OwnScore("rows", Slow(), greater_is_better=True),), limits=(("rows", "", 99.0),)),)
    settings = load_settings()
    running = a_worker(rules=(Rules(**{**rules_of(rules[0]), "least_count": 10}),), settings=settings)
    found = get(f"/api/models/{KEY}/history?score=rows&step=5m", running).content
    assert ([point["value"] for point in found["points"]], found["limit"]) == ([15.0, 15.0], 99.0)
    line = get("/api/overview", running).content["models"][0]
    assert (line["score"]["name"], line["attention"]["level"]) == ("accuracy", "bad")
    assert line["attention"]["why"].startswith("rows is 30, below its limit of 99 (1h, ")


def rules_of(rules: Rules) -> dict[str, Any]:
    return {"scores": rules.scores, "limits": rules.limits}


# -- from Elasticsearch -----------------------------------------------------------------------------------------------


def a_document(start: str, right: int = 8) -> dict[str, Any]:
    rows = {"correct": right, "incorrect": 10 - right, "measured": 0, "unlabelled": 5, "failed": 0}
    return {"start": start, "rows": rows, "scores": {"accuracy": right / 10}, "score_samples": {"accuracy": 10}}


def history(searched: Searched, query: str) -> Any:
    found: list[Reply] = []

    async def story(of: Of, api: Api) -> None:
        found.append(await of(f"/api/models/{KEY}/history?{query}"))

    running = a_worker(settings=ELASTIC)

    async def with_search(of: Of, api: Any) -> None:
        await story(of, api)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.worker.elasticsearch.searching.Searching", lambda _: searched)
        ask(with_search, running, ELASTIC)
    return found[0].content


def test_what_is_older_than_the_panes_comes_from_documents_of_the_next_window() -> None:
    searched = Searched(a_document("2026-11-14T07:05:00Z", 9), a_document("2026-11-14T07:00:00Z"))
    found = history(searched, f"from={START - 7 * 86400}&step=4m")
    assert (found["source"], found["step"], found["note"]) == ("both", 300, None)
    assert [point["start"] - START for point in found["points"]] == [-7 * 86400, -7 * 86400 + 300, 0, 300]
    assert [point["value"] for point in found["points"][:2]] == [0.8, 0.9]
    assert found["points"][0]["predictions"] == 15
    ((index, query),) = searched.asked
    assert index == "tally-windows"
    assert {"term": {"window": "5m"}} in query["bool"]["filter"]
    assert {"term": {"identity": KEY}} in query["bool"]["filter"]


@pytest.mark.parametrize(
    ("query", "window", "since"),
    [
        ("back=7d", "1h", -7 * 86400 + 600),
        ("back=14d", "1h", -14 * 86400 + 600),
        ("back=90d", "24h", -90 * 86400 + 600),
        ("back=90d&step=5m", "5m", -90 * 86400 + 600),
        (f"from={START - 2 * 86400}", "1h", -2 * 86400),
    ],
)
def test_how_far_back_is_asked_for_says_which_documents_are(query: str, window: str, since: int) -> None:
    searched = Searched()
    history(searched, query)
    ((_, asked),) = searched.asked
    *terms, between = asked["bool"]["filter"]
    assert {"term": {"window": window}} in terms
    first = datetime.fromisoformat(between["range"]["start"]["gte"]).timestamp()
    assert first == START + since


def test_where_no_document_is_older_stretches_are_as_short_as_by_panes_alone() -> None:
    assert history(Searched(), "back=7d")["step"] == 60
    assert history(Searched(), "back=7d&step=2m")["step"] == 120
    found = history(Searched(a_document("2026-11-10T07:00:00Z")), "back=7d")
    assert (found["step"], found["source"], len(found["points"])) == (3600, "both", 2)


def test_all_is_since_the_model_was_first_seen() -> None:
    searched = Searched()
    running = a_worker(settings=ELASTIC, now=START + 30 * 3600.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("app.worker.elasticsearch.searching.Searching", lambda _: searched)
        found = get(f"/api/models/{KEY}/history?back=all", running, ELASTIC).content
    between = searched.asked[0][1]["bool"]["filter"][-1]["range"]["start"]
    assert datetime.fromisoformat(between["gte"]).timestamp() == START
    assert found["step"] == 3600


def test_more_documents_than_an_answer_holds_are_said_to_be_cut() -> None:
    searched = Searched(*[a_document("2026-11-14T07:05:00Z")] * 2000)
    found = history(searched, "back=30d&step=5m")
    assert found["note"] == "Only the newest 2,000 of the older stretches are shown: make them longer (`step`)."


def test_windows_by_labels_are_documents_of_their_own() -> None:
    searched = Searched()
    found = history(searched, f"from={START - 7 * 86400}&step=1h&clock=labels")
    assert (found["source"], found["step"]) == ("panes", 3600)
    assert {"term": {"window": "labels_1h"}} in searched.asked[0][1]["bool"]["filter"]


def test_within_what_is_kept_elasticsearch_is_not_asked() -> None:
    searched = Searched()
    assert history(searched, "step=5m")["source"] == "panes"
    assert not searched.asked


def test_an_elasticsearch_that_does_not_answer_is_a_note() -> None:
    found = history(Searched(trouble="Elasticsearch is away."), f"from={START - 7 * 86400}&step=5m")
    assert (found["source"], found["note"], len(found["points"])) == ("panes", "Elasticsearch is away.", 2)


def test_a_document_of_somebody_else_is_a_note() -> None:
    found = history(Searched({"id": "x", "start": "soon"}), f"from={START - 7 * 86400}&step=5m")
    assert found["note"] == "tally-windows holds what no Tally has written: x."
