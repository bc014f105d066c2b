"""How long a worker's loop is held: /live is asked all the time, and does nothing but answer."""

import http.client
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Final

PROBE_SECONDS: Final = 0.02
TIMEOUT_SECONDS: Final = 120.0


@contextmanager
def probing(port: int) -> Iterator[list[float]]:
    """Ask for /live every 20 ms inside the block; how long each answer took, in seconds. Whoever waits asks later."""
    waits: list[float] = []
    told = threading.Event()

    def probe() -> None:
        with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=TIMEOUT_SECONDS)) as connection:
            while not told.is_set():
                begin = time.monotonic()
                get(connection, "/live")
                waits.append(time.monotonic() - begin)
                told.wait(max(0.0, PROBE_SECONDS - waits[-1]))

    thread = threading.Thread(target=probe)
    thread.start()
    try:
        yield waits
    finally:
        told.set()
        thread.join()


def get(connection: http.client.HTTPConnection, path: str) -> bytes:
    """The text of what is at a path. Raises RuntimeError for another status than 200."""
    connection.request("GET", path)
    reply = connection.getresponse()
    text = reply.read()
    if reply.status != http.HTTPStatus.OK:
        raise RuntimeError(f"{path} answered {reply.status}")
    return text
