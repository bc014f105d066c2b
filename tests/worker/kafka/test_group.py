"""A group reader: what it hands out, and what it does while its group, its brokers or its user have trouble.

Who uses it here keeps what it is handed, and commits it when it is told to flush. With real brokers:
tests/live/test_intake.py and tests/live/test_documents.py.
"""

import asyncio
import logging
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

import pytest
from aiokafka import TopicPartition
from aiokafka.errors import (
    CommitFailedError,
    GroupAuthorizationFailedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
)
from hypothesis import given
from hypothesis import strategies as st

from app.settings import load_settings
from app.worker.kafka.group import GroupReader, Taken
from app.worker.kafka.group_consumer import GroupConsumer
from app.worker.kafka.metadata import TopicFacts
from tests.patience import PATIENCE
from tests.worker.kafka.scripted import Brokers, in_no_time, until

SETTINGS: Final = load_settings(session_timeout=10.0)
A0, A1, B0 = (TopicPartition(topic, number) for topic, number in (("a", 0), ("a", 1), ("b", 0)))


class User:
    """Who reads: all that it was handed, and what of it is not committed yet."""

    def __init__(self, brokers: Brokers, *topics: str, first: int = 0, again: float = 60.0) -> None:
        self.topics = topics or ("a",)
        self.first = first
        self.sessions: list[float] = []  # when each began
        self.taken: list[Taken] = []
        self.waiting: dict[TopicPartition, int] = {}
        self.lost: Counter[str] = Counter()
        self.commits = False  # at once what it is handed
        self.flushes = 0
        self.flush_seconds = 0.0
        self.error: Exception | None = None  # raised where it reads
        self.flush_error: Exception | None = None
        self.pause = 0.0  # between two readings
        self.most = 2
        self.reader = GroupReader(
            SETTINGS,
            "group",
            "the test",
            brokers.open_consumer,
            session=self._session,
            flush=self._flush,
            first_offset=self._first_offset,
            again=again,
            lost=self.lost,
            check_crcs=False,
        )

    @property
    def values(self) -> dict[TopicPartition, str]:
        """The values that it was handed, by partition."""
        values: dict[TopicPartition, str] = {}
        for tp, records, _ in self.taken:
            values[tp] = values.get(tp, "") + "".join((record.value or b"").decode() for record in records)
        return values

    async def _session(self) -> None:
        self.sessions.append(asyncio.get_running_loop().time())
        self.waiting.clear()
        while True:
            await self.reader.subscribe(self.topics)
            if self.error is not None:
                raise self.error
            taken = await self.reader.read(self.most, 1.0)
            if taken is not None:
                self.taken.append(taken)
                self.waiting[taken.tp] = taken.next_offset
                if self.commits:
                    await self._flush()
            await asyncio.sleep(self.pause)

    async def _flush(self) -> None:
        self.flushes += 1
        if self.flush_seconds:
            await asyncio.sleep(self.flush_seconds)
        if self.flush_error is not None:
            raise self.flush_error
        if self.waiting:
            await self.reader.commit(self.waiting)
            self.waiting.clear()

    async def _first_offset(self, consumer: GroupConsumer, tp: TopicPartition) -> int:
        await asyncio.sleep(0.5)
        return self.first


def run(user: User, test: Callable[[], Awaitable[None]]) -> None:
    """Run a test while the user reads."""

    async def whole() -> None:
        user.reader.start()
        await test()
        await user.reader.stop()

    in_no_time(whole())


def some(**partitions: int) -> Brokers:
    """Brokers with three records in each partition, of which the group has committed none."""
    brokers = Brokers(**partitions)
    for topic, count in partitions.items():
        for number in range(count):
            brokers.write(TopicPartition(topic, number), b"x", b"y", b"z")
            brokers.committed[TopicPartition(topic, number)] = 0
    return brokers


# -- what is handed out -----------------------------------------------------------------------------------------------


