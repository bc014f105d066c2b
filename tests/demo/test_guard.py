"""Who cleans up after a demo that was killed: it ends the workers and removes what the demo said it has made."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.demo import broker
from app.demo.guard import watch
from tests.patience import PATIENCE

#: One ends when it is told to, the other does not.
_WORKERS = (
    "import time; time.sleep(60)",
    "import signal, time; signal.signal(15, signal.SIG_IGN); print(flush=True); time.sleep(60)",
)


@pytest.fixture
def workers() -> Iterator[list["subprocess.Popen[bytes]"]]:
    running = [
        subprocess.Popen([sys.executable, "-c", code], start_new_session=True, stdout=subprocess.PIPE)
        for code in _WORKERS
    ]
    assert running[1].stdout is not None
    running[1].stdout.readline()
    yield running
    for process in running:
        process.kill()
        process.communicate()


def test_what_a_demo_that_was_killed_has_left_goes(
    workers: list["subprocess.Popen[bytes]"], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[list[str]] = []
    monkeypatch.setattr("app.demo.guard._GRACE_SECONDS", 0.5)
    monkeypatch.setattr(broker, "remove_traces", lambda _, topics: removed.append(topics))
    folder = tmp_path / "a folder"
    (folder / "worker").mkdir(parents=True)
    lines = [f"worker {process.pid}\n" for process in workers]
    watch([*lines, f"folder {folder}\n", "topic tally-demo-1-requests\n", "topic tally-demo-1-panes\n", "wor"])
    assert [process.wait(PATIENCE) for process in workers] == [-15, -9]
    assert not folder.exists()
    assert removed == [["tally-demo-1-requests", "tally-demo-1-panes"]]


def test_a_demo_that_is_done_or_a_worker_that_is_gone_is_left_alone(
    workers: list["subprocess.Popen[bytes]"], tmp_path: Path
) -> None:
    one = workers[0]
    watch([f"worker {one.pid}\n", f"folder {tmp_path}\n", "done \n"])
    watch([f"worker {one.pid}\n", f"gone {one.pid}\n"])
    assert (one.poll(), tmp_path.exists()) == (None, True)
