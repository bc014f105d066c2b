"""A browser opens the page of a worker: by an address with user and password where the worker has a token."""

import json
import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

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


def page(chromium: str, folder: Path, address: str) -> str:
    """What the browser shows at an address after some seconds of its own time, as HTML."""
    command = [chromium, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"]
    command += ["--virtual-time-budget=5000", "--dump-dom", address]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout


def test_the_page_by_an_address_with_user_and_password(worker: Worker, chromium_binary: str, tmp_path: Path) -> None:
    shown = page(chromium_binary, tmp_path, f"http://anybody:{TOKEN}@127.0.0.1:{worker.port}/")
    assert ">3 models, as of " in shown
    assert "<p>Against iris: not enough shared labels (1, need 100)</p>" in shown
    assert "<h2>iris<" in shown
    assert "<th>accuracy</th>" in shown
    assert "<th>country</th>" in shown
    assert "<td>DE</td>" in shown


def test_what_is_no_model_is_no_card(worker: Worker, chromium_binary: str, tmp_path: Path) -> None:
    shown = page(chromium_binary, tmp_path, f"http://anybody:{TOKEN}@127.0.0.1:{worker.port}/")
    assert "1 with feedback that names no model which has answered: irsi<" in shown
    assert ">0 requests, 1 responses, 0 with feedback; 1 more without an answer, whose version is not known<" in shown
    assert shown.count("<h2>") == 3
    assert "<h2>iris/m@7<" in shown


def test_the_page_without_the_password_shows_nothing(worker: Worker, chromium_binary: str, tmp_path: Path) -> None:
    shown = page(chromium_binary, tmp_path, f"http://anybody:wrong@127.0.0.1:{worker.port}/")
    assert "Tally" not in shown


def test_a_replay_as_a_page_opens_from_a_file(chromium_binary: str, tmp_path: Path) -> None:
    lines = []
    for more in ({}, {"endpoint": "shadow"}):
        pair = {"puid": "p", "service": "iris</script>", "features": [5.1], "output": "setosa", "label": "setosa"}
        lines.append(json.dumps({"topic": "any", "payload": json.dumps(pair | more), "ts": 1_795_244_400_000}))
    (tmp_path / "events.jsonl").write_text("\n".join(lines))
    replayed = tally({}, "replay", str(tmp_path / "events.jsonl"), "--format", "html")
    file = tmp_path / "replay.html"
    file.write_text(replayed.stdout)
    shown = page(chromium_binary, tmp_path / "profile", file.as_uri())
    assert ">2 models, as of 2026-11-21T07:00:00Z<" in shown, replayed.stderr
    assert "<h2>iris&lt;/script&gt;<" in shown
    assert "<p>Against iris" in shown
    assert "<th>accuracy</th>" in shown
