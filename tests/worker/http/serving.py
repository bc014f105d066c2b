"""The worker's port for tests: its routes behind the server that a worker has, and raw bytes to it."""

import asyncio
import json
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

from aiohttp import web
from aiohttp.test_utils import TestServer

from app.core.stats import Stats
from app.settings import load_settings
from app.worker.http.api import Api
from app.worker.http.port import PortRunner
from tests.patience import PATIENCE
from tests.worker.kafka.scripted import until


class OnPort(TestServer):
    """Serves the routes as a worker does."""

    def __init__(self, api: Api, most: int | None = None) -> None:
        server = web.Application()
        api.add_routes(server)
        super().__init__(server)
        self._runner_of_api = PortRunner(server, api.requests, most)

    async def _make_runner(self, **_: Any) -> web.AppRunner:
        return self._runner_of_api


class Answer(NamedTuple):
    """One answer, read until the server hung up. `status` is 0 where it hung up without one."""

    status: int
    headers: dict[str, str]
    content: Any


class Served:
    """A port that runs, with a worker that has started."""

    def __init__(self, server: OnPort, api: Api, worker: Any) -> None:
        self.api = api
        self.worker = worker
        self._server = server

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection(self._server.host, self._server.port)

    async def busy(self, count: int) -> None:
        """Wait until there are so many connections, all of them at work."""
        port: Any = self._server._runner_of_api.server
        await until(lambda: port.open == count and not port.idle)

    async def raw(self, *pieces: bytes) -> Answer:
        """What is answered to these bytes, sent one behind another; the connection is read to its end."""
        reader, writer = await self.connect()
        for piece in pieces:
            if writer.is_closing():
                break
            writer.write(piece)
            await asyncio.sleep(0.01)
        answer = parsed(await reader.read())
        writer.close()
        return answer

    async def ask(self, method: str, path: str, *headers: str, body: bytes = b"") -> Answer:
        """One request on a connection of its own."""
        own = ("Connection: close", f"Content-Length: {len(body)}")
        host = () if any(header.startswith("Host:") for header in headers) else ("Host: 127.0.0.1",)
        head = "\r\n".join([f"{method} {path} HTTP/1.1", *host, *headers, *own, "", ""])
        return await self.raw(head.encode("latin-1") + body)

    def count(self, route: str, code: int) -> int:
        return self.api.requests.numbers().requests[route, str(code)]


def parsed(text: bytes) -> Answer:
    if not text:
        return Answer(0, {}, None)
    head, _, content = text.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    headers = dict(line.split(": ", 1) for line in lines)
    is_json = headers.get("Content-Type") == "application/json" and content
    return Answer(int(first.split()[1]), headers, json.loads(content) if is_json else content)


def serve(story: Callable[[Served], Awaitable[None]], most: int | None = None, **changes: Any) -> None:
    """Run a story against a port with these settings."""
    settings = load_settings(**changes)
    lane = SimpleNamespace(stats=Stats(), standstill=lambda: None, now=time.time)
    worker: Any = SimpleNamespace(running=SimpleNamespace(lane=lane))

    async def run() -> None:
        api = Api(settings, lambda: worker.running)
        server = OnPort(api, most)
        async with asyncio.timeout(PATIENCE), server:
            await story(Served(server, api, worker))
        await api.close()

    asyncio.run(run())
