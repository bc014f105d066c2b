"""A member that has an instance id brings it with each heartbeat, and sees when it is another's."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.protocol.commit import OffsetFetchRequest
from aiokafka.protocol.group import HeartbeatRequest

from app.worker.kafka.instance import FENCED_INSTANCE_ID, Instance

#: Versions of requests that a broker takes, by their key.
VERSIONS = {12: (0, 4)}


def sent(answer: Any, request: Any) -> tuple[Any, Instance]:
    """What is sent in the place of a request that is answered so."""
    seen: list[Any] = []

    async def send(request: Any) -> Any:
        seen.append(request)
        return answer

    coordinator = SimpleNamespace(_send_req=send)
    instance = Instance(coordinator, "tally-0")
    assert asyncio.run(coordinator._send_req(request)) is answer
    return seen[0], instance


def test_a_heartbeat_brings_the_id_in_kafkas_third_version() -> None:
    heartbeat, _ = sent(SimpleNamespace(error_code=0), HeartbeatRequest("g", 5, "m"))
    written = heartbeat.prepare(VERSIONS)
    assert (written.API_KEY, written.API_VERSION) == (12, 3)
    assert written.encode() == b"\0\1g\0\0\0\5\0\1m\0\7tally-0"
    answer = written.RESPONSE_TYPE.decode(b"\0\0\0\0\0\x52")
    assert (answer.throttle_time_ms, answer.error_code) == (0, FENCED_INSTANCE_ID)


def test_other_requests_are_sent_as_they_are() -> None:
    request = OffsetFetchRequest("g", [])
    assert sent(SimpleNamespace(topics=[]), request)[0] is request


@pytest.mark.parametrize(("error", "fenced"), [(0, False), (25, False), (27, False), (FENCED_INSTANCE_ID, True)])
def test_it_sees_that_the_id_is_anothers_by_the_answer(error: int, fenced: bool) -> None:
    assert sent(SimpleNamespace(error_code=error), HeartbeatRequest("g", 5, "m"))[1].fenced == fenced
