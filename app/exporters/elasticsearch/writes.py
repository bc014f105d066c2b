"""Elasticsearch: reads and writes of documents that last until they have landed."""

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from enum import Enum
from functools import partial
from typing import Any, ClassVar, Final, NamedTuple, TypeVar

from elastic_transport import TransportError
from elasticsearch import ApiError
from elasticsearch.helpers import async_streaming_bulk

from app.exporters.elasticsearch.client import connect, is_too_much, kind_of, reason_of, sentence, type_of
from app.exporters.elasticsearch.templates import ensure_templates
from app.settings import Settings

log = logging.getLogger(__name__)

#: Where a document is: its index and its id.
Place = tuple[str, str]
Answer = TypeVar("Answer")

BULK_DOCUMENTS: Final = 1000
BULK_BYTES: Final = 8 << 20
#: So few documents are read together however large they may be.
_FEWEST: Final = 10
#: Between two attempts: doubled from the first to the last, and shortened by chance so that workers do not meet.
_FIRST_PAUSE: Final = 0.2
_LAST_PAUSE: Final = 10.0
#: Documents whose bytes are made in one go; the lane and the web server have their turn in between.
_SLICE: Final = 50

#: Errors of status 400 that say nothing against a document: the world is not as it must be.
_TEMPORARY: Final = frozenset(
    {
        "validation_exception",  # the cluster has as many shards as it may
        "index_closed_exception",
        "invalid_alias_name_exception",
        "index_creation_exception",
    }
)
#: The same, of errors that have no type of their own: how their reasons begin.
_OF_THE_INDEX: Final = ("no write index is defined", "pipeline with id")


class Result(Enum):
    """What became of a write."""

    WRITTEN = "written"
    CONFLICT = "conflict"  # a document is there, as new as this or newer, or one was removed with such a version
    ABSENT = "absent"  # there was nothing to remove
    REFUSED = "refused"  # for itself: it would be refused again
    LATER = "later"  # for no fault of its own
    TOO_MANY = "too many"  # the request was refused for its size, or for one of its documents


class Write(NamedTuple):
    """A document to write to a place (index, id): with a version only over older ones (`or_same`: or over one of the
    same version), with none only where there is no document. Without a body what is there is removed.
    """

    place: Place
    version: int | None
    body: bytes | dict[str, Any] | None
    or_same: bool = False


class Outcome(NamedTuple):
    """What became of a write; where it was not done, Elasticsearch's reason, and what kind of reason that is."""

    result: Result
    reason: str = ""
    kind: str = ""


class Found(NamedTuple):
    """A document as it is now."""

    version: int
    body: dict[str, Any]


_WRITTEN: Final = Outcome(Result.WRITTEN)


