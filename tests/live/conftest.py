"""The servers of a test run, each started when the first test asks for it; what is missing skips, in CI it fails."""

import os
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.certificates import Certificates, make
from tests.live import seeds, servers
from tests.live.faults.ledger import Entry, Held, table
from tests.live.sharing import shared


def pytest_report_header() -> list[str]:
    return seeds.header()


def pytest_terminal_summary(terminalreporter: Any) -> None:
    reports = [it for kind in ("passed", "failed") for it in terminalreporter.stats.get(kind, ())]
    told = [(it.nodeid, name, value) for it in reports for name, value in it.user_properties]
    faults = [value for _, name, value in told if name == "fault"]
    if faults:
        terminalreporter.section("faults, and what differs from a brute-force count after them")
        terminalreporter.write("\n".join([*table(Entry, faults), ""]))
    seconds = [(what, value) for _, name, values in told if name == "seconds" for what, value in values]
    if seconds:
        terminalreporter.section("seconds")
        terminalreporter.write("".join(f"{value:6.1f}  {what}\n" for what, value in seconds))
    for test, name, hours in told:
        if name == "day":
            terminalreporter.section(f"what a worker holds: {test}")
            terminalreporter.write("\n".join([*table(Held, hours), ""]))


@pytest.fixture(scope="session")
def of_the_run(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of the run have, of which pytest-xdist starts several."""
    own = tmp_path_factory.getbasetemp()
    return own if worker_id == "master" else own.parent


@pytest.fixture(scope="session")
def kafka(of_the_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Kafka]:
    """The broker that the whole run shares: name topics and groups for your test alone."""

    @contextmanager
    def started() -> Iterator[str]:
        with servers.kafka(tmp_path_factory.mktemp("kafka")) as server:
            yield server.bootstrap

    with shared(of_the_run, "kafka", started()) as address:
        yield servers.Kafka(address, None, lambda: True)


@pytest.fixture(scope="session")
def elasticsearch(of_the_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[servers.Elasticsearch]:
    """The node that the whole run shares: name indices for your test alone."""

    @contextmanager
    def started() -> Iterator[str]:
        with servers.elasticsearch(tmp_path_factory.mktemp("elasticsearch")) as server:
            yield server.url

    with shared(of_the_run, "elasticsearch", started()) as address:
        yield servers.Elasticsearch(address, None, lambda: True)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    servers.binary("openssl", package="openssl")
    return make(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="session")
def secure_elasticsearch(
    certificates: Certificates, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[servers.Elasticsearch]:
    """A node that speaks TLS and asks for credentials, shared as the other one is."""
    folder = tmp_path_factory.mktemp("secure-elasticsearch")
    with servers.elasticsearch(folder, security=True, shown=certificates) as server:
        yield server


@pytest.fixture
def own_kafka(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., servers.Kafka]]:
    """Start brokers for this test alone, which it may stop and kill; takes what servers.kafka takes."""
    with ExitStack() as stack:
        yield lambda **options: stack.enter_context(
            servers.kafka(tmp_path_factory.mktemp("own-kafka"), own=True, **options)
        )


@pytest.fixture(scope="session")
def prometheus_binary() -> str:
    return servers.binary("prometheus", package="prometheus")


@pytest.fixture(scope="session")
def chromium_binary() -> str:
    return servers.binary("chromium", package="chromium")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, Any, Any]:
    try:
        return (yield)
    except servers.Missing as missing:
        if os.environ.get("CI") == "true":
            raise pytest.fail.Exception(str(missing), pytrace=False) from None
        raise pytest.skip.Exception(str(missing)) from None


pytest_runtest_call = pytest_runtest_setup
