"""What cannot be used is put aside with its reason and origin; the next event is not delayed."""

import asyncio
import time
import uuid
from pathlib import Path
from typing import Any

from aiokafka import AIOKafkaProducer
from aiokafka.record.util import calc_crc32c
from confluent_kafka.admin import AdminClient, NewTopic

from app.core.letters import REKEYED
from tests.live.changelogs import read_topic
from tests.live.servers import Kafka
from tests.live.story import TYPES, Event
from tests.live.workers import Fleet, produce, topic_settings, wait_for

LEG = [("ce_namespace", b"n"), ("ce_inferenceservicename", b"s"), ("ce_endpoint", b"p"), ("ce_modelid", b"m")]
GOOD = b'{"data": {"ndarray": [[0.1, 0.9]]}}'


def _event(kind: str, puid: bytes | None, value: bytes, *, headers: Any = None) -> Event:
    own = [("ce_type", TYPES[kind].encode()), *LEG] if headers is None else headers
    return Event(kind, puid, value, own, int(time.time() * 1000))


_UNDER_Y = [("ce_type", TYPES["response"].encode()), ("ce_requestid", b"y")]
BAD: dict[str, list[Event]] = {
    "no-key": [_event("response", None, GOOD)],
    "unknown-type": [
        _event("response", b"x", GOOD, headers=LEG),
        _event("request", b"x", GOOD, headers=[("ce_type", b"\xff")]),
    ],
    "wrong-key": [
        _event("response", b"x", GOOD, headers=[*_UNDER_Y, (REKEYED, b"1")]),  # it went its way before
    ],
    "no-puid": [_event("response", b"\0x", GOOD)],
    "bad-headers": [
        _event("response", b"x", GOOD, headers=[("ce_type", TYPES["response"].encode()), ("ce_modelid", b"\xff\xfe")])
    ],
    "bad-json": [
        _event("request", b"x", b'{"data": '),
        _event("feedback", b"x", b""),
        _event("response", b"x", b"\x1a\x1c"),
    ],
    "not-finite": [_event("response", b"x", b'{"data": {"ndarray": [[NaN, 1]]}}')],
    "not-an-object": [
        _event("request", b"x", b"1"),
        _event("response", b"x", b"7"),
        _event("feedback", b"x", b'["a"]'),
    ],
    "bad-payload": [
        _event("response", b"x", b'{"data": {"ndarray": [[1, "b"]]}}'),
        _event("feedback", b"x", b'{"truth": {"data": {"ndarray": [{"a": 1}]}}}'),
    ],
    "empty": [
        _event("request", b"x", b'{"data": {"ndarray": []}}'),
        _event("response", b"x", b'{"data": {"ndarray": [[]]}}'),
        _event("feedback", b"x", b"{}"),
    ],
    "ragged": [
        _event("request", b"x", b'{"data": {"ndarray": [[1, 2], [3]]}}'),
        _event("response", b"x", b'{"data": {"ndarray": [[1, 2], [3]]}}'),
    ],
    "bad-reward": [_event("feedback", b"x", b'{"reward": "good"}'), _event("feedback", b"x", b'{"reward": 1e300}')],
    "label-too-long": [_event("feedback", b"x", b'{"truth": {"data": {"ndarray": ["' + b"a" * 500 + b'"]}}}')],
    "too-large": [_event("response", b"x", b'{"data": {"strData": "' + b"a" * 10_000_000 + b'"}}')],
}


