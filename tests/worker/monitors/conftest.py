"""What all tests of monitors need."""

import pytest

from app.worker.monitors import process
from tests.patience import PATIENCE


@pytest.fixture(autouse=True)
def time_to_begin(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a process have the time that it takes on a slow machine to load its libraries, and to end."""
    monkeypatch.setattr(process, "_LOADING_SECONDS", PATIENCE)
    monkeypatch.setattr(process, "_ENDING_SECONDS", PATIENCE)
