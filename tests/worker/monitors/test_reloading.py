"""Thresholds and files of monitors hold without a restart; a wrong file changes nothing and is told."""

import asyncio
from pathlib import Path

from app.core.rules import Rulebook
from app.models_file import load_rulebook
from app.worker.monitors.reloading import Reloading, has_monitors

FILE = "models: [{match: '*', monitors: {odd: {file: own.py, alert_when: '> 0.5'}}}]"


def a_rulebook(folder: Path, text: str = FILE) -> tuple[Path, Rulebook]:
    (folder / "own.py").write_text("def score(inputs, outputs): ...\n")
    path = folder / "tally.yaml"
    path.write_text(text)
    return path, load_rulebook(path)


def look(path: Path, rulebook: Rulebook) -> str | None:
    told: list[str | None] = []
    asyncio.run(Reloading(path, rulebook, told.append).look())
    return told[-1]


def test_a_threshold_that_has_changed_holds_and_the_version_stays(tmp_path: Path) -> None:
    path, rulebook = a_rulebook(tmp_path)
    (monitor,) = rulebook.entries[0].monitors
    version, digest = monitor.spec.version, rulebook.digest
    path.write_text(FILE.replace("> 0.5", "< -3").replace("own.py,", "own.py, timeout: 3s, hold: 2,"))
    assert look(path, rulebook) is None
    assert (str(monitor.spec.when), monitor.spec.hold, monitor.code.timeout) == ("< -3", 2, 3.0)
    assert monitor.spec.version == version
    assert load_rulebook(path).digest == digest  # so workers that start later have no other rules


def test_a_file_that_has_changed_is_a_new_version(tmp_path: Path) -> None:
    path, rulebook = a_rulebook(tmp_path)
    (monitor,) = rulebook.entries[0].monitors
    version = monitor.spec.version
    (tmp_path / "own.py").write_text("def score(inputs, outputs): return 1\n")
    assert look(path, rulebook) is None
    assert monitor.spec.version != version


def test_a_file_that_is_wrong_changes_nothing_and_is_told(tmp_path: Path) -> None:
    path, rulebook = a_rulebook(tmp_path)
    (monitor,) = rulebook.entries[0].monitors
    before = monitor.spec
    path.write_text(FILE.replace("> 0.5", "0.5"))
    told = look(path, rulebook)
    assert told is not None
    assert "alert_when" in told
    assert told.endswith("What monitors were before is still in force: mend it.")
    (tmp_path / "own.py").unlink()
    path.write_text(FILE)
    assert "own.py cannot be read" in (look(path, rulebook) or "")
    assert monitor.spec == before


def test_monitors_of_another_model_are_left_alone(tmp_path: Path) -> None:
    path, rulebook = a_rulebook(tmp_path)
    assert has_monitors(rulebook)
    assert not has_monitors(Rulebook())
    path.write_text(FILE.replace("'*'", "'a/*'").replace("> 0.5", "> 0.9"))
    assert look(path, rulebook) is None
    assert str(rulebook.entries[0].monitors[0].spec.when) == "> 0.5"
