"""Upkeep: partitions are loaded, and loaded again after they were lost; what is in trouble waits longer each time.

One partition's trouble is not another's: those that were lost are loaded each by itself.
"""

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator

from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    TopicAuthorizationFailedError,
    TransactionalIdAuthorizationFailed,
)

from app.core.join.store import StoreError
from app.worker.ending import named
from app.worker.kafka.client import ACLS_HINT, BrokersError, SetupError
from app.worker.lane.loading import Loaded
from app.worker.lane.partition import InDoubt, Partition
from app.worker.troubles import Troubles

log = logging.getLogger(__name__)

#: Between two tries where one fails: it grows to so many seconds; and to so many where no broker answers.
_LONGEST_PAUSE = 30.0
_SILENT_SECONDS = 5.0


class Upkeep:
    """Loads partitions. `take` is given what has been loaded, `fail` ends the worker with a sentence."""

    def __init__(
        self,
        load: Callable[[list[int]], Awaitable[Loaded]],
        take: Callable[[list[Partition]], None],
        fail: Callable[[SetupError], None],
        troubles: Troubles,
    ) -> None:
        self.damaged: dict[int, str] = {}  # partitions that cannot be loaded, and why
        self._load_partitions = load
        self._take = take
        self._fail = fail
        self._troubles = troubles
        self._tasks: dict[asyncio.Task[None], set[int]] = {}  # the loads, and what each has still to load
        self._free = asyncio.Event()  # not while a rebalance goes on: none is begun then
        self._free.set()
        #: Of partitions that were lost: how often since all was well, and how far they had been read. They are not well
        #: before an epoch has committed that reaches as far.
        self._losses: Counter[int] = Counter()
        self._hurdles: dict[int, dict[tuple[str, str], int]] = {}  # by topic and its id
        self._in_doubt: dict[int, InDoubt] = {}  # their epochs that were on their way

    @property
    def all_well(self) -> bool:
        """Whether no partition still has to show that what made it lost is over."""
        return not self._hurdles

    def failure(self) -> BaseException | None:
        """What ended one of the loadings, if anything did."""
        return next((error for task in self._tasks if (error := _error_of(task)) is not None), None)

    def begin(self, numbers: set[int]) -> None:
        """Load partitions that are not being loaded: those that were lost wait, the others do not wait for them."""
        loop = asyncio.get_running_loop()
        self._tasks = {it: left for it, left in self._tasks.items() if not it.done() or _error_of(it) is not None}
        numbers = numbers.difference(*self._tasks.values())
        lost = sorted(number for number in numbers if self._losses[number])
        for group in (sorted(numbers - set(lost)), *([number] for number in lost)):
            if group:
                left = set(group)
                self._tasks[loop.create_task(self._load(group, left))] = left

    def hold(self) -> None:
        """Begin no load: a rebalance goes on, and who begins one fences whoever has the partition. Others go on."""
        self._free.clear()

    async def keep(self, numbers: set[int]) -> None:
        """A rebalance is over: go on with the loads of these partitions alone; one that has others as well ends."""
        await self._end([task for task, left in self._tasks.items() if not (task.done() or left <= numbers)])
        self._free.set()

    async def stop(self) -> None:
        """Load nothing more."""
        await self._end([*self._tasks])

    async def _end(self, tasks: list[asyncio.Task[None]]) -> None:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for task in tasks:
            self._tasks.pop(task, None)

    async def _load(self, numbers: list[int], left: set[int]) -> None:
        """Load partitions, again and again where that fails; a failure of Kafka's that is of one is of that one. What
        has been loaded is `left` no more.
        """
        waits = pauses(max(self._losses[number] for number in numbers))
        await asyncio.sleep(next(waits))
        name = _named(numbers)
        while True:
            await self._free.wait()
            try:
                loaded = await self._load_partitions(numbers)
            except (KafkaError, BrokersError, StoreError, OSError, TimeoutError, AssertionError) as error:
                silent = isinstance(error, KafkaConnectionError | BrokersError | OSError | TimeoutError)
                if len(numbers) > 1 and not silent:
                    self._troubles.forget(name)
                    await asyncio.gather(*(self._load([number], left) for number in numbers))
                    return
                self._troubles.begin(name, f"{name} cannot be loaded yet; it is tried again{_why(error)}")
                pause = next(waits)
                # Nobody is troubled by a question that nobody hears; and all waits for the answer.
                await asyncio.sleep(min(pause, _SILENT_SECONDS) if silent else pause)
            except SetupError as error:
                self._fail(error)
                return
            else:
                if not any(number in self._hurdles for number in numbers):
                    self._troubles.end(name)
                for number, sentence in loaded.damaged.items():
                    self.damaged[number] = sentence
                    log.error("%s", sentence)
                left.difference_update(numbers)
                for part in loaded.partitions:
                    epoch = self._in_doubt.pop(part.number, None)
                    if epoch is not None:
                        part.count_if_it_held(epoch)
                self._take(loaded.partitions)
                return

    def note_loss(self, part: Partition) -> None:
        """A partition has been lost."""
        self._losses[part.number] += 1
        ids = part.shard.topic_ids
        self._hurdles[part.number] = {
            (topic, ids.get(topic, "")): offset for topic, offset in part.shard.offsets.items()
        }
        if part.in_doubt is not None:
            self._in_doubt[part.number] = part.in_doubt
        self._troubles.begin(
            _named([part.number]),
            f"Partition {part.number} was lost: {part.lost}. Its state is dropped; if it is still ours it is loaded "
            "again.",
        )

    def look(self, part: Partition) -> None:
        """See whether a partition that was lost is well again."""
        hurdle, committed = self._hurdles.get(part.number), part.committed
        if hurdle is None or committed is None:
            return
        # What lies behind the last event alone, markers of transactions, makes no epoch.
        reached = part.shard.offsets if not (part.has_news or part.committing) else committed
        ids = part.shard.topic_ids
        if all(
            reached.get(topic, 0) >= offset or ids.get(topic, "") != identity  # it has been made anew since
            for (topic, identity), offset in hurdle.items()
        ):
            self._forget(part.number)
            self._troubles.end(_named([part.number]))

    def disown(self, number: int) -> None:
        """A partition is not ours: its troubles are another's."""
        self.damaged.pop(number, None)
        self._forget(number)
        self._troubles.forget(_named([number]))

    def _forget(self, number: int) -> None:
        self._losses.pop(number, None)
        self._hurdles.pop(number, None)
        self._in_doubt.pop(number, None)


def pauses(losses: int) -> Iterator[float]:
    """How many seconds to wait before each try, after so many in vain."""
    pause = min(0.2 * 2.0 ** (losses - 1), _LONGEST_PAUSE) if losses else 0.0
    while True:
        yield pause
        pause = min(max(2 * pause, 1.0), _LONGEST_PAUSE)


def _why(error: Exception) -> str:
    """The end of a sentence: the error, and what to do where brokers forbid it."""
    if isinstance(error, BrokersError):
        return f". {error}"
    forbidden = isinstance(error, TransactionalIdAuthorizationFailed | TopicAuthorizationFailedError)
    return f" ({named(error)}){f': {ACLS_HINT}' if forbidden else ''}."


def _named(numbers: list[int]) -> str:
    return f"Partition{'s' * (len(numbers) > 1)} {', '.join(map(str, numbers))}"


def _error_of(task: asyncio.Task[None]) -> BaseException | None:
    return task.exception() if task.done() and not task.cancelled() else None
