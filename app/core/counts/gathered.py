"""What all partitions have gathered of the first rows of versions: records, references that were made, clocks.

Each is taken as it comes: whoever decides by it waits for the clocks, which stand behind the records that they are of.
"""

from collections import Counter
from typing import Any

from app.core.counts.rows import FirstKey
from app.core.drift.first import First, decode_first, time_and_rows
from app.core.events import Identity


class Gathered:
    """The records of first rows over all partitions."""

    def __init__(self) -> None:
        #: Of each version the records of its answers, by partition and puid.
        self.records: dict[Identity, dict[tuple[int, bytes], bytes]] = {}
        #: How many rows these have together.
        self.rows: Counter[Identity] = Counter()
        self.references: dict[Identity, First] = {}
        #: Of each partition up to when it has been read, in seconds, as far as that was told.
        self.clocks: dict[int, float] = {}

    def read(self, key: FirstKey, value: bytes) -> Any:
        """What a record says. Raises an error of many kinds where it is none."""
        if key.puid is None:
            return decode_first(value)
        time_and_rows(value)
        return value

    def take(self, partition: int, key: FirstKey, said: Any) -> None:
        """Take a record of a partition, as it was read; None says that it is gone."""
        if key.puid is None:
            if said is not None:
                self.references[key.identity] = said
            return
        records = self.records.setdefault(key.identity, {})
        old = records.pop((partition, key.puid), None)
        if old is not None:
            self.rows[key.identity] -= time_and_rows(old)[1]
        if said is not None:
            records[partition, key.puid] = said
            self.rows[key.identity] += time_and_rows(said)[1]
        if not records:
            del self.records[key.identity], self.rows[key.identity]

    def forget(self, partition: int) -> None:
        """Drop what a partition has said; it will be read again. A reference stays: it is never another one."""
        self.clocks.pop(partition, None)
        for identity in [*self.records]:
            for at in [at for at in self.records[identity] if at[0] == partition]:
                self.take(partition, FirstKey(identity, at[1]), None)
                if identity not in self.records:
                    break
