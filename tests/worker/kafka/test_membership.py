"""A member of the group: what it says of itself before it has joined, when it is refused, and when it has ended."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupAuthorizationFailedError, KafkaError

from app.core.rules import Rulebook
from app.settings import load_settings
from app.worker.build import build
from app.worker.kafka.membership import Member


class Coordinator:
    """What aiokafka's coordinator does with a refusal: it waits until somebody has taken it."""

    def __init__(self) -> None:
        self._coordination_task = asyncio.get_running_loop().create_future()
        self._pending_exception: Exception | None = None
        self.rejoins = 0

    def check_errors(self) -> None:
        error, self._pending_exception = self._pending_exception, None
        if error is not None:
            raise error

    def request_rejoin(self) -> None:
        self.rejoins += 1


def a_member() -> Any:
    member = Member.__new__(Member)
    member._coordinator = None
    member._closed = True
    return member


def test_before_it_has_started_nothing_is_wrong() -> None:
    member = a_member()
    assert (member.refusal(), member.failure()) == (None, None)


def test_one_that_is_refused_says_why_and_tries_again_when_it_is_told_to() -> None:
    async def test() -> None:
        member = a_member()
        member._coordinator = Coordinator()
        assert (member.refusal(), member.failure()) == (None, None)
        error = GroupAuthorizationFailedError("g")
        member._coordinator._pending_exception = error
        assert member.refusal() is error
        member.retry()
        assert (member.refusal(), member._coordinator.rejoins) == (None, 1)

    asyncio.run(test())


def test_one_that_has_ended_for_good_says_by_what() -> None:
    async def test() -> None:
        member = a_member()
        member._coordinator = Coordinator()
        error = KafkaError("Unexpected error during coordination")
        member._coordinator._coordination_task.set_exception(error)
        assert member.failure() is error
        member._coordinator = SimpleNamespace(_coordination_task=asyncio.get_running_loop().create_future())
        member._coordinator._coordination_task.cancel()
        assert member.failure() is None

    asyncio.run(test())


@pytest.mark.parametrize("address", ["http://worker:6066", "http://where-it-was:6066"])
def test_who_comes_back_takes_the_assignment_of_before_also_under_another_address(address: str) -> None:
    before, now = (
        build(load_settings(advertised_url=url), Rulebook()).assignor for url in (address, "http://worker:6066")
    )
    cluster = SimpleNamespace(partitions_for_topic=lambda _: {0, 1})
    topics = set(load_settings().topics)
    given = before.assign(cluster, {"member": before.metadata(topics)})["member"]
    now.on_assignment(given)
    assert now.assigned_actives() == {(topic, number) for topic in topics for number in (0, 1)}
