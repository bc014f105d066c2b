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


def test_a_state_without_days_among_its_panes_is_taken_and_written_as_one_of_this_version() -> None:
    ledger = written(format=4)
    assert ledger.restart() != [None]
    ledger.absorb(a_response(1, puid="q")).cut()
    assert msgspec.json.decode(ledger.exchanges[0][POSITION_KEY])["format"] == FORMAT
    assert ledger.restart() != [None]


def test_a_newer_state_is_refused_with_what_to_do() -> None:
    newer = rf"newer Tally .*format {FORMAT + 1}; this one has {FORMAT}.*run that version, or start afresh"
    with pytest.raises(StateError, match=newer):
        written(format=FORMAT + 1, more=[1]).restart()


def test_an_older_state_is_refused_with_what_to_do() -> None:
    """Before there were formats none was written."""
    with pytest.raises(StateError, match=r"older Tally .*format 0; .*start afresh with another TALLY_APP_ID"):
        written(format=None).restart()


@pytest.mark.parametrize(
    ("then", "now", "gone"),
    [
        ({"x": "1", "y": "1"}, {"x": "1", "y": "2"}, True),
        ({"x": "1", "y": "1"}, {"x": "1", "y": "1"}, False),
        ({"x": "1", "y": "1"}, {}, False),  # brokers that know no ids
        ({}, {"x": "1", "y": "2"}, False),
    ],
)
def test_a_state_whose_changelog_was_made_again_is_refused(
    then: dict[str, str], now: dict[str, str], gone: bool
) -> None:
    ledger = Ledger().absorb(a_response(1))
    ledger.shards[0].changelog_ids = then
    ledger.cut()
    shard = Ledger().shards[0]
    shard.changelog_ids = now
    if gone:
        with pytest.raises(StateError, match="y was deleted and made again, and with it went the state; start afresh"):
            shard.recover(ledger.exchanges[0], ledger.panes[0])
    else:
        assert shard.recover(ledger.exchanges[0], ledger.panes[0]) is not None
