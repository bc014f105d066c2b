"""Pairing: which answers of one exchange are compared with each other, and what that counts as.

Compared are the answers of one service: each of a predictor that the rules name with each of one that they do not, the
latter first. What two answers count as stands in the pane of the first; and by the time of labels, each row whose label
both share in the pane in which that came.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, NamedTuple

from app.core.counts.accounts import BY_LABELS, Account, Pair
from app.core.counts.atoms import Atom
from app.core.counts.numbers import Numbers
from app.core.join.classes import ToldApart
from app.core.join.exchange import Counted, once_and_more
from app.core.measures.measure import Evidence
from app.core.measures.paired import Side, bounded, brier_values_of, row_atoms, score_atoms, values_of
from app.core.payloads.marks import Mark

#: Pairs of one exchange that are compared, those of the lowest names: hundreds of answers would have their square.
MOST_PAIRS: Final = 16
_CACHED_ROWS: Final = 20_000
#: What its values begin with, as those of a measure do: those of errors, and of Brier scores.
LETTER: Final = b"d"
BRIER_LETTER: Final = b"b"


class Answer(NamedTuple):
    """An answered leg of an exchange: its leg and identity as numbers, its pane, and what is known of it.

    `label_panes` are by row those in which labels came; None where nothing is counted by them.
    """

    leg: int
    identity: int
    pane: int
    evidence: Evidence
    label_panes: Sequence[int] | None = None


class Pairing:
    """Compares the answers of exchanges, with one partition's `Numbers`. `number_of` gives the number of an atom."""

    def __init__(self, numbers: Numbers, classes: ToldApart, number_of: Callable[[Atom], int]) -> None:
        self._numbers = numbers
        self._classes = classes
        self._number_of = number_of
        self._accounts: dict[tuple[int, int, str], int] = {}
        self._is_compared: dict[int, bool] = {}
        self._rows: dict[tuple[int, ...], dict[tuple[Mark, Mark, Mark], list[int]]] = {}

    def counted(self, answers: Sequence[Answer]) -> Iterator[Counted]:
        """What the comparisons of an exchange count as: an entry for each that counts anything."""
        compared = [answer for answer in answers if self._compares(answer)]
        if not compared or len(compared) == len(answers):
            return
        identities = self._numbers.identities
        others = sorted((one for one in answers if one not in compared), key=lambda one: identities[one.identity])
        compared.sort(key=lambda one: identities[one.identity])
        pairs = ((first, second) for second in compared for first in others if self._are_of_one_service(first, second))
        for first, second in islice(pairs, MOST_PAIRS):
            yield from self._pair(first, second)

    def _compares(self, answer: Answer) -> bool:
        """Whether the rules of a leg say that it is compared with those of which they do not."""
        known = self._is_compared.get(answer.leg)
        if known is None:
            rules = answer.evidence.rules
            predictors = rules.shadow if rules.compare is None else rules.compare
            known = self._is_compared[answer.leg] = self._numbers.legs[answer.leg].predictor in predictors
        return known

    def _are_of_one_service(self, first: Answer, second: Answer) -> bool:
        one, other = self._numbers.legs[first.leg], self._numbers.legs[second.leg]
        return (one.namespace, one.service) == (other.namespace, other.service)

    def _pair(self, first: Answer, second: Answer) -> Iterator[Counted]:
        one, other = first.evidence, second.evidence
        if len(one.marks) != len(other.marks):
            return
        labels = _shared_labels(one, other)
        places = {("", first.pane): labels}
        for row, pane in enumerate(first.label_panes or ()):
            if labels[row] is not None:
                places.setdefault((BY_LABELS, pane), [None] * len(labels))[row] = labels[row]
        for (segment, pane), own in places.items():
            counted = Counted(self._account(first.identity, second.identity, segment), pane, [])
            rows = [row for row, label in enumerate(own) if label is not None or not segment]
            self._add(counted, first, second, own, rows)
            if counted.atoms or counted.amounts or counted.values:
                yield counted

    def _add(
        self, counted: Counted, first: Answer, second: Answer, labels: Sequence[Mark], rows: Sequence[int]
    ) -> None:
        """Add what some rows count as, by these labels."""
        one, other = first.evidence, second.evidence
        sides = Side(one.marks, one.classes, one.rules), Side(other.marks, other.classes, other.rules)
        atoms: list[int] = []
        for row in rows:
            atoms += self._row(first.leg, second.leg, (one.marks[row], other.marks[row]), labels[row], sides)
            atoms += map(self._number_of, score_atoms(one, other, row))
        counted.atoms, counted.amounts = once_and_more(atoms)
        values = values_of(sides, labels)
        if values:
            counted.values = (LETTER + values,)
        of_brier = brier_values_of(one, other, labels)
        if of_brier:
            counted.values = (*counted.values, BRIER_LETTER + of_brier)

    def _row(
        self, first: int, second: int, marks: tuple[Mark, Mark], label: Mark, sides: tuple[Side, Side]
    ) -> list[int]:
        key = (*marks, label)
        numbers = self._numbers
        kept = self._rows.setdefault(
            (first, second, numbers.class_list(sides[0].classes), numbers.class_list(sides[1].classes)), {}
        )
        atoms = kept.get(key)
        if atoms is None:
            found = row_atoms(marks, label, sides)
            atoms = [self._number_of(bounded(atom, lambda text: self._classes.folded(first, text))) for atom in found]
            if float not in map(type, key) and len(kept) < _CACHED_ROWS:
                kept[key] = atoms
        return atoms

    def _account(self, first: int, second: int, segment: str) -> int:
        account = self._accounts.get((first, second, segment))
        if account is None:
            pair = Pair(self._numbers.identities[first], self._numbers.identities[second])
            account = self._accounts[first, second, segment] = self._numbers.account(Account(pair, segment))
        return account


def _shared_labels(one: Evidence, other: Evidence) -> list[Mark]:
    """The labels by which both are judged, by row."""
    if one.labels is None or other.labels is None:
        return [None] * len(one.marks)
    return [label if label == same else None for label, same in zip(one.labels, other.labels, strict=True)]
