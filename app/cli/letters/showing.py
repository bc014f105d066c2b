"""`tally dead-letters list` and `show`: what was refused, and why."""

import sys
from typing import Final

import orjson

from app.cli.client import run
from app.cli.letters.selecting import parse_selection
from app.cli.screen import counted, printable, screen, table
from app.core.clock import format_time
from app.core.events import REASONS, Reason
from app.core.letters import Letter
from app.settings import Settings, load_settings
from app.worker.kafka.reading import open_reader
from app.worker.letters.box import LetterBox, Place, Shown, parse_id, topic_facts

_COLUMNS: Final = ("id", "put aside", "reason", "detail", "topic", "partition", "offset", "key")
_UNKNOWN: Final = "-"
#: Of a value that is no text so many bytes are shown, and so many a line.
_MOST_SHOWN: Final = 512
_A_LINE: Final = 32


def list_letters(count: int, reason: str | None, *, done: bool) -> None:
    """Print the newest dead letters, of one reason or of all; with `done` those too that are sent back or dropped."""
    settings = load_settings()
    reason = parse_selection((), reason).reason
    found = run(_newest(settings, count, reason, done=done))
    console = screen()
    if not found:
        console.print("No dead letters." if reason is None else f"No dead letters with the reason {reason}.")
        return
    title = f"{settings.dead_letters_topic}: the newest {counted(len(found), 'dead letter')}"
    rows = table(title, *_COLUMNS, *(["done"] if done else []))
    for shown in found:
        rows.add_row(*_row(shown.letter), *([_done(shown)] if done else []))
    console.print(rows)


def show_letter(text: str, *, raw: bool) -> None:
    """Print one dead letter, or write the bytes of its value."""
    settings = load_settings()
    shown = run(_find(settings, parse_id(text)))
    if raw:
        sys.stdout.buffer.write(shown.letter.value or b"")
        sys.stdout.buffer.flush()
        return
    console = screen()
    for name, said in _about(shown):
        console.print(f"{name:<12} {said}", soft_wrap=True)
    console.print()
    for line in value_lines(shown.letter.value):
        console.print(line, soft_wrap=True)


def _row(letter: Letter) -> list[str]:
    key = (letter.key or b"").decode(errors="replace")
    words = (
        letter.reason,
        letter.detail,
        letter.topic,
        _number(letter.origin_partition),
        _number(letter.origin_offset),
        key,
    )
    return [letter.id, _time(letter.timestamp), *(printable(word) or _UNKNOWN for word in words)]


def _done(shown: Shown) -> str:
    return shown.done.what if shown.done is not None else _UNKNOWN


def _about(shown: Shown) -> list[tuple[str, str]]:
    """What is known of a letter, in words and what they say."""
    letter = shown.letter
    reason = printable(letter.reason)
    if letter.reason in tuple(Reason):
        reason = f"{reason}: {REASONS[Reason(letter.reason)]}"
    place = f"partition {_number(letter.origin_partition)}, offset {_number(letter.origin_offset)}"
    when = "" if letter.origin_timestamp is None else f", of {_time(letter.origin_timestamp)}"
    lines = [
        ("letter", letter.id),
        ("put aside", _time(letter.timestamp)),
        ("reason", reason),
        ("detail", printable(letter.detail) or _UNKNOWN),
        ("from", f"{printable(letter.topic) or _UNKNOWN}, {place}{when}"),
        ("key", _UNKNOWN if letter.key is None else printable(letter.key.decode(errors="replace"))),
    ]
    headers = [f"{printable(name)}: {printable(value.decode(errors='replace'))}" for name, value in letter.headers]
    lines += [("headers" if not number else "", header) for number, header in enumerate(headers or [_UNKNOWN])]
    if letter.resent_from:
        lines.append(("before", f"sent back from letter {printable(letter.resent_from)}, and refused again"))
    done = shown.done
    lines.append(("done", "nothing yet" if done is None else f"{done.what} at {_time(done.timestamp)}"))
    length = len(letter.value or b"")
    if letter.original_length is not None:
        size = f"the first {length} of {letter.original_length} bytes: the letter is cut short"
    else:
        size = "none" if letter.value is None else counted(length, "byte")
    lines.append(("value", size))
    return lines


def value_lines(value: bytes | None) -> list[str]:
    """A value as people can read it: JSON in steps, text as it is, of other bytes the beginning in hexadecimal."""
    try:
        text = (value or b"").decode()
    except UnicodeDecodeError:
        return _hexadecimal(value or b"")
    try:
        text = orjson.dumps(orjson.loads(text), option=orjson.OPT_INDENT_2).decode()
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        if any(not letter.isprintable() and letter not in "\t\r\n" for letter in text):
            return _hexadecimal(value or b"")
    return [printable(line.expandtabs()) for line in text.splitlines()]


def _hexadecimal(value: bytes) -> list[str]:
    shown = value[:_MOST_SHOWN]
    lines = [shown[first : first + _A_LINE].hex(" ") for first in range(0, len(shown), _A_LINE)]
    if len(value) > len(shown):
        lines.append(f"and {len(value) - len(shown)} bytes more: --raw writes all of them")
    return lines


def _time(millis: int) -> str:
    return format_time(millis * 1000) if 0 <= millis < 1 << 47 else _UNKNOWN


def _number(number: int) -> str:
    return _UNKNOWN if number < 0 else str(number)


async def _newest(settings: Settings, count: int, reason: str | None, *, done: bool) -> list[Shown]:
    facts = await topic_facts(settings)
    async with open_reader(settings) as reader:
        box = LetterBox(settings, facts, reader)
        return await box.newest(count, lambda letter: reason is None or letter.reason == reason, done=done)


async def _find(settings: Settings, place: Place) -> Shown:
    facts = await topic_facts(settings)
    async with open_reader(settings) as reader:
        return await LetterBox(settings, facts, reader).find(place)
