"""Lanes: request ids fall into a fixed number of them, and each is folded for itself, like a partition.

How many lanes there are does not depend on how many processes there are, so neither does what comes of them.
"""

import contextlib
import multiprocessing
import os
import traceback
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from typing import Any, Final, Protocol

import msgspec
from xxhash import xxh3_64_intdigest

from app.core.join.addressing import NO_ROW, of_row
from app.core.join.shard import Shard
from app.core.wire.records import Record
from app.replay.fold import CHANGES_PER_CUT, Counting, Fold, Folded, quick
from app.replay.processes import EndedError, begin_process, uninterrupted
from app.replay.store import MOST_IN_MEMORY, spilling_store

LANES: Final = 8
_PIPE_BYTES: Final = 1 << 20
#: `F_SETPIPE_SZ`, which Linux alone has.
_SET_PIPE_SIZE: Final = 1031
_ITEM: Final = b"-item-"

#: Records of one canonical topic, by its place among the three.
Batch = tuple[int, list[Record]]

_encode: Final = msgspec.msgpack.Encoder().encode
_decode: Final = msgspec.msgpack.Decoder(tuple[int, list[Batch]]).decode


def lane_of(puid: bytes) -> int:
    """The lane of a request id. Ids like `puid-item-N`, which may mean its rows, have the same one."""
    if _ITEM in puid:
        base, row = of_row(puid)
        while row != NO_ROW:
            puid = base
            base, row = of_row(puid)
    return xxh3_64_intdigest(puid) % LANES


class Lanes(Protocol):
    """Some lanes that are being folded."""

    def take(self, lane: int, batches: Sequence[Batch]) -> None:
        """Fold records of a lane, in their order."""

    def finish(self) -> list[Folded]:
        """Count all that has been taken."""


class LanesHere:
    """Lanes that this process folds."""

    def __init__(self, counting: Counting, numbers: Sequence[int], scratch: contextlib.ExitStack) -> None:
        self._topics = counting.settings.topics
        most, folder = MOST_IN_MEMORY // len(numbers), counting.settings.data_dir
        self._folds = {
            number: Fold(
                counting,
                number,
                LANES,
                store=scratch.enter_context(spilling_store(folder, most)),
                alone=True,
                changes_per_cut=CHANGES_PER_CUT // LANES,
            )
            for number in numbers
        }

    def take(self, lane: int, batches: Sequence[Batch]) -> None:
        """Fold records of a lane, in their order."""
        fold = self._folds[lane]
        for topic, records in batches:
            fold.take(self._topics[topic], records)

    def finish(self) -> list[Folded]:
        """Count all that has been taken."""
        return [fold.finish() for fold in self._folds.values()]

    def settled(self) -> list[Shard]:
        """All that has been taken, as shards of which nothing waits."""
        return [fold.settled() for fold in self._folds.values()]


@contextlib.contextmanager
def lanes_here(counting: Counting, numbers: Sequence[int] = range(LANES)) -> Iterator[LanesHere]:
    """Lanes of this process, with what they have in scratch folders."""
    with quick(), contextlib.ExitStack() as scratch:
        yield LanesHere(counting, numbers, scratch)


# -- in other processes -----------------------------------------------------------------------------------------------


class LanesApart:
    """Lanes that other processes fold, each some of them."""

    def __init__(self, counting: Counting, processes: int) -> None:
        context = multiprocessing.get_context("spawn")
        self._processes: list[Any] = []
        self._work: list[Connection] = []
        self._answers: list[Connection] = []
        count = min(processes, LANES)
        with uninterrupted():
            for first in range(count):
                work, give = context.Pipe(duplex=False)
                answer, tell = context.Pipe(duplex=False)
                _widen(give)
                given = work, tell, counting, range(first, LANES, count), os.getpid()
                process = context.Process(target=_fold_lanes, args=given, daemon=True)
                process.start()
                work.close()
                tell.close()
                self._processes.append(process)
                self._work.append(give)
                self._answers.append(answer)

    def take(self, lane: int, batches: Sequence[Batch]) -> None:
        """Give records of a lane to its process. Raises what that one has failed with."""
        self._give(lane % len(self._work), _encode((lane, batches)))

    def finish(self) -> list[Folded]:
        """Count all that has been taken. Raises what a process has failed with."""
        for number in range(len(self._work)):
            self._give(number, b"")
        return sorted((one for answer in self._answers for one in _heard(answer)), key=lambda one: one.partition)

    def close(self) -> None:
        """End the processes, whatever they do."""
        for process in self._processes:
            process.terminate()
        for process in self._processes:
            process.join()
        for pipe in (*self._work, *self._answers):
            pipe.close()

    def _give(self, number: int, message: bytes) -> None:
        try:
            self._work[number].send_bytes(message)
        except (BrokenPipeError, ConnectionResetError):
            _heard(self._answers[number])
            raise EndedError from None


def _heard(answer: Connection) -> list[Folded]:
    """What a process has come to. Raises what it has failed with."""
    try:
        found = answer.recv()
    except EOFError:
        raise EndedError from None
    if isinstance(found, Exception):
        raise found
    folded: list[Folded] = found
    return folded


def _widen(pipe: Connection) -> None:
    """Let as much wait in a pipe as may, so that who reads and who folds need not wait for each other."""
    with contextlib.suppress(ImportError, OSError):  # there is no such module, or no such call, everywhere
        from fcntl import fcntl

        fcntl(pipe.fileno(), _SET_PIPE_SIZE, _PIPE_BYTES)


def _fold_lanes(work: Connection, tell: Connection, counting: Counting, numbers: Sequence[int], parent: int) -> None:
    """Fold lanes until an empty message comes, and tell what came of them, or what went wrong."""
    begin_process(parent)
    try:
        with lanes_here(counting, numbers) as lanes:
            while message := work.recv_bytes():
                lanes.take(*_decode(message))
            tell.send(lanes.finish())
    except EOFError:
        pass  # nobody waits any more
    except Exception as error:  # noqa: BLE001 - whoever has started this process raises it there
        error.add_note(traceback.format_exc())
        tell.send(error)


@contextlib.contextmanager
def lanes_apart(counting: Counting, processes: int) -> Iterator[LanesApart]:
    """Lanes of other processes, which end with this."""
    lanes = LanesApart(counting, processes)
    try:
        yield lanes
    finally:
        lanes.close()
