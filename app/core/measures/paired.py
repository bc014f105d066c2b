"""Two legs on the rows that both have answered: which of them was right, and which came closer.

paired=<actual>     {"both", "first", "second", "neither": labelled rows by who was right}
paired              {"agree", "differ": rows by whether both named the same class}
paired/first        {class: the same rows by the class that the first named}, without the rows that one named none for
paired/second       the same by the class that the second named
paired/scores/first   {fine bin of `probabilities`: rows by the probability that the first gave, as drift has it}, of
paired/scores/second  the rows to which both gave one
paired/errors       {"rows", and sums of the difference of their errors without sign (the second's less the first's),
                    and of its square}
paired/brier        the same of the Brier scores of rows to whose label both gave a probability

The sums of differences are whole numbers of 2^-80, of squares 2^-160, like those of `errors`; of Brier scores 2^-40 and
2^-80, like those of `probabilities`.
"""

import struct
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from app.core.counts.atoms import Atom
from app.core.measures.drift import score_of
from app.core.measures.errors import UNIT_BITS, number_of, units
from app.core.measures.measure import Cells, Evidence
from app.core.measures.probabilities import UNIT_BITS as BRIER_BITS
from app.core.measures.probabilities import brier_units, code_of, fine_bin, vector
from app.core.measures.verdict import ACTUAL, MEASURED, judge, poles, predicted_text
from app.core.payloads.marks import Mark
from app.core.rules import Rules

NAME: Final = "paired"
_RIGHT: Final = "paired="
_ERRORS: Final = "paired/errors"
_FIRST: Final = "paired/first"
_SECOND: Final = "paired/second"
_SCORES: Final = "paired/scores/first", "paired/scores/second"
_AGREE: Final = Atom(NAME, "agree")
_DIFFER: Final = Atom(NAME, "differ")
_ROWS, _DIFFERENCE, _SQUARE = (Atom(_ERRORS, name) for name in ("rows", "difference", "square"))
_BRIER: Final = "paired/brier"
_BRIER_ROWS, _BRIER_DIFFERENCE, _BRIER_SQUARE = (Atom(_BRIER, name) for name in ("rows", "difference", "square"))
_TRIPLE: Final = struct.Struct("<ddd")
_NUMBER: Final = struct.Struct("<q")
_COLUMNS: Final = {(True, True): "both", (True, False): "first", (False, True): "second", (False, False): "neither"}


class Side(NamedTuple):
    """One leg's answer to the rows: what it predicted, its class names, its rules."""

    marks: Sequence[Mark]
    classes: tuple[str, ...]
    rules: Rules


class Shared(NamedTuple):
    """Labelled rows that both legs have answered, by who was right."""

    both: int = 0
    first: int = 0
    second: int = 0
    neither: int = 0

    @property
    def rows(self) -> int:
        """All of them."""
        return sum(self)


class Differences(NamedTuple):
    """Of rows the mean of the second's less the first's, and the variance."""

    rows: int = 0
    mean: float = 0.0
    variance: float = 0.0


class PairedReading(NamedTuple):
    """What is known of two legs. Differences of errors are the second's less the first's, in the label's unit."""

    classes: Mapping[str, Shared]  # by the actual class
    whole: Shared
    agree: int  # rows for which both named the same class, labelled or not
    differ: int
    errors: int = 0  # rows that both measured
    difference: float = 0.0  # mean of the differences
    variance: float = 0.0  # of the differences
    brier: Differences = Differences()
    named: Mapping[str, tuple[int, int]] = MappingProxyType({})  # class → rows that the first, and the second named it
    #: By the fine bin of a probability: rows to which the first, and the second gave it.
    scores: Mapping[int, tuple[int, int]] = MappingProxyType({})


def row_atoms(marks: tuple[Mark, Mark], label: Mark, sides: tuple[Side, Side]) -> list[Atom]:
    """What one row counts as, once each."""
    first, second = (predicted_text(mark, side.classes, side.rules) for mark, side in zip(marks, sides, strict=True))
    atoms = []
    if first is not None and second is not None:
        atoms = [_AGREE if first == second else _DIFFER, Atom(_FIRST, first), Atom(_SECOND, second)]
    if label is not None:
        one, other = (judge(mark, label, side.classes, side.rules) for mark, side in zip(marks, sides, strict=True))
        if one.row.startswith(ACTUAL) and other.row.startswith(ACTUAL):
            right = tuple(atom.row[len(ACTUAL) :] == atom.column for atom in (one, other))
            atoms.append(Atom(_RIGHT + one.row[len(ACTUAL) :], _COLUMNS[right]))  # type: ignore[index]
    return atoms


