"""Where there are more model series than are exported, a worker says so wherever its numbers are looked at."""

import asyncio
import json
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from app.settings import load_settings
from app.worker.http.api import Api
from tests.builders import Ledger, a_feedback, a_response
from tests.worker.test_running import a_running


def answers(most: int, *, exports: bool = True) -> tuple[str, Any, Any]:
    """What a worker with that limit answers: /metrics, then /ready and /api/models."""
    readings = Ledger().absorb(a_response("a"), a_feedback("b")).cut().readings()
    running = a_running(readings=readings, exporting=SimpleNamespace(exports=lambda: exports))

    async def ask() -> list[str]:
        api = Api(load_settings(max_series=most), lambda: running)
        server = web.Application()
        api.add_routes(server)
        async with TestClient(TestServer(server)) as client:
            texts = [await (await client.get(path)).text() for path in ("/metrics", "/ready", "/api/models")]
        await api.close()
        return texts

    metrics, ready, models = asyncio.run(ask())
    return metrics, json.loads(ready), json.loads(models)


def dropped(metrics: str) -> int:
    return int(metrics.partition('tally_dropped_total{what="series"} ')[2].partition("\n")[0])


def series(metrics: str) -> list[str]:
    """Those of models, without the worker's and the process's."""
    return [line for line in metrics.splitlines() if "model_namespace=" in line]


@pytest.mark.parametrize("room", [1, 30, 100])
def test_it_is_counted_and_said(room: int) -> None:
    whole = len(series(answers(10**6)[0]))
    metrics, ready, models = answers(room)
    shown = len(series(metrics))
    assert shown <= room
    assert shown + dropped(metrics) == whole
    (sentence,) = ready["notes"]
    assert f"{whole - shown:,} model series are not exported, beyond TALLY_MAX_SERIES ({room})" in sentence
    assert models["notes"] == ready["notes"]
    assert len(models["models"]) == 1, "the API tells of all models"


@pytest.mark.parametrize(("most", "exports"), [(10**6, True), (1, False)])
def test_where_all_is_shown_or_another_exports_nothing_is_said(most: int, exports: bool) -> None:
    metrics, ready, models = answers(most, exports=exports)
    assert (dropped(metrics), ready["notes"], models["notes"]) == (0, [], [])
