"""Feedback over HTTP: Seldon's call, the plain form, and lists of it."""

import json
from collections.abc import Callable
from typing import Any

import pytest

from tests.worker.http.posting import PUID, SELDON_FEEDBACK, Tally


def test_seldons_feedback_call(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        body = b'{"reward": true, "truth": {"meta": {"tags": {"user": "x"}}}}'
        assert (await tally.post(SELDON_FEEDBACK, body, {"seldon-puid": "p-1-item-2"}))[0] == 202
        (record,) = tally.kafka.sent
        assert (record["topic"], record["key"], record["value"]) == ("inference-feedback", b"p-1", body)
        told = {name: record["headers"].get(name) for name in ("ce_requestid", "ce_namespace", "ce_type", "ce_time")}
        assert told == {
            "ce_requestid": b"p-1-item-2",
            "ce_namespace": b"models",
            "ce_type": b"io.seldon.serving.feedback",
            "ce_time": b"2026-11-21T07:00:00.250000Z",
        }
        assert record["headers"]["ce_inferenceservicename"] == b"iris"
        assert not record["headers"].get("ce_endpoint")

    run(story)


def test_a_feedback_may_name_its_leg_as_an_event_does(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        leg = {"Ce-Endpoint": "canary", "Ce-Modelid": "net", "Ce-Namespace": "other", "Ce-Requestid": "other"}
        assert (await tally.post(SELDON_FEEDBACK, b'{"reward": 1}', PUID | leg))[0] == 202
        (record,) = tally.kafka.sent
        headers = record["headers"]
        assert [headers[f"ce_{name}"] for name in ("endpoint", "modelid")] == [b"canary", b"net"]
        assert [headers[f"ce_{name}"] for name in ("namespace", "requestid")] == [b"models", b"p-1"]

    run(story)


@pytest.mark.parametrize("path", ["/feedback", SELDON_FEEDBACK])
def test_a_feedback_without_puid_is_told_what_to_send(run: Callable[..., None], path: str) -> None:
    async def story(tally: Tally) -> None:
        status, content, _ = await tally.post(path, b'{"reward": 1}', {})
        assert (status, content["reason"]) == (400, "no-puid")
        assert "Seldon-Puid" in content["error"]

    run(story)


@pytest.mark.parametrize("path", ["/feedback", SELDON_FEEDBACK])
@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b'{"reward": "good"}', "bad-reward"),
        (b"{}", "empty"),
        (b"reward", "bad-json"),
        (b"[1]", "not-an-object"),
        (b'{"truth": {"data": {"ndarray": []}}}', "empty"),
    ],
)
def test_a_feedback_that_says_nothing_is_refused(run: Callable[..., None], path: str, body: bytes, reason: str) -> None:
    """At once: who sends it can still put it right, and would not look among the dead letters."""

    async def story(tally: Tally) -> None:
        status, content, _ = await tally.post(path, body, PUID)
        assert (status, content["reason"]) == (400, reason)
        assert tally.kafka.sent == []

    run(story)


@pytest.mark.parametrize("path", ["/feedback", SELDON_FEEDBACK])
def test_feedback_as_protobuf(run: Callable[..., None], path: str) -> None:
    async def story(tally: Tally) -> None:
        reward_1 = b"\x1d\x00\x00\x80\x3f"  # field 3, a float
        assert (await tally.post(path, reward_1, PUID | {"Content-Type": "application/protobuf"}))[0] == 202
        (record,) = tally.kafka.sent
        assert (record["key"], json.loads(record["value"])) == (b"p-1", {"reward": 1.0})
        assert (await tally.post(path, reward_1, {"Content-Type": "application/protobuf"}))[0] == 400

    run(story)


@pytest.mark.parametrize("path", ["/feedback", SELDON_FEEDBACK])
@pytest.mark.parametrize("body", [b'{"reward": 1}', b'{"label": 1}'])
def test_a_puid_that_is_no_text(run: Callable[..., None], path: str, body: bytes) -> None:
    async def story(tally: Tally) -> None:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
        answer = await tally.raw(head.encode() + b"Seldon-Puid: p\xff\r\n\r\n" + body)
        assert answer.startswith(b"HTTP/1.1 400 ")
        assert b'"reason":"no-puid"' in answer

    run(story)


