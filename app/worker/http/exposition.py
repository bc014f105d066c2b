"""The model series as they are scraped: kept as packed text, and made anew where something has changed.

What a text says of a model, in total and in all windows, is of one moment; two models may be some time apart, as long
as the text takes. The text of a model that has none yet is made before anybody asks, and a scrape waits for it. For
what has changed a scrape waits too, but not for long: where very much has, the rest is made after the scrape, which
takes the text of such models as it was before. Nothing here holds the worker's loop for long: what waits to be added up
is added bit by bit, models are made one at a time, and those with very many cells, or with scores that are the user's
own code, in a thread, from a copy. Of a text that took long the changes are looked for only when nine times as long
has passed, or the time between two scrapes; and what is sent goes out in pieces.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Coroutine, Iterable, Iterator
from typing import Any, Final, NamedTuple, TypeGuard

from aiohttp import web

from app.core.counts.accounts import Account, Pair
from app.core.counts.book import Sums
from app.core.events import Identity
from app.core.measures.readings import LABELS, ModelSums, Readings
from app.core.outputs.comparisons import compared_with
from app.core.outputs.versions import Versions, of_sums, several, versions_before
from app.core.scores.version_drift import READ
from app.exporters.lines import Block, Compared
from app.exporters.packing import HEADER, Packed, Unpacker, trailer
from app.exporters.prometheus import CONTENT_TYPE, ModelText
from app.worker.ending import named

log = logging.getLogger(__name__)

_REST: Final = 9
#: For so many seconds a scrape waits for what has changed.
_PATIENCE: Final = 0.5
#: After so many seconds models that have no text yet are looked for again.
_LOOK: Final = 1.0
#: For so many seconds the loop is held at most before all others have their turn, a little more by the last step.
_TURN: Final = 0.005
#: A model with more cells than this, in total and in all windows, is made in a thread.
_MOST_CELLS: Final = 4_000
#: So much is sent at once: of what is packed, and of what is unpacked for it.
_PIECE_BYTES: Final = 1 << 18
_UNPACKED_BYTES: Final = 1 << 20


class _Before(NamedTuple):
    """The version before a model, and what it has counted in total."""

    identity: Identity
    total: Sums


class Exposition:
    """The text of the models of some readings, of at most `most` series. `longest_rest` is in seconds; `clock` counts
    them.
    """

    def __init__(
        self,
        readings: Readings,
        *,
        seldon: bool,
        most: int,
        longest_rest: float,
        boxkite: bool = False,
        patience: float = _PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.text = ModelText(seldon=seldon, most=most, rulebook=readings.rulebook, boxkite=boxkite)
        self._readings = readings
        self._longest_rest = longest_rest
        self._patience = patience
        self._clock = clock
        self._versions: dict[Identity, Any] = {}
        self._pairs: dict[Identity, list[Pair]] = {}  # by the first leg
        self._before: dict[Identity, Identity] = {}  # of each version of a model the one before it
        self._of_new: asyncio.Task[None] | None = None  # which makes the models that have no text
        self._of_changed: asyncio.Task[None] | None = None  # which makes those that have another one
        self._rests_until = 0.0
        self._looked = -_LOOK
        self._turn = 0.0

    def begin(self, now: float) -> None:
        """Begin to make the models that have no text yet, before a scrape asks; to be called a few times a second."""
        if self._clock() >= self._looked + _LOOK:
            self._looked = self._clock()
            self._make_new(now)

    async def refresh(self, now: float) -> None:
        """Bring the text up to what the view says now, unless that has just been done at some length."""
        await _wait_for(self._make_new(now))
        if _runs(self._of_changed) or self._clock() >= self._rests_until:
            await _wait_for(self._make_changed(now), self._patience)

    def close(self) -> None:
        """Make nothing any more."""
        for making in (self._of_new, self._of_changed):
            if making is not None:
                making.cancel()

    def _make_new(self, now: float) -> asyncio.Task[None]:
        if not _runs(self._of_new):
            self._of_new = _begun(self._bring_in(now))
        return self._of_new

    def _make_changed(self, now: float) -> asyncio.Task[None]:
        if not _runs(self._of_changed):
            self._of_changed = _begun(self._bring_up(now))
        return self._of_changed

    async def _bring_in(self, now: float) -> None:
        self._turn = self._clock()
        while new := self._new():  # others may come while these are made
            await self._find_others(now)
            for identity in new:
                await self._pause()
                await self._make(identity, now)

    def _new(self) -> list[Identity]:
        return [identity for identity in self._readings.view.identities() if identity not in self._versions]

    async def _bring_up(self, now: float) -> None:
        began = self._turn = self._clock()
        identities = self._readings.view.identities()
        for identity in self._versions.keys() - set(identities):
            del self._versions[identity]
            self.text.drop(identity)
        await self._find_others(now)
        for identity in identities:
            await self._pause()
            if identity in self._versions and self._version(identity, now) != self._versions[identity]:
                await self._make(identity, now)
        for identity in self.text.settle():
            await self._make(identity, now)
        ended = self._clock()
        self._rests_until = ended + min(_REST * (ended - began), self._longest_rest)

    async def _find_others(self, now: float) -> None:
        """Find out with what models are compared: other legs, and the version before."""
        view = self._readings.view
        self._pairs = {}
        for pair in view.pairs():
            self._pairs.setdefault(pair.first, []).append(pair)
        for versions in several(view.identities()):
            for identity in versions:
                for _ in view.prepare(Account(identity), now):
                    await self._pause()
        self._before = versions_before(self._readings)

    async def _make(self, identity: Identity, now: float) -> None:
        view = self._readings.view
        for account in self._accounts_of(identity):
            for _ in view.prepare(account, now):
                await self._pause()
        sums = self._readings.snapshot(identity, now)
        compared = self._compared(identity, now)
        known = self._known_before(identity)
        version = self._version(identity, now)
        first_seen = view.first_seen(identity)
        if sums is None:
            self.text.drop(identity)
            self._versions[identity] = version
            return
        if sums.cells > _MOST_CELLS or self._readings.rulebook.of(identity.leg).run_code:
            block = await asyncio.to_thread(self._block, identity, sums, first_seen, compared, known)
        else:
            readings = self._readings.of_sums(identity, sums)
            await self._pause()
            versions = self._versions_of(identity, sums, known)
            block = self.text.block(identity, readings, first_seen, compared, versions)
        self.text.put(identity, block)
        self._versions[identity] = version

    def _version(self, identity: Identity, now: float) -> Any:
        view = self._readings.view
        accounts = self._accounts_of(identity)
        for pair in self._pairs.get(identity, ()):
            accounts += self._readings.accounts_of_pair(pair)
        others = self._readings.history_version(identity, now), self._readings.rules_in_force(identity)
        before = self._before.get(identity)
        if before is not None:
            accounts.append(Account(before))
        return view.first_seen(identity), before, *others, *(view.version(account, now) for account in accounts)

    def _accounts_of(self, identity: Identity) -> list[Account]:
        """Those whose windows are shown."""
        return self._readings.accounts(identity)

    def _compared(self, identity: Identity, now: float) -> Compared:
        found = ((pair, self._readings.of_pair(pair, now)) for pair in self._pairs.get(identity, ()))
        return compared_with(((pair, it) for pair, it in found if it is not None), self._readings.rulebook)

    def _known_before(self, identity: Identity) -> _Before | None:
        """The version before a model, with a copy of what of its total is compared."""
        before = self._before.get(identity)
        if before is None:
            return None
        total = self._readings.view.total(Account(before))
        return _Before(before, {measure: dict(cells) for measure, cells in total.items() if measure in READ})

    def _versions_of(self, identity: Identity, sums: ModelSums, known: _Before | None) -> Versions | None:
        """How far a model is from the version before it."""
        if known is None:
            return None
        windows = {name: own for name, own in sums.whole.items() if not name.startswith(LABELS)}
        return of_sums(self._readings, known.identity, identity, known.total, windows)

    def _block(
        self, identity: Identity, sums: ModelSums, first_seen: int, compared: Compared, known: _Before | None
    ) -> Block:
        versions = self._versions_of(identity, sums, known)
        return self.text.block(identity, self._readings.of_sums(identity, sums), first_seen, compared, versions)

    async def _pause(self) -> None:
        """Let all others have their turn, if it is time."""
        if self._clock() - self._turn >= _TURN:
            await asyncio.sleep(0)
            self._turn = self._clock()


def _runs(making: asyncio.Task[None] | None) -> TypeGuard[asyncio.Task[None]]:
    return making is not None and not making.done()


def _begun(work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
    making = asyncio.create_task(work)
    making.add_done_callback(_report)
    return making


def _report(making: asyncio.Task[None]) -> None:
    """Say that a text could not be made: perhaps nobody waits for it."""
    error = None if making.cancelled() else making.exception()
    if error is not None:
        log.error("the series of the models could not be made (%s)", named(error))
        log.debug("the series of the models could not be made", exc_info=error)


async def _wait_for(making: asyncio.Task[None], seconds: float | None = None) -> None:
    """Wait until a text is made, at most so long; where it is given up, no longer."""
    await asyncio.wait([making], timeout=seconds)
    if making.done() and not making.cancelled():
        making.result()


async def send(request: web.Request, chunks: Iterable[Packed]) -> web.StreamResponse:
    """Answer with a text in pieces: as it is packed to who takes gzip, else unpacked."""
    packs = "gzip" in request.headers.get("Accept-Encoding", "")
    reply = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE} | ({"Content-Encoding": "gzip"} if packs else {}))
    await reply.prepare(request)
    if packs:
        await _send_packed(reply, chunks)
    else:
        unpack = Unpacker().unpack
        for piece in _pieces(chunks, lambda chunk: chunk.size, _UNPACKED_BYTES):
            await reply.write(await asyncio.to_thread(unpack, b"".join([chunk.data for chunk in piece])))
    await reply.write_eof()
    return reply


async def _send_packed(reply: web.StreamResponse, chunks: Iterable[Packed]) -> None:
    sizes: list[int] = []
    crcs: list[int] = []
    await reply.write(HEADER)
    for piece in _pieces(chunks, lambda chunk: len(chunk.data), _PIECE_BYTES):
        sizes += [chunk.size for chunk in piece]
        crcs += [chunk.crc for chunk in piece]
        await reply.write(b"".join([chunk.data for chunk in piece]))
        await asyncio.sleep(0)
    await reply.write(await asyncio.to_thread(trailer, sizes, crcs))


def _pieces(chunks: Iterable[Packed], size_of: Callable[[Packed], int], most: int) -> Iterator[list[Packed]]:
    """The same chunks, so many together that they have about that size."""
    piece: list[Packed] = []
    size = 0
    for chunk in chunks:
        piece.append(chunk)
        size += size_of(chunk)
        if size >= most:
            yield piece
            piece, size = [], 0
    if piece:
        yield piece
