"""Segments of exchanges: which values an answer has, and in which accounts it counts by them.

A value is what the answer says; where it says none, what the request says. Values of features may differ from row to
row: then each row counts in its own value, and what is said of the answer as a whole in that of `SEVERAL`.

Of the values of a segment of a leg so many are told apart as are shown, and as many more: so it does not show when some
are taken back. Which they are does not depend on the order in which they come, as with classes (`classes`).
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Any, Final, NamedTuple

from xxhash import xxh3_64_intdigest

from app.core.counts.accounts import BY_LABELS, Account
from app.core.counts.numbers import Numbers
from app.core.events import Kind
from app.core.join.classes import LowestTexts
from app.core.join.exchange import LegState, SegmentValues
from app.core.join.judging import Judging
from app.core.payloads.segmenting import BodyReader, Said
from app.core.rules import Rulebook
from app.core.segments import (
    HEADERS,
    MISSING,
    OTHER,
    SEVERAL,
    SPECIAL,
    Segment,
    header_names,
    header_text,
    slice_of,
    value_rank,
)

#: So many times as many values are told apart, whatever their ranks: not in any order that nobody has contrived.
_MOST_TIMES: Final = 20
#: Rows of one request that have values of their own, times segments: with more, all have that of `MISSING`.
MOST_ROW_VALUES: Final = 20_000
#: Bytes that the values of a row in one segment take at most.
_BYTES_OF_VALUE: Final = 5
_CACHED: Final = 20_000


class ValueNumbers:
    """The numbers of values, with one partition's `Numbers`. `shown` values of a segment of a leg are shown."""

    def __init__(self, numbers: Numbers, judging: Judging, shown: int) -> None:
        self._numbers = numbers
        self._judging = judging
        self._most = 2 * shown
        self._told_apart: dict[tuple[int, str], LowestTexts] = {}
        self._known: dict[tuple[int, str, str], int] = {}

    def number(self, leg: int, segment: Segment, value: str) -> int:
        """The number of a value as it is counted: of itself, or of `OTHER`."""
        key = (leg, segment.name, value)
        number = self._known.get(key)
        if number is None:
            told_apart = self._of(leg, segment.name)
            if value in segment.always:
                number = self._numbers.segment_value(*key)
            elif value in told_apart.texts or told_apart.takes(value):
                told_apart.add(value)
                number = self._numbers.segment_value(*key)
            else:
                return self._numbers.segment_value(leg, segment.name, OTHER)
            self._known[key] = number
        return number

    def recover(self) -> None:
        """Take all that the numbers know."""
        for leg, name, value in self._numbers.segment_values[1:]:
            own = (segment for segment in self._judging.rules(leg).segments if segment.name == name)
            always = next((segment.always for segment in own), SPECIAL)
            if value != OTHER and value not in always:
                self._of(leg, name).add(value)

    def _of(self, leg: int, segment: str) -> LowestTexts:
        found = self._told_apart.get((leg, segment))
        if found is None:
            found = self._told_apart[leg, segment] = LowestTexts(self._most, _MOST_TIMES, value_rank)
        return found


