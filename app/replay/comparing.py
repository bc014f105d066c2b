"""Two states of one partition: what its changelogs say, and what the topics give. Where do they differ?"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

import msgspec
import orjson

from app.core.clock import format_time
from app.core.counts.accounts import Account, Pair, Subject
from app.core.counts.cells import Latest, later
from app.core.counts.numbers import Numbers, is_number_key
from app.core.counts.panes import TOTAL, PaneClock
from app.core.counts.rows import RowKey, parse_key, parse_rows
from app.core.drift.kept import NOBODYS, digests_of, unpacked
from app.core.drift.live import Live
from app.core.events import Identity
from app.core.join.deciding import first_rows_of
from app.core.join.exchange import Exchange, decode, row_labels
from app.core.join.features import OF_FEATURES, Features
from app.core.join.position import POSITION_KEY
from app.core.join.shard import Shard
from app.core.join.statements import Statement
from app.core.measures.drift import DRIFT, digest_in, words_of_bin
from app.core.rules import Rulebook

#: Of a partition so many differences are told in full.
MOST_TOLD: Final = 20
#: By so much an event's time may lie after that of its record.
_AHEAD_US: Final = 300 * 1_000_000

Cells = dict[tuple[Account, str, int, str, str], Any]


class Difference(NamedTuple):
    """One thing of which the changelogs and the topics say two. `what` names it."""

    what: str
    changelog: str
    topics: str


class Compared(NamedTuple):
    """What came of the exchanges of a partition: how many were compared, and how many only began before the reach."""

    compared: int
    beyond: int
    differing: int
    told: list[Difference]


class OfPartition(NamedTuple):
    """What came of the documents of a partition. `ids` are digests of the ids that there should be, by index."""

    ids: dict[str, bytes]
    missing: int
    different: int
    moving: int
    told: list[Difference]


def words_of(state: Mapping[bytes, bytes]) -> list[tuple[bytes, bytes]]:
    """The words of a state of exchanges, with their numbers."""
    return [(key, value) for key, value in state.items() if is_number_key(key)]


def exchanges_of(state: Mapping[bytes, bytes]) -> Iterator[tuple[bytes, bytes]]:
    """The exchanges of a state."""
    return ((key, value) for key, value in state.items() if key != POSITION_KEY and not is_number_key(key))


class Exchanges:
    """Compares exchanges: those of a changelog, whose words `theirs` has, with those of a shard. `edge` is the time (s)
    before which the newest record of an exchange lies that has expired, and `reach` that (µs) from which the topics
    hold all. Of an exchange that has anything by a reference that is `outdated`, by its digest, it does not matter what
    it counts by references; nor of one that keeps values where bins are kept by the rules of now.
    """

    def __init__(self, shard: Shard, theirs: Shard, edge: float, reach: int | None, outdated: Iterable[str]) -> None:
        self._outdated = {*outdated, NOBODYS}
        self._were_others = len(self._outdated) > 1
        self._shard = shard
        self._theirs = theirs
        self._edge = edge
        self._reach = reach

    def compare(self, state: Iterator[tuple[bytes, bytes]]) -> Compared:
        """Compare what a changelog holds with the shard's store, which is empty of what is equal afterwards."""
        compared = beyond = differing = 0
        told: list[Difference] = []
        store = self._shard.store

        def differ(key: bytes, theirs: bytes | None, ours: bytes | None) -> None:
            nonlocal differing
            differing += 1
            if len(told) < MOST_TOLD:
                told.append(self._difference(key, theirs, ours))

        for key, raw in state:
            ours = store.pop(key, None)
            compared += 1
            if ours == raw or self._is_same(raw, ours):
                continue
            if self._is_beyond(raw, ours):
                beyond += 1
                compared -= 1
            elif ours is not None or not self._has_expired(raw):
                differ(key, raw, ours)
        for key in list(store):
            left = store[key]
            if self._has_expired(left):
                continue
            if self._is_beyond(left, None):
                beyond += 1
                continue
            compared += 1
            differ(key, None, left)
        return Compared(compared, beyond, differing, told)

    def _is_same(self, theirs: bytes, ours: bytes | None) -> bool:
        """Whether two say the same. In what order it came, and how lately it was repeated, does not matter."""
        if ours is None:
            return False
        try:
            drift = not self._is_outdated(decode(theirs))
            both = ((theirs, self._theirs), (ours, self._shard))
            one, other = (_normal(decode(raw), shard.numbers, drift=drift) for raw, shard in both)
            return bool(one == other)
        except (msgspec.MsgspecError, LookupError, ValueError):
            return False

    def _is_outdated(self, exchange: Exchange) -> bool:
        """Whether a changelog's exchange has anything by a reference that is outdated."""
        numbers, judging = self._theirs.numbers, self._theirs.judging
        found: set[str] = set()
        for leg in exchange.legs:
            watched = judging.rules(leg.leg).reference
            own = digests_of(leg.evidence, values=watched is not None and watched.first > 0)
            if self._were_others and not own:  # its request may not have fitted what was in force then
                return True
            found |= own
        for one in exchange.counted:
            found |= {digest_in(atom.row) for atom in _atoms(one, numbers)}
            for values in one.values:
                if values[:1] == DRIFT.letter:
                    found |= digests_of(values[1:])
        return not found.isdisjoint(self._outdated)

    def _has_expired(self, raw: bytes) -> bool:
        try:
            return decode(raw).newest <= self._edge
        except msgspec.MsgspecError:
            return False

    def _is_beyond(self, theirs: bytes, ours: bytes | None) -> bool:
        """Whether a part of either may lie before what the topics still hold."""
        if self._reach is None:
            return False
        try:
            times = [time for raw in (theirs, ours) if raw is not None for time in _times(decode(raw))]
        except (msgspec.MsgspecError, ValueError):
            return False
        return min(times, default=0) < self._reach + _AHEAD_US

    def _difference(self, key: bytes, theirs: bytes | None, ours: bytes | None) -> Difference:
        return Difference(
            f"puid {key.decode(errors='replace')}", _told(key, theirs, self._theirs), _told(key, ours, self._shard)
        )


