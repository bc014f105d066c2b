"""A command's work hears of Ctrl-C while it waits, whenever that comes."""

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterator

import pytest

from app.cli.client import run
from tests.patience import PATIENCE


@pytest.fixture
def _deaf_calls() -> Iterator[None]:
    """A signal ends no system call of this thread: to it each comes as one that comes just before it begins to wait."""
    over = threading.Event()
    other = threading.Thread(target=over.wait)  # it takes the signal in the place of this one
    other.start()
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    yield
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    signal.signal(signal.SIGINT, handler)
    over.set()
    other.join()


@pytest.mark.usefixtures("_deaf_calls")
def test_ctrl_c_is_heard_also_where_it_comes_just_before_the_wait_begins() -> None:
    async def wait() -> None:  # only from here on the signal is not that of whoever runs the tests
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGINT)).start()
        await asyncio.sleep(PATIENCE)

    begun = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        run(wait())
    assert time.monotonic() - begun < PATIENCE / 2
