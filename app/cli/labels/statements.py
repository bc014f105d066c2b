"""What the lines of a file of labels state, as canonical feedback.

The same line gives the same event, with the same time, however often it is read: so it counts once. Without a column of
times a line's time is that of the file and, so that of two lines for one puid the later holds, a µs a line.
"""

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import lru_cache
from math import isfinite
from typing import Any, Final, NamedTuple
from uuid import UUID

import orjson
from xxhash import xxh3_128_hexdigest

from app.cli.labels.tables import Piece
from app.core.clock import format_time, parse_time
from app.core.dialects.plain import Event, base_puid, canonical_feedback, is_puid
from app.core.events import RefusedError
from app.core.payloads.bodies import parse_reward
from app.core.payloads.loosejson import dumps

#: What a file may say, and the names of its columns where no option says others.
COLUMNS: Final = {"puid": "puid", "label": "label", "reward": "reward", "time": "time", "row": "row"}
#: The names of who answered; no column has them unless an option says so.
LEG: Final = ("namespace", "service", "endpoint", "model")
_NOW: Final = datetime.fromtimestamp(0, UTC)
_BRACES: Final = 3  # and the comma
_MOST_ROW: Final = 9_999_999
_MOST_KNOWN: Final = 20_000
_YEAR_9999: Final = 253_370_764_800_000_000
#: What programs write into a table of texts where there is nothing.
_NOTHING: Final = ("", "NaN", "nan", "null", "NULL")
_UNSAID: Final = object()
#: In 1973: as milliseconds, µs or ns the least numbers of their sizes are of that year too.
_LEAST_SECONDS: Final = 100_000_000


class Stated(NamedTuple):
    """One statement: its line, its event, and what was read for those who look at it."""

    number: int
    event: Event
    label: Any
    reward: Any


class LineError(Exception):
    """A line states nothing that can be used; the message goes on from "Line 7 …"."""


