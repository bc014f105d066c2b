"""Events under a key or in a partition that is not theirs are brought home once; a second time they are refused."""

from typing import Any

import pytest

from app.core.events import Reason
from app.core.join.shard import Cut
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
