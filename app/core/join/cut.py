"""What one epoch of one partition changes: a shell makes all of it durable together."""

from dataclasses import dataclass

from app.core.letters import Astray, DeadLetter


@dataclass(slots=True)
class Cut:
    """The changes of one epoch of one partition."""

    exchanges: list[tuple[bytes, bytes | None]]
    panes: list[tuple[bytes, bytes | None]]
    joined: list[tuple[bytes, bytes]]
    dead: list[DeadLetter]
    astray: list[Astray]
    lent: list[Astray]
    offsets: dict[str, int]
    events: int
    notes: list[str]  # sentences for the log
