"""How an old event is written again: its record as young as brokers keep, its own time as it was.

Brokers delete records by the record's time. An event that is written again with the old one may be gone before anybody
reads it.
"""

from collections.abc import Sequence

from app.core.clock import parse_time
from app.core.dialects.plain import moment_of
from app.core.dialects.understand import Arrival, Understood, understand
from app.core.events import RefusedError

Headers = Sequence[tuple[str, bytes | None]]

_TIME = "ce_time"


def younger(arrival: Arrival, timestamp: int, *, canonical: bool) -> Headers | None:
    """The headers with which an arrival means the same event of the same time in a record of another time, in ms.

    `canonical` is whether it is for one of the canonical topics, whose events have their time in `ce_time` or none.
    None where no header makes it so: a batch of CloudEvents without times, and what is no event.
    """
    own = [*arrival.headers, (_TIME, moment_of(arrival.timestamp))]
    if canonical:
        times = [value for name, value in arrival.headers if name == _TIME and value]
        return arrival.headers if times and parse_time(times[-1]) is not None else own
    meant = _meaning(arrival)
    if meant:
        for headers in (arrival.headers, own):
            if _meaning(arrival._replace(headers=headers, timestamp=timestamp)) == meant:
                return headers
    return None


def _meaning(arrival: Arrival) -> list[Understood]:
    try:
        return understand(arrival)
    except RefusedError:
        return []
