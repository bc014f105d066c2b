"""The Makefile finds a Python that fits, says so where there is none, and makes an environment anew that is not whole.

The Pythons are stand-ins: scripts that tell a version, and make and fill an environment of files.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.patience import PATIENCE

_TOOLS = ("sh", "make", "sed", "grep", "rm", "touch", "mkdir", "cat", "chmod")
#: It fits where its version does and it can make environments; what is installed is noted beside the environment.
_PYTHON = """#!/bin/sh
case "$*" in
    *ensurepip*) case "{version}" in 3.11 | 3.12 | 3.13) exit 0 ;; *) exit 1 ;; esac ;;
    *print*) echo {version} ;;
    "-m venv "*)
        mkdir -p "$3/bin"
        echo "{version}" > "$3/pyvenv.cfg"
        cat "$0" > "$3/bin/python"
        chmod +x "$3/bin/python"
        echo "#!$PWD/$3/bin/python" > "$3/bin/pip" ;;
    "-m pip "*) echo "{version} $*" >> installed ;;
esac
"""


class Folder:
    """A checkout in which `make` finds these Pythons and no other: their names, and the versions that they are of."""

    def __init__(self, folder: Path, **pythons: str) -> None:
        self.path = folder / "a check out"
        self.path.mkdir()
        self.bin = folder / "bin"
        self.bin.mkdir()
        for tool in _TOOLS:
            (self.bin / tool).symlink_to(str(shutil.which(tool)))
        for name, version in pythons.items():
            self.add(name.replace("_", "."), version)
        root = Path(__file__).parent.parent
        (self.path / "Makefile").write_bytes((root / "Makefile").read_bytes())
        (self.path / "pyproject.toml").write_text("")

    def add(self, name: str, version: str) -> Path:
        python = self.bin / name
        python.write_text(_PYTHON.format(version=version))
        python.chmod(0o755)
        return python

    def make(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [str(self.bin / "make"), "environment-demo", *arguments],
            cwd=self.path, env={"PATH": str(self.bin)}, capture_output=True, text=True, check=False, timeout=PATIENCE,
        )  # fmt: skip

    @property
    def installed(self) -> list[str]:
        """The versions that something was installed by, in their order."""
        file = self.path / "installed"
        return [line.split()[0] for line in file.read_text().splitlines()] if file.exists() else []


@pytest.mark.parametrize(
    ("pythons", "taken"),
    [
        ({"python3": "3.12", "python3_11": "3.11"}, "3.11"),
        ({"python3_11": "3.11"}, "3.11"),
        ({"python3": "3.11"}, "3.11"),
        ({"python3": "3.10", "python3_12": "3.12"}, "3.12"),
        ({"python3": "3.14", "python3_13": "3.13"}, "3.13"),
        ({"python3": "3.13", "python3_11": "none", "python3_12": "none"}, "3.13"),
    ],
)
def test_it_takes_a_python_that_fits(tmp_path: Path, pythons: dict[str, str], taken: str) -> None:
    folder = Folder(tmp_path, **pythons)
    done = folder.make()
    assert (done.returncode, done.stderr) == (0, "")
    assert folder.installed == [taken]
    assert folder.make().stdout == ""
    assert folder.installed == [taken]


def test_the_one_that_is_named_wins_and_may_have_a_blank_in_its_path(tmp_path: Path) -> None:
    folder = Folder(tmp_path, python3_11="3.11")
    named = folder.add("my python", "3.12")
    assert folder.make(f"PYTHON={named}").returncode == 0
    assert folder.make().returncode == 0
    assert folder.installed == ["3.12"]
    done = folder.make("PYTHON=python3.11")
    assert "made anew: its Python is not that of PYTHON=python3.11" in done.stdout
    assert folder.installed == ["3.12", "3.11"]


@pytest.mark.parametrize(
    ("pythons", "arguments", "tried"),
    [
        ({}, (), "python3.11, python3.12, python3.13, python3"),
        ({"python3": "3.14"}, (), "python3.11, python3.12, python3.13, python3"),
        ({"python3_11": "3.11"}, ("PYTHON=/nowhere/python3",), "/nowhere/python3"),
        ({"python3_11": "3.11", "python3_9": "3.9"}, ("PYTHON=python3.9",), "python3.9"),
    ],
)
def test_without_one_it_says_so_before_anything_is_made(
    tmp_path: Path, pythons: dict[str, str], arguments: tuple[str, ...], tried: str
) -> None:
    folder = Folder(tmp_path, **pythons)
    done = folder.make(*arguments)
    sentence, *others = done.stderr.splitlines()
    assert sentence.startswith(f"Tally needs Python 3.11, 3.12 or 3.13 with venv, and there is none as {tried}: ")
    assert [line.split(":")[0] for line in others] == ["make"]
    assert (done.returncode, done.stdout) == (2, "")
    assert not (folder.path / ".venv").exists()


def test_an_environment_of_a_python_that_does_not_fit_or_is_gone_or_was_moved_is_made_anew(tmp_path: Path) -> None:
    folder = Folder(tmp_path, python3_11="3.11")
    environment = folder.path / ".venv"
    folder.make()
    for change in (
        (environment / "bin/python").unlink,
        lambda: (environment / "bin/python").write_text(_PYTHON.format(version="3.10")),
        lambda: (environment / "bin/pip").write_text("#!/elsewhere/.venv/bin/python"),
        (environment / "bin/pip").unlink,
    ):
        change()
        before = len(folder.installed)
        done = folder.make()
        assert done.stdout.startswith(".venv is made anew: ")
        assert (done.returncode, done.stderr, len(folder.installed)) == (0, "", before + 1)


def test_it_is_kept_while_there_is_no_python_to_make_another(tmp_path: Path) -> None:
    folder = Folder(tmp_path, python3_11="3.11")
    folder.make()
    assert folder.make("PYTHON=/nowhere/python3").returncode == 2
    assert folder.make().stdout == ""


def test_a_change_of_the_packages_installs_them_anew(tmp_path: Path) -> None:
    folder = Folder(tmp_path, python3_11="3.11")
    folder.make()
    stamp = folder.path / ".venv/demo"
    os.utime(stamp, (1, 1))
    folder.make()
    assert folder.installed == ["3.11", "3.11"]


def test_what_is_no_environment_is_left_alone(tmp_path: Path) -> None:
    folder = Folder(tmp_path, python3_11="3.11")
    note = folder.path / ".venv/mine"
    note.parent.mkdir()
    note.touch()
    done = folder.make()
    assert done.stderr.startswith(".venv is no environment of Python: move it away, ")
    assert (done.returncode, note.exists()) == (2, True)
