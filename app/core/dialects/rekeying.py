"""Many records of a topic at once: what `understand` makes of each, at a fraction of the cost.

What the headers of a source mean is worked out once and found again by their bytes (`app.core.wire.headers`), so that
of each event only its id, its time and its request id are looked at, and the first byte of its payload.
"""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from app.core.dialects.keeping import NO_SEGMENTS, SegmentHeaders
from app.core.dialects.origins import FREE, READ, SKIP, Origin, fold, origin_of
from app.core.dialects.plain import Event
from app.core.dialects.understand import Arrival, event_of, understand
from app.core.events import Kind, Reason, RefusedError
from app.core.wire.headers import Envelopes
from app.core.wire.records import Record


class Rekeyed(NamedTuple):
    """What some records mean: events with the time of their record (ms), and the records that were refused, and why."""

    events: list[tuple[Kind, Event, int]]
    refused: list[tuple[Record, Reason, str]]


class Rekeying:
    """Makes canonical events of records; it remembers what the headers of each topic's sources mean.

    The events keep the headers that `segments` are read from.
    """

    def __init__(self, segments: SegmentHeaders = NO_SEGMENTS) -> None:
        self._segments = segments
        #: By topic: a header block → the origin (None: the body must be asked) and the values of the `FREE` headers.
        self._open: dict[str, Callable[[bytes], Any]] = {}

    def rekey(self, topic: str, records: Sequence[Record]) -> Rekeyed:
        """The canonical events of some records of a topic, in their order."""
        open_envelope = self._open.get(topic)
        if open_envelope is None:
            read = (*READ, SKIP, *self._segments.read)
            resolve = partial(self._resolve, topic)
            open_envelope = self._open[topic] = Envelopes(resolve, read, FREE, fold).open
        events: list[tuple[Kind, Event, int]] = []
        refused: list[tuple[Record, Reason, str]] = []
        for record in records:
            timestamp = record.timestamp
            try:
                meaning = open_envelope(record.header_block)
                origin = meaning[0]
                if origin is not None:
                    events.append((origin.kind, event_of(record.key, record.value, timestamp, *meaning), timestamp))
                    continue
                arrival = Arrival(topic, record.headers, record.key, record.value, timestamp)
                events += [(one.kind, one.event, timestamp) for one in understand(arrival, self._segments)]
            except RefusedError as error:
                refused.append((record, error.reason, error.detail))
        return Rekeyed(events, refused)

    def _resolve(self, topic: str, headers: Mapping[bytes, bytes]) -> Origin | None:
        origin = None if SKIP in headers else origin_of(topic, headers)
        return None if origin is None else self._segments.kept_by(origin, headers)
