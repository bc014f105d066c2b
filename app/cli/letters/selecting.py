"""Which letters a command is about, as its arguments and options say it."""

from collections.abc import Iterable

from app.cli.ends import InputError
from app.core.events import Reason
from app.setting_values import parse_moment
from app.worker.letters.box import Selection, parse_id


def parse_selection(ids: Iterable[str], reason: str | None, since: str | None = None) -> Selection:
    """What the arguments and options of a command mean."""
    places = frozenset(map(parse_id, ids))
    if reason is not None and reason not in tuple(Reason):
        raise InputError(f"--reason: {reason} is no reason; the reasons are {', '.join(Reason)}.")
    if since is None:
        return Selection(places, reason)
    try:
        return Selection(places, reason, parse_moment(since) * 1000)
    except (ValueError, OverflowError, OSError):
        raise InputError(f"--since must be a time like 2026-11-21T07:00:00Z (got {since!r}).") from None
