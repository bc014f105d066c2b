"""The probability field: where in an answer probabilities stand that are not the answer itself.

    proba           of {"label": "a", "proba": {"a": 0.9, "b": 0.1}}, or a column of that name
    scores.proba    below another key
    proba_*         of the columns label, proba_a, proba_b: one a class, whose name stands in the place of *
    meta.tags.p     from the body's root, of the only row or one of each row

What stands there is an object by class, a list with one a class in the order of `classes`, or a single number: that of
the positive class, of two that are declared. Of a row of an answer it is looked for in the row itself first.
"""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from app.core.payloads.marks import class_text, mark_of
from app.core.payloads.table import Table

_NUMBERS: Final = frozenset({int, float})
_MISSING: Final = object()


class ProbabilityField(NamedTuple):
    """The field as the user names it, the classes that are declared, and which of two is the positive one."""

    name: str
    classes: tuple[str, ...] = ()
    positive: str | None = None

    @property
    def path(self) -> tuple[str, ...]:
        """Its keys from the outside on."""
        return tuple(self.name.split("."))


class Found(NamedTuple):
    """The probabilities of each row, None of one that has none; and the classes that they are of, () where these are
    positions.
    """

    vectors: list[list[float] | None]
    classes: tuple[str, ...]
    raws: list[Any]  # what stands there in each row


class NoProbabilityError(Exception):
    """No row has probabilities in the field; the message says why."""


def probabilities_of(field: ProbabilityField, table: Table, body: Any) -> Found:
    """The probabilities that an answer has in the field. Raises NoProbabilityError where no row has any."""
    raws = _in_rows(field, table)
    if raws is None:
        raws = _from_root(field, body, len(table.rows))
    if raws is None:
        raise NoProbabilityError(f"the answer has no {field.name}")
    classes = _classes(field, raws)
    vectors = [_vector(raw, classes, field) for raw in raws]
    width = max((len(vector) for vector in vectors if vector is not None), default=0)
    vectors = [vector if vector is not None and len(vector) == width else None for vector in vectors]
    if not width:
        raise NoProbabilityError(_why(field, next((raw for raw in raws if raw is not None), None)))
    return Found(vectors, classes, raws)


def by_columns(field: ProbabilityField, table: Table) -> Table:
    """The table, read by its columns where one of them is in the field: then its rows are no vectors of scores."""
    columns = dict.fromkeys(table.names or ())
    is_among = bool(_family(field.name, columns)) if "*" in field.name else field.name in columns
    alike = all(type(row) is list and len(row) == len(columns) for row in table.rows)
    return table._replace(record=True) if is_among and alike else table


def place_of(value: Any, classes: tuple[str, ...], width: int, longest: int) -> int | None:
    """Which of the classes a predicted value names, None where it names none of them."""
    if type(value) not in (int, float, bool, str):
        return None
    mark = mark_of(value, longest)
    if isinstance(mark, float):
        return None
    text = class_text(mark, classes) if mark is not None else ""
    names = classes or tuple(map(str, range(width)))
    return names.index(text) if names.count(text) == 1 else None


def _in_rows(field: ProbabilityField, table: Table) -> list[Any] | None:
    """What each row has in the field, None where no row has it."""
    by_column = [_columns(row, table) for row in table.rows]
    if "*" in field.name:
        found = [_family(field.name, columns) or _MISSING for columns in by_column]
    else:
        found = [_at(columns, field) for columns in by_column]
    if all(value is _MISSING for value in found):
        return None
    return [None if value is _MISSING else value for value in found]


def _columns(row: Any, table: Table) -> dict[str, Any]:
    if type(row) is dict:
        return row
    if type(row) is list and len(row) == 1 and type(row[0]) is dict:
        return dict(row[0])
    names = table.names
    return dict(zip(names, row, strict=True)) if names and type(row) is list and len(names) == len(row) else {}


def _family(name: str, columns: dict[str, Any]) -> dict[str, Any]:
    before, _, behind = name.partition("*")
    return {
        column[len(before) : len(column) - len(behind)]: value
        for column, value in columns.items()
        if len(column) > len(before) + len(behind) and column.startswith(before) and column.endswith(behind)
    }


def _at(columns: dict[str, Any], field: ProbabilityField) -> Any:
    """What stands under a name, which may have dots of its own, or below a path."""
    value: Any = columns.get(field.name, _MISSING)
    if value is _MISSING:
        value = columns
        for key in field.path:
            value = value.get(key, _MISSING) if type(value) is dict else _MISSING
    return value


def _from_root(field: ProbabilityField, body: Any, count: int) -> list[Any] | None:
    value = _at(body, field) if type(body) is dict else _MISSING
    if value is _MISSING:
        return None
    if count == 1:
        return value if type(value) is list and len(value) == 1 else [value]
    return value if type(value) is list and len(value) == count else None


def _classes(field: ProbabilityField, raws: Sequence[Any]) -> tuple[str, ...]:
    """The classes of objects, in an order that does not depend on theirs; else those that are declared."""
    first = next((raw for raw in raws if type(raw) is dict), None)
    if first is None:
        return field.classes
    own = tuple(sorted(str(key).strip() for key in first))
    return field.classes if sorted(field.classes) == [*own] else own


def _vector(raw: Any, classes: tuple[str, ...], field: ProbabilityField) -> list[float] | None:
    """The probabilities of one row in the order of the classes, None where it has none that can be read."""
    if type(raw) is dict:
        by_class = {str(key).strip(): value for key, value in raw.items()}
        if by_class.keys() != {*classes}:
            return None
        raw = [by_class[name] for name in classes]
    if type(raw) is list and len(raw) == 1:
        raw = raw[0]
    if type(raw) in _NUMBERS:
        if len(classes) != 2 or not 0 <= raw <= 1:
            return None
        positive = field.positive if field.positive in classes else classes[1]
        return [float(raw), 1.0 - raw] if positive == classes[0] else [1.0 - raw, float(raw)]
    if type(raw) is not list or len(raw) < 2 or not _NUMBERS.issuperset(map(type, raw)):
        return None
    return None if classes and len(classes) != len(raw) else raw


def _why(field: ProbabilityField, raw: Any) -> str:
    """Why what stands in the field gives no probabilities."""
    if type(raw) in _NUMBERS and len(field.classes) != 2:
        return f"{field.name} is a single number: `classes` must name the two classes, the positive one second"
    if type(raw) is list and field.classes and len(raw) != len(field.classes):
        return f"{field.name} has {len(raw)} numbers, and `classes` names {len(field.classes)}"
    return f"{field.name} holds no probabilities: they are an object by class, a list, or a number from 0 to 1"
