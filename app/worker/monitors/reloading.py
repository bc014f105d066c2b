"""Monitors while a worker runs: thresholds and files that have changed hold without a restart."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Final

from app.core.monitors import Monitor
from app.core.rules import Rulebook, Rules
from app.models_file import load_rulebook
from app.settings import SettingsError

_LOOK_SECONDS: Final = 2.0

log = logging.getLogger(__name__)


def has_monitors(rulebook: Rulebook) -> bool:
    """Whether any model has monitors."""
    return any(entry.monitors for entry in rulebook.entries)


class Reloading:
    """Looks after the monitors of a rulebook. `tell` is given what is wrong with the file, None where nothing is: then
    all stays as it was.

    What is new of a monitor that there was holds from now on. Whatever else has changed in the file holds after a
    restart, as do monitors that are new.
    """

    def __init__(self, path: Path, rulebook: Rulebook, tell: Callable[[str | None], None]) -> None:
        self._path = path
        self._rulebook = rulebook
        self._tell = tell

    async def run(self) -> None:
        """Look every few seconds."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Take over what has changed."""
        try:
            fresh = await asyncio.to_thread(load_rulebook, self._path)
        except SettingsError as error:
            sentence = " ".join(str(error).split())
            self._tell(f"{sentence} What monitors were before is still in force: mend it.")
            return
        self._tell(None)
        for old, new in zip(self._rulebook.entries, fresh.entries, strict=False):
            if old.match == new.match:
                _take_over(old, new)


def _take_over(old: Rules, new: Rules) -> None:
    found: dict[str, Monitor] = {monitor.spec.name: monitor for monitor in new.monitors}
    for monitor in old.monitors:
        fresh = found.get(monitor.spec.name)
        if fresh is not None and (fresh.spec, fresh.code) != (monitor.spec, monitor.code):
            log.info(
                "monitor=%s of %s has changed: version=%s alert_when=%s",
                fresh.spec.name, old.match, fresh.spec.version, fresh.spec.when,
            )  # fmt: skip
            monitor.spec, monitor.code = fresh.spec, fresh.code
