"""A replay of all events, and the proof that a worker's counts are right: the commands themselves, as a whole."""

import json
import os
import resource
import subprocess
import sys
import time
from typing import Final, NamedTuple

import psutil

from tests.bench.load import Topics
from tests.bench.table import RATE, Row
from tests.bench.tally_runs import Tally

REPLAY: Final = "replay, two processes"
VERIFY: Final = "verify, two processes"
_LOOK_SECONDS: Final = 0.2


class Done(NamedTuple):
    """A command that has ended: what it printed, how long it took, and the CPU time and memory of its processes."""

    printed: str
    seconds: float
    cpu_seconds: float
    most_bytes: int


def replay(tally: Tally) -> list[Row]:
    """All events of the ordinary load."""
    done = run(tally.topics, f"{tally.bench.prefix}-replay", "replay", "--format", "json", "--processes", "2")
    events = json.loads(done.printed)["events"]
    return [
        Row(REPLAY, events / done.seconds, RATE),
        Row(f"{REPLAY}: CPU", done.cpu_seconds / events * 1e6, "µs/event"),
        Row(f"{REPLAY}: most resident memory", done.most_bytes / 1e6, "MB"),
    ]


def verify(tally: Tally) -> list[Row]:
    """The state of a worker that has counted everything."""
    done = run(tally.topics, tally.filled_app(), "verify", "--processes", "2")
    if "difference 0" not in done.printed:
        raise RuntimeError(done.printed)
    return [
        Row(VERIFY, done.seconds, "s"),
        Row(f"{VERIFY}: exchanges", tally.topics.puids / done.seconds, "exchanges/s"),
        Row(f"{VERIFY}: CPU", done.cpu_seconds / tally.topics.puids * 1e6, "µs/exchange"),
        Row(f"{VERIFY}: most resident memory", done.most_bytes / 1e6, "MB"),
    ]


def run(topics: Topics, app_id: str, *words: str) -> Done:
    """Run a command, and watch all its processes."""
    names = ("REQUEST", "RESPONSE", "FEEDBACK")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")} | {
        "TALLY_KAFKA_BOOTSTRAP_SERVERS": topics.bootstrap,
        "TALLY_APP_ID": app_id,
        **{f"TALLY_{name}_TOPIC": topic for name, topic in zip(names, topics.names, strict=True)},
    }
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    command = [sys.executable, "-m", "app", *words]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        most = 0
        while True:
            try:
                printed, _ = process.communicate(timeout=_LOOK_SECONDS)
                break
            except subprocess.TimeoutExpired:
                most = max(most, _memory(psutil.Process(process.pid)))
    seconds = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"`tally {' '.join(words)}` ended with {process.returncode}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Done(printed, seconds, cpu, most)


def _memory(process: psutil.Process) -> int:
    """The resident bytes of a process and of all that it has started."""
    found = 0
    for one in (process, *process.children(recursive=True)):
        try:
            found += one.memory_info().rss
        except psutil.NoSuchProcess:
            continue  # it has ended meanwhile
    return found
