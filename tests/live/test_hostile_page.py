"""The page of a worker that has no model yet, and of one whose names are meant to break it, in a real browser."""

import json
import shlex
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from playwright.sync_api import Browser, expect

from tests.live.browsing import PHONE, chromium, visit
from tests.live.servers import Kafka
from tests.live.workers import Fleet, Worker, topic_settings, wait_for
from tests.patience import PATIENCE

#: What is meant to break a page, or to look like something else.
HOSTILE: Final = (
    "<script>window.hacked = 1</script>",
    "<img src=x onerror='window.hacked = 1'>",
    "</script><script>window.hacked = 1</script>",
    "javascript:alert(1)",
    '=HYPERLINK("http://example.invalid")',
    "\u202eright to left\u2066",
    "🦊 emoji 中文",
    "a/b@c?d=e&f#g%2F",
    "w" * 190,
)
#: The rows of each service of these names: one of the name's own, and all in one model.
HOSTILE_ROWS: Final = dict.fromkeys(HOSTILE, 1) | {"hostile": len(HOSTILE)}


@pytest.fixture(scope="module")
def browser(chromium_binary: str) -> Iterator[Browser]:
    with chromium(chromium_binary) as started:
        yield started


@pytest.fixture(scope="module")
def strange(kafka: Kafka, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Worker]:
    """A worker that has no model yet."""
    folder = tmp_path_factory.mktemp("strange")
    rules = folder / "tally.yaml"
    rules.write_text('models: [{match: "*", segments: {tag: tags.tag}}]')
    settings = topic_settings(kafka.bootstrap, f"strange-{uuid.uuid4().hex[:8]}")
    settings |= {"PARTITIONS": "1", "CONFIG": str(rules)}
    with Fleet(folder, settings) as fleet:
        started = fleet.start()
        wait_for("the worker is ready", started.ready)
        yield started


def asked(worker: Worker, path: str) -> Any:
    return json.loads(worker.get(f"/{path}"))


def labelled(worker: Worker) -> dict[str, int]:
    """The rows with a label of each service."""
    return {one["service"]: one["labelled"] for one in asked(worker, "api/overview?window=total")["models"]}


def post(url: str, body: bytes) -> int:
    call = urllib.request.Request(url, body, {"Content-Type": "application/json"})  # noqa: S310 - http, on loopback
    with urllib.request.urlopen(call, timeout=PATIENCE) as reply:  # noqa: S310
        return int(reply.status)


def test_an_empty_system_says_how_to_send_the_first_event(browser: Browser, strange: Worker) -> None:
    with visit(browser, strange.url) as seen:
        seen.go("#/")
        expect(seen.page.locator(".command code")).to_have_count(3)
        prediction, label, known = (shlex.split(text) for text in seen.texts(".command code"))
        for command in (prediction, label):
            assert command[2:4] == ["-H", "Content-Type: application/json"]
            assert post(command[1], command[command.index("-d") + 1].encode()) == 202
        expect(seen.page.locator("tbody tr")).to_contain_text("hello")
        wait_for(
            "its label is known", lambda: asked(strange, known[1].removeprefix(f"{strange.url}/")).get("label") == "yes"
        )
        assert seen.errors == []


def test_hostile_names_are_texts_and_nothing_else(browser: Browser, strange: Worker, tmp_path: Path) -> None:
    plain = {"features": [1.5], "service": "hostile", "model": "m"}
    for number, name in enumerate(HOSTILE):
        other = HOSTILE[(number + 1) % len(HOSTILE)]
        pair = plain | {"puid": f"{name}-{number}", "output": name, "label": other, "tags": {"tag": name}}
        assert post(f"{strange.url}/", json.dumps(pair).encode()) == 202
        own = plain | {
            "puid": f"own-{number}",
            "tags": {"tag": "w" * 10_000},
            "service": name,
            "model": name,
            "output": "1",
            "label": "1",
        }
        assert post(f"{strange.url}/", json.dumps(own).encode()) == 202
    wait_for("all are counted", lambda: HOSTILE_ROWS.items() <= labelled(strange).items())
    with visit(browser, strange.url, PHONE) as seen:
        seen.go("#/", until="tbody tr")
        shown = " ".join(seen.texts("tbody td.name a"))
        for name in HOSTILE:
            assert name in shown
        assert seen.sideways() == []
        for number in range(seen.page.locator("tbody td.name a").count()):
            link = seen.page.locator("tbody td.name a").nth(number)
            name = link.inner_text()
            link.click()
            expect(seen.page.locator("h1")).to_have_text(name)
            seen.page.wait_for_selector(".figures")
            assert seen.sideways() == [], name
            seen.page.go_back()
            expect(seen.page.locator("h1")).to_have_text("Models")
        seen.go("#/model//hostile//m", until=".matrix")
        assert {*HOSTILE} <= {*seen.texts(".matrix tbody th")}
        tags = {name if len(name) <= 100 else "(too long)" for name in HOSTILE}
        assert tags <= {text.split("\n")[0] for text in seen.texts("section:has(h3) tbody td.name")}
        assert seen.sideways() == []
        seen.shot(tmp_path, "hostile")
        for number, name in enumerate(HOSTILE):
            seen.go("#/request", until="text=A request id is what joins")  # what is typed into the form before is lost
            seen.page.get_by_label("Request id").fill(f"{name}-{number}")
            seen.page.get_by_role("button", name="Look up").click()
            expect(seen.page.locator(".facts dd").first).to_have_text(f"{name}-{number}")
        assert seen.page.evaluate("window.hacked") is None
        assert seen.errors == []
        assert seen.foreign == []