def test_partitions_have_their_turn_list_by_list_and_each_list_says_where_reading_goes_on() -> None:
    brokers = some(a=2)
    user = User(brokers)

    async def test() -> None:
        await until(lambda: len(user.taken) == 4)
        brokers.write(A1, b"1")
        await until(lambda: len(user.taken) == 5)

    run(user, test)
    assert [(taken.tp, len(taken.records), taken.next_offset) for taken in user.taken] == [
        (A0, 2, 2), (A1, 2, 2), (A0, 1, 3), (A1, 1, 3), (A1, 1, 4),
    ]  # fmt: skip


def test_markers_of_transactions_are_passed_and_handed_out_as_no_records() -> None:
    brokers = some(a=1)
    user = User(brokers)

    async def test() -> None:
        await until(lambda: len(user.taken) == 2)
        brokers.write(A0, None, None)
        await until(lambda: len(user.taken) == 3)

    run(user, test)
    assert user.taken[-1] == (A0, [], 5)
    assert brokers.committed == {A0: 5}


def test_nothing_is_handed_out_where_nothing_comes() -> None:
    brokers = Brokers(a=1)
    brokers.committed[A0] = 0
    user = User(brokers)
    run(user, lambda: asyncio.sleep(60))
    assert user.taken == []


def test_unread_is_what_lies_behind_the_next_offsets_of_this_members_partitions() -> None:
    brokers = some(a=2)
    user = User(brokers)

    async def test() -> None:
        assert math.isnan(user.reader.unread())
        await until(lambda: len(user.taken) == 4)
        assert user.reader.unread() == 0
        user.pause = 1000
        brokers.write(A0, *[b"1"] * 5)
        brokers.write(A1, b"1")
        await until(lambda: len(user.taken) == 5)
        assert user.reader.unread() == 4
        brokers.member.share = [A1]
        await brokers.member.rebalance()
        assert user.reader.unread() == 1

    run(user, test)


# -- rebalances -------------------------------------------------------------------------------------------------------


def test_what_was_read_is_committed_before_a_partition_goes_and_reading_goes_on_behind_it() -> None:
    brokers = some(a=2)
    user = User(brokers)

    async def test() -> None:
        await until(lambda: len(user.taken) == 4)
        assert brokers.commits == []
        brokers.member.share = [A1]
        await brokers.member.rebalance()
        assert brokers.commits == [{A0: 3, A1: 3}]
        brokers.write(A0, b"0")
        brokers.write(A1, b"1")
        await until(lambda: len(user.taken) == 5)
        brokers.member.share = None
        await brokers.member.rebalance()
        await until(lambda: len(user.taken) == 6)

    run(user, test)
    assert user.values == {A0: "xyz0", A1: "xyz1"}
    assert len(brokers.consumers) == 1


def test_nothing_is_read_while_a_rebalance_goes_on() -> None:
    brokers = some(a=1)
    user = User(brokers)
    user.flush_seconds = 5

    async def test() -> None:
        await until(lambda: len(user.taken) == 2)
        brokers.write(A0, b"1")
        rebalance = asyncio.ensure_future(brokers.member.rebalance())
        await asyncio.sleep(4.9)
        assert len(user.taken) == 2
        await rebalance
        await until(lambda: len(user.taken) == 3)

    run(user, test)
    assert user.values == {A0: "xyz1"}


def test_a_partition_that_goes_while_others_have_their_turn_is_not_read() -> None:
    brokers = some(a=2)
    user = User(brokers)
    user.pause = 1

    async def test() -> None:
        await until(lambda: len(user.taken) == 1)  # the turn is the other's
        brokers.member.share = [A0]
        await brokers.member.rebalance()
        await asyncio.sleep(60)

    run(user, test)
    assert user.values == {A0: "xyz"}
    assert brokers.committed == {A0: 3, A1: 0}


@pytest.mark.parametrize(("seconds", "error"), [(11, None), (0, ZeroDivisionError()), (0, KafkaError())])
def test_a_flush_that_fails_or_takes_too_long_ends_the_session_and_commits_nothing_more(
    seconds: float, error: Exception | None
) -> None:
    brokers = some(a=1)
    user = User(brokers)

    async def test() -> None:
        await until(lambda: len(user.taken) == 2)
        user.flush_seconds, user.flush_error = seconds, error
        await brokers.member.rebalance()
        with pytest.raises((TimeoutError, ZeroDivisionError, KafkaError)):
            await user.reader.commit({A0: 3})
        assert brokers.commits == []
        user.flush_seconds, user.flush_error = 0, None
        await until(lambda: len(user.taken) == 4)

    run(user, test)
    assert user.values == {A0: "xyzxyz"}
    assert [consumer.stopped for consumer in brokers.consumers] == [True, True]
    assert brokers.committed == {A0: 3}


