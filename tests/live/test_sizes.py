"""Topics that take little, on a real broker: batches fit, what does not fit is put aside, and all else counts."""

import json
import time
import urllib.error
import urllib.request
import uuid
from collections import Counter
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from tests.live.servers import Kafka
from tests.live.story import Event, expected, traffic
from tests.live.test_exactness import COMMON
from tests.live.test_intake import in_milliseconds, is_read, plain, read, seldon, send
from tests.live.workers import Fleet, Worker, assert_counts, produce, topic_settings, wait_for

PARTITIONS = 2
WHOLE = 4_000


def a_fleet(kafka: Kafka, folder: Path, topics: Mapping[str, int], **more: str) -> Fleet:
    """Workers whose topics exist, by the ends of their names, and take so many bytes at once."""
    name = f"sizes-{uuid.uuid4().hex[:8]}"
    settings = topic_settings(kafka.bootstrap, name) | COMMON | {"PARTITIONS": str(PARTITIONS)}
    settings |= {key: value.replace("{}", name) for key, value in more.items()}
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    made = admin.create_topics(
        [
            NewTopic(
                f"{name}-{end}",
                PARTITIONS,
                config={"max.message.bytes": str(most)}
                | ({"cleanup.policy": "compact"} if end in ("exchanges", "panes") else {}),
            )
            for end, most in topics.items()
        ]
    )
    for future in made.values():
        future.result(30)
    return Fleet(folder, settings)


def alter(fleet: Fleet, end: str, most: int) -> None:
    """Let a topic take so many bytes from now on."""
    resource = ConfigResource(
        "topic",
        f"{fleet.settings['APP_ID']}-{end}",
        incremental_configs=[ConfigEntry("max.message.bytes", str(most), incremental_operation=AlterConfigOpType.SET)],
    )
    admin = AdminClient({"bootstrap.servers": fleet.settings["KAFKA_BOOTSTRAP_SERVERS"]})
    admin.incremental_alter_configs([resource])[resource].result(30)


def an_event(kind: str, puid: str, body: Any) -> Event:
    """An event of its own model, at the end of the story."""
    (event,) = [event for event in traffic(1, seed=1, broken=0) if event.kind == kind][:1]
    named = [(name, puid.encode() if name == "ce_requestid" else value) for name, value in event.headers]
    named = [(name, b"other" if name == "ce_modelid" else value) for name, value in named]
    return event._replace(key=puid.encode(), headers=named, value=json.dumps(body).encode())


def letters(fleet: Fleet) -> list[dict[str, str]]:
    """The headers of the dead letters."""
    name = fleet.settings["APP_ID"]
    found = read(fleet.settings["KAFKA_BOOTSTRAP_SERVERS"], f"{name}-dead-letters")
    return [{key: (value or b"").decode() for key, value in letter.headers() or []} for letter in found]


def of_other(fleet: Fleet) -> dict[str, float]:
    """The exchanges of the model of `an_event`, by part."""
    (worker,) = fleet.running()
    return {part: worker.total("tally_exchanges", model="other", part=part) for part in ("request", "response")}


def test_a_changelog_that_takes_60_kb(kafka: Kafka, tmp_path: Path) -> None:
    events = traffic(WHOLE, seed=51, broken=0)
    large = an_event("response", "large", {"data": {"ndarray": ["x" * 150] * 400}})
    with a_fleet(kafka, tmp_path, {"exchanges": 60_000, "panes": 60_000, "dead-letters": 60_000}) as fleet:
        wait_for("ready", fleet.start().ready)
        produce(fleet.settings, [*events[:100], large, *events[100:]])
        assert_counts(fleet, expected(events))
        (letter,) = letters(fleet)
        assert letter["reason"] == "exchange-too-large"
        fleet.stop()
        fleet.start()
        assert_counts(fleet, expected(events))
        assert "MessageSizeTooLarge" not in fleet.logs()


