"""`tally` in processes that begin as a copy of one that has loaded it: loading is most of what a start costs.

What a test asks of how `tally` itself starts must start it by its command line.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Final, NamedTuple

from tests.patience import PATIENCE

_FORKS: Final = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(["app.commands.tally", "app.worker.run", "app.cli.ends"])


class Streams(NamedTuple):
    """The files that a process reads and writes."""

    given: Path
    output: Path
    errors: Path


class Forked:
    """A process that runs `tally`; has of `subprocess.Popen` what tests ask."""

    def __init__(self, words: Sequence[str], environment: Mapping[str, str], streams: Streams) -> None:
        what = (words, dict(environment), streams, Path.cwd())
        self._process: ForkServerProcess = _FORKS.Process(target=_be, args=what)
        self._process.start()

    @property
    def pid(self) -> int:
        """Its number in the system."""
        assert self._process.pid is not None
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """How it ended, as `subprocess.Popen` has it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """How it ended, once it has. Raises `subprocess.TimeoutExpired` where that takes longer, in seconds."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("tally", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self.send_signal(signal.SIGKILL)


def without_settings() -> dict[str, str]:
    """The environment of the tests, without settings of Tally."""
    return {name: value for name, value in os.environ.items() if not name.startswith("TALLY_")}


def run(
    settings: Mapping[str, str], *words: str | Path, given: bytes = b"", seconds: float = PATIENCE
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command of `tally` with these settings alone, to its end."""
    environment = without_settings() | {f"TALLY_{name}": value for name, value in settings.items()}
    with tempfile.TemporaryDirectory() as name:
        streams = Streams(*(Path(name, stream) for stream in Streams._fields))
        streams.given.write_bytes(given)
        process = Forked([str(word) for word in words], environment, streams)
        try:
            code = process.wait(seconds)
        finally:
            process.kill()
            process.wait()
        return subprocess.CompletedProcess(words, code, streams.output.read_bytes(), streams.errors.read_bytes())


def run_text(
    settings: Mapping[str, str], *words: str | Path, seconds: float = PATIENCE
) -> "subprocess.CompletedProcess[str]":
    """The same, with what it says as texts."""
    done = run(settings, *words, seconds=seconds)
    return subprocess.CompletedProcess(words, done.returncode, done.stdout.decode(), done.stderr.decode())


def _be(words: Sequence[str], environment: Mapping[str, str], streams: Streams, folder: Path) -> None:
    """In the new process: be what `tally` would be with this environment, in this folder."""
    os.environ.clear()
    os.environ.update(environment)
    time.tzset()
    os.chdir(folder)
    os.dup2(os.open(streams.given, os.O_RDONLY), 0)
    for number, file in ((1, streams.output), (2, streams.errors)):
        os.dup2(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644), number)
    sys.stdin = open(0)  # noqa: SIM115 - for as long as the process lasts
    sys.argv[:] = ["tally", *words]
    from app.commands.tally import main

    main(prog_name="tally")
