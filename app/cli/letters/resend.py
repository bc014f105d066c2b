"""`tally dead-letters resend`: refused events go back to where they came from, each once.

A transaction holds some events and, among the dead letters, the record that says that they were sent back. The
producer's transactional id is the same for all who resend or drop: its start ends whoever did so before, and aborts
what that left open. Only then is it read which letters wait. So a letter goes back once, however often, and by how many
at once, the command is run or killed.
"""

import asyncio
import contextlib
import sys
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from typing import Final

import click
from aiokafka import AIOKafkaProducer
from aiokafka.errors import IllegalOperation, KafkaError, ProducerFenced

from app.cli.client import open_producer, run
from app.cli.ends import InputError
from app.cli.letters.box import LetterBox, Selection, Survey, parse_selection, topic_facts
from app.cli.letters.joined import LogLetters
from app.cli.letters.originals import Originals
from app.cli.letters.returning import Out, Returning, UselessError
from app.cli.reading import open_reader
from app.cli.screen import counted, progress_bar
from app.core.letters import MOST_DONE, RESENT_BACK, Letter, done_record
from app.models_file import load_rulebook
from app.settings import Settings, load_settings
from app.worker.kafka.client import SetupError, unreachable
from app.worker.kafka.metadata import TopicFacts
from app.worker.kafka.topics import admin_client, describe_cluster, letters_transactional_id

#: Letters of one transaction, and the bytes of their values.
_MOST: Final = 500
_MOST_BYTES: Final = 4 << 20
_LARGEST_RECORD_BYTES: Final = 16 << 20


def resend(ids: Sequence[str], reason: str | None, since: str | None, *, again: bool, dry_run: bool, yes: bool) -> None:
    """Send the letters that are meant back, and say how many."""
    settings = load_settings()
    selection = parse_selection(ids, reason, since)
    run(_resend(settings, selection, again=again or bool(ids), dry_run=dry_run, yes=yes))


async def _resend(settings: Settings, selection: Selection, *, again: bool, dry_run: bool, yes: bool) -> None:
    facts = await topic_facts(settings)
    async with open_reader(settings) as reader, contextlib.AsyncExitStack() as stack:
        box = LetterBox(settings, facts, reader)
        if not dry_run and not yes and sys.stdin.isatty():
            waiting = _wanted(await box.survey(selection), again=again)
            if waiting and not click.confirm(f"Send {counted(waiting, 'dead letter')} back?"):
                print("nothing was sent")
                return
        returning = Returning(
            settings, await _topics(settings), load_rulebook(settings.config), int(time.time() * 1000)
        )
        writing = None if dry_run else await stack.enter_async_context(open_writing(settings))
        survey = await box.survey(selection)
        work = _Resending(settings, returning, writing, survey, Originals(settings, stack))
        await work.go(box, again=again)
    work.report(dry_run=dry_run)


def _wanted(survey: Survey, *, again: bool) -> int:
    """How many letters are sent, and leave in the survey only those."""
    if not again:
        for number, offsets in survey.again.items():
            survey.waiting[number] -= offsets
    return len(survey)


async def _topics(settings: Settings) -> dict[str, TopicFacts]:
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

        Raises `InputError` where somebody else has begun to resend or drop since.
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
            raise InputError(
                "Another `tally dead-letters` has begun to resend or drop since: this one ends, that one goes on."
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


class _Resending:
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
        self._sent = 0
        self._useless: Counter[str] = Counter()
        self._example: dict[str, str] = {}
        self._left = 0  # that were refused again

    async def go(self, box: LetterBox, *, again: bool) -> None:
        """Send all that wait."""
        before = len(self._survey)
        total = _wanted(self._survey, again=again)
        self._left = before - total
        with progress_bar() as progress:
            task = progress.add_task("sending back", total=total)
            try:
                async with contextlib.aclosing(box.waiting(self._survey)) as letters:
                    async for letter in letters:
                        await self._add(letter)
                        progress.advance(task)
                await self._commit()
                await self._commit_logged()
            except (InputError, SetupError) as error:
                raise type(error)(
                    f"{error} Until then {_were(self._sent)} sent back; run it again for the rest."
                ) from None

    async def _add(self, letter: Letter) -> None:
        if letter.original_length is not None:
            letter = await self._originals.whole(letter)
        try:
            records = self._returning.records(letter)
        except UselessError as useless:
            self._useless[str(useless)] += 1
            self._example.setdefault(str(useless), letter.id)
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
        self._sent += sum(map(len, letters.values()))

    async def _commit_logged(self) -> None:
        """The same for letters of joined records."""
        logged, self._logged, self._logged_bytes = self._logged, [], 0
        if logged and self._writing is not None:
            letters: defaultdict[int, list[int]] = defaultdict(list)
            for letter, _ in logged:
                letters[letter.partition].append(letter.offset)
            await LogLetters(self._settings).send(self._writing, logged, dict(letters))
        self._sent += len(logged)

    def report(self, *, dry_run: bool) -> None:
        """Say what was sent, and what was not."""
        print(f"{_were(self._sent, 'would be' if dry_run else None)} sent back")
        for what, number in sorted(self._survey.done.items()):
            print(f"not sent: {_were(number)} {what} before")
        if self._left:
            they = "it had been sent back: name it" if self._left == 1 else "they had been sent back: name them"
            print(f"not sent: {_were(self._left)} refused again after {they}, or give --again")
        for why, number in sorted(self._useless.items()):
            example = self._example[why]
            print(f"not sent: {counted(number, 'letter')} {why}; `tally dead-letters show {example}` shows one")


def _were(number: int, verb: str | None = None) -> str:
    return f"{counted(number, 'letter')} {verb or ('was' if number == 1 else 'were')}"
