"""`tally send`: events from a file to Kafka, in the file's order.

A line is what `kcat -C -J` prints of a record: `{"topic", "key", "payload", "headers": [name, value, …], "ts"}`. kcat
puts the bytes of key, payload and headers into its JSON as they are, UTF-8 or not, so such lines are read too.
"""

import asyncio
import json
import re
import sys
import time
from collections import deque
from typing import Any, NamedTuple

import orjson
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    InvalidTimestampError,
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    RequestTimedOutError,
    TopicAuthorizationFailedError,
)
from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from app.cli.client import require_topic, run
from app.cli.ends import InputError
from app.cli.lines import ReadError, Source
from app.cli.screen import counted
from app.core.dialects.dating import younger
from app.core.dialects.understand import Arrival
from app.settings import Settings, load_settings
from app.worker.kafka.client import ACLS_HINT, SetupError, unreachable
from app.worker.kafka.metadata import RETENTION
from app.worker.kafka.writing import open_producer

_LARGEST_RECORD_BYTES = 16 << 20  # what the brokers take is for them to say
_BATCH_BYTES = 1 << 17
#: At most so many events wait for their acknowledgement.
_MOST_WAITING = 20_000
#: How long an event may wait for its acknowledgement: an idempotent producer of aiokafka tries for ever.
_PATIENCE_SECONDS = 30

_TOPIC_NAME = re.compile(r"[A-Za-z0-9._-]{1,249}")
_LATEST_MS = 1 << 62


class Event(NamedTuple):
    """One line of the file, as Kafka takes it."""

    topic: str
    key: bytes | None
    value: bytes | None
    headers: list[tuple[str, bytes | None]]
    timestamp_ms: int | None  # None: when it is sent


class LineError(Exception):
    """A line is no event; the message goes on from "Line 7 of the file …"."""


def send(file: str, *, topic: str | None, present: bool) -> None:
    """Send the file's events and say how many. `topic` is for lines without one; `present` ignores their times."""
    settings = load_settings()
    run(_send(file, settings, topic=topic, present=present))


def read_line(line: bytes, topic: str | None) -> Event:
    """The event of one line. `topic` is for a line without one. Raises `LineError`."""
    content = _parse(line)
    if type(content) is not dict:
        raise LineError("is no JSON object")
    topic = content.get("topic", topic)
    if topic is None:
        raise LineError('has no "topic": give one with --topic')
    if type(topic) is not str or not _TOPIC_NAME.fullmatch(topic):
        raise LineError('has a "topic" that is no name of a topic')
    if "payload" not in content:
        raise LineError('has no "payload" (a text, or null)')
    key, value = _bytes(content, "key"), _bytes(content, "payload")
    if key is None and value is None:
        raise LineError('has neither a "key" nor a "payload"')
    moment = content.get("ts")
    if moment is not None and (type(moment) is not int or not 0 <= moment < _LATEST_MS):
        raise LineError('has a "ts" that is no number of milliseconds since 1970')
    return Event(topic, key, value, _headers(content.get("headers")), moment)


def _parse(line: bytes) -> Any:
    try:
        return orjson.loads(line)
    except orjson.JSONDecodeError as error:
        reason = f"{error.msg}, column {error.colno}"
    try:
        line.decode()
    except UnicodeDecodeError:
        try:
            return json.loads(line.decode(errors="surrogateescape"))
        except (ValueError, RecursionError):
            reason = "and no UTF-8"
    raise LineError(f"is no JSON ({reason})")


def _bytes(content: dict[str, Any], name: str) -> bytes | None:
    text = content.get(name)
    if text is None:
        return None
    if type(text) is not str:
        raise LineError(f'has a "{name}" that is neither a text nor null')
    return _encode(text)


def _encode(text: str) -> bytes:
    try:
        return text.encode(errors="surrogateescape")
    except UnicodeEncodeError:
        raise LineError("holds half of a surrogate pair") from None


def _headers(content: Any) -> list[tuple[str, bytes | None]]:
    if content is None:
        return []
    if type(content) is not list or len(content) % 2:
        raise LineError('has "headers" that are no list of names and values in turn')
    headers: list[tuple[str, bytes | None]] = []
    for name, value in zip(content[::2], content[1::2], strict=True):
        if type(name) is not str or not (value is None or type(value) is str):
            raise LineError('has "headers" that are no list of names and values in turn (texts; a value may be null)')
        headers.append((name, None if value is None else _encode(value)))
    return headers


