"""Columns of a file of data: which of them are asked for, and what they hold."""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from app.cli.ends import InputError
from app.cli.labels.tables import LabelTable, Piece, shown_columns

_PLAIN: Final = (str, bool, int, float, type(None), list, dict)


class Data(NamedTuple):
    """Columns, and where they are, for sentences."""

    where: str
    columns: Sequence[str]


def demand(data: Data, option: str, names: Sequence[str]) -> None:
    """Raises InputError where a name that an option has is that of no column."""
    for name in names:
        if name not in data.columns:
            raise InputError(f"{option} {name}: {data.where} has no such column; it has {shown_columns(data.columns)}.")


def chosen_columns(data: Data, features: Sequence[str], exclude: Sequence[str], own: Collection[str] = ()) -> list[str]:
    """The columns of features: those of --feature in their order, else all but --exclude and `own`, which are taken for
    something else. Raises InputError.
    """
    demand(data, "--feature", features)
    demand(data, "--exclude", exclude)
    for name in features:
        if name in exclude:
            raise InputError(f"--exclude {name}: it is a --feature too; it can be one of both.")
    chosen = [*dict.fromkeys(features)]
    return chosen or [name for name in data.columns if name not in own and name not in exclude]


def refuse_doubles(data: Data, chosen: Sequence[str]) -> None:
    """Raises InputError where two columns have one name."""
    double = next((name for name, times in Counter(map(str.strip, chosen)).items() if times > 1), None)
    if double is not None:
        raise InputError(f"{data.where} has two columns named {double!r}: give each its own name.")


def whole_pieces(rows: LabelTable, wanted: Sequence[str]) -> Iterator[Piece]:
    """The lines of a file, all of which can be read. Raises InputError."""
    for piece in rows.pieces(wanted):
        for number, why in piece.bad:
            raise InputError(f"{rows.path}, line {number} {why}: mend it, or take it out.")
        yield piece


def values_of(rows: LabelTable, wanted: Sequence[str]) -> dict[str, list[Any]]:
    """All values of columns. Raises InputError."""
    values: dict[str, list[Any]] = {name: [] for name in wanted}
    for piece in whole_pieces(rows, wanted):
        for name in wanted:
            values[name] += map(plain, piece.columns[name])
    return values


def plain(value: Any) -> Any:
    """A value as JSON would have it: Parquet has others."""
    if isinstance(value, _PLAIN):
        return value
    return float(value) if isinstance(value, Decimal) else str(value)
