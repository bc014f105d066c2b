"""Chances: the probabilities of rows on their way to the counts.

What an exchange has counted of them is no copy of the probabilities: it names the rows of the leg's answer, and how
each is read (a code of `app.core.measures.probabilities`). Only while another answer takes the place of one that is
counted, until the exchange is settled, the values hold the probabilities themselves.

o<code>                         the only row of an answer
O<code><classes>                the same, which has ranks, too: the number of the classes that these are of
r<row><code> …                  some of its rows, each 16 bits
R<classes, 32 bits><row><code>… the same, which have ranks, too
p…, k…                          the measures' own values

They are summed up an epoch at a time, all rows at once: one by one that would take longer than all else.
"""

from array import array
from collections import defaultdict
from collections.abc import Iterable
from struct import Struct, iter_unpack
from typing import Final

from app.core.counts.atoms import Atom
from app.core.counts.numbers import Numbers
from app.core.events import Identity
from app.core.join.exchange import Counted, Exchange, LegState
from app.core.measures import ranks
from app.core.measures.measure import Evidence
from app.core.measures.probabilities import PROBABILITIES, added, code_of, coded, kept, of_row
from app.core.measures.ranks import RANKS, ranked

_ONE: Final = b"o"
_ONE_RANKED: Final = b"O"
_ROWS: Final = b"r"
_ROWS_RANKED: Final = b"R"
#: What such values begin with, as a number.
NAMED: Final = frozenset(_ONE + _ONE_RANKED + _ROWS + _ROWS_RANKED)
_OF_ONE: Final = frozenset(_ONE + _ONE_RANKED)
_CLASSES: Final = Struct("<I")
#: So many rows of one pane wait at most, and all of one exchange more: their sums have to fit into 64 bits.
MOST: Final = 1 << 13
#: The sums of so many panes are worked out at once: each has up to 9 kB then, and as much for each class that is
#: ranked.
_MOST_SUMS: Final = 1 << 10

Sums = defaultdict[int, int]
_Waiting = tuple[Sums, list[int], bytearray]


def of_one(evidence: Evidence, numbers: Numbers) -> tuple[bytes, ...]:
    """What is kept of the only row of an answer, if that has probabilities; empty where they do not count."""
    assert evidence.labels is not None
    code = code_of(evidence.marks[0], evidence.labels[0], evidence.classes, evidence.rules)
    return () if code is None else (_named([(0, code)], 1, _ranked(evidence, numbers)),)


def of_rows(evidence: Evidence, numbers: Numbers, rows: Iterable[int] | None = None) -> tuple[bytes, ...]:
    """What is kept of some rows of an answer, of all where none are named: at most one entry."""
    wanted = None if rows is None else {*rows}
    found = [(row, code) for row, code, _ in coded(evidence) if wanted is None or row in wanted]
    return (_named(found, len(evidence.marks), _ranked(evidence, numbers)),) if found else ()


def _ranked(evidence: Evidence, numbers: Numbers) -> int:
    """The number of the classes that an answer has ranks of, 0 where it has none."""
    classes = ranked(evidence.classes, evidence.rules)
    return numbers.class_list(classes) if classes else 0


def _named(rows: list[tuple[int, int]], count: int, classes: int) -> bytes:
    if count == 1 and rows[0][1] < 256:
        code = bytes([rows[0][1]])
        return _ONE_RANKED + code + _least_bytes(classes) if classes else _ONE + code
    of_rows = array("H", [number for row in rows for number in row]).tobytes()
    return _ROWS_RANKED + _CLASSES.pack(classes) + of_rows if classes else _ROWS + of_rows


