"""`python -m tests.live.services`: Kafka and Elasticsearch on loopback until Ctrl-C; prints how to reach them."""

import argparse
import signal
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path
from types import FrameType
from typing import NoReturn

from tests.live import servers


def main() -> int:
    """Return 0 after Ctrl-C or SIGTERM, 1 where a server cannot be had."""
    parser = argparse.ArgumentParser(prog="python -m tests.live.services", description=__doc__)
    parser.add_argument("--only", choices=["kafka", "elasticsearch"], help="start this one alone")
    only = parser.parse_args().only
    for sign in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sign, _interrupt)
    try:
        serve(only)
    except KeyboardInterrupt:
        print("# stopped", flush=True)
    except servers.Missing as missing:
        print(missing, file=sys.stderr)
        return 1
    return 0


def serve(only: str | None) -> NoReturn:
    """Start what is asked for and wait; the folder goes when an exception ends it."""
    with ExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="tally-services-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        if only != "elasticsearch":
            broker = stack.enter_context(servers.kafka(folder, own=True))
            print(f"export TALLY_KAFKA_BOOTSTRAP_SERVERS={broker.bootstrap}")
            print(f"export TALLY_TEST_BROKER={broker.bootstrap}", flush=True)
        if only != "kafka":
            node = stack.enter_context(servers.elasticsearch(folder, own=True))
            print(f"# export TALLY_ELASTICSEARCH_URL={node.url}   (this setting arrives with the document writer)")
            print(f"export TALLY_TEST_ELASTICSEARCH={node.url}", flush=True)
        print("# Ctrl-C stops them and removes their data", flush=True)
        while True:
            signal.pause()


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
