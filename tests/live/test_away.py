"""Kafka that is away, refuses, deletes, or has other topics than before: what a worker says, and that it counts."""

import json
import math
import re
import socket
import time
import uuid
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import yaml
from confluent_kafka import TopicPartition
from confluent_kafka.admin import (
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewPartitions,
    ResourcePatternType,
    ResourceType,
)

from tests.live import servers
from tests.live.servers import Kafka
from tests.live.story import TYPES, Event, expected, traffic
from tests.live.test_cli import Tally, _allow, guarded
from tests.live.test_exactness import COMMON
from tests.live.test_intake import a_fleet, canonical, create, is_read, send
from tests.live.workers import Fleet, Worker, assert_counts, produce, topic_settings, wait_for

__all__ = ["guarded"]  # a fixture, found by its name

LAGS = ("tally_lag_events", "tally_lag_seconds", "tally_intake_lag_events")


def values(worker: Worker, name: str) -> list[float]:
    return [*worker.series(name).values()]


def age(what: str) -> str:
    return f"tally_{what}_age_seconds"


def lines(worker: Worker, text: str) -> list[str]:
    """The lines of a worker's log that hold this text."""
    return [line for line in worker.log.read_text().splitlines() if text in line]


def check(settings: dict[str, str]) -> str:
    """What `tally check` says with these settings."""
    tally = Tally(settings["KAFKA_BOOTSTRAP_SERVERS"])
    tally.settings = settings
    return tally.run("check").stdout.decode()


