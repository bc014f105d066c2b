"""What a request asks for, in its query and its path. What cannot be is refused with a sentence that names it."""

import math
from typing import Final
from urllib.parse import unquote

from aiohttp import web

from app.core.events import Identity
from app.core.measures.readings import Readings
from app.core.outputs.keys import parse_key
from app.core.outputs.overview import clocks_of, usual_window, windows_of
from app.core.outputs.slots import LABELS, PREDICTIONS
from app.setting_values import parse_duration
from app.worker.http.answers import AnswerError
from app.worker.http.guard import shortened

#: How far back: to where workers keep counts; to where a model was first seen.
KEPT: Final = "kept"
ALL: Final = "all"
#: The last second that a time may name: the year 9999.
_LAST: float = 253_402_300_799


def window_of(request: web.Request, readings: Readings) -> str:
    """The window that is asked for, or the usual one."""
    windows = windows_of(readings)
    window = request.query.get("window")
    if window is None:
        return usual_window(readings)
    if window not in windows:
        raise AnswerError(400, f"window: {shortened(window)!r} is none of {', '.join(windows)} (TALLY_WINDOWS).")
    return window


def by_labels(request: web.Request, readings: Readings) -> bool:
    """Whether the clock of labels is asked for."""
    clock = request.query.get("clock", PREDICTIONS)
    if clock in clocks_of(readings):
        return clock == LABELS
    if clock == LABELS:
        raise AnswerError(400, "clock: what is known by the time of labels needs TALLY_LABEL_WINDOWS=true.")
    raise AnswerError(400, f"clock: {shortened(clock)!r} is neither {PREDICTIONS} nor {LABELS}.")


def moment_of(request: web.Request, name: str, usual: float) -> float:
    """A time in seconds since 1970."""
    text = request.query.get(name)
    if text is None:
        return usual
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds <= _LAST:
        raise AnswerError(400, f"{name}: {shortened(text)!r} is no time: give seconds since 1970.")
    return seconds


def count_of(request: web.Request, name: str, usual: int, most: int) -> int:
    """A number of things."""
    text = request.query.get(name)
    if text is None:
        return usual
    if not (text.isascii() and text.isdecimal() and len(text) < 10 and 1 <= int(text) <= most):
        raise AnswerError(400, f"{name}: {shortened(text)!r} is no number from 1 to {most:,}.")
    return int(text)


def back_of(request: web.Request) -> int | str:
    """How far back is asked for, by `back`, which is given: seconds, KEPT or ALL."""
    text = request.query["back"]
    if text in (KEPT, ALL):
        return text
    try:
        seconds = seconds_of(request, "back")
    except AnswerError as error:
        raise AnswerError(error.status, f"{error.sentence} It may be `{KEPT}` or `{ALL}`, too.") from None
    assert seconds is not None
    return seconds


def seconds_of(request: web.Request, name: str) -> int | None:
    """A duration in whole seconds; None where none is given."""
    text = request.query.get(name)
    if text is None:
        return None
    try:
        seconds = parse_duration(f"{text}s" if text.isascii() and text.isdecimal() else text)
    except ValueError as error:
        raise AnswerError(400, f"{name}: {shortened(text)!r} {error}, or a number of seconds.") from None
    if seconds != int(seconds) or not 1 <= seconds <= _LAST:
        raise AnswerError(400, f"{name}: {shortened(text)!r} is no whole number of seconds from 1 on.")
    return int(seconds)


def needed(request: web.Request, name: str) -> str:
    """A parameter that must be given."""
    text = request.query.get(name)
    if not text:
        raise AnswerError(400, f"{name}: give it, as `{request.path}?{name}=…`.")
    return text


def model_in_path(request: web.Request, readings: Readings, behind: str = "") -> Identity:
    """The model that a path names, before what stands behind it.

    The path is read as it came: a name may hold a `/` that is written %2F.
    """
    path = request.rel_url.raw_path
    key = path[len("/api/models/") : len(path) - len(behind)]
    return model_named(key, readings)


def model_named(key: str, readings: Readings) -> Identity:
    """The model with a key."""
    identity = parse_key(key)
    if identity is None:
        raise AnswerError(
            400,
            f"{shortened(unquote(key))} is no key of a model: one is namespace/service/predictor/model@version, with "
            "%2F and %40 for `/` and `@` within a name.",
        )
    if readings.nature(identity) is None:
        raise AnswerError(
            404, f"There is no model {shortened(unquote(key))}; /api/overview lists those that there are."
        )
    return identity
