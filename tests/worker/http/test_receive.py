"""Events and feedback over HTTP: what is answered when, what is written where, what bounds it. Kafka is a stand-in."""

import asyncio
import base64
import gzip
import json
import re
import threading
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka.errors import KafkaError, MessageSizeTooLargeError

from app.core.dialects.keeping import SegmentHeaders
from app.core.dialects.plain import Event, canonical_feedback
from app.core.rules import Rulebook, Rules
from app.core.segments import HEADERS, Segment
from app.core.wire.partitioning import partition_of
from app.settings import load_settings
from app.worker.http import bodies, publisher, receive
from app.worker.http.publisher import EVENT_BYTES, Publisher
from app.worker.kafka.sizes import Sizes
from tests.patience import PATIENCE
from tests.worker.http.posting import (
    BATCH,
    BODY,
    EVENT,
    NOW_MS,
    PUID,
    SELDON_FEEDBACK,
    FakeKafka,
    Tally,
    acknowledge,
    fail,
    never,
)
from tests.worker.kafka.scripted import in_no_time, until

# Events


def test_an_event_keeps_the_header_that_a_segment_names_and_no_other(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        plain = json.dumps({"puid": "p-2", "features": [1], "output": 1}).encode()
        json_type = {"Content-Type": "application/json"}
        assert (await tally.event(**{"X-Tier": "gold", "X-Other": "o"}))[0] == 202
        assert (await tally.event(**{"Ce-X-Tier": "silver%20one"}))[0] == 202
        assert (await tally.post("/events", plain, json_type | {"x-tier": "bronze"}))[0] == 202
        assert (await tally.post("/feedback", b'{"puid": "p", "label": 1}', json_type | {"x-tier": "tin"}))[0] == 202
        own = {"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_requestid", "content-type"}
        own |= {"ce_inferenceservicename", "ce_namespace", "ce_endpoint", "ce_modelid"}
        kept = [{name: value for name, value in one["headers"].items() if name not in own} for one in tally.kafka.sent]
        assert kept == [{"x-tier": b"gold"}, {"ce_x-tier": b"silver one"}, *[{"x-tier": b"bronze"}] * 2, {}]

    run(story, segments=SegmentHeaders(Rulebook((Rules(segments=(Segment("t", HEADERS, "x-tier"),)),))))


def test_an_event_is_acknowledged_once_kafka_has_it(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        stored = asyncio.Event()

        async def wait() -> None:
            await stored.wait()

        tally.kafka.respond = wait
        posted = asyncio.create_task(tally.event())
        await tally.sent(1)
        await asyncio.sleep(0.05)
        assert not posted.done()
        stored.set()
        status, content, _ = await posted
        assert (status, content) == (202, None)
        (record,) = tally.kafka.sent
        assert (record["topic"], record["key"], record["value"]) == ("inference-responses", b"p-1", BODY)
        assert record["timestamp_ms"] == NOW_MS
        assert record["headers"]["ce_modelid"] == b"classifier"

    run(story)


@pytest.mark.parametrize(
    ("type_", "topic"),
    [
        ("io.seldon.serving.inference.request", "inference-requests"),
        ("io.seldon.serving.inference.response", "inference-responses"),
        ("io.seldon.serving.inference.outlier", "inference-responses"),
        ("io.seldon.serving.inference.drift", "inference-responses"),
        ("io.seldon.serving.feedback", "inference-feedback"),
    ],
)
@pytest.mark.parametrize("path", ["/", "/events"])
def test_each_kind_has_its_topic(run: Callable[..., None], type_: str, topic: str, path: str) -> None:
    async def story(tally: Tally) -> None:
        assert (await tally.post(path, BODY, EVENT | {"Ce-Type": type_}))[0] == 202
        assert [record["topic"] for record in tally.kafka.sent] == [topic]

    run(story)


def test_an_event_without_time_has_the_time_at_which_it_came(run: Callable[..., None]) -> None:
    """So that it has one place in the order of its puid, however often the broker writes it."""

    async def story(tally: Tally) -> None:
        untimed = {name: value for name, value in EVENT.items() if name != "Ce-Time"}
        assert (await tally.post("/", BODY, untimed))[0] == 202
        assert tally.kafka.sent[0]["timestamp_ms"] == NOW_MS

    run(story)


def test_one_record_may_hold_a_pair(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        pair = {"puid": "p-1", "service": "iris", "features": [[1, 2]], "output": [1]}
        assert (await tally.post("/", json.dumps(pair), {"Content-Type": "application/json"}))[0] == 202
        assert [record["topic"] for record in tally.kafka.sent] == ["inference-requests", "inference-responses"]

    run(story)


def test_the_id_of_the_call_is_not_the_puid(run: Callable[..., None]) -> None:
    """Envoy gives each call an x-request-id: those of KServe's two events would differ."""

    async def story(tally: Tally) -> None:
        kserve = {"Ce-Type": "org.kubeflow.serving.inference.response", "Ce-Id": "p-9", "X-Request-Id": "envoy-1"}
        headers = {name: value for name, value in (EVENT | kserve).items() if name != "Ce-Requestid"}
        assert (await tally.post("/", b'{"predictions": [1]}', headers))[0] == 202
        assert tally.kafka.keys() == [b"p-9"]

    run(story)


@pytest.mark.parametrize("path", ["/", "/feedback", SELDON_FEEDBACK])
def test_what_asks_not_to_be_logged_is_not(run: Callable[..., None], path: str) -> None:
    async def story(tally: Tally) -> None:
        headers = (EVENT if path == "/" else PUID) | {"Seldon-Skip-Logging": "true"}
        body = BODY if path == "/" else b'{"reward": 1}'
        assert (await tally.post(path, body, headers))[0] == 202
        assert tally.kafka.sent == []
        assert (await tally.post(path, body, headers | {"Seldon-Skip-Logging": "0"}))[0] == 202
        assert len(tally.kafka.sent) == 1

    run(story)


def test_a_refused_event_gets_a_sentence_and_is_counted(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        status, content, _ = await tally.event(**{"Ce-Type": "nothing.known"})
        assert (status, content["reason"]) == (400, "unknown-type")
        assert "nothing.known" in content["error"]
        assert tally.kafka.sent == []
        assert tally.worker.running.lane.stats.rejected == {"unknown-type": 1}

    run(story)


@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "text/html", "image/png", "application/xml"])
def test_what_can_hold_no_event_is_refused_by_its_type(run: Callable[..., None], kind: str) -> None:
    async def story(tally: Tally) -> None:
        status, content, _ = await tally.post("/", b"x", {"Content-Type": kind})
        assert status == 415
        assert kind.partition(";")[0] in content["error"]
        assert tally.worker.running.lane.stats.rejected == {"unknown-type": 1}
        assert (await tally.event(**{"Content-Type": kind}))[0] == 202  # its headers say that it is one

    run(story)


# Batches


def envelope(puid: str, **changes: Any) -> dict[str, Any]:
    attributes = {name.removeprefix("Ce-").lower(): value for name, value in EVENT.items() if name.startswith("Ce-")}
    return attributes | {"requestid": puid, "datacontenttype": "application/json", "data": {"data": [[1]]}} | changes


def test_a_batch_is_taken_whole(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        batch = [envelope("a"), envelope("b", type="io.seldon.serving.feedback", data={"reward": 1.0})]
        assert (await tally.post("/", json.dumps(batch), BATCH))[0] == 202
        assert tally.kafka.keys() == [b"a", b"b"]
        assert json.loads(tally.kafka.sent[1]["value"]) == {"reward": 1.0}

    run(story)


def test_a_batch_with_a_bad_event_is_refused_whole(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        batch = [envelope("a"), envelope("b", type="nothing.known")]
        status, content, _ = await tally.post("/", json.dumps(batch), BATCH)
        assert (status, content["reason"]) == (400, "unknown-type")
        assert content["error"].startswith("event 1 of the batch: ")
        assert tally.kafka.sent == []

    run(story)


def test_a_batch_holds_so_many_events(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        assert (await tally.post("/", json.dumps([envelope("a")] * 1000), BATCH))[0] == 202
        status, content, _ = await tally.post("/", json.dumps([envelope("a")] * 1001), BATCH)
        assert (status, content["error"]) == (413, "the batch has 1001 events; send at most 1000 at once.")
        assert len(tally.kafka.sent) == 1000

    run(story)


@pytest.mark.parametrize(
    ("body", "reason"), [("{}", "bad-json"), ("[{]", "bad-json"), ("", "empty"), ("7", "bad-json")]
)
def test_a_batch_is_a_list(run: Callable[..., None], body: str, reason: str) -> None:
    async def story(tally: Tally) -> None:
        status, content, _ = await tally.post("/", body, BATCH)
        assert (status, content["reason"]) == (400, reason)
        assert (await tally.post("/", "[]", BATCH))[0] == 202

    run(story)


# Sizes


def test_a_body_may_be_as_large_as_the_limit(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        fits = BODY + b" " * (1000 - len(BODY))
        assert (await tally.event(body=fits))[0] == 202

        async def in_chunks(body: bytes) -> Any:
            yield body[:500]
            yield body[500:]

        assert (await tally.event(body=in_chunks(fits)))[0] == 202
        for large in (fits + b" ", in_chunks(fits + b" "), in_chunks(fits * 100)):
            status, content, _ = await tally.event(body=large)
            assert (status, content["error"]) == (413, "The body is larger than 1000 bytes (TALLY_MAX_BODY).")
        packed = gzip.compress(fits * 1000)
        assert len(packed) < 5000
        assert (await tally.event(body=packed, **{"Content-Encoding": "gzip"}))[0] == 413
        assert (await tally.event(body=gzip.compress(fits), **{"Content-Encoding": "gzip"}))[0] == 202
        assert [record["value"] for record in tally.kafka.sent] == [fits] * 3
        assert tally.worker.running.lane.stats.rejected == {"too-large": 4}

    run(story, max_body=1000)


def test_a_body_that_is_not_packed_as_it_says(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        assert (await tally.event(**{"Content-Encoding": "gzip"}))[0] == 400
        assert (await tally.event())[0] == 202

    run(story)


def test_an_event_that_its_topic_does_not_take(run: Callable[..., None]) -> None:
    """Nothing is sent of it; what the topic of another kind takes is no matter."""

    async def story(tally: Tally) -> None:
        status, content, _ = await tally.event(body=b"[" + b" " * 20_000 + b"]")
        assert status == 413
        assert content["reason"] == "too-large"
        assert re.search(r"has 20\d{3} bytes, and inference-responses takes 20000 bytes at once", content["error"])
        assert tally.worker.running.lane.stats.rejected == {"too-large": 1}
        assert not tally.kafka.sent
        assert (await tally.event())[0] == 202
        feedback = {"Ce-Type": "io.seldon.serving.feedback"}
        assert (await tally.event(body=b'{"reward": 1}' + b" " * 20_000, **feedback))[0] == 202

    run(story, takes={"inference-responses": 20_000, "inference-feedback": 30_000})


def test_a_record_that_kafka_finds_too_large(run: Callable[..., None]) -> None:
    """Its topic takes less than it said; what is refused by itself is the culprit."""

    async def story(tally: Tally) -> None:
        tally.kafka.respond = tally.kafka.respond_to_one = fail(MessageSizeTooLargeError())
        large = BODY + b" " * 18_000
        status, content, _ = await tally.event(body=large)
        assert status == 413
        assert "inference-responses takes less than " in content["error"]
        tally.kafka.respond = acknowledge
        assert (await tally.event())[0] == 202
        assert (await tally.event(body=large))[0] == 413, "what has been learnt of the topic holds"
        assert len(tally.kafka.producers) == 1, "one large event is no reason for a new connection"

    run(story, takes={"inference-responses": 20_000})


def test_events_that_share_a_batch_with_others_are_not_refused_for_its_size(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        tally.kafka.respond = fail(MessageSizeTooLargeError())
        answers = await asyncio.gather(*(tally.event(f"p-{number}") for number in range(3)))
        assert [status for status, _, _ in answers] == [202] * 3
        places = [("inference-responses", partition_of(b"p-%d" % number, 2), 1) for number in range(3)]
        assert sorted(tally.kafka.alone) == sorted(places)
        tally.kafka.respond = acknowledge
        assert (await tally.event())[0] == 202
        assert len(tally.kafka.producers) > 1, "the next producer makes smaller batches"

    run(story)


def test_a_body_that_does_not_come(run: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "BODY_SECONDS", 0.1)

    async def story(tally: Tally) -> None:
        async def slowly() -> Any:
            yield b"{"
            await asyncio.sleep(PATIENCE)

        assert (await tally.event(body=slowly()))[0] == 408
        monkeypatch.setattr(bodies, "BODY_SECONDS", PATIENCE)
        assert (await tally.event())[0] == 202, "its room is free again"

    run(story, most_bytes=EVENT_BYTES + 100)


# Back-pressure


def test_beyond_what_may_wait_it_is_busy_at_once(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        stored = asyncio.Event()

        async def wait() -> None:
            await stored.wait()

        tally.kafka.respond = wait
        waiting = [asyncio.create_task(tally.event(f"p-{number}")) for number in range(3)]
        await tally.sent(3)
        status, content, headers = await tally.event("p-3")
        assert (status, headers["Retry-After"]) == (503, "1")
        assert "again" in content["error"]
        stored.set()
        assert [status for status, _, _ in await asyncio.gather(*waiting)] == [202, 202, 202]
        assert (await tally.event("p-3"))[0] == 202
        assert sorted(tally.kafka.keys()) == [b"p-0", b"p-1", b"p-2", b"p-3"]

    run(story, most_bytes=3 * (EVENT_BYTES + len(BODY)))


def test_the_events_of_a_batch_need_room_too(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        stored = asyncio.Event()

        async def wait() -> None:
            await stored.wait()

        tally.kafka.respond = wait
        waiting = asyncio.create_task(tally.event())
        await tally.sent(1)
        status, _, headers = await tally.post("/", json.dumps([envelope("a")] * 9), BATCH)
        assert (status, headers["Retry-After"]) == (503, "1")
        assert tally.kafka.keys() == [b"p-1"]
        stored.set()
        assert (await waiting)[0] == 202

    run(story, most_bytes=8 * EVENT_BYTES)


def test_a_large_event_alone_always_fits(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        assert (await tally.event())[0] == 202

    run(story, most_bytes=10)


# Kafka's failures


def test_an_event_that_kafka_does_not_acknowledge(run: Callable[..., None]) -> None:
    """Its sender is told to come again, and the next event has a producer that is not stuck."""

    async def story(tally: Tally) -> None:
        tally.kafka.respond = never
        status, content, headers = await tally.event()
        assert (status, headers["Retry-After"]) == (503, "5")
        assert "TimeoutError" in content["error"]
        tally.kafka.respond, tally.publisher._ack_seconds = acknowledge, PATIENCE
        assert (await tally.event())[0] == 202
        assert [producer.is_open for producer in tally.kafka.producers] == [False, True]

    run(story, ack_seconds=0.2)


def test_a_broken_producer_is_replaced_once(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        tally.kafka.respond = fail(KafkaError("Unexpected error during batch delivery"))
        answers = await asyncio.gather(*(tally.event(f"p-{number}") for number in range(5)))
        assert {(status, headers["Retry-After"]) for status, _, headers in answers} == {(503, "5")}
        tally.kafka.respond = acknowledge
        assert [status for status, _, _ in await asyncio.gather(*(tally.event() for _ in range(5)))] == [202] * 5
        assert tally.kafka.producers[-1].is_open
        assert sum(producer.is_open for producer in tally.kafka.producers) == 1

    run(story)


def test_a_broker_that_comes_back(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        tally.kafka.is_away = True
        status, content, _ = await tally.event()
        assert (status, "KafkaConnectionError" in content["error"]) == (503, True)
        tally.kafka.is_away = False
        assert (await tally.event())[0] == 202

    run(story)


def test_producers_that_break_at_once_are_not_made_in_a_circle() -> None:
    async def story() -> None:
        kafka = FakeKafka()
        kafka.is_away = True
        writer = Publisher(kafka.connect, Sizes(), ack_seconds=0.3)
        for _ in range(3):
            with pytest.raises(publisher.UnavailableError):
                await writer.publish([], 0)
        assert len(kafka.producers) == 1
        await writer.close()

    in_no_time(story())


def test_a_broker_that_says_nothing() -> None:
    """It is given up in time, and nothing of the attempt is left."""

    async def story() -> None:
        async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.close()

        async with await asyncio.start_server(silence, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            settings = load_settings(kafka_bootstrap_servers=f"127.0.0.1:{port}")
            writer = Publisher(lambda: publisher.make_producer(settings, Sizes()), Sizes(), ack_seconds=0.3)
            with pytest.raises(publisher.UnavailableError):
                await writer.publish([("t", Event(b"p", b"{}", ()))], NOW_MS)
            await writer.close()
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    asyncio.run(story())


def test_a_worker_that_starts_takes_nothing(run: Callable[..., None]) -> None:
    """Its topics may not exist yet, and a broker might make them as it likes."""

    async def story(tally: Tally) -> None:
        running, tally.worker.running = tally.worker.running, None
        status, content, headers = await tally.event()
        assert (status, content["error"], headers["Retry-After"]) == (503, "The worker is starting.", "1")
        tally.worker.running = running
        assert (await tally.event())[0] == 202

    run(story)


# The loop


@pytest.mark.parametrize("packing", ["", "gzip"])
def test_large_bodies_are_read_beside_the_loop_one_at_a_time(
    run: Callable[..., None], monkeypatch: pytest.MonkeyPatch, packing: str
) -> None:
    begins, waits = threading.Event(), threading.Event()
    at_work, most_at_work = 0, 0

    def read_slowly(*arguments: Any) -> Event:
        nonlocal at_work, most_at_work
        at_work += 1
        most_at_work = max(most_at_work, at_work)
        begins.set()
        waits.wait(10)
        at_work -= 1
        return canonical_feedback(*arguments)

    monkeypatch.setattr(receive, "canonical_feedback", read_slowly)
    body = json.dumps({"puid": "p", "label": [1] * 9000}).encode()
    headers = {"Content-Encoding": packing} if packing else {}
    if packing:
        body = gzip.compress(body)

    async def story(tally: Tally) -> None:
        posted = [asyncio.create_task(tally.post("/feedback", body, headers)) for _ in range(5)]
        await asyncio.to_thread(begins.wait, 10)
        assert (await tally.event())[0] == 202, "another one is answered meanwhile"
        waits.set()
        assert [status for status, _, _ in await asyncio.gather(*posted)] == [202] * 5
        assert most_at_work == 1

    run(story)


def test_a_body_holds_room_as_it_comes(run: Callable[..., None]) -> None:
    """So many that only announce large bodies keep nobody out."""

    async def story(tally: Tally) -> None:
        async def announced() -> Any:
            yield b"{"
            await asyncio.sleep(60)

        slow = [asyncio.create_task(tally.event(body=announced())) for _ in range(5)]
        await tally.held(5 * (EVENT_BYTES + 1))
        assert (await tally.event())[0] == 202
        large = {"Content-Length": "900000"}
        status, _, headers = await tally.post("/", b" " * 900_000, EVENT | large)
        assert (status, headers["Retry-After"]) == (503, "1"), "who says at once that it is too much is told at once"
        for one in slow:
            one.cancel()

    run(story, most_bytes=10 * EVENT_BYTES)


# Who may


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ("Bearer secret", 202),
        ("bearer secret", 202),
        ("Basic " + base64.b64encode(b"tally:secret").decode(), 202),
        ("Basic " + base64.b64encode(b"secret:x").decode(), 401),
        ("Basic secret", 401),
        ("Basic \u00e9", 401),
        ("Bearer secre", 401),
        ("Bearer \u00e9", 401),
        ("secret", 401),
        ("", 401),
    ],
)
def test_the_token_guards_the_way_in(run: Callable[..., None], given: str, status: int) -> None:
    """As a bearer, or as the password of a URL: Seldon's and KServe's loggers can be told nothing else."""

    async def story(tally: Tally) -> None:
        assert (await tally.event(Authorization=given))[0] == status
        assert (await tally.post("/feedback", b'{"puid": "p-1", "label": 1}', {"Authorization": given}))[0] == status
        assert len(tally.kafka.sent) == (2 if status == 202 else 0)

    run(story, http_token="secret")  # noqa: S106


def test_paths_that_are_not_there_and_methods_that_do_not_fit(run: Callable[..., None]) -> None:
    async def story(tally: Tally) -> None:
        for path, status in (("/nothing", 404), ("/metrics", 405), ("/seldon/x/api/v1.0/feedback", 404)):
            got, content, _ = await tally.post(path, BODY, EVENT)
            assert got == status
            assert path in content["error"]

    run(story)


def test_a_sender_that_hangs_up(run: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    """It is nobody's failure, so the log is silent and the room free."""

    async def story(tally: Tally) -> None:
        async def never_ends() -> Any:
            yield b"{"
            await asyncio.sleep(60)

        posted = asyncio.create_task(tally.event(body=never_ends()))
        await tally.held(EVENT_BYTES + 1)
        posted.cancel()
        await asyncio.gather(posted, return_exceptions=True)
        await tally.held(0)
        assert (await tally.event())[0] == 202

    run(story, most_bytes=EVENT_BYTES + 100)
    assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