def _least_bytes(number: int) -> bytes:
    return number.to_bytes(1 + number.bit_length() // 8, "little")


def _rows(values: bytes) -> tuple[Iterable[tuple[int, int]], int]:
    """Row and code of what such values name, and the number of the classes that these have ranks of."""
    if values[0] in _OF_ONE:
        return ((0, values[1]),), int.from_bytes(values[2:], "little")
    if values[:1] == _ROWS:
        return iter_unpack("=HH", values[1:]), 0
    begin = 1 + _CLASSES.size
    return iter_unpack("=HH", values[begin:]), _CLASSES.unpack_from(values, 1)[0]


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
                named, classes = _rows(values)
                rows = [(code, _of_row(state, row)) for row, code in named]
                copies = [PROBABILITIES.letter + kept(rows)]
                if classes:
                    copies.append(RANKS.letter + ranks.packed(numbers.classes[classes], rows))
                one.values = (*one.values[:place], *copies, *one.values[place + 1 :])


def _leg_of(counted: Counted, numbers: Numbers) -> int:
    subject = numbers.accounts[counted.account].subject
    assert isinstance(subject, Identity)  # of two legs together only differences are kept
    return numbers.leg(subject.leg)


class Chances:
    """Sums up what rows with probabilities add, with one partition's `Numbers`."""

    def __init__(self, numbers: Numbers) -> None:
        self._numbers = numbers
        self._atoms: dict[Atom, int] = {}
        self._of_ranks: dict[int, dict[int, int]] = {}  # by classes: the numbers of the atoms of their ranks
        #: By the sums that they are to be added to, the bytes that a row has, and the classes that it has ranks of:
        #: codes, and probabilities.
        self._waiting: dict[tuple[int, int, int], _Waiting] = {}

    def note(self, exchange: Exchange, counted: Counted, values: bytes, sign: int, sums: Sums) -> None:
        """Take what is counted of an exchange, or no longer; it is to be added to these sums."""
        legs = exchange.legs
        if len(legs) == 1:
            state = legs[0]
        else:
            leg = _leg_of(counted, self._numbers)
            state = next(state for state in legs if state.leg == leg)
        if values[0] in _OF_ONE:
            found = state.probabilities or of_row(state.marks[0])
            self._take(found, values[1], int.from_bytes(values[2:], "little"), sign, sums)
        else:
            rows, classes = _rows(values)
            for row, code in rows:
                self._take(_of_row(state, row), code, classes, sign, sums)

    def _take(self, found: bytes, code: int, classes: int, sign: int, sums: Sums) -> None:
        place = id(sums), len(found), classes
        waiting = self._waiting.get(place)
        if waiting is None:
            waiting = self._waiting[place] = (sums, [], bytearray())
        _, codes, probabilities = waiting
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
        alike: dict[tuple[int, int], list[_Waiting]] = {}
        for (_, width, classes), waiting in self._waiting.items():
            alike.setdefault((width, classes), []).append(waiting)
        self._waiting = {}
        for (width, classes), found in alike.items():
            names = self._numbers.classes[classes]
            has_ranks = classes > 0 and width == 8 * len(names)
            most = _MOST_SUMS // len(names) if has_ranks else _MOST_SUMS
            for start in range(0, len(found), most):
                self._add(found[start : start + most])
                if has_ranks:
                    self._add_ranks(found[start : start + most], classes)

    def _add(self, waiting: list[_Waiting]) -> None:
        targets, codes, probabilities = zip(*waiting, strict=True)
        atoms = self._atoms
        for group, atom, amount in added(b"".join(probabilities), codes):
            number = atoms.get(atom)
            if number is None:
                number = atoms[atom] = self._numbers.atom(atom)
            targets[group][number] += amount

    def _add_ranks(self, waiting: list[_Waiting], classes: int) -> None:
        targets, codes, probabilities = zip(*waiting, strict=True)
        names, atoms = self._numbers.classes[classes], self._of_ranks.setdefault(classes, {})
        for group, place, amount in ranks.added(b"".join(probabilities), codes, names):
            number = atoms.get(place)
            if number is None:
                number = atoms[place] = self._numbers.atom(ranks.atom_of(place, names))
            targets[group][number] += amount
