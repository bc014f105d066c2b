"""A person looks at the page in a real browser: an hour of the demo's models."""

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, Route, expect

from tests.live import demo_hour
from tests.live.browsing import DESK, PHONE, Scheme, Visit, chromium, visit
from tests.live.servers import Kafka
from tests.live.story import an_event
from tests.live.workers import Fleet, Worker, produce, topic_settings, wait_for

CANCER: Final = "demo/breast-cancer/default/current@1.4"
SHADOW: Final = "demo/breast-cancer/shadow/shadow@2.0"
COMPARISON: Final = f"#/comparison?current={CANCER}&shadow={SHADOW}"
#: Every view, and what stands on it once its numbers are there.
VIEWS: Final = {
    "models": ("#/", "td canvas"),
    "model": (f"#/model/{CANCER}", "figure.time canvas"),
    "few labels": ("#/model/demo/hello/default/m", ".matrix"),
    "comparisons": ("#/comparisons", "td a"),
    "comparison": (COMPARISON, "figure.time canvas"),
    "request": ("#/request/hello-0", ".level.bad"),
    "letters": ("#/letters", "main .table td"),
    "worker": ("#/worker", "main .table td"),
}


@pytest.fixture(scope="module")
def browser(chromium_binary: str) -> Iterator[Browser]:
    with chromium(chromium_binary) as started:
        yield started


@pytest.fixture(scope="module")
def settings(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    rules = demo_hour.rules(tmp_path_factory.mktemp("page"))
    return topic_settings(kafka.bootstrap, f"page-{uuid.uuid4().hex[:8]}") | {"PARTITIONS": "2", "CONFIG": str(rules)}


@pytest.fixture(scope="module")
def worker(settings: dict[str, str]) -> Iterator[Worker]:
    with Fleet(Path(settings["CONFIG"]).parent, settings) as fleet:
        started = fleet.start()
        wait_for("the worker is ready", started.ready)
        events = [*demo_hour.events(time.time(), per_second=0.6)]
        produce(settings, events)
        wait_for("all of it is counted", lambda: demo_hour.is_counted(started, events))
        yield started


def asked(worker: Worker, path: str) -> Any:
    return json.loads(worker.get(f"/{path}"))


@pytest.fixture
def see(browser: Browser, worker: Worker) -> Iterator[Callable[[str], Visit]]:
    """Open a view at a desk. At the end nothing has gone wrong, and nobody else was asked."""
    with visit(browser, worker.url) as opened:

        def go(view: str) -> Visit:
            opened.go(view)
            return opened

        yield go
        assert opened.errors == []
        assert opened.foreign == []


# -- every view -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "scheme"), [(DESK, "light"), (PHONE, "dark")], ids=["desk, light", "phone, dark"])
def test_every_view_is_whole_at_a_desk_and_on_a_phone(
    browser: Browser, worker: Worker, tmp_path: Path, size: tuple[int, int], scheme: Scheme
) -> None:
    with visit(browser, worker.url, size, scheme) as seen:
        for name, (view, there) in VIEWS.items():
            seen.go(view, until=there)
            assert seen.sideways() == [], name
            assert seen.barriers() == [], name
            assert seen.page.locator("h1").count() == 1
            seen.shot(tmp_path, name)
        assert seen.errors == []
        assert seen.foreign == []
    assert len([*tmp_path.iterdir()]) == len(VIEWS)


def test_every_heading_says_what_it_means(see: Callable[[str], Visit]) -> None:
    for view, there in VIEWS.values():
        seen = see(view)
        seen.page.wait_for_selector(there)
        silent = seen.page.locator("main :is(h1, h2, h3):not(:has([data-tip]))")
        assert silent.all_inner_texts() == []


# -- numbers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "choice", ["window=5m&clock=predictions", "window=1h&clock=predictions", "window=24h&clock=labels", "window=total"]
)
def test_the_numbers_of_all_models_are_those_of_the_api(see: Callable[[str], Visit], choice: str) -> None:
    seen = see("#/worker")
    models = seen.answer(f"#/?{choice}", f"api/overview?{choice}")["models"]
    seen.page.wait_for_selector("tbody td.trend")
    rows = seen.page.locator("tbody tr")
    assert rows.count() == len(models) == 5
    for number, model in enumerate(models):
        text = rows.nth(number).inner_text()
        assert f"{model['service']}/{model['endpoint']}/{model['model']}" in text
        assert f"{model['labelled']:,}" in text
        assert f"of {model['predictions']:,}" in text
        if model["score"] and model["score"]["value"] is not None:
            assert f"{model['score']['value']:.3f} {model['score']['name']}" in text


