"""A rolling upgrade to another version of the state, under traffic, and the way back."""

import subprocess
import tarfile
from io import BytesIO
from pathlib import Path

import pytest

from app.core.join.position import FORMAT
from tests.live.faults.trial import Record, trial
from tests.live.servers import Kafka
from tests.live.standing import refusal
from tests.soak import SOAK

#: What Python runs before all else in a worker: it writes the state in another format.
OF_FORMAT = """
import app.core.join.position
app.core.join.position.FORMAT = {}
"""


def other_version(folder: Path, monkeypatch: pytest.MonkeyPatch, number: int) -> None:
    """Let the workers that are started from now on write and read the state up to this format."""
    folder.mkdir(exist_ok=True)
    (folder / "sitecustomize.py").write_text(OF_FORMAT.format(number))
    monkeypatch.setenv("PYTHONPATH", f"{folder}:{Path.cwd()}")


def before_this_format() -> str:
    """The last commit before the state's format changed."""
    asked = ["git", "log", "-1", "--format=%h", "-G^FORMAT: Final", "--", "app/core/join/position.py"]
    changed = subprocess.run(asked, capture_output=True, check=True, text=True).stdout.strip()
    assert changed, "this clone does not reach back to where the state's format changed"
    return f"{changed}^"


def commit(folder: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Let the workers that are started from now on be those of a commit."""
    packed = subprocess.run(["git", "archive", name, "app"], capture_output=True, check=True).stdout
    with tarfile.open(fileobj=BytesIO(packed)) as archive:
        archive.extractall(folder, filter="data")
    monkeypatch.setenv("PYTHONPATH", str(folder))
    monkeypatch.setenv("PYTHONSAFEPATH", "1")


def older_version(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a soak that commit itself, for which the clone must have its history; else today's code of that format."""
    if SOAK:
        commit(folder, monkeypatch, before_this_format())
    else:
        other_version(folder, monkeypatch, FORMAT - 1)


def test_a_rolling_upgrade_and_back(
    kafka: Kafka, tmp_path: Path, record_property: Record, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The old state is read, and all counts stay; who goes back is told in a sentence, and counts the topics anew."""
    with trial("rolling upgrade and back", kafka.bootstrap, tmp_path, seconds=6) as it:
        with monkeypatch.context() as patch:
            older_version(tmp_path / "before", patch)
            it.start(2)
        it.begin()
        for worker in it.fleet.running():
            it.times += 1
            worker.stop()
            it.start()
        it.prove(record_property)
        it.fleet.stop()
        older_version(tmp_path / "before", monkeypatch)
        sentence = refusal(it.fleet.start())
        assert f"a newer Tally has written the state (format {FORMAT}; this one has {FORMAT - 1})" in sentence
        assert "start afresh with another TALLY_APP_ID" in sentence
        it.fleet.settings["APP_ID"] += "-afresh"
        it.start()
        it.times += 1
        it.prove(record_property)