class _Sending:
    """Events on their way, in order; `sent` counts those that are acknowledged, `aged` those in younger records."""

    def __init__(self, producer: AIOKafkaProducer, settings: Settings, name: str) -> None:
        self.sent = 0
        self.aged = 0
        #: The topics that were met, and the age in ms that a record of each may have at most.
        self.topics: dict[str, int] = {}
        self._producer = producer
        self._settings = settings
        self._name = name
        self._waiting: deque[tuple[int, asyncio.Future[object]]] = deque()

    async def add(self, number: int, event: Event, *, present: bool) -> None:
        """Hand over the event of line `number`."""
        if event.topic not in self.topics:
            await self._meet(number, event.topic)
        if event.timestamp_ms is not None and not present:
            event = self._kept(event, event.timestamp_ms)
        try:
            future = await self._producer.send(
                event.topic,
                key=event.key,
                value=event.value,
                headers=event.headers,
                timestamp_ms=None if present else event.timestamp_ms,
            )
        except UnicodeEncodeError:
            raise LineError("has a header whose name is no UTF-8") from None
        except (KafkaError, OSError) as error:
            raise await self._refused(number, error) from None
        self._waiting.append((number, future))
        if len(self._waiting) > _MOST_WAITING:
            await self.settle(_MOST_WAITING // 2)

    async def _meet(self, number: int, topic: str) -> None:
        try:
            facts = await require_topic(self._settings, topic)
        except SetupError as error:
            raise await self.stopped(f"Line {number} of {self._name} cannot be sent: {error}") from None
        retention = int(facts.config.get(RETENTION, -1))
        most = int(self._settings.exchange_retention * 1000)
        self.topics[topic] = (min(retention, most) if retention >= 0 else most) // 2

    def _kept(self, event: Event, moment: int) -> Event:
        """The event in a record that is young enough for the brokers to keep it until it is read."""
        earliest = int(time.time() * 1000) - self.topics[event.topic]
        settings = self._settings
        canonical = event.topic in settings.topics
        if moment >= earliest or (event.topic in settings.own_topics and not canonical):
            return event
        arrival = Arrival(event.topic, event.headers, event.key, event.value, moment)
        headers = younger(arrival, earliest, canonical=canonical)
        if headers is None:
            return event
        self.aged += 1
        return event._replace(headers=list(headers), timestamp_ms=earliest)

    async def settle(self, left: int = 0) -> None:
        """Wait until at most so many events are unacknowledged."""
        while len(self._waiting) > left:
            number, future = self._waiting[0]
            if not future.done():
                await asyncio.wait([future], timeout=_PATIENCE_SECONDS)
            if not future.done():
                raise await self._refused(number, TimeoutError())
            error = future.exception()
            if error is not None:
                raise await self._refused(number, error)
            self._waiting.popleft()
            self.sent += 1

    async def notice(self) -> None:
        """Settle what has been acknowledged, or refused, by now."""
        while self._waiting and self._waiting[0][1].done():
            await self.settle(len(self._waiting) - 1)

    async def stopped(self, reason: str) -> InputError:
        """What ends the command here, once all that was handed over before has arrived."""
        await self.settle()
        return InputError(
            f"{reason.rstrip('.')}; {self._count()}{' before it, nothing after it' if self.sent else ''}."
        )

    async def _refused(self, number: int, error: BaseException) -> InputError | SetupError:
        """What ends the command where Kafka does not take a record; another one of its batch may be the reason."""
        futures = [future for _, future in self._waiting]
        self._waiting.clear()
        if futures and not isinstance(error, TimeoutError):
            await asyncio.wait(futures, timeout=5)
        self.sent += sum(future.done() and future.exception() is None for future in futures)
        if isinstance(error, (KafkaConnectionError, KafkaTimeoutError, RequestTimedOutError, OSError)):
            return SetupError(f"{unreachable(self._settings, TimeoutError())} Until then {self._count()}.")
        hint = ""
        if isinstance(error, InvalidTimestampError):
            hint = " (--now sends with the present time)"
        elif isinstance(error, TopicAuthorizationFailedError):
            hint = f" ({ACLS_HINT})"
        return InputError(
            f"Kafka refused line {number} of {self._name}, or one that was sent together with it: "
            f"{type(error).__name__}{hint}; {self._count()}."
        )

    def _count(self) -> str:
        if not self.sent:
            return "nothing was sent"
        return f"{counted(self.sent, 'event')} {'was' if self.sent == 1 else 'were'} sent"


async def _send(file: str, settings: Settings, *, topic: str | None, present: bool) -> None:
    name = "standard input" if file == "-" else file
    number = 0
    with Source(file, name) as source, _progress() as progress:
        task = progress.add_task(f"sending {escape(name)}", total=source.size)
        async with open_producer(
            settings, max_request_size=_LARGEST_RECORD_BYTES, max_batch_size=_BATCH_BYTES, linger_ms=5
        ) as producer:
            sending = _Sending(producer, settings, name)
            try:
                async for lines in source.lines():
                    for line in lines:
                        number += 1
                        if line and not line.isspace():
                            await sending.add(number, read_line(line, topic), present=present)
                    progress.update(task, completed=source.position)
                    await asyncio.sleep(0)  # the producer's turn
                    await sending.notice()
            except LineError as error:
                raise await sending.stopped(f"Line {number} of {name} {error}") from None
            except ReadError as error:
                where = f" after line {number}" if number else ""
                raise await sending.stopped(f"{name} {error}{where}") from None
            await sending.settle()
    print(f"sent {counted(sending.sent, 'event')} to {counted(len(sending.topics), 'topic')}")
    if sending.aged:
        print(
            f"{counted(sending.aged, 'event')} had a time at which the brokers might delete the record before it is "
            "read: the record has a younger one, the event its own"
        )


def _progress() -> Progress:
    """A bar on a terminal, else nothing."""
    return Progress(console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())