def _told(key: bytes, raw: bytes | None, shard: Shard) -> str:
    """All that one side knows of a puid."""
    if raw is None:
        return "nothing"
    shard.store[key] = raw
    try:
        known = shard.describe(key.decode())
        assert known is not None
        known["counted"] = _counted(decode(raw), shard)
    except Exception as error:  # noqa: BLE001 - there are as many errors as ways to write what is no exchange
        return f"{len(raw)} bytes that are no exchange ({type(error).__name__})"
    finally:
        del shard.store[key]
    del known["puid"], known["note"]
    return orjson.dumps(known).decode()


def _counted(exchange: Exchange, shard: Shard) -> dict[str, int]:
    """What an exchange counts as, in words."""
    cells: Counter[str] = Counter()
    numbers = shard.numbers
    features = Features(numbers.atom)
    for one in exchange.counted:
        atoms = _atoms(one, numbers)
        for values in one.values:
            if values[0] in OF_FEATURES:
                atoms.update(numbers.atoms[number] for number in features.atoms(exchange, values))
        for (row, column), amount in atoms.items():
            cells[f"{_subject(numbers.accounts[one.account])} {one.pane} {row} {column}"] += amount
    return dict(sorted(cells.items()))


def _atoms(one: Any, numbers: Numbers) -> Counter[Any]:
    """What one entry counts by itself, by atom; what its values add is for their measures to say."""
    found: Counter[Any] = Counter()
    for number in one.atoms:
        for atom in numbers.unbundle(number):
            found[numbers.atoms[atom]] += 1
    for atom, amount in one.amounts.items():
        found[numbers.atoms[atom]] += amount
    return found


def _amounts(metrics: Mapping[int, int] | None, numbers: Numbers) -> list[Any]:
    """The amounts of custom metrics, by atom."""
    return sorted((numbers.atoms[number], amount) for number, amount in (metrics or {}).items())


def _normal(exchange: Exchange, numbers: Numbers, *, drift: bool) -> Any:
    """An exchange without what depends on the order in which its parts came."""
    asdict = msgspec.structs.asdict
    legs = {
        numbers.legs[leg.leg]: asdict(leg)
        | {"leg": 0, "identity": numbers.identities[leg.identity], "classes": numbers.classes[leg.classes]}
        | {"metrics": _amounts(leg.metrics, numbers)}
        | {"evidence": unpacked(leg.evidence) if leg.evidence and drift else None}
        for leg in exchange.legs
    }
    feedbacks = sorted(
        (numbers.legs[one.named], msgspec.msgpack.encode(asdict(one) | {"named": 0})) for one in exchange.feedbacks
    )
    blocks = row_labels(exchange) if exchange.rows else []
    rows = {numbers.legs[block.named]: block.rows for block in blocks}
    counted: dict[Any, list[Any]] = {}
    for one in exchange.counted:
        entry = asdict(one) | {"account": 0, "atoms": 0, "amounts": _atoms(one, numbers), "values": one.values}
        entry["also"] = sorted(numbers.accounts[account] for account in one.also)
        if not drift:
            entry["amounts"] = {atom: n for atom, n in entry["amounts"].items() if not digest_in(atom.row)}
            entry["values"] = [values for values in entry["values"] if values[0] not in OF_FEATURES]
            if not entry["amounts"] and not entry["values"]:
                continue
        entry["values"] = sorted(map(_values, entry["values"]), key=str)
        counted.setdefault((numbers.accounts[one.account], one.pane), []).append(entry)
    detections = sorted(
        (one.kind, numbers.legs[one.leg], one.time, one.digest, _amounts(one.metrics, numbers))
        for one in exchange.detections
    )
    return legs, feedbacks, rows, counted, detections


def _values(kept: bytes) -> Any:
    """Values that are kept, however they are packed."""
    return unpacked(kept[1:]) if kept[:1] == DRIFT.letter else kept