def test_bad_records_are_put_aside(kafka: Kafka, tmp_path: Path) -> None:
    name = f"bad-{uuid.uuid4().hex[:8]}"
    settings = topic_settings(kafka.bootstrap, name) | {"PARTITIONS": "1", "SESSION_TIMEOUT": "3s"}
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    large = {"max.message.bytes": str(20 << 20)}
    for done in admin.create_topics([NewTopic(settings["RESPONSE_TOPIC"], 1, config=large)]).values():
        done.result(10)
    bad = [(reason, event) for reason, events in BAD.items() for event in events]
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        for number, (reason, event) in enumerate(bad):
            produce(settings, [event, _event(event.kind, f"good-{number}".encode(), _good(event.kind))])
            wanted = number + 1
            wait_for(f"the event after {reason} is counted", lambda: worker.total("tally_exchanges") == wanted)  # noqa: B023
        rejected = {
            labels[0][1]: value for (_, labels), value in worker.series("tally_rejected_total").items() if value
        }
        assert rejected == {reason: len(events) for reason, events in BAD.items()}
    letters = read_topic(kafka.bootstrap, f"{name}-dead-letters")[0]
    assert len(letters) == len(bad)
    for (reason, event), letter in zip(bad, letters, strict=True):
        headers = dict(letter.headers())
        assert headers["reason"] == reason.encode()
        assert headers["origin-topic"].decode() == settings[f"{event.kind.upper()}_TOPIC"]
        assert headers["origin-partition"] == b"0"
        assert headers["origin-offset"].isdigit()
        assert len(headers["detail"]) > 5
        assert letter.key() == event.key
        if reason == "too-large":
            assert headers["truncated"] == b"true"
            assert int(headers["original-length"]) == len(event.value)
            assert event.value.startswith(letter.value())
        else:
            assert letter.value() == event.value
        for header, value in event.headers:
            assert headers[header] == value


def _good(kind: str) -> bytes:
    return b'{"reward": 1}' if kind == "feedback" else GOOD


def test_events_that_are_astray_are_brought_home(kafka: Kafka, tmp_path: Path) -> None:
    """Every event in every partition, half of them under a wrong key: each counts once, where it belongs."""
    settings = topic_settings(kafka.bootstrap, f"astray-{uuid.uuid4().hex[:8]}") | {"PARTITIONS": "4"}
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        asyncio.run(_produce_everywhere(kafka.bootstrap, settings, puids=30, partitions=4))
        wait_for("all are counted", lambda: worker.total("tally_exchanges") == 60)
        wait_for("all others are brought home", lambda: worker.total("tally_rekeyed_total") >= 30 * 2 * 3)
        assert worker.total("tally_rejected_total") == 0


async def _produce_everywhere(bootstrap: str, settings: dict[str, str], puids: int, partitions: int) -> None:
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        for number in range(puids * partitions):
            puid = b"puid-%d" % (number // partitions)
            for kind in ("request", "response"):
                headers = [("ce_type", TYPES[kind].encode()), *LEG, ("ce_requestid", puid)]
                await producer.send(
                    settings[f"{kind.upper()}_TOPIC"],
                    GOOD,
                    key=puid if number % 2 else b"wrong-%d" % number,
                    partition=number % partitions,
                    headers=[*headers, ("ce_time", b"2026-11-21T07:00:00Z")],
                )
        await producer.flush()
    finally:
        await producer.stop()


def test_a_header_name_that_is_no_text(kafka: Kafka, tmp_path: Path) -> None:
    """aiokafka's parser raises at such a record; the partition goes on all the same, and the record is read."""
    settings = topic_settings(kafka.bootstrap, f"names-{uuid.uuid4().hex[:8]}") | {"PARTITIONS": "1"}
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("the worker is ready", worker.ready)
        asyncio.run(_produce_broken_name(kafka.bootstrap, settings["RESPONSE_TOPIC"]))
        produce(settings, [_event("response", b"after", GOOD)])
        wait_for("all four are counted", lambda: worker.total("tally_exchanges") == 4)


async def _produce_broken_name(bootstrap: str, topic: str) -> None:
    """One batch of three records, the second with a header name of bytes that are no UTF-8."""
    producer = AIOKafkaProducer(bootstrap_servers=bootstrap)
    await producer.start()
    try:
        batch = producer.create_batch()
        for number in range(3):
            headers = [("ce_type", TYPES["response"].encode()), *LEG, ("oddname" if number == 1 else "name", b"v")]
            batch.append(timestamp=None, key=b"name-%d" % number, value=GOOD, headers=headers)
        raw = bytearray(batch._build())
        at = raw.index(b"oddname")
        raw[at : at + 7] = b"\xff\xfe\xfdname"
        raw[17:21] = calc_crc32c(bytes(raw[21:])).to_bytes(4, "big")
        batch._buffer = raw
        await (await producer.send_batch(batch, topic, partition=0))
    finally:
        await producer.stop()
