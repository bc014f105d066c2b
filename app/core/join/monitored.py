"""Monitored: the results of monitors, as parts of an exchange.

A result speaks of the rows of one leg's answer, and comes as an event of its own: its time is that of the answer, so
of an answer that was replaced the later one's result holds. Of one monitor and version it is one statement; the
greatest (time, request time, digest) holds, so what comes twice, or is scored again after a crash, counts once.

    {"monitor": "outliers", "version": "3f2a9c01", "request_time": "2026-11-21T07:00:00Z", "values": [0.31, null],
     "outcomes": ["ok", "failed"], "why": {"1": "it gave NaN"}}

There is a value and an outcome for each row. A value is null where the row has none, or an infinite one. The request
time is that of the request with which the answer was scored; there is none where it was not scored.

Where all of this would be larger than something can take, no row has a value, and the result says so in short:

    {"monitor": "outliers", "version": "3f2a9c01", "failed": 50000, "why": "the result is too large"}
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, Final, NamedTuple

import orjson

from app.core.clock import parse_time
from app.core.counts.atoms import Atom
from app.core.events import Reason, RefusedError
from app.core.join.exchange import Counted, Exchange, Monitored
from app.core.join.putting import CORRECTED, NEWS, NOTHING
from app.core.limits import Limits
from app.core.measures.monitors import LETTER, OUTCOMES, all_failed, amounts_of, entry, head_of
from app.core.monitors import NAME, key_of

#: What kept values of results begin with, as a number.
OF_RESULTS: Final = LETTER[0]
_LONGEST_VERSION: Final = 64
_NUMBERS: Final = {outcome: number for number, outcome in enumerate(OUTCOMES)}
#: Each row of an exchange takes a byte of it at least.
_MOST_ROWS: Final = Limits().exchange_bytes
#: So many bytes of results wait until they are added up: they take twenty times as much meanwhile.
_MOST_BYTES: Final = 1 << 20

Sums = defaultdict[int, int]


class Result(NamedTuple):
    """What a result's body says: with which request the rows were scored (µs, 0 for none), and what is kept of it."""

    asked: int
    packed: bytes


def read_result(body: Any) -> Result:
    """What a result's body says. Raises RefusedError."""
    if type(body) is not dict:
        raise RefusedError(Reason.NOT_AN_OBJECT, "the result of a monitor is not a JSON object")
    name, version = body.get("monitor"), body.get("version")
    if type(name) is not str or type(version) is not str:
        name, version = name if type(name) is str else "", ""
    head, asked = _head(name, version), _asked(name, body)
    if "failed" in body:
        return Result(asked, all_failed(key_of(name, version), _count(name, body["failed"])))
    values, outcomes = body.get("values"), body.get("outcomes")
    if type(values) is not list or type(outcomes) is not list or len(values) != len(outcomes):
        raise RefusedError(Reason.RAGGED, f"the result of {name} must have as many values as outcomes")
    if len(values) == 1:
        return Result(asked, head + _entry(name, outcomes[0], values[0]))
    if not values:
        raise RefusedError(Reason.EMPTY, f"the result of {name} has no rows")
    return Result(asked, head + b"".join([_entry(name, *row) for row in zip(outcomes, values, strict=True)]))


@lru_cache(maxsize=1024)
def _head(name: str, version: str) -> bytes:
    """What is kept of a result of a monitor, its rows aside."""
    if not NAME.fullmatch(name):
        raise RefusedError(Reason.BAD_PAYLOAD, 'the result names no monitor: "monitor" must be its name in the YAML')
    if not 0 < len(version) <= _LONGEST_VERSION or not version.isascii() or "@" in version:
        raise RefusedError(Reason.BAD_PAYLOAD, f'the result of {name} has no "version" of up to 64 characters')
    return head_of(key_of(name, version))


def _asked(name: str, body: dict[str, Any]) -> int:
    """The time of the request in µs, 0 where the result has none."""
    text = body.get("request_time")
    if text is None:
        return 0
    time = parse_time(text.encode()) if type(text) is str else None
    if time is None:
        raise RefusedError(Reason.BAD_PAYLOAD, f'"request_time" in the result of {name} is no RFC 3339 time')
    return time


