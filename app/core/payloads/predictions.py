"""Predictions: what in the rows of an answer, or of a truth, is the class."""

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from app.core.payloads.columns import Plan, plan_of
from app.core.payloads.ranking import NoClassError, Ranked, best_of_items, best_of_texts
from app.core.payloads.table import Table
from app.core.payloads.words import is_blocked, is_class

#: A text below this length is never free: quick paths ask no further.
SHORT: Final = 32
_MANY_WORDS: Final = 12
_NUMBERS: Final = frozenset({int, float, bool})
_LISTS: Final = frozenset({list})
_SENTENCE_WORDS: Final = 4
_SENTENCE_ENDS: Final = (".", "!", "?", "…")


#: In the place of a row that has no class, beside others that have.
NOTHING: Final = object()


class Predictions(NamedTuple):
    """The class of each row: a value, or a vector with one score a class, or NOTHING."""

    values: list[Any]
    names: tuple[str, ...] | None = None
    scores: list[float] | None = None  # of the classes, where they are the best of rankings
    no_class: str = ""  # why no row has one; then there are no values
    partial: bool = False  # whether some of the values are NOTHING


def predictions(table: Table) -> Predictions:
    """What of each row is its class.

    The rows themselves are, where they are values or vectors. Of several columns, of a record or an object, one is it
    or it follows from their scores (`app.core.payloads.columns`); of a ranking it is the best (`…ranking`). Bytes,
    lists under `jsonData` (which is one value, never a batch), things found in pictures, areas and texts of many words
    are no classes.
    """
    if _are_plain(table):
        return Predictions(table.rows, table.names)
    try:
        found = _predictions(table)
    except NoClassError as error:
        return Predictions([], no_class=str(error))
    values = found.values
    # Dimensions of length 1 around a row say nothing: [[[0.1, 0.9]]] is one vector.
    while all(type(value) is list and len(value) == 1 and type(value[0]) is list for value in values) and values:
        values = [value[0] for value in values]
    if any(type(value) is str and is_free_text(value) for value in without_brackets(values)):
        return Predictions([], no_class="rows are texts of many words")
    return found._replace(values=values)


def _are_plain(table: Table) -> bool:
    """Whether all rows are numbers, or lists that begin with numbers: nearly all answers are, and need no search."""
    rows, _, record, _, own_type, tensor, classified = table
    if record or own_type or classified or (tensor and is_blocked(tensor)):
        return False
    first = rows[0]
    if type(first) is not list:
        return type(first) in _NUMBERS and _NUMBERS.issuperset(map(type, rows))
    return len(first) > 1 and type(first[0]) in _NUMBERS and _LISTS.issuperset(map(type, rows))


def without_brackets(values: list[Any]) -> list[Any]:
    """Values, those that are alone in a list without it."""
    return [value[0] if type(value) is list and len(value) == 1 else value for value in values]


def is_free_text(text: str) -> bool:
    """Whether a text is what somebody writes, and no name of a class."""
    if len(text) < SHORT:
        return False
    words = len(text.split(None, _MANY_WORDS))
    sentence = words >= _SENTENCE_WORDS and text.rstrip().endswith(_SENTENCE_ENDS)
    return "\n" in text or words > _MANY_WORDS or sentence


def _predictions(table: Table) -> Predictions:
    rows = table.rows
    if table.own_type == "image":
        raise NoClassError("bytes hold no class")
    if table.own_type == "json" and type(rows[0]) is list and _ranked(rows[0]) is None:
        raise NoClassError("jsonData is a list, which holds no class")
    if table.record and len(table.names or ()) != 1:  # of one column no name is asked for
        names = table.names or ()
        return _read_all([(names, row) for row in rows], classified=table.classified)
    if dict in map(type, rows):
        return _of_objects(rows)
    if table.classified:
        return _of_rankings([best_of_texts(row) for row in rows])
    if type(rows[0]) is list and type(rows[0][0] if rows[0] else None) in (list, dict):
        rankings = [_ranked(row) for row in rows]
        if None not in rankings:
            return _of_rankings(rankings)
    if table.tensor and is_blocked(table.tensor) and not is_class(table.tensor):
        raise NoClassError(f"tensor {table.tensor[:40]} holds no class, but places, areas or features")
    return Predictions(rows, table.names)


def _ranked(row: Any) -> Ranked | None:
    if type(row) is not list or not row:
        return None
    if len(row) == 1 and type(row[0]) is dict:
        return _of_object(row[0])
    return best_of_items(row)


def _of_rankings(rankings: Sequence[Ranked | None]) -> Predictions:
    found = [ranking or Ranked(NOTHING) for ranking in rankings]
    known = [ranking.score for ranking in found if ranking.score is not None]
    scores_of_all = known if len(known) == len(found) else None
    return Predictions([ranking.value for ranking in found], scores=scores_of_all, partial=None in rankings)


def _of_objects(rows: list[Any]) -> Predictions:
    return _read_all([(tuple(row), list(row.values())) if type(row) is dict else (None, row) for row in rows])


def _read_all(rows: Sequence[tuple[tuple[str, ...] | None, Any]], *, classified: bool = False) -> Predictions:
    """The class of each row; rows with the same columns are read alike. Raises where none has one."""
    found: list[Ranked | None] = []
    plans: dict[tuple[str, ...], Plan] = {}
    reason: NoClassError | None = None
    for names, cells in rows:
        try:
            found.append(Ranked(cells) if names is None else _of_columns(names, cells, plans, classified=classified))
        except NoClassError as error:
            reason = reason or error
            found.append(None)
    if reason is not None and not any(found):
        raise reason
    return _of_rankings(found)


def _of_object(row: dict[str, Any]) -> Ranked:
    return _of_columns(tuple(row), list(row.values()), {})


def _of_columns(
    names: tuple[str, ...], cells: Sequence[Any], plans: dict[tuple[str, ...], Plan], *, classified: bool = False
) -> Ranked:
    plan = plans.get(names)
    if plan is None:
        plan = plans[names] = plan_of(names, cells)
    ranked = plan(cells)
    value = ranked.value
    if type(value) is dict:
        inner = plan_of(tuple(value), list(value.values()))(list(value.values()))
        if type(inner.value) is dict:
            raise NoClassError("classes are objects within objects")
        return inner
    if type(value) is list and value and type(value[0]) in (list, dict):
        return best_of_items(value) or ranked
    return (best_of_texts(value) or ranked) if classified else ranked
