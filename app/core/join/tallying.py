"""What evidence counts as: the atoms that it counts once, amounts of them, the values that are kept, and in whose
accounts. By the measures of the catalogue, with one partition's numbers.
"""

from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

from app.core.counts.accounts import BY_LABELS, Account
from app.core.counts.atoms import Atom
from app.core.counts.numbers import Numbers
from app.core.join.classes import ToldApart
from app.core.join.exchange import Counted
from app.core.join.gathering import Counting
from app.core.join.judging import Judging
from app.core.join.pairing import BRIER_LETTER, LETTER
from app.core.join.rows import Rows
from app.core.measures import paired
from app.core.measures.catalogue import MEASURES
from app.core.measures.drift import DRIFT
from app.core.measures.measure import Evidence, Measure, has_own
from app.core.measures.probabilities import PROBABILITIES
from app.core.measures.ranks import RANKS

OF_ANSWERS: Final[tuple[Measure[Any], ...]] = tuple(measure for measure in MEASURES if has_own(measure, "counts"))
OF_AMOUNTS: Final[tuple[Measure[Any], ...]] = tuple(measure for measure in MEASURES if has_own(measure, "amounts"))
#: Those that are counted by the time of labels, too.
OF_LABELLED: Final = tuple(measure.amounts for measure in OF_AMOUNTS if measure.by_labels and measure.of_rows)
_WITH_VALUES: Final[tuple[Measure[Any], ...]] = tuple(measure for measure in MEASURES if has_own(measure, "values"))
#: Those whose values are kept as they are. Of probabilities and ranks (`chances`) and of features (`features`) less is.
OF_VALUES: Final = tuple(measure for measure in _WITH_VALUES if measure not in (PROBABILITIES, RANKS, DRIFT))
#: What values count as, by the letter that they begin with.
_AMOUNTS_OF: Final[dict[bytes, Callable[[bytes], Iterable[tuple[Atom, int]]]]] = {
    **{measure.letter: measure.amounts_of for measure in _WITH_VALUES},
    LETTER: paired.amounts_of,
    BRIER_LETTER: paired.brier_amounts_of,
}

Amounts = Callable[[Evidence], Iterable[tuple[Atom, int]]]


class Tallying:
    """Turns evidence into entries of counts, with one partition's `Numbers`."""

    def __init__(self, numbers: Numbers, judging: Judging) -> None:
        self._numbers = numbers
        self._label_accounts: dict[int, int] = {}  # identity → its account by the time of labels
        self._accounts: dict[int, int] = {}  # identity → its account as a whole
        self._atoms: dict[Atom, int] = {}
        self.classes = ToldApart(numbers)
        self.rows = Rows(numbers, judging, self.classes)
        self.seen: dict[int, int] = {}  # by account: the earliest pane that any part of an answer falls in

    # -- evidence -----------------------------------------------------------------------------------------------------

    def label_atoms(self, counting: Counting, rows: Iterable[int]) -> list[int]:
        """The atoms of those of some rows that have a label."""
        evidence, state = counting.evidence, counting.state
        if state is None or evidence.labels is None:
            return []
        labels = evidence.labels
        return [
            atom
            for row in rows
            if labels[row] is not None
            for atom in self.rows.atoms(state, evidence.marks[row], labels[row])
        ]

    def once(self, counting: Counting) -> list[int]:
        """The atoms that evidence counts once each."""
        evidence, state = counting.evidence, counting.state
        atoms = [self.atom(atom) for measure in OF_ANSWERS for atom in measure.counts(evidence)]
        if state is not None:
            labels = evidence.labels or [None] * len(evidence.marks)
            for mark, label in zip(evidence.marks, labels, strict=True):
                atoms += self.rows.atoms(state, mark, label)
        return atoms

    def add_amounts(self, counted: Counted, amounts: Iterable[Amounts], evidence: Evidence) -> None:
        """Add what measures find out anew for every answer. An amount of one takes less room among the atoms."""
        numbers = self._atoms
        for find in amounts:
            for atom, amount in find(evidence):
                number = numbers.get(atom)
                if number is None:
                    number = self.atom(atom)
                if amount == 1:
                    counted.atoms.append(number)
                elif amount:
                    counted.amounts[number] = counted.amounts.get(number, 0) + amount

    def amounts_of(self, values: bytes) -> Iterator[tuple[int, int]]:
        """What values that are kept count as: atoms, by their numbers, and amounts."""
        for atom, amount in _AMOUNTS_OF[values[:1]](values[1:]):
            yield self.atom(atom), amount

    def see(self, account: int, pane: int) -> None:
        """Note a pane that a part of an account falls in, but does not count in."""
        if pane < self.seen.get(account, pane + 1):
            self.seen[account] = pane

    # -- numbers ------------------------------------------------------------------------------------------------------

    def account(self, identity: int) -> int:
        """The account of a model as a whole."""
        account = self._accounts.get(identity)
        if account is None:
            account = self._accounts[identity] = self._numbers.account(Account(self._numbers.identities[identity]))
        return account

    def label_account(self, identity: int) -> int:
        """Its account by the time of labels."""
        account = self._label_accounts.get(identity)
        if account is None:
            own = Account(self._numbers.identities[identity], BY_LABELS)
            account = self._label_accounts[identity] = self._numbers.account(own)
        return account

    def atom(self, atom: Atom) -> int:
        """The number of an atom."""
        number = self._atoms.get(atom)
        if number is None:
            number = self._atoms[atom] = self._numbers.atom(atom)
        return number

    def recover(self) -> None:
        """Take from the numbers which classes are told apart."""
        self.classes.recover()


def values_of(evidence: Evidence, *, of_rows: bool) -> tuple[bytes, ...]:
    """What measures keep as it is of evidence, of single rows or of the whole."""
    found = ((measure, measure.values(evidence)) for measure in OF_VALUES if measure.of_rows == of_rows)
    return tuple(measure.letter + kept for measure, kept in found if kept)


def with_features(counted: Counted, features: bytes | None) -> list[Counted]:
    """An entry, and what it keeps of its request's features, if anything; in one of their own where it counts in
    segments: these do not.
    """
    if features is None:
        return [counted]
    if counted.also:
        return [counted, Counted(counted.account, counted.pane, [], {}, (features,))]
    counted.values = (features, *counted.values)
    return [counted]
