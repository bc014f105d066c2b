"""Work side by side: processes that a command starts, hears of, and ends with itself."""

import contextlib
import ctypes
import logging
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import resource_tracker
from typing import Any, Final, TypeVar

from app.replay.stretch import StretchError

_LOOK_SECONDS: Final = 0.1

Given = TypeVar("Given")
Made = TypeVar("Made")
#: Hears how many records have been folded since it was told last.
Progress = Callable[[int], None]


class EndedError(StretchError):
    """A process has ended before its work was done."""

    def __init__(self) -> None:
        super().__init__(
            "One of the processes was ended from outside, perhaps for want of memory: try again with fewer --processes."
        )


def cores() -> int:
    """How many processes there may be."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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
        with uninterrupted():
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
                raise EndedError from None
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
    """Begin a process that says through `done` how far it is."""
    global _done  # noqa: PLW0603 - what a process shares with its parent comes to it when it begins
    _done = done
    begin_process(parent)


@contextlib.contextmanager
def uninterrupted() -> Iterator[None]:
    """Start processes that do not hear of Ctrl-C, not even while they begin. Whoever starts them hears of it after."""
    resource_tracker.ensure_running()  # it unblocks the signal when it begins, and would do so between the processes
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def begin_process(parent: int) -> None:
    """Begin a process: the one that started it hears of Ctrl-C, and ends it. It ends with that one in any case."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what it has in scratch folders goes with it
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
