"""Probabilities: how good those are that answers give to their classes, on the labelled rows that have any.

probabilities            {"rows", and sums over them: "log_loss", "brier"}
probabilities/bins       {bin of the confidence: rows}
probabilities/right      {bin: rows of it that turned out as it says}
probabilities/confidence {bin: sum of the confidences}
probabilities/positive   {fine bin of the positive class's probability: rows of that class}
probabilities/negative   {the same of the other class}
probabilities/bare       {"11", "10", "01", "00": rows that answered just 0 or 1, by that and by whether the label was
                         the positive class}

Sums are whole numbers of 2^-40: each row is rounded to that, once, so order, merge and retraction cannot show. The
logarithm is worked out here from additions, multiplications and divisions alone, since those of two machines may differ
in the last bit.

Log loss and Brier are scikit-learn's `log_loss` (which clips to the precision of 64 bits) and `brier_score_loss` with
`scale_by_half="auto"`: of two classes the square of the positive one's error, of more the sum over the classes. The
confidence is the positive class's probability of two classes, the highest of more; bins are ten, closed on the right.

An answer that is just 0 or 1 is a class as often as a probability: unless the user says that it is one it counts only
where the same model gives other probabilities too.
"""

import math
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.core.counts.atoms import Atom
from app.core.measures.measure import WINDOW, Cells, Evidence, Field, Measure
from app.core.measures.reading import Nature
from app.core.measures.verdict import is_score, label_text, poles
from app.core.payloads.marks import Mark
from app.core.rules import Rules

UNIT_BITS: Final = 40
BINS: Final = 10
_SCALE: Final = 2.0**UNIT_BITS
_ROW: Final = "probabilities"
_ROWS, _LOG_LOSS, _BRIER = (Atom(_ROW, name) for name in ("rows", "log_loss", "brier"))
_SUMS: Final = (_ROWS, _LOG_LOSS, _BRIER)
_CALIBRATION: Final = tuple(f"{_ROW}/{name}" for name in ("bins", "right", "confidence"))
_SIDES: Final = (f"{_ROW}/negative", f"{_ROW}/positive")
_BARE: Final = f"{_ROW}/bare"
#: Fine bins: one below 2^-24, then the 8th part of a power of two, from 2^-5 on the 256th part of 1; so that rare and
#: common classes are told apart alike they are mirrored above 1/2.
_LOWEST, _HIGHEST, _PARTS, _STEP = 24, 5, 8, 256
_FINE_OF_LOW: Final = (_LOWEST - _HIGHEST) * _PARTS
_FINE_OF_HALF: Final = _FINE_OF_LOW + (_STEP >> 1)
FINE_BINS: Final = 2 * (_FINE_OF_HALF + 1)
_BIN_ATOMS: Final = tuple([Atom(row, str(number)) for number in range(BINS)] for row in _CALIBRATION)
#: What a row may add to, and of two classes besides.
_ATOMS: Final = [*_SUMS, *chain.from_iterable(_BIN_ATOMS)]
_ATOMS_OF_TWO: Final = [*_ATOMS, *(Atom(row, str(number)) for row in _SIDES for number in range(FINE_BINS))]
_EDGES: Final = np.linspace(0, 1, BINS + 1)[1:-1]
_CLIP: Final = float(np.finfo(np.float64).eps)
_LN2: Final = 0.6931471805599453
_SQRT_HALF: Final = 0.7071067811865476
_SERIES: Final = tuple(1 / odd for odd in range(17, 0, -2))
_HEAD: Final = struct.Struct("<HH")

Vectors = npt.NDArray[np.float64]
Amounts = npt.NDArray[np.int64]
#: What rows add: (number of their group, atom, amount).
Added = Iterator[tuple[int, Atom, int]]


class Calibration(NamedTuple):
    """The rows of one bin of the confidence, those that turned out as it says, and the confidences' sum (2^-40)."""

    rows: int = 0
    right: int = 0
    confidence: int = 0


