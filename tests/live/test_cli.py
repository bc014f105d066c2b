"""The command line against a real broker: what it sends, creates, sees and says."""

import asyncio
import contextlib
import gzip
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import AsyncIterator, Iterator
from copy import copy
from pathlib import Path
from typing import Any

import pytest
import yaml
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import OffsetAndMetadata
from confluent_kafka.admin import (
    AclBinding,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.live import servers
from tests.live.forked import run, without_settings
from tests.patience import PATIENCE

Record = tuple[int, bytes | None, bytes | None, list[tuple[str, bytes | None]]]
PARTITIONS = 8
#: Where Kafka's own partitioner puts these keys, from the hashes in its `UtilsTest.testMurmur2`.
HASHES = {"21": -973932308, "foobar": -790332482, "a-little-bit-long-string": -985981536, "abc": 479470107}
RESOURCES = {
    "topic": ResourceType.TOPIC,
    "group": ResourceType.GROUP,
    "transactional-id": ResourceType.TRANSACTIONAL_ID,
}


class Tally:
    """The command line with an app id and topics of its own."""

    def __init__(self, bootstrap: str) -> None:
        self.bootstrap = bootstrap
        self.id = f"cli-{uuid.uuid4().hex[:8]}"
        self.requests, self.responses, self.feedback = (f"{self.id}-{name}" for name in ("in", "out", "truth"))
        self.settings = {
            "KAFKA_BOOTSTRAP_SERVERS": bootstrap,
            "APP_ID": self.id,
            "REQUEST_TOPIC": self.requests,
            "RESPONSE_TOPIC": self.responses,
            "FEEDBACK_TOPIC": self.feedback,
            "PARTITIONS": str(PARTITIONS),
        }

    def as_user(self, user: str, address: str) -> "Tally":
        """The same, by another address, where a password is asked for."""
        other = copy(self)
        other.settings = self.settings | {
            "KAFKA_BOOTSTRAP_SERVERS": address,
            "KAFKA_SECURITY_PROTOCOL": "SASL_PLAINTEXT",
            "KAFKA_SASL_USERNAME": user,
            "KAFKA_SASL_PASSWORD": f"{user}-password",
        }
        return other

    def environment(self, **changes: str) -> dict[str, str]:
        return without_settings() | {f"TALLY_{name}": value for name, value in (self.settings | changes).items()}

    def run(self, *arguments: str | Path, given: bytes = b"", **changes: str) -> "subprocess.CompletedProcess[bytes]":
        return run(self.settings | changes, *arguments, given=given)

    def says(self, *arguments: str | Path, given: bytes = b"", **changes: str) -> str:
        """What a command that must succeed prints."""
        run = self.run(*arguments, given=given, **changes)
        assert (run.returncode, run.stderr) == (0, b"")
        return run.stdout.decode()

    def refuses(self, *arguments: str | Path, given: bytes = b"", **changes: str) -> str:
        """The one sentence of a command that must end with 2."""
        run = self.run(*arguments, given=given, **changes)
        assert (run.returncode, run.stdout) == (2, b""), run.stderr
        (sentence,) = run.stderr.decode().splitlines()
        assert sentence.startswith("tally: ")
        return sentence.removeprefix("tally: ")

    def records(self, topic: str) -> list[Record]:
        """Timestamp, key, value and headers of all records of a topic, partition after partition."""
        return [record for number in range(PARTITIONS) for record in self.partition(topic, number)]

    def partition(self, topic: str, number: int) -> list[Record]:
        return asyncio.run(_read(self.bootstrap, topic, number))


@pytest.fixture
def tally(kafka: servers.Kafka) -> Tally:
    """A command line whose topics exist."""
    tally = Tally(kafka.bootstrap)
    tally.says("topics", "--create")
    return tally


# -- send -------------------------------------------------------------------------------------------------------------


def test_send_keeps_keys_values_headers_times_and_order(tally: Tally, tmp_path: Path) -> None:
    began = int(time.time() * 1000) - 60_000  # older records may be deleted by the brokers at any moment
    lines = [
        {"topic": tally.requests, "key": "21", "payload": "one", "headers": ["a", "b", "a", None], "ts": began + 1},
        {"topic": tally.requests, "key": "21", "payload": None, "ts": began, "partition": 7, "offset": 5},
        {"topic": tally.responses, "key": "foobar", "payload": "é", "headers": []},
        {"topic": tally.requests, "key": "21", "payload": "", "ts": began + 2},
        {"topic": tally.responses, "key": None, "payload": "no key"},
    ]
    file = tmp_path / "events.jsonl"
    file.write_text("\n\n".join(map(json.dumps, lines)))
    assert tally.says("send", file) == "sent 5 events to 2 topics\n"
    assert tally.partition(tally.requests, partition_of("21")) == [
        (began + 1, b"21", b"one", [("a", b"b"), ("a", None)]),
        (began, b"21", None, []),
        (began + 2, b"21", b"", []),
    ]
    assert len(tally.records(tally.requests)) == 3
    # The record without key may be in any partition, in that of the other too.
    ((moment, *rest),) = [one for one in tally.partition(tally.responses, partition_of("foobar")) if one[1] is not None]
    keyless = [record for record in tally.records(tally.responses) if record[1] is None]
    assert (rest, moment > began + 2) == ([b"foobar", "é".encode(), []], True)
    assert [record[2] for record in keyless] == [b"no key"]


def test_send_puts_a_key_where_kafka_does(tally: Tally) -> None:
    given = "".join(json.dumps({"key": key, "payload": key}) + "\n" for key in HASHES).encode()
    assert tally.says("send", "--topic", tally.feedback, "-", given=given) == "sent 4 events to 1 topic\n"
    for key in HASHES:
        assert key.encode() in [record[1] for record in tally.partition(tally.feedback, partition_of(key))]


def test_send_takes_many_compressed_events_in_their_order_with_the_present_time(tally: Tally, tmp_path: Path) -> None:
    count = 45_000  # more than may wait for their acknowledgement
    file = tmp_path / "events.jsonl.gz"
    with gzip.open(file, "wt", compresslevel=1) as lines:
        lines.writelines(
            json.dumps({"topic": tally.requests, "key": str(n % 100), "payload": str(n), "ts": 1}) + "\n"
            for n in range(count)
        )
    assert tally.says("send", "--now", file) == f"sent {count} events to 1 topic\n"
    seen: list[int] = []
    for number in range(PARTITIONS):
        records = tally.partition(tally.requests, number)
        values = [int(value or b"") for _, _, value, _ in records]
        assert values == sorted(values)
        assert all(moment > 1763710000000 for moment, *_ in records)
        seen += values
    assert sorted(seen) == list(range(count))


def test_send_ends_at_a_wrong_line_with_all_before_it_sent_and_nothing_after(tally: Tally) -> None:
    line = json.dumps({"topic": tally.requests, "key": "k", "payload": "p"}).encode() + b"\n"
    wrong = b'{"topic": "' + tally.requests.encode() + b'", "key": 1, "payload": "p"}\n'
    assert tally.refuses("send", "-", given=line * 3 + b"\n" + wrong + line * 2) == (
        'Line 5 of standard input has a "key" that is neither a text nor null; '
        "3 events were sent before it, nothing after it."
    )
    assert len(tally.records(tally.requests)) == 3
    assert "nothing was sent" in tally.refuses("send", "-", given=wrong + line)
    assert len(tally.records(tally.requests)) == 3


def test_send_ends_at_a_topic_that_does_not_exist(tally: Tally) -> None:
    lines = [{"topic": tally.requests, "key": "k", "payload": "p"}, {"topic": "nowhere", "key": "k", "payload": "p"}]
    given = "\n".join(map(json.dumps, lines)).encode()
    assert re.fullmatch(
        "Line 2 of standard input .*: Topic nowhere does not exist.*; 1 event was sent before it, nothing after it\\.",
        tally.refuses("send", "-", given=given),
    )
    assert len(tally.records(tally.requests)) == 1


def test_a_name_that_no_topic_can_have_is_one_sentence(kafka: servers.Kafka) -> None:
    tally, line = Tally(kafka.bootstrap), json.dumps({"key": "k", "payload": "p"}).encode()
    for name in ("", " ", "a b", "größe", "..", "a" * 250, "a,b", "a/b"):
        assert "opic" in tally.refuses("send", "--topic", name, "-", given=line)
        assert "opic" in tally.refuses("tail", "--topic", name)


def test_send_says_what_kafka_refuses(tally: Tally) -> None:
    line = json.dumps({"topic": tally.requests, "key": "k", "payload": "p" * 3_000_000}).encode()
    assert re.fullmatch(
        "Kafka refused line 1 of standard input.*MessageSizeTooLargeError.*; nothing was sent\\.",
        tally.refuses("send", "-", given=line),
    )


def test_send_ends_at_a_file_that_is_cut_off(tally: Tally, tmp_path: Path) -> None:
    file = tmp_path / "events.gz"
    lines = "".join(
        json.dumps({"topic": tally.requests, "key": uuid.uuid4().hex, "payload": "p"}) + "\n" for _ in range(5000)
    )
    whole = gzip.compress(lines.encode())
    file.write_bytes(whole[: len(whole) // 2])
    sentence = tally.refuses("send", file)
    found = re.fullmatch(r".* cannot be read \(.*\) after line (\d+); (\d+) events were sent before it, .*", sentence)
    assert found
    assert found[1] == found[2] == str(len(tally.records(tally.requests)))
    file.write_bytes(b"no gzip")
    assert re.fullmatch(r".* cannot be read \(.*\); nothing was sent\.", tally.refuses("send", file))


def test_the_events_of_a_pipe_are_sent_while_it_is_open(tally: Tally) -> None:
    line = json.dumps({"topic": tally.requests, "key": "21", "payload": "p"}).encode() + b"\n"
    command = [sys.executable, "-m", "app", "send", "-"]
    send = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=tally.environment())
    try:
        assert send.stdin is not None
        for offset in range(2):
            send.stdin.write(line)
            send.stdin.flush()
            assert asyncio.run(_value_at(tally.bootstrap, tally.requests, partition_of("21"), offset)) == b"p"
        assert send.poll() is None
        assert send.communicate(timeout=PATIENCE)[0] == b"sent 2 events to 1 topic\n"
    finally:
        send.kill()
        send.wait()


def test_send_shows_a_bar_on_a_terminal_alone(tally: Tally, tmp_path: Path) -> None:
    file = tmp_path / "events.jsonl"
    file.write_text(json.dumps({"topic": tally.requests, "key": "21", "payload": "p"}))
    master, terminal = os.openpty()
    shown: list[bytes] = []

    def read() -> None:
        """All the while: a terminal that nobody reads is full soon, and holds up who writes to it."""
        with contextlib.suppress(OSError):  # nobody has it open any more
            while piece := os.read(master, 65536):
                shown.append(piece)

    reading = threading.Thread(target=read)
    reading.start()
    try:
        command = [sys.executable, "-m", "app", "send", str(file)]
        environment = tally.environment() | {"TERM": "xterm", "COLUMNS": "200"}
        run = subprocess.run(
            command, env=environment, stdout=subprocess.PIPE, stderr=terminal, timeout=PATIENCE, check=True
        )
    finally:
        os.close(terminal)
        reading.join()
        os.close(master)
    assert run.stdout == b"sent 1 event to 1 topic\n"
    assert b"sending" in b"".join(shown)
    assert tally.run("send", file).stderr == b""


# -- feedback ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "puid", "content"),
    [
        (["--label", "1"], "21", {"truth": {"data": {"ndarray": [1]}}}),
        (["--label", "cat", "--label", "true"], "21", {"truth": {"data": {"ndarray": ["cat", True]}}}),
        (["--label", "0", "--row", "2"], "21-item-2", {"truth": {"data": {"ndarray": [0]}}}),
        (["--reward", "-0.5"], "21", {"reward": -0.5}),
        (["--null-label", "--null-reward"], "21", {"truth": None, "reward": None}),
    ],
)
def test_feedback_is_the_canonical_event(tally: Tally, options: list[str], puid: str, content: Any) -> None:
    leg = ["--namespace", "n", "--service", "s", "--endpoint", "e", "--model", "m", "--time", "2026-11-21T07:00:00Z"]
    number = partition_of("21")
    assert tally.says("feedback", "21", *options, *leg) == (
        f"sent feedback for {puid} to {tally.feedback}, partition {number}, offset 0\n"
    )
    ((_, key, value, pairs),) = tally.records(tally.feedback)
    headers = dict(pairs)
    assert (key, json.loads(value or b"")) == (b"21", content)
    assert headers.pop("ce_id")
    assert headers == {
        "ce_specversion": b"1.0",
        "ce_source": b"tally",
        "ce_type": b"io.seldon.serving.feedback",
        "ce_time": b"2026-11-21T07:00:00Z",
        "ce_requestid": puid.encode(),
        "ce_namespace": b"n",
        "ce_inferenceservicename": b"s",
        "ce_endpoint": b"e",
        "ce_modelid": b"m",
        "content-type": b"application/json",
    }


def test_feedback_is_not_sent_where_its_topic_does_not_exist(kafka: servers.Kafka) -> None:
    tally = Tally(kafka.bootstrap)
    assert tally.refuses("feedback", "p", "--label", "1") == (
        f"Topic {tally.feedback} does not exist: run `tally topics --create`."
    )


# -- topics and check -------------------------------------------------------------------------------------------------


def test_topics_are_created_once_and_as_the_yaml_says(kafka: servers.Kafka) -> None:
    tally = Tally(kafka.bootstrap)
    listed = {topic["name"]: topic for topic in yaml.safe_load(tally.says("topics", "--yaml"))["topics"]}
    assert "6 topics of 6 missing" in tally.says("topics")
    first = tally.says("topics", "--create").splitlines()
    assert first == [f"created {name}, {PARTITIONS} partitions" for name in listed]
    assert tally.says("topics", "--create").splitlines() == [line.replace("created", "exists ") for line in first]
    described = asyncio.run(_describe(kafka.bootstrap, list(listed)))
    assert {name: len(leaders) for name, leaders in described.items()} == dict.fromkeys(listed, PARTITIONS)
    assert all(leader >= 0 for leaders in described.values() for leader in leaders)
    shown = tally.says("topics")
    assert all(re.search(rf"^{name} +{PARTITIONS} +yes ", shown, re.MULTILINE) for name in listed)
    assert "missing" not in shown
    assert f"{tally.id}-0 to {tally.id}-{PARTITIONS - 1}" in shown


def test_topics_of_other_sizes_are_told_of_and_left_alone(kafka: servers.Kafka) -> None:
    tally = Tally(kafka.bootstrap)
    asyncio.run(_create(kafka.bootstrap, {tally.requests: 2, tally.feedback: 3}))
    sentence = f"Topic {tally.feedback} has 3 partitions and {tally.requests} has 2: all must have the same."
    assert tally.refuses("topics", "--create") == sentence
    assert tally.says("topics").endswith(f"{sentence}\n4 topics of 6 missing: run `tally topics --create`.\n")
    run = tally.run("check")
    *_, missing, size, verdict = run.stdout.decode().splitlines()
    assert missing.startswith(f"- Topics are missing ({tally.responses}, {tally.id}-exchanges, ")
    assert (size, verdict, run.returncode) == (f"- {sentence}", "Not fine: see above.", 2)


def test_topics_that_cannot_be_created_are_told_of(kafka: servers.Kafka) -> None:
    tally = Tally(kafka.bootstrap)
    assert re.fullmatch(
        f"Topic {tally.requests} cannot be created: InvalidReplicationFactorError .*\\.",
        tally.refuses("topics", "--create", REPLICATION="30"),
    )
    assert "TALLY_REQUEST_TOPIC" in tally.refuses("topics", "--create", REQUEST_TOPIC="a b")


def test_check_sees_brokers_topics_and_how_far_behind_the_group_is(tally: Tally) -> None:
    shown = tally.says("check")
    assert re.search(r"^Brokers: \S+:\d+", shown, re.MULTILINE)
    assert re.search(rf"^TALLY_APP_ID +{tally.id} +environment *$", shown, re.MULTILINE)
    assert re.search(rf"^{tally.id}-panes +{PARTITIONS} ", shown, re.MULTILINE)
    assert f"{tally.id}, not there yet: no worker has run\n" in shown
    assert shown.endswith("\nFine: a worker finds all that it needs.\n")
    line = json.dumps({"topic": tally.requests, "key": "21", "payload": "p"}).encode() + b"\n"
    tally.says("send", "-", given=line * 3)
    tally.says("feedback", "foobar", "--label", "1")
    asyncio.run(_commit(tally.bootstrap, tally.id, TopicPartition(tally.requests, partition_of("21")), 1))
    behind = f"3 events behind ({tally.requests} 2, {tally.responses} 0, {tally.feedback} 1)"
    assert f"{tally.id}, Empty, 0 members; {behind}\n" in tally.says("check")


def test_check_and_topics_tell_of_sources_that_do_not_exist(tally: Tally) -> None:
    sources = f"{tally.id}-nowhere,{tally.requests}x.*"
    for shown in (tally.says("check", INTAKE_TOPICS=sources), tally.says("topics", "--create", INTAKE_TOPICS=sources)):
        (line,) = (line for line in shown.splitlines() if "does not exist" in line)
        assert f"Topic {tally.id}-nowhere of TALLY_INTAKE_TOPICS does not exist" in line
    assert f"{tally.id}-nowhere" not in asyncio.run(_topics(tally.bootstrap))
    asyncio.run(_create(tally.bootstrap, {f"{tally.id}-nowhere": 3}))
    created = tally.says("topics", "--create", INTAKE_TOPICS=sources)
    assert f"source  {tally.id}-nowhere, 3 partitions\n" in created
    assert f"reads {tally.id}-nowhere (3 partitions)\n" in tally.says("check", INTAKE_TOPICS=sources)
    assert "does not exist" not in created


def test_check_counts_what_was_refused_and_says_where_nobody_works(tally: Tally) -> None:
    shown = tally.says("check")
    assert f"Refused: nothing in {tally.id}-dead-letters\n" in shown
    assert "Worker:  none runs: start one with `tally worker`\n" in shown
    letters = [
        {"topic": f"{tally.id}-dead-letters", "key": str(n), "payload": "x", "headers": ["reason", reason]}
        for n, reason in enumerate(["bad-json"] * 3 + ["no-puid", "made-up"])
    ]
    tally.says("send", "-", given="\n".join(map(json.dumps, letters)).encode())
    assert (
        f"Refused: 5 in {tally.id}-dead-letters (bad-json 3, no-puid 1, of no reason that Tally gives 1); see "
        "`tally dead-letters list`\n"
    ) in tally.says("check")


def test_check_says_how_many_predictions_are_older_than_the_documents(
    tally: Tally, elasticsearch: servers.Elasticsearch
) -> None:
    tally.settings |= {"ELASTICSEARCH_URL": elasticsearch.url, "LOG_TOPIC": f"{tally.id}-log"}
    tally.says("topics", "--create")
    request = {"topic": tally.requests, "key": "21", "payload": "p"}
    line = json.dumps(request).encode() + b"\n"
    older = json.dumps(request | {"ts": int((time.time() - 1200) * 1000)}).encode() + b"\n"
    tally.says("send", "-", given=older * 3 + line)  # the last one may well have a joined record
    assert "joined records began" not in tally.says("check")
    joined = json.dumps({"topic": f"{tally.id}-log", "key": "21", "payload": "{}"}).encode()
    time.sleep(0.01)
    tally.says("send", "-", given=joined)
    tally.says("send", "-", given=line * 2)
    found = re.search(
        rf"^Note:    (\d) requests in {tally.requests} came before the joined records began \(2.* UTC\): ",
        tally.run("check").stdout.decode(),
        re.MULTILINE,
    )
    assert found
    assert found[1] == "3"


def test_check_says_what_to_start_where_elasticsearch_is_away(tally: Tally) -> None:
    away = f"http://127.0.0.1:{servers.free_port()}"
    tally.settings |= {"ELASTICSEARCH_URL": away, "LOG_TOPIC": f"{tally.id}-log"}
    tally.says("topics", "--create")
    run = tally.run("check")
    assert run.returncode == 2
    (problem,) = (line for line in run.stdout.decode().splitlines() if line.startswith("- "))
    assert problem.startswith(f"- Elasticsearch at {away} cannot be reached (")
    assert problem.endswith("). Start it, or set TALLY_ELASTICSEARCH_URL to where it is.")


# -- a broker that creates topics by itself, and asks who is there ----------------------------------------------------


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[servers.Kafka, str]]:
    """A broker with automatic topics, free to all at its own address, and the address where it asks for a password."""
    port, controller, client = (servers.free_port() for _ in range(3))
    host = servers.HOST
    login = "org.apache.kafka.common.security.plain.PlainLoginModule required"
    users = " ".join(f'user_{user}="{user}-password"' for user in ("worker", "sender", "operator", "stranger"))
    overrides = {
        "auto.create.topics.enable": "true",
        "listeners": f"PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller},CLIENT://{host}:{client}",
        "advertised.listeners": f"PLAINTEXT://{host}:{port},CLIENT://{host}:{client}",
        "controller.quorum.voters": f"1@{host}:{controller}",
        "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,CLIENT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.client.plain.sasl.jaas.config": f"{login} {users};",
        "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
        "super.users": "User:ANONYMOUS",
    }
    with servers.kafka(tmp_path_factory.mktemp("guarded"), port=port, own=True, overrides=overrides) as server:
        try:
            socket.create_connection((host, client), timeout=5).close()
        except OSError:
            pytest.skip("the broker runs in a container, which publishes one port, and this needs two")
        yield server, f"{host}:{client}"


