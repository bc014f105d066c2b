"""The worker's side of monitors: the process of the runner, which is started again where it ends."""

import asyncio
import contextlib
import logging
import sys
from typing import Final

from app.core.rules import Rulebook
from app.settings import Settings
from app.worker.monitors.reloading import Reloading
from app.worker.troubles import Troubles

log = logging.getLogger(__name__)

_FIRST_PAUSE: Final = 1.0
_LONGEST_PAUSE: Final = 60.0
#: A runner that has run for so long had gone well.
_LONG: Final = 60.0
_LEAVE_SECONDS: Final = 10.0
_TOPIC: Final = "monitors"


async def watch_monitors(settings: Settings, rulebook: Rulebook, notes: Troubles) -> None:
    """Run the monitors of a rulebook beside this worker, until it is cancelled. What is wrong goes to `notes`."""
    assert settings.config is not None
    if settings.log_topic is None:
        notes.note(
            _TOPIC,
            "Monitors score the log of joined records, and none is written: set TALLY_LOG_TOPIC, like inference-log.",
        )
        return
    reloading = Reloading(settings.config, rulebook, lambda sentence: notes.note("monitors of TALLY_CONFIG", sentence))
    async with asyncio.TaskGroup() as group:
        group.create_task(reloading.run())
        group.create_task(_keep_running(notes))


async def _keep_running(notes: Troubles) -> None:
    loop = asyncio.get_running_loop()
    pause = _FIRST_PAUSE
    while True:
        began = loop.time()
        code = await _run_once()
        if loop.time() - began > _LONG:
            pause = _FIRST_PAUSE
        notes.note(_TOPIC, f"The process that runs monitors ended with {code}: it is started again, and goes on.")
        await asyncio.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
        notes.note(_TOPIC, None)


async def _run_once() -> int:
    """Run the runner once. Returns its exit code. It ends itself when this process does: its input closes."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.worker.monitors", stdin=asyncio.subprocess.PIPE
    )
    try:
        return await process.wait()
    finally:
        if process.returncode is None:
            assert process.stdin is not None
            process.stdin.close()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_LEAVE_SECONDS):
                    await process.wait()
            if process.returncode is None:
                process.kill()
