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

_WHOLE: Final = range(-(2**63), 2**63)


class Latest(NamedTuple):
    """A value and when it was said: `time` in µs since 1970, and a digest that decides between two of one time."""

    time: int
    digest: int
    value: float


Cell = int | Latest
Row = Mapping[str, Cell]


def later(one: Latest | None, other: Latest | None) -> Latest | None:
    """The latest of two. None is neutral; order and repetition do not matter."""
    if one is None or other is None:
        return one or other
    return max(one, other)


def row_value(row: Row) -> bytes:
    """The record value of a row, `{column: cell}` as JSON: a sum is a number, as text where 64 bits cannot hold it, the
    latest value `[time, digest, value]`.
    """
    return orjson.dumps({column: _plain(cell) for column, cell in row.items()})


def parse_row_value(raw: bytes) -> dict[str, Cell]:
    """The cells of a record value."""
    return {column: _cell(value) for column, value in orjson.loads(raw).items()}


def _plain(cell: Cell) -> Any:
    if isinstance(cell, Latest):
        return list(cell)
    return cell if cell in _WHOLE else str(cell)


def _cell(value: Any) -> Cell:
    return Latest(*value) if type(value) is list else int(value)
