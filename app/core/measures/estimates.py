"""Estimates: the probabilities of all rows that are answered, from which scores are estimated before labels come.

estimates                        the mark of a model that has them
estimates/<predicted>            {fine bin: rows without label}
estimates/<predicted>=<actual>   {fine bin: rows with one}

Of two classes `predicted` and `actual` are "positive" or "negative", and the bin is that of the positive class's
probability. Of more classes `predicted` is "highest", `actual` is "right" or "wrong", and the bin is that of the
predicted class's probability: the highest, but where a class stands beside the probabilities. Bins are those of
`app.core.measures.probabilities`. A bin with a `b` behind it counts rows that answered just 0 or 1, which are a class
as often: they are read where the same model gives other probabilities too.

Each row is counted once, by whole numbers, so order, merge and retraction cannot show. A label that is neither of two
classes says nothing of the probability: its row counts as one without label.
"""

from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from struct import iter_unpack
from typing import Final, NamedTuple

from app.core.counts.atoms import Atom
from app.core.measures.calibration import Learnt, curve_of
from app.core.measures.measure import Cells, Evidence, Measure
from app.core.measures.probabilities import FINE_BINS, fine_bin, middle_of, vector
from app.core.measures.reading import Nature
from app.core.measures.verdict import is_score, label_text, poles, predicted_text

NAME: Final = "estimates"
_BEGIN: Final = f"{NAME}/"
POSITIVE, NEGATIVE, HIGHEST = "positive", "negative", "highest"
_RIGHT, _WRONG = "right", "wrong"
_BARE: Final = "b"
_TRUE: Final = (POSITIVE, _RIGHT)
#: It keeps this measure among those that are asked for every answer.
_MARK: Final = Atom(NAME, "")


class Answered(NamedTuple):
    """Rows by (fine bin, rows), with and without label: of two classes by the class predicted, and of more."""

    positive: tuple[tuple[int, int], ...] = ()
    negative: tuple[tuple[int, int], ...] = ()
    highest: tuple[tuple[int, int], ...] = ()


NOBODY: Final = Answered()


class _Row(NamedTuple):
    predicted: str
    actual: str  # empty where no label says it
    bin: int
    bare: bool
    rows: int


def learnt(cells: Cells, least: int) -> Learnt:
    """What the total of a model says of its probabilities; without so many labelled rows nothing is estimated."""
    rows = [*_rows(cells)]
    bare = any(not row.bare for row in rows)
    two: dict[int, list[int]] = {}
    highest: dict[int, list[int]] = {}
    for row in rows if bare else ():
        if row.actual:
            own = (highest if row.predicted == HIGHEST else two).setdefault(row.bin, [0, 0])
            own[0] += row.rows
            own[1] += row.rows * (row.actual in _TRUE)
    curves = [
        curve_of((middle_of(bin_), rows_, true) for bin_, (rows_, true) in sorted(own.items()))
        for own in (two, highest)
    ]
    return Learnt(curves[0], curves[1], least, bare)


def _rows(cells: Cells) -> Iterator[_Row]:
    for (row, column), rows in cells.items():
        if rows and row.startswith(_BEGIN):
            predicted, _, actual = row.removeprefix(_BEGIN).partition("=")
            yield _Row(predicted, actual, int(column.removesuffix(_BARE)), column.endswith(_BARE), rows)


class AnsweredBins(NamedTuple):
    """All rows, labelled or not, by the fine bin of their probability: of two classes, of more, and those of just 0 or
    1, which count where there are others.
    """

    two: Counter[int]
    highest: Counter[int]
    bare: Counter[int]


def answered_bins(cells: Cells) -> AnsweredBins:
    """The rows that are answered."""
    found = AnsweredBins(Counter(), Counter(), Counter())
    for row in _rows(cells):
        own = found.bare if row.bare else found.highest if row.predicted == HIGHEST else found.two
        own[row.bin] += row.rows
    return found


@lru_cache(maxsize=8 * FINE_BINS)
def _atom(row: str, bin_: int, bare: str) -> Atom:
    return Atom(_BEGIN + row, f"{bin_}{bare}")


def _atoms(evidence: Evidence) -> Iterator[Atom]:
    """The atom of each row that has a probability."""
    rules, classes = evidence.rules, evidence.classes
    always = rules.probabilities is True
    for row, mark in enumerate(evidence.marks):
        if mark is None or type(mark) is str:
            continue
        label = evidence.labels[row] if evidence.labels is not None else None
        actual = label_text(label, classes, rules)
        bare = ""
        if type(mark) is int and mark < 0:
            found = vector(evidence, row)
            if found is None:
                continue
            values = [value for (value,) in iter_unpack("<d", found)]
            if len(values) != 2:
                said = (
                    "" if actual is None else "=right" if actual == predicted_text(mark, classes, rules) else "=wrong"
                )
                yield _atom(HIGHEST + said, fine_bin(values[-mark - 1]), "")
                continue
            both = poles(classes, rules)
            value = values[both[1] != classes[0]]
        elif is_score(mark, classes, rules):
            both = poles(classes, rules)
            value = min(max(float(mark), 0.0), 1.0)
            bare = _BARE if type(mark) is int and not always else ""
        else:
            continue
        side = POSITIVE if predicted_text(mark, classes, rules) == both[1] else NEGATIVE
        if actual in both:
            side = f"{side}={POSITIVE if actual == both[1] else NEGATIVE}"
        yield _atom(side, fine_bin(value), bare)


class EstimatesMeasure(Measure[Answered]):
    """Probabilities of rows that are answered, where the rules ask for estimates."""

    name = NAME
    of_rows = True

    def amounts(self, evidence: Evidence) -> Iterable[tuple[Atom, int]]:
        """Each row that has a probability, by that, what was predicted, and what its label says."""
        rules = evidence.rules
        if not rules.estimate or rules.probabilities is False or rules.task == "regression" or not evidence.marks:
            return ()
        found = Counter(_atoms(evidence))
        found[_MARK] = 0
        return found.items()

    def read(self, cells: Cells, nature: Nature) -> Answered:
        """All rows, where something may be estimated of them."""
        if nature.learnt is None:
            return NOBODY
        found: dict[str, Counter[int]] = {POSITIVE: Counter(), NEGATIVE: Counter(), HIGHEST: Counter()}
        for row in _rows(cells):
            if nature.learnt.bare or not row.bare:
                found[row.predicted][row.bin] += row.rows
        return Answered(**{name: tuple(sorted(rows.items())) for name, rows in found.items()})


ESTIMATES: Final = EstimatesMeasure()
