"""The README is true: its tables are those of the code."""

import re
from pathlib import Path

import pytest

from app.commands.tally import main
from tests.readme import README, TABLES, with_tables

#: What users read, and what those read who work on it.
BOTH = [README.read_text(), (README.parent / "app" / "README.md").read_text()]


def test_tables_are_current() -> None:
    """Else run `python -m tests.readme`."""
    assert with_tables(README.read_text()) == README.read_text()


@pytest.mark.parametrize("name", TABLES)
def test_every_table_has_its_place(name: str) -> None:
    assert README.read_text().count(f"<!-- {name} -->") == 1


@pytest.mark.parametrize("text", BOTH, ids=["outside", "inside"])
def test_named_files_exist(text: str) -> None:
    for path in re.findall(r"`((?:app|tests|k8s)/[\w./-]+)`", text):
        assert (README.parent / path).exists(), path


@pytest.mark.parametrize("text", BOTH, ids=["outside", "inside"])
def test_named_commands_are_targets(text: str) -> None:
    makefile = Path(README.parent / "Makefile").read_text()
    for target in set(re.findall(r"(?:`|^)make (\w+)", text, re.MULTILINE)):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_every_command_is_in_the_table() -> None:
    table = README.read_text().partition("### Commands\n")[2].partition("\nEach has `--help`.")[0]
    assert [name for name in main.commands if f"`tally {name}" not in table] == []
