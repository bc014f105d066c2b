"""In the place of a reference: what keeps the values of requests themselves, for whoever makes a reference of them.

They stand where their bins would (`app.core.drift.kept`), count as nothing, and are taken back alike:

    flags (4), 4 bytes of no meaning, the digest of the content as there, then as MessagePack the names of the columns
    or their number, and the rows
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

import msgspec

from app.core.drift.distribution import LONGEST, number_in
from app.core.drift.kept import MOST_BINS, VALUES, body_begin
from app.core.drift.live import Live
from app.core.drift.reference import Reference

_HEAD: Final = bytes([VALUES]) + bytes(4)
_SCALARS: Final = (bool, int, float, type(None))
_MOST_BITS: Final = 63  # of a whole number in MessagePack


class Asked(NamedTuple):
    """The rows of a request, and what its columns are called, or how many there are."""

    columns: tuple[str, ...] | int
    rows: list[list[Any]]


class Recorder(Live):
    """Keeps what requests bring."""

    def __init__(self) -> None:
        super().__init__(Reference(()))

    def bins(self, rows: Any, names: Sequence[str] | None) -> tuple[bytes | None, str]:
        """The rows of a request as bytes: of many the first ones. None where they are no table."""
        found = table_of(rows, names)
        return None if found is None else packed(found), ""


def table_of(rows: Any, names: Sequence[str] | None) -> Asked | None:
    """The rows of a request: of many the first ones. None where they are no table."""
    if type(rows) is not list or not rows:
        return None
    columns: tuple[str, ...] | int = _columns(rows[0], names)
    width = columns if isinstance(columns, int) else len(columns)
    if not width:
        return None
    kept = []
    for row in rows[: max(1, MOST_BINS // width)]:
        if _columns(row, names) != columns:
            return None
        cells = [*row.values()] if type(row) is dict else row if type(row) is list else [row]
        kept.append([_plain(cell) for cell in cells])
    return Asked(columns, kept)


def packed(kept: Asked) -> bytes:
    """Rows as bytes."""
    return _HEAD + msgspec.msgpack.encode(kept)


def _columns(row: Any, names: Sequence[str] | None) -> tuple[str, ...] | int:
    if type(row) is dict:
        return tuple(map(str, row))
    width = len(row) if type(row) is list else 1
    return tuple(map(str, names)) if names is not None and len(names) == width else width


def _plain(cell: Any) -> Any:
    """Of a list or an object its kind alone counts."""
    if type(cell) in _SCALARS:
        return number_in(cell) if type(cell) is int and cell.bit_length() > _MOST_BITS else cell
    if type(cell) is str:
        return cell[:LONGEST]
    return [] if type(cell) is list else {}


def asked(kept: bytes) -> Asked | None:
    """What such bytes keep; None where they are those of a reference."""
    if not kept[0] & VALUES:
        return None
    columns, rows = msgspec.msgpack.decode(kept[body_begin(kept) :])
    return Asked(columns if type(columns) is int else tuple(columns), rows)


def columns_of(asked: Sequence[Asked]) -> list[str]:
    """The columns that most rows have, in the order that most of these have; numbers where they have no names."""
    by_columns: dict[Any, int] = {}
    for one in asked:
        by_columns[one.columns] = by_columns.get(one.columns, 0) + len(one.rows)
    if not by_columns:
        return []
    together: dict[frozenset[str], int] = {}
    for columns, count in by_columns.items():
        together[_names(columns)] = together.get(_names(columns), 0) + count
    most = min(together, key=lambda names: (-together[names], sorted(names)))
    own = {columns: count for columns, count in by_columns.items() if _names(columns) == most}
    columns = min(own, key=lambda one: (-own[one], str(one)))
    return [str(place) for place in range(columns)] if isinstance(columns, int) else list(columns)


def values_of(asked: Sequence[Asked], columns: Sequence[str]) -> dict[str, list[Any]]:
    """The values of columns, of the requests that have just these."""
    values: dict[str, list[Any]] = {name: [] for name in columns}
    wanted = frozenset(columns)
    for one in asked:
        if _names(one.columns) == wanted:
            names = [*map(str, range(one.columns))] if isinstance(one.columns, int) else one.columns
            for place, name in enumerate(names):
                values[name] += [row[place] for row in one.rows]
    return values


def _names(columns: tuple[str, ...] | int) -> frozenset[str]:
    return frozenset(map(str, range(columns))) if isinstance(columns, int) else frozenset(columns)
