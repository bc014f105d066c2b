"""What an event's headers say, found by their bytes.

In all events of one model from one source the headers have the same names and lengths, and those that say what the
event is have the same values. So what they mean is worked out once, and found again by comparing these bytes.
"""

from collections.abc import Callable, Collection
from struct import Struct
from typing import Any, Final, Generic, NamedTuple, TypeVar

from app.core.events import Reason, RefusedError
from app.core.records import BrokenRecordError, header_spans

Meaning = TypeVar("Meaning")

_PUID: Final = b"ce_requestid"
_TIME: Final = b"ce_time"
_MOST: Final = 4096


class Shape(NamedTuple, Generic[Meaning]):
    """Where in a header block the bytes are that say what the event is, and where time and puid.

    Equal fixed bytes hold equal names and lengths, so that what was found in one block is where it is in the other.
    """

    formats: tuple[str, str]
    fixed: Callable[[bytes], tuple[bytes, ...]]
    free: Callable[[bytes], tuple[bytes, ...]]
    meanings: dict[tuple[bytes, ...], Meaning]


class Envelopes(Generic[Meaning]):
    """Reads header blocks; what `resolve` makes of the headers named `read` is kept for other events like it."""

    def __init__(self, resolve: Callable[[dict[bytes, bytes]], Meaning], read: Collection[bytes]) -> None:
        self._resolve = resolve
        self._read = frozenset(read)
        self._shapes: dict[int, list[Shape[Meaning]]] = {}  # by the length of the block
        self._known = 0
        #: Of the block before: its length, the getters of its shape, its fixed bytes, its meaning.
        self._last: tuple[int, Any, tuple[bytes, ...], Any, Any] = (-1, None, (), None, None)

    def open(self, block: bytes) -> tuple[Meaning, bytes, bytes]:
        """What the headers mean, the event's `ce_time` and its `ce_requestid`, empty where it has none.

        Raises RefusedError, from `resolve` or because these are no headers.
        """
        length, fixed, same, free, meaning = self._last
        if length == len(block) and fixed(block) == same:  # neighbours are nearly always of one model
            time, puid = free(block)
            return meaning, time, puid
        for _, fixed, free, meanings in self._shapes.get(len(block), ()):
            same = fixed(block)
            known = meanings.get(same)
            if known is not None:
                self._last = len(block), fixed, same, free, known
                time, puid = free(block)
                return known, time, puid
        return self._learn(block)

    def _learn(self, block: bytes) -> tuple[Meaning, bytes, bytes]:
        try:
            spans = {name: (start, end) for name, start, end in header_spans(block) if start >= 0}
        except BrokenRecordError as error:
            raise RefusedError(Reason.BAD_HEADERS, str(error)) from None
        meaning = self._resolve({name: block[start:end] for name, (start, end) in spans.items() if name in self._read})
        time, puid = spans.get(_TIME, (0, 0)), spans.get(_PUID, (0, 0))
        formats = (
            _format(len(block), sorted(span for name, span in spans.items() if name not in self._read), "x", "s"),
            _format(len(block), sorted((time, puid)), "s", "x"),
        )
        if self._known >= _MOST:
            self._shapes.clear()
            self._known = 0
        shapes = self._shapes.setdefault(len(block), [])
        shape = next((known for known in shapes if known.formats == formats), None)
        if shape is None:
            free = Struct(formats[1]).unpack
            shape = Shape(formats, Struct(formats[0]).unpack, free if time <= puid else _swapped(free), {})
            shapes.append(shape)
        shape.meanings[shape.fixed(block)] = meaning
        self._known += 1
        return meaning, block[slice(*time)], block[slice(*puid)]


def _format(length: int, spans: list[tuple[int, int]], within: str, between: str) -> str:
    """The `struct` format of a block: the bytes in the spans by one letter, the others by another."""
    parts = []
    begin = 0
    for start, end in spans:
        parts.append(f"{start - begin}{between}{end - start}{within}")
        begin = end
    return "".join(parts) + f"{length - begin}{between}"


def _swapped(unpack: Callable[[bytes], tuple[bytes, ...]]) -> Callable[[bytes], tuple[bytes, ...]]:
    return lambda block: unpack(block)[::-1]
