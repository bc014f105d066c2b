"""A joined record as it is read from the log (`app.core.join.joined` writes it)."""

from typing import Any

import msgspec

from app.core.events import Identity, Leg


class Part(msgspec.Struct, gc=False):
    """What an event brought, as it stands in the record."""

    kind: str
    leg: Leg
    time: str
    payload: msgspec.Raw
    source: str = ""
    engine: str = ""
    row: int = -1
    # Worked out once: the time in µs, and the plain name of the index that the part is for.
    at: int = 0
    index: str = ""


class Row(msgspec.Struct, gc=False):
    """The verdict of a row."""

    predicted: Any = None
    label: Any = None
    correct: bool | None = None
    probability: float | None = None  # of the class that is predicted
    error: float | None = None
    segments: dict[str, str] | None = None  # its value in each segment of its model


class Answer(msgspec.Struct, gc=False):
    """What a leg has answered, and how right it is. Times in µs."""

    leg: Identity
    response_time: int
    rows: list[Row]
    request_time: int = 0
    reward: float | None = None
    delay: int | None = None


class JoinedRecord(msgspec.Struct, gc=False):
    """A whole record of the log."""

    puid: str
    parts: list[Part]
    legs: list[Answer]
    more: bool = False


read = msgspec.json.Decoder(JoinedRecord).decode
