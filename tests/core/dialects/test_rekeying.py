"""Many records at once mean what each of them means alone."""

from typing import Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.dialects.plain import Event
from app.core.dialects.rekeying import Rekeyed, Rekeying
from app.core.dialects.understand import Arrival, understand
from app.core.events import Kind, Reason, RefusedError
from app.core.wire import headers
from app.core.wire.records import Record, pack_headers
from tests.core.dialects.test_understand import BINARY, BODY, SELDON, STAMP, TOPICS, arrivals

#: The last one alone would say the opposite.
SKIPPED: Final = [("Seldon-Skip-Logging", b"true"), ("seldon-skip-logging", b"false")]


def record_of(arrived: Arrival, offset: int = 0) -> Record:
    return Record(offset, arrived.timestamp, arrived.key, arrived.value, pack_headers(arrived.headers))


def one_by_one(topic: str, records: list[Record]) -> Rekeyed:
    """What `understand` says of each."""
    events: list[tuple[Kind, Event, int]] = []
    refused: list[tuple[Record, Reason, str]] = []
    for record in records:
        try:
            found = understand(Arrival(topic, record.headers, record.key, record.value, record.timestamp))
            events += [(one.kind, one.event, record.timestamp) for one in found]
        except RefusedError as error:
            refused.append((record, error.reason, error.detail))
    return Rekeyed(events, refused)


#: A source's next event differs from the one before in what it says of itself, rarely in what it is.
variants: Final = st.tuples(
    st.sampled_from(["requestid", "ce_requestid", "ce_time", "ce_id", "time", "x-request-id", "ce_modelid", "modelid"]),
    st.sampled_from([None, b"", b"1", b'"2"', b"3", b"p-item-1", b"2026-11-21T07:00:00Z", b"2026-11-21T07:00:01Z"]),
)


@st.composite
def streams(draw: st.DrawFn) -> list[tuple[str, list[Record]]]:
    """Lists of records by topic, many of them alike."""
    kinds = draw(st.lists(arrivals, min_size=1, max_size=4))
    lists = []
    for _ in range(draw(st.integers(1, 3))):
        records: list[Record] = []
        for _ in range(draw(st.integers(1, 5))):
            arrived = draw(st.sampled_from(kinds))
            headers = [*arrived.headers, *draw(st.lists(variants, max_size=2))]
            records.append(record_of(arrived._replace(headers=headers), len(records)))
        lists.append((draw(st.sampled_from(TOPICS)), records))
    return lists


@pytest.mark.parametrize("most", [2, 4096])
@given(streams())
def test_records_mean_the_same_together_and_alone(most: int, lists: list[tuple[str, list[Record]]]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(headers, "_MOST", most)
        rekeying = Rekeying()
        for topic, records in lists + lists:
            assert rekeying.rekey(topic, records) == one_by_one(topic, records)


def test_events_keep_their_order_and_the_time_of_their_record() -> None:
    pair = b'{"puid": "b", "features": [1], "output": 1}'
    records = [
        Record(0, STAMP, None, BODY, pack_headers([(name, value.encode()) for name, value in BINARY.items()])),
        Record(1, STAMP + 1, None, pair),
        Record(2, STAMP + 2, b"k", None),
        Record(3, STAMP + 3, None, BODY, pack_headers([(name, value.encode()) for name, value in SELDON.items()])),
        Record(4, STAMP + 4, None, pair, pack_headers([("Seldon-Skip-Logging", b"true")])),
        Record(5, STAMP + 5, b"k", BODY, pack_headers([("type", b"io.seldon.serving.feedback"), *SKIPPED])),
    ]
    rekeyed = Rekeying().rekey("any", records)
    assert [(kind, event.key, timestamp - STAMP) for kind, event, timestamp in rekeyed.events] == [
        (Kind.RESPONSE, BINARY["ce_requestid"].encode(), 0),
        (Kind.REQUEST, b"b", 1),
        (Kind.RESPONSE, b"b", 1),
        (Kind.REQUEST, SELDON["requestid"].encode(), 3),
    ]
    assert [(record.offset, reason) for record, reason, _ in rekeyed.refused] == [(2, Reason.BAD_JSON)]


def test_a_record_whose_headers_are_broken_is_refused() -> None:
    good = record_of(Arrival("t", [(name, value.encode()) for name, value in SELDON.items()], None, BODY, STAMP))
    broken = Record(1, STAMP, None, BODY, good.header_block[:-3])
    rekeyed = Rekeying().rekey("t", [good, broken, good])
    assert [(record, reason) for record, reason, _ in rekeyed.refused] == [(broken, Reason.BAD_HEADERS)]
    assert len(rekeyed.events) == 2


def test_what_headers_mean_depends_on_the_topic() -> None:
    record = Record(0, STAMP, b"k", BODY, pack_headers([("x-request-id", b"p")]))
    rekeying = Rekeying()
    for _ in range(2):
        assert [kind for kind, _, _ in rekeying.rekey("s.ns.model.m.inputs", [record]).events] == [Kind.REQUEST]
        assert [kind for kind, _, _ in rekeying.rekey("s.ns.model.m.outputs", [record]).events] == [Kind.RESPONSE]
        assert [reason for _, reason, _ in rekeying.rekey("other", [record]).refused] == [Reason.UNKNOWN_TYPE]
