"""Run histories again: `python -m tests.simulation SEED` tells one step by step, two seeds run all between them.

Each line has the time in the history, whose process speaks, and what it says; of what the broker does each request is
told when it takes effect. The same seed tells the same to the last step.
"""

import argparse
import asyncio
import logging
import sys
import time
import traceback

from tests.simulation.history import HistoryError, run_histories, run_history
from tests.simulation.loop import current_process
from tests.simulation.mistakes import MISTAKES, MISTAKES_ON_DISK


class Teller(logging.Formatter):
    """When in the history, who, and what."""

    def format(self, record: logging.LogRecord) -> str:
        loop, process = asyncio._get_running_loop(), current_process()
        now = loop.time() if loop is not None else 0.0
        return f"{now:9.4f}  {process.name if process is not None else 'broker':9} {record.getMessage()}"


def main() -> int:
    """Run what the arguments name; 1 where a history did not end as it must."""
    arguments = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    arguments.add_argument("seed", type=int)
    arguments.add_argument("last", type=int, nargs="?", help="run all seeds up to this one, and tell nothing of them")
    arguments.add_argument("--on-disk", action="store_true", help="let workers keep their exchanges on disk")
    arguments.add_argument(
        "--mistake", choices=sorted({**MISTAKES, **MISTAKES_ON_DISK}), help="put this mistake into the lane"
    )
    given = arguments.parse_args()
    mistake = {**MISTAKES, **MISTAKES_ON_DISK}[given.mistake] if given.mistake else None
    began = time.perf_counter()
    if given.last is None:
        handler = logging.StreamHandler(sys.stdout)
        handler.setFormatter(Teller())
        logging.basicConfig(level=logging.DEBUG, handlers=[handler])
        logging.getLogger("asyncio").setLevel(logging.INFO)
        try:
            print(run_history(given.seed, mistake, on_disk=given.on_disk))
        except HistoryError as error:
            traceback.print_exception(error.__cause__, file=sys.stdout)
            print(error)
            return 1
        return 0
    logging.disable()
    failed = list(run_histories(range(given.seed, given.last + 1), mistake, on_disk=given.on_disk))
    count, seconds = given.last + 1 - given.seed, time.perf_counter() - began
    for failure in failed:
        print(failure)
    print(f"{count} histories in {seconds:.1f} s, {count / seconds:.0f} a second; {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
