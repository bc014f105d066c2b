"""One history: a story is written, workers come and go and are hindered, and then it is quiet.

Everything in it follows from its seed: the story, who does what when, what goes wrong, whose turn it is.
"""

import asyncio
import gc
import logging
import random
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple, Protocol
from unittest.mock import patch

from aiokafka import TopicPartition

from app.core.join import deciding as deciding_module
from app.core.wire.records import Record
from app.settings import Settings, load_settings
from app.worker import first_rows as first_rows_module
from app.worker.kafka import watch as watch_module
from app.worker.lane import inputs as inputs_module
from app.worker.lane import lane as lane_module
from app.worker.lane import partition as partition_module
from app.worker.monitors import runner as runner_module
from app.worker.store.disk import DiskStores
from tests.builders import START
from tests.memory_kafka import MemoryKafka
from tests.memory_kafka.groups import Assignor
from tests.memory_kafka.log import ProducerSequence
from tests.simulation.checks import check, unrest
from tests.simulation.disks import Disks, full_at_times
from tests.simulation.faults import make_topic_anew, turn_a_clock, write_as_stranger
from tests.simulation.loop import RUNNING, SimulatedLoop
from tests.simulation.monitors import Monitors, Scoring
from tests.simulation.story import Told, a_story
from tests.simulation.weather import Storm
from tests.simulation.worker import Worker

log = logging.getLogger(__name__)

MOST_STEPS: Final = 400_000
#: How long it may take, when nothing goes wrong any more, until all is quiet. Monitors may wait as long for an answer
#: that is lost, and then for their next session.
_PATIENCE_SECONDS: Final = 40.0
_PATIENCE_WITH_MONITORS: Final = 100.0
_MOST_WORKERS: Final = 3
#: After so long nothing is kept but the totals, and days where they are counted.
_LONG_SECONDS: Final = 9 * 86400
#: A producer id that the broker gives to nobody.
_STRANGER: Final = 1_000_000


class Mistake(Protocol):
    """Puts a mistake into the lane of one history."""

    __name__: str

    def __call__(self, history: "History") -> AbstractContextManager[None]:
        """While it is entered, the mistake is there."""


class Outcome(NamedTuple):
    """What is left of a history: a number that depends on every step of it, and how many there were."""

    trace: int
    steps: int
    seconds: float


class HistoryError(AssertionError):
    """A history did not end as it must."""

    def __init__(self, seed: int, mistake: Mistake | None, error: BaseException, *, on_disk: bool = False) -> None:
        again = f"{seed} --mistake {mistake.__name__}" if mistake is not None else f"{seed}"
        again += " --on-disk" * on_disk
        super().__init__(f"history {seed}: {type(error).__name__}: {error}\nagain: python -m tests.simulation {again}")
        self.seed = seed


@cache
def _settings(epoch_ms: int, *, documents: bool, days: bool) -> Settings:
    return load_settings(
        app_id="sim",
        request_topic="request",
        response_topic="response",
        feedback_topic="feedback",
        log_topic="log" if documents else None,
        session_timeout="1s",
        epoch_ms=epoch_ms,
        **({"windows": "5m,24h,7d", "window_retention": "31d"} if days else {}),
    )


