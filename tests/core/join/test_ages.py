"""Exchanges are looked at for their age once their hour has ended, and many of them in parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.join import shard
from app.core.join.ages import HOUR, Ages
from tests.builders import Ledger, a_request

DAY = 86400.0


@given(st.lists(st.integers(-2 * HOUR, 5 * HOUR)), st.floats(-3 * HOUR, 6 * HOUR), st.integers(1, 4))
def test_all_of_the_hours_that_have_ended_are_taken_once_in_parts(seconds: list[int], edge: float, most: int) -> None:
    ages = Ages()
    for number, second in enumerate(seconds):
        ages.add(b"%d" % number, second)
    found: list[tuple[int, bytes]] = []
    while part := ages.take(edge, most):
        assert len(part) <= most
        found += part
    wanted = [
        ((second // HOUR + 1) * HOUR, b"%d" % number)
        for number, second in enumerate(seconds)
        if (second // HOUR + 1) * HOUR <= edge
    ]
    assert sorted(found) == sorted(wanted)
    assert [later for later, _ in found] == sorted(later for later, _ in found)


def test_many_exchanges_of_an_hour_are_forgotten_over_several_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of which has something to write, so that the next one comes."""
    monkeypatch.setattr(shard, "_MOST_LOOKED_AT", 3)
    ledger = Ledger().absorb(*(a_request(puid=f"{number}") for number in range(7))).cut()
    (partition,) = ledger.shards
    left = []
    for _ in range(4):
        ledger.cut(8 * DAY)
        left.append((partition.open_exchanges, partition.has_news))
    assert left == [(4, True), (1, True), (0, False), (0, False)]
    assert not [key for key in ledger.exchanges[0] if key[0]]
