"""What single rows count as: atoms, found out once for all rows that are alike."""

from functools import partial
from typing import Any, Final

from app.core.counts.numbers import Numbers
from app.core.join.classes import ToldApart
from app.core.join.exchange import LegState
from app.core.join.judging import Judging
from app.core.measures.catalogue import MEASURES
from app.core.measures.measure import Measure, has_own
from app.core.measures.verdict import MEASURED, is_labelled
from app.core.payloads.marks import Mark

_CACHED: Final = 20_000
_OF_ROWS: Final[tuple[Measure[Any], ...]] = tuple(measure for measure in MEASURES if has_own(measure, "cells"))


class Rows:
    """Counts rows by the user's rules, with one partition's `Numbers`."""

    def __init__(self, numbers: Numbers, judging: Judging, classes: ToldApart) -> None:
        self._numbers = numbers
        self._judging = judging
        self._classes = classes
        self._atoms: dict[tuple[int, int, Mark, Mark], tuple[int, ...]] = {}
        #: By leg whether a labelled row was judged, and whether one was measured.
        self._natures: dict[int, set[bool]] = {}
        self._mixed: set[int] = set()
        self.mixed: list[int] = []  # legs of which the last exchange shows the second of these

    def atoms(self, state: LegState, mark: Mark, label: Mark) -> tuple[int, ...]:
        """The atoms of one row."""
        key = (state.leg, state.classes, mark, label)
        atoms = self._atoms.get(key)
        # 1 and 1.0 are one key but not one mark; integral floats are never marks.
        if atoms is None:
            classes, rules = self._numbers.classes[state.classes], self._judging.rules(state.leg)
            fold = partial(self._classes.folded, state.leg)
            atoms = tuple(  # the garbage collector walks no tuple of numbers
                self._numbers.atom(measure.bounded(atom, fold))
                for measure in _OF_ROWS
                for atom in measure.cells(mark, label, classes, rules)
            )
            if label is not None and rules.task is None:
                self._note_nature(state.leg, atoms)
            if len(self._atoms) < _CACHED and type(mark) is not float and type(label) is not float:
                self._atoms[key] = atoms
        return atoms

    def _note_nature(self, leg: int, atoms: tuple[int, ...]) -> None:
        """Remember of what nature a labelled row is, and the legs that turn out to have rows of both."""
        for number in atoms:
            atom = self._numbers.atoms[number]
            if is_labelled(atom):
                natures = self._natures.setdefault(leg, set())
                natures.add(atom == MEASURED)
                if len(natures) == 2 and leg not in self._mixed:
                    self._mixed.add(leg)
                    self.mixed.append(leg)
