"""First rows where a partition is folded anew: which they are, what is counted already, and what is still gathered."""

import contextlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import orjson

from app.core.clock import format_time
from app.core.counts.rows import FirstKey, parse_key
from app.core.drift.first import First, first_of, read_record, time_and_rows, until_of
from app.core.events import Identity
from app.core.join.deciding import first_rows_of
from app.core.join.firsts import watched_of
from app.core.join.shard import Shard
from app.core.rules import Rulebook
from app.replay.comparing import MOST_TOLD, Difference

Rows = Mapping[bytes, bytes]
#: Records of first rows, by version and puid.
Gathered = dict[tuple[Identity, bytes], bytes]
#: Of each version the records of its first rows.
FirstRows = Mapping[Identity, Sequence[bytes]]


def earliest(records: Iterable[tuple[Identity, bytes]], rulebook: Rulebook) -> FirstRows:
    """The records of the first rows of each version: of so many rows as its reference wants, and those of the same
    moment. Three times as many are kept meanwhile at most.
    """
    kept: dict[Identity, list[bytes]] = {}
    more: Counter[Identity] = Counter()  # rows that have come since the last look
    for identity, record in records:
        kept.setdefault(identity, []).append(record)
        more[identity] += time_and_rows(record)[1]
        if more[identity] > 2 * _wanted(identity, rulebook):
            kept[identity] = _first(kept[identity], _wanted(identity, rulebook))
            more[identity] = 0
    return {identity: _first(own, _wanted(identity, rulebook)) for identity, own in kept.items()}


def together(found: Iterable[FirstRows]) -> FirstRows:
    """The same of several partitions."""
    records: dict[Identity, list[bytes]] = {}
    for one in found:
        for identity, own in one.items():
            records.setdefault(identity, []).extend(own)
    return records


def _first(records: list[bytes], rows: int) -> list[bytes]:
    until = until_of(records, rows)
    return records if until is None else [record for record in records if time_and_rows(record)[0] <= until]


def _wanted(identity: Identity, rulebook: Rulebook) -> int:
    watched = first_rows_of(identity, rulebook)
    return 0 if watched is None else watched.first


def rows_of_references(shard: Shard, rulebook: Rulebook) -> FirstRows:
    """Of each version that has its reference the records of which it would be made by what a shard keeps now."""
    until = {
        Identity(*words): version.until
        for watched in watched_of(rulebook)
        for words, version in watched.versions.items()
    }
    found: dict[Identity, list[bytes]] = {identity: [] for identity in until}
    if until:
        with _without(until, rulebook):
            for identity, record in shard.first_rows(max(until.values())):
                if time_and_rows(record)[0] <= until.get(identity, 0):
                    found[identity].append(record)
    return found


def unproven(made: Mapping[Identity, First], records: FirstRows) -> list[Identity]:
    """Which references are others than those of these records."""
    return [identity for identity, first in made.items() if first_of(records.get(identity, []), first.until) != first]


def take_back_gathered(shard: Shard, panes: Rows, rulebook: Rulebook) -> None:
    """Take back what a worker had not counted by its mark, of whose rows of counts are given: the answers of which a
    record of first rows stands there though their version has its reference. It had not heard of that yet, or counts
    so many of them an epoch. Nothing is gathered any more, nor counted by what is heard. Raises StoreError.
    """
    waiting: dict[bytes, set[Identity]] = {}
    for identity, puid in _gathered(panes, lambda identity: _has_reference(identity, rulebook)):
        waiting.setdefault(puid, set()).add(identity)
    together: dict[frozenset[Identity], list[bytes]] = {}
    for puid, identities in waiting.items():
        together.setdefault(frozenset(identities), []).append(puid)
    for hidden, puids in together.items():
        with _without(hidden, rulebook):
            shard.settle_again(puids)
    shard.gather_no_more()


@contextlib.contextmanager
def _without(hidden: Iterable[Identity], rulebook: Rulebook) -> Iterator[None]:
    """As if some versions had no reference yet."""
    found = {identity: watched for identity in hidden if (watched := first_rows_of(identity, rulebook)) is not None}
    versions = {identity: watched.versions.pop(identity) for identity, watched in found.items()}
    try:
        yield
    finally:
        for identity, watched in found.items():
            watched.versions[identity] = versions[identity]


def compare_gathered(theirs: Rows, ours: Rows, rulebook: Rulebook) -> tuple[int, int, list[Difference]]:
    """Compare the records of first rows of versions that await their reference, among the rows of counts of two. How
    many there are, how many differ, and the first of these.
    """
    one, other = (_gathered(rows, lambda identity: _awaits(identity, rulebook)) for rows in (theirs, ours))
    differing = sorted(key for key in one.keys() | other.keys() if one.get(key) != other.get(key))
    told = [
        Difference(
            f"first rows of {key[0]}, puid {key[1].decode(errors='replace')}",
            _in_words(one.get(key)),
            _in_words(other.get(key)),
        )
        for key in differing[:MOST_TOLD]
    ]
    return len(one), len(differing), told


def _gathered(rows: Rows, wanted: Callable[[Identity], bool]) -> Gathered:
    found = {}
    for raw, record in rows.items():
        key = parse_key(raw)
        if isinstance(key, FirstKey) and key.puid is not None and wanted(key.identity):
            found[key.identity, key.puid] = record
    return found


def _has_reference(identity: Identity, rulebook: Rulebook) -> bool:
    watched = first_rows_of(identity, rulebook)
    return watched is not None and identity in watched.versions


def _awaits(identity: Identity, rulebook: Rulebook) -> bool:
    watched = first_rows_of(identity, rulebook)
    return watched is not None and identity not in watched.versions


def _in_words(record: bytes | None) -> str:
    if record is None:
        return "nothing"
    try:
        time, _ = time_and_rows(record)
        asked, predicted = read_record(record)
        told = {
            "time": format_time(time),
            "columns": asked.columns,
            "rows": asked.rows,
            "predicted": [*map(list, predicted)],
        }
        return orjson.dumps(told).decode()
    except Exception as error:  # noqa: BLE001 - there are as many errors as ways to write what is no record
        return f"{len(record)} bytes that are no record ({type(error).__name__})"
