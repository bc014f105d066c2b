"""What each fault did, for the table at the end of a soak."""

from collections.abc import Iterable
from typing import NamedTuple

COLUMNS = ("fault", "events", "times injected", "difference")


class Entry(NamedTuple):
    """One fault: how many events were counted meanwhile, how often it struck, and how many figures were wrong."""

    fault: str
    events: int
    times: int
    difference: int


def table(entries: Iterable[Entry]) -> list[str]:
    """The lines of a table of these."""
    rows = [COLUMNS, *((it.fault, f"{it.events:,}", str(it.times), f"{it.difference:,}") for it in entries)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    return [
        "  ".join(
            (row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)))
        )
        for row in rows
    ]
