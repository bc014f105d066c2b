"""`tally dead-letters list`: what was refused, and why, the newest first."""

from app.cli.client import run
from app.cli.ends import InputError
from app.cli.reading import Placed, open_reader, printable
from app.cli.screen import counted, screen, table
from app.core.clock import format_time
from app.core.events import Reason
from app.core.wire.records import Record
from app.settings import Settings, load_settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.topics import admin_client, describe_cluster

_COLUMNS = ("put aside", "reason", "detail", "topic", "partition", "offset", "key")
#: The headers that stand in these columns, but for the first and the last.
_HEADERS = ("reason", "detail", "origin-topic", "origin-partition", "origin-offset")
_UNKNOWN = "-"


def list_letters(count: int, reason: str | None) -> None:
    """Print the newest dead letters, of one reason or of all."""
    settings = load_settings()
    if reason is not None and reason not in tuple(Reason):
        raise InputError(f"--reason: {reason} is no reason; the reasons are {', '.join(Reason)}.")
    letters = run(_read(settings, count, reason))
    console = screen()
    if not letters:
        console.print("No dead letters." if reason is None else f"No dead letters with the reason {reason}.")
        return
    rows = table(f"{settings.dead_letters_topic}: the newest {counted(len(letters), 'dead letter')}", *_COLUMNS)
    for placed in reversed(letters):
        rows.add_row(*_row(placed.record))
    console.print(rows)


def _row(record: Record) -> list[str]:
    headers = dict(record.headers)  # the original's come first, so of two with one name it is the letter's own
    words = [(headers.get(name) or b"").decode(errors="replace") for name in _HEADERS]
    key = (record.key or b"").decode(errors="replace")
    return [format_time(record.timestamp * 1000), *(printable(word) or _UNKNOWN for word in (*words, key))]


def _reason(record: Record) -> bytes:
    return dict(record.headers).get("reason") or b""


async def _read(settings: Settings, count: int, reason: str | None) -> list[Placed]:
    topic = settings.dead_letters_topic
    async with admin_client(settings) as admin:
        partitions = (await describe_cluster(admin, [topic])).partitions.get(topic)
    if partitions is None:
        raise SetupError(f"Topic {topic} does not exist: run `tally topics --create`, or let a worker create it.")
    async with open_reader(settings) as reader:
        return await reader.last(
            topic, partitions, count, lambda record: reason is None or _reason(record) == reason.encode()
        )
