"""What a worker counts of its own work, for the counters among its series."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(slots=True)
class Stats:
    """What the worker has seen since its start; shared by its shards."""

    events: Counter[str] = field(default_factory=Counter)
    rejected: Counter[str] = field(default_factory=Counter)
    duplicates: Counter[str] = field(default_factory=Counter)
    #: By topic: records of changelogs that no worker has written; and records that went before they were read.
    unreadable: Counter[str] = field(default_factory=Counter)
    lost: Counter[str] = field(default_factory=Counter)
    rekeyed: int = 0
    corrections: int = 0
    late: int = 0
    orphans: int = 0
    failed: int = 0
    clock_ahead: int = 0

    def expect(self, *, read: Iterable[str] = (), changelogs: Iterable[str] = ()) -> None:
        """Let the counters of these topics begin at 0: the first increase is seen only from there."""
        for counter, topics in ((self.lost, read), (self.unreadable, changelogs)):
            for topic in topics:
                counter.setdefault(topic, 0)