class Probabilities(NamedTuple):
    """What is known of a model's probabilities. Sums are in units of 2^-40."""

    rows: int = 0
    log_loss: int = 0
    brier: int = 0
    bins: tuple[Calibration, ...] = (Calibration(),) * BINS
    #: Of two classes, from the lowest probability of the positive one: (rows of it, rows of the other).
    sides: tuple[tuple[int, int], ...] = ()


def code_of(mark: Mark, label: Mark, classes: tuple[str, ...], rules: Rules) -> int | None:
    """Which of a row's probabilities is the label's, twice; and 1 more if, of two, the second is the positive class's,
    or, of more, the label's is the one predicted. None where they do not count.

    A row has them by a vector, whose mark is a position in the classes, or is a single score.
    """
    if label is None or rules.probabilities is False or rules.task == "regression":
        return None
    actual = label_text(label, classes, rules)
    if type(mark) is int and mark < 0:
        if actual is None or classes.count(actual) != 1:
            return None
        index = classes.index(actual)
        if len(classes) == 2:
            return 2 * index + (poles(classes, rules)[1] != classes[0])
        return 2 * index + (index == -mark - 1)
    if not is_score(mark, classes, rules) or (type(mark) is int and rules.probabilities is None):
        return None
    both = poles(classes, rules)
    return 2 * both.index(actual) + 1 if actual in both else None


def of_row(mark: Mark) -> bytes:
    """The probabilities of both classes, of a single score; rounding may have carried it beyond 0 and 1."""
    assert not isinstance(mark, str | None)
    positive = min(max(float(mark), 0.0), 1.0)
    return struct.pack("<dd", 1.0 - positive, positive)


def vector(evidence: Evidence, row: int) -> bytes | None:
    """The probabilities of a row, as 64-bit floats; None where its answer gives none that could be used."""
    if evidence.probabilities is None:
        mark = evidence.marks[row]
        return of_row(mark) if type(mark) is float or (type(mark) is int and mark >= 0) else None
    size = len(evidence.probabilities) // len(evidence.marks)
    found = evidence.probabilities[row * size : (row + 1) * size]
    return None if found.startswith(NO_PROBABILITY) else found


#: In the place of the first probability of a row that has none.
NO_PROBABILITY: Final = struct.pack("<d", float("nan"))


def coded(evidence: Evidence) -> Iterator[tuple[int, int, bytes]]:
    """Of the rows whose probabilities count: row, code, and probabilities."""
    for row, label in enumerate(evidence.labels or ()):
        if label is not None:
            code = code_of(evidence.marks[row], label, evidence.classes, evidence.rules)
            found = None if code is None else vector(evidence, row)
            if code is not None and found is not None:
                yield row, code, found


