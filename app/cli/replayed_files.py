"""`tally replay FILE`: events of files, as `kcat -C -J` prints them, without any Kafka."""

import asyncio
import time
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from app.cli.client import run
from app.cli.ends import InputError
from app.cli.lines import ReadError, Source
from app.cli.send import Event, LineError, read_line
from app.core.wire.records import Record, pack_headers
from app.replay.fold import Counting, Folded
from app.replay.mixture import Mixture, mixing
from app.replay.stretch import Bound

#: Neighbours of one topic that are folded at once.
_TOGETHER: Final = 300
#: Where lines without a topic are taken to come from.
_NO_TOPIC: Final = "file"
#: The file that is read only once.
STANDARD_INPUT: Final = "-"


def replay_files(
    counting: Counting, files: Sequence[str], begin: Bound, end: Bound, processes: int = 1
) -> list[Folded]:
    """Fold the events of files, of all topics together."""
    for bound in (begin, end):
        if bound.offsets:
            raise InputError(f"{bound.option} must be a time where files are replayed (got {bound.text!r}).")
    with mixing(counting, processes) as mixture:
        for file in files:
            run(_Reading(mixture, begin, end).file(file))
        return mixture.finish()


class _Reading:
    """Gives the events of a file to a mixture."""

    def __init__(self, mixture: Mixture, begin: Bound, end: Bound) -> None:
        self._mixture = mixture
        self._since = 0 if begin.moment is None else round(begin.moment * 1000)
        self._until = 1 << 62 if end.moment is None else round(end.moment * 1000)
        self._topic = ""
        self._records: list[Record] = []

    async def file(self, file: str) -> None:
        """Read a file to its end. Raises InputError where a line is no event."""
        name = "standard input" if file == STANDARD_INPUT else file
        number = 0
        with Source(file, name) as source, _progress() as progress:
            task = progress.add_task(f"replaying {escape(name)}", total=source.size)
            try:
                async for lines in source.lines():
                    for line in lines:
                        number += 1
                        if line and not line.isspace():
                            self._take(number, read_line(line, _NO_TOPIC))
                    progress.update(task, completed=source.position)
                    await asyncio.sleep(0)  # a file never lets wait: else Ctrl-C would be heard at its end
            except LineError as error:
                raise InputError(f"Line {number} of {name} {error}.") from None
            except ReadError as error:
                where = f" after line {number}" if number else ""
                raise InputError(f"{name} {error}{where}.") from None
        self._flush()

    def _take(self, number: int, event: Event) -> None:
        moment = int(time.time() * 1000) if event.timestamp_ms is None else event.timestamp_ms
        if not self._since <= moment < self._until:
            return
        if event.topic != self._topic or len(self._records) >= _TOGETHER:
            self._flush()
            self._topic = event.topic
        try:
            headers = pack_headers(event.headers)
        except UnicodeEncodeError:
            raise LineError("has a header whose name is no UTF-8") from None
        self._records.append(Record(number, moment, event.key, event.value, headers))

    def _flush(self) -> None:
        if self._records:
            self._mixture.take(self._topic, self._records)
            self._records = []


def _progress() -> Progress:
    """A bar on a terminal, else nothing."""
    console = Console(stderr=True)
    return Progress(console=console, transient=True, disable=not console.is_terminal)
