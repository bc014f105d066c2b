"""What each fault did, and what a worker held meanwhile, for the tables at the end of a soak."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Entry(NamedTuple):
    """One fault: how many events were counted meanwhile, how often it struck, and how many figures were wrong."""

    fault: str
    events: int
    times: int
    difference: int


class Held(NamedTuple):
    """What a worker holds after an hour of a day in fast motion. Sizes are in kB: of its memory, its changelogs, its
    store on disk.
    """

    hour: int
    events: int
    memory: int
    open_exchanges: int
    files: int
    changelog_of_exchanges: int
    changelog_of_counts: int
    store_on_disk: int


def table(kind: type[Entry | Held], rows: Iterable[Sequence[str | int]]) -> list[str]:
    """The lines of a table of these."""
    texts = [[it.replace("_", " ") for it in kind._fields]]
    texts += [[it if isinstance(it, str) else f"{it:,}" for it in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*texts, strict=True)]
    return [
        "  ".join(
            (row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)))
        )
        for row in texts
    ]
