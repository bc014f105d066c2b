"""Answers by named columns: which of them is the class, or how it follows from their scores.

    {"Species": "setosa", "Probability_setosa": 1.0, …}     KServe's PMML, H2O: a class column, and scores beside it
    {"prob_cat": 0.2, "prob_dog": 0.8}                      a column of scores for each class
    {"tiger_cat": 0.5, "tabby": 0.4, …}, {"0": 0.1, "1": 0.9}   TorchServe; a data frame of probabilities
    {"displayNames": ["cat", "dog"], "confidences": [0.1, 0.9]}     Vertex AI; TensorFlow's `classes` and `scores`

The class column is the answer where there is one, else the class with the highest score. Where neither is sure there is
no class: the score of one column is never the class.
"""

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise
from typing import Any, Final, NamedTuple

from app.core.payloads.ranking import NoClassError, Ranked, best, best_of_lists
from app.core.payloads.words import (
    ALONE,
    class_rank,
    family_of,
    holds_answer,
    is_blocked,
    is_identifier,
    is_place,
    is_score,
    is_statistic,
    loose_family_of,
    names_its_class,
    score_rank,
)

#: How the cells of a row are read, once it is known from the first what its columns are.
Plan = Callable[[Sequence[Any]], Ranked]
#: By how much probabilities may miss 1 in sum: they were rounded.
_ROUNDED: Final = 0.01
_LEAST_SUM: Final = 0.5
_MOST_NAMED: Final = 5


class _Family(NamedTuple):
    """Columns of scores, one a class."""

    places: tuple[int, ...]
    classes: tuple[str, ...]

    def best_of(self, cells: Sequence[Any]) -> Ranked:
        return best(self.classes, [cells[place] for place in self.places])

    def class_beside(self, name: str, place: int, cells: Sequence[Any]) -> Ranked:
        """The class in a column of any name. A number that is another class than the best may be any number."""
        said = cells[place]
        if type(said) is not str and str(said) != self.best_of(cells).value:
            raise NoClassError(f"column {name[:40]} holds the number of a class, not of that with the best score")
        return Ranked(said)


def plan_of(names: Sequence[str], cells: Sequence[Any]) -> Plan:
    """How to read rows of these columns, of which `cells` is the first. Raises NoClassError."""
    blocked = any(map(is_blocked, names))
    named = _class_column(names, cells)
    if not blocked:
        lists = _lists(names, cells)
        if lists is not None:
            return lists
    if named is not None and not any(map(is_place, names)) and not (blocked and type(cells[named]) is list):
        return lambda row: Ranked(row[named])
    if blocked:
        raise NoClassError(f"{_listed(names)}, but places, areas or features")
    family = _family(names, cells, family_of) or _loose(names, cells)
    if family is not None:
        column = _column_of_class(names, cells, family)
        return family.best_of if column is None else partial(family.class_beside, names[column], column)
    return _alone(names, cells)


def _class_column(names: Sequence[str], cells: Sequence[Any]) -> int | None:
    """The first column whose name says that it is the class, one with a value before one with a list; of several that
    are scores together there is none.
    """
    ranked = sorted(
        (class_rank(name), type(cells[place]) in (list, dict), place)
        for place, name in enumerate(names)
        if class_rank(name) >= 0
    )
    if not ranked:
        return None
    rank, _, place = ranked[0]
    rivals = [other for wanted, _, other in ranked if wanted == rank]
    if len(rivals) > 1 and _loose([names[other] for other in rivals], [cells[other] for other in rivals]) is not None:
        return None
    value = cells[place]
    if type(value) is not list or len(value) < 2 or _is_vector(value):
        return place
    return place if _are_numbers(value) and holds_answer(names[place]) else None


def _are_numbers(value: list[Any]) -> bool:
    return all(type(cell) in (int, float, bool) or cell is None for cell in value)


def _is_vector(value: list[Any]) -> bool:
    """Whether a list can hold scores: whole numbers that are no one-hot vector are classes themselves."""
    if not _are_numbers(value):
        return type(value[0]) in (list, dict)
    return any(type(cell) is float or cell is None for cell in value) or set(value) <= {0, 1}


def _lists(names: Sequence[str], cells: Sequence[Any]) -> Plan | None:
    """A list of classes beside one with as many scores."""
    labels = [(class_rank(name), place) for place, name in enumerate(names) if class_rank(name) >= 0]
    scores = [(score_rank(name), place) for place, name in enumerate(names) if is_score(name)]
    for _, label in sorted(labels):
        for _, score in sorted(scores):
            if best_of_lists(cells[label], cells[score]) is not None:
                return partial(_best_of, label=label, score=score)
    return None


