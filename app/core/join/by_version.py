"""References of versions: what is kept of a request until its version is known, and with what its answer is compared.

A request does not say which version will answer it, and a version has no reference until its first rows are known. So
where a model's references are those of versions a request is kept by its values:

    as of `app.core.drift.recording`, but the columns: how many there are, or, negative, the number of the list of
    their names in the partition's `Numbers`

What an exchange counts of them are bins, which it keeps beside them: so it can be taken back by the same.
"""

from collections.abc import Sequence
from typing import Any, Final

from app.core.counts.numbers import Numbers
from app.core.drift.first import Predicted, record_of
from app.core.drift.kept import VALUES
from app.core.drift.live import Live, Watched
from app.core.drift.recording import Asked, asked, packed, table_of
from app.core.drift.reference import MOST_FEATURES
from app.core.join.exchange import LegState
from app.core.join.judging import Judging
from app.core.limits import Limits
from app.core.measures.drift import answered
from app.core.measures.measure import Evidence

#: A request's values take at most so large a part of what an exchange may have.
_PART: Final = 8
#: So many lists of names may be known for each model that may be.
_LISTS_A_MODEL: Final = 4


class ByVersion:
    """Compares answers with the references of their versions, with one partition's `Numbers`."""

    def __init__(self, numbers: Numbers, judging: Judging) -> None:
        self._numbers = numbers
        self._judging = judging
        self._watched: dict[int, Watched | None] = {}
        #: Models whose requests were first seen not to fit what is declared, or their reference, and why.
        self.unfit: list[tuple[int, str]] = []
        self._unfit: set[tuple[int, str]] = set()

    def watched(self, leg: int) -> Watched | None:
        """The references of a leg's versions; None where it has none of this kind."""
        if leg not in self._watched:
            watched = self._judging.rules(leg).reference
            self._watched[leg] = watched if watched is not None and watched.first else None
        return self._watched[leg]

    def awaits(self, identity: int) -> bool:
        """Whether a version has no reference yet, and is to have one."""
        words = self._numbers.identities[identity]
        watched = self.watched(self._numbers.leg(words.leg))
        return watched is not None and words not in watched.versions

    # -- what is kept -------------------------------------------------------------------------------------------------

    def keep(self, rows: Any, names: Sequence[str] | None, limits: Limits) -> bytes | None:
        """The rows of a request as bytes, of many the first ones; None where they are no table, or too large."""
        found = table_of(rows, names)
        if found is None:
            return None
        columns, kept = found
        width = columns if isinstance(columns, int) else len(columns)
        if width > MOST_FEATURES:
            width = MOST_FEATURES
            columns = width if isinstance(columns, int) else columns[:width]
            kept = [row[:width] for row in kept]
        number = width if isinstance(columns, int) else -self._list_of(columns, limits)
        most = self.most_bytes(limits)
        while kept:
            raw = packed(Asked(number or width, kept))
            if len(raw) <= most:
                return raw
            kept = kept[: len(kept) // 2]
        return None

    @staticmethod
    def most_bytes(limits: Limits) -> int:
        """How many bytes are kept of a request at most."""
        return limits.exchange_bytes // _PART

    def _list_of(self, names: tuple[str, ...], limits: Limits) -> int:
        """The number of the names of columns; 0 where they cannot be told apart, or are too many."""
        known = self._numbers.knows_class_list(names)
        if not known and (
            len({*names}) < len(names)
            or not all(names)
            or any(name.startswith("(") for name in names)
            or sum(map(len, names)) > self.most_bytes(limits)
            or len(self._numbers.classes) > _LISTS_A_MODEL * limits.models
        ):
            return 0
        return self._numbers.class_list(names)

    def _asked(self, kept: bytes) -> Asked | None:
        found = asked(kept)
        if found is None or not isinstance(found.columns, int) or found.columns > 0:
            return found
        return Asked(self._numbers.classes[-found.columns], found.rows)

    # -- what it is compared with -------------------------------------------------------------------------------------

    def live(self, state: LegState) -> Live | None:
        """The reference that an answer is compared with; None where it is not: its version has none yet, or that is
        made of it, or its request is not known.
        """
        watched = self.watched(state.leg)
        if watched is None or not state.time or state.evidence is None or not state.evidence[0] & VALUES:
            return None
        version = watched.versions.get(self._numbers.identities[state.identity])
        return None if version is None or state.pane_time <= version.until else version.live

    def bins(self, state: LegState) -> bytes | None:
        """The bins of a leg's request, by the reference of its version and what is declared; None where it has none."""
        watched = self.watched(state.leg)
        found = None if state.evidence is None else self._asked(state.evidence)
        if watched is None or found is None:
            return None
        live = self.live(state) or watched.live
        names = None if isinstance(found.columns, int) else found.columns
        bins, trouble = live.bins(found.rows, names)
        if trouble and (state.leg, live.digest) not in self._unfit:
            self._unfit.add((state.leg, live.digest))
            self.unfit.append((state.leg, f"{watched.words} does not fit: {trouble}"))
        return bins

    def record(self, state: LegState, most: int) -> bytes | None:
        """What is gathered of an answer whose version has no reference yet, in so many bytes at most: of many rows the
        first ones. None where that is nothing.
        """
        found = None if state.evidence is None or not state.time else self._asked(state.evidence)
        if found is None or not self.awaits(state.identity):
            return None
        evidence = Evidence(
            rules=self._judging.rules(state.leg),
            classes=self._numbers.classes[state.classes],
            marks=state.marks,
            probabilities=state.probabilities,
        )
        predicted = [Predicted(one.predicted, one.number, one.score, one.measures) for one in answered(evidence)]
        rows = found.rows
        while rows:
            record = record_of(state.pane_time, Asked(found.columns, rows), predicted)
            if len(record) <= most:
                return record
            rows = rows[: len(rows) // 2]
        return None