def test_looking_creates_nothing_even_where_brokers_create_by_themselves(guarded: tuple[servers.Kafka, str]) -> None:
    tally = Tally(guarded[0].bootstrap)
    tally.says("topics")
    assert tally.run("check").returncode == 2
    tally.refuses("feedback", "p", "--label", "1")
    tally.refuses("send", "-", given=json.dumps({"topic": tally.requests, "payload": "p"}).encode())
    tally.refuses("topics", "--create", REPLICATION="30")
    assert [name for name in asyncio.run(_topics(tally.bootstrap)) if name.startswith(tally.id)] == []
    tally.says("topics", "--create")
    described = asyncio.run(_describe(tally.bootstrap, [tally.requests, f"{tally.id}-panes"]))
    assert [len(leaders) for leaders in described.values()] == [PARTITIONS, PARTITIONS]


def test_the_rights_that_topics_lists_are_enough_and_needed(guarded: tuple[servers.Kafka, str]) -> None:
    server, address = guarded
    tally = Tally(server.bootstrap)
    worker, sender, operator, stranger = (
        tally.as_user(user, address) for user in ("worker", "sender", "operator", "stranger")
    )
    _allow(server.bootstrap, yaml.safe_load(tally.says("topics", "--yaml"))["acls"])
    line = json.dumps({"topic": tally.requests, "key": "21", "payload": "p"}).encode()
    letter = json.dumps({"topic": f"{tally.id}-dead-letters", "key": "21", "payload": "p"}).encode()

    worker.says("topics", "--create")
    assert sender.says("send", "-", given=line) == "sent 1 event to 1 topic\n"
    sender.says("feedback", "21", "--label", "1")
    assert "not there yet" in worker.says("check")
    tally.says("send", "-", given=letter)
    assert "Refused: not known (" in worker.says("check")  # a worker writes them and need not read them

    assert "is forbidden here" in stranger.refuses("topics", "--create")
    assert "may write nothing there" in stranger.refuses("send", "-", given=line)
    assert "is forbidden here" in stranger.refuses("feedback", "21", "--label", "1")
    assert "is forbidden here" in sender.refuses("send", "-", given=letter)
    assert "is forbidden here" in sender.refuses("dead-letters", "list")

    headers = ["ce_type", "io.seldon.serving.feedback", "reason", "too-large", "origin-topic", tally.feedback]
    refused = {"topic": f"{tally.id}-dead-letters", "key": "21", "payload": '{"reward": 1}', "headers": headers}
    tally.says("send", "-", given="".join(json.dumps(refused) + "\n" for _ in range(3)).encode())
    assert worker.refuses("dead-letters", "resend") == (
        f"This user of {address} may not read {tally.id}-dead-letters: `tally topics` lists the ACLs that are needed."
    )
    assert operator.says("dead-letters", "resend") == "3 letters were sent back\n"
    assert operator.says("dead-letters", "drop", "--reason", "too-large", "--yes").startswith("dropped 0 letters\n")
    assert operator.says("dead-letters", "drop", "--all", "--yes") == "deleted 3 letters\n"
    assert re.fullmatch(
        f"{address} refuses the user 'worker' \\(.*\\): check TALLY_KAFKA_SASL_USERNAME, .*\\.",
        worker.refuses("topics", "--create", KAFKA_SASL_PASSWORD="wrong"),  # noqa: S106
    )
    assert worker.refuses("topics", "--create", KAFKA_SASL_MECHANISM="SCRAM-SHA-256") == (
        f"{address} does not take the mechanism SCRAM-SHA-256: set TALLY_KAFKA_SASL_MECHANISM to one that it takes."
    )
    assert tally.refuses("topics", "--create", KAFKA_BOOTSTRAP_SERVERS=address) == (
        f"{address} is a Kafka broker that hangs up on a client without a user: set "
        "TALLY_KAFKA_SECURITY_PROTOCOL=SASL_PLAINTEXT, TALLY_KAFKA_SASL_MECHANISM, …_USERNAME and …_PASSWORD."
    )


