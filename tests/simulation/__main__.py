"""Histories from the command line.

python -m tests.simulation 17                    history 17, told step by step; again and again the same
python -m tests.simulation 17 --mistake NAME     the same with a mistake put into the lane
python -m tests.simulation --histories 100000    so many, on all cores, from a seed of today (or --first SEED)
"""

import argparse
import asyncio
import logging
import random
import sys
import time
import traceback
from concurrent.futures import ProcessPoolExecutor

from tests.simulation.history import HistoryError, run_history
from tests.simulation.loop import current_process
from tests.simulation.mistakes import MISTAKES

_CHUNK = 500


class Teller(logging.Formatter):
    """A line for each record: the history's time, the process, what it says."""

    def format(self, record: logging.LogRecord) -> str:
        loop = asyncio._get_running_loop()
        now = loop.time() if loop is not None else 0.0
        process = current_process()
        return f"{now:9.4f}  {process.name if process is not None else '':9}  {record.getMessage()}"


def tell(seed: int, mistake: str | None) -> int:
    """Run one history and say what happens in it."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(Teller())
    logging.getLogger().addHandler(handler)
    logging.getLogger().setLevel(logging.DEBUG)
    logging.getLogger("asyncio").setLevel(logging.WARNING)
    try:
        print(run_history(seed, MISTAKES[mistake] if mistake is not None else None))
    except HistoryError as error:
        traceback.print_exception(error.__cause__)
        print(error)
        return 1
    return 0


def some(first: int) -> list[str]:
    """The errors of a chunk of histories."""
    logging.disable(logging.CRITICAL)
    errors = []
    for seed in range(first, first + _CHUNK):
        try:
            run_history(seed)
        except HistoryError as error:
            errors.append(str(error))
    return errors


def many(first: int, count: int, processes: int | None) -> int:
    """Run histories. Each that does not end as it must is told with the command that runs it again."""
    print(f"{count} histories from seed {first} on", flush=True)
    began, done, failed = time.monotonic(), 0, 0
    with ProcessPoolExecutor(processes) as pool:
        for errors in pool.map(some, range(first, first + count, _CHUNK)):
            done += _CHUNK
            failed += len(errors)
            for error in errors:
                print(error, flush=True)
            if done % (20 * _CHUNK) == 0:
                print(f"{done} done, {done / (time.monotonic() - began):.0f} each second, {failed} failed", flush=True)
    print(f"{done} done in {time.monotonic() - began:.0f} s, {failed} failed")
    return 1 if failed else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("seed", type=int, nargs="?")
    parser.add_argument("--mistake", choices=MISTAKES)
    parser.add_argument("--histories", type=int)
    parser.add_argument("--first", type=int)
    parser.add_argument("--processes", type=int)
    given = parser.parse_args()
    if given.histories is not None:
        first = given.first if given.first is not None else random.SystemRandom().randrange(10**9) * 1000
        return many(first, given.histories, given.processes)
    if given.seed is None:
        parser.error("give a seed, or --histories")
    return tell(given.seed, given.mistake)


if __name__ == "__main__":
    sys.exit(main())
