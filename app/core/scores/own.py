"""Scores of the user's own over the confusion: of a matrix of costs, or of a function.

They are scores of classification like the others, of the whole model, and rest on the judged rows. Where there are
more classes than are told apart (`confusion.MOST_CLASSES`), they see the rest as one class, ` other`.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache, partial
from typing import ClassVar

from app.core.measures.confusion import CONFUSION
from app.core.measures.reading import Reading
from app.core.rules import OwnScore
from app.core.scores.score import Formula, Value


@dataclass(frozen=True, slots=True)
class MeanCost:
    """What a judged row costs on average. A cell that is not named costs nothing; one that no row is in adds nothing.

    The sum is rounded once, so the order of the cells cannot show.
    """

    costs: tuple[tuple[tuple[str, str], float], ...]  # by (actual, predicted)
    runs_code: ClassVar[bool] = False
    failures: ClassVar[int] = 0

    def __call__(self, confusion: Mapping[tuple[str, str], int]) -> float | None:
        """The cost, of a confusion of any rows."""
        rows = sum(confusion.values())
        return math.fsum(cost * confusion.get(cell, 0) for cell, cost in self.costs) / rows if rows else None


@lru_cache(maxsize=1024)
def formula_of(own: OwnScore) -> Formula:
    """The formula of a score that the user has added."""
    return Formula(own.name, "The user's own.", ("binary", "multiclass"), partial(_value, own), bounded=False)


def _value(own: OwnScore, reading: Reading) -> Iterator[Value]:
    confusion = CONFUSION.of(reading)
    yield "", own.function(confusion.told_apart) if confusion.judged else None, confusion.judged
