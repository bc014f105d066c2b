"""How a worker ends by itself: in a process of its own, since it ends the process."""

import re
import subprocess
import sys

import pytest

_RUN = """
import asyncio, gc, logging, sys
logging.basicConfig(format="%(levelname)s %(message)s", level=sys.argv[1], stream=sys.stderr)
from app.worker import ending

async def broken(): raise ValueError("this\\nand that")

async def main():
    asyncio.get_running_loop().set_exception_handler(ending.on_unhandled)
    {work}
    gc.collect()
    await asyncio.sleep(0.2)
    print("lives")

asyncio.run(main())
"""
_OF_TALLY = "code = compile('async def work(): raise ValueError(1)', ending.__file__, 'exec'); exec(code, globals()); "


def run(work: str, level: str = "INFO") -> tuple[int, str, list[str]]:
    """The exit code, what was printed, and the lines of the log."""
    done = subprocess.run(
        [sys.executable, "-c", _RUN.format(work=work), level], capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout, [line for line in done.stderr.splitlines() if "asyncio" not in line]


ENDS = "this worker stops, its partitions go to others; start it again"


def test_what_fails_in_the_background_is_one_sentence_and_exit_3() -> None:
    code, printed, lines = run("await ending.guarded('the feed', broken())")
    assert (code, printed, lines) == (3, "", [f"CRITICAL the feed ended (ValueError: this and that): {ENDS}"])


def test_what_ends_in_the_background_by_a_cancellation_that_nobody_asked_for_ends_the_worker() -> None:
    lost = "async def lost(): raise asyncio.CancelledError"
    code, _, lines = run(f"exec({lost!r}, globals()); await asyncio.create_task(ending.guarded('the feed', lost()))")
    assert (code, lines) == (3, [f"CRITICAL the feed ended (without an error): {ENDS}"])
    begin = "task = asyncio.create_task(ending.guarded('the feed', asyncio.sleep(9))); await asyncio.sleep(0)"
    assert run(f"{begin}; task.cancel()") == (0, "lives\n", [])


def test_the_traceback_is_there_for_who_asks_for_it() -> None:
    code, _, lines = run("await ending.guarded('the feed', broken())", "DEBUG")
    assert code == 3
    assert "Traceback (most recent call last):" in lines


def test_a_task_of_tally_that_nobody_waits_for_ends_the_worker() -> None:
    code, printed, lines = run(_OF_TALLY + "asyncio.create_task(work()); await asyncio.sleep(0.01)")
    assert (code, printed, lines) == (3, "", [f"CRITICAL the task work ended (ValueError: 1): {ENDS}"])


@pytest.mark.parametrize(
    ("work", "line"),
    [
        ("asyncio.create_task(broken()); await asyncio.sleep(0.01)", "the task broken (ValueError: this and that)"),
        ("asyncio.get_running_loop().call_soon(lambda: 1 / 0)", "(ZeroDivisionError: division by zero)"),
    ],
    ids=["a task of a library", "a callback"],
)
def test_an_error_of_somebody_else_is_one_line(work: str, line: str) -> None:
    code, printed, lines = run(work)
    assert (code, printed) == (0, "lives\n")
    (said,) = lines
    assert said.startswith("WARNING an error that nobody expected: ")
    assert said.endswith(line)


def test_what_nobody_fetched_of_a_future_is_no_news() -> None:
    work = "future = asyncio.get_running_loop().create_future(); future.set_exception(OSError()); del future"
    assert run(work) == (0, "lives\n", [])


def test_how_long_a_worker_ran_is_told_when_it_ends_by_itself() -> None:
    begin = "from app.settings import load_settings; from app.worker.life import LIFE; LIFE.begin(load_settings()); "
    code, _, lines = run(begin + "await ending.guarded('the feed', broken())")
    assert code == 3
    assert re.fullmatch(
        r"CRITICAL the feed ended \(.*\): this worker stops after \d s, its partitions go .*", lines[-1]
    )
    code, _, lines = run(begin + "ending.give_up(ValueError('Topic a is missing.'))")
    assert code == 2
    assert re.fullmatch(r"INFO Tally stops after \d s: something around it must change", lines[-2])
    assert lines[-1] == "tally: Topic a is missing."


def test_what_the_world_must_change_is_one_sentence_and_exit_2() -> None:
    assert run("ending.give_up(ValueError('Topic a is missing.'))") == (2, "", ["tally: Topic a is missing."])
