"""The position: where a partition stands, and the version of all that its changelogs hold."""

from collections.abc import Mapping
from typing import Final

import msgspec

#: Of the exchanges' changelog.
POSITION_KEY: Final = b"\0mark"
#: The version of what the changelogs hold: of exchanges, numbers, rows and the position. Raise it with any change.
FORMAT: Final = 10
#: The oldest version that is still read: what it has written is there as it was, and goes on by what holds now.
OLDEST: Final = 4
#: What stands beside the group's offsets: by it a state that is gone is told from one that has never been.
COMMITTED_BY_TALLY: Final = "tally"
#: What to do where a state is lost.
AFRESH: Final = "start afresh with another TALLY_APP_ID"


class Position(msgspec.Struct):
    """Where a partition stands: what makes its changelogs and its inputs fit together. It is written in every epoch.

    What it says of the changelogs tells a state that is whole from one of which something has been taken.
    """

    format: int  # of all that the changelogs hold
    offsets: dict[str, int]  # topic → next offset
    partitions: int
    newest: dict[str, int]  # topic → newest record timestamp, ms
    clock: float  # the latest clock by which panes were retired, s
    config: str
    topics: dict[str, str]  # the ids of these topics, as far as they are known
    changelogs: dict[str, str]  # and those of the changelogs
    exchanges: int  # how many keys the exchanges' changelog holds beside this one
    panes: int  # how many the counts' changelog holds
    epoch: int  # the number of the epoch that wrote counts last


class _Format(msgspec.Struct):
    format: int = 0


class StateError(Exception):
    """The changelogs hold what no worker can go on with. The message is a sentence that says what to do."""


class DamagedError(StateError):
    """The changelogs of one partition are not whole; those of others may be."""


def read_position(raw: bytes) -> Position:
    """The position in its record's value. Raises StateError where another version has written it, or DamagedError."""
    try:
        known = msgspec.json.decode(raw, type=_Format).format
        if OLDEST <= known <= FORMAT:
            return msgspec.json.decode(raw, type=Position)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise DamagedError(f"its mark cannot be read; {AFRESH}") from None
    writer, way = ("newer", "run that version, or") if known > FORMAT else ("older", "to count the topics anew,")
    raise StateError(
        f"a{'n' * (known < FORMAT)} {writer} Tally has written the state (format {known}; this one has {FORMAT}): "
        f"{way} {AFRESH}"
    )


def is_position(raw: bytes) -> bool:
    """Whether somebody has written a position, of any version."""
    try:
        return msgspec.json.decode(raw, type=_Format).format > 0
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return False


def known_position(
    marks: Mapping[bytes, bytes], exchanges: int, counts: int, changelog_ids: Mapping[str, str]
) -> Position | None:
    """Where a partition stands by the newest records of its exchanges' changelog, None where nothing was ever written.

    Of that `marks` are those that are no exchanges; `exchanges` says how many there are, and `counts` how many records
    the other changelog has; `changelog_ids` which topics both are now. Raises StateError where these do not belong
    together.
    """
    if POSITION_KEY not in marks:
        if marks or exchanges or counts:
            what = "exchanges" if marks or exchanges else "counts"
            raise StateError(f"there are {what}, and no mark that says where they stand; {AFRESH}")
        return None
    position = read_position(marks[POSITION_KEY])
    if position.panes and not counts:
        raise StateError(f"there are exchanges, and no counts; {AFRESH}")
    for topic, known in position.changelogs.items():
        if changelog_ids.get(topic, known) != known:
            raise StateError(f"{topic} was deleted and made again, and with it went the state; {AFRESH}")
    return position


def check_whole(position: Position, *, exchanges: int, counts: int, epoch: int) -> None:
    """Raise DamagedError where there are other records than the position says, or counts of another epoch."""
    for name, found, written in (("exchanges", exchanges, position.exchanges), ("counts", counts, position.panes)):
        if found != written:
            raise DamagedError(f"of its {name} there are {found} records where {written} were written; {AFRESH}")
    if epoch != position.epoch:
        raise DamagedError(f"its counts are of epoch {epoch} and its mark is of epoch {position.epoch}; {AFRESH}")