def test_which_model_got_worse_stands_first_with_why_and_since_when(see: Callable[[str], Visit]) -> None:
    seen = see("#/")
    first = seen.page.locator("tbody tr").first
    expect(first).to_contain_text("Needs attention")
    expect(first).to_contain_text("demo/breast-cancer/default/current@1.4")
    expect(first).to_contain_text("below its limit of 0.9")
    expect(first).to_contain_text("Since ")
    first.locator("a").click()
    expect(seen.page.locator("h1")).to_have_text("demo/breast-cancer/default/current@1.4")
    expect(seen.page.locator("main")).to_contain_text("accuracy is lower since ")
    expect(seen.page.locator("main")).to_contain_text("Most of it in class 1: recall ")
    expect(seen.page.locator("main")).to_contain_text("shadow is better (accuracy +")


def test_too_few_labels_are_said_in_words(see: Callable[[str], Visit]) -> None:
    row = see("#/").page.locator("tbody tr", has_text="demo/hello")
    expect(row).to_contain_text("Too few labels")
    expect(row).to_contain_text("1 label in the last 1h, need 100")


def test_the_numbers_of_a_model_are_those_of_the_api(see: Callable[[str], Visit]) -> None:
    for name, asks, of_window in (
        ("total", "", "total"),
        ("1h", "", "1h"),
        ("1h&clock=labels", "?clock=labels", "labels_1h"),
    ):
        seen = see("#/worker")
        view = seen.answer(f"#/model/{CANCER}?window={name}", f"api/models/{CANCER}/view{asks}")
        reading, (low, high) = view["model"]["windows"][of_window], view["intervals"][of_window]
        seen.page.wait_for_selector(".figures")
        figures = dict(text.split("\n")[:2] for text in seen.texts(".figures >> nth=0 >> .figure"))
        assert figures["accuracy"] == f"{reading['scores']['accuracy']:.3f}"
        assert f"{low:.3f} to {high:.3f} · limit 0.900" in seen.text(".figure")
        assert figures["labelled"] == f"{reading['samples']:,}"
        cells = [[int(text) for text in row.split("\t")[1:]] for row in seen.texts(".matrix tbody tr")]
        known = {(actual, predicted): rows for actual, predicted, rows in reading["confusion"]}
        assert cells == [[known.get((actual, predicted), 0) for predicted in "01"] for actual in "01"]


def test_monitors_and_metrics_of_its_own_show_where_a_model_has_them(
    see: Callable[[str], Visit], worker: Worker
) -> None:
    view = asked(worker, f"api/models/{CANCER}/view")
    model = view["model"]
    monitor = {"monitor": "odd rows", "version": "3", "alert_when": "value > 0.5", "alerting": True}
    model["monitors"] = [monitor]
    model["windows"]["1h"]["monitors"] = [{"monitor": "odd rows", "version": "3", "ok": 7, "alert": 1234, "mean": 0.75}]
    model["custom_metrics"] = [{"key": "<b>cache</b>", "type": "COUNTER", "tags": {"site": "a"}, "value": 12.0}]
    point = {"version": "3", "ok": 6, "alert": 1, "failed": 0, "p50": 0.5, "p95": 0.875}
    history = {
        "key": CANCER, "monitor": "odd rows", "version": "3", "comparison": ">", "threshold": 0.5, "step": 60,
        "points": [{**point, "start": at, "mean": mean} for at, mean in ((1_795_000_020, 0.25), (1_795_000_080, 0.75))],
        "source": "panes", "note": None,
    }  # fmt: skip
    seen = see("#/worker")
    seen.page.route(f"**/api/models/{CANCER}/view", lambda route: route.fulfill(json=view | {"monitor": history}))
    seen.go(f"#/model/{CANCER}?window=1h", until=".figures")
    monitors = seen.page.get_by_role("table", name="Monitors")
    expect(monitors.locator("tbody tr")).to_have_text("odd rows3value > 0.5yes71,2340.750")
    expect(seen.page.get_by_role("combobox", name="Monitor")).to_have_value("odd rows")
    drawn = seen.page.get_by_label("odd rows over time, mean 0.250 at")
    expect(drawn).to_have_attribute("aria-label", re.compile("to 0.750; a row alerts where its value is > 0.500"))
    metrics = seen.page.get_by_role("table", name="Metrics of its own")
    expect(metrics.locator("tbody tr")).to_have_text("<b>cache</b>COUNTERsite=a12")