def _count(name: str, given: Any) -> int:
    if type(given) is not int or not 0 < given <= _MOST_ROWS:
        detail = f'"failed" in the result of {name} must be a number of rows, at most {_MOST_ROWS}'
        raise RefusedError(Reason.BAD_PAYLOAD, detail)
    return given


def _entry(name: str, outcome: Any, value: Any) -> bytes:
    """What is kept of a row."""
    number = _NUMBERS.get(outcome) if type(outcome) is str else None
    if number is None:
        words = ", ".join(OUTCOMES)
        raise RefusedError(Reason.BAD_PAYLOAD, f"an outcome in the result of {name} is none of {words}")
    if value is not None and ((type(value) is not float and type(value) is not int) or not math.isfinite(value)):
        raise RefusedError(Reason.NOT_FINITE, f"a value in the result of {name} is neither a number nor null")
    return entry(number, value)


def in_short(body: dict[str, Any], why: str) -> bytes:
    """What stands for a result that is too large, given by its body: none of its rows has a value."""
    kept = {name: body[name] for name in ("monitor", "version", "request_time") if name in body}
    return orjson.dumps(kept | {"failed": len(body["values"]), "why": why})


def put_result(exchange: Exchange, leg: int, time: int, ahead: int, digest: int, result: Result) -> int:
    """State the result of a monitor. Returns what that has done, as `putting` has it."""
    new = Monitored(leg, time, ahead, digest, result.packed, result.asked)
    results = exchange.monitors
    for place, old in enumerate(results):
        if old.leg == leg and old.key == new.key:
            if new.rank <= old.rank:
                return NOTHING
            exchange.monitors = (*results[:place], new, *results[place + 1 :])
            return CORRECTED if new.result != old.result else NEWS
    exchange.monitors = tuple(sorted([*results, new], key=lambda one: (one.leg, one.key)))
    return NEWS


def counted_results(
    exchange: Exchange, account: Callable[[int], int], unversioned: Callable[[int], int], pane_us: int
) -> Iterator[Counted]:
    """What results count as: in the pane of the answer that they speak of; without it by themselves.

    `account` gives that of an identity, `unversioned` the identity of a leg that has not answered.
    """
    answers = {state.leg: state for state in exchange.legs if state.time}
    for one in exchange.monitors:
        state = answers.get(one.leg)
        if state is None:
            identity, time = unversioned(one.leg), one.time - one.ahead * 1000
        else:
            identity, time = state.identity, state.pane_time
        yield Counted(account(identity), time // pane_us, [], {}, (LETTER + one.result,))


class Results:
    """Adds up what results count as, those of one monitor at once. `atom` gives the number of one."""

    def __init__(self, atom: Callable[[Atom], int]) -> None:
        self._atom = atom
        #: By the sums that they are to be added to, the sign, and what they begin with: their rows.
        self._waiting: dict[tuple[int, int, bytes], tuple[Sums, bytearray]] = {}
        self._atoms: dict[Atom, int] = {}

    def note(self, values: bytes, sign: int, sums: Sums) -> None:
        """Take what a result counts as, or no longer; it is to be added to these sums."""
        begin = 2 + values[1]
        place = id(sums), sign, values[1:begin]
        waiting = self._waiting.get(place)
        if waiting is None:
            waiting = self._waiting[place] = (sums, bytearray())
        waiting[1].extend(values[begin:])

    def keep_small(self) -> None:
        """Add up what waits, if it is much."""
        if sum(len(rows) for _, rows in self._waiting.values()) > _MOST_BYTES:
            self.add()

    def add(self) -> None:
        """Add all that was taken to the sums, and forget it."""
        atoms = self._atoms
        for (_, sign, head), (sums, rows) in self._waiting.items():
            for atom, amount in amounts_of(head + rows):
                number = atoms.get(atom)
                if number is None:
                    number = atoms[atom] = self._atom(atom)
                sums[number] += sign * amount
        self._waiting = {}
