"""Estimates: what scores most likely are, by scikit-learn's isotonic regression and by small differences."""

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import numpy as np
from scipy import stats
from sklearn.isotonic import IsotonicRegression

_EDGES: Final = [
    0.0,
    *((8 + part) / 16 * 2.0**exponent for exponent in range(-23, -4) for part in range(8)),
    *(step / 256 for step in range(8, 129)),
]
_STEP: Final = 1e-6
Values = np.ndarray[Any, np.dtype[np.float64]]


class Said(NamedTuple):
    """A row with a probability: that of the positive class of two, or the highest of more."""

    value: float
    two: bool
    positive: bool  # what is predicted, of two
    true: bool | None  # whether it has turned out so; None where no label says it
    bare: bool

    @property
    def place(self) -> float:
        """The middle of the bin that holds the value."""
        return place_of(self.value)


def place_of(value: float) -> float:
    """The middle of the bin that holds a probability."""
    small = min(value, 1 - value)
    bin_ = bisect_right(_EDGES, small)
    middle = 0.5 if bin_ == len(_EDGES) else (_EDGES[bin_ - 1] + _EDGES[bin_]) / 2
    return 1 - middle if value > 0.5 else middle


def estimates(
    total: Sequence[Said], here: Sequence[Said], task: str, least: int
) -> tuple[int, int, list[tuple[str, float | None, float | None, float | None]]]:
    """Rows, labels, and of each score its estimate and interval."""
    if all(row.bare for row in total):
        return 0, 0, []
    two, more = (sum(row.two == kind for row in here) for kind in (True, False))
    is_two = two >= more
    here = [row for row in here if row.two is is_two]
    known = [row for row in total if row.two is is_two and row.true is not None]
    outcomes = {row.true for row in known}
    if not here or len(known) < least or (is_two and len(outcomes) < 2):
        return len(here), len(known), []
    return len(here), len(known), [*_estimated(known, here, task if is_two else "more")]


def _estimated(
    known: Sequence[Said], here: Sequence[Said], task: str
) -> Iterator[tuple[str, float | None, float | None, float | None]]:
    x, y = np.array([row.place for row in known]), np.array([bool(row.true) for row in known], float)
    fitted = IsotonicRegression().fit(x, y).predict(x)
    order = np.argsort(x, kind="stable")
    levels = np.unique(fitted.round(12))
    block = np.searchsorted(levels, fitted.round(12))
    rows, true = np.bincount(block), np.bincount(block, y)
    places = np.array([row.place for row in here])
    positive = np.array([row.positive for row in here], float)

    def shares(of_block: Values) -> Values:
        found: Values = np.interp(places, x[order], of_block[block][order])
        return found

    careful = (true + 0.5) / (rows + 1)
    for name, formula in _FORMULAS.items():
        if name != "accuracy" and (task == "more" or (task != "binary" and name != "roc_auc")):
            continue

        def value(share: Values, formula: Any = formula) -> float | None:
            found: float | None = formula(share, positive, places)
            return found

        def of_shares(of_block: Values, value: Callable[[Values], float | None] = value) -> float | None:
            return value(shares(of_block))

        own, middle = value(shares(true / rows)), value(shares(careful))
        if own is None or middle is None:
            yield name, None, None, None
            continue
        base = shares(true / rows)
        of_rows = _slopes(value, base)
        of_blocks = _slopes(of_shares, true / rows)
        spread = shares(careful)
        variance = np.dot(np.square(of_rows), spread * (1 - spread))
        variance += np.dot(np.square(of_blocks), careful * (1 - careful) / rows)
        if variance < 1e-14:
            yield name, own, own, own
            continue
        alike = middle * (1 - middle) / variance
        low, high = _wilson(own, alike)
        yield name, own, low, high


def _slopes(value: Callable[[Values], float | None], at: Values) -> list[float]:
    """By how much a value grows with each of the numbers that it is of."""
    found = []
    for place in range(len(at)):
        step = np.zeros(len(at))
        step[place] = _STEP
        above, below = value(at + step), value(at - step)
        assert above is not None
        assert below is not None
        found.append((above - below) / (2 * _STEP))
    return found


def _wilson(share: float, rows: float) -> tuple[float, float]:
    z = stats.norm.ppf(0.975)
    middle, whole = share + z**2 / (2 * rows), 1 + z**2 / rows
    half = z * np.sqrt(max(share * (1 - share), 0) / rows + (z / (2 * rows)) ** 2)
    return max(0.0, (middle - half) / whole), min(1.0, (middle + half) / whole)


def _part(part: float, whole: float) -> float | None:
    return part / whole if whole > 1e-9 else None


def _area(share: Values, _: Values, places: Values) -> float | None:
    above = np.sign(places[:, None] - places[None, :]) / 2 + 0.5
    return _part(float(share @ above @ (1 - share)), float(share.sum() * (1 - share).sum()))


_FORMULAS: Final[dict[str, Callable[[Values, Values, Values], float | None]]] = {
    "accuracy": lambda q, yes, _: float(np.where(yes > 0, q, 1 - q).mean()),
    "precision": lambda q, yes, _: _part(float(q @ yes), yes.sum()),
    "recall": lambda q, yes, _: _part(float(q @ yes), q.sum()),
    "specificity": lambda q, yes, _: _part(float((1 - q) @ (1 - yes)), (1 - q).sum()),
    "f1": lambda q, yes, _: _part(float(2 * q @ yes), yes.sum() + q.sum()),
    "roc_auc": _area,
}
