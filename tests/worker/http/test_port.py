"""The server below the routes: what is no HTTP, what comes too slowly, and how many connections there are."""

import asyncio
import logging
import re
import resource
from typing import Any

import pytest

from app.worker.http import port
from app.worker.http.api import Api
from app.worker.http.port import MOST_CONNECTIONS, most_connections
from tests.worker.http.serving import Served, parsed, serve

HOST = b"Host: 127.0.0.1\r\n"
LIVE = b"GET /live HTTP/1.1\r\n" + HOST + b"\r\n"
CHUNKED = b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        (b"hello\r\n\r\n", "Invalid method"),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", "HTTPS"),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "PRI"),
        (b"GET / HTTP/9.9\r\n" + HOST + b"\r\n", "status line"),
        (b"GET / HTTP/1.1\r\n\r\n", "Missing 'Host' header"),
        (b"GET / HTTP/1.1\r\n" + HOST + HOST + b"\r\n", "Duplicate 'Host' header"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n\r\n", "header value"),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: " + b"a" * 9000 + b"\r\n\r\n", "longer than 8190 bytes."),
        (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n" + HOST + b"\r\n", "longer than 8190 bytes."),
        (b"GET / HTTP/1.1\r\n" + HOST + b"X: a\r\n" * 200 + b"\r\n", "Too many headers"),
        (b"GET /\xff\xfe HTTP/1.1\r\n" + HOST + b"\r\n", "url path"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: -3\r\n\r\n", "Content-Length"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: many\r\n\r\n", "Content-Length"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9" + b"9" * 30 + b"\r\n\r\n", "Content-Length"),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n\r\n123", "Content-Length"),
        (
            b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n",
            "Transfer-Encoding",
        ),
        (CHUNKED + b"zz\r\n{}\r\n", "chunk size"),
    ],
)
def test_what_is_no_http_gets_one_sentence(sent: bytes, words: str, caplog: pytest.LogCaptureFixture) -> None:
    """And leaves nothing in the log: whoever can connect could fill it."""

    async def story(served: Served) -> None:
        answer = await served.raw(sent)
        assert answer.status == 400
        assert answer.content.keys() == {"error"}
        assert re.fullmatch(r"This is not HTTP as it must be: .{3,200}\.", answer.content["error"])
        assert words in answer.content["error"]
        assert not answer.content["error"].endswith("..")
        assert served.count("other", 400) == 1

    serve(story)
    assert [record for record in caplog.records if record.levelno > logging.INFO] == []


def test_a_body_that_breaks_off_is_answered_at_once() -> None:
    async def story(served: Served) -> None:
        answer = await served.raw(CHUNKED + b"2\r\n{}\r\n", b"nonsense\r\n")
        assert (answer.status, answer.content) == (400, {"error": "The body does not come as its headers say."})
        assert served.count("/", 400) == 1

    serve(story)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/feedback", "POST"),
        ("DELETE", "/api/models", "GET, HEAD"),
        ("OPTIONS", "/", "GET, HEAD, POST"),
        ("PATCH", "/metrics", "GET, HEAD"),
        ("POST", "/ready", "GET, HEAD"),
    ],
)
def test_methods_that_do_not_fit(method: str, path: str, allowed: str) -> None:
    async def story(served: Served) -> None:
        answer = await served.ask(method, path)
        assert (answer.status, answer.content) == (405, {"error": f"{path} takes {allowed}, not {method}."})
        assert answer.headers["Allow"].replace(",", ", ") == allowed
        assert served.count("other", 405) == 1

    serve(story)


@pytest.mark.parametrize(
    "path", ["/nothing", "/../../etc/passwd", "/%2e%2e/etc/passwd", "/%ff%fe", "/" + "a" * 8000, "/events/", "//live"]
)
def test_paths_that_are_not_there(path: str) -> None:
    async def story(served: Served) -> None:
        answer = await served.ask("GET", path)
        assert answer.status == 404
        assert re.fullmatch(r"There is no .{1,201} here; the README lists the paths\.", answer.content["error"])
        assert served.count("other", 404) == 1

    serve(story)


def test_heads_connects_upgrades_and_expectations() -> None:
    async def story(served: Served) -> None:
        answer = await served.ask("HEAD", "/live")
        assert (answer.status, answer.content) == (200, b"")
        assert (await served.ask("CONNECT", "else.where:443")).status == 404
        assert (await served.ask("GET", "/live", "Upgrade: h2c")).content == {"live": True}
        assert (await served.ask("GET", "/live", "Upgrade: websocket", "Sec-WebSocket-Key: x")).content == {
            "live": True
        }
        answer = await served.ask("POST", "/", "Expect: the-unexpected")
        assert (answer.status, answer.content) == (417, {"error": "POST /: Expectation Failed."})
        answer = await served.ask("POST", "/", "Expect: 100-continue", "Content-Type: application/json", body=b"{}")
        assert answer.status == 100
        assert answer.content.startswith(b"HTTP/1.1 400 ")

    serve(story)


def test_a_hundred_requests_in_one_go_are_answered_in_their_order() -> None:
    async def story(served: Served) -> None:
        last = b"GET /nothing HTTP/1.1\r\n" + HOST + b"Connection: close\r\n\r\n"
        reader, writer = await served.connect()
        writer.write(LIVE * 100 + last)
        text = await reader.read()
        writer.close()
        assert [part[:3] for part in text.split(b"HTTP/1.1 ")[1:]] == [b"200"] * 100 + [b"404"]

    serve(story)


