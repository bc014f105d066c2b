"""Tables: the rows of a body, whatever its form; and what every form can do."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from app.core.events import Reason, RefusedError
from app.core.payloads.blanking import Redaction
from app.core.payloads.tensors import flat

#: So many values may come of one that is meant for many places: nothing in a body's size bounds them.
MOST_REPEATED: Final = 1_000_000


class Table(NamedTuple):
    """The rows of a body: one for each item of a batch, one for anything that is no batch.

    A row is a value (a class, a text, a number, null, any JSON), or a list of the values in its columns. Where a body
    has several tensors, or is a data frame, each row is a *record*: a list with one entry of each tensor, `names`
    those of the tensors. Otherwise `names` are those that the payload gives its columns, or None.
    """

    rows: list[Any]
    names: tuple[str, ...] | None = None
    record: bool = False
    fits: bool = True  # False where texts do not fill the shape that their tensor claims
    own_type: str = ""  # what the form itself says of the type
    tensor: str = ""  # the name of the only tensor, where it has more than one column
    classified: bool = False  # texts are Triton's classifications: value:index[:label]

    @property
    def data_type(self) -> str:
        """What the rows are, in the words of Seldon's request logger: tabular, number, text, image or json."""
        return self.own_type or _data_type(self.rows, self.record)

    def elements(self, index: int) -> dict[str, Any] | None:
        """The values of one row by column, None where no names fit."""
        row = self.rows[index]
        cells = row if type(row) is list else [row]
        return dict(zip(self.names, cells, strict=True)) if self.names and len(self.names) == len(cells) else None


@dataclass(frozen=True, slots=True)
class Form:
    """A payload form: how its bodies are known and read, and how columns are taken out of them.

    In all three the body is decoded JSON; `what` is "request", "response" or "truth". They are asked in the order of
    `FORMS` (`app.core.payloads.forms`), and the first that claims a body reads it.
    """

    name: str
    #: The members by which an object may be of this form; one with any of them, even null, has a payload. None where it
    #: is no object.
    members: frozenset[str]
    #: (body, what) → whether the body is of this form.
    claims: Callable[[Any, str], bool]
    #: (body, what) → its rows. Raises RefusedError, whose sentence names the part by `what`.
    table: Callable[[Any, str], Table]
    #: (body, what is left out) → the body with null, or nothing, in the place of these values; it may be changed. Where
    #: the form cannot say which value is whose, all that could be meant go. A body of another form stays as it is.
    blank: Callable[[Any, Redaction], Any]
    #: Bodies of this form, as JSON, each with `what` it is: the README shows what is read of them, tests that it is.
    examples: tuple[tuple[str, str], ...]


class Column(NamedTuple):
    """One tensor among others."""

    name: str
    rows: list[Any]
    cells: list[Any] | None  # the value of each row where it has just one
    fits: bool = True
    classified: bool = False


def rows_table(values: Any, names: Any, what: str) -> Table:
    """The table of a list of rows, or of one row that is a value. Refuses what is no row, and no rows."""
    if values is None or type(values) is dict:
        kind = "null" if values is None else "an object"
        raise RefusedError(Reason.BAD_PAYLOAD, f"the {what}'s rows must be a list, not {kind}")
    rows = values if type(values) is list else [values]
    if not rows or rows[0] == []:
        raise RefusedError(Reason.EMPTY, f"the {what} has no rows")
    return Table(rows, column_names(names))


def column_names(names: Any) -> tuple[str, ...] | None:
    """The names of columns as a payload gives them, None where they are no list of texts."""
    return tuple(names) if type(names) is list and names and all(type(name) is str for name in names) else None


def merged(columns: list[Column], what: str, *, frame: bool = False) -> Table:
    """The table of several tensors. One of a single row is meant for all rows (a setting, say); where the numbers of
    rows differ otherwise, the whole is one row.
    """
    if len(columns) == 1 and not frame and columns[0].rows:
        name, rows, cells, fits, classified = columns[0]
        return Table(
            rows, (name,) if cells and name else None, False, fits, tensor="" if cells else name, classified=classified
        )
    if not any(column.rows for column in columns):
        raise RefusedError(Reason.EMPTY, f"the {what} has no rows")
    fits = all(column.fits for column in columns)
    classified = any(column.classified for column in columns)
    names = tuple(column.name for column in columns)
    count = max(len(column.rows) for column in columns)
    if any(len(column.rows) not in (1, count) for column in columns) or count * len(columns) > MOST_REPEATED:
        return Table([[column.rows for column in columns]], names, True, fits, classified=classified)
    entries = [(column.cells or column.rows) * (count // len(column.rows)) for column in columns]
    return Table([list(row) for row in zip(*entries, strict=True)], names, True, fits, classified=classified)


def rank_of(value: Any) -> int:
    """How deep lists are nested, by their first entries."""
    rank = 0
    while type(value) is list:
        rank += 1
        value = value[0] if value else None
    return rank


def _data_type(rows: list[Any], record: bool) -> str:
    if record:
        return "image" if any(rank_of(cell) > 2 for cell in rows[0]) else "tabular"
    rank = rank_of(rows)
    if rank > 3:
        return "image"
    if rank == 3 or (rank == 2 and len(rows[0]) > 1):
        return "tabular"
    first = next((value for value in flat(rows) if value is not None), None)
    if type(first) is dict:
        return "json"
    return "text" if type(first) is str else "number"
