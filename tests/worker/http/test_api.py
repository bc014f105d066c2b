"""What a worker answers to GET: before it has started, and after. What runs is a stand-in."""

import asyncio
import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from app.settings import load_settings
from app.worker.http.api import Api
from app.worker.running import Running
from tests.builders import Ledger, a_feedback, a_response
from tests.worker.http.serving import Served, serve
from tests.worker.test_running import a_running

STARTING = {"error": "The worker is starting."}


def get(path: str, running: Running | None) -> tuple[int, str, Mapping[str, str]]:
    """The answer to one request: status, text, headers."""

    async def ask() -> tuple[int, str, Mapping[str, str]]:
        api = Api(load_settings(), lambda: running)
        server = web.Application()
        api.add_routes(server)
        async with TestClient(TestServer(server)) as client, client.get(path) as reply:
            answer = reply.status, await reply.text(), reply.headers
        await api.close()
        return answer

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("path", "status", "content"),
    [
        ("/live", 200, {"live": True}),
        ("/ready", 503, {"ready": False, "partitions": [], "problems": ["The worker is starting."], "notes": []}),
        ("/metrics", 503, STARTING),
        ("/api/models", 503, STARTING),
        ("/api/exchanges/p", 503, STARTING),
    ],
)
def test_before_the_start(path: str, status: int, content: Any) -> None:
    found, text, _ = get(path, None)
    assert (found, json.loads(text)) == (status, content)


def test_a_worker_that_stands_still_is_not_live() -> None:
    running = a_running()
    assert get("/live", running)[0] == 200
    lane: Any = running.lane
    lane.standstill = lambda: "It stands still."
    found, text, _ = get("/live", running)
    assert (found, json.loads(text)) == (503, {"live": False, "problems": ["It stands still."]})


def test_a_long_answer_is_packed_for_who_takes_gzip() -> None:
    _, text, headers = get("/api/openapi.json", None)
    assert headers["Content-Encoding"] == "gzip"
    assert int(headers["Content-Length"]) < len(text) / 2
    assert "paths" in json.loads(text)
    assert "Content-Encoding" not in get("/live", None)[2], "a short one is not"

    async def story(served: Served) -> None:
        plain = await served.ask("GET", "/api/openapi.json")
        assert "Content-Encoding" not in plain.headers
        assert plain.content == json.loads(text)

    serve(story)


def test_the_page_needs_nothing_that_runs() -> None:
    status, text, headers = get("/", None)
    assert (status, headers["Content-Type"]) == (200, "text/html; charset=utf-8")
    assert text.startswith("<!doctype html>")


@pytest.mark.parametrize(("at_end", "status"), [(False, 503), (True, 200)])
def test_ready_is_told_with_the_partitions_that_are_loaded(at_end: bool, status: int) -> None:
    running = a_running()
    lane: Any = running.lane
    lane.ready = True
    if at_end:
        running.feed.at_end.set()
    found, text, _ = get("/ready", running)
    assert (found, json.loads(text)) == (status, {"ready": at_end, "partitions": [1, 3], "problems": [], "notes": []})


def test_what_keeps_a_worker_from_being_ready_is_told() -> None:
    said = "Kafka has not answered for 12 s."
    running = a_running(contact=SimpleNamespace(problem=lambda: said))
    running.feed.at_end.set()
    status, text, _ = get("/ready", running)
    assert (status, json.loads(text)) == (503, {"ready": False, "partitions": [1, 3], "problems": [said], "notes": []})


@pytest.mark.parametrize("exports", [False, True])
def test_every_worker_tells_of_itself_and_one_of_the_models(exports: bool) -> None:
    readings = Ledger().absorb(a_response(1), a_feedback(1)).cut().readings()
    running = a_running(readings=readings, exporting=SimpleNamespace(exports=lambda: exports))
    status, text, headers = get("/metrics", running)
    assert (status, headers["Content-Type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert "\ntally_open_exchanges 12\n" in text
    assert "\nprocess_cpu_seconds_total " in text
    assert ("\ntally_exchanges{" in text) == exports
    assert ("\ntally_score{" in text) == exports


def test_models_are_told_by_every_worker() -> None:
    readings = Ledger().absorb(a_response(1), a_feedback(1)).cut().readings()
    status, text, _ = get("/api/models", a_running(readings=readings))
    (model,) = json.loads(text)["models"]
    assert (status, model["model"], model["rows"]["correct"]) == (200, "m", 1)


def test_labels_that_do_not_match_are_told_with_their_model() -> None:
    readings = Ledger().absorb(a_response(1), a_feedback([1, 0])).cut().readings()
    _, text, _ = get("/api/models", a_running(readings=readings))
    assert [model["mismatched"] for model in json.loads(text)["models"]] == [1]


def test_a_mistyped_service_of_a_feedback_makes_no_model() -> None:
    readings = Ledger().absorb(a_response(1), a_feedback(1, service="svk")).cut().readings()
    running = a_running(readings=readings, exporting=SimpleNamespace(exports=lambda: True))
    _, text, _ = get("/api/models", running)
    (model,) = json.loads(text)["models"]
    assert (model["model_service"], model["rows"]["unlabelled"]) == ("svc", 1)
    assert "svk" not in text + get("/metrics", running)[1]


def test_the_text_of_the_models_is_made_before_it_is_asked_for_and_dropped_where_another_exports() -> None:
    exporting = SimpleNamespace(begun=False, exports=lambda: True)
    running = a_running(readings=Ledger().absorb(a_response(1)).cut().readings(), exporting=exporting)
    api = Api(load_settings(), lambda: running)

    async def models_made() -> list[bool]:
        made = []
        for begun in (False, True, False, True):
            exporting.begun = begun
            api.watch()
            texts = api._exposition
            if texts is not None and texts._of_new is not None:
                await texts._of_new
            made.append(texts is not None and "tally_model_info{" in texts.text.text())
        await api.close()
        return made

    assert asyncio.run(models_made()) == [False, True, False, True]


def test_nothing_is_made_before_the_start() -> None:
    api = Api(load_settings(), lambda: None)
    api.watch()
    assert api._exposition is None