def bounded(atom: Atom, fold: Callable[[str], str]) -> Atom:
    """The same atom, its class as `fold` gives it."""
    if atom.row in (_FIRST, _SECOND):
        return Atom(atom.row, fold(atom.column))
    return Atom(_RIGHT + fold(atom.row[len(_RIGHT) :]), atom.column) if atom.row.startswith(_RIGHT) else atom


def values_of(sides: tuple[Side, Side], labels: Sequence[Mark]) -> bytes:
    """Both predictions and the label of each row that both measured, as 64-bit floats."""
    found = []
    first, second = sides
    for marks, label in zip(zip(first.marks, second.marks, strict=True), labels, strict=True):
        numbers = (*map(number_of, marks), number_of(label))
        if None not in numbers and all(
            judge(mark, label, side.classes, side.rules) == MEASURED for mark, side in zip(marks, sides, strict=True)
        ):
            found.append(_TRIPLE.pack(*numbers))
    return b"".join(found)


def amounts_of(values: bytes) -> Iterable[tuple[Atom, int]]:
    """What such rows add."""
    for first, second, label in _TRIPLE.iter_unpack(values):
        right = units(label)
        difference = abs(units(second) - right) - abs(units(first) - right)
        yield _ROWS, 1
        yield _DIFFERENCE, difference
        yield _SQUARE, difference * difference


def score_atoms(first: Evidence, second: Evidence, row: int) -> list[Atom]:
    """What the probabilities count as that both gave a row, once each. A regression gives none."""
    if any(rules.task == "regression" or rules.probabilities is False for rules in (first.rules, second.rules)):
        return []
    one, other = score_of(first, row), score_of(second, row)
    if one is None or other is None:
        return []
    if len(first.classes) == len(second.classes) == 2 and first.classes != second.classes:
        positive = poles(first.classes, first.rules)[1]
        if poles(second.classes, second.rules)[0] == positive:  # what is positive for one is negative for the other
            other = 1 - other
    return [Atom(name, str(fine_bin(score))) for name, score in zip(_SCORES, (one, other), strict=True)]


def brier_values_of(first: Evidence, second: Evidence, labels: Sequence[Mark]) -> bytes:
    """The difference of the Brier scores of each row to whose label both gave a probability, as 64-bit integers."""
    found = []
    for row, label in enumerate(labels):
        if label is not None:
            one, other = _brier(first, row, label), _brier(second, row, label)
            if one is not None and other is not None:
                found.append(_NUMBER.pack(other - one))
    return b"".join(found)


def _brier(evidence: Evidence, row: int, label: Mark) -> int | None:
    code = code_of(evidence.marks[row], label, evidence.classes, evidence.rules)
    found = None if code is None else vector(evidence, row)
    return None if code is None or found is None else brier_units(found, code)


def brier_amounts_of(values: bytes) -> Iterable[tuple[Atom, int]]:
    """What such differences add."""
    for (difference,) in _NUMBER.iter_unpack(values):
        yield _BRIER_ROWS, 1
        yield _BRIER_DIFFERENCE, difference
        yield _BRIER_SQUARE, difference * difference


def _differences(sums: Sequence[int], unit_bits: int) -> Differences:
    """Their mean and variance. Sums are in units of two to the power of minus so many, of squares of minus twice."""
    rows, difference, square = sums
    mean = difference / (rows << unit_bits) if rows else 0.0
    spread = rows * square - difference**2
    return Differences(rows, mean, spread / (rows * (rows - 1) << 2 * unit_bits) if rows > 1 else 0.0)


def read(cells: Cells) -> PairedReading:
    """What some sums of the cells say."""
    classes: dict[str, dict[str, int]] = {}
    for (row, column), rows in cells.items():
        if rows and row.startswith(_RIGHT):
            classes.setdefault(row[len(_RIGHT) :], {})[column] = rows
    by_class = {name: Shared(**classes[name]) for name in sorted(classes)}
    whole = Shared(*map(sum, zip(*by_class.values(), strict=True))) if by_class else Shared()
    errors, brier = (
        _differences([cells.get(Atom(row, name), 0) for name in ("rows", "difference", "square")], bits)
        for row, bits in ((_ERRORS, UNIT_BITS), (_BRIER, BRIER_BITS))
    )
    names = sorted({column for (row, column), rows in cells.items() if rows and row in (_FIRST, _SECOND)})
    named = {name: (cells.get((_FIRST, name), 0), cells.get((_SECOND, name), 0)) for name in names}
    one, other = _SCORES
    bins = sorted({int(column) for (row, column), rows in cells.items() if rows and row in _SCORES})
    scores = {number: (cells.get((one, str(number)), 0), cells.get((other, str(number)), 0)) for number in bins}
    return PairedReading(
        by_class,
        whole,
        cells.get(_AGREE, 0),
        cells.get(_DIFFER, 0),
        *errors,
        brier,
        named,
        scores,
    )
