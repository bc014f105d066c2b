"""`python -m app.demo.guard`: cleans up after a demo that was killed and could not do so by itself.

It is told on its standard input, a line each: `worker PID`, `gone PID`, `folder PATH`, `topic NAME`, and `done` by a
demo that has cleaned up. The input ends with the demo, however that ends. Its settings are those of the demo's workers.
"""

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Final, Self

_GRACE_SECONDS: Final = 5.0


class Guard:
    """The process, as the demo has it."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "app.demo.guard"],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=dict(environment),
            start_new_session=True,  # whatever kills the demo's terminal or its group leaves this alone
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """All is cleaned up."""
        self.tell("done")
        self._process.communicate()

    def tell(self, what: str, name: str | int = "") -> None:
        """Tell it a line."""
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # somebody has killed it: it will not be needed, let us hope
            self._process.stdin.write(f"{what} {name}\n".encode())
            self._process.stdin.flush()


def watch(lines: Iterable[str]) -> None:
    """Read to the end of the lines; unless the demo is done then, leave nothing of it."""
    workers, folders, topics = set[int](), set[Path](), list[str]()
    for line in lines:
        what, _, name = line.rstrip("\n").partition(" ")
        match what:
            case "worker":
                workers.add(int(name))
            case "gone":
                workers.discard(int(name))
            case "folder":
                folders.add(Path(name))
            case "topic":
                topics.append(name)
            case "done":
                return
            case _:  # a line that the end of the demo has cut off
                pass
    _end(workers)
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
    if topics:
        from app.demo.broker import remove_traces
        from app.settings import load_settings

        remove_traces(load_settings(), topics)


def _end(workers: set[int]) -> None:
    """End the workers, which are nobody's children any more, in order or by force."""
    end = time.monotonic() + _GRACE_SECONDS
    left = {pid for pid in workers if _signal(pid, signal.SIGTERM)}
    while left and time.monotonic() < end:
        time.sleep(0.05)
        left = {pid for pid in left if _signal(pid, 0)}
    for pid in left:
        _signal(pid, signal.SIGKILL)


def _signal(pid: int, number: int) -> bool:
    """Send a signal to a worker and what it has started (each leads a group of its own); whether it was there."""
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError):
        return False
    return True


if __name__ == "__main__":
    for ignored in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ignored, signal.SIG_IGN)  # the end of its input ends it
    watch(sys.stdin)
