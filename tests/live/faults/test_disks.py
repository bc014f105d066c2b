"""Exchanges on disk, with real workers: killed in the middle, restarted on their own folder, on another's, on none, and
with a disk that is full.
"""

import resource
import shutil
import threading
import time
import uuid
from functools import partial
from pathlib import Path

from tests.live.faults.trial import Record
from tests.live.seeds import seed
from tests.live.servers import Kafka
from tests.live.story import expected, traffic
from tests.live.test_exactness import COMMON
from tests.live.workers import Fleet, Worker, assert_counts, produce, topic_settings
from tests.soak import SOAK

PUIDS = 200_000 if SOAK else 12_000


def settings_for(kafka: Kafka) -> dict[str, str]:
    settings = topic_settings(kafka.bootstrap, f"disk-{uuid.uuid4().hex[:8]}") | COMMON
    return settings | {"PARTITIONS": "2", "STORE": "rocksdb", "STORE_MEMORY": "4MiB"}


def test_kills_and_restarts_on_every_sort_of_folder(kafka: Kafka, tmp_path: Path) -> None:
    """What is counted is that of a quiet pass, and a restart reads of the changelog what is new alone."""
    events = traffic(PUIDS, seed(31))
    wanted = expected(events)
    settings = settings_for(kafka)
    one, other = tmp_path / "one", tmp_path / "other"
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start(DATA_DIR=str(one))
        fleet.wait_for("the worker is ready", worker.ready)
        producer = threading.Thread(target=produce, args=(settings, events, len(events) / 14))
        producer.start()
        for folder in (one, other, one):
            worker = kill_and_start(fleet, worker, folder, producer)
        worker.stop()
        swap_partitions(one / settings["APP_ID"])
        worker = kill_and_start(fleet, worker, one, producer)
        assert worker.log.read_text().count("is built anew from") == 2
        fleet.wait_for("the folder is gone", partial(remove, one))  # under its feet
        producer.join()
        assert_counts(fleet, wanted)
        fleet.stop()
        none_yet = tmp_path / "none yet"
        fleet.start(DATA_DIR=str(none_yet))
        assert_counts(fleet, wanted)
        before = fleet.total("tally_recovered_records")
        fleet.stop()
        worker = fleet.start(DATA_DIR=str(none_yet))
        assert_counts(fleet, wanted)
        assert fleet.total("tally_recovered_records") < before / 2
        assert "built anew" not in worker.log.read_text()


def test_a_standby_takes_over_and_reads_next_to_nothing(kafka: Kafka, tmp_path: Path, record_property: Record) -> None:
    """However many exchanges there are: it has them; and none is counted twice."""
    events = traffic(PUIDS, seed(33))
    settings = settings_for(kafka) | {"STANDBYS": "1"}
    with Fleet(tmp_path, settings) as fleet:
        workers = [fleet.start(DATA_DIR=str(tmp_path / name)) for name in ("one", "other")]
        fleet.wait_for("each has a partition", lambda: all(len(worker.readiness()[1]) == 1 for worker in workers))
        produce(settings, events[: len(events) // 2])
        most = 0.9 * (len(events) // 2)  # some are refused, or brought to the other partition first
        fleet.wait_for("they have read most of it", lambda: fleet.total("tally_events_total") > most)
        fleet.wait_for("they have read all of it", lambda: fleet.total("tally_lag_events") == 0)
        fleet.wait_for("both stand by", lambda: fleet.total("tally_standby_partitions") == 2)
        fleet.wait_for("they lack nothing", lambda: fleet.total("tally_standby_lag_records") == 0)
        workers[0].kill()
        killed = time.monotonic()
        produce(settings, events[len(events) // 2 :])
        fleet.wait_for("the other has both", lambda: workers[1].readiness() == (True, [0, 1]))
        record_property("seconds", [("from the kill until its standby has all", time.monotonic() - killed)])
        read = fleet.total("tally_recovered_records")  # the counts, and what was written last
        assert read < fleet.total("tally_open_exchanges") / 5
        assert_counts(fleet, expected(events))
        assert "built anew" not in workers[1].log.read_text()


def kill_and_start(fleet: Fleet, worker: Worker, folder: Path, producer: threading.Thread) -> Worker:
    """Another worker, once the one before is in the middle of its work, as long as there is any."""
    read = fleet.total("tally_events_total")
    fleet.wait_for(
        "events are read",
        lambda: fleet.total("tally_events_total") > read + 1_000 or not fleet.running() or not producer.is_alive(),
    )
    worker.kill()
    worker = fleet.start(DATA_DIR=str(folder))
    fleet.wait_for("the next one is ready", worker.ready)
    return worker


def remove(folder: Path) -> bool:
    """Remove a folder; what a worker makes in it meanwhile may be in the way. Returns whether it is gone."""
    shutil.rmtree(folder, ignore_errors=True)
    return not folder.exists()


def swap_partitions(folder: Path) -> None:
    """The volume of one partition in the place of another's."""
    (folder / "0").rename(folder / "aside")
    (folder / "1").rename(folder / "0")
    (folder / "aside").rename(folder / "1")


def test_a_full_disk_loses_nothing_and_is_named(kafka: Kafka, tmp_path: Path) -> None:
    """As for a process of which no file may grow any more. Where there is room again all is well."""
    events = traffic(PUIDS, seed(32))
    settings = settings_for(kafka)
    with Fleet(tmp_path, settings) as fleet:
        worker = fleet.start(DATA_DIR=str(tmp_path / "disk"))
        fleet.wait_for("the worker is ready", worker.ready)
        limits = resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))
        # What is durable is written some seconds later, and a file that could not be written is told by the next write.
        producer = threading.Thread(target=produce, args=(settings, events, len(events) / 20))
        producer.start()
        fleet.wait_for("it says what is wrong", lambda: "cannot be written" in worker.log.read_text())
        resource.prlimit(worker.process.pid, resource.RLIMIT_FSIZE, limits)
        producer.join()
        assert_counts(fleet, expected(events))
        fleet.wait_for("all is well again", lambda: worker.ready() and not worker.problems())
        assert worker.process.poll() is None
