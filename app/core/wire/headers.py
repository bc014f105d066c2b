"""What an event's headers say, found by their bytes.

In all events of one model from one source the headers have the same names and lengths, and those that say what the
event is have the same values. So what they mean is worked out once, and found again by comparing these bytes.
"""

from collections.abc import Callable, Collection, Sequence
from operator import itemgetter
from struct import Struct
from typing import Any, Final, Generic, NamedTuple, TypeVar

from app.core.events import Reason, RefusedError
from app.core.wire.records import BrokenRecordError, header_spans

Meaning = TypeVar("Meaning")

_PUID: Final = b"ce_requestid"
_TIME: Final = b"ce_time"
_MOST: Final = 4096


class Shape(NamedTuple, Generic[Meaning]):
    """Where in a header block the bytes are that say what the event is, and where those that each event has anew.

    Equal fixed bytes hold equal names and lengths, so that what was found in one block is where it is in the other.
    """

    layout: tuple[str, str, tuple[int, ...]]
    fixed: Callable[[bytes], tuple[bytes, ...]]
    free: Callable[[bytes], Any]  # a tuple of as many values as there are free headers
    meanings: dict[tuple[bytes, ...], tuple[Meaning]]  # each in a tuple of its own, to which the values are added


class _Last:
    """Of the block before: its length, what its shape gives, its fixed bytes and its meaning."""

    __slots__ = ("fixed", "free", "length", "meaning", "meanings", "same")

    def __init__(self) -> None:
        self.length = -1
        self.fixed: Any = None
        self.free: Any = None
        self.meanings: dict[tuple[bytes, ...], Any] = {}
        self.same: tuple[bytes, ...] = ()
        self.meaning: Any = None


class Envelopes(Generic[Meaning]):
    """Reads header blocks; what `resolve` makes of the headers named `read` is kept for other events like it.

    The values of the headers named `free` are given with it. A header is known by what `fold` makes of its name: of
    several the last that has a value is meant.
    """

    def __init__(
        self,
        resolve: Callable[[dict[bytes, bytes]], Meaning],
        read: Collection[bytes],
        free: Sequence[bytes] = (_TIME, _PUID),
        fold: Callable[[bytes], bytes] = bytes,
    ) -> None:
        self._resolve = resolve
        self._read = frozenset(read)
        self._free = free
        self._fold = fold
        self._shapes: dict[int, list[Shape[Meaning]]] = {}  # by the length of the block
        self._known = 0
        self._last = _Last()

    def open(self, block: bytes) -> tuple[Meaning, bytes, bytes]:
        """What the headers mean, and the values of the free ones, empty where there is none.

        Whoever names others than the time and the puid gets as many values, and must say so to the type checker.
        Raises RefusedError, from `resolve` or because these are no headers.
        """
        last = self._last
        if last.length == len(block):  # neighbours are nearly always of one model, or of models named alike
            same = last.fixed(block)
            if same == last.same:
                return last.meaning + last.free(block)  # type: ignore[no-any-return]
            known = last.meanings.get(same)
            if known is not None:
                last.same, last.meaning = same, known
                return known + last.free(block)  # type: ignore[no-any-return]
        for _, fixed, free, meanings in self._shapes.get(len(block), ()):
            same = fixed(block)
            known = meanings.get(same)
            if known is not None:
                last.length, last.fixed, last.free, last.meanings = len(block), fixed, free, meanings
                last.same, last.meaning = same, known
                return known + free(block)  # type: ignore[no-any-return]
        return self._learn(block)

    def _learn(self, block: bytes) -> tuple[Meaning, bytes, bytes]:
        fold = self._fold
        try:
            spans = {fold(name): (start, end) for name, start, end in header_spans(block) if start >= 0}
        except BrokenRecordError as error:
            raise RefusedError(Reason.BAD_HEADERS, str(error)) from None
        meaning = self._resolve({name: block[start:end] for name, (start, end) in spans.items() if name in self._read})
        free = [spans.get(name, (0, 0)) for name in self._free]
        order = sorted(range(len(free)), key=free.__getitem__)
        layout = (
            _format(len(block), sorted(span for name, span in spans.items() if name not in self._read), "x", "s"),
            _format(len(block), [free[place] for place in order], "s", "x"),
            tuple(order),
        )
        if self._known >= _MOST:
            self._shapes.clear()
            self._known = 0
        shapes = self._shapes.setdefault(len(block), [])
        shape = next((known for known in shapes if known.layout == layout), None)
        if shape is None:
            shape = Shape(layout, Struct(layout[0]).unpack, _ordered(Struct(layout[1]).unpack, order), {})
            shapes.append(shape)
        shape.meanings[shape.fixed(block)] = (meaning,)
        self._known += 1
        return meaning, *(block[start:end] for start, end in free)  # type: ignore[return-value]


def _format(length: int, spans: list[tuple[int, int]], within: str, between: str) -> str:
    """The `struct` format of a block: the bytes in the spans by one letter, the others by another."""
    parts = []
    begin = 0
    for start, end in spans:
        parts.append(f"{start - begin}{between}{end - start}{within}")
        begin = end
    return "".join(parts) + f"{length - begin}{between}"


def _ordered(unpack: Callable[[bytes], tuple[bytes, ...]], order: list[int]) -> Callable[[bytes], tuple[bytes, ...]]:
    """What is unpacked in the order of a block, in the order in which it was asked for."""
    if order == sorted(order):
        return unpack
    pick = itemgetter(*sorted(range(len(order)), key=order.__getitem__))
    return lambda block: pick(unpack(block))
