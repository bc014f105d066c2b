"""What is told of a post that cannot be used: a sentence that names what is wrong, whatever it is."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.worker.http.posting import BATCH, EVENT, PUID, SELDON_FEEDBACK, Tally


@pytest.mark.parametrize("path", ["/", "/events", "/feedback", SELDON_FEEDBACK])
@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_an_empty_post(run: Callable[..., None], path: str, body: bytes) -> None:
    async def story(tally: Tally) -> None:
        status, content, _ = await tally.post(path, body, PUID)
        assert (status, content["reason"]) == (400, "empty")
        assert "body is empty" in content["error"]

    run(story)


@pytest.mark.parametrize(
    "headers",
    [
        {"ce-specversion": "1.0", "ce-id": "1", "ce-type": "io.seldon.serving.inference.request", "ce-requestid": "p"},
        {"Content-Type": "application/cloudevents+json"},
        {"Content-Type": "application/cloudevents-batch+json"},
    ],
)
@pytest.mark.parametrize("body", [b"", b" \r\n"])
def test_an_empty_cloud_event(run: Callable[..., None], headers: dict[str, str], body: bytes) -> None:
    async def story(tally: Tally) -> None:
        status, content, _ = await tally.post("/", body, headers)
        assert (status, content["reason"]) == (400, "empty")
        assert "body is empty: send the" in content["error"]

    run(story)


@pytest.mark.parametrize("kind", ["text/plain", "application/octet-stream", "application/x-www-form-urlencoded", None])
@pytest.mark.parametrize(
    ("body", "reason", "words"),
    [
        (b"hello", "bad-json", "the body 'hello' is not JSON"),
        (b"puid=p&label=1", "bad-json", "the body 'puid=p&label=1' is not JSON"),
        (b"\x89PNG\r\n", "bad-json", "is not JSON"),
        (b"\xff" * 5000, "bad-json", "is not JSON"),
        (b'"hello"', "not-an-object", "is no JSON object"),
        (b"7", "not-an-object", "the body '7' is no JSON object"),
        (b"[1, 2]", "not-an-object", "the body is a JSON list"),
        (b'{"features": [1, 2], "output": 1}', "no-puid", 'the record has no "puid"'),
        (b'{"service": "iris", "label": 1}', "no-puid", 'the record has no "puid"'),
        (b'{"kind": "request", "payload": [[1]]}', "no-puid", 'the record has no "puid"'),
        (b'{"puid": null, "label": 1}', "no-puid", 'Send the "puid" of the prediction'),
        (b'{"puid": 7, "label": 1}', "no-puid", '"puid" must be a text'),
        (b"{}", "unknown-type", "nothing says whether this is a request"),
        (b'{"label": "cat", "score": 0.9}', "unknown-type", "nothing says whether this is a request"),
    ],
)
def test_what_is_posted_without_a_word_of_what_it_is(
    run: Callable[..., None], kind: str | None, body: bytes, reason: str, words: str
) -> None:
    async def story(tally: Tally) -> None:
        status, content, _ = await tally.post("/", body, {"Content-Type": kind} if kind else {})
        assert (status, content["reason"], words in content["error"]) == (400, reason, True), content
        assert len(content["error"]) < 350

    run(story)


@pytest.mark.parametrize(
    ("features", "output", "status"),
    [
        ([1, 2], {"cat": 0.9, "dog": 0.1}, 202),
        ([[1, 2]], [{"cat": 0.9, "dog": 0.1}], 202),
        ({"age": 3}, {"class": "cat"}, 202),
        ([[1, 2]], {"cat": 0.9}, 400),  # several rows have a list of answers, also where it is one row
        ([[1, 2], [3, 4]], [{"cat": 0.9}], 400),
    ],
)
def test_objects_as_outputs(run: Callable[..., None], features: Any, output: Any, status: int) -> None:
    async def story(tally: Tally) -> None:
        pair = {"puid": "p", "features": features, "output": output}
        found, content, _ = await tally.post("/", json.dumps(pair), {})
        assert found == status
        if status == 400:
            assert content["reason"] == "ragged"
            assert content["error"].startswith('"features" has ')
            assert content["error"].endswith('"output" must be a list with one answer a row.')

    run(story)


@pytest.mark.parametrize("path", ["/feedback", SELDON_FEEDBACK])
@pytest.mark.parametrize("kind", ["text/html", "image/png", "multipart/form-data; boundary=x"])
def test_what_can_hold_no_feedback_is_refused_by_its_type(run: Callable[..., None], path: str, kind: str) -> None:
    async def story(tally: Tally) -> None:
        status, content, _ = await tally.post(path, b'{"reward": 1}', PUID | {"Content-Type": kind})
        assert (status, content["reason"]) == (415, "unknown-type")

    run(story)


DEEP = 100_000
STRUCTURED = {"Content-Type": "application/cloudevents+json"}
CLOUD_EVENT = b'{"specversion": "1.0", "type": "io.seldon.serving.inference.response", "requestid": "p", "data": %s}'


@pytest.mark.parametrize("deep", [b"[" * DEEP, b"[" * DEEP + b"]" * DEEP, b'{"a":' * DEEP + b"1" + b"}" * DEEP])
@pytest.mark.parametrize(
    ("path", "body", "headers"),
    [
        ("/", b"%s", EVENT),
        ("/", b"%s", {}),
        ("/", b'{"puid": "p", "features": %s, "output": 1}', {}),
        ("/", b'{"puid": "p", "kind": "response", "payload": %s}', {}),
        ("/", b"%s", STRUCTURED),
        ("/", CLOUD_EVENT, STRUCTURED),
        ("/", b"%s", BATCH),
        ("/", b"[%s]", BATCH),
        ("/", b"[" + CLOUD_EVENT + b"]", BATCH),
        ("/feedback", b"%s", {}),
        ("/feedback", b'{"puid": "p", "label": %s}', {}),
        ("/feedback", b'[{"puid": "p", "label": 1, "tags": %s}]', {}),
        ("/feedback", b'{"truth": %s}', PUID),
        (SELDON_FEEDBACK, b'{"truth": {"data": {"ndarray": %s}}}', PUID),
    ],
)
def test_what_is_nested_without_end(
    run: Callable[..., None],
    caplog: pytest.LogCaptureFixture,
    path: str,
    body: bytes,
    headers: dict[str, str],
    deep: bytes,
) -> None:
    async def story(tally: Tally) -> None:
        status, content, _ = await tally.post(path, body % deep, headers)
        assert (status, len(content["error"]) < 200) == (400, True), content
        assert tally.kafka.sent == []

    run(story, max_body=2_000_000)
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_payload_may_be_as_deep_as_its_readers_can_read(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        for depth, status in ((1024, 202), (1025, 400)):
            assert (await tally.event(body=b"[" * depth + b"1" + b"]" * depth))[0] == status
        assert (await tally.event(body=b'{"data": "' + b"[" * 5000 + b'"}'))[0] == 202

    run(story)
