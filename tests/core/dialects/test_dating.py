"""An old event that is written again is the same event of the same time, in whatever dialect it is."""

from typing import Any, Final

import orjson
import pytest
from hypothesis import given

from app.core.dialects.dating import younger
from app.core.dialects.understand import understand
from app.core.events import RefusedError
from tests.core.dialects.test_understand import BINARY, SELDON, STAMP, STAMP_TEXT, arrival, arrivals

LATER: Final = STAMP + 86_400_000
TIME: Final = ("ce_time", STAMP_TEXT.encode())
PLAIN: Final = {"puid": "p", "kind": "response", "service": "s", "payload": {"data": {"ndarray": [[1]]}}}
STRUCTURED: Final = {
    "specversion": "1.0", "id": "1", "source": "s", "requestid": "p", "data": {"data": {"ndarray": [[1]]}},
    "type": "io.seldon.serving.inference.response",
}  # fmt: skip
WITHOUT: Final = {name: value for name, value in BINARY.items() if name != "ce_time"}


def of_body(body: Any) -> Any:
    return arrival({}, orjson.dumps(body))


@pytest.mark.parametrize(
    ("arrived", "added"),
    [
        (arrival(BINARY), False),
        (arrival(WITHOUT), True),
        (arrival(SELDON), True),
        (of_body(PLAIN), True),
        (of_body(PLAIN | {"time": "2026-01-02T03:04:05Z"}), False),
        (of_body(STRUCTURED), True),
        (of_body(STRUCTURED | {"time": "2026-01-02T03:04:05Z"}), False),
    ],
    ids=["with a time", "canonical", "Seldon", "plain", "plain with a time", "structured", "structured with a time"],
)
def test_a_time_is_added_where_the_event_has_none(arrived: Any, added: bool) -> None:
    headers = younger(arrived, LATER, canonical=False)
    assert headers == [*arrived.headers, *([TIME] if added else [])]


@pytest.mark.parametrize("time", [b"", b"yesterday", None])
def test_what_is_no_time_in_a_canonical_topic_is_none(time: bytes | None) -> None:
    arrived = arrival([("ce_time", b"2026-01-02T03:04:05Z"), ("ce_time", time)])
    headers = younger(arrived, LATER, canonical=True)
    assert headers == [*arrived.headers, *([TIME] if time == b"yesterday" else [])]


@pytest.mark.parametrize("name", ["Ce-Time", "ce-time", "time"])
def test_the_join_knows_the_time_by_one_name_alone(name: str) -> None:
    arrived = arrival([(name, b"2026-01-02T03:04:05Z")])
    assert younger(arrived, LATER, canonical=True) == [*arrived.headers, TIME]


@pytest.mark.parametrize(
    "arrived", [arrival({}, b"{}"), of_body([STRUCTURED])], ids=["no event", "a batch without times"]
)
def test_what_would_mean_something_else_is_left_as_it_is(arrived: Any) -> None:
    assert younger(arrived, LATER, canonical=False) is None


@given(arrivals)
def test_what_it_means_is_the_same(arrived: Any) -> None:
    headers = younger(arrived, LATER, canonical=False)
    if headers is None:
        return
    assert understand(arrived._replace(headers=headers, timestamp=LATER)) == understand(arrived)


def test_a_header_is_the_time_of_a_body_without_one() -> None:
    body = of_body(PLAIN)
    for header in ("ce_time", "Ce-Time", "time"):
        (one,) = understand(body._replace(headers=[(header, b"2026-01-02T03:04:05.5Z")]))
        assert dict(one.event.headers)["ce_time"] == b"2026-01-02T03:04:05.500000Z"
    with pytest.raises(RefusedError):
        understand(arrival({"ce_time": STAMP_TEXT}, b"{}"))
