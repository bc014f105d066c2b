"""All that a worker shows says when it is older than it should be."""

from collections.abc import Callable
from typing import Any, Final

import pytest

from app.core.events import Reason
from app.worker.running import Running
from tests.worker.http.routes.scene import KEY, PAIR, a_worker, error, get
from tests.worker.http.routes.test_letters import Topic, a_letter, serve

__all__ = ["serve"]  # a fixture, found by its name

LATE: Final = "This worker is 90 s behind the events: what it shows is of then."
VIEWS: Final = (
    "/api/overview",
    f"/api/models/{KEY}/view",
    "/api/comparisons",
    f"/api/comparisons/view?{PAIR}",
    "/api/exchanges/p3",
    "/api/exchanges/p3-item-0",
    "/api/letters",
    "/api/worker",
)


def a_late_worker(*, at_end: bool = True, problem: str | None = None, lag: float = 0.0) -> Running:
    running = a_worker()
    lane, contact, feed = (getattr(running, name) for name in ("lane", "contact", "feed"))
    if not at_end:
        feed.at_end.clear()
    contact.problem = lambda: problem
    lane.lag = lambda: ({}, lag)
    return running


@pytest.mark.parametrize("path", VIEWS)
@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"at_end": False}, "The counts are still being read: the numbers are not whole yet."),
        ({"problem": "Kafka has not answered for 12 s."}, "Kafka has not answered for 12 s."),
        ({"lag": 90.0}, LATE),
        ({"lag": 60.0}, None),
        ({"lag": float("nan")}, None),
    ],
)
def test_every_view_says_it(
    serve: Callable[[Topic], None], path: str, changes: dict[str, Any], sentence: str | None
) -> None:
    serve(Topic(a_letter(0, Reason.BAD_JSON)))
    assert get(path, a_late_worker(**changes)).content["stale"] == sentence


def test_a_request_id_that_is_not_known_may_be_among_what_waits() -> None:
    never = "No event with puid q is known; it never came, or has expired."
    assert error(get("/api/exchanges/q")) == (404, never)
    assert error(get("/api/exchanges/q", a_late_worker(lag=90.0))) == (404, f"{never} {LATE}")
