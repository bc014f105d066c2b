"""Chances: the probabilities of rows on their way to the counts.

What an exchange has counted of them is no copy of the probabilities: it names the rows of the leg's answer, and how
each is read (a code of `app.core.measures.probabilities`). Only while another answer takes the place of one that is
counted, until the exchange is settled, the values hold the probabilities themselves.

o<code>                  the only row of an answer
r<row><code> …           some of its rows, each 16 bits
p…                       the measure's own values

They are summed up an epoch at a time, all rows at once: one by one that would take longer than all else.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable
from struct import iter_unpack
from typing import Final

from app.core.counts.atoms import Atom
from app.core.counts.numbers import Numbers
from app.core.events import Identity
from app.core.join.exchange import Counted, Exchange, LegState
from app.core.measures.measure import Evidence
from app.core.measures.probabilities import PROBABILITIES, added, code_of, coded, kept, of_row
from app.core.payloads.marks import Mark
from app.core.rules import Rules

_ONE: Final = b"o"
_ROWS: Final = b"r"
#: What such values begin with, as a number.
NAMED: Final = frozenset(_ONE + _ROWS)
#: So many rows of one pane wait at most, and all of one exchange more: their sums have to fit into 64 bits.
MOST: Final = 1 << 13
#: The sums of so many panes are worked out at once: each has up to 9 kB then.
_MOST_SUMS: Final = 1 << 10

Sums = defaultdict[int, int]


def of_one(mark: Mark, label: Mark, classes: tuple[str, ...], rules: Rules) -> tuple[bytes, ...]:
    """What is kept of the only row of an answer, if that has probabilities; empty where they do not count."""
    code = code_of(mark, label, classes, rules)
    return () if code is None else (_named([(0, code)], 1),)


def of_rows(evidence: Evidence, rows: Iterable[int] | None = None) -> tuple[bytes, ...]:
    """What is kept of some rows of an answer, of all where none are named: at most one entry."""
    wanted = None if rows is None else {*rows}
    found = [(row, code) for row, code, _ in coded(evidence) if wanted is None or row in wanted]
    return (_named(found, len(evidence.marks)),) if found else ()


def _named(rows: list[tuple[int, int]], count: int) -> bytes:
    if count == 1 and rows[0][1] < 256:
        return _ONE + bytes([rows[0][1]])
    return _ROWS + array("H", [number for row in rows for number in row]).tobytes()


def _rows(values: bytes) -> Iterable[tuple[int, int]]:
    return ((0, values[1]),) if values[:1] == _ONE else iter_unpack("=HH", values[1:])


def _of_row(state: LegState, row: int) -> bytes:
    """The probabilities that an answer gives a row."""
    if state.probabilities is None:
        return of_row(state.marks[row])
    size = len(state.probabilities) // len(state.marks)
    return state.probabilities[row * size : (row + 1) * size]


def keep_counted(exchange: Exchange, state: LegState, numbers: Numbers) -> None:
    """Put the probabilities themselves into what is counted of a leg's answer: another one takes its place."""
    for one in exchange.counted:
        for place, values in enumerate(one.values):
            if values[0] in NAMED and _leg_of(one, numbers) == state.leg:
                copies = kept((code, _of_row(state, row)) for row, code in _rows(values))
                one.values = (*one.values[:place], PROBABILITIES.letter + copies, *one.values[place + 1 :])


def _leg_of(counted: Counted, numbers: Numbers) -> int:
    subject = numbers.accounts[counted.account].subject
    assert isinstance(subject, Identity)  # of two legs together only differences are kept
    return numbers.leg(subject.leg)


class Chances:
    """Sums up what rows with probabilities add, with one partition's `Numbers`."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._atoms: dict[Atom, int] = {}
        #: By the sums that they are to be added to, and the bytes that a row has: codes, and probabilities.
        self._waiting: dict[tuple[int, int], tuple[Sums, list[int], bytearray]] = {}

    def note(self, exchange: Exchange, counted: Counted, values: bytes, sign: int, sums: Sums) -> None:
        """Take what is counted of an exchange, or no longer; it is to be added to these sums."""
        legs = exchange.legs
        if len(legs) == 1:
            state = legs[0]
        else:
            leg = _leg_of(counted, self._numbers)
            state = next(state for state in legs if state.leg == leg)
        if len(values) == 2:
            found = state.probabilities or of_row(state.marks[0])
            place = id(sums), len(found)
            waiting = self._waiting.get(place)
            if waiting is None:
                waiting = self._waiting[place] = (sums, [], bytearray())
            _, codes, probabilities = waiting
            codes.append(values[1] if sign > 0 else ~values[1])
            probabilities += found
        else:
            for row, code in _rows(values):
                found = _of_row(state, row)
                _, codes, probabilities = self._waiting.setdefault((id(sums), len(found)), (sums, [], bytearray()))
                codes.append(code if sign > 0 else ~code)
                probabilities += found
        if len(codes) > MOST:
            self.add()

    @property
    def waiting(self) -> int:
        """How many rows have been taken and are in no sum yet."""
        return sum(len(codes) for _, codes, _ in self._waiting.values())

    def add(self) -> None:
        """Add all that was taken to the sums, and forget it."""
        by_width: dict[int, list[tuple[Sums, list[int], bytearray]]] = {}
        for (_, width), waiting in self._waiting.items():
            by_width.setdefault(width, []).append(waiting)
        self._waiting = {}
        for alike in by_width.values():
            for start in range(0, len(alike), _MOST_SUMS):
                self._add(alike[start : start + _MOST_SUMS])

    def _add(self, waiting: list[tuple[Sums, list[int], bytearray]]) -> None:
        targets, codes, probabilities = zip(*waiting, strict=True)
        atoms = self._atoms
        for group, atom, amount in added(b"".join(probabilities), codes):
            number = atoms.get(atom)
            if number is None:
                number = atoms[atom] = self._numbers.atom(atom)
            targets[group][number] += amount
