"""Events that others recorded. They are read where they are, and say themselves what must come out."""

import json
import os
from pathlib import Path
from typing import Any, Final

import pytest

#: Where they are: beside the checkout, or in the folder that TALLY_TEST_CASES names.
FOLDER: Final = Path(os.environ.get("TALLY_TEST_CASES") or Path(__file__).resolve().parents[2] / "shared/cases")
SELDON: Final = FOLDER / "seldon"


def demand(folder: Path = SELDON) -> None:
    """Skip the test that asks where the folder is absent; in CI it fails."""
    if not folder.is_dir():
        missing = f"there are no recorded events at {folder}: set TALLY_TEST_CASES to the folder above"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)


def cases(name: str) -> dict[str, Any]:
    """The content of one file, by its number or name."""
    demand()
    (file,) = SELDON.glob(f"{name}-*.json")
    content: dict[str, Any] = json.loads(file.read_text())
    return content


def cases_if_there(name: str) -> dict[str, Any]:
    """The same where tests are made of it: without the folder there are none, which one test of the file must say."""
    for file in SELDON.glob(f"{name}-*.json"):
        content: dict[str, Any] = json.loads(file.read_text())
        return content
    return {"cases": []}
