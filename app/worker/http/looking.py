"""Looking through the newest exchanges of this worker's partitions: for a bounded time, a few at a time."""

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Reversible
from itertools import chain, islice, zip_longest
from typing import Any, Final, NamedTuple, TypeVar

from app.worker.http.turns import Turns
from app.worker.lane.lane import Lane

Found = TypeVar("Found")

_SECONDS: Final = 1.0
_MOST: Final = 20_000


class Looked(NamedTuple):
    """How many exchanges were looked through, how many there are, and in which partitions."""

    looked: int
    open: int
    partitions: list[int]

    def sentence(self) -> str:
        """What was looked through, for people."""
        if not self.partitions:
            return "No partition is loaded at this worker: ask another one."
        where = f"the partitions of this worker ({', '.join(map(str, self.partitions))})"
        whole = "all" if self.looked >= self.open else f"the newest {self.looked:,} of"
        return f"Looked through {whole} {self.open:,} exchanges in {where}; other workers hold those of others."


async def look(
    lane: Lane, wanted: Callable[[Mapping[str, Any]], Iterable[Found]], most: int
) -> tuple[list[Found], Looked]:
    """What is wanted of the newest exchanges, the newest first in each partition, and what was looked through."""
    parts = sorted(lane.running.items())
    turns, clock = Turns(), asyncio.get_running_loop().time
    until = clock() + _SECONDS
    keys = [_newest(part.shard.store, _MOST // max(1, len(parts))) for _, part in parts]
    found: list[Found] = []
    looked = 0
    for number, key in _in_turn(keys):
        if len(found) >= most or clock() >= until:
            break
        looked += 1
        known = parts[number][1].shard.describe(key.decode(errors="replace"))
        if known is not None:
            found += wanted(known)
        await turns.pause()
    whole = sum(part.shard.open_exchanges for _, part in parts)
    return found[:most], Looked(looked, whole, [number for number, _ in parts])


def _newest(store: Mapping[bytes, bytes], most: int) -> list[bytes]:
    """The keys that have come last, from a store that keeps them in the order in which they came; else any."""
    return list(islice(reversed(store) if isinstance(store, Reversible) else iter(store), most))


def _in_turn(lists: list[list[bytes]]) -> Iterator[tuple[int, bytes]]:
    """All keys with the number of their list: the first of each list, then the second of each."""
    rounds = zip_longest(*([(number, key) for key in keys] for number, keys in enumerate(lists)))
    return (one for one in chain.from_iterable(rounds) if one is not None)
