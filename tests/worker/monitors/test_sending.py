"""How results are sent: one that is larger than can be sent is left out, and said; the others go all the same."""

import asyncio
from typing import Any

import pytest
from aiokafka.errors import KafkaTimeoutError, MessageSizeTooLargeError

from app.core.dialects.plain import Event
from app.worker.monitors.runner import send

EVENTS = [Event(key, b"x" * size, ()) for key, size in ((b"a", 10), (b"large", 2000), (b"b", 10))]


class Producer:
    """Takes records of at most a thousand bytes, and acknowledges them, or fails with an error."""

    def __init__(self, error: Exception | None = None) -> None:
        self.sent: list[bytes] = []
        self._error = error

    async def send(self, _: str, value: bytes, key: bytes, __: int, headers: list[Any]) -> "asyncio.Future[None]":
        assert headers == []
        if len(value) > 1000:
            raise MessageSizeTooLargeError
        self.sent.append(key)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        if self._error is None:
            done.set_result(None)
        else:
            done.set_exception(self._error)
        return done


def test_a_result_that_is_too_large_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    producer: Any = Producer()
    asyncio.run(send(producer, "responses", 4, EVENTS))
    assert producer.sent == [b"a", b"b"]
    (said,) = caplog.messages
    assert said == "puid=large: the result of a monitor has 2000 bytes, more than can be sent: it is left out"


def test_what_the_brokers_do_not_take_ends_the_session() -> None:
    producer: Any = Producer(KafkaTimeoutError())
    with pytest.raises(KafkaTimeoutError):
        asyncio.run(send(producer, "responses", 4, EVENTS))
