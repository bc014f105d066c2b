"""The model series as they are scraped: kept as text, and made anew where something has changed.

The text of a model costs a millisecond, of a thousand models a second. So what has not changed since the last scrape is
taken as it is; after a text that took long the next one is made only when four times as long has passed, so that
scrapes never take more than a fifth of the worker's time; and what is sent goes out in pieces.
"""

import asyncio
import time
import zlib
from collections.abc import Callable, Iterable
from typing import Any, Final

from aiohttp import web

from app.core.counts.accounts import Account
from app.core.events import Identity
from app.core.measures.readings import Readings
from app.exporters.prometheus import CONTENT_TYPE, ModelText

_REST: Final = 4
_PIECE_BYTES: Final = 1 << 18
_GZIP: Final = 31  # as zlib names that format


class Exposition:
    """The text of the models of some readings. `longest_rest` is in seconds; `clock` counts them."""

    def __init__(
        self,
        readings: Readings,
        *,
        seldon: bool,
        longest_rest: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.text = ModelText(seldon=seldon)
        self._readings = readings
        self._longest_rest = longest_rest
        self._clock = clock
        self._versions: dict[Identity, Any] = {}
        self._making = asyncio.Lock()
        self._rests_until = 0.0

    async def refresh(self, now: float) -> None:
        """Bring the text up to what the view says now, unless that has just been done at some length."""
        async with self._making:
            began = self._clock()
            if began < self._rests_until:
                return
            view = self._readings.view
            identities = view.identities()
            for identity in self._versions.keys() - set(identities):
                del self._versions[identity]
                self.text.drop(identity)
            for identity in identities:
                first_seen = view.first_seen(identity)
                version = (first_seen, *view.version(Account(identity), now))
                if version == self._versions.get(identity):
                    continue
                self._versions[identity] = version
                readings = self._readings.of_model(identity, now)
                if readings is None:
                    self.text.drop(identity)
                else:
                    self.text.add(identity, readings, first_seen)
                await asyncio.sleep(0)
            ended = self._clock()
            self._rests_until = ended + min(_REST * (ended - began), self._longest_rest)


async def send(request: web.Request, chunks: Iterable[str]) -> web.StreamResponse:
    """Answer with a text in pieces, compressed for who takes that."""
    packs = "gzip" in request.headers.get("Accept-Encoding", "")
    reply = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE} | ({"Content-Encoding": "gzip"} if packs else {}))
    await reply.prepare(request)
    packer = zlib.compressobj(1, wbits=_GZIP) if packs else None
    piece: list[str] = []
    size = 0
    for chunk in chunks:
        piece.append(chunk)
        size += len(chunk)
        if size >= _PIECE_BYTES:
            await _write(reply, packer, "".join(piece))
            piece, size = [], 0
    await _write(reply, packer, "".join(piece))
    if packer is not None:
        await reply.write(packer.flush())
    await reply.write_eof()
    return reply


async def _write(reply: web.StreamResponse, packer: Any, text: str) -> None:
    data = text.encode()
    if packer is not None:
        data = await asyncio.to_thread(packer.compress, data) if len(data) > 1 << 16 else packer.compress(data)
    if data:
        await reply.write(data)
    await asyncio.sleep(0)
