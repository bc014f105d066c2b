"""The page goes further back than the counts that a worker keeps: by the windows that it has written to Elasticsearch.

Three hours of two legs lie two days back, where only documents know of them; ten minutes are new. Between the two the
worker was away, so that all panes of the three hours are gone once it has come back.
"""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple
from urllib.parse import urlencode

import pytest
from elasticsearch import Elasticsearch
from playwright.sync_api import Browser, expect

from tests.live import servers
from tests.live.browsing import Visit, chromium, visit
from tests.live.story import Event, an_event
from tests.live.test_windows import search
from tests.live.workers import Fleet, Worker, produce, topic_settings, wait_for

HOUR: Final = 3600
DAYS: Final = 2 * 86400
HOURLY: Final = ("1h", "labels_1h")
#: Rows of each stretch, and of these how many each leg has right.
ROWS: Final = 60
OLD: Final = {"default": (57, 57, 30), "shadow": (57, 54, 54)}
NEW: Final = {"default": 30, "shadow": 54}


class Scene(NamedTuple):
    """The worker after the two days, the models as `/api` names them, and when the three hours begin."""

    worker: Worker
    current: str
    shadow: str
    begin: int

    def asked(self, path: str, **query: Any) -> Any:
        """An answer to `path` with that query, and without one where a value is None."""
        given = {name: value for name, value in query.items() if value is not None}
        return json.loads(self.worker.get(f"{path}?{urlencode(given)}"))

    def of_model(self, **query: Any) -> Any:
        return self.asked(f"/api/models/{self.current}/view", **query)

    def of_both(self, **query: Any) -> Any:
        return self.asked("/api/comparisons/view", current=self.current, shadow=self.shadow, **query)


def stretch(namespace: str, begin: float, seconds: float, right: dict[str, int]) -> Iterator[Event]:
    """Rows of both legs, right and wrong ones spread evenly; the truth is always 1."""
    for number in range(ROWS):
        puid, micros = f"{namespace}-{begin:.0f}-{number}", int((begin + seconds * number / ROWS) * 1e6)
        for predictor, rows in right.items():
            answer = {"data": {"ndarray": [int(7 * number % ROWS < rows)]}}
            yield an_event("response", puid, (namespace, "svc", predictor, "m"), micros, answer)
        truth = {"truth": {"data": {"ndarray": [1]}}}
        yield an_event("feedback", puid, (namespace, "svc", "", ""), micros + 1, truth)


@pytest.fixture(scope="module")
def browser(chromium_binary: str) -> Iterator[Browser]:
    with chromium(chromium_binary) as started:
        yield started