class EventReader:
    """Reads what events of one leg, with the same headers, say of its segments."""

    def __init__(
        self,
        leg: int,
        segments: Sequence[Segment],
        bodies: dict[Kind, BodyReader],
        values: ValueNumbers,
        known: list[dict[str | int, int]],
        headers: dict[bytes, bytes],
    ) -> None:
        self._leg = leg
        self._segments = segments
        self._bodies = bodies
        #: What reads the bodies of requests and of responses.
        self.read_request = bodies[Kind.REQUEST].read_request
        self.read_response = bodies[Kind.RESPONSE].read_response
        self._values = values
        texts = [_header(segment, headers) for segment in segments]
        given = [text for text in texts if text is not None]
        self._seed = xxh3_64_intdigest("\0".join(given).encode(errors="replace")) if given else 0
        self._known = known  # of each segment the numbers of texts and whole numbers
        self._bins: list[list[int]] = [[0] * (len(segment.bins) + 1) for segment in segments]
        self._of_headers = self._numbers_of(range(len(segments)), texts, ())
        features = sum(segment.source == "features" for segment in segments)
        #: By how much longer than its value an event makes its exchange at most.
        self.growth = 2 + len(segments)
        self.request_growth = _BYTES_OF_VALUE * features

    def digest(self, value: bytes) -> int:
        """What decides between two events of one time."""
        return xxh3_64_intdigest(value, self._seed) or 1

    def put_request(self, state: LegState, said: Said, digest: int, *, carried: bool = False) -> None:
        """State the values that a request has, which has won. Of one that a feedback carries no headers are known."""
        reader = self._bodies[Kind.REQUEST]
        found = self._numbers_of(reader.places, said[0], () if carried else self._of_headers)
        rows: tuple[tuple[int, ...], ...] = ()
        if said[1]:
            shared, rows = self._rows(said[1])
            found += shared
        known = state.segments
        state.segments = SegmentValues(found, () if known is None else known.answer, digest, rows)

    def put_answer(self, state: LegState, said: Said, *, carried: bool = False) -> None:
        """State those of an answer."""
        reader = self._bodies[Kind.RESPONSE]
        found = self._numbers_of(reader.places, said[0], () if carried else self._of_headers)
        if state.segments is None:
            state.segments = SegmentValues((), found)
        else:
            state.segments.answer = found

    def put_carried_request(self, state: LegState, body: Any, digest: int) -> None:
        """State those of a decoded request that a feedback carries."""
        self.put_request(state, self._bodies[Kind.REQUEST].of_body(body), digest, carried=True)

    def put_carried_answer(self, state: LegState, body: Any) -> None:
        """The same of an answer."""
        self.put_answer(state, self._bodies[Kind.RESPONSE].of_body(body), carried=True)

    def _numbers_of(self, places: Iterable[int], raws: Iterable[Any], more: tuple[int, ...]) -> tuple[int, ...]:
        """The numbers of raw values of the segments in some places; of those that say nothing there is none."""
        found = []
        for place, raw in zip(places, raws, strict=True):
            if raw is not None:
                kind = type(raw)
                number = self._known[place].get(raw) if kind is str or kind is int else None
                if number is None:
                    number = self._number(place, raw)
                if number:
                    found.append(number)
        return (*found, *more)

    def _rows(self, columns: Iterable[tuple[int, list[Any]]]) -> tuple[tuple[int, ...], tuple[tuple[int, ...], ...]]:
        """The numbers of values by row: those that all rows have, and of other segments those of each."""
        shared: list[int] = []
        rows: list[tuple[int, ...]] = []
        for place, raws in columns:
            segment = self._segments[place]
            missing = self._values.number(self._leg, segment, MISSING)
            numbers = tuple(self._number(place, raw) or missing for raw in raws)
            if len({*numbers}) == 1:
                shared.append(numbers[0])
            elif sum(map(len, rows)) + len(numbers) <= MOST_ROW_VALUES:
                rows.append(numbers)
        return tuple(shared), tuple(rows)

    def _number(self, place: int, raw: Any) -> int:
        """The number of a raw value; 0, which is none, where it says nothing."""
        segment = self._segments[place]
        kind = type(raw)
        if segment.bins and kind is float and raw == raw:  # noqa: PLR0124 - not NaN
            own = self._bins[place]
            bin_ = bisect_right(segment.bins, raw)
            number = own[bin_] = own[bin_] or self._values.number(self._leg, segment, segment.labels[bin_])
            return number
        value = segment.value_of(raw)
        number = 0 if value is None else self._values.number(self._leg, segment, value)
        if kind is str or kind is int:
            known = self._known[place]
            if len(known) >= _CACHED:
                known.clear()
            known[raw] = number
        return number


def _header(segment: Segment, headers: dict[bytes, bytes]) -> str | None:
    """What headers say of a segment: the header of that name, else the CloudEvents attribute."""
    if segment.source != HEADERS:
        return None
    raw = next((headers[name] for name in header_names(segment) if name in headers), None)
    return None if raw is None else header_text(raw)


