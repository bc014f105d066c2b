"""Cells: what a counter holds, and how what several partitions and panes hold becomes one.

There are two kinds, and a cell says of itself which it is:

- A *sum* is a whole number of any size. What was added can be taken away again, so a window slides by adding the panes
  that come and taking away those that go.
- The *latest* of several values is that of the greatest (time, digest). Nothing can be taken away from it, so a window
  is folded from its panes each time that it is read.
"""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import orjson


class Latest(NamedTuple):
    """A value and when it was said: `time` in µs since 1970, and a digest that decides between two of one time."""

    time: int
    digest: int
    value: float


Cell = int | Latest
_OF_SUMS: Final = {int}
Columns = Mapping[str, Cell]


def later(one: Latest | None, other: Latest | None) -> Latest | None:
    """The latest of two. None is neutral; order and repetition do not matter."""
    if one is None or other is None:
        return one or other
    return max(one, other)


def pack_cells(cells: Columns | Mapping[str, Columns]) -> bytes:
    """Cells by column, or by row and column, as JSON: a sum is a number, as text where 64 bits cannot hold it; the
    latest of several values is `[time, digest, value]`.
    """
    try:
        packed = orjson.dumps(cells, default=list)  # which is asked for the latest of several values alone
    except orjson.JSONEncodeError:
        packed = orjson.dumps(_as_text(cells), default=list)
    return compact(packed)


def compact(text: bytes) -> bytes:
    """A copy of a text that orjson has made. Its own holds 4 kB of memory, however short it is: too much for one of
    very many that are kept until their epoch is written.
    """
    return b"%b" % text


def _as_text(cells: Any) -> Any:
    """The same with all sums as text."""
    if isinstance(cells, Mapping):
        return {name: _as_text(cell) for name, cell in cells.items()}
    return str(cells) if type(cells) is int else cells


def parse_cells(columns: dict[str, Any]) -> dict[str, Any]:
    """The same cells again; those of sums alone, which nearly all are, as they stand."""
    if {*map(type, columns.values())} == _OF_SUMS:
        return columns
    return {column: cell if type(cell) is int else _cell(cell) for column, cell in columns.items()}


def _cell(plain: Any) -> Cell:
    return Latest(*plain) if type(plain) is list else int(plain)