def test_a_changelog_whose_limit_is_lowered_while_a_worker_runs(kafka: Kafka, tmp_path: Path) -> None:
    events = traffic(WHOLE, seed=52, broken=0)
    with a_fleet(kafka, tmp_path, {"exchanges": 1_000_000}) as fleet:
        wait_for("ready", fleet.start().ready)
        produce(fleet.settings, events[:2000])
        wait_for("some count", lambda: bool(fleet.counts()))
        alter(fleet, "exchanges", 20_000)
        time.sleep(2)  # the brokers' logs take it soon
        produce(fleet.settings, events[2000:])
        assert_counts(fleet, expected(events))


def test_an_intake_whose_canonical_topics_take_100_kb(kafka: Kafka, tmp_path: Path) -> None:
    """A backlog of small events arrives, a large one is a dead letter, and the next ones count."""
    events = [in_milliseconds(event) for event in traffic(WHOLE, seed=53, broken=0)]
    large = an_event("request", "large", {"data": {"ndarray": [["x" * 300_000]]}})
    topics = dict.fromkeys(("requests", "responses", "feedback", "source"), 100_000) | {"source": 1_000_000}
    with a_fleet(kafka, tmp_path, topics, INTAKE_TOPICS="{}-source") as fleet:
        name = fleet.settings["APP_ID"]
        some, rest = len(events) // 2, len(events) - len(events) // 2
        sent = [plain(event) if number % 2 else seldon(event) for number, event in enumerate(events)]
        send(kafka.bootstrap, f"{name}-source", [*sent[:some], plain(large), *sent[some : some + rest // 2]])
        worker = fleet.start()
        wait_for("ready", worker.ready)
        send(kafka.bootstrap, f"{name}-source", sent[some + rest // 2 :])
        wait_for("all is committed", partial(is_read, kafka.bootstrap, f"{name}-intake", f"{name}-source"))
        assert_counts(fleet, expected(events))
        (letter,) = letters(fleet)
        assert letter["reason"] == "too-large"
        assert f"{name}-requests takes 100000 bytes at once: raise its max.message.bytes" in letter["detail"]
        assert letter["origin-topic"] == f"{name}-source"
        assert worker.total("tally_intake_events_total") == len(events)
        assert worker.total("tally_rejected_total") == 1
        assert "MessageSizeTooLarge" not in fleet.logs()


def test_an_intake_whose_canonical_topic_takes_less_while_it_runs(kafka: Kafka, tmp_path: Path) -> None:
    events = [in_milliseconds(event) for event in traffic(WHOLE, seed=54, broken=0)]
    large = an_event("request", "large", {"data": {"ndarray": [["x" * 300_000]]}})
    topics = {"requests": 1_000_000, "source": 1_000_000}
    with a_fleet(kafka, tmp_path, topics, INTAKE_TOPICS="{}-source") as fleet:
        name = fleet.settings["APP_ID"]
        worker = fleet.start()
        wait_for("ready", worker.ready)
        alter(fleet, "requests", 100_000)
        time.sleep(2)
        sent = [seldon(event) for event in events]
        send(kafka.bootstrap, f"{name}-source", [*sent[:3000], plain(large), *sent[3000:]])
        wait_for("all is committed", partial(is_read, kafka.bootstrap, f"{name}-intake", f"{name}-source"))
        assert_counts(fleet, expected(events))
        assert [letter["reason"] for letter in letters(fleet)] == ["too-large"]
        assert worker.total("tally_intake_events_total") == len(events)
        assert worker.total("tally_rejected_total") == 1


def test_events_astray_go_to_a_topic_that_takes_17_kb(kafka: Kafka, tmp_path: Path) -> None:
    events = traffic(1_000, seed=55, broken=0)
    astray = [event._replace(key=b"another") if event.kind == "request" else event for event in events]
    with a_fleet(kafka, tmp_path, dict.fromkeys(("requests", "responses", "feedback"), 1_000_000)) as fleet:
        produce(fleet.settings, astray)
        alter(fleet, "requests", 17_000)
        time.sleep(2)
        fleet.start()
        assert_counts(fleet, expected(events))
        assert "MessageSizeTooLarge" not in fleet.logs()


def post(worker: Worker, puid: str, body: bytes, kind: str = "inference.request") -> tuple[int, dict[str, str]]:
    headers = {
        "Ce-Specversion": "1.0",
        "Ce-Id": "1",
        "Ce-Source": "test",
        "Ce-Type": f"io.seldon.serving.{kind}",
        "Ce-Requestid": puid,
        "Ce-Namespace": "demo",
        "Ce-Inferenceservicename": "iris",
        "Ce-Endpoint": "default",
        "Ce-Modelid": "other",
        "Content-Type": "application/json",
    }
    try:
        with urllib.request.urlopen(urllib.request.Request(worker.url, body, headers), timeout=30) as reply:  # noqa: S310 - http, as made by the test
            return reply.status, {}
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


@pytest.mark.parametrize("log", [False, True], ids=["alone", "with joined records"])
def test_nine_megabytes_over_http(kafka: Kafka, tmp_path: Path, log: bool) -> None:
    """They count, and all that comes after them; the topic of joined records takes less, and that is said."""
    more = {"MAX_BODY": "10MiB"} | ({"LOG_TOPIC": "{}-log"} if log else {})
    small = b'{"data": {"ndarray": [[1]]}}'
    with a_fleet(kafka, tmp_path, {"requests": 10 << 20}, **more) as fleet:
        worker = fleet.start()
        wait_for("ready", worker.ready)
        assert post(worker, "p", b'{"data": {"ndarray": [["%b"]]}}' % (b"x" * 9_000_000)) == (202, {})
        status, answer = post(worker, "q", small + b" " * 1_100_000, "inference.response")
        assert (status, answer["reason"]) == (413, "too-large")
        assert f"{fleet.settings['RESPONSE_TOPIC']} takes 1048588 bytes at once" in answer["error"]
        for number in range(20):
            assert post(worker, f"p-{number}", small)[0] == 202
            assert post(worker, f"p-{number}", small, "inference.response")[0] == 202
        wait_for("all count", lambda: of_other(fleet) == {"request": 21, "response": 20})
        assert worker.total("tally_rejected_total", reason="too-large") == 1 + log
        found = letters(fleet)
        assert [letter["reason"] for letter in found] == ["too-large"] * log
        assert all("the event counts, but its document lacks its payload" in letter["detail"] for letter in found)
        fleet.stop()
        fleet.start()
        wait_for("all count", lambda: of_other(fleet) == {"request": 21, "response": 20})
        assert "MessageSizeTooLarge" not in fleet.logs()


def test_joined_records_travel_in_parts(kafka: Kafka, tmp_path: Path) -> None:
    text = {"data": {"ndarray": [["x" * 150_000]]}}
    answer = {"data": {"ndarray": [1]}, "meta": {"tags": {"x": "y" * 150_000}}}
    events = [an_event("request", "both", text), an_event("response", "both", answer)]
    events += [an_event("request", "huge", {"data": {"ndarray": [["x" * 250_000]]}})]
    events += [an_event("response", "huge", {"data": {"ndarray": [1]}})]
    with a_fleet(kafka, tmp_path, {"log": 200_000}, LOG_TOPIC="{}-log") as fleet:
        wait_for("topics exist", fleet.start().ready)
        fleet.stop()
        produce(fleet.settings, events)
        fleet.start()
        wait_for("all count", lambda: of_other(fleet) == {"request": 2, "response": 2})
        name = fleet.settings["APP_ID"]
        wait_for("all is logged", lambda: len(read(kafka.bootstrap, f"{name}-log")) >= 3)
        logged = [json.loads(record.value() or b"") for record in read(kafka.bootstrap, f"{name}-log")]
        kinds = Counter((one["puid"], part["kind"]) for one in logged for part in one["parts"])
        assert kinds == {("both", "request"): 1, ("both", "response"): 1, ("huge", "response"): 1}
        assert all(one["legs"][0]["rows"] == [{"predicted": "1"}] for one in logged if one["puid"] == "both")
        (letter,) = letters(fleet)
        assert letter["reason"] == "too-large"
        assert "the topic that TALLY_LOG_TOPIC names takes" in letter["detail"]
