"""What runs in the process of one monitor: the user's code, found and called.

It is the only place where that code runs, so it may raise, hang, use up its memory or end its process: whoever asked
learns it, and nothing else is touched.
"""

import contextlib
import ctypes
import importlib.util
import inspect
import math
import os
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import groupby
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Final

import numpy as np

from app.core.monitors import Code, Columns
from app.worker.monitors.models import load_model

#: What is asked for one answer: its inputs and its outputs.
Asked = tuple[Columns, Columns]
#: What is said of a row: its value, or why it has none.
Value = float | str
#: Takes answers; gives the values of the rows of each.
Scorer = Callable[[Sequence[Asked]], list[list[Value]]]

READY: Final = "ready"
_SHOWN: Final = 200
_DIE_WITH_PARENT: Final = 1  # PR_SET_PDEATHSIG
#: So that a monitor takes its own core, and no more memory for others.
_ONE_THREAD: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


class ShapeError(Exception):
    """The code gave other values than one a row; the message says so by itself."""


def serve(connection: Connection, code: Code) -> None:
    """Load the code, say that it is ready (or why not), and score what is asked until the other side closes."""
    _prepare()
    try:
        score = load(code)
        _limit(code.memory)
    except BaseException as error:  # noqa: BLE001 - the code is the user's
        connection.send(f"it cannot be loaded ({words(error)})")
        return
    connection.send(READY)
    with contextlib.suppress(EOFError, BrokenPipeError):
        while True:
            asked = connection.recv()
            connection.send(scored(score, asked))


def _prepare() -> None:
    """End with whoever started it, take one core, leave the terminal's signals and the standard output to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_DIE_WITH_PARENT, signal.SIGKILL)
    for name in _ONE_THREAD:
        os.environ.setdefault(name, "1")
    os.dup2(2, 1)  # what the code prints is no output of a command


def _limit(memory: int) -> None:
    """Let the process have so much more memory than it has now."""
    with contextlib.suppress(OSError, ValueError):
        used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        hard = resource.getrlimit(resource.RLIMIT_AS)[1]
        resource.setrlimit(resource.RLIMIT_AS, (used + memory, hard))


def load(code: Code) -> Scorer:
    """The scorer that code is. Raises whatever the code raises, and ValueError where it has no function to call."""
    if code.folder not in sys.path:
        sys.path.append(code.folder)  # last, so that it hides nothing
    if code.kind == "model":
        return _in_batches(load_model(code))
    if code.kind == "function":
        module, _, path = code.place.partition(":")
        found: Any = import_module(module)
        for word in path.split("."):
            found = getattr(found, word)
        batch = (code.call or path.rpartition(".")[2]) == "score"
        return _in_batches(found) if batch else _row_by_row(found)
    spec = importlib.util.spec_from_file_location("tally_monitor", code.place)
    assert spec is not None
    assert spec.loader is not None
    module_of_file = importlib.util.module_from_spec(spec)
    sys.modules["tally_monitor"] = module_of_file
    spec.loader.exec_module(module_of_file)
    for call in (code.call,) if code.call else ("score", "predict"):
        if callable(getattr(module_of_file, call, None)):
            function = getattr(module_of_file, call)
            return _in_batches(function) if call == "score" else _row_by_row(function)
    raise ValueError("it has neither score(inputs, outputs) nor predict(**fields)")


def _in_batches(function: Callable[[Any, Any], Any]) -> Scorer:
    def score(asked: Sequence[Asked]) -> list[list[Value]]:
        found: list[list[Value]] = []
        for _, group in groupby(asked, key=lambda one: (one[0].names, one[1].names)):
            alike = [*group]
            counts = [len(inputs.rows) for inputs, _ in alike]
            arrays = (_array([row for one in alike for row in one[place].rows]) for place in (0, 1))
            given = np.asarray(function(*arrays))
            if given.ndim != 1 or len(given) != sum(counts):
                shape = " x ".join(map(str, given.shape)) or "one"
                raise ShapeError(f"it gave {shape} values for {sum(counts)} rows")
            values = iter([value_of(value) for value in given.tolist()])
            found += [[next(values) for _ in range(count)] for count in counts]
        return found

    return score


def _array(rows: list[list[Any]]) -> Any:
    """Rows as an array of numbers, else of objects."""
    try:
        return np.array(rows, dtype=np.float64)
    except (ValueError, TypeError):
        return np.array(rows, dtype=object)


def _row_by_row(function: Callable[..., Any]) -> Scorer:
    """That of a `predict(**fields)`; it is given what it asks for by name, and all where it takes anything."""
    parameters = inspect.signature(function).parameters.values()
    takes_all = any(one.kind is one.VAR_KEYWORD for one in parameters)
    names = {one.name for one in parameters}

    def score_row(fields: dict[str, Any]) -> Value:
        try:
            return value_of(function(**{name: fields[name] for name in fields if takes_all or name in names}))
        except MemoryError:
            raise
        except Exception as error:  # noqa: BLE001 - the code is the user's, and this row alone has failed
            return f"it failed ({words(error)})"

    def score(asked: Sequence[Asked]) -> list[list[Value]]:
        return [
            [
                score_row(dict(zip(inputs.names, row, strict=True)) | dict(zip(outputs.names, other, strict=True)))
                for row, other in zip(inputs.rows, outputs.rows, strict=True)
            ]
            for inputs, outputs in asked
        ]

    return score


def value_of(given: Any) -> Value:
    """The value that the code gave: a number, or `{"value": number}`; else why it is none."""
    if isinstance(given, dict):
        if "value" not in given:
            return "it gave no value"
        given = given["value"]
    if hasattr(given, "item"):
        given = given.item()
    if not isinstance(given, int | float):
        return f"it gave {type(given).__name__}, and must give a number"
    value = float(given)
    return "it gave NaN" if math.isnan(value) else value


def scored(score: Scorer, asked: Sequence[Asked]) -> list[list[Value]]:
    """What is said of each answer. Where all of them together fail, each is asked for alone: it may be one's fault."""
    try:
        return score(asked)
    except Exception as error:  # noqa: BLE001 - the code is the user's
        if len(asked) > 1:
            return [values for one in asked for values in scored(score, [one])]
        why = str(error) if isinstance(error, ShapeError) else f"it failed ({words(error)})"
        return [[why] * len(asked[0][0].rows)]


def words(error: BaseException) -> str:
    """An error in a few words, on one line."""
    text = " ".join(f"{type(error).__name__}: {error}".rstrip(": ").split())
    return text if len(text) <= _SHOWN else text[:_SHOWN] + "…"
