"""Dead letters go back to where they came from, each once.

A transaction holds some events and, among the dead letters, the record that says that they were sent back. The
producer's transactional id is the same for all who resend or drop: its start ends whoever did so before, and aborts
what that left open. Only then is it read which letters wait. So a letter goes back once, however often, and by how many
at once, it is asked for, or whoever sends it is killed.
"""

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError, ProducerFenced

from app.core.letters import MOST_DONE, RESENT_BACK, Letter, done_record
from app.settings import Settings
from app.worker.kafka.client import SetupError, unreachable
from app.worker.kafka.metadata import TopicFacts
from app.worker.kafka.topics import admin_client, describe_cluster, letters_transactional_id
from app.worker.kafka.writing import open_producer
from app.worker.letters.box import LetterBox, LetterError, Survey
from app.worker.letters.joined import LogLetters
from app.worker.letters.originals import Originals
from app.worker.letters.returning import Out, Returning, UselessError

#: Letters of one transaction, and the bytes of their values.
_MOST: Final = 500
_MOST_BYTES: Final = 4 << 20
_LARGEST_RECORD_BYTES: Final = 16 << 20


async def topics_written(settings: Settings) -> dict[str, TopicFacts]:
    """What the brokers say of the topics that letters go back to. Raises `SetupError` where one does not exist."""
    names = [*settings.topics, *([settings.log_topic] if settings.log_topic else [])]
    async with admin_client(settings) as admin:
        found = (await describe_cluster(admin, names)).topics
    for name in settings.topics:
        if name not in found:
            raise SetupError(f"Topic {name} does not exist: run `tally topics --create`.")
    return found


class Writing:
    """Transactions of the one who may resend and drop."""

    def __init__(self, settings: Settings, producer: AIOKafkaProducer) -> None:
        self._settings = settings
        self._producer = producer

    async def commit(self, records: Sequence[Out], done: str, offsets: dict[int, list[int]]) -> None:
        """Write records and, by partition, that letters are done: all of it or nothing.

        Raises `LetterError` where somebody else has begun to resend or drop since.
        """
        producer, topic = self._producer, self._settings.dead_letters_topic
        try:
            async with asyncio.timeout(self._settings.session_timeout):
                await producer.begin_transaction()
                futures = [
                    await producer.send(
                        out.topic,
                        key=out.key,
                        value=out.value,
                        headers=out.headers,
                        timestamp_ms=out.timestamp,
                        partition=out.partition,
                    )
                    for out in records
                ]
                for number, some in offsets.items():
                    for first in range(0, len(some), MOST_DONE):
                        key, value, *headers = done_record(done, some[first : first + MOST_DONE])
                        futures.append(
                            await producer.send(topic, key=key, value=value, headers=headers[0], partition=number)
                        )
                # aiokafka commits a transaction that has lost a batch as if nothing had happened.
                await asyncio.gather(*futures)
                await producer.commit_transaction()
        except (ProducerFenced, IllegalOperation, AssertionError):
            raise LetterError(
                "Another `tally dead-letters`, or a page, has begun to resend or drop since: this one ends, that one "
                "goes on."
            ) from None
        except (KafkaError, OSError, TimeoutError) as error:
            raise unreachable(self._settings, error) from None


@contextlib.asynccontextmanager
async def open_writing(settings: Settings) -> AsyncIterator[Writing]:
    """Become the one who may resend and drop, and end whoever was before."""
    async with open_producer(
        settings,
        transactional_id=letters_transactional_id(settings),
        transaction_timeout_ms=int(settings.session_timeout * 1000),
        max_request_size=_LARGEST_RECORD_BYTES,
    ) as producer:
        yield Writing(settings, producer)


class Resending:
    """One run. Without `writing` it only looks."""

    def __init__(
        self,
        settings: Settings,
        returning: Returning,
        writing: Writing | None,
        survey: Survey,
        originals: Originals,
    ) -> None:
        self._settings = settings
        self._returning = returning
        self._writing = writing
        self._survey = survey
        self._originals = originals
        self._records: list[Out] = []
        self._letters: defaultdict[int, list[int]] = defaultdict(list)
        self._logged: list[tuple[Letter, Out]] = []
        self._bytes = 0
        self._logged_bytes = 0
        self.sent = 0
        #: Ids of letters that it is of no use to send back, by why.
        self.useless: dict[str, list[str]] = {}

    async def go(self, box: LetterBox, advance: Callable[[], object] = lambda: None) -> None:
        """Send all that wait. `advance` is called after each.

        Raises `LetterError` and `SetupError`: `sent` says how many went back before that.
        """
        async with contextlib.aclosing(box.waiting(self._survey)) as letters:
            async for letter in letters:
                await self._add(letter)
                advance()
        await self._commit()
        await self._commit_logged()

    async def _add(self, letter: Letter) -> None:
        if letter.original_length is not None:
            letter = await self._originals.whole(letter)
        try:
            records = self._returning.records(letter)
        except UselessError as useless:
            self.useless.setdefault(str(useless), []).append(letter.id)
            return
        if records and records[0].topic == self._settings.log_topic:
            self._logged.append((letter, records[0]))
            self._logged_bytes += len(letter.value or b"")
            if len(self._logged) >= _MOST or self._logged_bytes >= _MOST_BYTES:
                await self._commit_logged()
            return
        self._records += records
        self._letters[letter.partition].append(letter.offset)
        self._bytes += sum(len(out.value or b"") for out in records)
        if len(self._records) >= _MOST or self._bytes >= _MOST_BYTES:
            await self._commit()

    async def _commit(self) -> None:
        records, letters = self._records, dict(self._letters)
        self._records, self._letters, self._bytes = [], defaultdict(list), 0
        if letters and self._writing is not None:
            await self._writing.commit(records, RESENT_BACK, letters)
        self.sent += sum(map(len, letters.values()))

    async def _commit_logged(self) -> None:
        """The same for letters of joined records."""
        logged, self._logged, self._logged_bytes = self._logged, [], 0
        if logged and self._writing is not None:
            letters: defaultdict[int, list[int]] = defaultdict(list)
            for letter, _ in logged:
                letters[letter.partition].append(letter.offset)
            await LogLetters(self._settings).send(self._writing, logged, dict(letters))
        self.sent += len(logged)
