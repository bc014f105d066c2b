"""Servers that all processes of a run share."""

import contextlib
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.live.sharing import shared


def test_one_starts_it_all_use_it_and_it_ends_when_all_have_done(tmp_path: Path) -> None:
    told: list[str] = []
    both = threading.Barrier(2)

    @contextlib.contextmanager
    def server() -> Iterator[str]:
        told.append("started")
        yield "here"
        told.append("ended")

    def use(name: str) -> None:
        with shared(tmp_path, "server", server()) as address:
            both.wait(60)
            told.append(address)
        told.append(f"{name} is done")

    with ThreadPoolExecutor() as threads:
        list(threads.map(use, "ab"))
    assert [what for what in told if "done" not in what] == ["started", "here", "here", "ended"]
    with shared(tmp_path, "server", server()):
        assert told[-1] == "started"


def test_one_that_cannot_be_had_is_asked_for_again(tmp_path: Path) -> None:
    @contextlib.contextmanager
    def server(error: str = "") -> Iterator[str]:
        if error:
            raise OSError(error)
        yield "here"

    with pytest.raises(OSError, match="no memory"), shared(tmp_path, "server", server("no memory")):
        pass
    with shared(tmp_path, "server", server()) as address:
        assert address == "here"
