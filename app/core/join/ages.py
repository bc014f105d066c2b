"""By the hour of their newest part which exchanges there are, so that old ones are found without a look at all."""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

_HOUR: Final = 3600


class Ages:
    """The keys of exchanges by the hour in which their newest part fell when they were last looked at."""

    def __init__(self) -> None:
        self._by_hour: defaultdict[int, list[bytes]] = defaultdict(list)

    def add(self, key: bytes, seconds: int) -> None:
        """Note an exchange whose newest part is of that time, in seconds."""
        self._by_hour[seconds // _HOUR].append(key)

    def take(self, edge: float) -> Iterator[tuple[int, bytes]]:
        """Take out the keys of all hours that have ended at an edge, in seconds, each with the second in which the hour
        after its own begins: whoever is found to be younger is added again with that second at least.
        """
        for hour in [hour for hour in self._by_hour if (hour + 1) * _HOUR <= edge]:
            for key in self._by_hour.pop(hour):
                yield (hour + 1) * _HOUR, key