def delete(bootstrap: str, *topics: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    for done in admin.delete_topics(list(topics)).values():
        done.result(30)
    wait_for("the topics are gone", lambda: not names(bootstrap) & set(topics))


def names(bootstrap: str) -> set[str]:
    return set(AdminClient({"bootstrap.servers": bootstrap}).list_topics(timeout=30).topics)


def test_brokers_that_are_away_are_said_and_the_lag_is_not_known(
    own_kafka: Callable[..., Kafka], tmp_path: Path
) -> None:
    broker = own_kafka()
    events = traffic(400, seed=31)
    settings = topic_settings(broker.bootstrap, "away") | COMMON | {"PARTITIONS": "4", "INTAKE_TOPICS": "away-source"}
    with Fleet(tmp_path, settings) as fleet:
        create(broker.bootstrap, "away-source", 2)
        worker = fleet.start()
        wait_for("it is ready", worker.ready)
        produce(settings, events[:200])
        wait_for("it reads its source", lambda: bool(lines(worker, "intake reads")))
        wait_for("all is read", lambda: {it for name in LAGS for it in values(worker, name)} == {0})
        for what in ("fetch", "heartbeat"):
            wait_for(f"its {what} is young", lambda what=what: max(values(worker, age(what)), default=9) < 2)  # type: ignore[misc]
        broker.kill()
        wait_for("it is not ready", lambda: not worker.ready())
        wait_for("the reason is there", lambda: "No Kafka broker answers" in "".join(worker.problems()))
        time.sleep(4)
        problem = worker.problems()[0]
        assert re.fullmatch(
            r"Kafka has not answered for \d+ s\. No Kafka broker answers at .*: start one .*\.", problem
        )
        for path in ("/api/comparisons", "/api/worker"):
            assert json.loads(worker.get(path))["stale"].startswith("Kafka has not answered"), path
        for name in LAGS:
            assert [*map(math.isnan, values(worker, name))] in ([True], [True] * 3), name
        assert min(values(worker, age("heartbeat"))) > 3
        broker.start()
        wait_for("it is ready again", worker.ready)
        produce(settings, events[200:])
        assert_counts(fleet, expected(events))
        wait_for("the lag is known again", lambda: not any(math.isnan(it) for n in LAGS for it in values(worker, n)))

        def told() -> list[bool]:
            some = [line for line in lines(worker, "Kafka ") if "not answered" in line or "again" in line]
            return ["again" in line for line in some]

        assert told()[0] is False
        wait_for("the last that is said is that it answers again", lambda: told()[-1])
        assert worker.stop() == 0


def test_credentials_that_are_refused_while_it_runs_are_named(tmp_path: Path) -> None:
    port, controller, client = (servers.free_port() for _ in range(3))
    host = servers.HOST
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    overrides = {
        "listeners": f"PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller},CLIENT://{host}:{client}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port},CLIENT://{host}:{client}",
        "controller.quorum.voters": f"1@{host}:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": f'{login} user_worker="sesame";',
    }
    with servers.kafka(tmp_path, port=port, own=True, overrides=overrides) as broker:
        file = tmp_path / "server.properties"
        try:
            socket.create_connection((host, client), timeout=5).close()
        except OSError:
            pytest.skip("the broker runs in a container, which publishes one port, and this needs two")
        settings = topic_settings(f"{host}:{client}", "refused") | COMMON | {"PARTITIONS": "2"}
        settings |= {"KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT", "KAFKA_SASL_MECHANISM": "PLAIN"}
        settings |= {"KAFKA_SASL_USERNAME": "worker", "KAFKA_SASL_PASSWORD": "sesame"}
        with Fleet(tmp_path, settings) as fleet:
            worker = fleet.start()
            wait_for("it is ready", worker.ready)
            broker.kill()
            file.write_text(file.read_text().replace("sesame", "open"))
            broker.start()
            wait_for("it says why", lambda: "refuses the user 'worker'" in "".join(worker.problems()))
            assert not worker.ready()
            broker.kill()
            file.write_text(file.read_text().replace('"open"', '"sesame"'))
            broker.start()
            wait_for("it is ready again", worker.ready)
            assert "sesame" not in worker.log.read_text()


def test_no_topic_comes_back_by_being_asked_for(own_kafka: Callable[..., Kafka], tmp_path: Path) -> None:
    """The brokers create what is asked for, and the worker reads and writes all of these."""
    broker = own_kafka(overrides={"auto.create.topics.enable": "true"})
    events = traffic(100, seed=32)
    settings = topic_settings(broker.bootstrap, "gone") | COMMON | {"PARTITIONS": "2", "INTAKE_TOPICS": "gone-source"}
    topics = {"gone-requests", "gone-feedback", "gone-dead-letters", "gone-source"}
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("it is ready", worker.ready)
        create(broker.bootstrap, "gone-source", 2)
        send(broker.bootstrap, "gone-source", map(canonical, events))
        wait_for("all is committed", partial(is_read, broker.bootstrap, "gone-intake", "gone-source"))
        delete(broker.bootstrap, *topics)
        time.sleep(8)
        assert not names(broker.bootstrap) & topics
        said = "Topics gone-feedback, gone-requests are not there any more: "
        wait_for("it says so", lambda: said in "".join(worker.problems()))
        # Where it has just begun to read anew, it does not know yet that nothing comes.
        wait_for("it says so", lambda: f"- Worker {worker.url}: Kafka has not answered" in check(settings))
        assert check(settings).endswith("Not fine: see above.\n")


@pytest.mark.parametrize(
    ("start", "runs"),
    # While nobody runs the brokers delete a topic's offsets with it: then nobody knows that it was read before.
    [("earliest", True), ("latest", True), ("earliest", False)],
    ids=["while it runs", "while it runs, latest", "while it is away"],
)
def test_a_source_that_is_made_again_is_read_from_its_beginning(
    kafka: Kafka, tmp_path: Path, start: str, runs: bool
) -> None:
    events = sorted(traffic(19, seed=33, broken=0), key=lambda event: event.key or b"")
    puids = sorted({event.key or b"" for event in events})
    parts = [[event for event in events if event.key in some] for some in (puids[:7], puids[7:17], puids[17:])]
    assert [len(part) > 20 for part in parts] == [True, True, False]
    assert len(parts[0]) < len(parts[1])
    with a_fleet(kafka, tmp_path, "{}-source", 2) as (fleet, name):
        source = f"{name}-source"
        create(kafka.bootstrap, source, 1)
        worker = fleet.start(START=start)
        wait_for("the source is read", lambda: bool(lines(worker, "intake reads")) and worker.ready())
        counted: list[Event] = []
        for part in parts:
            if counted:
                if not runs:
                    worker.stop()
                delete(kafka.bootstrap, source)
                create(kafka.bootstrap, source, 1)
                if runs and part is parts[1]:
                    time.sleep(5)  # the worker has seen it without records, too
            elif start == "latest":
                wait_for("it has begun", partial(is_read, kafka.bootstrap, f"{name}-intake", source))
            send(kafka.bootstrap, source, map(canonical, part))
            if counted and not runs:
                worker = fleet.start(START=start)
            counted += part
            assert_counts(fleet, expected(counted))
        if runs:
            assert len(lines(worker, f"topic={source} was deleted and made again: intake reads it")) == 2


def test_old_events_that_are_sent_are_kept_until_they_are_read(own_kafka: Callable[..., Kafka], tmp_path: Path) -> None:
    """The capture of last month, while no worker runs and the brokers look every two seconds what is too old."""
    broker = own_kafka(overrides={"log.retention.check.interval.ms": "2000"})
    tally = Tally(broker.bootstrap)
    tally.settings["INTAKE_TOPICS"] = f"{tally.id}-source"
    tally.says("topics", "--create")
    create(broker.bootstrap, f"{tally.id}-source", 1)
    then = int((time.time() - 30 * 86400) * 1000)
    moment = datetime.fromtimestamp(then / 1000, UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
    answer = json.dumps({"data": {"ndarray": [[0.2, 0.8]]}})
    lines: list[dict[str, Any]] = []
    for number in range(20):
        puid = f"old-{number}"
        headers = [
            "ce_type",
            TYPES["response"],
            "ce_requestid",
            puid,
            "ce_inferenceservicename",
            "s",
            "ce_modelid",
            "m",
        ]
        response = {"topic": tally.responses, "key": puid, "payload": answer, "ts": then}
        lines += [response | {"headers": some} for some in (headers, [*headers, "ce_time", moment])]
        plain = {"puid": puid, "kind": "feedback", "payload": {"reward": 1}}
        lines.append({"topic": f"{tally.id}-source", "key": None, "payload": json.dumps(plain), "ts": then})
    file = tmp_path / "old.jsonl"
    file.write_text("\n".join(map(json.dumps, lines)))
    said = tally.says("send", file)
    assert said.startswith(
        "sent 60 events to 2 topics\n60 events had a time at which the brokers might delete the record"
    )
    time.sleep(6)
    with Fleet(tmp_path, tally.settings | {"SESSION_TIMEOUT": "3s"}) as fleet:
        worker = fleet.start()
        wait_for("all is counted", lambda: worker.total("tally_exchanges", part="response") == 20)
        wait_for("the rewards too", lambda: worker.total("tally_rewards") == 20)
        wait_for("nothing waits", lambda: worker.total("tally_lag_events") == 0)
        # The same event of the same time; what has been read is counted when its epoch has committed.
        wait_for("all came twice", lambda: worker.total("tally_duplicates_total", kind="response") == 20)
        assert worker.total("tally_lost_events_total") == 0
        known = worker.answer("/api/exchanges/old-3")
        assert (known["legs"][0]["response_time"], known["feedback_time"]) == (moment, moment)


def test_records_that_the_brokers_deleted_before_they_were_read_are_counted(kafka: Kafka, tmp_path: Path) -> None:
    with a_fleet(kafka, tmp_path, "{}-source", 2) as (fleet, name):
        source = f"{name}-source"
        create(kafka.bootstrap, source, 1)
        worker = fleet.start()
        wait_for("the source is read", lambda: bool(lines(worker, "intake reads")))
        events = traffic(20, seed=34, broken=0)
        send(kafka.bootstrap, source, map(canonical, events[:10]))
        wait_for("all is committed", partial(is_read, kafka.bootstrap, f"{name}-intake", source))
        worker.stop()
        send(kafka.bootstrap, source, map(canonical, events[10:]))
        waiting = len(events) - 10
        assert f"- {waiting} events wait for the intake ({name}-intake) and no worker reads them" in check(
            fleet.settings
        )
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        for done in admin.delete_records([TopicPartition(source, 0, 17)]).values():
            done.result(30)
        worker = fleet.start()
        wait_for("they are counted", lambda: worker.total("tally_lost_events_total", topic=source) == 7)
        (line,) = lines(worker, "were deleted by its retention before intake read them")
        assert f"topic={source} partition=0: 7 records from offset 10 on" in line


@pytest.mark.parametrize("key", [(7).to_bytes(8, "big"), b"\0\0\0\1\x2a\x06abc"], ids=["a Java long", "Avro"])
def test_events_under_keys_that_are_no_puids_count_as_under_their_own(kafka: Kafka, tmp_path: Path, key: bytes) -> None:
    events = traffic(60, seed=35, broken=0)
    settings = topic_settings(kafka.bootstrap, f"keys-{uuid.uuid4().hex[:8]}") | COMMON | {"PARTITIONS": "4"}
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("it is ready", worker.ready)
        produce(settings, [event._replace(key=key) for event in events])
        assert_counts(fleet, expected(events))
        assert worker.total("tally_rekeyed_total") == len(events)
        assert worker.total("tally_rejected_total") == 0


def test_partitions_that_no_worker_reads_are_not_fine(kafka: Kafka, tmp_path: Path) -> None:
    settings = topic_settings(kafka.bootstrap, f"more-{uuid.uuid4().hex[:8]}") | COMMON | {"PARTITIONS": "2"}
    settings["SESSION_TIMEOUT"] = "60s"  # the worker ends by itself soon, and is a member until then
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("it is ready", worker.ready)

        def is_fine() -> bool:
            said = check(settings)
            return f"Worker:  {worker.url} answers" in said and said.endswith(
                "Fine: a worker finds all that it needs.\n"
            )

        wait_for("it is found, and all is well", is_fine)
        topic = settings["FEEDBACK_TOPIC"]
        admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
        for done in admin.create_partitions([NewPartitions(topic, 4)]).values():
            done.result(30)
        wait_for("it has four", lambda: len(admin.list_topics(topic, timeout=30).topics[topic].partitions) == 4)
        checked = check(settings)
        assert f"- Topic {topic}: no worker of {settings['APP_ID']} reads the partitions 2, 3. If" in checked
        assert checked.endswith("Not fine: see above.\n")


def test_a_right_that_is_withdrawn_while_it_runs_is_named_and_waited_for(
    guarded: tuple[Kafka, str], tmp_path: Path
) -> None:
    server, address = guarded
    tally = Tally(server.bootstrap)
    rights = yaml.safe_load(tally.says("topics", "--yaml"))["acls"]
    _allow(server.bootstrap, rights)
    worker_settings = tally.as_user("worker", address).settings | {"SESSION_TIMEOUT": "3s", "PARTITIONS": "2"}
    with Fleet(tmp_path, worker_settings) as fleet:
        worker = fleet.start()
        wait_for("it is ready", worker.ready)
        admin = AdminClient({"bootstrap.servers": server.bootstrap})
        of_group = AclBindingFilter(
            ResourceType.GROUP, tally.id, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
        )
        for done in admin.delete_acls([of_group]).values():
            done.result(10)
        sentence = (
            f"The group {tally.id} does not take it (GroupAuthorizationFailedError): `tally topics` lists the ACLs"
        )
        wait_for("it says why", lambda: sentence in "".join(worker.problems()))
        _allow(server.bootstrap, rights)
        wait_for("it is ready again", worker.ready)
        assert lines(worker, sentence)
        assert lines(worker, "Kafka answers again")
