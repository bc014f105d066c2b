"""The joined record says of every exchange what its legs say, by the short way of common ones as by the long way."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from app.core.join.description import newest_feedback
from app.core.join.exchange import Exchange
from app.core.join.joined import Joining
from app.core.payloads.messages import message_class
from tests.builders import Ledger, Record, a_feedback, a_request, a_response
from tests.core.test_laws import stories

scores = st.floats(0, 1, width=32)


@st.composite
def common(draw: st.DrawFn) -> list[Record]:
    """One leg, one row, at most one feedback."""
    row = draw(st.lists(scores, min_size=2, max_size=3))
    label = draw(st.sampled_from([0, 1, "a", [0, 1], None, 0.5]))
    told = a_feedback(label, reward=draw(st.sampled_from([0, 1, -0.3, True, 1e-9, 12345.678901234])), at=draw(scores))
    events = [a_request(at=0.25), a_response(row if len(row) > 1 else row[0], at=0.5), told]
    return draw(st.lists(st.sampled_from(events), min_size=1, unique_by=id))


def exchanges(ledger: Ledger) -> list[tuple[bytes, Exchange, Joining]]:
    return [
        (puid, exchange, Joining(shard.numbers, shard.judging))
        for shard in ledger.shards
        for puid in shard.store
        if (exchange := shard.get(puid)) is not None
    ]


@given(common() | stories)
def test_the_legs_of_a_record_are_those_of_the_exchange(story: list[Record]) -> None:
    for puid, exchange, joining in exchanges(Ledger(logs=True).absorb(*story).cut()):
        record: dict[str, Any] = orjson.loads(joining.record(puid, [], exchange))
        assert record["legs"] == orjson.loads(orjson.dumps(joining.legs(exchange)))
        assert record["puid"] == puid.decode()
        assert record.get("feedback_time", 0) == newest_feedback(exchange)


@given(st.binary(min_size=1).filter(lambda puid: puid[0] != 0), st.sampled_from(["", 'http://a"b']))
def test_any_puid_and_source_give_json(puid: bytes, source: str) -> None:
    event = a_response(1, key=puid, headers={"ce_requestid": puid, "ce_source": source.encode()})
    ((_, raw),) = Ledger(logs=True).absorb(event).cut().logged
    record = orjson.loads(raw)
    assert record["puid"] == puid.decode(errors="replace")
    assert record["parts"][0]["source"] == source


def test_a_protobuf_payload_is_logged_as_json() -> None:
    message = message_class("seldon.protos.SeldonMessage")()
    message.data.ndarray.extend([3])
    ((_, raw),) = Ledger(logs=True).absorb(a_response(value=message.SerializeToString())).cut().logged
    record = orjson.loads(raw)
    assert record["parts"][0]["payload"] == {"data": {"ndarray": [3.0]}}
    assert record["legs"][0]["rows"] == [{"predicted": "3"}]
