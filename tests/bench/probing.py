"""How long a worker's loop is held: /live is asked all the time, and does nothing but answer."""

import http.client
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

TIMEOUT_SECONDS: Final = 120.0


@contextmanager
def probing(port: int) -> Iterator[list[float]]:
    """Ask for /live every 20 ms inside the block; afterwards, how long each answer took, in seconds."""
    waits: list[float] = []
    command = [sys.executable, "-m", "tests.bench.probe", str(port)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as probe:
        try:
            yield waits
        finally:
            answers, _ = probe.communicate()
    waits += map(float, answers.split())


def get(connection: http.client.HTTPConnection, path: str, headers: Mapping[str, str] | None = None) -> bytes:
    """The text of what is at a path. Raises RuntimeError for another status than 200."""
    connection.request("GET", path, headers=headers or {})
    reply = connection.getresponse()
    text = reply.read()
    if reply.status != http.HTTPStatus.OK:
        raise RuntimeError(f"{path} answered {reply.status}")
    return text
