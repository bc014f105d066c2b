"""Scores that are means over rows: what is known of the values of these rows, and the interval that follows from it.

A share is the mean of values 0 and 1, and has Wilson's interval. Of the mean error (`mae`, `bias`) the squares are
known, too, and it has Student's. Other scores are no means of rows, and have none.
"""

import math
from typing import Final, NamedTuple

import scipy

from app.core.measures.errors import UNIT_BITS
from app.core.measures.reading import Reading
from app.core.scores.catalogue import SHARES
from app.core.scores.regression import errors_of
from app.core.scores.score import Score, wilson

_UNIT: Final = 2.0**-UNIT_BITS
_SIDE: Final = 0.975
#: The scores that have one.
WITH_INTERVALS: Final = SHARES | {"mae", "bias"}


class Moments(NamedTuple):
    """Values of rows: how many, their sum, and the sum of their squares; of a share, how many are right, twice."""

    rows: int
    total: float
    squares: float
    is_share: bool

    @property
    def mean(self) -> float:
        """Their mean; there must be rows."""
        return self.total / self.rows

    @property
    def variance(self) -> float:
        """Their variance, as that of all there are."""
        return max(0.0, self.squares / self.rows - self.mean**2)

    def with_more(self, other: "Moments") -> "Moments":
        """Those of both."""
        return Moments(self.rows + other.rows, self.total + other.total, self.squares + other.squares, self.is_share)


def moments_of(score: Score, reading: Reading) -> Moments | None:
    """What a score of a reading is the mean of; None where it is undefined, or no mean of rows."""
    if score.value is None or not score.samples:
        return None
    if score.name in SHARES:
        right = round(score.value * score.samples)
        return Moments(score.samples, right, right, is_share=True)
    if score.name not in ("mae", "bias"):
        return None
    errors = errors_of(reading)
    total = errors.absolute if score.name == "mae" else errors.error
    return Moments(errors.rows, total * _UNIT, errors.square * _UNIT * _UNIT, is_share=False)


def interval_of(moments: Moments | None) -> tuple[float, float] | None:
    """The 95 % interval of the mean; None where too little is known of it."""
    if moments is None:
        return None
    if moments.is_share:
        return wilson(moments.mean, moments.rows)
    if moments.rows < 2:
        return None
    width = float(scipy.special.stdtrit(moments.rows - 1, _SIDE)) * math.sqrt(moments.variance / (moments.rows - 1))
    return moments.mean - width, moments.mean + width