class EventReaders:
    """The readers of all legs, by the user's rules."""

    def __init__(self, rulebook: Rulebook, judging: Judging, values: ValueNumbers) -> None:
        self._judging = judging
        self._values = values
        self._bodies: dict[tuple[Segment, ...], dict[Kind, BodyReader]] = {}
        self._known: dict[int, list[dict[str | int, int]]] = {}  # by leg, for all events of it
        #: The headers that segments are read from.
        self.headers = frozenset(
            name for rules in rulebook.entries for segment in rules.segments for name in header_names(segment)
        )

    def of(self, leg: int, headers: dict[bytes, bytes]) -> EventReader | None:
        """The reader of events of a leg with these headers; None where its model has no segments."""
        segments = self._judging.rules(leg).segments
        if not segments:
            return None
        bodies = self._bodies.get(segments)
        if bodies is None:
            kinds = (Kind.REQUEST, Kind.RESPONSE)
            bodies = self._bodies[segments] = {kind: BodyReader(segments, kind) for kind in kinds}
        known = self._known.setdefault(leg, [{} for _ in segments])
        return EventReader(leg, segments, bodies, self._values, known, headers)


class Accounts(NamedTuple):
    """Where an answer counts by its values: the accounts for all of it, and by the time of labels; and by segment the
    values of its rows, where these differ.
    """

    whole: tuple[int, ...] = ()
    by_labels: tuple[int, ...] = ()
    rows: tuple[tuple[Segment, tuple[int, ...]], ...] = ()


NO_ACCOUNTS: Final = Accounts()


class Segmenting:
    """Finds the accounts of answers, by the user's rules, with one partition's `Numbers`."""

    def __init__(self, numbers: Numbers, judging: Judging, values: ValueNumbers) -> None:
        self._numbers = numbers
        self._judging = judging
        self._values = values
        self._known: dict[tuple[Any, ...], Accounts] = {}
        self._accounts: dict[tuple[int, int, bool], int] = {}

    def has_segments(self, leg: int) -> bool:
        """Whether the model of a leg has any."""
        return bool(self._judging.rules(leg).segments)

    def accounts(self, state: LegState) -> Accounts:
        """Where an answer counts by its values. Of old, one may have said none."""
        own = state.segments or SegmentValues()
        key = (state.leg, state.identity, own.request, own.answer)
        if own.rows:
            return self._find(state, own)
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _CACHED:
                self._known.clear()
            found = self._known[key] = self._find(state, own)
        return found

    def values(self, state: LegState) -> list[dict[str, str]]:
        """The values of each row, by segment, as far as they are told apart."""
        whole, rows = self._resolve(state, state.segments or SegmentValues())
        shared = {segment.name: self._text(number) for segment, number in whole.items()}
        return [
            {**shared, **{segment.name: self._text(numbers[row]) for segment, numbers in rows}}
            for row in range(len(state.marks))
        ]

    def _text(self, number: int) -> str:
        value = self._numbers.segment_values[number][2]
        return "(other)" if value == OTHER else value

    def account(self, identity: int, number: int, *, by_labels: bool = False) -> int:
        """The account of a value of an identity."""
        account = self._accounts.get((identity, number, by_labels))
        if account is None:
            _, segment, value = self._numbers.segment_values[number]
            own = (BY_LABELS if by_labels else "") + slice_of(segment, value)
            account = self._numbers.account(Account(self._numbers.identities[identity], own))
            self._accounts[identity, number, by_labels] = account
        return account

    def several(self, state: LegState, segment: Segment) -> int:
        """The value of what is said of an answer whose rows have different values."""
        return self._values.number(state.leg, segment, SEVERAL)

    def _find(self, state: LegState, own: SegmentValues) -> Accounts:
        whole, rows = self._resolve(state, own)
        identity = state.identity
        return Accounts(
            tuple(self.account(identity, number) for number in whole.values()),
            tuple(self.account(identity, number, by_labels=True) for number in whole.values()),
            tuple(rows),
        )

    def _resolve(
        self, state: LegState, own: SegmentValues
    ) -> tuple[dict[Segment, int], list[tuple[Segment, tuple[int, ...]]]]:
        """The value of each segment, and those of which each row has its own."""
        names = self._numbers.segment_values
        said = {names[number][1]: number for number in (*own.request, *own.answer)}
        by_row = {names[numbers[0]][1]: numbers for numbers in own.rows if len(numbers) == len(state.marks)}
        whole: dict[Segment, int] = {}
        rows: list[tuple[Segment, tuple[int, ...]]] = []
        for segment in self._judging.rules(state.leg).segments:
            number = said.get(segment.name)
            if number is None and segment.name in by_row:
                rows.append((segment, by_row[segment.name]))
            else:
                whole[segment] = self._values.number(state.leg, segment, MISSING) if number is None else number
        return whole, rows