@pytest.mark.parametrize("error", [CommitFailedError(), IllegalStateError()])
def test_what_others_have_been_given_is_theirs_and_ends_no_session(error: Exception) -> None:
    brokers = some(a=1)
    user = User(brokers)

    async def test() -> None:
        await until(lambda: len(user.taken) == 2)
        brokers.commit_error = error
        await user.reader.commit({A0: 3})
        brokers.commit_error = None
        await brokers.member.rebalance()

    run(user, test)
    assert len(user.sessions) == 1


def test_what_else_a_commit_raises_is_its_users_business() -> None:
    brokers = some(a=1)
    user = User(brokers)

    async def test() -> None:
        await until(lambda: len(user.taken) == 2)
        brokers.commit_error = GroupAuthorizationFailedError("group")
        with pytest.raises(GroupAuthorizationFailedError):
            await user.reader.commit({A0: 3})
        brokers.commit_error = None

    run(user, test)


# -- topics -----------------------------------------------------------------------------------------------------------


def test_topics_come_and_go_and_what_was_read_is_committed_first() -> None:
    brokers = some(a=1, b=1)
    user = User(brokers, "a")

    async def test() -> None:
        await until(lambda: len(user.taken) == 2)
        assert user.flushes == 2  # when it subscribed, and when it was given partitions
        user.topics = ("b", "a")
        await until(lambda: brokers.member.assignment() == {A0, B0})
        assert brokers.commits[0] == {A0: 3}
        await until(lambda: len(user.taken) == 4)
        user.topics = ("b",)
        brokers.write(A0, b"1")
        await until(lambda: brokers.member.assignment() == {B0})
        user.topics = ()
        await until(lambda: brokers.member.topics == [])
        assert brokers.member.assignment() == set()
        user.topics = ("a",)
        await until(lambda: len(user.taken) == 5)

    run(user, test)
    assert user.values == {A0: "xyz1", B0: "xyz"}
    assert len(user.sessions) == 1


def test_the_brokers_are_asked_which_topics_exist() -> None:
    brokers = Brokers(a=2, b=1)
    user = User(brokers, "a")

    async def test() -> None:
        await until(lambda: bool(brokers.consumers))
        brokers.ids["a"] = "1"
        assert await user.reader.describe(None) == {"a": TopicFacts(2, "1"), "b": TopicFacts(1)}
        assert await user.reader.describe({"b", "c"}) == {"b": TopicFacts(1)}
        brokers.topics_error = KafkaConnectionError()
        with pytest.raises(KafkaConnectionError):
            await user.reader.describe(None)
        assert await user.reader.end_of(A0) == 0

    run(user, test)
    assert len(user.sessions) == 1


# -- where reading begins ---------------------------------------------------------------------------------------------


def test_a_partition_without_offset_begins_where_it_is_said_and_that_can_be_committed_before_any_record() -> None:
    brokers = Brokers(a=1)
    brokers.write(A0, b"x", b"y")
    user = User(brokers, first=2)

    async def test() -> None:
        await until(lambda: len(user.taken) == 1)
        brokers.write(A0, b"z")
        await until(lambda: len(user.taken) == 2)

    run(user, test)
    assert user.taken[0] == (A0, [], 2)
    assert user.values == {A0: "z"}


def test_a_partition_that_is_given_anew_while_its_beginning_is_looked_for_is_left_where_it_is() -> None:
    brokers = Brokers(a=1)
    brokers.write(A0, b"x", b"y", b"z")
    user = User(brokers)

    async def test() -> None:
        await until(lambda: bool(brokers.consumers))
        await asyncio.sleep(0.3)  # of the 0.5 s that looking takes
        brokers.committed[A0] = 2
        await brokers.member.rebalance()
        await until(lambda: len(user.taken) == 1)

    run(user, test)
    assert user.values == {A0: "z"}
    assert brokers.member.sought == []