class Elasticsearch:
    """One Elasticsearch, asked until it answers. Of its trouble the log is told once, however many ask it."""

    _troubles: ClassVar[dict[str | None, "_Trouble"]] = {}

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._client = connect(settings)
        self._trouble = self._troubles.setdefault(settings.elasticsearch_url, _Trouble())
        self._ready = False
        self._aliased: set[str] = set()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def prepare(self, templates: Mapping[str, Mapping[str, Any]]) -> None:
        """Return once the templates are there."""
        if not self._ready:
            await self._ask(lambda: ensure_templates(self._client, templates))
            self._ready = True

    async def prepare_alias(self, index: str, alias: str) -> None:
        """Return once the index is there and has the alias."""
        if index not in self._aliased:
            await self._ask(lambda: self._make_aliased(index, alias))
            self._aliased.add(index)

    async def find(self, places: Sequence[Place]) -> dict[Place, Found]:
        """Those of the documents that there are, as they are now, whether they can be searched yet or not."""
        found: dict[Place, Found] = {}
        waiting = [places[start : start + BULK_DOCUMENTS] for start in range(0, len(places), BULK_DOCUMENTS)]
        with self._trouble.watch() as watch:
            while waiting:
                some = waiting.pop()
                try:
                    found |= await self._find(some)
                except (TransportError, ApiError) as error:
                    await watch.wait(kind_of(error), sentence(error, self._settings))
                    half = len(some) // 2 if is_too_much(error) and len(some) > _FEWEST else 0
                    waiting += [some[:half], some[half:]] if half else [some]
        return found

    async def write(self, writes: Sequence[Write]) -> AsyncIterator[tuple[Write, Outcome]]:
        """Write all. Each is yielded once it is known what became of it: WRITTEN, CONFLICT, ABSENT or REFUSED. What
        fails for no fault of its own is tried again until it lands.
        """
        waiting = [(list(writes), BULK_DOCUMENTS)]
        with self._trouble.watch() as watch:
            while waiting:
                some, most = waiting.pop()
                later: list[Write] = []
                fewer: list[Write] = []
                trouble: Outcome | None = None
                async for write, outcome in self._attempt(some, most):
                    if outcome.result is Result.LATER:
                        later.append(write)
                        trouble = trouble or outcome
                    elif outcome.result is Result.TOO_MANY and most > 1:
                        fewer.append(write)
                    elif outcome.result is Result.TOO_MANY:
                        yield write, Outcome(Result.REFUSED, outcome.reason)
                    else:
                        yield write, outcome
                if fewer:
                    waiting.append((fewer, max(1, most // 8)))
                if trouble is not None:
                    waiting.append((later, most))
                    await watch.wait(trouble.kind, trouble.reason)

    async def moved(self, versions: Mapping[Place, int]) -> set[Place]:
        """Of places without a document, those where one was removed with a higher version than is given for it.

        Only to a write does Elasticsearch say so, and what writes nothing is a removal. One without `or_same` would be
        in conflict with itself when it is asked again. Where there is no index there was no document, and a removal
        would make the index.
        """
        there: set[str] = set()
        for index in sorted({index for index, _ in versions}):
            if await self._ask(partial(self._client.indices.exists, index=index)):
                there.add(index)
        removals = [Write(place, version, None, True) for place, version in versions.items() if place[0] in there]
        return {write.place async for write, outcome in self.write(removals) if outcome.result is Result.CONFLICT}

    # -- one attempt --------------------------------------------------------------------------------------------------

    async def _ask(self, ask: Callable[[], Awaitable[Answer]]) -> Answer:
        """Ask until there is an answer."""
        with self._trouble.watch() as watch:
            while True:
                try:
                    return await ask()
                except (TransportError, ApiError) as error:
                    await watch.wait(kind_of(error), sentence(error, self._settings))

    async def _find(self, places: Sequence[Place]) -> dict[Place, Found]:
        reply = await self._client.mget(docs=[{"_index": index, "_id": number} for index, number in places])
        found = {}
        for place, document in zip(places, reply.body["docs"], strict=True):
            error = document.get("error")
            if error is not None and error.get("type") != "index_not_found_exception":
                raise ApiError(reason_of(document), replace(reply.meta, status=503), document)
            if document.get("found"):
                found[place] = Found(document["_version"], document["_source"])
        return found

    async def _make_aliased(self, index: str, alias: str) -> None:
        made = await self._client.options(ignore_status=400).indices.create(index=index, aliases={alias: {}})
        if made.meta.status == 400:
            if made.body["error"].get("type") != "resource_already_exists_exception":
                raise ApiError(reason_of(made.body), made.meta, made.body)
            await self._client.indices.put_alias(index=index, name=alias)

    async def _attempt(self, writes: Sequence[Write], most: int) -> AsyncIterator[tuple[Write, Outcome]]:
        """Send all once, up to so many in a request."""
        results = async_streaming_bulk(
            self._client,
            _actions(writes),
            chunk_size=most,
            max_chunk_bytes=BULK_BYTES,
            raise_on_error=False,
            raise_on_exception=False,
            expand_action_callback=_as_given,
            filter_path=["items.*.status", "items.*.error", "error", "status"],
        )
        done = 0
        try:
            async for fine, item in results:
                yield writes[done], _WRITTEN if fine else self._outcome(item)
                done += 1
        except (TransportError, ApiError) as error:
            later = Outcome(Result.LATER, sentence(error, self._settings), kind_of(error))
            for write in writes[done:]:
                yield write, later

    def _outcome(self, item: Mapping[str, Any]) -> Outcome:
        """What an item of an answer means that says that the document was not written."""
        (told,) = item.values()
        status, whole = told["status"], told.get("exception")
        if whole is not None:  # the request as a whole was refused
            split = status == 413 or type_of(whole.body) == "action_request_validation_exception"
            result = Result.TOO_MANY if split else Result.LATER
            return Outcome(result, sentence(whole, self._settings), kind_of(whole))
        kind = type_of(told)
        if kind == "version_conflict_engine_exception":
            return Outcome(Result.CONFLICT)
        if not kind:
            return Outcome(Result.ABSENT)
        of_index = kind in _TEMPORARY or told["error"].get("reason", "").startswith(_OF_THE_INDEX)
        if status == 413 or (status == 400 and not of_index):
            return Outcome(Result.REFUSED, reason_of(told))
        reason = f"Elasticsearch at {self._settings.elasticsearch_url} answers {status}: {reason_of(told)}."
        return Outcome(Result.LATER, reason, f"{status} {kind}")


class _Trouble:
    """What keeps documents from being written. The log has a line when it begins, when it changes, and when it ends."""

    def __init__(self) -> None:
        self._kind = ""
        self._since = 0.0
        self._watches = 0  # that wait because of it

    @contextlib.contextmanager
    def watch(self) -> Iterator["_Watch"]:
        """What is done until it succeeds."""
        watch = _Watch(self)
        ended = False
        try:
            yield watch
            ended = True
        finally:
            if watch.attempts:
                self._end(told=ended)

    def begin(self, kind: str, reason: str, *, first: bool) -> None:
        """Somebody waits."""
        self._watches += first
        if not self._kind:
            self._since = time.monotonic()
        if kind != self._kind:
            log.warning("documents wait, and are tried again until they are written: %s", reason)
        self._kind = kind

    def _end(self, *, told: bool) -> None:
        self._watches -= 1
        if not self._watches:
            self._kind = ""
            if told:
                log.warning("documents are written again after %.0f s", time.monotonic() - self._since)


class _Watch:
    """The attempts of one call."""

    def __init__(self, trouble: _Trouble) -> None:
        self.attempts = 0
        self._trouble = trouble

    async def wait(self, kind: str, reason: str) -> None:
        """Wait before the next attempt: twice as long each time up to 10 s, and by chance up to half of it less."""
        self._trouble.begin(kind, reason, first=not self.attempts)
        self.attempts += 1
        pause = min(_LAST_PAUSE, _FIRST_PAUSE * 2 ** min(self.attempts - 1, 10))
        await asyncio.sleep(pause * random.uniform(0.5, 1))


async def _actions(writes: Sequence[Write]) -> AsyncIterator[Any]:
    """The lines of a bulk request."""
    for number, (place, version, body, or_same) in enumerate(writes):
        if number % _SLICE == _SLICE - 1:
            await asyncio.sleep(0)
        about: dict[str, Any] = dict(zip(("_index", "_id"), place, strict=True))
        if version is not None:
            about |= {"version": version, "version_type": "external_gte" if or_same else "external"}
        yield {"delete" if body is None else "create" if version is None else "index": about}, body


def _as_given(action: Any) -> Any:
    return action
