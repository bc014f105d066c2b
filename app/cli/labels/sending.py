"""`tally feedback --file`: the labels and rewards of a file, as canonical feedback straight to its topic.

The file is read twice. First it is checked as a whole, so that a wrong line is met before anything is sent. Then it is
sent in rounds: while one is on its way the next is made, and no more is in memory.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Final, NamedTuple

import orjson
from aiokafka.errors import KafkaError, TopicAuthorizationFailedError
from rich.markup import escape

from app.cli.client import require_topic, run
from app.cli.ends import InputError
from app.cli.labels.found import Sample, ask, sentence
from app.cli.labels.statements import COLUMNS, LEG, Stated, Statements
from app.cli.labels.tables import LabelTable, Piece, open_table, shown_columns
from app.cli.screen import counted, progress_bar, screen, table
from app.core.clock import parse_time
from app.core.dialects.plain import Event
from app.core.wire.partitioning import partitions_of
from app.settings import Settings, load_settings
from app.worker.kafka.client import ACLS_HINT, SetupError, unreachable
from app.worker.kafka.metadata import TopicFacts
from app.worker.kafka.producer import close_producer, open_producer
from app.worker.kafka.sizes import RefusedBatchError, Sending, Sizes, size_alone

#: Events of a round.
_ROUND: Final = 20_000
_DELIVERY_SECONDS: Final = 60
#: Of bad lines so many are named, and of statements so many are shown.
_NAMED: Final = 3
_SHOWN: Final = 5
_MOST_CLASSES: Final = 1_000
#: A statement above this is compared with what the topic takes.
_SUSPICIOUS: Final = 4_000
_AGAIN: Final = "run it again, what was sent counts once"


class Options(NamedTuple):
    """What was asked for. `columns` are the names of columns that options give, by what the columns say."""

    file: str
    form: str | None
    delimiter: str | None
    columns: Mapping[str, str]
    leg: Mapping[str, str]
    time: str | None
    empty: Sequence[str]
    dry_run: bool
    skip_bad: bool
    ask: bool


class _Checked(NamedTuple):
    """What the first reading found."""

    lines: int
    statements: int
    silent: int
    bad: int
    first: list[Stated]
    labels: Counter[str]
    rewards: int


def feedback_file(options: Options) -> None:
    """Send what the file states, and say how many statements that were."""
    settings = load_settings()
    source = open_table(options.file, options.form, options.delimiter)
    columns = _columns(source, options)
    work = _File(settings, source, columns, options)
    checked = work.check()
    if options.dry_run:
        _show(checked, options.file, settings)
        return
    if checked.statements:
        run(work.send(checked.statements))
    _report(work, checked, settings)


def _columns(source: LabelTable, options: Options) -> dict[str, str]:
    """The columns that are read, by what they say. Raises `InputError`."""
    for what, name in options.columns.items():
        if source.columns.count(name) != 1 and not (name not in source.columns and source.sparse):
            many = "several columns" if name in source.columns else "no column"
            raise InputError(
                f"{source.path} has {many} {name} (--{what}-column); it has {shown_columns(source.columns)}."
            )
    for what in LEG:
        if what in options.columns and what in options.leg:
            raise InputError(f"Give --{what} or --{what}-column, not both.")
    if "time" in options.columns and options.time is not None:
        raise InputError("Give --time or --time-column, not both.")
    defaults = {what: name for what, name in COLUMNS.items() if name in source.columns}
    if options.time is not None:
        defaults.pop("time", None)
    columns = defaults | dict(options.columns)
    if "puid" not in columns:
        raise InputError(
            f"{source.path} has no column puid: name it with --puid-column; it has {shown_columns(source.columns)}."
        )
    if "label" not in columns and "reward" not in columns:
        raise InputError(
            f"{source.path} has no column label and none reward: name one with --label-column or --reward-column; "
            f"it has {shown_columns(source.columns)}."
        )
    for what, name in columns.items():
        if source.columns.count(name) > 1:
            raise InputError(f"{source.path} has several columns {name} (--{what}-column names another).")
    if not source.sparse:
        return columns
    later = {what: name for what, name in COLUMNS.items() if what != "time" or options.time is None}
    return later | columns


class _File:
    """One run of the command."""

    def __init__(self, settings: Settings, source: LabelTable, columns: Mapping[str, str], options: Options) -> None:
        self.sample = Sample()
        self.sent = 0
        self.found = ""
        self.bad_file = Path(f"{options.file}.bad.jsonl")
        self.seconds = 0.0
        self._settings = settings
        self._source = source
        self._columns = columns
        self._options = options
        self._was = self._state()
        self._time = self._was[1] // 1_000 if options.time is None else _micros(options.time)

    def _state(self) -> tuple[int, int, int]:
        """By what a file that was changed is known."""
        status = os.stat(self._source.path)  # noqa: PTH116 - one call, as it is compared
        return status.st_ino, status.st_mtime_ns, status.st_size

    def _require_unchanged(self) -> None:
        if self._state() != self._was:
            raise InputError(f"{self._source.path} was changed while it was read; {_were(self.sent)} sent; {_AGAIN}.")

    def _statements(self) -> Statements:
        return Statements(
            self._columns,
            self._options.leg,
            time=self._time,
            longest=self._settings.max_label_length,
            largest=self._settings.max_body,
            of_texts=self._source.of_texts,
            empty=self._options.empty,
        )

    def check(self) -> _Checked:
        """Read all. Raises `InputError` where lines cannot be used and may not be left out."""
        statements = self._statements()
        wanted = list(dict.fromkeys(self._columns.values()))
        lines = number = bad_lines = rewards = 0
        first: list[Stated] = []
        labels: Counter[str] = Counter()
        named: list[tuple[int, str]] = []
        file = None
        with progress_bar(rate=True) as progress:
            task = progress.add_task(f"checking {escape(self._source.path.name)}", total=self._source.rows)
            try:
                for piece in self._source.pieces(wanted):
                    bad = list(piece.bad)
                    for stated in statements.of(piece, bad):
                        number += 1
                        if number <= _SHOWN:
                            first.append(stated)
                        if stated.label is not None:
                            text = _word(stated.label)
                            labels[text if text in labels or len(labels) < _MOST_CLASSES else "…"] += 1
                        rewards += stated.reward is not None
                    if bad and self._options.skip_bad and not self._options.dry_run:
                        file = file or self._open_bad()
                        file.writelines(_bad_lines(piece, bad, self._columns))
                    bad_lines += len(bad)
                    named += sorted(bad)[: _NAMED - len(named)]
                    lines += len(piece.numbers) + len(piece.bad)
                    progress.update(task, completed=lines)
            finally:
                if file is not None:
                    file.close()
        self._require_unchanged()
        if bad_lines and not self._options.skip_bad:
            raise InputError(_about_bad(self._options.file, lines, bad_lines, named))
        return _Checked(lines, number, statements.silent, bad_lines, first, labels, rewards)

    def _open_bad(self) -> Any:
        try:
            return self.bad_file.open("wb")
        except OSError as error:
            raise InputError(f"{self.bad_file} cannot be written ({error.strerror}): bad lines go there.") from None

    async def send(self, total: int) -> None:
        """Send all, and ask the workers how many found a prediction."""
        topic = self._settings.feedback_topic
        facts = await require_topic(self._settings, topic)
        began = time.monotonic()
        try:
            await self._send_all(facts, total)
        except asyncio.CancelledError:
            print(f"interrupted: {_were(self.sent)} sent; {_AGAIN}", file=sys.stderr)
            raise
        self.seconds = time.monotonic() - began
        self._require_unchanged()
        if self._options.ask:
            self.found = sentence(await ask(self._settings, facts.partitions, self.sample), self.sample)

    async def _send_all(self, facts: TopicFacts, total: int) -> None:
        topic, settings = self._settings.feedback_topic, self._settings
        sizes = Sizes({topic: facts})
        try:
            producer = await open_producer(settings)
        except (KafkaError, OSError, TimeoutError) as error:
            raise unreachable(settings, error) from None
        flying: asyncio.Task[None] | None = None
        try:
            with progress_bar(rate=True) as progress:
                task = progress.add_task(f"sending {escape(self._source.path.name)}", total=total)
                for events in self._rounds():
                    batches = self._batches(producer, sizes, events, facts.partitions)
                    await asyncio.sleep(0)
                    if flying is not None:
                        await flying
                        progress.update(task, completed=self.sent)
                    flying = asyncio.create_task(self._deliver(Sending(producer, sizes), batches, len(events)))
                    await asyncio.sleep(0)
                if flying is not None:
                    await flying
        except TopicAuthorizationFailedError:
            raise SetupError(f"Topic {topic} is forbidden here ({ACLS_HINT}); {_were(self.sent)} sent.") from None
        except RefusedBatchError as error:
            raise InputError(f"{error}; {_were(self.sent)} sent; {_AGAIN}.") from None
        except (KafkaError, OSError, TimeoutError) as error:
            raise SetupError(f"{unreachable(settings, error)} Until then {_were(self.sent)} sent; {_AGAIN}.") from None
        finally:
            if flying is not None and not flying.done():
                flying.cancel()
                with suppress(asyncio.CancelledError):
                    await flying
            await close_producer(producer)

    def _rounds(self) -> Iterator[list[Event]]:
        """The events of the file, round by round."""
        statements, add = self._statements(), self.sample.add
        events: list[Event] = []
        for piece in self._source.pieces(list(dict.fromkeys(self._columns.values()))):
            for stated in statements.of(piece, []):
                events.append(stated.event)
                add(stated.event.key)
            if len(events) >= _ROUND:
                yield events
                events = []
        if events:
            yield events

    def _batches(self, producer: Any, sizes: Sizes, events: list[Event], partitions: int) -> list[tuple[int, Any]]:
        """Batches of these events, those of a partition in their order."""
        topic = self._settings.feedback_topic
        now = int(time.time() * 1000)
        done: list[tuple[int, Any]] = []
        batches: list[Any] = [None] * partitions
        for (key, value, named), number in zip(
            events, partitions_of([event.key for event in events], partitions), strict=True
        ):
            batch, headers = batches[number], list(named)
            if batch is None or batch.append(timestamp=now, key=key, value=value, headers=headers) is None:
                if len(value) > _SUSPICIOUS and not sizes.fits(topic, key, value, headers):
                    size = size_alone(key, value, headers)
                    raise InputError(
                        f"The statement for {key.decode()} has {size} bytes, and {sizes.sentence(topic)}; "
                        f"{_were(self.sent)} sent."
                    )
                if batch is not None:
                    done.append((number, batch))
                batch = batches[number] = producer.create_batch(sizes.of(topic))
                batch.append(timestamp=now, key=key, value=value, headers=headers)
        return done + [(number, batch) for number, batch in enumerate(batches) if batch is not None]

    async def _deliver(self, sending: Sending, batches: list[tuple[int, Any]], events: int) -> None:
        async with asyncio.timeout(_DELIVERY_SECONDS):
            for number, batch in batches:
                await sending.send(batch, self._settings.feedback_topic, number)
            await sending.settle()
        self.sent += events


def _micros(text: str) -> int:
    micros = parse_time(text.encode(errors="replace"))
    if micros is None:
        raise InputError(f"--time must be a time like 2026-11-21T07:00:00Z (got {text!r}).")
    return micros


def _word(label: Any) -> str:
    return label if type(label) is str else orjson.dumps(label).decode()


def _were(number: int) -> str:
    return f"{counted(number, 'statement')} {'was' if number == 1 else 'were'}"


def _bad_lines(piece: Piece, bad: list[tuple[int, str]], columns: Mapping[str, str]) -> Iterator[bytes]:
    """Bad lines as JSON lines: number, reason, and what the line says as far as it can be read."""
    places = {number: place for place, number in enumerate(piece.numbers)}
    for number, why in sorted(bad):
        said = {name: piece.columns[name][places[number]] for name in columns.values() if number in places}
        yield orjson.dumps({"line": number, "why": why, **said}, default=repr, option=orjson.OPT_APPEND_NEWLINE)


def _about_bad(file: str, lines: int, bad: int, named: list[tuple[int, str]]) -> str:
    first = "; ".join(f"line {number} {why}" for number, why in named)
    more = f" and {bad - len(named)} more" if bad > len(named) else ""
    return (
        f"{file}: {bad} of {counted(lines, 'line')} cannot be used, so nothing was sent ({first}{more}): mend them, or "
        f"let --skip-bad leave them out and write them to {file}.bad.jsonl."
    )


def _show(checked: _Checked, file: str, settings: Settings) -> None:
    """Say what would be sent."""
    console = screen()
    rows = table(f"{file}: the first of {counted(checked.statements, 'statement')}", "puid", "label", "reward", "time")
    for stated in checked.first:
        headers = dict(stated.event.headers)
        rows.add_row(
            headers["ce_requestid"].decode(),
            "-" if stated.label is None else _word(stated.label),
            "-" if stated.reward is None else _word(stated.reward),
            headers["ce_time"].decode(),
        )
    console.print(rows)
    console.print()
    if checked.labels:
        words = ", ".join(f"{word} {number}" for word, number in checked.labels.most_common(10))
        more = len(checked.labels) - 10
        console.print(f"labels: {words}" + (f" and {more} more" if more > 0 else ""), soft_wrap=True)
    print(f"would send {counted(checked.statements, 'statement')} to {settings.feedback_topic}; nothing was sent")
    _print_left_out(checked)


def _report(work: _File, checked: _Checked, settings: Settings) -> None:
    rate = f" in {work.seconds:.1f} s" if work.seconds else ""
    print(f"sent {counted(work.sent, 'statement')} to {settings.feedback_topic}{rate}")
    _print_left_out(checked)
    if checked.bad:
        print(f"the bad lines are in {work.bad_file}")
    if work.found:
        print(work.found)


def _print_left_out(checked: _Checked) -> None:
    if checked.silent:
        print(f"left out: {counted(checked.silent, 'line')} without a label and a reward")
    if checked.bad:
        print(f"left out: {counted(checked.bad, 'line')} that cannot be used")
