"""The window writer: in the worker that exports, the documents of counts that have changed go to Elasticsearch.

Every worker notes what has changed, so that whichever exports next writes what the one before has not. The version of a
document is the time at which it was made: what a worker that no longer exports sends late overwrites nothing newer.
"""

import asyncio
import logging
import time
from collections.abc import Callable
from typing import Final

from app.core.measures.readings import Readings
from app.core.outputs.history import Document, History
from app.core.outputs.windows import WindowDocument
from app.exporters.elasticsearch.templates import HISTORY_TEMPLATES
from app.exporters.elasticsearch.writes import Elasticsearch, Place, Result, Write
from app.settings import Settings

log = logging.getLogger(__name__)

_EVERY_SECONDS: Final = 5.0
#: Documents that are made in one go; the lane and the web server have their turn in between.
_SLICE: Final = 25
_MOST: Final = 500


def _writes(documents: list[Document], version: int) -> dict[Place, Write]:
    return {document.place: Write(document.place, version, document.body) for document in documents}


class WindowWriter:
    """The window writer of this worker. `exports` says whether it is the one that exports, `now` what the time is."""

    def __init__(
        self, settings: Settings, readings: Readings, exports: Callable[[], bool], now: Callable[[], float]
    ) -> None:
        self._documents = History(readings, settings.clock, now())
        self._elasticsearch = Elasticsearch(settings)
        self._exports = exports
        self._now = now
        self._dropped = 0
        self._behind = False
        self.task: asyncio.Task[None] | None = None
        self._writing: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin."""
        self.task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End, whatever is on its way: who exports next writes it."""
        for task in (self.task, self._writing):
            if task is not None:
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        await self._elasticsearch.close()

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(_EVERY_SECONDS)
            try:
                self._look()
            except Exception:  # a defect; the worker must not end with it
                log.exception("windows could not be looked at")

    def _look(self) -> None:
        exporting = self._exports()
        self._documents.note(self._now(), writing=exporting)
        if self._documents.dropped > self._dropped:
            log.error("documents=%d of windows were dropped: too many waited", self._documents.dropped - self._dropped)
            self._dropped = self._documents.dropped
        busy = self._writing is not None and not self._writing.done()
        if exporting and not busy:
            self._writing = asyncio.get_running_loop().create_task(self._write())
        elif not exporting and busy:
            assert self._writing is not None
            self._writing.cancel()

    async def _write(self) -> None:
        """Write all that has changed. What Elasticsearch cannot take now is tried again for as long as it takes."""
        try:
            await self._elasticsearch.prepare(HISTORY_TEMPLATES)
            while self._exports() and await self._write_some():
                pass
        except Exception:  # a defect; what was not written is put back
            log.exception("windows could not be written")

    async def _write_some(self) -> bool:
        """Write some documents. Whether there were any, and none met a newer one."""
        version = time.time_ns() // 1_000_000
        waiting: dict[Place, Document] = {}
        writes: dict[Place, Write] = {}  # the same, made
        conflict = False
        refused = []
        try:
            while len(waiting) < _MOST and (some := self._documents.take(self._now(), _SLICE)):
                waiting |= {document.place: document for document in some}
                slow = any(isinstance(document, WindowDocument) and document.runs_code for document in some)
                writes |= await asyncio.to_thread(_writes, some, version) if slow else _writes(some, version)
                await asyncio.sleep(0)
            async for write, outcome in self._elasticsearch.write([*writes.values()]):
                if outcome.result is Result.REFUSED:
                    refused.append(f"{'/'.join(write.place)}: {outcome.reason}")
                # A newer one is by a worker whose clock is ahead, and may know less. (There may be nothing to remove.)
                if outcome.result is Result.CONFLICT and write.body is not None:
                    conflict = True
                else:
                    del waiting[write.place]
        finally:
            self._documents.put_back(waiting.values(), self._now())
        if refused:
            log.error("documents=%d of windows were refused, among them %s", len(refused), refused[0])
        if conflict and not self._behind:
            log.warning("windows wait: a worker whose clock is ahead of this one's has written them before")
        self._behind = conflict
        return bool(writes) and not conflict
