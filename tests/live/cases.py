"""Events that others recorded. They are read where they are, and say themselves what must come out."""

import json
import os
from pathlib import Path
from typing import Any

import pytest


def cases(name: str) -> dict[str, Any]:
    """The content of one file; where there is none the test that asks is skipped, in CI it fails."""
    folder = Path(os.environ.get("TALLY_TEST_CASES", Path(__file__).parents[3] / "shared/cases")) / "seldon"
    if not folder.is_dir():
        missing = f"there are no recorded events at {folder}: set TALLY_TEST_CASES to their folder"
        if os.environ.get("CI") == "true":
            pytest.fail(missing)
        pytest.skip(missing)
    (file,) = folder.glob(f"{name}-*.json")
    content: dict[str, Any] = json.loads(file.read_text())
    return content
