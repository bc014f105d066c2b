"""Features on their way to the counts.

What an exchange has counted of a request's features is no copy of their bins: it names the leg whose request they are
of. Only while another request takes the place of one that is counted, until the exchange is settled, the values hold
the bins themselves.

n<leg>     the bins of that leg's request, which are its `evidence`
f…         the measure's own values
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Final

from app.core.counts.atoms import Atom
from app.core.drift.kept import digest_of, places_and_bins, single
from app.core.join.exchange import Exchange, LegState
from app.core.measures.drift import DRIFT, atom_of

_NAMED: Final = b"n"
#: What such values begin with, as numbers.
OF_FEATURES: Final = frozenset(_NAMED + DRIFT.letter)


@lru_cache(maxsize=4096)
def named(leg: int) -> bytes:
    """What is kept of the features of a leg's request."""
    return _NAMED + leg.to_bytes(1 + leg.bit_length() // 8, "little")


def keep_counted(exchange: Exchange, state: LegState) -> None:
    """Put the bins themselves into what is counted of a leg's request: another one takes its place."""
    if state.evidence is not None:
        own = named(state.leg)
        for one in exchange.counted:
            if own in one.values:
                copy = DRIFT.letter + state.evidence
                one.values = tuple(copy if values == own else values for values in one.values)


class Features:
    """Finds the atoms of features. `number` gives that of an atom in the partition's `Numbers`."""

    def __init__(self, number: Callable[[Atom], int]) -> None:
        self._number = number
        self._by_digest: dict[bytes, list[dict[int, int]]] = {}  # by place: bin → number of its atom

    def atoms(self, exchange: Exchange, values: bytes) -> list[int]:
        """The numbers of the atoms that values of an exchange count, once each."""
        kept = values[1:]
        if values[:1] == _NAMED:
            leg = int.from_bytes(kept, "little")
            kept = next(state.evidence or b"" for state in exchange.legs if state.leg == leg)
        bins = single(kept)
        known = self._by_digest.get(kept[1:5])
        if bins is not None and known is not None and len(known) == len(bins):
            try:
                return [own[number] for own, number in zip(known, bins, strict=True)]
            except KeyError:
                pass  # a bin that is new
        return self._find(kept)

    def _find(self, kept: bytes) -> list[int]:
        digest, found = digest_of(kept), places_and_bins(kept)
        known = self._by_digest.setdefault(
            kept[1:5], [{} for _ in range(1 + max((place for place, _ in found), default=-1))]
        )
        numbers = []
        for place, bin_ in found:
            number = known[place].get(bin_)
            if number is None:
                number = known[place][bin_] = self._number(atom_of(digest, place, bin_))
            numbers.append(number)
        return numbers
