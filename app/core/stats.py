"""What a worker counts of its own work, for the counters among its series."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, fields


@dataclass(slots=True)
class Stats:
    """What a worker has seen since its start, or a shard since its last epoch."""

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

    def take(self) -> "Stats":
        """What has been counted; from here on it is counted from 0."""
        taken = Stats(**{one.name: getattr(self, one.name) for one in fields(self)})
        for one in fields(self):
            setattr(self, one.name, type(getattr(self, one.name))())
        return taken

    def add(self, other: "Stats") -> None:
        """Count what another has counted."""
        for one in fields(self):
            mine, more = getattr(self, one.name), getattr(other, one.name)
            if isinstance(mine, Counter):
                mine.update(more)
            else:
                setattr(self, one.name, mine + more)
