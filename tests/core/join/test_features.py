"""Features on their way to the counts: named while the request is there, copied while another takes its place."""

import pytest

from app.core.join.exchange import Counted, Exchange, LegState
from app.core.join.features import keep_counted, named
from app.core.join.shard import Shard
from tests.builders import a_response, a_shard, absorb
from tests.core.join.test_drift import asked, rules


def counted_values(shard: Shard) -> list[bytes]:
    exchange = shard.get(b"p")
    assert exchange is not None
    return [values for one in exchange.counted for values in one.values]


@pytest.mark.parametrize("leg", [0, 1, 127, 128, 255, 256, 70_000])
def test_what_is_counted_names_the_leg_and_holds_its_bins_only_while_they_are_replaced(leg: int) -> None:
    state, other = LegState(leg, evidence=b"mine"), LegState(leg + 1, evidence=b"other")
    exchange = Exchange(
        1, [state, other], [], [Counted(0, 0, [], {}, (named(leg), b"e")), Counted(1, 0, [], {}, (named(leg + 1),))]
    )
    keep_counted(exchange, state)
    assert [one.values for one in exchange.counted] == [(b"fmine", b"e"), (named(leg + 1),)]


def test_a_settled_exchange_keeps_the_bins_once() -> None:
    shard = a_shard(rules())
    absorb(shard, [asked([20, "DE"])])
    shard.settle()
    assert counted_values(shard) == [named(1)]
    absorb(shard, [asked([40, "FR"], at=1)])
    live = shard.get(b"p")
    assert live is not None
    assert [values[:1] for one in live.counted for values in one.values] == [b"f"]
    shard.settle()
    absorb(shard, [a_response(1, at=2)])
    shard.settle()
    assert counted_values(shard) == [named(1)]
