"""What `tally check` hears from the workers that run."""

import asyncio

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from app.cli import workers as asking
from app.cli.workers import Said, ask_workers
from app.settings import load_settings
from app.worker.http.api import Api
from tests.patience import PATIENCE

STARTING = "The worker is starting."
OTHER = "it refuses the TALLY_HTTP_TOKEN that is set here: set the one that the worker has."
NONE = "it asks for a token, and none is set here: set TALLY_HTTP_TOKEN to the one that the worker has."


def said(workers: str | None, own: str | None) -> tuple[str, list[Said]]:
    """The address of a worker with that token, and what it says to who has one of his own."""

    async def ask() -> tuple[str, list[Said]]:
        api = Api(load_settings(http_token=workers), lambda: None)
        server = web.Application()
        api.add_routes(server)
        async with TestServer(server) as port:
            url = str(port.make_url("")).rstrip("/")
            found = await ask_workers(load_settings(http_token=own), 1, {url})
        await api.close()
        return url, found

    return asyncio.run(ask())


@pytest.mark.parametrize(
    ("workers", "own", "problems"),
    [
        (None, None, []),
        (None, "a-token-of-mine", []),
        ("a-token-of-theirs", "a-token-of-theirs", []),
        ("a-token-of-theirs", "a-token-of-mine", [OTHER]),
        ("a-token-of-theirs", None, [NONE]),
    ],
)
def test_a_token_that_a_worker_refuses_is_a_problem(
    workers: str | None, own: str | None, problems: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "_ANSWER_SECONDS", PATIENCE)
    url, found = said(workers, own)
    assert found == [Said(url, [STARTING, *problems])]


def test_a_worker_that_does_not_answer_says_nothing() -> None:
    url = "http://127.0.0.1:1"
    assert asyncio.run(ask_workers(load_settings(), 1, {url})) == [Said(url, None)]