class Statements:
    """Makes events of lines. `columns` are the columns by what they say; `leg` names who answered, for all lines.

    `time` is that of the file, in µs. A class text has at most `longest` characters, a body `largest` bytes.
    `of_texts`: all values are texts; `empty` are those that say nothing.
    """

    def __init__(
        self,
        columns: Mapping[str, str],
        leg: Mapping[str, str],
        *,
        time: int,
        longest: int,
        largest: int,
        of_texts: bool,
        empty: Sequence[str] = (),
    ) -> None:
        self._columns = columns
        self._leg = leg
        self._time = time
        self._longest = longest
        self._largest = largest
        self._of_texts = of_texts
        self._empty = frozenset((*_NOTHING, *empty)) if of_texts else frozenset(empty)
        self._truths: dict[Any, bytes] = {}
        self._headers = lru_cache(256)(self._headers_of)
        #: Lines that say nothing.
        self.silent = 0

    def of(self, piece: Piece, bad: list[tuple[int, str]]) -> Iterator[Stated]:
        """The statements of some lines; of those that cannot be used it is added to `bad` why."""
        names = self._columns
        unsaid: Sequence[Any] = [None] * len(piece.numbers)
        puids, labels, rewards, times, rows, *legs = (
            piece.columns[names[what]] if what in names else unsaid for what in (*COLUMNS, *LEG)
        )
        told_legs = any(name in names for name in LEG)
        for place, number in enumerate(piece.numbers):
            try:
                label, reward = self._label(labels[place]), self._reward(rewards[place])
                if label is _UNSAID and reward is _UNSAID:
                    self.silent += 1
                    continue
                puid, row = self._puid(puids[place]), self._row(rows[place])
                leg = tuple(self._name(word[place]) for word in legs) if told_legs else ("",) * len(LEG)
                moment = self._moment(times[place], number)
                event = self._event(puid, row, leg, self._value(label, reward), moment)
            except LineError as error:
                bad.append((number, str(error)))
                continue
            yield Stated(number, event, None if label is _UNSAID else label, None if reward is _UNSAID else reward)

    # -- what a line says ---------------------------------------------------------------------------------------------

    def _puid(self, value: Any) -> str:
        kind = type(value)
        if kind is str:
            puid: str = value
        elif kind is int or kind is UUID:
            puid = str(value)
        elif kind is float and value.is_integer() and abs(value) < 1 << 53:
            puid = str(int(value))  # whole numbers beside an empty cell become such
        elif kind is bytes:
            puid = _text(value, "puid")
        elif value is None or kind is float:
            raise LineError("has no puid")
        else:
            raise LineError(f"has a puid that is no text ({_kind(value)})")
        if not puid or puid in self._empty:
            raise LineError("has no puid")
        if not is_puid(puid) or not _is_utf8(puid):
            raise LineError("has a puid that can be none: at most 1000 characters of UTF-8, the first not NUL")
        return puid

    def _label(self, value: Any) -> Any:
        """The label as the value that it is over HTTP."""
        kind = type(value)
        if kind is str:
            if value in self._empty:
                return _UNSAID
            if not _is_utf8(value):
                raise LineError("has a label that is no UTF-8")
            return _number(value) if self._of_texts else value
        if value is None:
            return _UNSAID
        if kind is float:
            if value != value:  # noqa: PLR0124 - NaN: what frames make of an empty cell
                return _UNSAID
            if not isfinite(value):
                raise LineError(f"has the label {value}")
            return value
        if kind is int or kind is bool:
            return value
        if kind is Decimal:
            return _of_decimal(value, "label")
        if kind is bytes:
            return _text(value, "label")
        if kind is list:
            labels = [None if (one := self._label(item)) is _UNSAID else one for item in value]
            return _UNSAID if all(one is None for one in labels) else labels
        raise LineError(f"has a label that is neither a number, true or false, a text, nor a list ({_kind(value)})")

    def _reward(self, value: Any) -> Any:
        kind = type(value)
        if value is None or (kind is float and value != value) or (kind is str and value in self._empty):  # noqa: PLR0124
            return _UNSAID
        if kind is str:
            value = _number(value.lower() if value.lower() in ("true", "false") else value)
        elif kind is Decimal:
            value = _of_decimal(value, "reward")
        try:
            parse_reward(value)
        except RefusedError as refused:
            raise LineError(f"cannot be used: {refused.detail}") from None
        return value

    def _row(self, value: Any) -> int | None:
        if value is None or (type(value) is str and value in self._empty):
            return None
        if type(value) is float:
            if value != value:  # noqa: PLR0124
                return None
            value = int(value) if value.is_integer() else value
        elif type(value) is str and value.isascii() and value.isdecimal():
            value = int(value)
        if type(value) is not int or not 0 <= value <= _MOST_ROW:
            raise LineError(f"has the row {_shown(value)}: it must be a whole number from 0 to {_MOST_ROW}")
        return value

    def _name(self, value: Any) -> str:
        if value is None or (type(value) is str and value in self._empty):
            return ""
        if type(value) is not str or not _is_utf8(value) or len(value) > 253:
            raise LineError(f"has {_shown(value)} as the name of who answered: it must be a text of at most 253")
        return value

    def _moment(self, value: Any, number: int) -> bytes:
        """The time of a statement as it stands in its event."""
        if value is None or (type(value) is str and value in self._empty):
            micros: int | None = self._time + number
        else:
            micros = micros_of(value)
        if micros is None or not 0 < micros < _YEAR_9999:
            raise LineError(
                f"has the time {_shown(value)}: it must be like 2026-11-21T07:00:00Z, or a number of seconds or "
                "milliseconds since 1970"
            )
        return format_time(micros).encode()

    # -- events -------------------------------------------------------------------------------------------------------

    def _value(self, label: Any, reward: Any) -> bytes:
        """The body of a feedback."""
        stated = b'"reward":' + orjson.dumps(reward) if reward is not _UNSAID else b""
        if label is _UNSAID:
            return b"{" + stated + b"}"
        kind = type(label)
        key = (kind, label) if kind is not list else None
        truth = self._truths.get(key)
        if truth is None or key is None:
            truth = self._truth(label)
            if len(self._truths) < _MOST_KNOWN and key is not None:
                self._truths[key] = truth
        if len(truth) + len(stated) > self._largest - _BRACES:
            raise LineError(f"says more than the {self._largest} bytes of TALLY_MAX_BODY")
        return b"{" + truth + (b"," + stated if stated else b"") + b"}"

    def _truth(self, label: Any) -> bytes:
        """The part of the body with a label, checked as it is over HTTP."""
        if type(label) not in (int, float) or abs(label) >= 1 << 53 or self._longest < 20:  # else it always can be
            try:
                canonical_feedback({"puid": "-", "label": label}, _NOW, self._longest)
            except RefusedError as refused:
                raise LineError(f"cannot be used: {refused.detail}") from None
        rows = label if type(label) is list else [label]
        try:
            written = orjson.dumps(rows)
        except orjson.JSONEncodeError:  # a number beyond 64 bits
            written = dumps(rows)
        return b'"truth":{"data":{"ndarray":%b}}' % written

    def _event(self, puid: str, row: int | None, leg: tuple[str, ...], value: bytes, moment: bytes) -> Event:
        base = base_puid(puid) if "-item-" in puid else puid
        if row is not None:
            if base != puid:
                raise LineError(f"names a row by its puid {_shown(puid)} and one by its column")
            puid = f"{puid}-item-{row}"
        requested = puid.encode()
        own = xxh3_128_hexdigest(b"\0".join((requested, moment, value))).encode()
        headers = (
            *self._headers(leg),
            ("ce_id", own),
            ("ce_source", b"tally"),
            ("ce_time", moment),
            ("ce_requestid", requested),
        )
        return Event(base.encode(), value, headers)

    def _headers_of(self, leg: tuple[str, ...]) -> tuple[tuple[str, bytes], ...]:
        """The headers that say of whom all such statements are."""
        told = {name: word for name, word in zip(LEG, leg, strict=True) if word}
        event = canonical_feedback({"puid": "-", "reward": 1, **self._leg, **told}, _NOW, self._longest)
        own = ("ce_id", "ce_source", "ce_time", "ce_requestid")
        return tuple(header for header in event.headers if header[0] not in own)