def test_a_new_version_is_shown_beside_the_one_before(see: Callable[[str], Visit], worker: Worker) -> None:
    answer = asked(worker, "api/comparisons")
    (before, after) = (
        {**answer["comparisons"][0]["current"], "model_version": version} for version in ("1.3", "<i>2</i>")
    )
    said = {"before": before, "least_count": 100, "sentence": "drifted from version 1.3: <b>age</b> (PSI 0.25)"}
    read = {"feature": "<b>age</b>", "rows_before": 7, "rows": 12345, "psi": 0.25, "js": 0.3, "chi2_p": 0.0}
    nearer = {**read, "feature": "(prediction)", "psi": 0.01, "drifted": False}

    def of(name: str, *drift: dict[str, Any]) -> dict[str, Any]:
        windows = {"total": {"drifted_share": None, "drift": [*drift]}}
        return {**said, "after": {**after, "model_version": name}, "windows": windows}

    version = of("<i>2</i>", nearer, {**read, "drifted": True})
    others = [of("3", nearer), of("4", read)]
    seen = see("#/worker")
    made = {**answer, "versions": [version, *others]}
    seen.page.route("**/api/comparisons", lambda route: route.fulfill(json=made))
    seen.go("#/comparisons", until="h2")
    rows = seen.page.get_by_role("table", name="New versions").locator("tbody tr")
    expect(rows.first).to_contain_text("<b>age</b> (PSI 0.25)")
    expect(rows.first).to_contain_text("@<i>2</i>")
    expect(rows.first).to_contain_text("@1.3")
    expect(rows.first).to_contain_text("0.250")
    expect(rows.first).to_contain_text("12,345")
    expect(rows.locator("td.state")).to_have_text(["drifted", "as before", "too few rows"])


@pytest.mark.parametrize(
    ("name", "ends"), [("accuracy_difference", "-1.000 to +1.000"), ("error_difference", "-1.400 to +1.800")]
)
def test_an_interval_of_accuracies_ends_where_their_differences_do(
    see: Callable[[str], Visit], worker: Worker, name: str, ends: str
) -> None:
    """That of a few rows is wider; errors may differ by any amount."""
    answer = asked(worker, "api/comparisons")
    one = answer["comparisons"][0]
    total = {**one["windows"]["total"], name: 0.2, f"{name}_low_always": -1.4, f"{name}_high_always": 1.8}
    if name == "error_difference":
        total["measures"] = ["error"]
    made = {**answer, "comparisons": [{**one, "windows": {**one["windows"], "total": total}}]}
    seen = see("#/worker")
    seen.page.route("**/api/comparisons", lambda route: route.fulfill(json=made))
    seen.go("#/comparisons", until="tbody tr")
    rows = seen.page.get_by_role("table", name="Comparisons").locator("tbody tr")
    expect(rows.first).to_contain_text(ends)


def test_a_point_without_neighbours_has_an_interval_that_can_be_seen(see: Callable[[str], Visit]) -> None:
    seen = see("#/model/demo/hello/default/m")
    seen.page.wait_for_selector("figure.time canvas")
    drawn = seen.page.evaluate(
        "Chart.getChart(document.querySelector('figure.time canvas')).data.datasets.map(it => it.data)"
    )
    ((value,), low, high) = drawn
    assert [one["x"] - value["x"] for one in low] == [one["x"] - value["x"] for one in high] == [-20, 20]
    assert [one["y"] for one in high] == pytest.approx([0.793, 0.793], abs=0.001)


