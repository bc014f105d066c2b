"""The demo's workers: processes of `tally worker`, asked over HTTP as any user would."""

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from app.worker.ending import EXIT_SETUP
from app.worker.kafka.client import SetupError

ASK_SECONDS = 2
GRACE_SECONDS = 10


class WorkerProcess:
    """One worker process; what it says goes to a file."""

    def __init__(self, host: str, port: int, environment: Mapping[str, str], folder: Path) -> None:
        self.host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared, not bound
        self.port = port
        self.mourned = False
        self._log = folder / f"worker-{port}.log"
        own = {"TALLY_WEB_PORT": str(port), "TALLY_DATA_DIR": str(folder / f"worker-{port}")}
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "app", "worker", "--log-level", "WARNING"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env={**environment, **own},
                start_new_session=True,  # Ctrl-C reaches the demo, which ends its workers in order
            )

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def url(self) -> str:
        """Where it answers."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"http://{host}:{self.port}"

    @property
    def lives(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    @property
    def refused(self) -> bool:
        """Whether the process ended because something around it must change first."""
        return self._process.poll() == EXIT_SETUP

    @property
    def end(self) -> str:
        """How the process ended, and the last that it said."""
        code = self._process.poll()
        how = (
            f"killed by {signal.Signals(-code).name}"
            if code is not None and code < 0
            else f"ended with exit code {code}"
        )
        lines = self._log.read_text(errors="replace").split("\n")
        last = next((line.removeprefix("tally: ") for line in reversed(lines) if line.strip()), "")
        return f"{how}: {last}" if last and (code is None or code >= 0) else how

    def ask(self, path: str) -> Any:
        """The JSON at a path, None where there is no good answer."""
        status, body = self._request("GET", path)
        try:
            return orjson.loads(body) if status == 200 else None
        except orjson.JSONDecodeError:
            return None

    def give_feedback(self, body: Any) -> bool:
        """Send a feedback. Returns whether Kafka has it."""
        return self._request("POST", "/feedback", orjson.dumps(body))[0] == 202

    def _request(self, method: str, path: str, body: bytes | None = None) -> tuple[int, bytes]:
        """The status and the body of an answer; 0 where there is none."""
        connection = http.client.HTTPConnection(self.host, self.port, timeout=ASK_SECONDS)
        try:
            connection.request(method, path, body)
            reply = connection.getresponse()
            return reply.status, reply.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    def partitions(self) -> list[int]:
        """The partitions that it has loaded; none while it is not ready."""
        answer = self.ask("/ready")
        return answer["partitions"] if answer else []

    def tell_to_stop(self) -> None:
        """Ask the process to end."""
        self._process.terminate()

    def wait(self, seconds: float) -> None:
        """Wait for the end of the process; kill it when that takes longer."""
        try:
            self._process.wait(max(0.0, seconds))
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def stop_workers(workers: Sequence[WorkerProcess], is_impatient: Callable[[], bool]) -> None:
    """End all of them, those that take too long by force; all at once where the user is impatient."""
    for worker in workers:
        worker.tell_to_stop()
    end = time.monotonic() + GRACE_SECONDS
    while any(worker.lives for worker in workers) and time.monotonic() < end and not is_impatient():
        time.sleep(0.05)
    for worker in workers:
        worker.wait(0)


def worker_environment(own: Mapping[str, str]) -> dict[str, str]:
    """The environment of this process, with the demo's settings in place of all but how Kafka is reached."""
    kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("TALLY_")}
    kafka = {name: value for name, value in os.environ.items() if name.upper().startswith("TALLY_KAFKA_")}
    return kept | kafka | {f"TALLY_{name.upper()}": value for name, value in own.items()}


def choose_port(host: str, wanted: int, *, insist: bool) -> int:
    """The wanted port, or one that is free. Raises `SetupError` where it must be that one and is taken."""
    if wanted and _is_free(host, wanted):
        return wanted
    if wanted and insist:
        raise SetupError(f"TALLY_WEB_PORT: port {wanted} of {host} is taken; choose another, or leave it unset.")
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        try:
            probe.bind((host, 0))
        except OSError as error:
            raise SetupError(f"TALLY_WEB_HOST: nothing can listen on {host} ({error.strerror}).") from None
        return int(probe.getsockname()[1])


def _is_free(host: str, port: int) -> bool:
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((host, port))
        return True
    return False
