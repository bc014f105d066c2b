"""The requests that the port has answered, counted by route and status, and how long each took."""

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

from app.core.measures.measure import Histogram
from app.core.outputs.http_series import SECONDS, HttpNumbers

#: The route of what has none: paths that are not there, methods that do not fit, and what is no HTTP.
OTHER: Final = "other"
_READ: Final = (200, 401, 403, 500, 503)
_ASKED: Final = (200, 400, 401, 403, 500, 503)
_FOUND: Final = (200, 400, 401, 403, 404, 500, 503)
_TAKEN: Final = (202, 400, 401, 403, 408, 413, 415, 500, 503)
#: What each route may answer, so that all of it is exported from the start: `increase` sees no first one else.
KNOWN: Final[Mapping[str, Iterable[int]]] = {
    "/": sorted({*_READ, *_TAKEN}),
    "/events": _TAKEN,
    "/feedback": _TAKEN,
    "/seldon/{namespace}/{service}/api/v1.0/feedback": _TAKEN,
    "/api/overview": _ASKED,
    "/api/models": _ASKED,
    "/api/models/{key}": _FOUND,
    "/api/models/{key}/history": _FOUND,
    "/api/models/{key}/monitor-history": _FOUND,
    "/api/models/{key}/examples": _FOUND,
    "/api/models/{key}/view": _FOUND,
    "/api/comparisons": _ASKED,
    "/api/comparisons/history": _FOUND,
    "/api/comparisons/examples": _FOUND,
    "/api/comparisons/view": _FOUND,
    "/api/comparisons/versions": _FOUND,
    "/api/exchanges/{puid}": _FOUND,
    "/api/exchanges/{puid}/documents": _FOUND,
    "/api/letters": _ASKED,
    "/api/letters/resend": sorted({413, *_FOUND}),
    "/api/worker": _ASKED,
    "/api/worker/check": _ASKED,
    "/api/openapi.json": _ASKED,
    "/page/{file}": sorted({304, 404, *_READ}),
    "/metrics": (200, 403, 500, 503),
    "/ready": (200, 403, 503),
    "/live": (200, 403, 503),
    OTHER: (400, 401, 404, 405, 408, 503),
}


class Requests:
    """What has been answered since the start of the worker."""

    def __init__(self) -> None:
        self._answers = Counter({(route, code): 0 for route, codes in KNOWN.items() for code in codes})
        self._buckets = {route: [0] * (len(SECONDS) + 1) for route in KNOWN}
        self._seconds = dict.fromkeys(KNOWN, 0.0)

    def note(self, route: str, code: int, seconds: float) -> None:
        """One request was answered."""
        self._answers[route, code] += 1
        self._buckets[route][bisect_left(SECONDS, seconds)] += 1
        self._seconds[route] += seconds

    def numbers(self) -> HttpNumbers:
        """All of it, for the series."""
        return HttpNumbers(
            {(route, str(code)): count for (route, code), count in self._answers.items()},
            {
                route: Histogram(SECONDS, tuple(buckets), self._seconds[route])
                for route, buckets in self._buckets.items()
            },
        )
