"""Predictions: what in the rows of an answer, or of a truth, is the class."""

from collections.abc import Sequence
from typing import Any, Final

from app.core.payloads.table import Table

_SCORES: Final = ("prob", "score", "logit", "confidence", "softmax")


def predictions(table: Table) -> tuple[list[Any], tuple[str, ...] | None]:
    """Of each row what is its class (a value, or a vector with one score a class), and the classes' names.

    The rows themselves are it, except:

    - In a *record* one tensor is, the same for all rows: the first whose name holds `predict`, else `label`, else
      `classes`, else `class`, else `output`; among these, names that hold `prob`, `score`, `logit`, `confidence` or
      `softmax` come last; where no name holds anything it is the first tensor.
    - In an *object* it is the entry that these words find.
    - Where what was found is a list of texts beside as many scores (TensorFlow's `classes` and `scores`), it is the
      text with the highest score.

    No list where no row holds a class: bytes, lists under `jsonData` (which is one value, never a batch), objects whose
    names hold none of the words.
    """
    rows = table.rows
    if table.own_type == "image" or (table.own_type == "json" and type(rows[0]) is list):
        return [], None
    if table.record:
        names = table.names or ()
        index = _class_place(names)
        found = [_best_text(row, names, row[index or 0]) for row in rows]
        lengths = {len(value) if type(value) is list else -1 for value in found}
        # A first column whose cells are lists of their own length is no prediction, whatever else the record holds.
        return [] if index is None and len(lengths) > 1 else found, None
    if any(type(row) is dict for row in rows):
        found = [_of_object(row) for row in rows]
        unclear = all(value is None for value in found) or any(type(value) is dict for value in found)
        return [] if unclear else found, None
    return rows, table.names


def class_values(table: Table) -> tuple[list[Any], tuple[str, ...] | None]:
    """The same without dimensions of length 1 around it: [[[0.1, 0.9]]] is one vector."""
    values, names = predictions(table)
    while all(type(value) is list and len(value) == 1 and type(value[0]) is list for value in values) and values:
        values = [value[0] for value in values]
    return values, names


def _of_object(row: Any) -> Any:
    if type(row) is not dict:
        return row
    names = tuple(row)
    index = _class_place(names)
    return None if index is None else _best_text(list(row.values()), names, row[names[index]])


def _class_place(names: Sequence[str]) -> int | None:
    """Which of several values is the prediction, by its name."""
    words = [name.lower() for name in names]
    plain = [not any(score in word for score in _SCORES) and not word.startswith("all_") for word in words]
    for wanted in ("predict", "label", "classes", "class", "output"):
        for index, word in enumerate(words):
            if plain[index] and wanted in word:
                return index
    return next((index for index, word in enumerate(words) if any(score in word for score in _SCORES)), None)


def _best_text(values: list[Any], names: Sequence[str], found: Any) -> Any:
    if type(found) is not list or len(found) < 2 or not all(type(cell) is str for cell in found):
        return found
    for name, scores in zip(names, values, strict=True):
        if (
            any(word in name.lower() for word in _SCORES)
            and type(scores) is list
            and len(scores) == len(found)
            and all(type(score) in (int, float) for score in scores)
        ):
            return found[scores.index(max(scores))]
    return found
