"""By the hour of their newest part which exchanges there are, so that old ones are found without a look at all."""

from collections import defaultdict
from typing import Final

HOUR: Final = 3600


class Ages:
    """The keys of exchanges by the hour in which their newest part fell when they were last looked at."""

    def __init__(self) -> None:
        self.by_hour: defaultdict[int, list[bytes]] = defaultdict(list)

    def add(self, key: bytes, seconds: int) -> None:
        """Note an exchange whose newest part is of that time, in seconds."""
        self.by_hour[seconds // HOUR].append(key)

    def take(self, edge: float, most: int) -> list[tuple[int, bytes]]:
        """Take out up to so many keys of hours that have ended at an edge, in seconds, each with the second in which
        the hour after its own begins: whoever is found to be younger is added again with that second at least.
        """
        found: list[tuple[int, bytes]] = []
        for hour in sorted(hour for hour in self.by_hour if (hour + 1) * HOUR <= edge):
            room = most - len(found)
            if not room:
                break
            keys = self.by_hour[hour]
            found += [((hour + 1) * HOUR, key) for key in keys[-room:]]  # from the end, where it costs nothing
            del keys[-room:]
            if not keys:
                del self.by_hour[hour]
        return found
