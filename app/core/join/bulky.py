"""Bulky exchanges: those that are large, or have many parts, so that each event must cost them little.

They stay decoded from list to list and are settled once an epoch. How large one is as bytes is not measured at every
event, but bounded: each part adds at most so much. Only where the bound reaches the limit it is measured.
"""

from collections.abc import Callable, Iterator
from typing import Final

from app.core.events import Reason, RefusedError
from app.core.join.exchange import Counted, Exchange, decode, encode
from app.core.join.putting import NOTHING

LARGEST_EXCHANGE: Final = 256_000
#: What is larger than this is bulky, or has more parts.
BULKY_BYTES: Final = 16_000
_PARTS: Final = 64


class Bulky:
    """The bulky exchanges that this epoch or the one before has touched. `count` says what an exchange counts as."""

    def __init__(self, count: Callable[[Exchange], list[Counted]]) -> None:
        self._count = count
        self.exchanges: dict[bytes, Exchange] = {}  # to be read only
        self._sizes: dict[bytes, int] = {}  # in bytes, at most
        self._refused: dict[bytes, int] = {}  # the shortest value that did not fit, until something else changes
        self._touched: set[bytes] = set()

    def __len__(self) -> int:
        return len(self._touched)

    def put(
        self, key: bytes, exchange: Exchange, put: Callable[[Exchange], int], growth: int, length: int
    ) -> tuple[Exchange, int]:
        """Put an event of `length` bytes into its exchange, which it makes larger by `growth` bytes at most.

        Returns the exchange, and what the event has done to it. It is kept here if it is bulky then. Raises
        RefusedError, which leaves the exchange as it was.
        """
        size = self._sizes.get(key)
        if size is None:
            size = len(encode(exchange))
        if size + growth <= LARGEST_EXCHANGE:
            done = put(exchange)
            size += growth if done != NOTHING else 0
        else:
            exchange, done, size = self._put_measured(key, exchange, put, length)
        if done != NOTHING:
            self._refused.pop(key, None)
        if key in self.exchanges or size > BULKY_BYTES or has_many_parts(exchange):
            self.exchanges[key] = exchange
            self._sizes[key] = size
            if done != NOTHING:
                self._touched.add(key)
        return exchange, done

    def touch(self, key: bytes) -> None:
        """Say that an exchange here has changed."""
        self._touched.add(key)

    def _put_measured(
        self, key: bytes, exchange: Exchange, put: Callable[[Exchange], int], length: int
    ) -> tuple[Exchange, int, int]:
        if length >= self._refused.get(key, length + 1):
            raise _too_large()
        copy = decode(encode(exchange))  # so that what does not fit leaves no trace
        done = put(copy)
        sized = decode(encode(copy))
        sized.counted = self._count(sized)
        size = len(encode(sized))
        if size > LARGEST_EXCHANGE and done != NOTHING:
            self._refused[key] = length
            raise _too_large()
        return copy, done, size

    def changed(self) -> Iterator[tuple[bytes, Exchange]]:
        """The exchanges that have changed; then all are forgotten but these, which may be asked for soon again."""
        for key in self._touched:
            yield key, self.exchanges[key]
        for key in self.exchanges.keys() - self._touched:
            self.forget(key)
        self._touched.clear()

    def forget(self, key: bytes) -> None:
        """Forget an exchange."""
        self.exchanges.pop(key, None)
        self._sizes.pop(key, None)
        self._refused.pop(key, None)
        self._touched.discard(key)


def has_many_parts(exchange: Exchange) -> bool:
    """Whether an exchange has so many parts that it may be."""
    return bool(exchange.rows) or len(exchange.feedbacks) + len(exchange.legs) + len(exchange.detections) > _PARTS


def _too_large() -> RefusedError:
    return RefusedError(Reason.EXCHANGE_TOO_LARGE, f"the exchange would grow beyond {LARGEST_EXCHANGE} bytes")
