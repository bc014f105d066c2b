"""Class texts: how predictions and labels of every form become comparable words, and how they are kept in few bytes.

A *mark* is what the state keeps of one prediction or label:

    int >= 0      the class with that text ("4" for 4, 4.0 and [4])
    int < 0       the position -mark-1 in the class names (from an argmax)
    str           any other class text
    float         a number that is not integral: a score in [0, 1], or a measurement
    None          no prediction (the model failed) or no label
"""

import re
from functools import lru_cache
from typing import Any

from app.core.events import Reason, RefusedError

Mark = int | str | float | None

_NUMBER = re.compile(r"(0|-?[1-9][0-9]*)(?:\.0+)?")
_DEFAULT_NAME = re.compile(r"t:(0|[1-9][0-9]{0,5})")
#: Whole numbers from 0 to below this are their own marks.
LARGEST_INT = 2**31
_KINDS = {type(None): "null", list: "a list", dict: "an object"}
_BLANKS = " \t\r\n\v\f"
_EMPTY = "(empty)"
#: Booleans are the classes 1 and 0, and so are the texts that stand for them; an empty text is a class that is seen.
_WORDS: dict[str, Mark] = {"true": 1, "True": 1, "TRUE": 1, "false": 0, "False": 0, "FALSE": 0, "": _EMPTY}


def index_mark(index: int) -> int:
    """The mark of a position in the class names."""
    return -index - 1


def mark_of(value: Any, longest: int = 200) -> Mark:
    """The mark of one scalar from a payload. Refuses what is no scalar, and texts beyond `longest` characters."""
    kind = type(value)
    if kind is int or kind is bool:
        return int(value) if 0 <= value < LARGEST_INT else _long_number(value, longest)
    if kind is float:
        # A float that is a whole number is one, at any size, as JSON may write 10000000000000000000 either way.
        return mark_of(int(value), longest) if value.is_integer() else float(value)
    if kind is str:
        value = value.strip(_BLANKS)
        if len(value) > longest:
            raise RefusedError(Reason.LABEL_TOO_LONG, f"a class text of {len(value)} characters; at most {longest}")
        if number := _NUMBER.fullmatch(value):
            return mark_of(int(number[1])) if len(value) < 18 else value
        if default := _DEFAULT_NAME.fullmatch(value):
            return index_mark(int(default[1]))
        known = _WORDS.get(value)
        return str(value) if known is None else known
    raise RefusedError(Reason.BAD_PAYLOAD, f"a class must be a number or a text, not {_KINDS.get(kind, kind.__name__)}")


def _long_number(value: int, longest: int) -> str:
    # Beyond 64 bits JSON readers differ in what they keep; the float nearest to it is the same for all.
    try:
        exact = value if -(2**63) <= value < 2**64 else int(float(value))
    except OverflowError:
        raise RefusedError(Reason.NOT_FINITE, "a number too large for any class") from None
    text = str(exact)
    if len(text) > longest:
        raise RefusedError(Reason.LABEL_TOO_LONG, f"a class text of {len(text)} characters; at most {longest}")
    return text


def class_text(mark: int | str, names: tuple[str, ...] = ()) -> str:
    """The canonical class text of a mark that names a class.

    Where the model has names, the name is the class; a text may be a name or an index, an exact name first.
    """
    if type(mark) is int and mark < 0:
        index = -mark - 1
        return names[index] if index < len(names) else str(index)
    text = mark if type(mark) is str else str(mark)
    if names and text not in names:
        same = _names_by_mark(names).get(mark)
        if same is not None:
            return same
        if text.isdecimal() and int(text) < len(names):
            return names[int(text)]
    return text


def given_names(names: Any, width: int) -> tuple[str, ...]:
    """The class names of a payload for vectors of `width`, or () where there are none but Seldon's defaults."""
    if type(names) is list:
        names = tuple(names)
    if type(names) is not tuple or len(names) != width:
        return ()
    try:
        return _given(names)
    except TypeError:  # a name that is a list or an object is no name
        return ()


@lru_cache(maxsize=1024)
def _names_by_mark(names: tuple[str, ...]) -> dict[Mark, str]:
    """Names that stand for numbers or booleans: "1.0" is the class of a label 1, "True" that of true."""
    return {mark_of(name, len(name)): name for name in reversed(names) if _NUMBER.fullmatch(name) or name in _WORDS}


@lru_cache(maxsize=1024)
def _given(names: tuple[Any, ...]) -> tuple[str, ...]:
    if not all(type(name) is str for name in names) or all(_DEFAULT_NAME.fullmatch(name) for name in names):
        return ()
    return tuple(name.strip(_BLANKS) or _EMPTY for name in names)