@pytest.mark.parametrize(
    ("committed", "again", "goal", "lost"),
    [(0, 60.0, 2, 2), (1, math.inf, 2, 1), (9, 60.0, 3, 0), (9, 1.0, 4, 0), (9, math.inf, 2, 0)],
)  # offsets 2 and 3 are there, of 90 and 30 s ago
def test_where_the_broker_no_longer_has_the_next_records_reading_goes_on_in_range_and_the_loss_is_said(
    committed: int, again: float, goal: int, lost: int, caplog: pytest.LogCaptureFixture
) -> None:
    brokers = Brokers(a=1)
    for value, age in zip((b"0", b"1", b"2", b"3"), (200, 100, 90, 30), strict=True):
        brokers.write(A0, value, timestamp=int((time.time() - age) * 1000))
    brokers.beginnings[A0] = 2
    brokers.committed[A0] = committed
    user = User(brokers, again=again)

    async def test() -> None:
        await until(lambda: len(user.taken) > 0)
        brokers.write(A0, b"4", timestamp=int(time.time() * 1000))
        await until(lambda: user.values[A0].endswith("4"))

    run(user, test)
    assert user.values == {A0: "01234"[goal:]}
    (said,) = (record.getMessage() for record in caplog.records if record.levelno == logging.ERROR)
    assert user.lost == Counter({"a": lost} if lost else {})
    if lost:
        assert said.startswith(
            f"topic=a partition=0: {lost} records from offset {committed} on were deleted by its ret"
        )
        assert said.endswith(f"it goes on at {goal}")
    else:
        assert said.startswith("topic=a partition=0 ends before offset 9, at which the test was: ")
        assert said.endswith(f"read again from offset {goal} on")


def test_where_nothing_new_comes_the_way_into_range_is_committed_so_that_the_loss_is_said_once() -> None:
    brokers = Brokers(a=1)
    brokers.write(A0, b"0", b"1")
    brokers.beginnings[A0] = 2
    brokers.committed[A0] = 1
    user = User(brokers)
    run(user, lambda: until(lambda: user.taken == [(A0, [], 2)]))
    assert brokers.committed == {A0: 2}


# -- topics that are made again ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("offsets_go_too", [False, True])
@pytest.mark.parametrize("records", [1, 3, 5])
def test_a_topic_that_is_made_again_while_it_is_read_is_read_from_its_beginning(
    records: int, offsets_go_too: bool, caplog: pytest.LogCaptureFixture
) -> None:
    brokers = some(a=1)
    brokers.ids["a"] = "1"
    user = User(brokers)
    user.commits = True

    async def test() -> None:
        await until(lambda: brokers.committed[A0] == 3)
        brokers.ids["a"] = "2"
        brokers.logs[A0].clear()
        if offsets_go_too:
            del brokers.committed[A0], brokers.notes[A0]
        brokers.write(A0, *[b"0", b"1", b"2", b"3", b"4"][:records])
        await until(lambda: user.values[A0].endswith("01234"[:records]))
        await asyncio.sleep(10)

    run(user, test)
    assert brokers.notes == {A0: "topic-id=2"}
    assert brokers.committed == {A0: records}
    assert messages(caplog) == ["topic=a was deleted and made again: the test reads it from its beginning"]