def test_the_classes_say_how_they_have_done_since_the_score_fell(see: Callable[[str], Visit], worker: Worker) -> None:
    changes = {one["class"]: one for one in asked(worker, f"api/models/{CANCER}/history")["classes"]}
    assert changes["1"]["since"] < 0.8 < changes["1"]["before"]
    rows = see(f"#/model/{CANCER}").page.get_by_role("table", name="Scores by class").locator("tbody tr")
    for number, name in enumerate(("0", "1")):
        of = changes[name]
        expect(rows.nth(number)).to_contain_text(f"{of['since']:.3f}{of['before']:.3f} before")


def test_groups_stand_beside_the_privileged_one_by_its_name(see: Callable[[str], Visit]) -> None:
    card = see(f"#/model/{CANCER}").page.locator("section", has_text="Fairness").last
    expect(card).to_contain_text("Each group beside the privileged one, radius: >=15.")
    groups = card.locator("tbody tr")
    expect(groups).to_have_count(3)
    expect(groups.first).to_contain_text("radius: all others")


# -- what one can do --------------------------------------------------------------------------------------------------


def test_choices_go_to_the_address_and_come_back_with_it(see: Callable[[str], Visit], worker: Worker) -> None:
    seen = see("#/")
    seen.page.get_by_label("Window").select_option("24h")
    seen.page.get_by_label("Counted").select_option("labels")
    seen.page.get_by_placeholder("Search models").fill("iris shadow")
    expect(seen.page.locator("tbody tr")).to_have_count(1)
    assert seen.page.url == f"{worker.url}/#/?window=24h&clock=labels&q=iris+shadow"
    seen.page.reload()
    expect(seen.page.locator("tbody tr")).to_have_count(1)
    expect(seen.page.get_by_label("Window")).to_have_value("24h")
    seen.page.get_by_placeholder("Search models").fill("")
    seen.page.get_by_role("button", name="Fine 3").click()
    expect(seen.page.locator("tbody tr")).to_have_count(3)
    seen.page.locator("tbody a").first.click()
    expect(seen.page.locator("h1")).not_to_have_text("Models")
    assert "window=24h" in seen.page.url
    seen.page.go_back()
    expect(seen.page.locator("tbody tr")).to_have_count(3)


def test_a_comparison_says_where_its_points_are_from_at_each_step(see: Callable[[str], Visit]) -> None:
    page = see(COMPARISON).page
    expect(page.get_by_text("From the counts that workers keep.")).to_be_visible()
    with page.expect_response(lambda reply: "/api/comparisons/view" in reply.url and "step=10m" in reply.url) as got:
        page.get_by_label("Step").select_option("10m")
    assert got.value.json()["history"]["step"] == 600
    expect(page.get_by_label("Step")).to_have_value("10m")
    expect(page.get_by_text("From the counts that workers keep.")).to_be_visible()


@pytest.mark.parametrize("name", ["model", "comparison"])
def test_a_view_that_is_open_asks_again_with_one_request(see: Callable[[str], Visit], name: str) -> None:
    view, there = VIEWS[name]
    seen = see(view)
    seen.page.wait_for_selector(there)
    seen.page.wait_for_load_state("networkidle")  # what is looked for once has been answered
    asks: list[str] = []
    seen.page.on("request", lambda request: asks.append(request.url))
    for _ in range(2):
        with seen.page.expect_request("**/api/**"):
            pass
    assert len({*asks}) == 1