def partition_of(key: str) -> int:
    return (HASHES[key] & 0x7FFFFFFF) % PARTITIONS


def _allow(bootstrap: str, acls: list[dict[str, Any]]) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    bindings = [
        AclBinding(
            RESOURCES[acl["resource"]],
            acl["name"],
            ResourcePatternType[acl["pattern"].upper()],
            f"User:{acl['role']}",
            "*",
            AclOperation[re.sub("(?<=[a-z])(?=[A-Z])", "_", operation).upper()],
            AclPermissionType.ALLOW,
        )
        for acl in acls
        for operation in acl["operations"] + acl.get("operations_to_create", [])
    ]
    for done in admin.create_acls(bindings).values():
        done.result(30)


async def _read(bootstrap: str, topic: str, number: int) -> list[Record]:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        tp = TopicPartition(topic, number)
        consumer.assign([tp])
        end = (await consumer.end_offsets([tp]))[tp]
        records: list[Record] = []
        while await consumer.position(tp) < end:
            batch = (await consumer.getmany(timeout_ms=1000)).get(tp, [])
            records += [(record.timestamp, record.key, record.value, list(record.headers)) for record in batch]
        return records


async def _value_at(bootstrap: str, topic: str, number: int, offset: int) -> bytes:
    """The value of a record, once it is there."""
    async with asyncio.timeout(PATIENCE), AIOKafkaConsumer(bootstrap_servers=bootstrap) as consumer:
        tp = TopicPartition(topic, number)
        consumer.assign([tp])
        consumer.seek(tp, offset)
        return bytes((await consumer.getone()).value)


async def _commit(bootstrap: str, group: str, tp: TopicPartition, offset: int) -> None:
    consumer = AIOKafkaConsumer(bootstrap_servers=bootstrap, group_id=group, enable_auto_commit=False)
    async with consumer:
        consumer.assign([tp])
        await consumer.commit({tp: OffsetAndMetadata(offset, "")})


@contextlib.asynccontextmanager
async def _admin(bootstrap: str) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()


async def _create(bootstrap: str, topics: dict[str, int]) -> None:
    async with _admin(bootstrap) as admin:
        await admin.create_topics([NewTopic(name, count, 1) for name, count in topics.items()])


async def _describe(bootstrap: str, names: list[str]) -> dict[str, list[int]]:
    """The leaders of the partitions of each topic."""
    async with _admin(bootstrap) as admin:
        described = await admin.describe_topics(names)
    return {topic["topic"]: [partition["leader"] for partition in topic["partitions"]] for topic in described}


async def _topics(bootstrap: str) -> list[str]:
    async with _admin(bootstrap) as admin:
        return list(await admin.list_topics())
