"""What exchanges have come to count since the last cut: the difference that goes into the panes then."""

from collections import defaultdict
from collections.abc import Callable, Iterable
from math import inf

from app.core.counts.numbers import Numbers
from app.core.join.chances import MOST, NAMED, Chances
from app.core.join.exchange import Counted, Exchange
from app.core.join.features import OF_FEATURES, Features
from app.core.join.monitored import OF_RESULTS, Results


class Delta:
    """The difference by account, pane and atom, all by their numbers. `amounts_of` says what kept values count as."""

    def __init__(self, numbers: Numbers, amounts_of: Callable[[bytes], Iterable[tuple[int, int]]]) -> None:
        self._amounts_of = amounts_of
        #: Accounts that count the same together are one entry.
        self._changes: defaultdict[tuple[int, int, tuple[int, ...]], defaultdict[int, int]] = defaultdict(_counter)
        self._features = Features(numbers.atom)
        self._chances = Chances(numbers)
        self._results = Results(numbers.atom)

    def __len__(self) -> int:
        """How many panes change, those of segments aside."""
        return len(self._changes)

    def change(self, exchange: Exchange, old: list[Counted], new: list[Counted]) -> None:
        """Out what an exchange has counted, in what it counts now."""
        # What is named by both is the same: values that are kept until they are settled are copies.
        alike = 0
        for one, other in zip(old, new, strict=False):
            if one != other:
                break
            alike += 1
        if alike:  # cut off at once: an answer of many rows has hundreds of them
            old, new = old[alike:], new[alike:]
        same = bool(old and old[0].values and new) and _same_values(old[0], new[0])
        if old:
            self.add(exchange, old, -1, same=same)
        self.add(exchange, new, 1, same=same)

    def add(self, exchange: Exchange, counted: list[Counted], sign: int, *, same: bool = False) -> None:
        """Add what is counted, or take it out. `same`: the values of the first entry stay as they were."""
        changes = self._changes
        for one in counted:
            numbers = changes[one.account, one.pane, one.also]
            for atom in one.atoms:
                numbers[atom] += sign
            for atom, amount in one.amounts.items():
                numbers[atom] += sign * amount
            for values in () if same and one is counted[0] else one.values:
                if values[0] in NAMED:
                    self._chances.note(exchange, one, values, sign, numbers)
                elif values[0] in OF_FEATURES:
                    for atom in self._features.atoms(exchange, values):
                        numbers[atom] += sign
                elif values[0] == OF_RESULTS:
                    self._results.note(values, sign, numbers)
                else:
                    for atom, amount in self._amounts_of(values):
                        numbers[atom] += sign * amount

    def keep_small(self) -> None:
        """Add up the probabilities and results that wait for that, if they are many: it is done for many at once."""
        if self._chances.waiting > MOST:
            self._chances.add()
        self._results.keep_small()

    def take(self, most: float = inf) -> dict[tuple[int, int], dict[int, int]]:
        """Take all, or about so many changes, by account and pane, those of segments among them."""
        self._chances.add()
        self._results.add()
        found: dict[tuple[int, int], dict[int, int]] = {}
        taken = 0
        while self._changes and taken < most:
            (own, pane, also), changes = self._changes.popitem()
            taken += len(changes) * (1 + len(also))
            for account in (own, *also):
                numbers = found.get((account, pane))
                if numbers is None:
                    found[account, pane] = dict(changes) if also else changes
                    continue
                for number, amount in changes.items():
                    numbers[number] = numbers.get(number, 0) + amount
        return found


def _same_values(one: Counted, other: Counted) -> bool:
    """Whether both count the same values in the same accounts and pane."""
    place, known = (one.account, one.pane, one.also), (other.account, other.pane, other.also)
    return place == known and one.values == other.values


def _counter() -> defaultdict[int, int]:
    return defaultdict(int)