def test_how_far_back_charts_reach_is_chosen_and_goes_along(see: Callable[[str], Visit], worker: Worker) -> None:
    seen = see(f"#/model/{CANCER}")
    chart = seen.page.get_by_label(re.compile("^accuracy over time, from "))
    before = chart.get_attribute("aria-label")
    with seen.page.expect_response(f"{worker.url}/api/models/{CANCER}/view?back=1h") as got:
        seen.page.get_by_label("How far back").select_option("1 hour")
    answer = got.value.json()
    points = answer["history"]["points"]
    assert points[0]["start"] >= answer["now_at"] - 3600 - 60
    assert answer["history"]["step"] == 60
    assert len(points) >= (points[-1]["start"] - points[0]["start"]) / 60 * 0.9  # the hour of events moves out of sight
    seen.page.get_by_label("Step").select_option("1 d")
    expect(seen.page.get_by_text("Nothing to draw")).to_have_count(0)
    assert before is not None
    expect(chart).not_to_have_attribute("aria-label", before)
    assert seen.page.get_by_label("How far back").locator("option").all_inner_texts() == [
        "all that is kept", "1 hour", "1 day", "7 days",
    ]  # fmt: skip
    seen.page.get_by_role("link", name=re.compile(" against ")).click()
    expect(seen.page.get_by_label("How far back")).to_have_value("1h")
    assert "back=1h" in seen.page.url


def test_a_choice_that_cannot_be_is_said_where_its_chart_would_be(see: Callable[[str], Visit]) -> None:
    page = see(f"#/model/{CANCER}?step=7").page
    expect(page.get_by_text("step: 7 s is no multiple of the panes of 60 s")).to_be_visible()
    expect(page.locator(".matrix")).to_be_visible()
    expect(page.get_by_label("Step")).to_have_value("7")


def test_a_column_sorts_and_again_the_other_way(see: Callable[[str], Visit]) -> None:
    seen = see("#/")
    head = seen.page.locator("th", has_text="Score")
    order = []
    for state in ("ascending", "descending"):
        head.get_by_role("button").click()
        expect(head).to_have_attribute("aria-sort", state)
        order.append([float(text.split()[0]) for text in seen.texts("tbody td.wide")])
    assert order[0] == sorted(order[0])
    assert order[1] == sorted(order[0], reverse=True)


def test_light_and_dark_are_chosen_and_kept(see: Callable[[str], Visit]) -> None:
    seen = see("#/")
    background = "getComputedStyle(document.body).backgroundColor"
    light = seen.page.evaluate(background)
    seen.page.get_by_label("Light or dark").select_option("dark")
    dark = seen.page.evaluate(background)
    seen.page.reload()
    seen.page.wait_for_selector("tbody tr")
    assert seen.page.evaluate(background) == dark != light


def test_by_keyboard_alone(see: Callable[[str], Visit]) -> None:
    seen = see("#/")
    seen.page.wait_for_selector("tbody tr")  # the heading is another one once there are numbers
    keys = seen.page.keyboard
    keys.press("Tab")
    expect(seen.page.locator(":focus")).to_have_text("To the content")
    keys.press("Enter")
    keys.press("Tab")  # the heading, which says what it means
    expect(seen.page.get_by_role("tooltip")).to_contain_text("A model here is one that answered")
    keys.press("Escape")
    expect(seen.page.locator("#tip")).to_be_hidden()
    seen.page.locator("tbody a").first.focus()
    time.sleep(4)  # the numbers are drawn anew meanwhile, and the focus stays where it is
    expect(seen.page.locator("tbody a").first).to_be_focused()
    keys.press("Enter")
    expect(seen.page.locator("h1")).to_have_text("demo/breast-cancer/default/current@1.4")


def test_a_table_and_a_chart_are_taken_along(see: Callable[[str], Visit]) -> None:
    seen = see(f"#/model/{CANCER}")
    seen.page.wait_for_selector("figure.time canvas")
    with seen.page.expect_download() as table:
        seen.page.get_by_label("Scores by class as CSV").click()
    columns = "class,labelled,predicted,recall,precision,f1,since it fell"
    assert Path(table.value.path()).read_text().splitlines()[0] == columns
    with seen.page.expect_download() as chart:
        seen.page.get_by_label("demo/breast-cancer/default/current@1.4 accuracy as PNG").click()
    assert Path(chart.value.path()).read_bytes().startswith(b"\x89PNG")


