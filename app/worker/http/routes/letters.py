"""Dead letters: what was refused and why, and sending it back. They are read from Kafka whenever somebody looks."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Callable
from typing import Any, Final

import msgspec
from aiohttp import web

from app.core.events import TYPES, Reason
from app.core.letters import Letter
from app.core.outputs.shapes import LetterIds, LetterLine, Letters, NotSent, Resent
from app.settings import Settings
from app.worker.http.answers import AnswerError, json_response
from app.worker.http.guard import shortened
from app.worker.http.routes.asked import count_of
from app.worker.http.routes.route import Parameter, Route
from app.worker.http.routes.stale import stale_sentence
from app.worker.kafka.client import SetupError
from app.worker.kafka.reading import open_reader
from app.worker.letters.box import LetterBox, LetterError, Selection, parse_id, topic_facts
from app.worker.letters.originals import Originals
from app.worker.letters.resending import Resending, open_writing, topics_written
from app.worker.letters.returning import Returning
from app.worker.running import Running

#: For so long Kafka may take to answer.
_SECONDS: Final = 20.0
#: What was read is told again for so many seconds.
_KEPT_SECONDS: Final = 3.0
#: So many of the newest offsets of each partition are counted by reason.
_NEWEST: Final = 2000
_MOST_SHOWN: Final = 500
_MOST_SENT: Final = 500
_PREVIEW_BYTES: Final = 500

_Asked = tuple[int, str | None]


class LetterRoutes:
    """The routes, and what was read last."""

    def __init__(self, settings: Settings, started: Callable[[], Running]) -> None:
        self._settings = settings
        self._started = started
        self._one_at_a_time = asyncio.Lock()
        self._read: dict[_Asked, tuple[float, Letters]] = {}

    def routes(self) -> list[Route]:
        """The rows."""
        limit = Parameter(
            "limit", "How many letters.", {"type": "integer", "minimum": 1, "maximum": _MOST_SHOWN, "default": 50}
        )
        reason = Parameter("reason", "Only those of this reason.", {"type": "string", "enum": [*map(str, Reason)]})
        return [
            Route(
                "GET",
                "/api/letters",
                self.letters,
                "The dead letters that wait: how many by reason, and the newest.",
                Letters,
                (limit, reason),
            ),
            Route(
                "POST",
                "/api/letters/resend",
                self.resend,
                "Send dead letters back to where they came from, each once.",
                Resent,
                errors=(404, 413),
                body=LetterIds,
            ),
        ]

    async def letters(self, request: web.Request) -> web.Response:
        """`GET /api/letters`."""
        running = self._started()
        limit, reason = count_of(request, "limit", 50, _MOST_SHOWN), request.query.get("reason")
        if reason is not None and reason not in tuple(Reason):
            raise AnswerError(400, f"reason: {shortened(reason)!r} is none of {', '.join(Reason)}.")
        asked = limit, reason
        async with self._one_at_a_time:
            at, found = self._read.get(asked, (0.0, None))
            if found is None or time.monotonic() - at > _KEPT_SECONDS:
                # A letter is of any model, and the value is as it came: what is kept back somewhere may be in it.
                redacts = any(entry.redact for entry in running.readings.rulebook.entries)
                found = await self._letters(asked, 0 if redacts else _PREVIEW_BYTES)
                self._read = {asked: (time.monotonic(), found)}
        return json_response(found)

    async def _letters(self, asked: _Asked, preview_bytes: int) -> Letters:
        limit, reason = asked
        settings = self._settings
        try:
            async with asyncio.timeout(_SECONDS):
                facts = await topic_facts(settings)
                async with open_reader(settings) as reader:
                    box = LetterBox(settings, facts, reader)
                    counts, whole = await box.reasons(_NEWEST)
                    shown = await box.newest(
                        limit,
                        lambda letter: reason is None or letter.reason == reason,
                        done=False,
                        value_bytes=preview_bytes,
                    )
        except (SetupError, TimeoutError) as error:
            raise AnswerError(503, _sentence(error, settings)) from None
        reasons: Counter[str] = Counter()
        for word, number in counts.items():
            reasons[word if word in tuple(Reason) else "other"] += number
        notes = []
        if not whole:
            notes.append(
                f"Counted are the newest {_NEWEST:,} offsets of each partition of {settings.dead_letters_topic}."
            )
        if not preview_bytes:
            notes.append("Values are not shown: `redact` keeps some back. `tally dead-letters show` shows them.")
        return {
            "reasons": dict(reasons),
            "letters": [_line(one.letter) for one in shown],
            "note": " ".join(notes) or None,
            "stale": stale_sentence(self._started()),
        }

    async def resend(self, request: web.Request) -> web.Response:
        """`POST /api/letters/resend`."""
        running = self._started()
        places = frozenset(map(_place, await _ids(request)))
        settings = self._settings
        async with self._one_at_a_time:
            self._read.clear()
            work: Resending | None = None
            try:
                async with (
                    asyncio.timeout(settings.session_timeout + _SECONDS),
                    open_reader(settings) as reader,
                    contextlib.AsyncExitStack() as stack,
                ):
                    box = LetterBox(settings, await topic_facts(settings), reader)
                    topics, now = await topics_written(settings), int(time.time() * 1000)
                    returning = Returning(settings, topics, running.readings.rulebook, now)
                    await box.survey(Selection(places))  # before anybody else is ended: they may not be there
                    writing = await stack.enter_async_context(open_writing(settings))
                    survey = await box.survey(Selection(places))
                    waiting = {(number, offset) for number, some in survey.waiting.items() for offset in some}
                    work = Resending(settings, returning, writing, survey, Originals(settings, stack))
                    await work.go(box)
            except LetterError as error:
                raise AnswerError(404 if work is None else 503, _with_sent(str(error), work)) from None
            except (SetupError, TimeoutError) as error:
                raise AnswerError(503, _with_sent(_sentence(error, settings), work)) from None
        refused: list[NotSent] = [
            {"id": f"{number}-{offset}", "why": "It was sent back, or dropped, before."}
            for number, offset in sorted(places - waiting)
        ]
        refused += [
            {"id": name, "why": f"Such letters are {why}."} for why, ids in work.useless.items() for name in ids
        ]
        found: Resent = {"sent": work.sent, "refused": refused}
        return json_response(found)


def _sentence(error: Exception, settings: Settings) -> str:
    where = settings.kafka_bootstrap_servers
    return str(error) or f"Kafka at {where} has not answered within {_SECONDS:g} s; ask again."


def _with_sent(sentence: str, work: Resending | None) -> str:
    sent = 0 if work is None else work.sent
    return (
        f"{sentence} Until then {sent} {'letter was' if sent == 1 else 'letters were'} sent back." if sent else sentence
    )


def _place(text: str) -> tuple[int, int]:
    try:
        return parse_id(text)
    except LetterError as error:
        raise AnswerError(400, shortened(str(error))) from None


async def _ids(request: web.Request) -> list[str]:
    try:
        ids = msgspec.json.decode(await request.read(), type=LetterIds)["ids"]
    except (msgspec.MsgspecError, UnicodeDecodeError):
        raise AnswerError(400, 'The body must be JSON like {"ids": ["3-1042"]}, with ids of /api/letters.') from None
    if not 1 <= len(ids) <= _MOST_SENT:
        raise AnswerError(400, f"ids: {len(ids):,} letters; name 1 to {_MOST_SENT:,} at once.")
    return ids


def _line(letter: Letter) -> LetterLine:
    headers: dict[str, Any] = dict(letter.headers)
    kind = TYPES.get(headers.get("ce_type", b""))
    return {
        "id": letter.id,
        "time_at": letter.timestamp / 1000,
        "reason": letter.reason,
        "detail": letter.detail,
        "topic": letter.topic,
        "kind": "" if kind is None else kind.value,
        "preview": (letter.value or b"").decode(errors="replace"),
    }
