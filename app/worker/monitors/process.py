"""A monitor's process: started when it is needed, killed when it takes too long, started again after a pause."""

import asyncio
import logging
import multiprocessing
import time
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection
from typing import Any, Final

from app.core.monitors import Code, Columns
from app.worker.monitors.scorer import READY, Asked, Value, serve

log = logging.getLogger(__name__)

#: After a process has failed: doubled from the first pause to the longest. Rows fail at once meanwhile.
_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
#: Loading may take longer than scoring: libraries are imported.
_LOADING_SECONDS: Final = 60.0
#: So long a process may take to end that has closed its connection: Python first takes down what it has loaded.
_ENDING_SECONDS: Final = 5.0

#: In so many parts a batch is asked again on which the process has failed, and each of these that fails row by row: so
#: a row on which it fails is found by three failures, and takes no other with it.
_PARTS: Final = 32
#: So often the process may fail with nothing scored between, and so often over one batch: then what is left fails.
_MOST_IN_A_ROW: Final = 4
_MOST_FAILURES: Final = 16

_spawn = multiprocessing.get_context("spawn")


class ProcessError(Exception):
    """The process has failed; the message says how, as a part of a sentence."""


class LoadingError(ProcessError):
    """The code has not even been loaded, so no row was scored."""


class MonitorProcess:
    """The process that runs one version of a monitor's code."""

    def __init__(self, name: str, code: Code) -> None:
        self.restarts = 0
        self._name = name
        self._code = code
        self._process: Any = None
        self._connection: Connection | None = None
        self._pause = _FIRST_PAUSE
        self._retry_at = 0.0
        self._trouble = ""

    async def score(self, asked: Sequence[Asked]) -> list[list[Value]]:
        """What is said of the rows of each answer; where the process fails, why. It never raises, and ends in time."""
        if time.monotonic() < self._retry_at:
            return _failed(asked, f"{self._trouble}; it is started again within {self._pause:.0f} s")
        values: list[Value] = []
        pieces = deque([[*asked]])
        failures = in_a_row = 0
        trouble = ""
        while pieces:
            piece = pieces.popleft()
            try:
                found = await asyncio.to_thread(self.ask, piece)
            except ProcessError as error:
                trouble = str(error)
                self.close()
                self.restarts += 1
                failures, in_a_row = failures + 1, in_a_row + 1
                if isinstance(error, LoadingError) or in_a_row == _MOST_IN_A_ROW or failures == _MOST_FAILURES:
                    pieces.appendleft(piece)
                    values += [trouble] * sum(map(_rows, pieces))
                    break
                if _rows(piece) == 1:
                    values.append(trouble)
                else:
                    pieces.extendleft(reversed(_parts(piece)))
            else:
                in_a_row = 0
                values += [value for one in found for value in one]
        self._settle(trouble, failures, in_a_row)
        each = iter(values)
        return [[next(each) for _ in inputs.rows] for inputs, _ in asked]

    def _settle(self, trouble: str, failures: int, in_a_row: int) -> None:
        """After a batch: the process pauses where it has not scored since it failed last, or has failed too often."""
        if not in_a_row and failures < _MOST_FAILURES:
            self._pause = _FIRST_PAUSE
            if failures:
                log.warning("monitor=%s: it failed %d times over a batch: %s", self._name, failures, trouble)
            return
        self._trouble = trouble
        self._retry_at = time.monotonic() + self._pause
        log.warning("monitor=%s: %s; it is started again in %.0f s", self._name, trouble, self._pause)
        self._pause = min(2 * self._pause, _LONGEST_PAUSE)

    def ask(self, asked: Sequence[Asked]) -> list[list[Value]]:
        """What is said of the rows of each answer, by a process that is started where there is none.

        Raises ProcessError where it fails; then close it before it is asked again.
        """
        if self._connection is None:
            self._start()
        found: list[list[Value]] = self._reply(self._code.timeout, asked)
        if [*map(len, found)] != [len(inputs.rows) for inputs, _ in asked]:
            raise ProcessError("it answered other rows than it was asked")
        return found

    def _start(self) -> None:
        ours, theirs = _spawn.Pipe()
        process = _spawn.Process(
            target=serve, args=(theirs, self._code), name=f"tally monitor {self._name}", daemon=True
        )
        process.start()
        theirs.close()
        self._process, self._connection = process, ours
        try:
            said = self._reply(_LOADING_SECONDS)
        except ProcessError as error:
            raise LoadingError(str(error)) from None
        if said != READY:
            raise LoadingError(str(said))

    def _reply(self, seconds: float, asked: Sequence[Asked] | None = None) -> Any:
        """What the process says, after it was asked something."""
        connection = self._connection
        assert connection is not None
        try:
            if asked is not None:
                connection.send(asked)
            if not connection.poll(seconds):
                raise ProcessError(f"it took longer than {seconds:g} s")
            return connection.recv()
        except (EOFError, OSError):
            raise ProcessError(f"its process ended ({self._end()})") from None

    def _end(self) -> str:
        """How the process has ended."""
        self._process.join(_ENDING_SECONDS)
        code = self._process.exitcode
        return "nobody knows how" if code is None else f"signal {-code}" if code < 0 else f"exit code {code}"

    def close(self) -> None:
        """End the process at once."""
        if self._connection is not None:
            self._connection.close()
            self._process.kill()
            self._process.join(_ENDING_SECONDS)
            self._connection = self._process = None


def _failed(asked: Sequence[Asked], why: str) -> list[list[Value]]:
    return [[why] * len(inputs.rows) for inputs, _ in asked]


def _rows(asked: Sequence[Asked]) -> int:
    return sum(len(inputs.rows) for inputs, _ in asked)


def _parts(asked: Sequence[Asked]) -> list[list[Asked]]:
    """The rows of these answers, each as an answer of its own, in so many parts."""
    rows: list[Asked] = [
        (Columns(inputs.names, [row]), Columns(outputs.names, [other]))
        for inputs, outputs in asked
        for row, other in zip(inputs.rows, outputs.rows, strict=True)
    ]
    size = -(-len(rows) // _PARTS)
    return [rows[begin : begin + size] for begin in range(0, len(rows), size)]
