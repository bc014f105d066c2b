"""Estimates: what scores most likely are, found from the probabilities of all rows, before any of them has a label.

That is CBPE, confidence-based performance estimation, as NannyML has it: a row whose answer is right with probability q
counts as q rows that are right. The probabilities are calibrated first (`app.core.measures.calibration`), by all labels
that the model has had. It sees that other questions are asked, harder or easier ones; that the same questions have
other answers now, only labels show.

The interval is where the score of these same rows will lie with 95 %, once all have labels: their outcomes vary, and
the calibration rests on so many labels only. It is Wilson's, of as many rows as would make a share vary as much.
"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.core.measures.calibration import Curve
from app.core.measures.estimates import ESTIMATES
from app.core.measures.probabilities import middle_of
from app.core.measures.reading import Reading
from app.core.scores.score import wilson

Numbers = npt.NDArray[np.float64]


class Estimate(NamedTuple):
    """What a score is estimated to be, and its 95 % interval; None where it is undefined."""

    score: str
    value: float | None
    low: float | None
    high: float | None


class Estimates(NamedTuple):
    """What is estimated of some rows that have a probability; nothing where there are none, or too few labels."""

    rows: int
    labels: int  # of all rows of the model: by these its probabilities are calibrated
    estimates: tuple[Estimate, ...] = ()
    lacking: str = ""  # why nothing is estimated, as the end of a sentence


class _Rows(NamedTuple):
    """By bin: the rows predicted positive, the others, and the share of either that is positive in truth."""

    positive: Numbers
    negative: Numbers
    share: Numbers

    @property
    def all(self) -> Numbers:
        return self.positive + self.negative


#: A score's value, and by how much it grows, by bin, with a row predicted positive, and with another one, that is
#: positive in truth and not negative. None where it is undefined.
_Found = tuple[float, Any, Any] | None
_Formulas = Mapping[str, Callable[[_Rows], _Found]]


def estimates_of(reading: Reading) -> Estimates | None:
    """What is estimated of a reading; None where the rules ask for no estimates, and by the time of labels."""
    learnt = reading.nature.learnt
    if learnt is None or reading.by_labels:
        return None
    answered = ESTIMATES.of(reading)
    two = sum(rows for side in (answered.positive, answered.negative) for _, rows in side)
    more = sum(rows for _, rows in answered.highest)
    curve = learnt.of_highest if two < more else learnt.of_two  # rows of the other width are strays
    found = Estimates(max(two, more), sum(block.rows for block in curve))
    if not found.rows:
        return found._replace(lacking="no answer has given a probability")
    if found.labels < learnt.least:
        return found._replace(
            lacking=f"{found.labels:,} of the {learnt.least:,} labels (least_count) that it needs have come"
        )
    if two < more:
        own = _estimates(_OF_MORE, curve, answered.highest, ())
    elif sum(block.true for block in curve) in (0, found.labels):
        return found._replace(lacking="all labels so far are of one class, and it needs both")
    else:
        formulas = _OF_BINARY if reading.nature.task == "binary" else _OF_TWO
        own = _estimates(formulas, curve, answered.positive, answered.negative)
    return found._replace(estimates=tuple(own))


_Side = tuple[tuple[int, int], ...]


def _estimates(formulas: _Formulas, curve: Curve, positive: _Side, negative: _Side) -> Iterator[Estimate]:
    bins = sorted({bin_ for bin_, _ in (*positive, *negative)})
    one, other = (np.array([dict(side).get(bin_, 0) for bin_ in bins], float) for side in (positive, negative))
    here = _Place.of(curve, np.array([middle_of(bin_) for bin_ in bins]))
    rows = _Rows(one, other, here.mean(np.array([block.true / block.rows for block in curve])))
    # Half a row of either outcome more: of few rows that are alike the share is not certain to be 0 or 1.
    shares = np.array([(block.true + 0.5) / (block.rows + 1) for block in curve])
    careful = rows._replace(share=here.mean(shares))
    of_outcome = careful.share * (1 - careful.share)
    of_block = shares * (1 - shares) / np.array([block.rows for block in curve])
    for score, formula in formulas.items():
        found, spread = formula(rows), formula(careful)
        if found is None or spread is None:
            yield Estimate(score, None, None, None)
            continue
        value, of_positive, of_negative = found
        slopes = rows.positive * of_positive + rows.negative * of_negative
        variance = float(
            np.sum((rows.positive * of_positive**2 + rows.negative * of_negative**2) * of_outcome)
            + np.sum(here.added(slopes, len(curve)) ** 2 * of_block)
        )
        value = min(max(value, 0.0), 1.0)  # rounding may have carried it beyond
        alike = min(max(spread[0], 0.0), 1.0)
        rows_alike = alike * (1 - alike) / variance if variance else 0.0
        low, high = wilson(value, rows_alike) if rows_alike else (value, value)
        yield Estimate(score, value, low, high)


class _Place(NamedTuple):
    """Where probabilities lie on a curve: between which two of its blocks, and how far towards the second."""

    before: npt.NDArray[np.int64]
    behind: npt.NDArray[np.int64]
    share: Numbers

    @classmethod
    def of(cls, curve: Curve, values: Numbers) -> "_Place":
        """On straight lines between blocks; beyond the outer ones on these."""
        low, high = (np.array(bounds) for bounds in zip(*((block.low, block.high) for block in curve), strict=True))
        before = np.maximum(np.searchsorted(low, values, side="right") - 1, 0)
        behind = np.minimum(before + 1, len(curve) - 1)
        gap = np.where(low[behind] > high[before], low[behind] - high[before], 1.0)
        return cls(before, behind, np.clip((values - high[before]) / gap, 0.0, 1.0))

    def mean(self, of_block: Numbers) -> Numbers:
        """What holds there, of what holds of each block."""
        found: Numbers = (1 - self.share) * of_block[self.before] + self.share * of_block[self.behind]
        return found

    def added(self, values: Numbers, blocks: int) -> Numbers:
        """By block the sum of values, each as far as it belongs to the block."""
        found = np.zeros(blocks)
        np.add.at(found, self.before, (1 - self.share) * values)
        np.add.at(found, self.behind, self.share * values)
        return found


# -- scores, as NannyML estimates them --------------------------------------------------------------------------------


def _sums(rows: _Rows) -> tuple[float, float, float, float]:
    """Of how many rows tp, fp, fn and tn are to be expected."""
    tp, fn = float(rows.positive @ rows.share), float(rows.negative @ rows.share)
    return tp, float(rows.positive.sum()) - tp, fn, float(rows.negative.sum()) - fn


def _accuracy(rows: _Rows) -> _Found:
    tp, fp, fn, tn = _sums(rows)
    every = tp + fp + fn + tn
    return (tp + tn) / every, 1 / every, -1 / every


def _precision(rows: _Rows) -> _Found:
    tp, fp, _, _ = _sums(rows)
    return (tp / (tp + fp), 1 / (tp + fp), 0.0) if tp + fp else None


def _recall(rows: _Rows) -> _Found:
    tp, _, fn, _ = _sums(rows)
    actual = tp + fn
    return (tp / actual, fn / actual**2, -tp / actual**2) if actual else None


def _specificity(rows: _Rows) -> _Found:
    _, fp, _, tn = _sums(rows)
    actual = tn + fp
    return (tn / actual, tn / actual**2, -fp / actual**2) if actual else None


def _f1(rows: _Rows) -> _Found:
    tp, fp, fn, _ = _sums(rows)
    whole = 2 * tp + fp + fn
    return (2 * tp / whole, 2 * (whole - tp) / whole**2, -2 * tp / whole**2) if whole else None


def _roc_auc(rows: _Rows) -> _Found:
    """The pairs of a positive and a negative row of which the first has the higher probability; ties are a half."""
    positive = rows.all * rows.share
    negative = rows.all - positive
    positives, negatives = float(positive.sum()), float(negative.sum())
    if not positives or not negatives:
        return None
    below = np.cumsum(negative) - negative / 2
    above = positives - np.cumsum(positive) + positive / 2
    area = float(positive @ below) / (positives * negatives)
    slope = (below - above) / (positives * negatives) - area * (1 / positives - 1 / negatives)
    return area, slope, slope


_OF_MORE: Final[_Formulas] = {"accuracy": _accuracy}
_OF_TWO: Final[_Formulas] = {**_OF_MORE, "roc_auc": _roc_auc}
_OF_BINARY: Final[_Formulas] = {
    "accuracy": _accuracy,
    "precision": _precision,
    "recall": _recall,
    "specificity": _specificity,
    "f1": _f1,
    "roc_auc": _roc_auc,
}
#: All scores that may be estimated.
ESTIMATED: Final = tuple(_OF_BINARY)
