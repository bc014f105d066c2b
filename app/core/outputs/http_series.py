"""The series of a worker's port: how many requests were answered how, and how long that took."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from app.core.measures.measure import Histogram
from app.core.outputs.worker_series import WorkerSeries

#: Bounds of the time that a request takes, in seconds.
SECONDS: Final = (0.005, 0.025, 0.1, 0.25, 1.0, 2.5, 10.0)


@dataclass(frozen=True, slots=True)
class HttpNumbers:
    """What the port has answered since the worker's start. A route is its pattern; `other` is all that has none."""

    requests: Mapping[tuple[str, str], int]  # by route and status
    seconds: Mapping[str, Histogram]  # by route; over SECONDS


HTTP: Final[tuple[WorkerSeries[HttpNumbers], ...]] = (
    WorkerSeries(
        "tally_http_requests_total", "counter", ("route", "code"),
        "Requests that were answered, by route and status; `other` is what has no route.",
        lambda http: sorted(http.requests.items()),
    ),
    WorkerSeries(
        "tally_http_request_duration_seconds", "histogram", ("route",),
        "Time from a request's headers to its answer; that of its body and of Kafka is in it.",
        lambda http: [((route,), histogram) for route, histogram in sorted(http.seconds.items())],
    ),
)  # fmt: skip
