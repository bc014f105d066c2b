"""Scores by functions of the user's own: found, tried once on an example, and kept from doing harm where they fail."""

import logging
import math
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from importlib.util import find_spec
from inspect import iscoroutinefunction
from numbers import Real
from pathlib import Path
from typing import Any, ClassVar, Final

log = logging.getLogger(__name__)

#: CPU seconds that a call may take: it is made for every model and window whenever these have changed.
_LONGEST_SECONDS: Final = 0.1
#: So many calls may take longer: one alone may be the machine's fault.
_MOST_SLOW: Final = 3
_SHOWN: Final = 200

Function = Callable[[Mapping[tuple[str, str], int]], Any]


class FunctionError(ValueError):
    """The function cannot be used; the message is the rest of a sentence that begins with its place."""


def function_of(name: str, folder: Path) -> Function:
    """The function that `module:function` names, in a module that Python finds, or that lies in this folder.

    Raises FunctionError.
    """
    module_name, colon, path = name.partition(":")
    if not colon or not all(word.isidentifier() for part in (module_name, path) for word in part.split(".")):
        raise FunctionError("must be written module:function")
    if str(folder) not in sys.path:
        sys.path.append(str(folder))  # last, so that it hides nothing
    try:
        if find_spec(module_name) is None:
            raise ModuleNotFoundError(name=module_name)
        found: Any = import_module(module_name)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the code is the user's
        if isinstance(error, ModuleNotFoundError) and f"{module_name}.".startswith(f"{error.name}."):
            raise FunctionError(
                f"there is no module {error.name}: put it on PYTHONPATH, or beside the YAML file"
            ) from None
        raise FunctionError(f"module {module_name} cannot be imported ({_words(error)})") from None
    for word in path.split("."):
        if not hasattr(found, word):
            meant = get_close_matches(word, dir(found), n=1)
            raise FunctionError(f"{module_name} has no {path}" + (f"; did you mean {meant[0]}?" if meant else ""))
        found = getattr(found, word)
    if not callable(found) or iscoroutinefunction(found):
        what = "must not be async" if callable(found) else "is no function"
        raise FunctionError(f"{path} of {module_name} {what}")
    function: Function = found
    return function


def check_on_example(function: Function, classes: Sequence[str]) -> None:
    """Try a function on a confusion of these classes. Raises FunctionError where it gives no number, or two."""
    places = range(len(classes))
    example = {
        (classes[one], classes[other]): 1 + one + 2 * other + 9 * (one == other) for one in places for other in places
    }
    shown = "an example confusion of the classes " + ", ".join(classes)
    try:
        first, second = _call(function, example), _call(function, example)
    except (Exception, SystemExit) as error:  # noqa: BLE001 - the code is the user's
        raise FunctionError(f"fails on {shown} ({_words(error)})") from None
    if first != second and not (math.isnan(first) and math.isnan(second)):
        raise FunctionError(f"gives {first:g} and then {second:g} for {shown}: it must depend on nothing else")


class OwnFunction:
    """A user's function over the confusion, as the core takes it: where it fails there is no number, and it is counted.

    One that takes too long a few times is not called again: it would hold up whoever waits for the numbers.
    """

    runs_code: ClassVar[bool] = True

    def __init__(self, name: str, function: Function, *, longest: float = _LONGEST_SECONDS) -> None:
        self.failures = 0
        self._name = name
        self._function = function
        self._longest = longest
        self._slow = 0  # calls that took too long
        self._lock = threading.Lock()

    def __call__(self, confusion: Mapping[tuple[str, str], int]) -> float | None:
        """What it gives; None where that is NaN, or it has failed."""
        if self._slow >= _MOST_SLOW:
            self._fail()
            return None
        began = time.thread_time()
        try:
            value = _call(self._function, confusion)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - the code is the user's
            if self._fail() == 1:
                self._warn(f"failed ({_words(error)})")
            return None
        took = time.thread_time() - began
        if took > self._longest:
            self._slow += 1
            if self._slow == _MOST_SLOW:
                self._warn(
                    f"took {took:.2f} s, more than {self._longest:g}, again: it is not called before a new start"
                )
        return None if math.isnan(value) else value

    def _fail(self) -> int:
        """Count a failure. How many there have been."""
        with self._lock:  # models are made in threads too
            self.failures += 1
            return self.failures

    def _warn(self, what: str) -> None:
        log.warning("function=%s of `scores:` %s; its score is NaN (tally_score_failures_total)", self._name, what)


def _call(function: Function, confusion: Mapping[tuple[str, str], int]) -> float:
    """What a function gives for a confusion of its own, in which a cell that no row is in is 0."""
    value = function(Counter(confusion))
    if type(value) is bool or not isinstance(value, Real):
        raise TypeError(f"it gives {type(value).__name__}, and must give a number")
    number = float(value)
    if math.isinf(number):
        raise ValueError("it gives infinity, and must give a number")
    return number


def _words(error: BaseException) -> str:
    text = " ".join(str(error).split())
    words = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return words if len(words) <= _SHOWN else words[:_SHOWN] + "…"
