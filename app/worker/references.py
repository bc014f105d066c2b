"""The references of models while a worker runs: a file that has changed is read again, without a restart."""

import asyncio
import logging
from pathlib import Path
from typing import Final

from app.core.drift.live import Watched
from app.core.rules import Rulebook
from app.reference_file import ReferenceFileError, place_of, read_reference
from app.worker.troubles import Troubles

_LOOK_SECONDS: Final = 5.0
#: What tells a file from the one that was there before.
_Stamp = tuple[int, int, int]

log = logging.getLogger(__name__)


class References:
    """Looks after the files of a rulebook. What is wrong with one goes to `notes`; its model keeps the reference that
    it has.
    """

    def __init__(self, rulebook: Rulebook, notes: Troubles) -> None:
        self._watched = [one for entry in rulebook.entries if (one := entry.reference) is not None and one.path]
        self._notes = notes
        self._stamps: dict[Watched, _Stamp | None] = {}

    async def run(self) -> None:
        """Look at the files every few seconds."""
        while True:
            await self.look()
            await asyncio.sleep(_LOOK_SECONDS)

    async def look(self) -> None:
        """Read what has changed since it was last looked at; at first all, since nobody knows what came in between."""
        for watched in self._watched:
            stamp = await asyncio.to_thread(_stamp, watched.path)
            if watched not in self._stamps or stamp != self._stamps[watched]:
                self._stamps[watched] = stamp  # what is written while it is read has another one
                await self._read(watched)

    async def _read(self, watched: Watched) -> None:
        try:
            reference = await asyncio.to_thread(read_reference, Path(watched.path))
        except ReferenceFileError as error:
            self._notes.note(
                f"reference {watched.path}",
                f"The reference {watched.path}{error}. What it was before is still in force: mend the file.",
            )
            return
        self._notes.note(f"reference {watched.path}", None)
        if reference.digest != watched.live.reference.digest:
            log.info("%s has changed: drift is counted anew, by reference %s", watched.path, reference.digest)
            watched.live = watched.live.with_reference(reference)


def _stamp(path: str) -> _Stamp | None:
    try:
        known = place_of(Path(path)).stat()
    except OSError:
        return None
    return known.st_mtime_ns, known.st_size, known.st_ino
