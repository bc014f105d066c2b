"""`tally tail`: the last events of each topic, what Tally understands of them, or why it refuses them."""

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from app.cli.client import run
from app.cli.screen import counted, printable, screen, table
from app.core.clock import format_time, parse_time
from app.core.counts.panes import PaneClock
from app.core.dialects.origins import Dialect
from app.core.dialects.understand import Arrival, Understood, understand
from app.core.events import LEG_HEADERS, Kind, Leg, RefusedError
from app.core.join.shard import Shard
from app.core.limits import Limits
from app.core.payloads.bodies import read_feedback, read_response
from app.core.payloads.decoding import body_of
from app.core.payloads.forms import form_of, table_of
from app.core.payloads.marks import Mark, class_text
from app.core.rules import Rulebook
from app.core.stats import Stats
from app.core.wire.partitioning import partition_of
from app.core.wire.records import Record, pack_headers
from app.setting_values import is_pattern
from app.settings import Settings, load_settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.reading import Placed, open_reader
from app.worker.kafka.topics import admin_client, describe_cluster, find_sources

_COLUMNS = ("time", "place", "dialect", "kind", "form", "puid", "who", "what")
#: Of a batch so many rows are shown.
_ROWS = 3
#: What a feedback in Seldon's form can have.
_FEEDBACK_FIELDS = frozenset({"request", "response", "truth", "reward", "meta"})
_UNKNOWN = "-"
_HINT = "; here only the canonical form is read: send other dialects to a topic of TALLY_INTAKE_TOPICS"


class Line(NamedTuple):
    """One event, as it is shown."""

    time: str
    place: str  # partition:offset
    dialect: str
    kind: str
    form: str  # of the payload; of a feedback, those of its parts
    puid: str
    who: str
    what: str


class Tailed(NamedTuple):
    """A topic that is shown."""

    name: str
    partitions: int
    canonical: bool


def tail(topics: Sequence[str], count: int, *, follow: bool) -> None:
    """Print the last events of these topics (of all that Tally reads, where none is named), and those that come."""
    settings = load_settings()
    with contextlib.suppress(KeyboardInterrupt):  # the only way in which following ends
        run(_tail(settings, topics, count, follow=follow))


async def _tail(settings: Settings, names: Sequence[str], count: int, *, follow: bool) -> None:
    console = screen()
    topics = await _topics(settings, names)
    for name in () if names else settings.topics:
        if name not in topics:
            console.print(f"{name} does not exist yet: `tally topics --create` creates it.", soft_wrap=True)
    for name in () if names else settings.intake_topics:
        if name not in topics and not is_pattern(name):
            console.print(f"{name} does not exist yet: the intake waits for it.", soft_wrap=True)
    if not topics:  # aiokafka cannot stop a consumer that has done nothing
        return
    async with open_reader(settings) as reader:
        for topic in topics.values():
            rows = table(f"{topic.name} ({counted(topic.partitions, 'partition')})", *_COLUMNS)
            for placed in await reader.last(topic.name, topic.partitions, count):
                for line in lines_of(placed, topic, settings.limits):
                    rows.add_row(*line)
            console.print(rows if rows.row_count else f"{topic.name}: no events.", soft_wrap=not rows.row_count)
            console.print()
        if follow:
            async for placed in reader.follow():
                for line in lines_of(placed, topics[placed.topic], settings.limits):
                    console.print("  ".join((placed.topic, *line)), soft_wrap=True)
                await asyncio.sleep(0)


async def _topics(settings: Settings, names: Sequence[str]) -> dict[str, Tailed]:
    """The topics to show that exist, in their order."""
    async with admin_client(settings) as admin:
        found: Mapping[str, int] = (await describe_cluster(admin, names or settings.topics)).partitions
        for name in names:
            if name not in found:
                raise SetupError(f"Topic {name} does not exist.")
        if not names and settings.intake_topics:
            found = {**found, **await find_sources(admin, settings)}
    ordered = [name for name in (names or settings.topics) if name in found]
    ordered += [name for name in found if name not in ordered]
    return {name: Tailed(name, found[name], name in settings.topics) for name in ordered}


