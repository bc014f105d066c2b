"""Runs the peers, one at a time, each in a process of its own."""

import functools
import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.bench.load import Topics
from tests.bench.table import KAFKA_STREAMS, PLAIN_FAUST, RATE, Row

ROOT: Final = Path(__file__).resolve().parents[2]
SOURCES: Final = Path(__file__).parent / "peers"


class NotInstalled(Exception):  # noqa: N818  (a peer that cannot be had is no bug)
    """A peer cannot run here; the text says what to install."""


@dataclass(frozen=True, slots=True)
class Peer:
    """How one peer is started, and how many events it is given at the most: the slow ones get a part of them."""

    figure: str
    command: Callable[[Path], list[str]]
    mode: tuple[str, ...] = ()
    events_max: int = sys.maxsize


def run(name: str, topics: Topics, app_id: str, folder: Path) -> list[Row]:
    """One peer from the beginning of the topics; raises where it cannot run or ends without a figure."""
    peer = PEERS[name]
    events = min(topics.events, peer.events_max)
    arguments = [topics.bootstrap, *topics.names, str(events), str(topics.partitions), app_id, *peer.mode]
    ended = subprocess.run(
        [*peer.command(folder), *arguments],
        cwd=ROOT,
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120 + events / 1000,
    )
    figures = [line.split() for line in ended.stdout.splitlines() if line.startswith(f"{name} ")]
    if ended.returncode or not figures:
        said = (ended.stderr.strip() or ended.stdout.strip() or "nothing").splitlines()[-1]
        raise RuntimeError(f"it ended with exit code {ended.returncode} and said: {said}")
    return [Row(peer.figure, float(figures[0][1]), RATE)]


def java(folder: Path) -> list[str]:
    """The command of the Kafka Streams peer, whose state goes below the folder."""
    target = build() / "target"
    return ["java", f"-Djava.io.tmpdir={folder}", "-cp", f"{target / 'classes'}:{target / 'libs'}/*", "JoinPeer"]


def build() -> Path:
    """The built Kafka Streams peer in the cache; Maven builds it there once for each state of its sources."""
    if not (shutil.which("javac") and shutil.which("mvn")):
        raise NotInstalled("install a JDK (17 or newer) and Maven")
    sources = SOURCES / "kafka_streams"
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in sorted(sources.iterdir()) if file.is_file()))
    cache = Path(os.environ.get("TALLY_TEST_CACHE") or Path.home() / ".cache/tally-tests")
    built = cache / f"kafka-streams-peer-{digest.hexdigest()[:12]}"
    if not built.exists():
        cache.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            project = Path(shutil.copytree(sources, Path(scratch) / built.name))
            goals = ["compile", "dependency:copy-dependencies", "-DoutputDirectory=target/libs"]
            maven = ["mvn", "-q", "-B", *goals]
            ended = subprocess.run(maven, cwd=project, capture_output=True, text=True, check=False)
            if ended.returncode:
                said = next(iter(ended.stdout.strip().splitlines()), "nothing")
                raise RuntimeError(f"Maven could not build it and said: {said}")
            project.rename(built)
    return built


def python(name: str, needs: str, _folder: Path) -> list[str]:
    """The command of a peer that is a module beside this one."""
    if importlib.util.find_spec(needs) is None:
        raise NotInstalled(f"install {needs}: pip install -e '.[bench]'")
    return [sys.executable, "-m", f"tests.bench.peers.{name}"]


PEERS: Final = {
    "kafka-streams": Peer(KAFKA_STREAMS, java),
    "kafka-streams-exactly-once": Peer("Kafka Streams, exactly_once_v2", java, mode=("exactly_once_v2",)),
    "kafka-streams-rocksdb": Peer("Kafka Streams, RocksDB", java, mode=("at_least_once", "rocksdb")),
    "kafka-streams-exactly-once-rocksdb": Peer(
        "Kafka Streams, exactly_once_v2, RocksDB", java, mode=("exactly_once_v2", "rocksdb")
    ),
    "quix": Peer("Quix Streams", functools.partial(python, "quix", "quixstreams")),
    "plain-faust": Peer(PLAIN_FAUST, functools.partial(python, "plain_faust", "faust"), events_max=90_000),
}
