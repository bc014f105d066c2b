"""Deciding: when a version has its reference, and of which rows.

One worker decides, that which owns partition 0: it writes the reference with that partition's next epoch, so a worker
that has lost the partition cannot. It has all that was answered up to the last of the first rows once every partition
has been read to a little later than that; till then it waits. All others learn of it as they learn of counts.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from app.core.counts.gathered import Gathered
from app.core.drift.first import First, first_of, until_of
from app.core.drift.live import Version, Watched
from app.core.events import Identity
from app.core.join.firsts import watched_of
from app.core.rules import Rulebook

#: How long after its time an answer may reach its topic to be among the first ones.
PATIENCE_SECONDS: Final = 10

_MICROSECONDS: Final = 1_000_000


class Full(NamedTuple):
    """A version of which enough rows are known: how many are wanted, its records, and up to when (s) these are all."""

    identity: Identity
    rows: int
    records: list[bytes]
    read: float

    def first(self) -> First | None:
        """Its reference; None where that must wait. It may take a while."""
        until = until_of(self.records, self.rows)
        if until is None or until / _MICROSECONDS + PATIENCE_SECONDS > self.read:
            return None
        return first_of(self.records, until)


def learn(gathered: Gathered, rulebook: Rulebook) -> list[Identity]:
    """Bring the rulebook up to what has been gathered and made. Returns the versions that have a reference now, and
    had none.
    """
    learnt = take_references(gathered.references, rulebook)
    waiting = [watched for _, watched in _full(gathered, rulebook)]
    for watched in watched_of(rulebook):
        watched.waits = watched in waiting
    return learnt


def take_references(references: Mapping[Identity, First], rulebook: Rulebook) -> list[Identity]:
    """Let the rulebook know references that were made. Returns the versions that had none."""
    learnt = []
    for identity, first in references.items():
        watched = first_rows_of(identity, rulebook)
        if watched is not None and identity not in watched.versions:
            watched.versions[identity] = Version(watched.live.with_reference(first.reference), first.until)
            learnt.append(identity)
    return learnt


def full(gathered: Gathered, rulebook: Rulebook, partitions: int) -> Iterator[Full]:
    """The versions that may have their reference now."""
    clocks = gathered.clocks
    if all(number in clocks for number in range(partitions)):
        read = min(clocks[number] for number in range(partitions))
        for identity, watched in _full(gathered, rulebook):
            yield Full(identity, watched.first, [*gathered.records[identity].values()], read)


def _full(gathered: Gathered, rulebook: Rulebook) -> Iterator[tuple[Identity, Watched]]:
    """The versions of which enough rows are known, and that have no reference."""
    for identity, rows in gathered.rows.items():
        watched = first_rows_of(identity, rulebook)
        if watched is not None and rows >= watched.first and identity not in gathered.references:
            yield identity, watched


def decide(records: Mapping[Identity, Sequence[bytes]], rulebook: Rulebook) -> None:
    """Make the references of versions whose first rows are among these records, where nothing more will come, and let
    the rulebook know them.
    """
    made = {}
    for identity, own in records.items():
        watched = first_rows_of(identity, rulebook)
        until = None if watched is None else until_of(own, watched.first)
        if until is not None:
            made[identity] = first_of(own, until)
    take_references(made, rulebook)


def first_rows_of(identity: Identity, rulebook: Rulebook) -> Watched | None:
    """The references of a model's versions; None where it has none of first rows."""
    watched = rulebook.of(identity.leg).reference
    return watched if watched is not None and watched.first else None
