"""References of first rows while a worker runs: what is known of them is brought to all that count and read, and the
owner of partition 0 makes those that are due.
"""

import asyncio
import logging
from asyncio import to_thread
from typing import Final

from app.core.events import Identity
from app.core.join.deciding import full, learn
from app.core.join.shard import Shard
from app.core.measures.readings import Readings
from app.worker.lane.feed import Feed
from app.worker.lane.lane import Lane

_LOOK_SECONDS: Final = 1.0
#: Whoever owns this partition decides: what it decides holds once an epoch of this partition has committed.
_PARTITION: Final = 0

log = logging.getLogger(__name__)


class FirstRows:
    """Looks after the versions of models whose references are of their first rows."""

    def __init__(self, readings: Readings, lane: Lane, feed: Feed) -> None:
        self._readings = readings
        self._lane = lane
        self._feed = feed
        self._given: dict[Identity, Shard] = {}  # what was made and is not read yet

    async def run(self) -> None:
        """Look every second."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Take what others have made, and make what is due."""
        gathered, rulebook = self._readings.view.gathered, self._readings.rulebook
        for identity in learn(gathered, rulebook):
            first = gathered.references[identity]
            log.info("%s has its reference %s, of its first %d rows", identity, first.reference.digest, first.rows)
        if not self._feed.at_end.is_set() or _PARTITION not in self._lane.running:
            return
        for one in [*full(gathered, rulebook, self._lane.partitions)]:
            part = self._lane.running.get(_PARTITION)
            if part is None or self._given.get(one.identity) is part.shard:
                continue
            made = await to_thread(one.first)
            if made is not None:
                part.shard.give_reference(one.identity, made)
                self._given[one.identity] = part.shard
