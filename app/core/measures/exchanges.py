"""Exchanges: how many puids have a request, a response and a feedback."""

from collections.abc import Iterable, Iterator
from typing import Final

from app.core.counts.atoms import Atom
from app.core.measures.measure import DOCUMENT, MODEL, Cells, Evidence, Family, Field, Measure, Sample
from app.core.measures.reading import Nature

_PARTS: Final = ("request", "response", "feedback")
_ATOMS: Final = {part: Atom("exchanges", part) for part in _PARTS}
ASKED_OR_ANSWERED: Final = (_ATOMS["request"], _ATOMS["response"])


def _samples(parts: dict[str, int]) -> Iterator[Sample]:
    for part, amount in parts.items():
        yield (part,), amount


class ExchangesMeasure(Measure[dict[str, int]]):
    """Puids by the parts that they have; read as part → puids."""

    name = "exchanges"
    families = (Family("exchanges", "gauge", "Request ids that have that part.", ("part",), _samples),)
    fields = (
        Field(
            "exchanges",
            lambda parts: parts,
            (DOCUMENT, MODEL),
            {"properties": {part: {"type": "long"} for part in _PARTS}},
        ),
    )

    def counts(self, evidence: Evidence) -> Iterable[Atom]:
        """The parts that are there."""
        return [_ATOMS[part] for part in _PARTS if getattr(evidence, part)]

    def read(self, cells: Cells, nature: Nature) -> dict[str, int]:
        """Puids by part."""
        return {part: cells.get(atom, 0) for part, atom in _ATOMS.items()}


EXCHANGES: Final = ExchangesMeasure()
