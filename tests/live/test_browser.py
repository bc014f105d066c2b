"""A browser opens the page of a worker: by an address with user and password where the worker has a token."""

import json
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from tests.live.browsing import chromium, visit
from tests.live.servers import Kafka
from tests.live.test_http import TOKEN, ask
from tests.live.test_replay import tally
from tests.live.workers import Fleet, Worker, topic_settings, wait_for


@pytest.fixture(scope="module")
def worker(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker with a token, that knows a model with a segment, and its shadow."""
    folder = tmp_path_factory.mktemp("browser")
    rules = folder / "tally.yaml"
    rules.write_text('models: [{match: "*", segments: {country: tags.country}}]')
    settings = topic_settings(kafka.bootstrap, f"browser-{uuid.uuid4().hex[:8]}")
    settings |= {"PARTITIONS": "1", "HTTP_TOKEN": TOKEN, "CONFIG": str(rules)}
    with Fleet(folder, settings) as fleet:
        started = fleet.start()
        wait_for("the worker is ready", started.ready)
        pair = {"puid": "p", "service": "iris", "features": [5.1, 3.5], "output": "setosa", "label": "setosa"}
        tags = {"tags": {"country": "DE"}}
        for more in ({}, {"endpoint": "shadow"}):
            assert ask(started, "POST", "/", json.dumps(pair | tags | more).encode())[0] == 202
        plain = {"service": "iris", "model": "m"}
        for event in (
            plain | {"puid": "q", "kind": "response", "version": "7", "payload": {"data": {"ndarray": [1]}}},
            plain | {"puid": "r", "kind": "request", "payload": {"data": {"ndarray": [[1.5]]}}},
            {"puid": "q", "service": "irsi", "kind": "feedback", "payload": {"reward": 1}},
        ):
            assert ask(started, "POST", "/", json.dumps(event).encode())[0] == 202
        wait_for("the last is counted", lambda: len(ask(started, "GET", "/api/models")[1]["models"]) == 5)
        wait_for("both are compared", lambda: bool(ask(started, "GET", "/api/comparisons")[1]["comparisons"]))
        yield started


@pytest.fixture(scope="module")
def browser(chromium_binary: str) -> Iterator[Browser]:
    with chromium(chromium_binary) as started:
        yield started


def test_the_page_by_an_address_with_user_and_password(browser: Browser, worker: Worker) -> None:
    with visit(browser, f"http://anybody:{TOKEN}@127.0.0.1:{worker.port}") as seen:
        seen.go("", until="tbody tr")
        assert len(seen.texts("tbody tr")) == 3
        seen.page.get_by_role("link", name="Comparisons").click()
        expect(seen.page.locator("tbody tr")).to_contain_text("not enough shared labels (1, need 100)")
        seen.page.goto(f"http://anybody:{TOKEN}@127.0.0.1:{worker.port}/#/model//iris//")
        expect(seen.page.locator("h1")).to_have_text("iris")
        expect(seen.page.locator("h3", has_text="country")).to_be_visible()
        expect(seen.page.locator("td.name", has_text="DE")).to_be_visible()
        assert seen.errors == []


def test_a_token_lets_the_page_send_feedback_and_another_site_does_not(browser: Browser, worker: Worker) -> None:
    with visit(browser, worker.url, token=TOKEN) as seen:
        seen.go("#/request/p", until="section form")
        seen.page.get_by_role("textbox", name="Reward").fill("1")
        seen.page.get_by_role("button", name="Send").click()
        expect(seen.page.locator("main")).to_contain_text("Taken.")
        assert seen.errors == []
        status = seen.page.evaluate(
            "fetch('feedback', {method: 'POST', credentials: 'omit', body: '{}'}).then(it => it.status)"
        )
        assert status == 401


def test_what_is_no_model_is_no_line(browser: Browser, worker: Worker) -> None:
    with visit(browser, worker.url, token=TOKEN) as seen:
        seen.go("", until="tbody tr")
        assert {text.split("\n")[0] for text in seen.texts("tbody td.name a")} == {"iris", "iris/shadow", "iris/m@7"}
        expect(seen.page.locator("main")).to_contain_text(
            "Feedback of /irsi on 1 request id names no model which has answered"
        )


def test_the_page_without_the_password_shows_nothing(browser: Browser, worker: Worker) -> None:
    with visit(browser, worker.url, token="wrong") as seen:  # noqa: S106
        seen.page.goto(worker.url)
        assert "Tally" not in seen.text("body")


def test_a_replay_as_a_page_opens_from_a_file(browser: Browser, tmp_path: Path) -> None:
    lines = []
    for more in ({}, {"endpoint": "shadow"}):
        pair = {"puid": "p", "service": "iris</script>", "features": [5.1], "output": "setosa", "label": "setosa"}
        lines.append(json.dumps({"topic": "any", "payload": json.dumps(pair | more), "ts": 1_795_244_400_000}))
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    replayed = tally({}, "replay", str(tmp_path / "events.jsonl"), "--format", "html")
    file = tmp_path / "replay.html"
    file.write_text(replayed.stdout)
    with visit(browser, file.as_uri()) as seen:
        seen.page.goto(file.as_uri())
        expect(seen.page.locator("tbody tr")).to_have_count(2)
        assert "A replay, of 2026-11-21T07:00:00Z." in seen.text(), replayed.stderr
        assert {*seen.texts("tbody td.name a")} == {"iris</script>", "iris</script>/shadow"}
        assert seen.texts("nav a") == ["Models", "Comparisons"]
        for window in ("5m", "total"):
            seen.page.get_by_label("Window").select_option(window)
            expect(seen.page.locator("tbody tr")).to_have_count(2)
        seen.page.locator("tbody a").first.click()
        expect(seen.page.locator("figure.time canvas")).to_be_visible()
        expect(seen.page.locator(".matrix tbody th")).to_have_text("setosa")
        assert seen.errors == []
        assert seen.foreign == []
