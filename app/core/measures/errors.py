"""Errors: by how much predictions missed their labels, for models that measure.

errors         {"rows", "zeros": rows whose label is 0, and sums over the rows}
errors/size    {bucket of the error without its sign: rows}

The sums are those of the error (prediction minus label), of it without its sign, of its square, of the label, of the
label's square, and of the error as a share of the label, without sign. They are whole numbers of 2^-80 (squares of
2^-160), so they are exact for values above 1e-8 or so (16 digits), and nothing of order or retraction can show.

A bucket is the 32nd part of a power of two, so the middle of one is at most 1/64 from any value in it.
"""

import math
import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Final, NamedTuple

from app.core.counts.atoms import Atom
from app.core.measures.measure import Cells, Evidence, Measure
from app.core.measures.reading import Nature
from app.core.measures.verdict import MEASURED, judge
from app.core.payloads.marks import Mark

UNIT_BITS: Final = 80
_SCALE: Final = 2.0**UNIT_BITS
_PAIR: Final = struct.Struct("<dd")
_PART_BITS: Final = 5  # of a power of two there are so many parts, as a power of two
_ROW: Final = "errors"
_SIZES: Final = "errors/size"


class Errors(NamedTuple):
    """Rows, and sums over them, in units of 2^-80 and 2^-160; `sizes` are rows by bucket."""

    rows: int = 0
    zeros: int = 0
    error: int = 0
    absolute: int = 0
    square: int = 0
    label: int = 0
    label_square: int = 0
    share: int = 0
    sizes: tuple[tuple[int, int], ...] = ()  # in order

    def size_at(self, percent: int) -> float | None:
        """The error without its sign that so many rows do not exceed, within 1/64 of it; None without rows."""
        rest = max(1, -(-percent * self.rows // 100))
        for bucket, rows in self.sizes:
            rest -= rows
            if rest <= 0:
                return middle_of(bucket)
        return None


_SUMS: Final = Errors._fields[:-1]
_ATOMS: Final = [Atom(_ROW, name) for name in _SUMS]


@lru_cache(maxsize=4096)
def _bucket_atom(bucket: int) -> Atom:
    return Atom(_SIZES, str(bucket))


def units(value: float) -> int:
    """A number in units of 2^-80, the nearest one."""
    scaled = value * _SCALE
    return round(scaled) if abs(scaled) < math.inf else int(value) << UNIT_BITS


def bucket_of(units: int) -> int:
    """The bucket of a size; that of 0 is 0."""
    bits = units.bit_length()
    part = units >> (bits - 1 - _PART_BITS) if bits > _PART_BITS else units << (1 + _PART_BITS - bits)
    return (bits << _PART_BITS) + (part & ((1 << _PART_BITS) - 1)) if units else 0


def middle_of(bucket: int) -> float:
    """The size in the middle of a bucket."""
    if not bucket:
        return 0.0
    bits, part = bucket >> _PART_BITS, bucket & ((1 << _PART_BITS) - 1)
    doubled = 2 * ((1 << _PART_BITS) + part) + 1
    exponent = bits - 2 - _PART_BITS - UNIT_BITS
    return doubled * 2.0**exponent


def _of_row(prediction: float, label: float) -> tuple[int, ...]:
    """What one row adds to the sums, in their order, and its bucket."""
    of_label = units(label)
    missed = units(prediction) - of_label
    size = abs(missed)
    share = (size << UNIT_BITS) // abs(of_label) if of_label else 0
    return 1, not of_label, missed, size, missed * missed, of_label, of_label * of_label, share, bucket_of(size)


def sums_of(pairs: Iterable[tuple[float, float, int]]) -> Errors:
    """The sums of predictions and labels, each pair so many times."""
    sums = [0] * len(_SUMS)
    sizes: dict[int, int] = {}
    for prediction, label, times in pairs:
        *amounts, bucket = _of_row(prediction, label)
        for place, amount in enumerate(amounts):
            sums[place] += times * amount
        sizes[bucket] = sizes.get(bucket, 0) + times
    return Errors(**dict(zip(_SUMS, sums, strict=True)), sizes=tuple(sorted(sizes.items())))


def merged(one: Errors, other: Errors) -> Errors:
    """The sums of both."""
    sizes = dict(one.sizes)
    for bucket, rows in other.sizes:
        sizes[bucket] = sizes.get(bucket, 0) + rows
    sums = {name: getattr(one, name) + getattr(other, name) for name in _SUMS}
    return Errors(**sums, sizes=tuple(sorted(sizes.items())))


def number_of(mark: Mark) -> float | None:
    """The number that a mark is; None for a class, a position and nothing."""
    if isinstance(mark, str):
        try:
            value = float(mark)
        except ValueError:
            return None
        return value if abs(value) < math.inf else None
    return None if mark is None or (type(mark) is int and mark < 0) else float(mark)


class ErrorsMeasure(Measure[Errors]):
    """Errors of rows that count as measured."""

    name = "errors"
    by_labels = True
    of_rows = True
    letter = b"e"

    def values(self, evidence: Evidence) -> bytes:
        """Prediction and label of each row that counts as measured, as 64-bit floats."""
        if evidence.labels is None:
            return b""
        return b"".join(_PAIR.pack(*pair) for pair in self._pairs(evidence, evidence.labels))

    def _pairs(self, evidence: Evidence, labels: Iterable[Mark]) -> Iterator[tuple[float, float]]:
        rules, classes = evidence.rules, evidence.classes
        declared = rules.task == "regression"
        for mark, label in zip(evidence.marks, labels, strict=True):
            if not declared and type(mark) is not float and type(label) is not float:
                continue  # such rows are judged
            if judge(mark, label, classes, rules) == MEASURED:
                prediction, right = number_of(mark), number_of(label)
                if prediction is not None and right is not None:
                    yield prediction, right

    def amounts_of(self, values: bytes) -> Iterable[tuple[Atom, int]]:
        """The sums of such rows."""
        for pair in _PAIR.iter_unpack(values):
            *amounts, bucket = _of_row(*pair)
            yield from zip(_ATOMS, amounts, strict=True)
            yield _bucket_atom(bucket), 1

    def read(self, cells: Cells, nature: Nature) -> Errors:
        """The sums."""
        sizes = sorted((int(column), rows) for (row, column), rows in cells.items() if row == _SIZES and rows)
        return Errors(**{atom.column: cells.get(atom, 0) for atom in _ATOMS}, sizes=tuple(sizes))


ERRORS: Final = ErrorsMeasure()
