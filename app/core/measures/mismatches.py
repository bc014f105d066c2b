"""Mismatches: answers with labels for other rows than they have."""

from collections.abc import Iterable
from typing import Final

from app.core.counts.atoms import Atom
from app.core.measures.measure import DOCUMENT, MODEL, Cells, Evidence, Family, Field, Measure
from app.core.measures.reading import Nature

_ATOM: Final = Atom("mismatches", "answers")


class MismatchesMeasure(Measure[int]):
    """Answers whose rows and labels do not match in number."""

    name = "mismatches"
    families = (
        Family(
            "mismatched_labels",
            "gauge",
            "Answers whose rows do not match their labels in number.",
            (),
            lambda answers: iter([((), answers)]),
            windows=False,
        ),
    )
    fields = (Field("mismatched", lambda answers: answers, (MODEL, DOCUMENT), {"type": "long"}),)

    def counts(self, evidence: Evidence) -> Iterable[Atom]:
        """One answer, however many labels do not fit."""
        return (_ATOM,) if evidence.mismatched else ()

    def read(self, cells: Cells, nature: Nature) -> int:
        """How many answers."""
        return int(cells.get(_ATOM, 0))


MISMATCHES: Final = MismatchesMeasure()