def kept(rows: Iterable[tuple[int, bytes]]) -> bytes:
    """Values of some rows, each with its code and its probabilities."""
    return b"".join(_HEAD.pack(len(found) // 8, code) + found for code, found in rows)


def rows_of(values: bytes) -> Iterator[tuple[int, bytes]]:
    """The rows of such values again."""
    place = 0
    while place < len(values):
        width, code = _HEAD.unpack_from(values, place)
        place += _HEAD.size + 8 * width
        yield code, values[place - 8 * width : place]


def added(probabilities: bytes, codes: Sequence[list[int]]) -> Added:
    """What rows of equally many classes add to their groups, whose codes are given group by group.

    The inverse (`~`) of a code says that the row is taken away.
    """
    groups, lengths = len(codes), [len(own) for own in codes]
    count = sum(lengths)
    vectors = np.frombuffer(probabilities, "<f8").reshape(count, -1)
    code = np.array([*chain.from_iterable(codes)], np.int64)
    negative = code >> 63  # -1 or 0
    sign = 2 * negative + 1
    code ^= negative
    label, bit, every = code >> 1, code & 1, np.arange(count)
    of_two = vectors.shape[1] == 2
    if of_two:
        confidence, right = vectors[every, bit], label == bit
        error = confidence - right
        brier = error * error
    else:
        # A class beside the probabilities may be another than the likeliest one, which the confidence is of.
        confidence, right = vectors.max(axis=1), vectors.argmax(axis=1) == label
        missed = vectors.copy()
        missed[every, label] -= 1
        brier = np.cumsum(missed * missed, axis=1)[:, -1]  # one after the other, so in the same order everywhere
    loss = -logarithms(np.minimum(np.maximum(vectors[every, label], _CLIP), 1 - _CLIP))
    units = np.rint(np.concatenate((loss, brier, confidence)) * _SCALE).astype(np.int64).reshape(3, count) * sign
    atoms = _ATOMS_OF_TWO if of_two else _ATOMS
    place = np.repeat(np.arange(groups) * len(atoms), lengths)
    of_bin = place + (len(_SUMS) + np.searchsorted(_EDGES, confidence))
    places = [place, place + 1, place + 2, of_bin, of_bin + BINS, of_bin + 2 * BINS]
    amounts = [sign, units[0], units[1], sign, sign * right, units[2]]
    if of_two:
        places.append(place + (len(_ATOMS) + right * FINE_BINS + fine_bins(confidence)))
        amounts.append(sign)
    sums = np.zeros(groups * len(atoms), np.int64)
    np.add.at(sums, np.concatenate(places), np.concatenate(amounts))
    found = np.flatnonzero(sums)
    for number, amount in zip(found.tolist(), sums[found].tolist(), strict=True):
        group, atom = divmod(number, len(atoms))
        yield group, atoms[atom], amount


def logarithms(values: Vectors) -> Vectors:
    """The natural logarithm of values above 0, the same on every machine, within 1e-14."""
    mantissa, exponent = np.frexp(values)
    is_low = mantissa < _SQRT_HALF
    mantissa = np.where(is_low, mantissa * 2, mantissa)
    slope = (mantissa - 1) / (mantissa + 1)
    square = slope * slope
    series = square * _SERIES[0] + _SERIES[1]
    for factor in _SERIES[2:]:
        series = series * square + factor
    found: Vectors = (exponent - is_low) * _LN2 + 2 * slope * series
    return found


def brier_units(probabilities: bytes, code: int) -> int:
    """The Brier score of one row, in units of 2^-40."""
    label, bit = divmod(code, 2)
    found: tuple[float, ...] = struct.unpack(f"<{len(probabilities) // 8}d", probabilities)
    if len(found) == 2:
        error = found[bit] - (label == bit)
        return round(error * error * _SCALE)
    return round(sum((value - (place == label)) ** 2 for place, value in enumerate(found)) * _SCALE)


def fine_bins(values: Vectors) -> Amounts:
    """The fine bins of probabilities. NaN, which states before format 9 may have kept of a row, is in the lowest."""
    values = np.where(np.isnan(values), 0.0, values)
    smaller = np.minimum(values, 1 - values)
    mantissa, exponent = np.frexp(smaller)
    low = (exponent + _LOWEST) * _PARTS + np.floor((2 * mantissa - 1) * _PARTS)
    low = np.where(smaller < 2.0**-_LOWEST, 0, low)
    bins = np.where(smaller < 2.0**-_HIGHEST, low, np.floor(smaller * _STEP) + _FINE_OF_LOW)
    found: Amounts = np.where(values > 0.5, FINE_BINS - 1 - bins, bins).astype(np.int64)
    return found


def fine_bin(value: float) -> int:
    """The fine bin of one probability."""
    smaller = min(value, 1 - value)
    if smaller < 2.0**-_LOWEST:
        low = 0
    elif smaller < 2.0**-_HIGHEST:
        mantissa, exponent = math.frexp(smaller)
        low = (exponent + _LOWEST) * _PARTS + int((2 * mantissa - 1) * _PARTS)
    else:
        low = int(smaller * _STEP) + _FINE_OF_LOW
    return FINE_BINS - 1 - low if value > 0.5 else low


@lru_cache(maxsize=FINE_BINS)
def middle_of(bin_: int) -> float:
    """The probability in the middle of a fine bin."""
    if bin_ > _FINE_OF_HALF:
        return 1 - middle_of(FINE_BINS - 1 - bin_)
    if bin_ == _FINE_OF_HALF:  # that of 1/2 alone
        return 0.5
    if bin_ >= _FINE_OF_LOW + (_STEP >> _HIGHEST):
        return (bin_ - _FINE_OF_LOW + 0.5) / _STEP
    exponent, part = divmod(bin_, _PARTS)
    # The first one goes from 0 on.
    return (
        math.ldexp(_PARTS + part + 0.5, exponent - _LOWEST - 1 - (_PARTS.bit_length() - 1))
        if bin_
        else 2.0 ** (-_LOWEST - 1)
    )


@lru_cache
def _of_bare(column: str) -> tuple[tuple[Atom, int], ...]:
    """What one row adds that is just 0 or 1, by its column."""
    value, label = map(int, column)
    return tuple((atom, amount) for _, atom, amount in added(of_row(value), [[2 * label + 1]]))


def labelled_bins(cells: Cells) -> tuple[Counter[int], Counter[int]]:
    """Of two classes the labelled rows by the fine bin of the positive one's probability; and those of just 0 or 1,
    which count where there are others.
    """
    found: Counter[int] = Counter()
    bare: Counter[int] = Counter()
    for (row, column), rows in cells.items():
        if row in _SIDES:
            found[int(column)] += rows
        elif row == _BARE:
            bare[fine_bin(float(column[0]))] += rows
    return found, bare


def _calibration(it: Probabilities) -> list[dict[str, Any]] | None:
    """As JSON, of each bin with rows: its mean confidence, and the share that turned out so; None without any."""
    return [
        {"confidence": one.confidence / (one.rows << UNIT_BITS), "right": one.right / one.rows, "rows": one.rows}
        for one in it.bins
        if one.rows
    ] or None


class ProbabilitiesMeasure(Measure[Probabilities]):
    """Probabilities of labelled rows. Settling keeps less of them than `values` (`app.core.join.chances`)."""

    name = "probabilities"
    by_labels = True
    of_rows = True
    letter = b"p"
    fields = (Field("calibration", _calibration, (WINDOW,), optional=True),)

    def cells(self, mark: Mark, label: Mark, classes: tuple[str, ...], rules: Rules) -> Iterable[Atom]:
        """A row that is just 0 or 1."""
        if type(mark) is not int or rules.probabilities is not None or not is_score(mark, classes, rules):
            return ()
        both, actual = poles(classes, rules), label_text(label, classes, rules)
        return (Atom(_BARE, f"{mark}{both.index(actual)}"),) if actual in both else ()

    def values(self, evidence: Evidence) -> bytes:
        """Code and probabilities of each row that has them."""
        return kept((code, found) for _, code, found in coded(evidence))

    def amounts_of(self, values: bytes) -> Iterable[tuple[Atom, int]]:
        """What such rows add."""
        for code, found in rows_of(values):
            for _, atom, amount in added(found, [[code]]):
                yield atom, amount

    def read(self, cells: Cells, nature: Nature) -> Probabilities:
        """The sums. Rows of just 0 or 1 are among them where there are others."""
        if not cells.get(_ROWS):
            return Probabilities()
        sums: dict[tuple[str, str], int] = dict(cells)
        bare = [(column, rows) for (row, column), rows in cells.items() if row == _BARE and rows]
        for column, rows in bare:
            for atom, amount in _of_bare(column):
                sums[atom] = sums.get(atom, 0) + rows * amount
        bins = (Calibration(*(sums.get(atoms[number], 0) for atoms in _BIN_ATOMS)) for number in range(BINS))
        fine = sorted({int(column) for (row, column), rows in sums.items() if row in _SIDES and rows})
        sides = ((sums.get((_SIDES[1], str(number)), 0), sums.get((_SIDES[0], str(number)), 0)) for number in fine)
        whole = {atom.column: sums.get(atom, 0) for atom in _SUMS}
        return Probabilities(**whole, bins=tuple(bins), sides=tuple(sides))


PROBABILITIES: Final = ProbabilitiesMeasure()