def _number(text: str) -> Any:
    """The number, true or false that a text says as JSON; else the text itself."""
    if text and text[0] in "-0123456789tf":
        try:
            value = orjson.loads(text)
        except orjson.JSONDecodeError:
            return text
        return value if type(value) in (int, float, bool) else text
    return text


def _of_decimal(value: Decimal, what: str) -> int | float:
    if not value.is_finite():
        raise LineError(f"has the {what} {value}")
    return int(value) if value == value.to_integral_value() else float(value)


def _text(value: bytes, what: str) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise LineError(f"has a {what} that is no UTF-8") from None


def _is_utf8(text: str) -> bool:
    """Whether a text has no half surrogates, which stand for bytes that were no UTF-8."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def micros_of(value: Any) -> int | None:
    """The µs since 1970 of a time as files have it; None where it is none.

    A number is of seconds, milliseconds, µs or ns, by its size. What has no zone is in UTC.
    """
    kind = type(value)
    if kind is datetime:
        moment = value if value.tzinfo is not None else value.replace(tzinfo=UTC)
        whole = int(moment.replace(microsecond=0).timestamp())
        return whole * 1_000_000 + int(value.microsecond)
    if kind is date:
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()) * 1_000_000
    if kind is str:
        text = value.strip()
        number = _number(text)
        if type(number) in (int, float):
            return micros_of(number)
        return parse_time(text.removesuffix(" UTC").encode(errors="replace"))
    if kind is Decimal and value.is_finite():
        return micros_of(float(value))
    if kind is float and not isfinite(value):
        return None
    if kind is not int and kind is not float:
        return None
    if value < _LEAST_SECONDS:  # 20261121 is a day of somebody's, and no time in 1970
        return None
    for most, factor in ((1e11, 1_000_000), (1e14, 1_000), (1e17, 1), (1e20, 0.001)):
        if value < most:
            return int(round(value * factor) if factor >= 1 else value // 1_000)
    return None


def _shown(value: Any) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}…"


def _kind(value: Any) -> str:
    return type(value).__name__
