"""Asks a worker for /live every 20 ms until its own input ends; then prints how long each answer took, in seconds.

It is a process of its own, so that what the bench does meanwhile (it reads and counts hundreds of megabytes) is not
taken for the worker's: `python -m tests.bench.probe PORT`.
"""

import http.client
import sys
import threading
import time
from typing import Final

PROBE_SECONDS: Final = 0.02
TIMEOUT_SECONDS: Final = 120.0


def main() -> None:
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=TIMEOUT_SECONDS)
    ended = threading.Thread(target=sys.stdin.read, daemon=True)
    ended.start()
    waits = []
    while ended.is_alive():
        begin = time.monotonic()
        connection.request("GET", "/live")
        reply = connection.getresponse()
        reply.read()
        if reply.status != http.HTTPStatus.OK:
            sys.exit(f"/live answered {reply.status}")
        waits.append(time.monotonic() - begin)
        time.sleep(max(0.0, PROBE_SECONDS - waits[-1]))  # whoever waits asks later
    print(*waits)


if __name__ == "__main__":
    main()
