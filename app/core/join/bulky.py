"""Bulky exchanges: those that are large, or have many parts, so that each event must cost them little.

They stay decoded from list to list and are settled when their epoch is cut. How large one is as bytes is not measured
at every event, but bounded: each part adds at most so much. Only where the bound reaches the limit it is measured.
"""

from collections.abc import Callable, Iterator
from typing import Final

from app.core.events import Reason, RefusedError
from app.core.join.exchange import Counted, Exchange, decode, encode
from app.core.join.putting import NOTHING

#: Where exchanges may have 256,000 bytes, one is bulky that has more than 16,000, or more than 64 parts. An answer or a
#: feedback above 1,400 bytes may make it too large; 64 smaller ones cannot. Where less is allowed, all these are less.
_OF: Final = 256_000
_BYTES: Final = 16_000
_PARTS: Final = 64
_SUSPICIOUS: Final = 1_400


class Bulky:
    """The bulky exchanges that this epoch has touched. `count` says what an exchange counts as."""

    def __init__(self, count: Callable[[Exchange], list[Counted]], largest: int) -> None:
        self._count = count
        self.exchanges: dict[bytes, Exchange] = {}  # to be read only
        self._sizes: dict[bytes, int] = {}  # in bytes, at most
        self._refused: dict[bytes, int] = {}  # the shortest value that did not fit, until something else changes
        self._touched: set[bytes] = set()
        self._largest = 0
        self.limit(largest)

    def limit(self, largest: int) -> None:
        """Let no exchange be made larger than so many bytes from now on."""
        if largest != self._largest:
            self._refused.clear()
        self._largest = largest
        self.bytes = _BYTES * largest // _OF
        self.parts = _PARTS * largest // _OF
        self.suspicious = _SUSPICIOUS * largest // _OF

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
        if size + growth <= self._largest:
            done = put(exchange)
            size += growth if done != NOTHING else 0
        else:
            exchange, done, size = self._put_measured(key, exchange, put, length)
        if done != NOTHING:
            self._refused.pop(key, None)
        if key in self.exchanges or size > self.bytes or has_many_parts(exchange, self.parts):
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
            raise self._too_large()
        copy = decode(encode(exchange))  # so that what does not fit leaves no trace
        done = put(copy)
        sized = decode(encode(copy))
        sized.counted = self._count(sized)
        size = len(encode(sized))
        if size > self._largest and done != NOTHING:
            self._refused[key] = length
            raise self._too_large()
        return copy, done, size

    def _too_large(self) -> RefusedError:
        return RefusedError(Reason.EXCHANGE_TOO_LARGE, f"the exchange would grow beyond {self._largest} bytes")

    def changed(self) -> Iterator[tuple[bytes, Exchange]]:
        """Each exchange that has changed; what is given counts as settled."""
        while self._touched:
            key = self._touched.pop()
            yield key, self.exchanges[key]

    def forget_all(self) -> None:
        """Forget all exchanges: they are settled."""
        self.exchanges.clear()
        self._sizes.clear()
        self._refused.clear()

    def forget(self, key: bytes) -> None:
        """Forget an exchange."""
        self.exchanges.pop(key, None)
        self._sizes.pop(key, None)
        self._refused.pop(key, None)
        self._touched.discard(key)


def has_many_parts(exchange: Exchange, most: int) -> bool:
    """Whether an exchange has more parts than so many, or such as take long to read and write."""
    return bool(exchange.rows) or len(exchange.feedbacks) + len(exchange.legs) + len(exchange.detections) > most
