"""`tally dead-letters resend`: refused events go back to where they came from, each once."""

import contextlib
import sys
import time
from collections.abc import Sequence

import click

from app.cli.client import run
from app.cli.letters.selecting import parse_selection
from app.cli.screen import counted, progress_bar
from app.models_file import load_rulebook
from app.settings import Settings, load_settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.reading import open_reader
from app.worker.letters.box import LetterBox, LetterError, Selection, Survey, topic_facts
from app.worker.letters.originals import Originals
from app.worker.letters.resending import Resending, open_writing, topics_written
from app.worker.letters.returning import Returning


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
        now = int(time.time() * 1000)
        returning = Returning(settings, await topics_written(settings), load_rulebook(settings.config), now)
        writing = None if dry_run else await stack.enter_async_context(open_writing(settings))
        survey = await box.survey(selection)
        work = Resending(settings, returning, writing, survey, Originals(settings, stack))
        before = len(survey)
        total = _wanted(survey, again=again)
        with progress_bar() as progress:
            task = progress.add_task("sending back", total=total)
            try:
                await work.go(box, lambda: progress.advance(task))
            except (LetterError, SetupError) as error:
                raise type(error)(
                    f"{error} Until then {_were(work.sent)} sent back; run it again for the rest."
                ) from None
    _report(work, survey, before - total, dry_run=dry_run)


def _wanted(survey: Survey, *, again: bool) -> int:
    """How many letters are sent, and leave in the survey only those."""
    if not again:
        for number, offsets in survey.again.items():
            survey.waiting[number] -= offsets
    return len(survey)


def _report(work: Resending, survey: Survey, left: int, *, dry_run: bool) -> None:
    """Say what was sent, and what was not: `left` letters were refused again."""
    print(f"{_were(work.sent, 'would be' if dry_run else None)} sent back")
    for what, number in sorted(survey.done.items()):
        print(f"not sent: {_were(number)} {what} before")
    if left:
        they = "it had been sent back: name it" if left == 1 else "they had been sent back: name them"
        print(f"not sent: {_were(left)} refused again after {they}, or give --again")
    for why, ids in sorted(work.useless.items()):
        print(f"not sent: {counted(len(ids), 'letter')} {why}; `tally dead-letters show {ids[0]}` shows one")


def _were(number: int, verb: str | None = None) -> str:
    return f"{counted(number, 'letter')} {verb or ('was' if number == 1 else 'were')}"