@pytest.mark.parametrize("shares", [["some"], ["none", "some"], ["none", "none", "some"]], ids=len)
def test_a_topic_that_was_away_and_comes_back_as_another_is_read_from_its_beginning(
    shares: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Also where it is there again some rebalances before this member is given a partition of it."""
    brokers = some(a=1)
    brokers.ids["a"] = "1"
    user = User(brokers, first=2)  # as if it were to begin at the end
    user.commits = True

    async def test() -> None:
        await until(lambda: brokers.committed[A0] == 3)
        del brokers.partitions["a"]
        brokers.member.share = []
        await brokers.member.rebalance()
        await asyncio.sleep(10)
        brokers.partitions["a"], brokers.ids["a"] = 1, "2"
        del brokers.committed[A0], brokers.notes[A0]
        brokers.logs[A0].clear()
        for share in shares:
            brokers.member.share = [A0] if share == "some" else []
            await brokers.member.rebalance()
            await asyncio.sleep(5)
        brokers.write(A0, b"0", b"1")
        await until(lambda: user.values[A0].endswith("01"), 5)

    run(user, test)
    assert brokers.notes == {A0: "topic-id=2"}
    assert messages(caplog) == ["topic=a was deleted and made again: the test reads it from its beginning"]


@pytest.mark.parametrize(
    ("note", "now", "values"),
    [("topic-id=1", "2", "xyz"), ("topic-id=1", "1", "z"), ("", "2", "z"), ("topic-id=1", "", "z"), ("mine", "2", "z")],
)
def test_an_offset_of_another_topic_of_that_name_is_none(
    note: str, now: str, values: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Where it is not known which topic it is of, or which there is now, it holds."""
    brokers = some(a=1)
    brokers.ids["a"] = now
    brokers.committed[A0], brokers.notes[A0] = 2, note
    user = User(brokers)
    run(user, lambda: until(lambda: user.values.get(A0) == values))
    assert len(messages(caplog)) == (values == "xyz")
    assert brokers.notes == {A0: f"topic-id={now}"}


# -- sessions ---------------------------------------------------------------------------------------------------------


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records]


def pauses(user: User) -> list[float]:
    return [round(after - before, 1) for before, after in zip(user.sessions, user.sessions[1:], strict=False)]


