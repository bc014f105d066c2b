"""What workers do while others come and go: what stays goes on, and who comes back by its id moves nothing."""

import re
import time
from collections.abc import Iterable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Final

from app.core.join.position import POSITION_KEY
from tests.live.changelogs import read_topic
from tests.live.faults.trial import Record, Trial, trial
from tests.live.servers import Kafka
from tests.live.workers import Worker, wait_for

ALL: Final = -1


def committed(settings: dict[str, str], partitions: int) -> dict[int, list[float]]:
    """By partition the times in s at which its committed epochs were written."""
    written = read_topic(settings["KAFKA_BOOTSTRAP_SERVERS"], f"{settings['APP_ID']}-exchanges")
    assert len(written) == partitions
    return {
        number: [record.timestamp()[1] / 1000 for record in records if record.key() == POSITION_KEY]
        for number, records in written.items()
    }


def standstills(it: Trial, partitions: int) -> dict[int, float]:
    """By partition, and of all together, for how long at most no epoch was committed while the traffic flowed."""
    begun, ended = it.flowed
    times = committed(it.fleet.settings, partitions)
    times[ALL] = [time for of in times.values() for time in of]
    return {
        number: max(
            later - earlier
            for earlier, later in pairwise(sorted([begun, *(at for at in of if begun < at < ended), ended]))
        )
        for number, of in times.items()
    }


def loads(workers: Iterable[Worker]) -> int:
    """How many partitions have been loaded."""
    found = (re.findall(r"loaded partitions=\[(.*?)\]", worker.log.read_text()) for worker in workers)
    return sum(len(numbers.split(",")) for lines in found for numbers in lines)


def parts(worker: Worker) -> set[int]:
    return set(worker.readiness()[1])


def owns(worker: Worker, numbers: set[int]) -> bool:
    return parts(worker) == numbers


def shared(workers: Iterable[Worker], partitions: int) -> bool:
    """Whether these workers have all partitions among them, and each has some."""
    return all(it.ready() and parts(it) for it in workers) and sum(len(parts(it)) for it in workers) == partitions


def test_a_third_worker_comes_and_goes_and_nobody_else_stands_still(
    kafka: Kafka, tmp_path: Path, record_property: Record
) -> None:
    """The whole job commits on, and each partition that stays; what moves, moves once."""
    with trial(
        "a third comes and goes", kafka.bootstrap, tmp_path, seconds=5, PARTITIONS="6", SESSION_TIMEOUT="10s"
    ) as it:
        it.start(2)
        first, second = it.fleet.workers
        wait_for("both share", lambda: shared((first, second), 6))
        loaded = loads(it.fleet.workers)
        it.begin(rate=300)
        time.sleep(2)
        third = it.fleet.start()
        wait_for("the third has its share", lambda: shared((first, second, third), 6))
        moved = parts(third)
        assert third.stop() == 0
        wait_for("two have all", lambda: shared((first, second), 6))
        it.times = 2
        it.prove(record_property)
        stood = standstills(it, 6)
        record_property(
            "seconds",
            [
                ("longest without an epoch of any partition", stood[ALL]),
                ("longest without one of a partition that stayed", max(stood[n] for n in range(6) if n not in moved)),
                ("longest without one of a partition that moved", max(stood[n] for n in moved)),
            ],
        )
        # It is a matter of seconds; that of no session that had to end first is all that holds on every machine.
        assert stood[ALL] < float(it.fleet.settings["SESSION_TIMEOUT"].rstrip("s"))
        assert loads(it.fleet.workers) == loaded + 2 * len(moved)


def test_workers_that_are_restarted_under_their_names_move_nothing(
    kafka: Kafka, tmp_path: Path, record_property: Record
) -> None:
    """Stopped or killed: each has what it had, at another address too, and the others never hear of it."""
    with trial("restarts by instance id", kafka.bootstrap, tmp_path, SESSION_TIMEOUT="60s") as it:
        one, other = (it.fleet.start(INSTANCE_ID=name) for name in "ab")
        wait_for("both share", lambda: shared((one, other), 4))
        had, loaded = parts(one), loads([other])
        it.begin()
        for end in (Worker.stop, Worker.kill):
            end(one)
            one = it.fleet.start(INSTANCE_ID="a")
            wait_for("it has its partitions again", partial(shared, (one, other), 4))
            wait_for("they are those", partial(owns, one, had))
            it.times += 1
        assert loads([other]) == loaded
        usurper = it.fleet.start(INSTANCE_ID="a")
        wait_for("the older one of one name ends", lambda: one.process.poll() is not None)
        assert one.process.returncode == 2
        assert one.log.read_text().splitlines()[-1] == (
            f"tally: TALLY_INSTANCE_ID: another worker has joined the group {it.fleet.settings['APP_ID']} as a, and "
            "has the partitions of this one now: give each worker an id of its own."
        )
        wait_for("the newer one has its partitions", lambda: shared((usurper, other), 4))
        wait_for("they are those, too", partial(owns, usurper, had))
        it.prove(record_property)