@pytest.mark.parametrize("name", ["%ff", "%00", "%0d%0ax", "%ed%b0%80", "a" * 300])
def test_names_of_any_kind(run: Callable[..., None], name: str) -> None:
    async def story(tally: Tally) -> None:
        status, _, _ = await tally.post(f"/seldon/{name}/{name}/api/v1.0/feedback", b'{"reward": 1}', PUID)
        assert status in (202, 400)

    run(story)


def test_feedback_in_the_plain_form(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        for body, headers in (
            ({"puid": "p-1", "label": 1}, {}),
            ({"label": 1}, PUID),
            ({"puid": "p-1", "label": 1}, PUID),
        ):
            assert (await tally.post("/feedback", json.dumps(body), headers))[0] == 202
        assert tally.kafka.keys() == [b"p-1"] * 3
        assert {record["value"] for record in tally.kafka.sent} == {b'{"truth":{"data":{"ndarray":[1]}}}'}
        assert {record["headers"]["ce_time"] for record in tally.kafka.sent} == {b"2026-11-21T07:00:00.250000Z"}

    run(story)


def test_seldons_body_at_the_short_path(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        body = b'{"request": {}, "response": {"data": {"ndarray": [1]}}, "reward": 0.5}'
        assert (await tally.post("/feedback", body, PUID))[0] == 202
        (record,) = tally.kafka.sent
        assert record["value"] == body
        assert not record["headers"].get("ce_inferenceservicename")

    run(story)


def test_a_list_of_feedbacks_is_taken_whole(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        feedbacks = [{"puid": "a", "label": 1}, {"puid": "b-item-2", "reward": 0.5, "service": "iris"}]
        assert (await tally.post("/feedback", json.dumps(feedbacks), {}))[0] == 202
        assert [(record["topic"], record["key"]) for record in tally.kafka.sent] == [
            ("inference-feedback", b"a"),
            ("inference-feedback", b"b"),
        ]
        assert len({record["headers"]["ce_id"] for record in tally.kafka.sent}) == 2
        assert (await tally.post("/feedback", "[]", {}))[0] == 202
        assert (await tally.post("/feedback", json.dumps([{"puid": "a", "label": 1}] * 1000), {}))[0] == 202
        assert len(tally.kafka.sent) == 1002

    run(story)


@pytest.mark.parametrize(
    ("feedbacks", "headers", "status", "reason", "words"),
    [
        ([{"puid": "a", "label": 1}, {"label": 1}], {}, 400, "no-puid", 'feedback 1 of the list: Send the "puid"'),
        ([{"puid": "a"}], {}, 400, "empty", 'feedback 0 of the list: Send a "label"'),
        ([{"puid": "a", "label": 1}, 7], {}, 400, "not-an-object", "feedback 1 of the list: Send a JSON object"),
        ([[{"puid": "a", "label": 1}]], {}, 400, "not-an-object", "feedback 0 of the list"),
        ([{"puid": "a", "reward": "good"}], {}, 400, "bad-reward", "feedback 0 of the list"),
        ([{"puid": "a", "label": 1, "lable": 2}], {}, 400, "bad-payload", '"lable" is not known'),
        ([{"puid": "a", "label": 1}], PUID, 400, "not-an-object", "without the header Seldon-Puid"),
        ([{"puid": "a", "label": 1}] * 1001, {}, 413, "too-large", "has 1001 feedbacks; send at most 1000"),
    ],
)
def test_a_list_with_a_bad_feedback_is_refused_whole(
    run: Callable[..., None], feedbacks: Any, headers: dict[str, str], status: int, reason: str, words: str
) -> None:
    async def story(tally: Tally) -> None:
        found, content, _ = await tally.post("/feedback", json.dumps(feedbacks), headers)
        assert (found, content["reason"], words in content["error"]) == (status, reason, True), content
        assert tally.kafka.sent == []

    run(story)


@pytest.mark.parametrize("path", ["/feedback", SELDON_FEEDBACK])
def test_more_labels_than_any_exchange_holds(run: Callable[..., None], path: str) -> None:
    async def story(tally: Tally) -> None:
        labels = [1] * 256_001
        body = {"truth": {"data": {"ndarray": labels}}} if path == SELDON_FEEDBACK else {"puid": "p", "label": labels}
        status, content, _ = await tally.post(path, json.dumps(body), PUID if path == SELDON_FEEDBACK else {})
        assert (status, content["reason"]) == (400, "exchange-too-large")
        assert "256001 labels" in content["error"]

    run(story, max_body=2_000_000)
