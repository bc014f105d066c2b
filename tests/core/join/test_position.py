"""The position says in which format the state is written; what another version wrote is told, not guessed at."""

import msgspec
import pytest

from app.core.join.position import FORMAT, POSITION_KEY, Position, StateError
from tests.builders import Ledger, a_response


def written(**changes: object) -> Ledger:
    """A ledger whose position was written with these changes."""
    ledger = Ledger().absorb(a_response(1)).cut()
    position = msgspec.json.decode(ledger.exchanges[0][POSITION_KEY])
    ledger.exchanges[0][POSITION_KEY] = msgspec.json.encode(
        {name: value for name, value in (position | changes).items() if value is not None}
    )
    return ledger


def test_a_state_of_this_version_is_taken() -> None:
    (position,) = written().restart()
    assert isinstance(position, Position)
    assert position.format == FORMAT


def test_a_newer_state_is_refused_with_what_to_do() -> None:
    newer = rf"newer Tally .*format {FORMAT + 1}; this one has {FORMAT}.*run that version, or start afresh"
    with pytest.raises(StateError, match=newer):
        written(format=FORMAT + 1, more=[1]).restart()


def test_an_older_state_is_refused_with_what_to_do() -> None:
    """Before there were formats none was written."""
    with pytest.raises(StateError, match=r"older Tally .*format 0; .*start afresh with another TALLY_APP_ID"):
        written(format=None).restart()
