"""How the commands print: plain words as they are, tables that a terminal and `grep` can both read."""

import sys
from collections.abc import Callable
from typing import TypeVar

from rich.box import SIMPLE
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table
from rich.text import Text

_WIDTH_OF_A_FILE = 200

Found = TypeVar("Found")


def screen() -> Console:
    """Standard output, which takes texts as they are: no markup in them, no emoji."""
    width = None if sys.stdout.isatty() else _WIDTH_OF_A_FILE
    return Console(width=width, highlight=False, markup=False, emoji=False)


def table(title: str, *columns: str) -> Table:
    """An empty table."""
    made = Table(title=title, title_justify="left", box=SIMPLE, show_edge=False, pad_edge=False)
    for column in columns:
        made.add_column(column, overflow="fold")
    return made


def printable(text: str) -> str:
    """A text from outside, without what a terminal would take for more than a text."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


def counted(number: int, thing: str) -> str:
    """`1 event`, `2 events`."""
    return f"{number} {thing}{'' if number == 1 else 's'}"


def progress_bar(*, rate: bool = False) -> Progress:
    """A bar on a terminal, with how many and, where asked for, how many a second; else nothing."""
    columns: list[ProgressColumn] = [
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    ]
    if rate:
        columns.insert(3, _Rate())
    return Progress(*columns, console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty())


def with_progress(total: int | None, work: Callable[[Callable[[int], None]], Found]) -> Found:
    """Do work that says how many records it has folded, under a bar with rate and time left."""
    with progress_bar(rate=True) as bar:
        task = bar.add_task("replaying", total=total)
        return work(lambda records: bar.advance(task, records))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text("" if speed is None else f"{speed:,.0f}/s")
