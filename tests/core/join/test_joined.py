"""The joined record says of every exchange what its legs say, by the short way of common ones as by the long way."""

from typing import Any

import orjson
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import Reason
from app.core.join.description import newest_feedback
from app.core.join.exchange import Exchange
from app.core.join.joined import Joining
from app.core.limits import Limits
from app.core.payloads.messages import message_class
from tests.builders import MODEL, Ledger, Record, a_feedback, a_request, a_response, run
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
        (puid, exchange, Joining(shard.numbers, shard.judging, shard.segmenting))
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


@given(common() | stories, st.integers(0, 3000))
def test_a_record_that_is_too_large_becomes_several_that_say_together_what_it_says(
    story: list[Record], most: int
) -> None:
    ledger = Ledger(logs=True).absorb(*story).cut()
    parts = [orjson.dumps(part) for _, raw in ledger.logged for part in orjson.loads(raw)["parts"]]
    for puid, exchange, joining in exchanges(ledger):
        whole = orjson.loads(joining.record(puid, parts, exchange))
        raw = list(joining.records(puid, parts, exchange, most))
        found = [orjson.loads(one) for one in raw]
        key = orjson.dumps
        assert sorted((part for one in found for part in one["parts"]), key=key) == sorted(whole["parts"], key=key)
        kinds = [part["kind"] == "feedback" for one in found for part in one["parts"]]
        assert len(found) == 1 or kinds == sorted(kinds)
        assert [one.get("more", False) for one in found] == [True] * (len(found) - 1) + [False]
        assert all(one["legs"] == whole["legs"] for one in found)
        assert all(one.get("feedback_time") == whole.get("feedback_time") for one in found)
        alone = len(joining.record(puid, [], exchange, more=True))
        assert all(len(one) <= most or len(part["parts"]) == 1 or alone > most
                   for one, part in zip(raw, found, strict=True))  # fmt: skip
        if alone <= most and whole["legs"]:
            assert any(len(one) <= most for one in raw), "how the legs stand is told by one that fits"


def test_an_event_that_no_record_holds_counts_and_the_rest_of_its_puid_is_logged() -> None:
    body = {"data": {"ndarray": [["x" * 5000]]}}
    story = [a_request(body), a_response(1, at=1.0), a_feedback(1, at=2.0)]
    limits = Limits(joined_bytes=3000)
    for batches in ([], [1, 1], [2]):
        ledger = run(story, batches, logs=True, limits=limits)
        (letter,) = ledger.dead
        assert (letter.reason, letter.record.value) == (Reason.TOO_LARGE, orjson.dumps(body))
        assert "the event counts, but its document lacks its payload" in letter.detail
        assert "TALLY_LOG_TOPIC names takes 3000" in letter.detail
        assert ledger.models()[MODEL].parts == {"request": 1, "response": 1, "feedback": 1}
        logged = [orjson.loads(raw) for _, raw in ledger.logged]
        assert [part["kind"] for one in logged for part in one["parts"]] == ["response", "feedback"]
        assert logged[-1]["legs"][0]["request_time"]


def test_an_answer_that_no_record_holds_still_has_its_verdict() -> None:
    answer = a_response(body={"data": {"ndarray": [1]}, "meta": {"tags": {"x": "y" * 5000}}})
    ledger = run([a_request(), answer], [], logs=True, limits=Limits(joined_bytes=3000))
    ((_, raw),) = ledger.logged
    assert [part["kind"] for part in orjson.loads(raw)["parts"]] == ["request"]
    ledger = run([answer], [], logs=True, limits=Limits(joined_bytes=3000))
    ((_, raw),) = ledger.logged
    assert orjson.loads(raw)["parts"] == []
    assert orjson.loads(raw)["legs"][0]["rows"] == [{"predicted": "1"}]


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
