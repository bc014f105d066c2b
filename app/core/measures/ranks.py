"""Ranks: of more than two classes by which probability of each its own rows come, and by which all others.

ranks                    the mark of a model that has them
ranks/own=<class>        {fine bin of the class's probability: rows of the class}
ranks/rest=<class>       {the same: rows of all others}

That is each class against the rest, from which the area under its ROC curve and its average precision follow. A
labelled row adds one number a class, so they are counted only where the user says that answers are probabilities, and
names the classes. Bins are those of `app.core.measures.probabilities`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import iter_unpack
from types import MappingProxyType
from typing import Final

from app.core.counts.atoms import Atom
from app.core.measures.measure import Cells, Evidence, Measure
from app.core.measures.probabilities import FINE_BINS, NO_PROBABILITY, code_of, coded, fine_bin
from app.core.measures.reading import Nature
from app.core.rules import Rules

#: Of so many classes there are ranks at most.
MOST_RANKED: Final = 20
_NAME: Final = "ranks"
_OWN: Final = f"{_NAME}/own="
_REST: Final = f"{_NAME}/rest="
#: It keeps this measure among those that are asked for every answer.
_MARKED: Final = ((Atom(_NAME, ""), 0),)

Amounts = tuple[tuple[Atom, int], ...]
#: From the lowest probability: (rows of a class, rows of the others).
Sides = tuple[tuple[int, int], ...]
Ranks = Mapping[str, Sides]
NO_RANKS: Final[Ranks] = MappingProxyType({})


def has_ranks(rules: Rules) -> bool:
    """Whether the rules ask for ranks."""
    return rules.probabilities is True and rules.task != "regression" and 2 < len(rules.classes) <= MOST_RANKED


@lru_cache(maxsize=2 * MOST_RANKED * FINE_BINS)
def _once(row: str, bin_: int) -> tuple[Atom, int]:
    return Atom(row, str(bin_)), 1


@lru_cache(maxsize=1024)
def _of_row(packed: bytes, label: int, classes: tuple[str, ...], declared: tuple[str, ...]) -> Amounts:
    """What one row adds, by its probabilities and the place of its label; it counts by the time of that, too."""
    if not 16 < len(packed) == 8 * len(classes):
        return ()
    return tuple(
        _once((_OWN if place == label else _REST) + classes[place], fine_bin(value))
        for place, (value,) in enumerate(iter_unpack("<d", packed))
        if classes[place] in declared
    )


class RanksMeasure(Measure[Ranks]):
    """Ranks of labelled rows, where the rules ask for them."""

    name = _NAME
    by_labels = True
    of_rows = True

    def amounts(self, evidence: Evidence) -> Iterable[tuple[Atom, int]]:
        """One of each class, of each row."""
        marks, labels, rules = evidence.marks, evidence.labels, evidence.rules
        if labels is None or not marks or not has_ranks(rules):
            return ()
        classes, declared = evidence.classes, rules.classes
        if len(marks) == 1:  # as nearly all answers
            packed = evidence.probabilities
            code = None if packed is None else code_of(marks[0], labels[0], classes, rules)
            if packed is None or code is None or packed.startswith(NO_PROBABILITY):
                return _MARKED
            return _MARKED + _of_row(packed, code >> 1, classes, declared)
        rows = [_of_row(packed, code >> 1, classes, declared) for _, code, packed in coded(evidence)]
        found = Counter(atom for row in rows for atom, _ in row)
        return [*_MARKED, *found.items()]

    def read(self, cells: Cells, nature: Nature) -> Ranks:
        """By class."""
        bins: dict[str, dict[int, list[int]]] = {}
        for (row, column), rows in cells.items():
            if rows and row.startswith((_OWN, _REST)):
                is_rest = row.startswith(_REST)
                of_class = row.removeprefix(_REST if is_rest else _OWN)
                bins.setdefault(of_class, {}).setdefault(int(column), [0, 0])[is_rest] += rows
        return {
            of_class: tuple((own, rest) for _, (own, rest) in sorted(of_bins.items()))
            for of_class, of_bins in sorted(bins.items())
        } or NO_RANKS


RANKS: Final = RanksMeasure()
