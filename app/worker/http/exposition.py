"""The model series as they are scraped: kept as text, and made anew where something has changed.

What a text says of a model, in total and in all windows, is of one moment; two models may be some time apart, as long
as the text takes. Nothing here holds the worker's loop for long: what waits to be added up is added bit by bit, models
are made one at a time, and those with very many cells, or with scores that are the user's own code, in a thread, from
a copy. What has not changed since the last scrape is taken as it is; after a text that took long the next one is made
only when four times as long has passed, so that scrapes never take more than a fifth of the worker's time; and what is
sent goes out in pieces.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Iterable
from typing import Any, Final

from aiohttp import web

from app.core.counts.accounts import BY_LABELS, Account, Pair
from app.core.counts.view import Sums
from app.core.events import Identity
from app.core.measures.readings import Readings
from app.core.outputs.comparisons import compared_with
from app.exporters.prometheus import CONTENT_TYPE, Block, Compared, ModelText

_REST: Final = 4
#: For so many seconds the loop is held at most before all others have their turn, a little more by the last step.
_TURN: Final = 0.005
#: A model with more cells than this, in total and in all windows, is made in a thread.
_MOST_CELLS: Final = 4_000
_PIECE_BYTES: Final = 1 << 18
_GZIP: Final = 31  # as zlib names that format


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
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.text = ModelText(seldon=seldon, most=most, rulebook=readings.rulebook)
        self._readings = readings
        self._longest_rest = longest_rest
        self._clock = clock
        self._versions: dict[Identity, Any] = {}
        self._pairs: dict[Identity, list[Pair]] = {}  # by the first leg
        self._making = asyncio.Lock()
        self._rests_until = 0.0
        self._turn = 0.0

    async def refresh(self, now: float) -> None:
        """Bring the text up to what the view says now, unless that has just been done at some length."""
        async with self._making:
            began = self._turn = self._clock()
            if began < self._rests_until:
                return
            view = self._readings.view
            identities = view.identities()
            for identity in self._versions.keys() - set(identities):
                del self._versions[identity]
                self.text.drop(identity)
            self._pairs = {}
            for pair in view.pairs():
                self._pairs.setdefault(pair.first, []).append(pair)
            for identity in identities:
                await self._pause()
                if self._version(identity, now) != self._versions.get(identity):
                    await self._make(identity, now)
            for identity in self.text.settle():
                await self._make(identity, now)
            ended = self._clock()
            self._rests_until = ended + min(_REST * (ended - began), self._longest_rest)

    async def _make(self, identity: Identity, now: float) -> None:
        view = self._readings.view
        for account in self._accounts_of(identity):
            for _ in view.prepare(account, now):
                await self._pause()
        sums = self._readings.snapshot(identity, now)
        compared = self._compared(identity, now)
        self._versions[identity] = self._version(identity, now)
        first_seen = view.first_seen(identity)
        if sums is None:
            self.text.drop(identity)
            return
        many = sum(len(cells) for some in sums.values() for cells in some.values()) > _MOST_CELLS
        if many or self._readings.rulebook.of(identity.leg).run_code:
            block = await asyncio.to_thread(self._block, identity, sums, first_seen, compared)
        else:
            readings = self._readings.of_sums(identity, sums)
            await self._pause()
            block = self.text.block(identity, readings, first_seen, compared)
        self.text.put(identity, block)

    def _version(self, identity: Identity, now: float) -> Any:
        view = self._readings.view
        accounts = [*self._accounts_of(identity), *map(Account, self._pairs.get(identity, ()))]
        return view.first_seen(identity), *(view.version(account, now) for account in accounts)

    def _accounts_of(self, identity: Identity) -> list[Account]:
        """Those whose windows are shown."""
        own = Account(identity)
        return [own, own._replace(segment=BY_LABELS)] if self._readings.view.by_labels else [own]

    def _compared(self, identity: Identity, now: float) -> Compared:
        found = ((pair, self._readings.of_pair(pair, now)) for pair in self._pairs.get(identity, ()))
        return compared_with(((pair, it) for pair, it in found if it is not None), self._readings.rulebook)

    def _block(self, identity: Identity, sums: dict[str, Sums], first_seen: int, compared: Compared) -> Block:
        return self.text.block(identity, self._readings.of_sums(identity, sums), first_seen, compared)

    async def _pause(self) -> None:
        """Let all others have their turn, if it is time."""
        if self._clock() - self._turn >= _TURN:
            await asyncio.sleep(0)
            self._turn = self._clock()


async def send(request: web.Request, chunks: Iterable[bytes]) -> web.StreamResponse:
    """Answer with a text in pieces, compressed for who takes that."""
    packs = "gzip" in request.headers.get("Accept-Encoding", "")
    reply = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE} | ({"Content-Encoding": "gzip"} if packs else {}))
    await reply.prepare(request)
    packer = zlib.compressobj(1, wbits=_GZIP) if packs else None
    piece: list[bytes] = []
    size = 0
    for chunk in chunks:
        piece.append(chunk)
        size += len(chunk)
        if size >= _PIECE_BYTES:
            await _write(reply, packer, b"".join(piece))
            piece, size = [], 0
    await _write(reply, packer, b"".join(piece))
    if packer is not None:
        await reply.write(packer.flush())
    await reply.write_eof()
    return reply


async def _write(reply: web.StreamResponse, packer: Any, data: bytes) -> None:
    if packer is not None:
        data = await asyncio.to_thread(packer.compress, data) if len(data) > 1 << 16 else packer.compress(data)
    if data:
        await reply.write(data)
    await asyncio.sleep(0)