@pytest.mark.parametrize("error", [KafkaConnectionError("away"), OSError("away"), TimeoutError("away")])
def test_whatever_goes_wrong_the_next_session_begins_at_the_committed_offsets_later_each_time(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    brokers = some(a=1)
    user = User(brokers)

    async def test() -> None:
        await until(lambda: len(user.taken) == 2)
        user.error = error
        await until(lambda: len(user.sessions) == 8, 200)
        user.error, user.commits = None, True
        await until(lambda: len(user.taken) == 4)
        await asyncio.sleep(60)

    caplog.set_level("INFO")
    run(user, test)
    assert user.values == {A0: "xyzxyz"}
    assert pauses(user)[1:7] == [2, 4, 8, 16, 30, 30]
    assert messages(caplog) == [
        "the test reads topics=['a']",
        f"the test (group=group), topics=a: begins again at its committed offsets: {error!r}",
        "the test (group=group) goes on again after 151 s",
    ]


def test_what_differs_in_numbers_alone_is_the_same_trouble(caplog: pytest.LogCaptureFixture) -> None:
    brokers = some(a=1)
    user = User(brokers)

    async def test() -> None:
        for number in range(4):
            user.error = KafkaError(f"offset {number}")
            await until(lambda: len(user.sessions) == number + 1)  # noqa: B023 - it is waited for here
        user.error = KafkaError("another trouble")
        await asyncio.sleep(200)

    run(user, test)
    assert [text.rpartition(": ")[2] for text in messages(caplog)] == [
        "KafkaError('offset 0')",
        "KafkaError('another trouble')",
    ]


def test_how_long_it_has_not_got_on_is_known_and_nothing_to_do_is_no_standstill() -> None:
    brokers = some(a=1)
    user = User(brokers)

    async def test() -> None:
        await until(lambda: len(user.taken) == 2)
        await asyncio.sleep(100)
        assert user.reader.stalled() > 99  # what it has read it has not committed
        await user._flush()
        await asyncio.sleep(100)
        assert user.reader.stalled() < 2
        user.error = KafkaConnectionError("away")
        await asyncio.sleep(100)
        assert user.reader.stalled() > 98
        assert math.isnan(user.reader.unread())
        user.error, user.commits = None, True
        await asyncio.sleep(100)
        user.topics = ()
        for _ in range(50):
            await user.reader.describe(None)  # as who looks for topics does
            await asyncio.sleep(2)
        assert (user.reader.stalled() < 2, user.reader.unread()) == (True, 0)
        await asyncio.sleep(100)
        assert user.reader.stalled() > 80
        assert math.isnan(user.reader.unread())
        user.topics = ("a",)
        await asyncio.sleep(10)
        brokers.silent = True
        await asyncio.sleep(100)
        assert user.reader.stalled() > 98
        assert math.isnan(user.reader.unread())
        assert user.reader.unread(math.inf) == 0  # as fetches saw it last, however long ago

    run(user, test)


def test_the_same_trouble_is_logged_again_once_a_session_has_gone_well(caplog: pytest.LogCaptureFixture) -> None:
    brokers = some(a=1)
    user = User(brokers)

    async def test() -> None:
        user.error = KafkaConnectionError("away")
        await until(lambda: len(user.sessions) == 4)
        user.error, user.commits = None, True
        await asyncio.sleep(100)
        assert len(caplog.records) == 1
        user.error = KafkaConnectionError("away")
        await until(lambda: len(user.sessions) == 8)

    run(user, test)
    assert len(caplog.records) == 2


def test_a_defect_is_said_in_one_line_and_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    brokers = some(a=1)
    user = User(brokers)

    async def test() -> None:
        user.error = ZeroDivisionError()
        await until(lambda: len(user.sessions) == 2)
        user.error = None
        await until(lambda: len(user.taken) == 2)

    run(user, test)
    assert messages(caplog) == [
        "the test (group=group), topics=a: unexpected error, begins again at its committed offsets: ZeroDivisionError()"
    ]


def test_brokers_that_are_away_are_waited_for_and_a_long_session_ends_the_waiting() -> None:
    brokers = some(a=1)
    user = User(brokers)
    brokers.connection_error = KafkaConnectionError("nobody there")

    async def test() -> None:
        await asyncio.sleep(100)
        assert user.sessions == []
        brokers.connection_error = None
        await until(lambda: len(user.taken) == 2)
        await asyncio.sleep(40)
        brokers.member.failure = GroupAuthorizationFailedError("group")
        await until(lambda: len(user.sessions) == 2)

    run(user, test)
    assert user.sessions[1] - user.sessions[0] < 45


def test_what_ends_the_membership_ends_the_session_of_who_reads_and_of_who_only_checks() -> None:
    brokers = some(a=1)
    user = User(brokers)

    async def test() -> None:
        await until(lambda: len(user.taken) == 2)
        brokers.member.failure = GroupAuthorizationFailedError("group")
        with pytest.raises(GroupAuthorizationFailedError):
            user.reader.check()
        await until(lambda: len(user.sessions) == 2)

    run(user, test)
    assert [consumer.stopped for consumer in brokers.consumers] == [True, True]


def test_between_two_sessions_nothing_is_asked_of_a_group() -> None:
    brokers = some(a=1)
    user = User(brokers)
    user.error = KafkaError()

    async def test() -> None:
        await until(lambda: brokers.consumers[-1:] != [] and brokers.member.stopped)
        assert math.isnan(user.reader.unread())
        for asked in (user.reader.commit({A0: 1}), user.reader.end_of(A0), user.reader.read(1, 1.0)):
            with pytest.raises(KafkaError, match="the test is not in its group"):
                await asked

    run(user, test)


def test_stopping_commits_what_was_read_and_leaves_the_group() -> None:
    brokers = some(a=1)
    user = User(brokers)
    run(user, lambda: until(lambda: len(user.taken) == 2))
    assert brokers.committed == {A0: 3}
    assert brokers.member.stopped


def test_stopping_waits_no_longer_than_a_session_lasts_for_a_flush_that_does_not_end() -> None:
    brokers = some(a=1)
    user = User(brokers)
    ended = []

    async def test() -> None:
        await until(lambda: len(user.taken) == 2)
        user.flush_seconds = 1000
        began = asyncio.get_running_loop().time()
        await user.reader.stop()
        ended.append(asyncio.get_running_loop().time() - began)

    run(user, test)
    assert ended == [pytest.approx(SETTINGS.session_timeout)]
    assert brokers.committed == {A0: 0}
    assert brokers.member.stopped


def test_stopping_ends_it_also_in_the_moment_in_which_partitions_are_given() -> None:
    brokers = some(a=1)
    user = User(brokers)

    async def test() -> None:
        await until(lambda: len(user.taken) == 2)
        await brokers.member.take_away()
        await asyncio.sleep(3.3)
        brokers.member.give()
        async with asyncio.timeout(PATIENCE):
            await user.reader.stop()

    run(user, test)
    assert brokers.member.stopped


@pytest.mark.parametrize(("seconds", "error"), [(1000, None), (0, KafkaConnectionError()), (0, OSError())])
def test_where_the_brokers_do_not_let_it_go_in_time_it_is_cut_off_and_begins_again(
    seconds: float, error: Exception | None
) -> None:
    brokers = some(a=1)
    user = User(brokers)

    async def test() -> None:
        await until(lambda: len(user.taken) == 2)
        brokers.leave_seconds, brokers.leave_error = seconds, error
        user.error = KafkaError()
        await until(lambda: brokers.member.cut)
        brokers.leave_seconds, brokers.leave_error, user.error = 0, None, None
        await until(lambda: len(user.taken) == 4)

    run(user, test)
    assert [(consumer.stopped, consumer.cut) for consumer in brokers.consumers] == [(False, True), (True, False)]


def test_stopping_while_the_brokers_do_not_let_it_go_cuts_it_off_at_once() -> None:
    brokers = some(a=1)
    user = User(brokers)

    async def test() -> None:
        await until(lambda: len(user.taken) == 2)
        brokers.leave_seconds = 1000
        user.error = KafkaError()
        await asyncio.sleep(3)
        began = asyncio.get_running_loop().time()
        await user.reader.stop()
        assert asyncio.get_running_loop().time() - began < 1

    run(user, test)
    assert brokers.member.cut


def test_one_that_never_began_stops() -> None:
    brokers = some(a=1)
    in_no_time(User(brokers).reader.stop())
    assert brokers.consumers == []


def test_its_consumer_begins_nowhere_by_itself_and_is_alive_by_its_heartbeats_alone() -> None:
    brokers = some(a=1)
    user = User(brokers)
    run(user, lambda: until(lambda: bool(brokers.consumers)))
    options = brokers.member.options
    assert options["group_id"] == "group"
    assert options["auto_offset_reset"] == "none"
    assert options["max_poll_interval_ms"] > 10**9
    assert (options["session_timeout_ms"], options["heartbeat_interval_ms"]) == (10_000, 1_000)
    assert options["rebalance_timeout_ms"] > options["session_timeout_ms"]
    assert options["check_crcs"] is False


# -- the law ----------------------------------------------------------------------------------------------------------

TROUBLE: Final = st.sampled_from(["write", "rebalance", "lose all", "failure", "slow flush", "error", "commit"])


@given(st.lists(st.tuples(TROUBLE, st.sampled_from([0, 0.015, 0.5, 3, 40])), max_size=12))
def test_through_any_trouble_all_is_handed_out_and_nothing_is_committed_that_was_not(
    story: Sequence[tuple[str, float]],
) -> None:
    brokers = some(a=2)
    user = User(brokers)

    def handed(tp: TopicPartition) -> int:
        return max([taken.next_offset for taken in user.taken if taken.tp == tp], default=0)

    async def test() -> None:
        await until(lambda: bool(brokers.consumers))
        for trouble, seconds in story:
            member = brokers.member
            user.error, user.flush_seconds = None, 0.0
            if trouble == "write":
                brokers.write(A0, b"0", None)
                brokers.write(A1, b"1")
            elif trouble == "error":
                user.error = KafkaError("trouble")
            elif trouble == "commit":
                await asyncio.gather(user.reader.commit(dict(user.waiting)), return_exceptions=True)
            elif trouble == "failure":
                member.failure = KafkaError("trouble")
            elif member.topics and not member.stopped:
                member.share = [] if trouble == "lose all" else None
                user.flush_seconds = 20.0 if trouble == "slow flush" else 0.0
                await member.rebalance()
            await asyncio.sleep(seconds)
            assert all(brokers.committed[tp] <= handed(tp) for tp in (A0, A1))
        user.error, user.flush_seconds = None, 0.0
        await asyncio.sleep(70)
        brokers.member.share = None
        await brokers.member.rebalance()
        await asyncio.sleep(5)

    run(user, test)
    for tp in (A0, A1):
        seen = {record.offset for taken in user.taken if taken.tp == tp for record in taken.records}
        assert seen == {offset for offset, record in enumerate(brokers.logs[tp]) if record is not None}
        assert brokers.committed[tp] == len(brokers.logs[tp])