def lines_of(placed: Placed, topic: Tailed, limits: Limits) -> list[Line]:
    """What to show of a record: a line for each event that it holds, or the one that says why it holds none."""
    record = placed.record
    at = format_time(record.timestamp * 1000) if 0 <= record.timestamp < 1 << 47 else _UNKNOWN
    place = f"{placed.partition}:{record.offset}"
    try:
        found = understand(Arrival(topic.name, record.headers, record.key, record.value, record.timestamp))
    except RefusedError as refused:
        key = printable((record.key or b"").decode(errors="replace")) or _UNKNOWN
        what = f"refused ({refused.reason}): {refused.detail}"
        return [Line(at, place, _UNKNOWN, _UNKNOWN, _UNKNOWN, key, _UNKNOWN, printable(what))]
    if not found:
        return [Line(at, place, _UNKNOWN, _UNKNOWN, _UNKNOWN, _UNKNOWN, _UNKNOWN, "asks not to be logged")]
    lines = []
    for one in found:
        headers = dict(one.event.headers)
        time = parse_time(headers.get("ce_time", b""))
        who = str(Leg(*(headers.get(name.decode(), b"").decode() for name in LEG_HEADERS)))
        version = headers.get("ce_modelversion", b"").decode()
        lines.append(
            Line(
                at if time is None else format_time(time),
                place,
                one.dialect,
                one.kind,
                form_name(one.kind, one.event.value) or _UNKNOWN,
                printable(headers["ce_requestid"].decode()),
                printable(f"{who}@{version}" if version else who) or _UNKNOWN,
                printable(_what(placed, one, topic, limits)),
            )
        )
    return lines


def _what(placed: Placed, one: Understood, topic: Tailed, limits: Limits) -> str:
    """What an event brings, or why the join refuses it."""
    record = placed.record
    if not topic.canonical:
        record = Record(0, record.timestamp, one.event.key, one.event.value, pack_headers(one.event.headers))
    shard = Shard(placed.partition, topic.partitions, Rulebook(), PaneClock(), limits, Stats())
    shard.absorb(topic.name, [record], (lambda key: partition_of(key, topic.partitions)) if topic.canonical else None)
    cut = shard.cut(None)
    if cut.dead and shard.get(record.key or b"") is None:  # else only its request is refused
        hint = _HINT if topic.canonical and one.dialect is not Dialect.CANONICAL else ""
        return f"refused ({cut.dead[0].reason}): {cut.dead[0].detail}{hint}"
    try:
        words = brought(one.kind, one.event.value, limits.label_length)
    except RefusedError as refused:  # it is not in its place: there it will be
        words = f"will be refused ({refused.reason}): {refused.detail}"
    return f"{words}; not in the place of its puid: is brought there" if cut.astray else words


def form_name(kind: Kind, value: bytes) -> str:
    """The form of a payload; of a feedback, those of its truth and its response. Empty where it has none."""
    try:
        body = body_of(value, kind)
    except RefusedError:
        return ""
    parts = [(kind.value, body)]
    if kind is Kind.FEEDBACK:
        parts = [(what, body[what]) for what in ("truth", "response") if type(body) is dict and body.get(what)]
    elif kind not in (Kind.REQUEST, Kind.RESPONSE):
        return ""
    forms = [form for what, part in parts if (form := form_of(part, what)) is not None]
    return ", ".join(dict.fromkeys(form.name for form in forms))


def brought(kind: Kind, value: bytes, longest: int = 200) -> str:
    """What is read of a payload that can be read, in a few words."""
    if kind is Kind.REQUEST:
        return counted(len(table_of(body_of(value, kind), "request").rows), "row")
    if kind is Kind.RESPONSE:
        output = read_response(value, longest)
        if output.marks and output.marks[0] is None:
            return "a failed prediction"
        if output.no_class:
            return f"no class: {output.no_class}"
        return f"predicted {_listed(output.marks, output.names)}"
    if kind is not Kind.FEEDBACK:
        return "a detector's word, never judged"
    feedback = read_feedback(value, longest)
    words = []
    if feedback.has_label:
        words.append("takes the label back" if feedback.labels is None else f"label {_listed(feedback.labels)}")
    if feedback.has_reward:
        words.append("takes the reward back" if feedback.reward is None else f"reward {feedback.reward / 1e9:g}")
    if feedback.output is not None:
        predicted = feedback.output.no_class or f"predicted {_listed(feedback.output.marks, feedback.output.names)}"
        words.append(f"carries the response, {predicted}")
    if feedback.refused_request is not None:
        reason, detail = feedback.refused_request
        words.append(f"its request is refused ({reason}): {detail}")
    unknown = [name for name in body_of(value, kind) if name not in _FEEDBACK_FIELDS]
    if unknown:
        words.append(f"ignores {', '.join(unknown[:_ROWS])}")
    return ", ".join(words)


def _listed(marks: Sequence[Mark], names: tuple[str, ...] = ()) -> str:
    words = [
        "nothing" if mark is None else f"{mark:g}" if isinstance(mark, float) else class_text(mark, names)
        for mark in marks[:_ROWS]
    ]
    more = len(marks) - _ROWS
    return ", ".join(words) + (f" and {more} more" if more > 0 else "")
