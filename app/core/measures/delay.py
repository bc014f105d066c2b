"""Delay: how long after the answer its newest label came."""

from bisect import bisect_left
from collections.abc import Iterable
from typing import Any, Final

from app.core.counts.atoms import Atom
from app.core.measures.measure import MODEL, Cells, Evidence, Family, Field, Histogram, Measure
from app.core.measures.reading import Nature

#: In seconds; what is longer is in a last bucket.
BUCKETS: Final = (1, 10, 60, 300, 1800, 3600, 21600, 86400, 259200, 604800, 2592000)

_BOUNDS_US: Final = [bound * 1_000_000 for bound in BUCKETS]
_BUCKET_ATOMS: Final = tuple(Atom("delay", str(bucket)) for bucket in range(len(BUCKETS) + 1))
_TOTAL: Final = Atom("delay", "us")


def _fields(histogram: Histogram) -> dict[str, Any] | None:
    """As JSON: labels by bucket, up to a bound in seconds (null: the rest), and their mean; None without any."""
    labels = sum(histogram.counts)
    buckets = [[bound, rows] for bound, rows in zip((*histogram.bounds, None), histogram.counts, strict=True)]
    return {"buckets": buckets, "mean_seconds": histogram.total / labels} if labels else None


class DelayMeasure(Measure[Histogram]):
    """A histogram of the delay of labels, one for each labelled answer."""

    name = "delay"
    families = (
        Family(
            "feedback_delay_seconds",
            "histogram",
            "Time from a prediction to its winning label.",
            (),
            lambda histogram: iter([((), histogram)]),
            windows=False,
        ),
    )
    fields = (Field("delay", _fields, (MODEL,), optional=True),)

    def amounts(self, evidence: Evidence) -> Iterable[tuple[Atom, int]]:
        """The bucket, and the delay itself in µs."""
        delay = evidence.delay
        if delay is None:
            return ()
        return (_BUCKET_ATOMS[bisect_left(_BOUNDS_US, delay)], 1), (_TOTAL, delay)

    def read(self, cells: Cells, nature: Nature) -> Histogram:
        """Answers by bucket, and the sum in seconds."""
        return Histogram(BUCKETS, [cells.get(atom, 0) for atom in _BUCKET_ATOMS], cells.get(_TOTAL, 0) / 1e6)


DELAY: Final = DelayMeasure()
