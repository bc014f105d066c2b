"""Processes that begin do not hear of Ctrl-C: not the first ones of a command either."""

import subprocess
import sys

FIRST = """
import multiprocessing
import signal
from app.replay.processes import uninterrupted

if __name__ == "__main__":
    with uninterrupted():
        process = multiprocessing.get_context("spawn").Process(target=print)
        process.start()
        print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    print(signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, ()))
    process.join()
"""


def test_ctrl_c_waits_until_all_have_begun() -> None:
    done = subprocess.run([sys.executable, "-c", FIRST], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["True", "False"]


def test_a_process_that_verifies_loads_nothing_that_only_scores_or_references_need() -> None:
    """Each of them would take longer to load than to fold thousands of exchanges."""
    script = "import sys, app.cli.verify; print({'scipy.special', 'prometheus_client'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout == "set()\n"
