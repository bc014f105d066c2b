"""Events under a key or in a partition that is not theirs are brought home once; a second time they are refused."""

from typing import Any

import pytest

from app.core.events import Reason
from app.core.join.cut import Cut
from app.core.letters import REKEYED
from app.core.wire.partitioning import partition_of
from tests.builders import Record, a_feedback, a_request, a_response, a_shard

MARK = {REKEYED: b"1"}


def cut_of(record: Record, partitions: int = 1, partition: int = 0, **limits: Any) -> Cut:
    shard = a_shard(partition=partition, partitions=partitions, **limits)
    shard.absorb("t", [record.read()], lambda key: partition_of(key, partitions))
    return shard.cut(None)


@pytest.mark.parametrize("event", [a_request, a_response, a_feedback])
@pytest.mark.parametrize(("puid", "home"), [("p", b"p"), ("p-item-3", b"p"), ("p-item-x", b"p-item-x")])
def test_an_event_under_a_wrong_key_goes_to_the_key_of_its_puid(event: Any, puid: str, home: bytes) -> None:
    home = home if event is a_feedback else puid.encode()  # only feedback addresses a row
    cut = cut_of(event(puid=puid, key=b"other"))
    assert [(astray.topic, astray.key, astray.record.key) for astray in cut.astray] == [("t", home, b"other")]
    assert not cut.dead


#: Numbers as Java writes them, Avro of a schema registry, and a text that begins with NUL.
NO_PUIDS = [(7).to_bytes(8, "big"), b"\0\0\0\1\x2a\x06abc", b"\0p", b"\0"]


@pytest.mark.parametrize("key", NO_PUIDS)
@pytest.mark.parametrize("event", [a_request, a_response, a_feedback])
@pytest.mark.parametrize("puid", ["p", "p-item-3"])
def test_a_key_that_is_no_puid_is_a_wrong_key_where_the_headers_name_the_puid(
    event: Any, puid: str, key: bytes
) -> None:
    home = b"p" if event is a_feedback else puid.encode()
    cut = cut_of(event(puid=puid, key=key))
    assert [(astray.key, astray.record.key, dict(astray.headers)[REKEYED]) for astray in cut.astray] == [
        (home, key, b"1")
    ]
    assert not cut.dead


@pytest.mark.parametrize("key", NO_PUIDS)
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"headers": {"ce_requestid": b""}}, Reason.NO_PUID),
        ({"headers": {"ce_requestid": b"\0p"}}, Reason.NO_PUID),
        ({"headers": MARK}, Reason.WRONG_KEY),
        ({"value": None}, Reason.BAD_JSON),
        ({"value": b" " * 2_000_000}, Reason.TOO_LARGE),
    ],
    ids=["no puid", "a puid that is none", "brought already", "no value", "too large a value"],
)
def test_what_is_under_such_a_key_and_cannot_be_brought_home_is_refused(
    key: bytes, changes: dict[str, Any], reason: Reason
) -> None:
    cut = cut_of(a_request(key=key, **changes))
    assert [letter.reason for letter in cut.dead] == [reason]
    assert not cut.astray


def test_an_event_in_a_wrong_partition_goes_to_its_own() -> None:
    partition = partition_of(b"p", 8)
    assert not cut_of(a_request(puid="p"), 8, partition).astray
    (astray,) = cut_of(a_request(puid="p"), 8, (partition + 1) % 8).astray
    assert astray.key == b"p"


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        (a_request(key=b"other", headers=MARK), Reason.WRONG_KEY),
        (a_request(key=b"other", headers={"ce_requestid": b"\0mark"}), Reason.WRONG_KEY),
        (a_request(key=b"other", value=b" " * 900_000 + b'{"data": {"ndarray": [1]}}'), Reason.WRONG_KEY),
        (a_request(key=None), Reason.NO_KEY),
    ],
    ids=["marked", "a reserved key", "too large to move", "no key"],
)
def test_what_cannot_be_brought_home_is_refused(record: Record, reason: Reason) -> None:
    cut = cut_of(record)
    assert [letter.reason for letter in cut.dead] == [reason]
    assert not cut.astray


def test_an_event_that_is_still_in_a_wrong_partition_is_refused() -> None:
    partition = (partition_of(b"p", 8) + 1) % 8
    cut = cut_of(a_response(puid="p", headers=MARK), 8, partition)
    assert [letter.reason for letter in cut.dead] == [Reason.WRONG_PARTITION]


def test_a_marked_event_that_is_home_counts() -> None:
    cut = cut_of(a_response(puid="p", headers=MARK))
    assert not cut.dead
    assert b"p" in dict(cut.exchanges)


def test_events_astray_are_news_until_they_are_cut() -> None:
    shard = a_shard()
    shard.absorb("t", [a_request(key=b"other").read()])
    assert (shard.has_news, shard.waiting, len(shard.cut(None).astray)) == (True, 1, 1)
    assert (shard.has_news, shard.waiting, len(shard.cut(None).astray)) == (False, 0, 0)