@pytest.fixture(scope="module")
def scene(
    kafka: servers.Kafka, elasticsearch: servers.Elasticsearch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    name = f"past-{uuid.uuid4().hex[:8]}"
    begin = (int(time.time()) - DAYS) // HOUR * HOUR - 4 * HOUR
    then = begin + 3 * HOUR + 30
    settings = topic_settings(kafka.bootstrap, name)
    settings |= {"PARTITIONS": "2", "ELASTICSEARCH_URL": elasticsearch.url, "LOG_TOPIC": f"{name}-log"}
    settings |= {"WINDOWS": "5m,1h", "WINDOW_RETENTION": "4h"}
    with (
        Fleet(tmp_path_factory.mktemp("past"), settings) as fleet,
        Elasticsearch(elasticsearch.url, request_timeout=60) as client,
    ):
        worker = fleet.start(NOW=str_of(then))
        wait_for("it is ready", worker.ready)
        for hour in range(3):
            right = {leg: rows[hour] for leg, rows in OLD.items()}
            produce(settings, stretch(name, begin + hour * HOUR, HOUR, right))
        wait_for("all hours are written", lambda: has_all(client, name))
        assert worker.stop() == 0

        worker = fleet.start(NOW=str_of(then + DAYS))
        wait_for("it is ready again", worker.ready)
        produce(settings, stretch(name, then + DAYS - 660, 600, NEW))
        keys = [f"{name}/svc/{leg}/m" for leg in OLD]
        found = Scene(worker, keys[0], keys[1], begin)
        wait_for("the new rows are counted", lambda: samples_in_total(found) == 4 * ROWS)
        yield found


def str_of(seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def has_all(client: Elasticsearch, namespace: str) -> bool:
    """Whether the documents of all three hours have all rows, of each leg and of both together, on both clocks."""
    models, pairs = (
        labelled(client, index, {"bool": {"filter": [{"term": {field: namespace}}, {"terms": {"window": HOURLY}}]}})
        for index, field in (("tally-windows", "model_namespace"), ("tally-comparisons", "shadow.model_namespace"))
    )
    return (models, pairs) == (len(HOURLY) * len(OLD) * 3 * ROWS, len(HOURLY) * 3 * ROWS)


def labelled(client: Elasticsearch, index: str, query: dict[str, Any]) -> int:
    """The labelled rows of the documents that a query finds."""
    return sum(source["samples"] for source in search(client, index, query).values())


def samples_in_total(scene: Scene) -> int:
    models = json.loads(scene.worker.get("/api/models"))["models"]
    return min((model["windows"]["total"]["samples"] for model in models), default=0) if len(models) == 2 else 0


def accuracy(right: int) -> Any:
    return pytest.approx(right / ROWS)


@pytest.mark.parametrize("clock", [None, "labels"])
@pytest.mark.parametrize("far", ["7d", "all", "from"])
def test_documents_answer_for_what_is_older_than_the_panes(scene: Scene, clock: str | None, far: str) -> None:
    query = {"from": scene.begin} if far == "from" else {"back": far}
    view, both = scene.of_model(clock=clock, **query), scene.of_both(clock=clock, **query)
    assert (view["older"], view["errors"], both["older"], both["errors"]) == (True, {}, True, {})
    points, differences = view["history"]["points"], both["history"]["points"]
    assert (view["history"]["source"], both["history"]["source"]) == ("both", "both")
    assert (view["history"]["step"], both["history"]["step"]) == (HOUR, HOUR)
    assert [(one["start"], one["value"], one["labelled"]) for one in points[:3]] == [
        (scene.begin + hour * HOUR, accuracy(OLD["default"][hour]), ROWS) for hour in range(3)
    ]
    assert [(one["start"], one["difference"], one["samples"]) for one in differences[:3]] == [
        (scene.begin + hour * HOUR, accuracy(OLD["shadow"][hour] - OLD["default"][hour]), ROWS) for hour in range(3)
    ]
    assert sum(one["labelled"] for one in points[3:]) == sum(one["samples"] for one in differences[3:]) == ROWS
    assert sum(one["value"] * one["labelled"] for one in points[3:]) == pytest.approx(NEW["default"])
    assert view["history"]["fell_at"] == scene.begin + 2 * HOUR


def test_it_begins_where_it_is_asked_to(scene: Scene) -> None:
    for since in (1, HOUR, HOUR + 1):
        first = scene.begin + -(-since // HOUR) * HOUR
        for view in (scene.of_model, scene.of_both):
            assert view(**{"from": scene.begin + since})["history"]["points"][0]["start"] == first


@pytest.mark.parametrize("back", [None, "kept", "1h"])
def test_who_asks_for_no_more_than_is_kept_asks_no_documents(scene: Scene, back: str | None) -> None:
    for history in (scene.of_model(back=back)["history"], scene.of_both(back=back)["history"]):
        assert history["source"] == "panes"
        assert history["points"][0]["start"] > scene.begin + DAYS
        assert sum(one["samples"] for one in history["points"]) == ROWS


@pytest.fixture
def see(browser: Browser, scene: Scene) -> Iterator[Callable[[str], Visit]]:
    with visit(browser, scene.worker.url) as opened:

        def go(view: str) -> Visit:
            opened.go(view, until="figure.time canvas")
            return opened

        yield go
        assert opened.errors == []
        assert opened.foreign == []


def test_a_model_is_seen_from_its_first_hour_on(see: Callable[[str], Visit], scene: Scene) -> None:
    page = see(f"#/model/{scene.current}").page
    main, past = page.locator("main"), "and further back Elasticsearch"
    expect(main).to_contain_text("From the counts that workers keep.")
    expect(main).not_to_contain_text("is lower since")
    page.get_by_label("How far back").select_option("since first seen")
    expect(main).to_contain_text(past)
    assert "back=all" in page.url
    expect(main).to_contain_text("accuracy is lower since")
    page.locator("summary", has_text="As a table").first.click()
    rows = page.get_by_role("table", name="accuracy over time").locator("tbody tr")
    for hour, right in enumerate(reversed(OLD["default"])):  # the newest first
        expect(rows.nth(rows.count() - 3 + hour).locator("td").nth(1)).to_have_text(f"{right / ROWS:.3f}")
    expect(page.get_by_label(f"accuracy over time, from {OLD['default'][0] / ROWS:.3f} at")).to_be_visible()


def test_a_comparison_is_seen_from_its_first_hour_on(see: Callable[[str], Visit], scene: Scene) -> None:
    chosen = {"current": scene.current, "shadow": scene.shadow}
    page = see(f"#/comparison?{urlencode(chosen)}").page
    main, past = page.locator("main"), "and further back Elasticsearch"
    expect(main).not_to_contain_text(past)
    with page.expect_response("**/api/comparisons/view?**back=7d**") as got:
        page.get_by_label("How far back").select_option("7 days")
    assert [one["difference"] for one in got.value.json()["history"]["points"][:3]] == [
        accuracy(shadow - current) for current, shadow in zip(OLD["default"], OLD["shadow"], strict=True)
    ]
    expect(main).to_contain_text(past)
    expect(page.locator("figure.time canvas")).to_be_visible()
