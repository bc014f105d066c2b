"""`tally demo --only-traffic`: the demo's traffic for workers that run already, and a sentence where there are none."""

import re
import subprocess
import uuid
from pathlib import Path

from app.core.outputs.series import INFO
from tests.live.forked import run_text
from tests.live.servers import Kafka, free_port
from tests.live.workers import Fleet, Worker, topic_settings, wait_for


def only_traffic(settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return run_text(settings, "demo", "--only-traffic", "--seconds", "3")


def versions(worker: Worker) -> set[tuple[str, ...]]:
    """The models of which a version is known."""
    names = ("model_service", "model", "model_version")
    found = {tuple(dict(labels)[each] for each in names) for _, labels in worker.series(INFO.name)}
    return {model for model in found if model[-1]}


def test_workers_that_run_count_it(kafka: Kafka, tmp_path: Path) -> None:
    settings = topic_settings(kafka.bootstrap, f"traffic-{uuid.uuid4().hex[:8]}") | {"PARTITIONS": "2"}
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start()
        wait_for("it is ready", worker.ready)
        done = only_traffic(settings)
        assert done.returncode == 0, done.stderr
        sent = re.search(r"^([\d,]+) events were sent\.$", done.stdout, re.MULTILINE)
        assert sent
        wanted = int(sent[1].replace(",", ""))
        assert wanted > 100
        wait_for("all is read", lambda: fleet.total("tally_events_total") == wanted)
        # What was asked last may never be answered, and has no version then.
        wait_for("its four models stand", lambda: len(versions(worker)) == 4)


def test_what_is_missing_is_named(kafka: Kafka) -> None:
    nowhere = f"127.0.0.1:{free_port()}"
    settings = topic_settings(kafka.bootstrap, "traffic-without-topics")
    for given, sentence in (
        ({}, "name their broker in TALLY_KAFKA_BOOTSTRAP_SERVERS"),
        ({"KAFKA_BOOTSTRAP_SERVERS": nowhere}, f"No Kafka broker answers at {nowhere}"),
        (settings, "There is no topic traffic-without-topics-requests"),
    ):
        done = only_traffic(given)
        assert done.returncode == 2
        assert sentence in done.stderr
        assert "Traceback" not in done.stderr
