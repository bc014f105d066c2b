"""What a measure is: one thing that is counted of models, from what counts to what shows it.

A measure is one file and one line in `catalogue.MEASURES`. It sees no exchange and no state: settling gives it the
evidence of one answer, and it gives atoms and whole numbers, which are added, merged and taken back as they are. Later
it reads the sums of its own cells, of any stretch of time. What shows that, in series, documents and `/api`, are rows
of the measure, so whoever shows measures loops over them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Generic, NamedTuple, Protocol, TypeVar

import msgspec

from app.core.counts.atoms import Atom
from app.core.drift.live import Live
from app.core.measures.reading import Nature, Reading
from app.core.payloads.marks import Mark
from app.core.rules import Rules

Read = TypeVar("Read")
#: The sums of one measure's cells, by (row, column): whole numbers, or a `Latest` each where it keeps the latest.
Cells = Mapping[tuple[str, str], Any]


class Evidence(msgspec.Struct, gc=False, kw_only=True):
    """What is known of one leg of one puid: all that a measure may count.

    A leg that has not answered has a request alone, and what a feedback brings that meets no answer has no leg.
    """

    rules: Rules
    request: bool = False  # its request is known
    response: bool = False  # it has answered
    feedback: bool = False  # a feedback is counted to it
    classes: tuple[str, ...] = ()  # that the answer's vectors or names have fixed
    marks: Sequence[Mark] = ()  # what it has predicted, by row
    features: bytes | None = None  # the bins of its request's features (`app.core.drift.kept`)
    live: Live | None = None  # with what it is compared, where that is the reference of its version
    probabilities: bytes | None = (
        None  # of each row's classes, little-endian 64-bit floats; None where it has no vectors
    )
    labels: Sequence[Mark] | None = None  # what is right, by row; None where no feedback says it
    mismatched: bool = False  # there are labels for other rows than it has
    delay: int | None = None  # µs from the answer to its newest label; None where it has none
    reward: int | None = None  # in units of 1e-9

    def part(self, rows: Sequence[int]) -> "Evidence":
        """The marks, probabilities and labels of some rows alone."""
        size = len(self.probabilities or b"") // max(1, len(self.marks))
        return Evidence(
            rules=self.rules,
            classes=self.classes,
            marks=[self.marks[row] for row in rows],
            labels=None if self.labels is None else [self.labels[row] for row in rows],
            probabilities=None
            if self.probabilities is None
            else b"".join(self.probabilities[row * size : (row + 1) * size] for row in rows),
        )


class Histogram(NamedTuple):
    """The value of a histogram: counts by bucket, each up to its bound, the last one without; and their sum."""

    bounds: Sequence[float]
    counts: Sequence[int]
    total: float


#: (the values of its labels, its value; None where that is undefined)
Sample = tuple[tuple[str, ...], float | Histogram | None]


#: What a series is of. Where there are too many, those of the highest rank are left out first.
OF_MODEL, OF_CLASS, OF_SEGMENT, OF_CELL = RANKING = range(4)
RANKS: Final = len(RANKING)


class Family(NamedTuple, Generic[Read]):
    """One series of models, `tally_<name>`: its type, its help, its labels besides identity, how samples are read.

    With `windows` there is a `tally_window_<name>` too, with the label `window` besides. `rank` is that of a sample
    that names a class; the class "" is the whole model.
    """

    name: str
    kind: str  # gauge or histogram
    help: str
    labels: tuple[str, ...]
    samples: Callable[[Read], Iterator[Sample]]
    windows: bool = True
    rank: int = OF_MODEL


DOCUMENT: Final = "document"  # a document of a window
WINDOW: Final = "window"  # a window of a model in `/api/models`, "total" among them
MODEL: Final = "model"  # a model there, in total


class Field(NamedTuple, Generic[Read]):
    """One field of JSON, and where it stands. `mapping` is Elasticsearch's, where it stands in documents.

    One that is `optional` is left out where it is None.
    """

    name: str
    read: Callable[[Read], Any]
    places: tuple[str, ...]
    mapping: Mapping[str, Any] | None = None
    optional: bool = False


class Measure(Protocol[Read]):
    """One thing that is counted of models. What a measure has no use for it leaves as it is here."""

    #: The beginning of its rows in durable state, of small letters and `_`: never used again for anything else.
    name: str
    #: One letter, where it keeps `values`: never used again for anything else.
    letter: bytes = b""
    #: Whether it counts what labels and rewards say, which may be asked for by the time at which they came, too.
    by_labels: bool = False
    #: Whether its amounts and values are of single rows: then some of the rows count as their part of them.
    of_rows: bool = False
    families: tuple[Family[Read], ...] = ()
    fields: tuple[Field[Read], ...] = ()

    def cells(self, mark: Mark, label: Mark, classes: tuple[str, ...], rules: Rules) -> Iterable[Atom]:
        """What one row counts as, once each. It depends on nothing else, so it is found out once and kept."""
        return ()

    def counts(self, evidence: Evidence) -> Iterable[Atom]:
        """What an answer counts as, once each.

        It depends on the rules, on which parts are there, on the classes, and on whether there is a label, a mismatch,
        a reward: so it is kept for answers that are alike in these.
        """
        return ()

    def amounts(self, evidence: Evidence) -> Iterable[tuple[Atom, int]]:
        """What an answer adds besides: sums and bins, found out for every answer.

        Always whole numbers, so that order, merge and retraction cannot show. Whether there are any depends on what
        `counts` depends on, and on there being probabilities.
        """
        return ()

    def values(self, evidence: Evidence) -> bytes:
        """What an answer brings that is kept as it is; empty where there is nothing.

        For what counts as many amounts: these are found out again when they are taken back.
        """
        return b""

    def amounts_of(self, values: bytes) -> Iterable[tuple[Atom, int]]:
        """What such values add. It depends on nothing else, and never changes."""
        return ()

    def bounded(self, atom: Atom, fold: Callable[[str], str]) -> Atom:
        """The same atom, each class in it as `fold` gives it: a leg may name only so many."""
        return atom

    def read(self, cells: Cells, nature: Nature) -> Read:
        """What some sums of its cells say of a model; of no cells too."""
        ...

    def of(self, reading: Reading) -> Read:
        """What it has read of a model."""
        found: Read = reading.by_measure[self.name]
        return found


def has_own(measure: Measure[Any], method: str) -> bool:
    """Whether a measure makes use of a method."""
    return getattr(type(measure), method) is not getattr(Measure, method)