def test_feedback_from_the_page_is_counted(see: Callable[[str], Visit], worker: Worker) -> None:
    seen = see("#/request/hello-3")
    seen.page.get_by_role("textbox", name="Label").fill("0")
    seen.page.get_by_role("button", name="Send").click()
    expect(seen.page.locator("main")).to_contain_text("Taken.")
    expect(seen.page.locator(".level.bad")).to_have_text("✕ wrong")
    assert asked(worker, "api/exchanges/hello-3")["label"] == "0"
    seen.page.get_by_role("textbox", name="Label").fill("null")  # taken back, so that no other test sees it
    seen.page.get_by_role("button", name="Send").click()
    expect(seen.page.locator(".facts")).to_contain_text("not known yet")


def test_why_a_dead_letter_cannot_be_sent_again_stands_on_the_page(see: Callable[[str], Visit]) -> None:
    seen = see("#/letters")
    seen.page.get_by_role("checkbox", name="Send again: not-finite").first.check()
    seen.page.get_by_role("button", name="Send 1 again").click()
    expect(seen.page.locator("main")).to_contain_text("0 letters sent again. 1 letter not: Such letters are of no use")


def test_a_dead_letter_is_sent_again_from_the_page(
    see: Callable[[str], Visit], worker: Worker, settings: dict[str, str]
) -> None:
    """Its label is still too long, so that it comes back as another letter, which says that it was read again."""

    def waiting() -> list[str]:
        return [one["id"] for one in asked(worker, "api/letters")["letters"] if one["reason"] == "label-too-long"]

    leg = ("demo", "hello", "default", "m")  # over HTTP such a label would be refused at once
    truth = {"truth": {"data": {"ndarray": ["l" * 201]}}}
    produce(settings, [an_event("feedback", "hello-5", leg, time.time_ns() // 1000, truth)])
    wait_for("it is refused", lambda: len(waiting()) == 1)
    (before,) = waiting()
    seen = see("#/letters")
    seen.page.get_by_role("checkbox", name="Send again: label-too-long").check()
    seen.page.get_by_role("button", name="Send 1 again").click()
    expect(seen.page.locator("main")).to_contain_text("1 letter sent again.")
    wait_for("it is refused again", lambda: len(waiting()) == 1 and waiting() != [before])


def test_what_tally_check_says_stands_on_the_page(see: Callable[[str], Visit]) -> None:
    seen = see("#/worker")
    seen.page.get_by_role("button", name="Run tally check").click()
    expect(seen.page.locator("main pre")).to_contain_text("partitions")


def test_a_request_that_is_not_known_is_said_in_a_sentence(browser: Browser, worker: Worker) -> None:
    with visit(browser, worker.url) as seen:
        seen.go("#/request")
        seen.page.get_by_label("Request id").fill("nobody/?#%2F")
        seen.page.get_by_role("button", name="Look up").click()
        expect(seen.page.locator("main")).to_contain_text("No event with puid nobody/?#%2F is known")
        assert [error for error in seen.errors if "404" not in error] == []


def test_every_view_says_that_the_worker_lags(browser: Browser, worker: Worker) -> None:
    late = "This worker is 90 s behind the events: what it shows is of then."

    def lag(route: Route) -> None:
        reply = route.fetch()
        route.fulfill(response=reply, json={**reply.json(), "stale": late})

    with visit(browser, worker.url) as seen:
        seen.page.route("**/api/**", lag)
        for name, (view, there) in VIEWS.items():
            seen.go(view, until=there)
            # What it waits for may be of the view before: on busy cores that still stands there.
            expect(seen.page.locator("main [role=status].warn"), name).to_have_text([late])
        seen.page.unroute_all(behavior="wait")


def test_a_worker_that_is_away_is_said_and_what_is_shown_is_dated(see: Callable[[str], Visit], worker: Worker) -> None:
    seen = see("#/")
    seen.page.wait_for_selector("tbody tr")
    seen.page.route("**/api/**", lambda route: route.abort())
    expect(seen.page.locator("main [role=status].warn")).to_contain_text("What is shown is of")
    expect(seen.page.locator("tbody tr")).to_have_count(5)
    seen.page.unroute("**/api/**")
    expect(seen.page.locator("main [role=status].warn")).to_have_count(0)
    seen.errors.clear()  # the browser says of each request that it failed
