"""`python -m tests.live.services`: Kafka and Elasticsearch on loopback until Ctrl-C; prints how to reach them.

They are on their usual ports where these are free, else on others.
"""

import argparse
import contextlib
import signal
import socket
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.live import servers

KAFKA_PORT = 9092
ELASTICSEARCH_PORT = 9200
NAMES = {"kafka": f"Kafka {servers.KAFKA_VERSION}", "elasticsearch": f"Elasticsearch {servers.ELASTICSEARCH_VERSION}"}


def main() -> int:
    """Return 0 after Ctrl-C or SIGTERM, 1 where a server cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.live.services", description=__doc__)
    parser.add_argument("--only", choices=[*NAMES], help="start this one alone")
    only = parser.parse_args().only
    for sign in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # a shell's background job ignores the first one
        signal.signal(sign, _interrupt)
    try:
        serve(only)
    except KeyboardInterrupt:
        print("# stopped", flush=True)
    except (servers.Missing, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def serve(only: str | None) -> NoReturn:
    """Start what is asked for and wait; the folder goes when an exception ends it."""
    wanted = [only] if only else [*NAMES]
    what = " and ".join(NAMES[name] for name in wanted)
    print(f"# Starting {what} on loopback: about 10 s each; the first time they are fetched, some minutes.", flush=True)
    began = time.monotonic()
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="tally-services-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        if "kafka" in wanted:
            broker = stack.enter_context(servers.kafka(folder, own=True, port=port_or_free(KAFKA_PORT), lasting=True))
            print(f"export TALLY_KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap}")
            print(f"export TALLY_TEST_BROKER={broker.bootstrap}", flush=True)
        if "elasticsearch" in wanted:
            port = port_or_free(ELASTICSEARCH_PORT)
            try:
                node = stack.enter_context(servers.elasticsearch(folder, own=True, port=port, lasting=True))
            except servers.Missing as missing:
                if only:
                    raise
                print(f"# No Elasticsearch, Kafka alone: {missing}", flush=True)
            else:
                print(f"export TALLY_ELASTICSEARCH_URL={node.url}")
                print(f"export TALLY_TEST_ELASTICSEARCH={node.url}", flush=True)
        print(
            f"# Up after {time.monotonic() - began:.0f} s. Paste the lines above into the shell that runs Tally or its "
            "tests; Ctrl-C stops all and removes the data.",
            flush=True,
        )
        while True:
            time.sleep(1)  # a signal that comes just before `signal.pause` begins to wait would not be heard


def port_or_free(port: int) -> int:
    """The port where nobody has it, else one that is free."""
    with socket.socket() as probe, contextlib.suppress(OSError):
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind((servers.HOST, port))
        return port
    return servers.free_port()


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
