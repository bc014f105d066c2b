"""A reference in use, and what is declared of features: the bins of what requests, answers and labels bring.

Bins of a row are those of the reference's features, in its order; then of each declared feature whether its value is
missing, invalid or valid, and whether the row is.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
from xxhash import xxh3_64_hexdigest

from app.core.drift.declared import INVALID, MISSING, ROW, VALID, Declared, Validity, checking
from app.core.drift.distribution import binning
from app.core.drift.drift import Yardstick
from app.core.drift.kept import MOST_BINS, Packing
from app.core.drift.reference import Reference

#: So many ways to name columns are remembered.
_MOST_WAYS: Final = 100
_NAMED: Final = 5


class Columns(NamedTuple):
    """Where the features are in a row: by place, None where the row has none; or why that is not known."""

    places: tuple[int | None, ...] = ()
    trouble: str = ""  # a sentence
    straight: bool = False  # whether each feature stands at its own place, and nothing else does


class Live:
    """A reference and declared features, and how to find the bins of values. A judgement needs `least_count` rows.

    `columns` are the names of a request's columns where it does not say them; without them they are the reference's
    features. Another reference has another digest, and so has another declaration.
    """

    def __init__(
        self,
        reference: Reference,
        least_count: int = 100,
        declared: tuple[Declared, ...] = (),
        columns: tuple[str, ...] = (),
    ) -> None:
        self.reference = reference
        self.least_count = least_count
        self.declared = declared
        self.digest = _digest(reference, declared)
        self.names = tuple(feature.name for feature in reference.features)
        #: All of them, and their counts by bin.
        self.distributions = [*reference.distributions()]
        self.by_bin = [one.by_bin() for one in self.distributions]
        self.yardstick = Yardstick(self.distributions, self.by_bin)
        self._finders = [binning(feature) for feature in reference.features]
        self._checks = [checking(one) for one in declared]
        self._wanted = (*self.names, *(one.name for one in declared))
        self._unnamed = self.names or columns
        #: How many bins a row has.
        self.places = len(self._wanted) + bool(declared)
        most = max((feature.size for feature in reference.features), default=0)
        self._packing = Packing(bytes.fromhex(self.digest), self.places, most)
        self._columns: dict[Any, Columns] = {}
        self._given = columns
        self.prediction, self.score, self.label = (
            None if one is None else binning(one) for one in (reference.prediction, reference.score, reference.label)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        """Other processes find the bins by functions of their own."""
        return Live, (self.reference, self.least_count, self.declared, self._given)

    def with_reference(self, reference: Reference) -> "Live":
        """The same with another reference."""
        return Live(reference, self.least_count, self.declared, self._given)

    def columns(self, row: Any, names: Sequence[str] | None) -> Columns:
        """Where the features are in rows like this one, whose columns may have names."""
        if type(row) is dict:
            key: Any = (tuple(row),)
        else:
            width = len(row) if type(row) is list else 1
            key = names if names is not None and len(names) == width else width
        known = self._columns.get(key)
        if known is None:
            known = self._find(key[0], of_object=True) if type(row) is dict else self._find(key)
            if len(self._columns) >= _MOST_WAYS:
                self._columns.clear()
            self._columns[key] = known
        return known

    def _find(self, key: Any, *, of_object: bool = False) -> Columns:
        named = type(key) is not int and not set(key).isdisjoint(self._wanted)
        if not named:
            if of_object:
                return Columns((), "requests have none of its features: none is compared")
            if not self._unnamed:
                return Columns((), "requests do not name their columns, and no prediction_schema does: none is checked")
            width = key if type(key) is int else len(key)
            if width != len(self._unnamed):
                known = f"{'it' if self.names else 'the prediction_schema'} has {len(self._unnamed)} features"
                return Columns((), f"requests have {width} columns, and {known}: none is compared")
        by_name = {name: place for place, name in enumerate(key if named else self._unnamed)}
        lacking = [name for name in dict.fromkeys(self._wanted) if name not in by_name]
        trouble = ""
        if lacking:
            more = f" and {len(lacking) - _NAMED} more" if len(lacking) > _NAMED else ""
            trouble = f"requests have no {', '.join(lacking[:_NAMED])}{more}, which count as missing"
        straight = not self.declared and (not named or key == self.names)
        return Columns(tuple(by_name.get(name) for name in self._wanted), trouble, straight)

    def bins(self, rows: Any, names: Sequence[str] | None) -> tuple[bytes | None, str]:
        """The bins of a request's rows as bytes, None where they fit no feature; and, as a sentence, what does not."""
        if type(rows) is not list or not self._wanted:
            return None, ""
        trouble = ""
        finders = self._finders
        found: list[int] = []
        for row in rows[: max(1, MOST_BINS // self.places)]:
            columns = self.columns(row, names)
            trouble = trouble or columns.trouble
            if not columns.places:
                return None, trouble
            if type(row) is list:
                cells = row
            elif type(row) is dict:
                cells = [*row.values()]
            else:
                cells = [row]
            if columns.straight:
                found += [find(cell) for find, cell in zip(finders, cells, strict=True)]
                continue
            values = [None if place is None else cells[place] for place in columns.places]
            found += [find(value) for find, value in zip(finders, values, strict=False)]
            if self.declared:
                checked = [check(value) for check, value in zip(self._checks, values[len(finders) :], strict=True)]
                found += checked
                found.append(INVALID if INVALID in checked else VALID)
        return self._packing.packed(found, len(rows)), trouble

    def validities(self, counts: Mapping[int, Mapping[int, int]]) -> dict[str, Validity]:
        """How valid declared features are, then the rows, by name; `counts` are the rows by place and bin."""
        names = [one.name for one in self.declared]
        if names:
            names.append(ROW)
        found = {}
        for place, name in enumerate(names, len(self.names)):
            rows = counts.get(place, {})
            found[name] = Validity(sum(rows.values()), rows.get(MISSING, 0), rows.get(INVALID, 0))
        return found


def _digest(reference: Reference, declared: tuple[Declared, ...]) -> str:
    """That of the reference alone where nothing is declared."""
    if not declared:
        return reference.digest
    return xxh3_64_hexdigest(msgspec.msgpack.encode((reference.digest, declared)))[:8]


class Version(NamedTuple):
    """The reference of a version: its bins, and the time (µs) of the last answer that it is made of."""

    live: Live
    until: int


class Watched:
    """The reference of a model: the file that it is in, and what that said when it was last read.

    The path is empty where features are declared, and there is no file. `first`: each version has a reference of its
    own, of so many rows that it was asked first; `live` is what is declared alone.
    """

    def __init__(self, path: str, live: Live, first: int = 0) -> None:
        self.path = path
        self.live = live
        self.first = first
        #: The references of versions that have one, by the five names of their identities.
        self.versions: dict[tuple[str, ...], Version] = {}
        #: Whether enough rows have been asked of a version that has none: then it matters how far partitions are read.
        self.waits = False

    def live_of(self, identity: tuple[str, ...]) -> Live:
        """With what a version is compared."""
        version = self.versions.get(identity)
        return self.live if version is None else version.live

    @property
    def words(self) -> str:
        """What to call it in a sentence."""
        if self.first:
            return "the reference of its first rows, or the declaration of `features:`,"
        return f"the reference {self.path}" if self.path else "the declaration of `features:`"