class History:
    """The world of one history."""

    def __init__(self, seed: int, folder: Path | None = None) -> None:
        rng = self.rng = random.Random(seed)
        self.loop = SimulatedLoop(rng)
        self.partitions = rng.randint(1, 3)
        self.story = a_story(rng, self.partitions)
        epoch_ms, days = rng.choice((10, 100, 1000)), rng.random() < 0.5
        self.settings = _settings(epoch_ms, documents=self.story.documents, days=days)
        self.weather = Storm(rng, self.loop, self.wall)
        self.kafka = MemoryKafka(weather=self.weather, assign=_assignor(rng))
        self.broker = self.kafka.broker
        for topic in sorted(self.settings.own_topics):
            self.broker.create(topic, self.partitions)
        self.workers: list[Worker] = []
        self.disks = None if folder is None else Disks(folder, seed, self.settings)
        self.monitors = None if self.story.results is None else Monitors(self)
        self.expired = False  # whether all exchanges, and all panes but days, are so old that they are kept no more
        self._unwritten = list(reversed(self.story.told))
        self.written: list[Told] = []
        self.strange: set[TopicPartition] = set()  # changelogs in which others have written
        self.made_anew = False  # whether a topic has been
        self.gone: list[Record] = []  # what it had held
        self._strangers = 0
        self._busy_until = 0.0  # the end of what is going on

    def wall(self) -> float:
        """The clock on the wall of all workers."""
        return START + self.loop.time() + (_LONG_SECONDS if self.expired else 0)

    # -- the course of it ---------------------------------------------------------------------------------------------

    async def run(self) -> None:
        rng = self.rng
        self.write(rng.randint(0, len(self._unwritten) // 2))
        reserve = len(self._unwritten) // 2  # for the moments at which it matters
        writing = asyncio.get_running_loop().create_task(self._keep_writing(reserve))
        if self.monitors is not None:
            asyncio.get_running_loop().create_task(self.monitors.keep_running())
        self.start_worker()
        if rng.random() < 0.7:
            self.start_worker()
        for _ in range(rng.randint(1, 6)):
            await asyncio.sleep(rng.choice((0.01, 0.1, 0.3, 1.2)) * (0.5 + rng.random()))
            act = rng.choice(self.ACTS)
            log.info("act: %s", act.__name__)
            act(self)
            self.write(rng.choice((0, 0, 1, 3)), reserve=reserve)
        if rng.random() < 0.7:
            await asyncio.sleep(self._busy_until - self.loop.time())
        writing.cancel()
        await self.be_quiet()
        check(self)
        if rng.random() < 0.2:
            log.info("all expires")
            self.expired = True
            self.weather.calm = False
            await asyncio.sleep(rng.choice((0.01, 0.1)))
            rng.choice(self.ACTS)(self)
            await self.be_quiet()
            check(self)

    async def be_quiet(self) -> None:
        """Nothing goes wrong any more; wait until all has been read and written."""
        self.weather.calm = True
        self.weather.away = False
        if self.disks is not None:
            self.disks.full = False
        self._busy_until = 0.0
        for worker in self.workers:
            worker.process.fuse = 0
            worker.process.go_on()
            worker.jump = 0.0
        for process in () if self.monitors is None else self.monitors.living():
            process.fuse = 0
        self.write(len(self._unwritten))
        log.info("calm")
        patience = _PATIENCE_SECONDS if self.monitors is None else _PATIENCE_WITH_MONITORS
        deadline = self.loop.time() + patience
        quiet = 0
        while quiet < 2:
            if not any(worker.lives for worker in self.workers):
                self.start_worker()
            await asyncio.sleep(0.05)
            for worker in self.workers:
                if (error := worker.failure()) is not None:
                    raise error
            left = unrest(self)
            quiet = 0 if left else quiet + 1
            assert self.loop.time() < deadline, f"it did not become quiet: {left}"

    async def _keep_writing(self, reserve: int) -> None:
        pause = self.rng.choice((0.05, 0.2, 0.5))
        while True:
            await asyncio.sleep(pause * 2 * self.rng.random())
            self.write(1, reserve=reserve)

    def living(self) -> list[Worker]:
        """The workers whose process has not ended."""
        return [worker for worker in self.workers if worker.lives]

    def write(self, count: int, *, reserve: int = 0) -> None:
        """Write some more of the story, but leave so much of it."""
        for _ in range(min(count, len(self._unwritten) - reserve)):
            told = self._unwritten.pop()
            self.written.append(told)
            self.broker.append(TopicPartition(told.topic, told.partition), [told.record.read()])

    def later(self, seconds: float, act: Callable[[], None]) -> None:
        self._busy_until = max(self._busy_until, self.loop.time() + seconds)
        self.loop.call_later(seconds, act)

    # -- what happens -------------------------------------------------------------------------------------------------

    def start_worker(self) -> None:
        if len(self.living()) < _MOST_WORKERS:
            name = f"worker {len(self.workers) + 1}"
            log.info("%s starts", name)
            stores = None if self.disks is None else self._mount(self.disks)
            self.workers.append(Worker(self.loop, name, self.kafka, self.settings, self.partitions, self.wall, stores))

    def _mount(self, disks: Disks) -> DiskStores:
        for worker in self.workers:
            if not worker.lives and worker.stores is not None:
                disks.crash(worker.stores)
        disks.full = not self.weather.calm and self.loop.time() % 1 < 0.5
        return disks.mount()

    def replace_worker(self) -> None:
        """A rolling restart, a process at a time."""
        self.stop_worker()
        self.start_worker()

    def _one(self) -> Worker | None:
        living = self.living()
        return self.rng.choice(living) if living else None

    def stop_worker(self) -> None:
        if worker := self._one():
            worker.stop()

    def kill_worker(self) -> None:
        if worker := self._one():
            log.info("%s is killed", worker.process)
            worker.process.kill()

    def kill_monitors(self) -> None:
        if self.monitors is not None and (living := self.monitors.living()):
            process = self.rng.choice(living)
            log.info("%s are killed, some time", process)
            process.fuse = self.rng.choice((1, 30, 300))

    def kill_soon(self) -> None:
        """After some more of its callbacks: in the middle of whatever it does then."""
        if worker := self._one():
            worker.process.fuse = self.rng.choice((3, 30, 300))

    def stall_worker(self) -> None:
        """A worker stands still, for less or for more than its session, and then goes on as if nothing had been."""
        if (worker := self._one()) and worker.process.state is RUNNING:
            log.info("%s stands still", worker.process)
            worker.process.stop()
            self.later(self.rng.choice((0.2, 1.3, 1.8)), worker.process.go_on)
            self._succeed()

    def cut_off(self) -> None:
        """The group hears nothing of a worker that goes on: it is given up, and does not know."""
        if worker := self._one():
            log.info("%s is cut off from the group", worker.process)
            seconds = self.rng.choice((0.5, 1.7, 2.5))
            self.weather.cut_off(worker.process, seconds)
            for _ in range(4):  # of what is written now, both it and its successor may be told
                self.later(self.rng.uniform(1.0, seconds + 0.1), lambda: self.write(1))
            if self.rng.random() < 0.5:  # and who succeeds it takes long to fence it
                self.weather.slow_down("init producer", 0.5)
            self._succeed()

    def _succeed(self) -> None:
        """Let there be somebody to take over."""
        if len(self.living()) == 1:
            self.start_worker()

    def rebalance(self) -> None:
        self.broker.group(self.settings.app_id).rebalance()

    def lose_broker(self) -> None:
        log.info("the broker is away")
        self.weather.away = True

        def find() -> None:
            self.weather.away = False

        self.later(self.rng.choice((0.05, 0.5, 1.5)), find)

    def write_in_transaction(self) -> None:
        """Somebody writes events in a transaction: for a while nobody may read on; then it commits or aborts."""
        self._strangers += 1
        producer = _STRANGER + self._strangers
        commits = self.rng.random() < 0.5 and len(self._unwritten) > 0
        told = self._unwritten.pop() if commits else self.rng.choice(self.story.told)
        if commits:
            self.written.append(told)
        tp = TopicPartition(told.topic, told.partition)
        record = told.record.read()
        if not commits:
            record = Record(0, record.timestamp, b"aborted", record.value, record.header_block)
        log_of_it = self.broker.log_of(tp)
        log_of_it.append([record], ProducerSequence(producer, 0, 0), transactional=True)

        def end() -> None:
            log_of_it.append_marker(producer, 0, commit=commits, at=int(self.weather.now() * 1000))
            self.broker.moved(tp)

        self.later(self.rng.choice((0.01, 0.3, 1.5)), end)

    def delete_unread(self) -> None:
        """Retention takes records that nobody has read yet: here some that say again what has been said before."""
        plain = [told for told in self.written if told.plain]
        if not plain or self.expired:
            return
        told = self.rng.choice(plain)
        tp = TopicPartition(told.topic, told.partition)
        log_of_it = self.broker.log_of(tp)
        done = self.broker.group(self.settings.app_id).offsets.get(tp, 0)
        if done < log_of_it.start or log_of_it.stable < log_of_it.end or log_of_it.read(done, 1000).records:
            return  # something would be lost
        log_of_it.append([told.record.read() for _ in range(self.rng.randint(1, 3))])
        log_of_it.delete_before(log_of_it.end - self.rng.randint(0, 1))
        self.broker.moved(tp)

    def compact(self) -> None:
        """The broker's cleaner takes what has been replaced out of the changelogs."""
        for topic in (self.settings.exchanges_topic, self.settings.panes_topic):
            for number, changelog in enumerate(self.broker.topics[topic]):
                if TopicPartition(topic, number) not in self.strange:  # else it would take ours
                    changelog.compact(self.rng.randint(0, changelog.end), tombstones=False)

    ACTS = (
        start_worker,
        start_worker,
        replace_worker,
        stop_worker,
        kill_worker,
        kill_monitors,
        kill_soon,
        kill_soon,
        stall_worker,
        cut_off,
        cut_off,
        rebalance,
        lose_broker,
        write_in_transaction,
        delete_unread,
        compact,
        write_as_stranger,
        make_topic_anew,
        turn_a_clock,
    )


def _assignor(rng: random.Random) -> Assignor:
    """Partitions stay where they are, or go anywhere; all topics' partitions of a number go together."""

    def assign(members: Any, count: Any) -> dict[str, list[TopicPartition]]:
        names = list(members)
        given: dict[str, list[TopicPartition]] = {name: [] for name in names}
        topics = members[names[0]].topics
        stays = rng.random() < 0.5
        for number in range(count(topics[0])):
            owners = [name for name in names if TopicPartition(topics[0], number) in members[name].partitions]
            owner = owners[0] if stays and owners else rng.choice(names)
            given[owner] += [TopicPartition(topic, number) for topic in topics]
        return given

    return assign


async def _at_once(work: Callable[..., Any], *given: Any) -> Any:
    """There are no threads in a history."""
    await asyncio.sleep(0.01)
    return work(*given)


@contextmanager
def _small(rng: random.Random, *, misplaced: bool) -> Iterator[None]:
    """The lane's sizes so small that every bound is met. With lists of one record every key is checked."""
    with (
        patch.object(inputs_module, "_LIST", 1 if misplaced else rng.choice((1, 3, 100))),
        patch.object(lane_module, "_CHANGES_PER_EPOCH", rng.choice((2, 10_000))),
        patch.object(lane_module, "_TICK_SECONDS", rng.choice((0.02, 0.1))),
        patch.object(partition_module, "MOST_WAITING", rng.choice((3, 20_000))),
        patch.object(watch_module, "_LOOK_SECONDS", 0.3),
        patch.object(first_rows_module, "_LOOK_SECONDS", 0.07),
        patch.object(first_rows_module, "to_thread", _at_once),
        patch.object(deciding_module, "PATIENCE_SECONDS", -1000),  # of events that say a later time than it is
        patch.object(runner_module, "MonitorProcess", Scoring),
    ):
        yield


def run_histories(
    seeds: Iterable[int], mistake: Mistake | None = None, *, on_disk: bool = False
) -> Iterator[HistoryError]:
    """Run some histories, and give the errors of those that did not end as they must."""
    for number, seed in enumerate(seeds):
        try:
            run_history(seed, mistake, on_disk=on_disk)
        except HistoryError as error:
            yield error
        if number % 100 == 99:
            gc.collect()  # a lane switches collection off


def run_history(seed: int, mistake: Mistake | None = None, *, on_disk: bool = False) -> Outcome:
    """Run one history, with a mistake in the lane if one is given. Raises HistoryError.

    On disk workers keep their exchanges in folders, of which some outlive them.
    """
    with TemporaryDirectory(prefix="tally-simulation-") if on_disk else nullcontext(None) as folder:
        return _run(History(seed, None if folder is None else Path(folder)), seed, mistake)


def _run(history: History, seed: int, mistake: Mistake | None) -> Outcome:
    loop, disks = history.loop, history.disks
    with (
        nullcontext() if disks is None else full_at_times(disks),
        _small(history.rng, misplaced=history.story.misplaced),
        mistake(history) if mistake is not None else nullcontext(),
    ):
        try:
            loop.run(history.run(), most_steps=MOST_STEPS)
            return Outcome(loop.trace, loop.steps, loop.time())
        except Exception as error:
            raise HistoryError(seed, mistake, error, on_disk=disks is not None) from error
        finally:
            history.weather.away = True
            loop.bury()
            if disks is not None:
                disks.close()
            gc.unfreeze()  # the lane has frozen what there was when it started, and switched collection off
            gc.enable()
