"""Atoms: what can be counted. Each is a cell of the counts, known by its row and its column.

A row begins with the name of the measure that counts it, and all behind that name is the measure's own: `rewards`,
`confusion=cat`. Counts are written row by row, so a measure puts together what changes together.
"""

import re
from typing import Final, NamedTuple

_MEASURE: Final = re.compile(r"[a-z_]+")


class Atom(NamedTuple):
    """One counter, by its row and its column there."""

    row: str
    column: str


def measure_of(row: str) -> str:
    """The name of the measure that a row belongs to; a row of none is its own."""
    found = _MEASURE.match(row)
    return found[0] if found is not None else row
