"""The servers start, answer, stop and leave no process behind."""

import asyncio
import base64
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from tests.live import servers
from tests.live.services import ELASTICSEARCH_PORT, KAFKA_PORT, port_or_free
from tests.live.workers import wait_for
from tests.patience import PATIENCE

TOPIC = "test-servers"
# Starts a server that is only a sleep, with a child, says its process group and waits to be killed.
DOOMED = """
import sys, time
from pathlib import Path
from tests.live.servers import Launch, Server
server = Server("nowhere", Launch(["sh", "-c", "sleep 3600 & sleep 3600"], Path(sys.argv[1])), lambda: True)
server.start()
print(server.pid, flush=True)
time.sleep(3600)
"""


def test_kafka_keeps_its_records_over_a_stop_and_a_kill(own_kafka: Callable[..., servers.Kafka]) -> None:
    broker = own_kafka(overrides={"message.max.bytes": "2000000"})
    asyncio.run(_create(broker.bootstrap))
    asyncio.run(_produce(broker.bootstrap, b"one"))
    first = broker.pid
    broker.stop()
    assert not _lives(first)
    with pytest.raises(ProcessLookupError):
        _ = broker.pid
    broker.start()
    asyncio.run(_produce(broker.bootstrap, b"two"))
    second = broker.pid
    broker.kill()
    assert not _lives(second)
    broker.start()
    assert asyncio.run(_consume(broker.bootstrap, 2)) == [b"one", b"two"]


def test_elasticsearch_gives_back_a_document_after_a_restart(tmp_path: Path) -> None:
    with servers.elasticsearch(tmp_path, own=True) as node:
        _http(node, "PUT", "/things/_doc/1?refresh=true", {"colour": "green"})
        first = node.pid
        node.stop()
        assert not _lives(first)
        node.start()
        assert _http(node, "GET", "/things/_doc/1")["_source"] == {"colour": "green"}
        second = node.pid
    assert not _lives(second)


def test_elasticsearch_with_security_wants_the_password(tmp_path: Path) -> None:
    with servers.elasticsearch(tmp_path, security=True) as node:
        assert _http(node, "GET", "/_security/_authenticate")["username"] == "elastic"
        node.password = None
        with pytest.raises(urllib.error.HTTPError, match="401"):
            _http(node, "GET", "/_security/_authenticate")


def test_prometheus_scrapes_itself(tmp_path: Path, prometheus_binary: str) -> None:
    port = servers.free_port()
    target = f"127.0.0.1:{port}"
    config = {
        "global": {"scrape_interval": "1s"},
        "scrape_configs": [{"job_name": "self", "static_configs": [{"targets": [target]}]}],
    }
    with servers.prometheus(tmp_path, json.dumps(config), port=port) as server:
        up = [({"__name__": "up", "instance": target, "job": "self"}, 1.0)]  # not so if its first scrape takes too long
        wait_for("it has scraped itself", lambda: servers.query(server.url, "up") == up)
        pid = server.pid
    assert not _lives(pid)


def test_the_servers_of_a_killed_run_die_with_it(tmp_path: Path) -> None:
    run = subprocess.Popen([sys.executable, "-c", DOOMED, tmp_path / "log"], stdout=subprocess.PIPE, text=True)
    assert run.stdout is not None
    pid = int(run.stdout.readline())
    assert _lives(pid)
    run.kill()
    run.communicate()
    wait_for("all of it has ended", lambda: not _lives(pid))


def test_a_server_named_in_the_environment_is_left_alone(
    kafka: servers.Kafka, tmp_path: Path, monkeypatch: Any
) -> None:
    monkeypatch.setenv("TALLY_TEST_BROKER", kafka.bootstrap)
    with servers.kafka(tmp_path) as named:
        assert named.bootstrap == kafka.bootstrap
        for act in (named.start, named.stop, named.kill, lambda: named.pid):
            with pytest.raises(servers.Missing, match="neither starts nor stops"):
                act()
    monkeypatch.setenv("TALLY_TEST_BROKER", f"127.0.0.1:{servers.free_port()}")
    with pytest.raises(servers.Missing, match="does not answer"), servers.kafka(tmp_path):
        pass


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """One that every user may enter: Elasticsearch is not run by root."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_services_print_what_can_be_pasted_and_leave_nothing(open_folder: Path, number: signal.Signals) -> None:
    """On Ctrl-C both, on SIGTERM one alone; on their usual ports where these are free."""
    only = () if number == signal.SIGINT else ("--only", "kafka")
    command = [sys.executable, "-m", "tests.live.services", *only]
    run = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env={**os.environ, "TMPDIR": str(open_folder)})
    assert run.stdout is not None
    first, *exports = _until_up(run.stdout)
    run.send_signal(number)
    rest, _ = run.communicate(timeout=PATIENCE)
    assert (rest, run.returncode) == ("# stopped\n", 0)
    assert first.startswith("# Starting Kafka ")
    settings = dict(line.removeprefix("export ").split("=", 1) for line in exports)
    names = ["TALLY_KAFKA_BOOTSTRAP_SERVERS", "TALLY_TEST_BROKER"]
    names += [] if only else ["TALLY_ELASTICSEARCH_URL", "TALLY_TEST_ELASTICSEARCH"]
    assert [*settings] == names
    ports = {int(value.rpartition(":")[2]) for value in settings.values()}
    for port in (KAFKA_PORT,) if only else (KAFKA_PORT, ELASTICSEARCH_PORT):
        assert port in ports or port_or_free(port) != port  # somebody else's
    for port in ports:
        assert port_or_free(port) == port
    assert list(open_folder.iterdir()) == []


def _until_up(printed: IO[str]) -> Iterator[str]:
    """The lines before the one that says that all is up."""
    for line in printed:
        if line.startswith("# Up after"):
            return
        yield line.rstrip("\n")


def test_a_port_that_is_taken_is_left_to_whoever_has_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        other = port_or_free(port)
        assert other != port
        assert port_or_free(other) == other


async def _create(bootstrap: str) -> None:
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(TOPIC, num_partitions=1, replication_factor=1)])
    finally:
        await admin.close()


async def _produce(bootstrap: str, value: bytes) -> None:
    async with AIOKafkaProducer(bootstrap_servers=bootstrap) as producer:
        await producer.send_and_wait(TOPIC, value)


async def _consume(bootstrap: str, count: int) -> list[bytes]:
    async with AIOKafkaConsumer(bootstrap_servers=bootstrap, auto_offset_reset="earliest") as consumer:
        consumer.assign([TopicPartition(TOPIC, 0)])
        return [(await asyncio.wait_for(consumer.getone(), PATIENCE)).value for _ in range(count)]


def _http(node: servers.Elasticsearch, method: str, path: str, body: dict[str, str] | None = None) -> Any:
    headers = {"Content-Type": "application/json"}
    if node.password:
        headers["Authorization"] = "Basic " + base64.b64encode(f"elastic:{node.password}".encode()).decode()
    data = json.dumps(body).encode() if body else None
    request = urllib.request.Request(node.url + path, data, headers, method=method)  # noqa: S310
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(request, timeout=PATIENCE) as reply:
        return json.load(reply)


def _lives(group: int) -> bool:
    """Whether a process of this group is left."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group, 0)
        return True
    return False