def _best_of(row: Sequence[Any], label: int, score: int) -> Ranked:
    found = best_of_lists(row[label], row[score])
    if found is None:
        raise NoClassError("rows have as many classes as scores in some rows only")
    return found


def _family(
    names: Sequence[str], cells: Sequence[Any], split: Callable[[str], tuple[str, str] | None]
) -> _Family | None:
    """The largest family of columns whose names say of which class they are the score."""
    members: dict[str, list[tuple[int, str]]] = {}
    for place, name in enumerate(names):
        found = split(name)
        if found is not None and (_is_number(cells[place]) or cells[place] is None):
            members.setdefault(found[0], []).append((place, found[1]))
    largest = max(members.values(), key=len, default=[])
    classes = tuple(name for _, name in largest)
    if len(largest) < 2 or len(set(classes)) < len(classes):
        return None
    if any(is_statistic(name) or is_identifier(name) for name in classes):
        return None
    return _Family(tuple(place for place, _ in largest), classes)


def _loose(names: Sequence[str], cells: Sequence[Any]) -> _Family | None:
    """A family by names that may mean something else, or one whose columns have the names of the classes alone."""
    family = _family(names, cells, loose_family_of)
    if family is not None and _sums_to_one([cells[place] for place in family.places]):
        return family
    places = [place for place, name in enumerate(names) if not is_identifier(name) and _is_number(cells[place])]
    others = [place for place, name in enumerate(names) if not is_identifier(name) and place not in places]
    scores = [cells[place] for place in places]
    classes = tuple(names[place] for place in places)
    if len(places) < 2 or float not in map(type, scores):  # of whole numbers each may be an answer of its own
        return None
    if any(is_statistic(name) or is_score(name) for name in classes) or "" in classes:
        return None
    if any(str(cells[place]) not in classes for place in others):  # a class column may stand beside them
        return None
    # A server that shows the best few only sorts them.
    few = len(places) > 2 and sum(scores) >= _LEAST_SUM and all(one >= other for one, other in pairwise(scores))
    if _sums_to_one(scores) or (few and _are_probabilities(scores)):
        return _Family(tuple(places), classes)
    return None


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _are_probabilities(scores: Sequence[Any]) -> bool:
    return all(_is_number(score) and -1e-6 <= score <= 1 + 1e-6 for score in scores) and sum(scores) <= 1 + _ROUNDED


def _sums_to_one(scores: Sequence[Any]) -> bool:
    return _are_probabilities(scores) and sum(scores) >= 1 - _ROUNDED


def _column_of_class(names: Sequence[str], cells: Sequence[Any], family: _Family) -> int | None:
    """The one column beside a family that holds one of its classes, not an id that looks like one; of two neither."""
    found = [
        place
        for place, cell in enumerate(cells)
        if place not in family.places and not is_identifier(names[place]) and str(cell) in family.classes
    ]
    return found[0] if len(found) == 1 else None


def _alone(names: Sequence[str], cells: Sequence[Any]) -> Plan:
    """A vector of scores; or the only column that is no id, where its name says that it is a score or the answer."""
    vectors = sorted(
        (score_rank(name), place)
        for place, name in enumerate(names)
        if is_score(name) and type(cells[place]) is list and len(cells[place]) > 1 and _is_vector(cells[place])
    )
    if vectors:
        place = vectors[0][1]
        return lambda row: Ranked(row[place])
    candidates = [place for place, name in enumerate(names) if not is_identifier(name)]
    if len(candidates) == 1:
        (place,) = candidates
        name = names[place]
        single = type(cells[place]) is not list or len(cells[place]) == 1
        if single and name.lower() in ALONE:
            return lambda row: Ranked(row[place])
        # Of a family of scores one column is not the answer.
        if single and is_score(name) and not names_its_class(name):
            return lambda row: Ranked(row[place])
    raise NoClassError(_listed(names))


def _listed(names: Sequence[str]) -> str:
    """Which columns hold no class; names are an answer's own, so that they are cut."""
    if not names:
        return "object is empty"
    shown = ", ".join(name[:40] for name in names[:_MOST_NAMED])
    more = len(names) - _MOST_NAMED
    if len(names) == 1:
        return f"column {shown} holds no class"
    return f"columns {shown}{f' and {more} more' if more > 0 else ''} hold no class"
