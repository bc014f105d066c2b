"""Run histories again: `python -m tests.simulation SEED` tells one step by step, two seeds run all between them."""

import argparse
import logging
import sys
import time
import traceback

from tests.simulation.history import HistoryError, run_histories, run_history
from tests.simulation.mistakes import MISTAKES


def main() -> int:
    """Run what the arguments name; 1 where a history did not end as it must."""
    arguments = argparse.ArgumentParser(prog="python -m tests.simulation", description=__doc__)
    arguments.add_argument("seed", type=int)
    arguments.add_argument("last", type=int, nargs="?", help="run all seeds up to this one, and tell nothing of them")
    arguments.add_argument("--mistake", choices=sorted(MISTAKES), help="put this mistake into the lane")
    given = arguments.parse_args()
    mistake = MISTAKES[given.mistake] if given.mistake else None
    began = time.perf_counter()
    if given.last is None:
        logging.basicConfig(level=logging.INFO, format="%(levelname)-7s %(message)s", stream=sys.stdout)
        try:
            print(run_history(given.seed, mistake))
        except HistoryError as error:
            traceback.print_exception(error.__cause__)
            return 1
        return 0
    logging.disable()
    failed = list(run_histories(range(given.seed, given.last + 1), mistake))
    count, seconds = given.last + 1 - given.seed, time.perf_counter() - began
    for failure in failed:
        print(failure)
    print(f"{count} histories in {seconds:.1f} s, {count / seconds:.0f} a second; {len(failed)} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
