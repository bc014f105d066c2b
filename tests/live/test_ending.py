"""The dead man's view: a part that fails ends the worker with one line of its log and exit code 3, whatever it is."""

import os
import re
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.live.servers import Kafka, free_port
from tests.live.workers import Fleet, topic_settings, wait_for
from tests.patience import PATIENCE

#: Break one part, then run the worker.
_RUN = """
import asyncio, sys
from app.worker.kafka.group import GroupReader
from app.worker.kafka.membership import DeclaredTables, Member
from app.worker.lane.feed import Feed
from app.worker.run import run_worker

async def broken(*_, **__): raise {error}

{part} = broken
sys.exit(run_worker())
"""


@pytest.mark.parametrize(
    ("part", "error", "said"),
    [
        ("Feed.run", "ValueError('a stray\\nrecord')", "the feed of the counts ended (ValueError: a stray record)"),
        ("Member.start", "RuntimeError('no member')", "a part of Faust ended (RuntimeError: no member)"),
        ("DeclaredTables.on_rebalance", "KeyError(1)", "a part of Faust ended (KeyError: 1)"),
        ("GroupReader._run", "asyncio.CancelledError", "the intake ended (without an error)"),
    ],
    ids=["a task of the worker", "Faust's thread", "a rebalance", "a task that is cancelled"],
)
def test_a_part_that_fails_ends_the_worker_with_one_line(kafka: Kafka, part: str, error: str, said: str) -> None:
    settings = topic_settings(kafka.bootstrap, f"ending-{uuid.uuid4().hex[:8]}")
    settings |= {"PARTITIONS": "2", "INTAKE_TOPICS": f"{settings['APP_ID']}-logs", "WEB_PORT": str(free_port())}
    admin = AdminClient({"bootstrap.servers": kafka.bootstrap})
    admin.create_topics([NewTopic(settings["INTAKE_TOPICS"], 1)])[settings["INTAKE_TOPICS"]].result(30)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}
    done = subprocess.run(
        [sys.executable, "-c", _RUN.format(part=part, error=error)],
        env=environment | {f"TALLY_{name}": value for name, value in settings.items()},
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if " INFO " not in line]
    assert (done.returncode, len(lines)) == (3, 1), done.stderr
    assert f" CRITICAL app.worker.ending {said}: this worker stops" in lines[0]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_the_first_line_says_what_starts_and_the_last_why_it_stopped(
    kafka: Kafka, tmp_path: Path, number: signal.Signals
) -> None:
    settings = topic_settings(kafka.bootstrap, f"ending-{uuid.uuid4().hex[:8]}") | {"PARTITIONS": "2"}
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("it is ready", worker.ready)
        worker.signal(number)
        assert worker.process.wait(PATIENCE) == 0
    lines = [line for line in worker.log.read_text().splitlines() if " app." in line]
    assert re.search(
        rf"INFO \S+ Tally \S+ starts: application id {settings['APP_ID']}, brokers {kafka.bootstrap} \(PLAINTEXT\), at "
        rf"{worker.url}$",
        lines[0],
    )
    assert re.search(rf"INFO \S+ Tally has stopped by {number.name} after \d+ s$", lines[-1])
