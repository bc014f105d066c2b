"""The classes of each leg that a partition tells apart: what is garbage must not make its counts grow for ever.

Told apart is a class that was among the `MOST_CLASSES` of the lowest rank when it first came, and then it stays so: of
n classes in any order these are some MOST_CLASSES * (1 + ln(n / MOST_CLASSES)). Readers fold them to those of the
lowest rank that occur (`app.core.measures.confusion`), so arrival does not show.
"""

from heapq import heappush, heappushpop
from typing import Final

from app.core.counts.numbers import Numbers
from app.core.measures.confusion import MOST_CLASSES, OTHER, class_rank

#: So many times as many are told apart, whatever their ranks: some 20,000 classes in one partition reach it.
_MOST_TIMES: Final = 4


class _OfLeg:
    """The classes of one leg, and the lowest of their ranks."""

    __slots__ = ("lowest", "texts")

    def __init__(self) -> None:
        self.texts: set[str] = set()
        self.lowest: list[int] = []  # negative ranks, as a heap: the first is that of the highest

    def takes(self, text: str) -> bool:
        if len(self.texts) < MOST_CLASSES:
            return True
        return class_rank(text) < -self.lowest[0] and len(self.texts) < _MOST_TIMES * MOST_CLASSES

    def add(self, text: str) -> None:
        self.texts.add(text)
        push = heappush if len(self.lowest) < MOST_CLASSES else heappushpop
        push(self.lowest, -class_rank(text))


class ToldApart:
    """The classes of all legs, with one partition's `Numbers`."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._by_leg: dict[int, _OfLeg] = {}

    def folded(self, leg: int, text: str) -> str:
        """A class as it is counted: itself, or `OTHER`."""
        classes = self._of(leg)
        if text not in classes.texts:
            if not classes.takes(text):
                return OTHER
            classes.add(text)
            self._numbers.tell_apart(leg, text)
        return text

    def recover(self) -> None:
        """Take all that the numbers know."""
        for leg, text in self._numbers.told_apart:
            self._of(leg).add(text)

    def _of(self, leg: int) -> _OfLeg:
        classes = self._by_leg.get(leg)
        if classes is None:
            classes = self._by_leg[leg] = _OfLeg()
        return classes