def _times(exchange: Exchange) -> Iterator[int]:
    """The times of all parts, in µs."""
    for leg in exchange.legs:
        yield from (time for time in (leg.request_pane_time, leg.pane_time) if time > 0)
    statements: list[Statement] = [*exchange.feedbacks, *row_labels(exchange)]
    for one in statements:
        yield from (time for time in (one.pane_time, one.earliest_pane_time) if time > 0)
    yield from (found.time for found in exchange.detections)


# -- counts -----------------------------------------------------------------------------------------------------------


def cells_of(rows: Mapping[bytes, bytes], clock: PaneClock, at: float) -> Cells:
    """All that rows count, each where it stands once all panes have moved that are no longer kept at a clock."""
    found: Cells = {}
    for key, value in rows.items():
        parsed = parse_key(key)
        if isinstance(parsed, RowKey):
            place = _kept(clock, parsed.level, parsed.pane, at)
            for row, columns in parse_rows(parsed.row, value).items():
                for column, cell in columns.items():
                    _add(found, (parsed.account, *place, row, column), cell)
    return {cell: amount for cell, amount in found.items() if amount}


def _kept(clock: PaneClock, level: str, pane: int, at: float) -> tuple[str, int]:
    while clock.retired(level, pane, at):
        level, pane = clock.holder(level, pane)
    return level, pane


def _add(cells: Cells, cell: tuple[Account, str, int, str, str], amount: Any) -> None:
    old = cells.get(cell)
    if type(amount) is Latest:
        cells[cell] = later(old, amount)
    else:
        cells[cell] = (old or 0) + amount


def in_force(rulebook: Rulebook) -> dict[str, Live]:
    """By digest the references that are in force, those of first rows among them as far as the rulebook knows them."""
    watched = [entry.reference for entry in rulebook.entries if entry.reference is not None]
    lives = [live for one in watched for live in (one.live, *(version.live for version in one.versions.values()))]
    return {live.digest: live for live in lives}


def outdated(cells: Cells, rulebook: Rulebook) -> list[str]:
    """The digests of references by which something is counted, and that are no longer in force: their file was read
    again since. One of first rows is never another one, so what is counted by one that nobody has made is wrong.
    """
    known = in_force(rulebook)
    found = {(account.subject, digest) for account, _, _, row, _ in cells if (digest := digest_in(row))}
    return sorted(
        {digest for subject, digest in found if digest not in known and not _has_first_rows(subject, rulebook)}
    )


def _has_first_rows(subject: Subject, rulebook: Rulebook) -> bool:
    return isinstance(subject, Identity) and first_rows_of(subject, rulebook) is not None


def without_drift(cells: Cells) -> Cells:
    """What is counted by no reference."""
    return {cell: amount for cell, amount in cells.items() if not digest_in(cell[3])}


def drift_alone(cells: Cells) -> Cells:
    """What is counted by references."""
    return {cell: amount for cell, amount in cells.items() if digest_in(cell[3])}


def in_exchanges(cells: Cells, clock: PaneClock, edge: float) -> Cells:
    """Those of panes all of whose exchanges are there where those have expired that are older than `edge` (s)."""
    since = edge + _AHEAD_US / 1_000_000 + 1
    return {at: n for at, n in cells.items() if at[1] != TOTAL and at[2] * clock.length(at[1]) >= since}


def compare_cells(
    theirs: Cells, ours: Cells, clock: PaneClock, known: Mapping[str, Live]
) -> tuple[int, list[Difference]]:
    """How many cells of counts differ, and the first of them. `known` are the references in force."""
    differing = sorted(
        (cell for cell in theirs.keys() | ours.keys() if theirs.get(cell) != ours.get(cell)),
        key=lambda cell: (_subject(cell[0]), *cell[1:]),
    )
    told = [
        Difference(_cell(cell, clock, known), str(theirs.get(cell, 0)), str(ours.get(cell, 0)))
        for cell in differing[:MOST_TOLD]
    ]
    return len(differing), told


def _cell(cell: tuple[Account, str, int, str, str], clock: PaneClock, known: Mapping[str, Live]) -> str:
    """The series that a cell belongs to, in words."""
    account, level, pane, row, column = cell
    where = "older panes"
    if level != TOTAL:
        where = f"{level} pane of {format_time(pane * clock.length(level) * 1_000_000)[:19]}Z"
    live = known.get(digest_in(row))
    if live is not None:
        row, column = "drift of", words_of_bin(live, column)
    return " ".join(part for part in (_subject(account), f"({where}):", row, column) if part)


def _subject(account: Account) -> str:
    subject = account.subject
    name = f"{subject.first} against {subject.second}" if isinstance(subject, Pair) else str(subject) or "no model"
    segment = account.segment.replace("\0labels", "by labels").replace("\0metrics", "custom metrics")
    segment = segment.replace("\0", " ")
    return f"{name} {segment}" if segment else name
