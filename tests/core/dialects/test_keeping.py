"""The headers that segments name: canonical events keep them, whichever way an event comes, and no others."""

import json
from typing import Final

import pytest

from app.core.dialects.keeping import NO_SEGMENTS, SegmentHeaders
from app.core.dialects.rekeying import Rekeying
from app.core.dialects.understand import Arrival, understand
from app.core.rules import Rulebook, Rules
from app.core.segments import HEADERS, LONGEST, TAGS, Segment
from app.core.wire.records import Record, pack_headers
from tests.core.dialects.test_understand import BINARY, KSERVE, MLSERVER, SELDON, STAMP, arrival

TIER: Final = Segment("tier", HEADERS, "x-tier")
PLAIN: Final = b'{"puid": "p", "features": [1], "output": 1}'
CAPTURE: Final = (
    b'{"captureData": {"endpointInput": {"data": "1", "encoding": "CSV"}}, "eventMetadata": {"eventId": "p"}}'
)


def keeping(*segments: Segment, match: str = "*") -> SegmentHeaders:
    return SegmentHeaders(Rulebook((Rules(match=match, segments=segments),)))


def kept(arrived: Arrival, segments: SegmentHeaders) -> list[dict[str, bytes]]:
    """Of each event, the headers that it has only with these segments."""
    found = []
    for one, without in zip(understand(arrived, segments), understand(arrived), strict=True):
        assert one.event._replace(headers=()) == without.event._replace(headers=())
        names = [name for name, _ in one.event.headers]
        assert len(names) == len({*names})
        assert {*without.event.headers} <= {*one.event.headers}
        found.append(dict({*one.event.headers} - {*without.event.headers}))
    return found


def structured(**members: str) -> bytes:
    return json.dumps({"specversion": "1.0", "id": "p", "type": SELDON["type"], "data": {}, **members}).encode()


@pytest.mark.parametrize(
    ("arrived", "headers"),
    [
        (arrival(SELDON | {"X-Tier": "gold", "x-other": "o"}), {"x-tier": b"gold"}),
        (arrival(BINARY | {"x-tier": "gold"}), {"x-tier": b"gold"}),
        (arrival(BINARY | {"ce_x-tier": "gold"}), {"ce_x-tier": b"gold"}),
        (arrival(BINARY | {"ce_x-tier": "silver", "x-tier": "gold"}), {"x-tier": b"gold"}),
        (arrival(MLSERVER | {"Ce-X-Tier": "gold"}), {"ce_x-tier": b"gold"}),
        (arrival(KSERVE | {"ce-x-tier": "g%C3%B6ld"}, topic=None), {"ce_x-tier": "göld".encode()}),
        (arrival(KSERVE | {"x-tier": "g%C3%B6ld"}, topic=None), {"x-tier": b"g%C3%B6ld"}),
        (arrival({"x-request-id": "p", "x-tier": "gold"}, topic="s.ns.model.m.inputs", value=b"{}"),
         {"x-tier": b"gold"}),
        (arrival({"x-tier": "gold"}, CAPTURE), {"x-tier": b"gold"}),
        (arrival({}, structured(**{"requestid": "p", "x-tier": "gold"})), {"ce_x-tier": b"gold"}),
        (arrival({"x-tier": "gold"}, structured(requestid="p")), {"x-tier": b"gold"}),
        (arrival(SELDON | {"x-tier": ""}), {"x-tier": b""}),
        (arrival([*arrival(SELDON).headers, ("x-tier", None)]), {}),
        (arrival(SELDON), {}),
    ],
)  # fmt: skip
def test_an_event_keeps_the_header_that_a_segment_names(arrived: Arrival, headers: dict[str, bytes]) -> None:
    assert kept(arrived, keeping(TIER, Segment("c", TAGS, "x-other"))) == [headers]


def test_both_events_of_a_pair_keep_it() -> None:
    assert kept(arrival({"X-Tier": "gold"}, PLAIN), keeping(TIER)) == [{"x-tier": b"gold"}] * 2


def test_of_a_batch_each_event_keeps_its_own_and_none_the_batchs() -> None:
    batch = b"[" + structured(requestid="a", tier="gold") + b"," + structured(requestid="b") + b"]"
    headers = {"content-type": "application/cloudevents-batch+json", "tier": "silver"}
    assert kept(arrival(headers, batch), keeping(Segment("t", HEADERS, "tier"))) == [{"ce_tier": b"gold"}, {}]


def test_only_segments_of_the_events_own_model_count() -> None:
    tiered = SELDON | {"x-tier": "gold"}
    assert kept(arrival(tiered), keeping(TIER, match="bank/fraud/*")) == [{"x-tier": b"gold"}]
    assert kept(arrival(tiered), keeping(TIER, match="bank/other/*")) == [{}]


@pytest.mark.parametrize(
    ("field", "named"),
    [("endpoint", {"ce_endpoint": "canary"}), ("ce_modelid", {"ce_modelid": "m"}), ("time", {"ce_time": "x"}),
     ("content-type", {"content-type": "text/plain"})],
)  # fmt: skip
def test_no_header_of_the_canonical_form_is_added_that_its_dialect_does_not_read(
    field: str, named: dict[str, str]
) -> None:
    assert kept(arrival(named, PLAIN), keeping(Segment("s", HEADERS, field))) == [{}, {}]


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (b"g" * LONGEST, b"g" * LONGEST),
        (b"g" * (LONGEST + 1), b"(too long)"),
        ("ö".encode() * LONGEST, "ö".encode() * LONGEST),
        (b" " * LONGEST + b"gold", b"gold"),
        (b" gold ", b" gold "),
        (b"\xff", b"\xff"),
    ],
)
def test_a_value_is_kept_as_it_is_unless_it_is_longer_than_a_segments(value: bytes, wanted: bytes) -> None:
    assert kept(arrival(SELDON | {"x-tier": value}), keeping(TIER)) == [{"x-tier": wanted}]


def test_where_no_segment_names_a_header_none_is_looked_at() -> None:
    assert keeping(Segment("c", TAGS, "x-tier")).read == NO_SEGMENTS.read == frozenset()
    assert kept(arrival(SELDON | {"x-tier": "gold"}), NO_SEGMENTS) == [{}]


@pytest.mark.parametrize("field", ["x-tier", "requestid", "time", "type", "ce-type", "ce_id"])
def test_many_records_keep_what_each_of_them_keeps_alone(field: str) -> None:
    """Also where a segment names what each event has anew."""
    segments = keeping(Segment("s", HEADERS, field))
    rekeying = Rekeying(segments)
    for said in ["gold", "iron", "gold", "silver", "", "iron"]:
        for source in (SELDON, BINARY, MLSERVER):
            arrived = arrival(source | {"x-tier": said, "time": said or "t", "ce_id": f"id-{said}"})
            record = Record(0, STAMP, None, arrived.value, pack_headers(arrived.headers))
            alone = [(one.kind, one.event, STAMP) for one in understand(arrived, segments)]
            assert rekeying.rekey("seldon", [record]).events == alone
