"""Whether what a worker answers may be older than it should be: one sentence, the same for all that it shows."""

from typing import Final

from app.worker.running import Running

#: A worker that is further behind says so.
_LATE_SECONDS: Final = 60.0


def stale_sentence(running: Running) -> str | None:
    """Why the numbers may be older than they should be, as far as this worker knows; None where they are not."""
    if not running.feed.at_end.is_set():
        return "The counts are still being read: the numbers are not whole yet."
    for problem in running.problems():
        return problem
    _, seconds = running.lane.lag()
    if seconds > _LATE_SECONDS:
        return f"This worker is {seconds:.0f} s behind the events: what it shows is of then."
    return None
