"""Searches for who asks by HTTP: once, for a bounded time, with a sentence where nothing comes of it."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.settings import load_settings
from app.worker.elasticsearch.search import Hit, SearchError
from app.worker.elasticsearch.searching import Searching

PRODUCT = {"X-Elastic-Product": "Elasticsearch"}


def search(status: int, answer: Any, asked: list[Any] | None = None) -> list[Hit]:
    async def handler(request: web.Request) -> web.Response:
        if asked is not None:
            asked.append((request.path, dict(request.query), await request.json()))
        return web.json_response(answer, status=status, headers=PRODUCT)

    async def run() -> list[Hit]:
        server = web.Application()
        server.router.add_post("/{index}/_search", handler)
        async with TestServer(server) as served:
            node = Searching(load_settings(elasticsearch_url=str(served.make_url("")).rstrip("/")))
            try:
                return await node.find("tally-windows", {"match_all": {}}, sort=[{"start": "desc"}], most=3)
            finally:
                await node.close()

    return asyncio.run(run())


def test_the_first_documents_are_found_with_their_places() -> None:
    asked: list[Any] = []
    hits = {"hits": {"hits": [{"_index": "tally-windows", "_id": "a", "_source": {"window": "5m"}}]}}
    assert search(200, hits, asked) == [Hit(("tally-windows", "a"), {"window": "5m"})]
    ((path, options, body),) = asked
    assert path == "/tally-windows/_search"
    assert (options["ignore_unavailable"], options["allow_partial_search_results"]) == ("true", "false")
    assert (body["query"], body["sort"], body["size"]) == ({"match_all": {}}, [{"start": "desc"}], 3)


@pytest.mark.parametrize("status", [401, 429, 500])
def test_what_is_refused_is_a_sentence(status: int) -> None:
    with pytest.raises(SearchError, match=r"Elasticsearch at http://127.0.0.1:\d+ "):
        search(status, {"error": {"type": "trouble", "reason": "because"}, "status": status})


def test_who_does_not_answer_is_named() -> None:
    async def run() -> None:
        node = Searching(load_settings(elasticsearch_url="http://127.0.0.1:1"))
        with pytest.raises(SearchError, match=r"Elasticsearch at http://127\.0\.0\.1:1 cannot be reached"):
            await node.find("x", {"match_all": {}}, sort=[], most=1)
        await node.close()

    asyncio.run(run())


def test_certificates_that_are_not_there_are_named(tmp_path: Path) -> None:
    async def run() -> None:
        settings = load_settings(elasticsearch_url="https://127.0.0.1:1", elasticsearch_ca_file=tmp_path / "none.pem")
        node = Searching(settings)
        with pytest.raises(SearchError, match="TALLY_ELASTICSEARCH_CA_FILE"):
            await node.find("x", {"match_all": {}}, sort=[], most=1)
        await node.close()

    asyncio.run(run())
