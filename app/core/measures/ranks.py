"""Ranks: of more than two classes by which probability of each its own rows come, and by which all others.

ranks/own=<class>        {fine bin of the class's probability: rows of the class}
ranks/rest=<class>       {the same: rows of all others}

That is each class against the rest, from which the area under its ROC curve and its average precision follow. A
labelled row adds one number a class, so they are counted only where the user says that answers are probabilities, and
names the classes. Bins are those of `app.core.measures.probabilities`.
"""

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from types import MappingProxyType
from typing import Final

import numpy as np
import orjson

from app.core.counts.atoms import Atom
from app.core.measures.measure import Cells, Evidence, Measure
from app.core.measures.probabilities import FINE_BINS, coded, fine_bins, kept, rows_of
from app.core.measures.reading import Nature
from app.core.rules import Rules

#: Of so many classes there are ranks at most.
MOST_RANKED: Final = 20
_NAME: Final = "ranks"
_OWN: Final = f"{_NAME}/own="
_REST: Final = f"{_NAME}/rest="
_LENGTH: Final = struct.Struct("<I")

#: From the lowest probability: (rows of a class, rows of the others).
Sides = tuple[tuple[int, int], ...]
Ranks = Mapping[str, Sides]
NO_RANKS: Final[Ranks] = MappingProxyType({})


def ranked(classes: tuple[str, ...], rules: Rules) -> tuple[str, ...]:
    """The classes of an answer in its order, each empty that has no ranks; none at all where the rules ask for none."""
    asked = rules.probabilities is True and rules.task != "regression" and 2 < len(rules.classes) <= MOST_RANKED
    if not asked or len(classes) < 3 or {*classes}.isdisjoint(rules.classes):
        return ()
    return tuple(name if name in rules.classes else "" for name in classes)


def packed(classes: tuple[str, ...], rows: Iterable[tuple[int, bytes]]) -> bytes:
    """Values of some rows, each with its code and its probabilities, and the ranked classes that these are of."""
    head = orjson.dumps(classes)
    return _LENGTH.pack(len(head)) + head + kept(rows)


def added(probabilities: bytes, codes: Sequence[list[int]], classes: tuple[str, ...]) -> Iterator[tuple[int, int, int]]:
    """What rows add to their groups, whose codes are given group by group: (number of the group, number of the atom by
    `atom_of`, amount). Each row has a probability for each of the classes; there are at most some 2^20 atoms of all.

    The inverse (`~`) of a code says that the row is taken away.
    """
    own = [place for place, name in enumerate(classes) if name]
    lengths = [len(of_group) for of_group in codes]
    bins = fine_bins(np.frombuffer(probabilities, "<f8").reshape(-1, len(classes))[:, own])
    code = np.array([*chain.from_iterable(codes)], np.int64)
    negative = code >> 63  # -1 or 0
    label = (code ^ negative) >> 1
    is_rest = label[:, None] != own
    atoms = 2 * len(classes) * FINE_BINS
    group = np.repeat(np.arange(len(codes)) * atoms, lengths)
    places = group[:, None] + (2 * np.array(own) + is_rest) * FINE_BINS + bins
    sums = np.zeros(len(codes) * atoms, np.int64)
    np.add.at(sums, places, (2 * negative + 1)[:, None])
    found = np.flatnonzero(sums)
    for number, amount in zip(found.tolist(), sums[found].tolist(), strict=True):
        yield *divmod(number, atoms), amount


def atom_of(number: int, classes: tuple[str, ...]) -> Atom:
    """The atom of such a number."""
    side, bin_ = divmod(number, FINE_BINS)
    place, is_rest = divmod(side, 2)
    return Atom((_REST if is_rest else _OWN) + classes[place], str(bin_))


class RanksMeasure(Measure[Ranks]):
    """Ranks of labelled rows, where the rules ask for them. Settling keeps less of them than `values`
    (`app.core.join.chances`).
    """

    name = _NAME
    by_labels = True
    of_rows = True
    letter = b"k"

    def values(self, evidence: Evidence) -> bytes:
        """The classes, and code and probabilities of each row that has one of each."""
        classes = ranked(evidence.classes, evidence.rules)
        found = [(code, own) for _, code, own in coded(evidence) if len(own) == 8 * len(classes)] if classes else []
        return packed(classes, found) if found else b""

    def amounts_of(self, values: bytes) -> Iterable[tuple[Atom, int]]:
        """One of each class, of each row."""
        if values:
            (length,) = _LENGTH.unpack_from(values)
            begin = _LENGTH.size + length
            classes = tuple(orjson.loads(values[_LENGTH.size : begin]))
            for code, own in rows_of(values[begin:]):
                for _, number, amount in added(own, [[code]], classes):
                    yield atom_of(number, classes), amount

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
