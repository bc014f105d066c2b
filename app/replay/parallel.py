"""Partitions side by side: one process folds one partition at a time, so that memory holds few of them at once."""

import asyncio
import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

import uvloop
from aiokafka.errors import KafkaError, OffsetOutOfRangeError

from app.replay.fold import Counting, Fold, Folded, quick
from app.replay.reading import open_reader, read
from app.replay.store import spilling_store
from app.replay.stretch import Stretch, StretchError
from app.worker.kafka.client import unreachable

if TYPE_CHECKING:
    from app.replay.copying import Copies

_LOOK_SECONDS: Final = 0.1

Given = TypeVar("Given")
Made = TypeVar("Made")
#: Hears how many records have been folded since it was told last.
Progress = Callable[[int], None]


class Share(NamedTuple):
    """One partition to fold."""

    counting: Counting
    partition: int
    partitions: int
    stretch: Stretch
    copies: "Copies | None" = None  # where its documents are written, if anywhere


def fold_all(shares: Sequence[Share], processes: int, progress: Progress) -> list[Folded]:
    """Fold partitions, the largest first, in so many processes at most; with one, in this one."""
    ordered = sorted(shares, key=lambda share: -share.stretch.records)
    return spread(fold_share, ordered, processes, progress)


def fold_share(share: Share, progress: Progress) -> Folded:
    """Fold one partition."""
    settings = share.counting.settings
    with quick(), spilling_store(settings.data_dir) as store, spilling_store(settings.data_dir, 20_000) as bodies:
        expected = None
        if share.copies is not None:
            from app.replay.documents import Expected

            expected = Expected(share.counting.rulebook, settings, bodies)
        joined = None if expected is None else expected.take
        fold = Fold(share.counting, share.partition, share.partitions, store=store, joined=joined)
        in_loop(lambda: _fold(fold, share, progress), share.counting)
        folded = fold.finish()
        if expected is None or share.copies is None:
            return folded
        from app.replay.copying import write_documents

        copies = share.copies
        return folded._replace(documents=in_loop(lambda: write_documents(settings, expected, copies), share.counting))


async def _fold(fold: Fold, share: Share, progress: Progress) -> None:
    stretch = share.stretch
    consumer = await open_reader(share.counting.settings)
    try:
        fold.expect({tp.topic for tp, start in stretch.starts.items() if start < stretch.ends[tp]})
        last = dict(stretch.starts)
        async with aclosing(read(consumer, stretch)) as lists:
            async for tp, records in lists:
                fold.take(tp.topic, records)
                place = consumer.next_offset(tp) or 0
                if place >= stretch.ends[tp]:
                    fold.end(tp.topic)
                progress(min(place, stretch.ends[tp]) - last[tp])
                last[tp] = min(place, stretch.ends[tp])
        progress(sum(stretch.ends[tp] - place for tp, place in last.items() if place < stretch.ends[tp]))
    finally:
        await consumer.stop()


def in_loop(work: Callable[[], Any], counting: Counting) -> Any:
    """Run work that reads Kafka in a loop of its own. What goes wrong there becomes one sentence."""
    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(work())
    except OffsetOutOfRangeError as error:
        tp, offset = next(iter(error.args[0].items()))
        raise StretchError(
            f"Offset {offset} of {tp.topic}, partition {tp.partition}, was deleted while it was being read: begin "
            "later, or raise the topic's retention.ms."
        ) from None
    except (KafkaError, OSError, TimeoutError) as error:
        raise unreachable(counting.settings, error) from None


# -- processes --------------------------------------------------------------------------------------------------------


def spread(
    work: Callable[[Given, Progress], Made], given: Sequence[Given], processes: int, progress: Progress
) -> list[Made]:
    """Do the same with each of what is given, in processes; what comes out in the order in which it is given."""
    if processes == 1 or len(given) < 2:
        return [work(one, progress) for one in given]
    context = multiprocessing.get_context("spawn")
    done = context.Value(ctypes.c_uint64)
    with ProcessPoolExecutor(
        min(processes, len(given)), context, initializer=_begin, initargs=(done, os.getpid())
    ) as pool:
        futures = [pool.submit(_do, work, one) for one in given]
        told = 0
        try:
            for total in _watch(futures, done):
                progress(total - told)
                told = total
            return [future.result() for future in futures]
        except BaseException as error:
            running = [*pool._processes.values()]
            pool.shutdown(wait=False, cancel_futures=True)
            for process in running:
                process.terminate()
            if isinstance(error, BrokenProcessPool):
                raise StretchError(
                    "One of the processes was ended from outside, perhaps for want of memory: try again with fewer "
                    "--processes."
                ) from None
            raise


def _watch(futures: Sequence[Future[Any]], done: Any) -> Iterator[int]:
    """How much is done, a few times a second, until all are; raises what the first has failed with."""
    left = set(futures)
    while left:
        finished, left = wait(left, _LOOK_SECONDS, FIRST_COMPLETED)
        for future in finished:
            future.result()
        yield done.value


_done: Any = None
#: How often a process says how far it is, in records.
_TOLD_TOGETHER: Final = 2000


def _begin(done: Any, parent: int) -> None:
    """Begin a process: the one that started it is the one that hears of Ctrl-C."""
    global _done  # noqa: PLW0603 - what a process shares with its parent comes to it when it begins
    _done = done
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.getLogger("aiokafka").setLevel(logging.CRITICAL)
    with contextlib.suppress(OSError):  # where there is no such call a process that is left alone ends with its work
        ctypes.CDLL(None).prctl(1, signal.SIGTERM)
    if os.getppid() != parent:
        os._exit(1)


def _do(work: Callable[[Given, Progress], Made], given: Given) -> Made:
    waiting = 0

    def progress(records: int) -> None:
        nonlocal waiting
        waiting += records
        if waiting >= _TOLD_TOGETHER:
            with _done.get_lock():
                _done.value += waiting
            waiting = 0

    try:
        return work(given, progress)
    finally:
        with _done.get_lock():
            _done.value += waiting
