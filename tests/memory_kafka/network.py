"""Messages between clients and the broker, and the weather that delays, loses and breaks them."""

import asyncio
import contextvars
import time
from collections.abc import Callable
from typing import Any, Final, NamedTuple

from aiokafka.errors import KafkaConnectionError, KafkaError, RequestTimedOutError

#: The broker's own: nothing in it belongs to a client.
BROKER: Final = contextvars.Context()


class Fate(NamedTuple):
    """What becomes of one request: how long it is on its way there and back, in seconds, and what goes wrong.

    A request that is lost does not arrive; of one that is `answered` no more the answer is lost. Both times the client
    waits in vain, and cannot know which. `error` is what the broker answers instead of doing it.
    """

    there: float = 0.0
    back: float = 0.0
    lost: bool = False
    unanswered: bool = False
    error: type[KafkaError] | None = None


FINE: Final = Fate()


class Weather:
    """What becomes of requests: nothing, here. Tests override."""

    #: Whether the broker can be reached.
    away: bool = False

    def now(self) -> float:
        """The broker's clock, in seconds since 1970."""
        return time.time()

    def fate(self, request: str, client: "Client") -> Fate:
        """What becomes of a request that a client sends now."""
        return FINE

    def inside(self, what: str) -> float:
        """How many seconds the broker takes for something that it does by itself, after it has answered."""
        return 0.0

    def done(self, request: str, client: "Client", outcome: Any) -> None:
        """A request has had its effect; the answer is not on its way yet."""

    def fetched(self) -> int:
        """The most batches that a fetch gives of one partition."""
        return 1_000_000

    def batched(self) -> int:
        """The most records in a batch."""
        return 1_000_000


class Client:
    """One end of a connection. What is done for it is done in the context in which it was made."""

    def __init__(self, name: str, number: int, request_timeout: float) -> None:
        self.name = name
        self.number = number
        self.request_timeout = request_timeout
        self.context = contextvars.copy_context()
        self.closed = False
        self.arrival = 0.0  # of the last request: those of one connection arrive in their order

    def __repr__(self) -> str:
        return f"{self.name}#{self.number}"


class Network:
    """Carries requests to the broker, and its answers back."""

    def __init__(self, weather: Weather) -> None:
        self.weather = weather

    def later(self, what: str, act: Callable[[], None]) -> None:
        """Let the broker do something by itself."""
        asyncio.get_running_loop().call_later(self.weather.inside(what), act, context=BROKER)

    async def call(self, client: Client, request: str, handle: Callable[..., Any], *args: Any) -> Any:
        """Ask the broker and wait for its answer. Raises what it answers, or what the client's connection says.

        As AIOKafkaClient.send: KafkaConnectionError where there is no connection or it breaks, RequestTimedOutError
        where no answer comes in time, and then the connection is made anew.
        """
        reply: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self.post(client, request, reply, handle, *args)
        return await reply

    def post(
        self, client: Client, request: str, reply: asyncio.Future[Any], handle: Callable[..., Any], *args: Any
    ) -> None:
        """The same, for who waits for the reply otherwise."""
        loop = asyncio.get_running_loop()
        fate = self.weather.fate(request, client)
        if self.weather.away or client.closed:
            loop.call_later(fate.there, _settle, reply, KafkaConnectionError(f"{request}: no connection"))
            return
        if fate.lost or fate.unanswered or fate.there + fate.back > client.request_timeout:
            loop.call_later(client.request_timeout, _settle, reply, RequestTimedOutError())
            client.arrival = 0.0
        if not fate.lost:
            at = max(loop.time() + fate.there, client.arrival)
            if fate.there < client.request_timeout:
                client.arrival = at
            loop.call_at(at, self._arrive, client, request, fate, reply, handle, args, context=BROKER)

    def _arrive(
        self,
        client: Client,
        request: str,
        fate: Fate,
        reply: asyncio.Future[Any],
        handle: Callable[..., Any],
        args: tuple[Any, ...],
    ) -> None:
        if self.weather.away:
            outcome: Any = KafkaConnectionError(f"{request}: the connection broke")
        elif fate.error is not None:
            outcome = fate.error()
        else:
            try:
                outcome = handle(*args)
            except KafkaError as error:
                outcome = error
        self.weather.done(request, client, outcome)
        if fate.unanswered or fate.there + fate.back > client.request_timeout:
            return
        if isinstance(outcome, asyncio.Future):  # the broker answers later
            outcome.add_done_callback(lambda done: self._answer(client, fate, reply, done), context=BROKER)
        else:
            asyncio.get_running_loop().call_later(fate.back, _settle, reply, outcome, context=BROKER)

    def _answer(self, client: Client, fate: Fate, reply: asyncio.Future[Any], done: asyncio.Future[Any]) -> None:
        outcome = done.exception() or done.result()
        if self.weather.away:
            outcome = KafkaConnectionError("the connection broke")
        asyncio.get_running_loop().call_later(fate.back, _settle, reply, outcome, context=BROKER)


def _settle(reply: asyncio.Future[Any], outcome: Any) -> None:
    if reply.done():
        return
    if isinstance(outcome, BaseException):
        reply.set_exception(outcome)
    else:
        reply.set_result(outcome)
