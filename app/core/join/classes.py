"""The classes of each leg that a partition tells apart: what is garbage must not make its counts grow for ever.

Told apart is a class that was among the `MOST_CLASSES` of the lowest rank when it first came, and then it stays so: of
n classes in any order these are some MOST_CLASSES * (1 + ln(n / MOST_CLASSES)). Readers fold them to those of the
lowest rank that occur (`app.core.measures.confusion`), so arrival does not show.
"""

from collections.abc import Callable
from heapq import heappush, heappushpop
from typing import Final

from app.core.counts.numbers import Numbers
from app.core.measures.confusion import MOST_CLASSES, OTHER, class_rank

#: So many times as many are told apart, whatever their ranks: some 20,000 classes in one partition reach it.
_MOST_TIMES: Final = 4


class LowestTexts:
    """Texts that are told apart, and the lowest of their ranks: some `most`, at most `times` as many."""

    __slots__ = ("_lowest", "_most", "_rank", "_times", "texts")

    def __init__(self, most: int, times: int, rank: Callable[[str], int]) -> None:
        self.texts: set[str] = set()
        self._most = most
        self._times = times
        self._rank = rank
        self._lowest: list[int] = []  # negative ranks, as a heap: the first is that of the highest

    def takes(self, text: str) -> bool:
        """Whether one that is new is to be told apart."""
        if len(self.texts) < self._most:
            return True
        return self._rank(text) < -self._lowest[0] and len(self.texts) < self._times * self._most

    def add(self, text: str) -> None:
        """Tell one apart."""
        self.texts.add(text)
        push = heappush if len(self._lowest) < self._most else heappushpop
        push(self._lowest, -self._rank(text))


class ToldApart:
    """The classes of all legs, with one partition's `Numbers`."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._by_leg: dict[int, LowestTexts] = {}

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

    def _of(self, leg: int) -> LowestTexts:
        classes = self._by_leg.get(leg)
        if classes is None:
            classes = self._by_leg[leg] = LowestTexts(MOST_CLASSES, _MOST_TIMES, class_rank)
        return classes