# Slow ones


@pytest.mark.parametrize(
    ("pieces", "status"),
    [
        ((), 0),  # a browser's connection in advance: an answer would be shown for what it asks later
        ((b"GET /live HTTP/1.1\r\nHo",), 408),
    ],
)
def test_the_head_of_a_request_has_its_time(
    pieces: tuple[bytes, ...], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port, "HEADER_SECONDS", 0.2)

    async def story(served: Served) -> None:
        answer = await served.raw(*pieces)
        assert answer.status == status
        assert served.count("other", 408) == (status != 0)
        if status:
            assert answer.content == {"error": "The header of the request did not arrive within 0.2 s."}

    serve(story)


def test_one_line_after_another_gives_no_more_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "HEADER_SECONDS", 0.2)

    async def story(served: Served) -> None:
        reader, writer = await served.connect()

        async def trickle() -> None:
            writer.write(b"GET /live HTTP/1.1\r\n")
            while not writer.is_closing():
                writer.write(b"X: y\r\n")
                await asyncio.sleep(0.02)

        trickling = asyncio.create_task(trickle())
        assert parsed(await reader.readuntil(b"}")).status == 408
        trickling.cancel()
        writer.close()

    serve(story)


def test_a_connection_may_rest_between_two_requests_but_not_within_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "HEADER_SECONDS", 0.2)

    async def story(served: Served) -> None:
        reader, writer = await served.connect()
        for _ in range(2):
            writer.write(LIVE)
            assert parsed(await reader.readuntil(b"}")).status == 200
            await asyncio.sleep(0.5)
        writer.write(b"GET /live")
        assert parsed(await reader.read()).status == 408
        writer.close()

    serve(story)


@pytest.mark.parametrize("rest", [b"G", b"GET /live HTTP/1.1\r\nHo", LIVE[:-2]])
@pytest.mark.parametrize("whole", [1, 3])
def test_a_half_head_behind_whole_requests_has_its_time_too(
    whole: int, rest: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(port, "HEADER_SECONDS", 0.2)

    async def story(served: Served) -> None:
        reader, writer = await served.connect()
        writer.write(LIVE * whole + rest)
        for _ in range(whole):
            assert parsed(await reader.readuntil(b"}")).status == 200
        assert parsed(await reader.read()).status == 408
        writer.close()

    serve(story)


def test_a_half_head_that_comes_while_another_request_is_answered_has_its_time_too(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(port, "HEADER_SECONDS", 0.2)
    monkeypatch.setattr(Api, "_live", slowly(Api._live))

    async def story(served: Served) -> None:
        reader, writer = await served.connect()
        writer.write(LIVE)
        await asyncio.sleep(0.05)
        writer.write(b"GET /live")
        assert parsed(await reader.readuntil(b"}")).status == 200
        assert parsed(await reader.read()).status == 408
        writer.close()

    serve(story)


def slowly(handler: Any) -> Any:
    """The same handler, which takes its time."""

    async def answer(*asked: Any) -> Any:
        await asyncio.sleep(0.2)
        return await handler(*asked)

    return answer


def test_who_does_not_read_its_answers_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(port, "READER_SECONDS", 0.2)

    async def story(served: Served) -> None:
        _, writer = await served.connect()
        transport: Any = writer.transport
        transport.pause_reading()
        while not writer.is_closing():
            writer.write((b"GET / HTTP/1.1\r\n" + HOST + b"\r\n") * 10)
            await asyncio.sleep(0.01)

    serve(story)


# Many


def test_the_longest_idle_connection_makes_room() -> None:
    async def story(served: Served) -> None:
        connections = []
        for _ in range(4):
            reader, writer = await served.connect()
            writer.write(LIVE)
            await reader.readuntil(b"}")
            connections.append((reader, writer))
        assert await connections[0][0].read() == b"", "the first of four, where three may be"
        for reader, writer in connections[1:]:
            writer.write(LIVE)
            assert parsed(await reader.readuntil(b"}")).status == 200
        for _, writer in connections:
            writer.close()

    serve(story, most=3)


def test_where_all_are_at_work_the_next_one_is_refused() -> None:
    async def story(served: Served) -> None:
        busy = []
        for _ in range(2):
            _, writer = await served.connect()
            writer.write(b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\n\r\n{")
            busy.append(writer)
        await served.busy(2)
        answer = await served.raw()
        assert (answer.status, answer.headers["Connection"]) == (503, "close")
        assert answer.content == {"error": "There are 2 connections at work already; come again in a few seconds."}
        assert served.count("other", 503) == 1
        busy[0].close()
        await served.busy(1)
        assert (await served.ask("GET", "/live")).status == 200
        busy[1].close()

    serve(story, most=2)


@pytest.mark.parametrize(
    ("files", "most"),
    [(1024, 824), (100, 16), (1 << 20, MOST_CONNECTIONS), (-1, MOST_CONNECTIONS)],  # -1: without limit
)
def test_the_connections_leave_files_for_kafka(files: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _: (files, files))
    assert most_connections() == most
