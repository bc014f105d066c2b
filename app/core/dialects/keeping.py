"""The headers of a source that its canonical events keep beside their own: those that segments of its model are read
from, so that an event counts in the same segments whichever way it came.
"""

from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from typing import Final

from app.core.dialects.origins import Origin, fold
from app.core.events import LEG_HEADERS, Leg
from app.core.rules import Rulebook
from app.core.segments import HEADERS, Segment, header_names, header_text

#: The headers that canonical events have of their own: what one of them means is for its dialect to say.
_OWN: Final = frozenset(
    {"ce_specversion", "ce_id", "ce_source", "ce_type", "ce_time", "ce_requestid", "ce_inferenceservicename"}
    | {"ce_namespace", "ce_endpoint", "ce_modelid", "ce_modelversion", "ce_servingengine", "ce_statuscode"}
    | {"content-type"}
)

Named = tuple[tuple[str, bytes], ...]


class SegmentHeaders:
    """Finds the headers to keep, by the segments of the user's rules."""

    def __init__(self, rulebook: Rulebook) -> None:
        self._rulebook = rulebook
        segments = [segment for rules in rulebook.entries for segment in rules.segments]
        #: By what `fold` makes of their names, the headers that are looked at; empty where no segment names one.
        self.read: frozenset[bytes] = frozenset(fold(name) for segment in segments for name in header_names(segment))

    def of(self, own: Iterable[tuple[str, bytes]], source: Mapping[bytes, bytes]) -> Named:
        """The headers that an event keeps of its source's.

        `own` are those of the canonical event, which say whose it is; `source` is by what `fold` makes of the names.
        Each is what the join would read, had the event come with all its headers: one a segment at most.
        """
        if source.keys().isdisjoint(self.read):
            return ()
        names = dict(own)
        leg = Leg(*(names.get(name.decode(), b"").decode(errors="replace") for name in LEG_HEADERS))
        kept: dict[str, bytes] = {}
        for segment in self._rulebook.of(leg).segments:
            for name, folded in _places(segment):
                if name in names or folded in source:
                    if name not in _OWN:
                        kept[name] = _bounded(source[folded])
                    break
        return tuple(kept.items())

    def kept_by(self, origin: Origin, source: Mapping[bytes, bytes]) -> Origin:
        """An origin of whose events each keeps these headers."""
        more = self.of(origin.kept, source)
        return origin._replace(kept=(*origin.kept, *more)) if more else origin


#: Where no segment names a header.
NO_SEGMENTS: Final = SegmentHeaders(Rulebook())


@lru_cache(maxsize=1024)
def _places(segment: Segment) -> Sequence[tuple[str, bytes]]:
    """The names that a segment's header has in a canonical event, each with what `fold` makes of it at its source."""
    if segment.source != HEADERS:
        return ()
    return [(name.decode(), fold(name)) for name in header_names(segment)]


def _bounded(value: bytes) -> bytes:
    """A value that means the same in a segment, and is no longer than one."""
    text = header_text(value)
    return value if text == value.decode(errors="replace") else text.encode()
