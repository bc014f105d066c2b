"""`tally dead-letters drop`: refused events that nobody wants any more.

Kafka deletes all records of a partition up to one, and none between others. So all letters are deleted at once; of some
it is noted that they are dropped, in the same way, and under the same transactional id, as that they were sent back.
"""

import sys
from collections.abc import Sequence

import click
from aiokafka.admin.records_to_delete import RecordsToDelete
from aiokafka.errors import KafkaError, PolicyViolationError, TopicAuthorizationFailedError

from app.cli.client import run
from app.cli.ends import InputError
from app.cli.letters.selecting import parse_selection
from app.cli.screen import counted
from app.core.letters import DROPPED
from app.settings import Settings, load_settings
from app.worker.kafka.client import ACLS_HINT, SetupError
from app.worker.kafka.reading import open_reader
from app.worker.kafka.topics import admin_client
from app.worker.letters.box import LetterBox, Selection, Survey, topic_facts
from app.worker.letters.resending import open_writing


def drop(ids: Sequence[str], reason: str | None, since: str | None, *, everything: bool, yes: bool) -> None:
    """Drop the letters that are meant, or delete all, and say how many."""
    settings = load_settings()
    selection = parse_selection(ids, reason, since)
    if everything and selection != Selection(frozenset()):
        raise InputError("Give --all alone, or say with ids, --reason and --since which letters are meant.")
    if not everything and selection == Selection(frozenset()):
        raise InputError("Say which letters are meant: ids, --reason or --since; or --all.")
    if not yes and not sys.stdin.isatty():
        raise InputError("Without a terminal to ask at, --yes is needed.")
    run(_drop(settings, selection, everything=everything, yes=yes))


async def _drop(settings: Settings, selection: Selection, *, everything: bool, yes: bool) -> None:
    facts = await topic_facts(settings)
    async with open_reader(settings) as reader:
        box = LetterBox(settings, facts, reader)
        survey = await box.survey(selection)
        what = "Delete all" if everything else "Drop"
        number = len(survey) + (sum(survey.done.values()) if everything else 0)
        if not yes and not click.confirm(f"{what} {counted(number, 'dead letter')}?"):
            print("nothing was dropped")
            return
        if everything:
            await _delete(settings, survey)
            print(f"deleted {counted(number, 'letter')}")
            return
        async with open_writing(settings) as writing:
            survey = await box.survey(selection)
            letters = {number: sorted(some) for number, some in survey.waiting.items() if some}
            if letters:
                await writing.commit([], DROPPED, letters)
    print(f"dropped {counted(len(survey), 'letter')}")
    for said, count in sorted(survey.done.items()):
        print(f"{said} before: {counted(count, 'letter')}")
    if len(survey):
        print(f"the brokers delete them when {settings.dead_letters_topic} has kept them for {box.kept}")


async def _delete(settings: Settings, survey: Survey) -> None:
    """Let the brokers delete all that was there when it was counted."""
    topic = settings.dead_letters_topic
    async with admin_client(settings) as admin:
        try:
            await admin.delete_records({tp: RecordsToDelete(before_offset=end) for tp, end in survey.ends.items()})
        except TopicAuthorizationFailedError:
            raise SetupError(f"This user may not delete what is in {topic} (Delete): {ACLS_HINT}.") from None
        except PolicyViolationError:
            raise SetupError(
                f"Nothing can be deleted from {topic}: its cleanup.policy must hold delete, or its retention does."
            ) from None
        except KafkaError as error:
            raise SetupError(f"{topic} was not emptied: {type(error).__name__}. Run it again.") from None
