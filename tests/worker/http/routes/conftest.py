"""What all tests of the routes need."""

import pytest

from app.worker.http import looking
from tests.patience import PATIENCE


@pytest.fixture(autouse=True)
def _time_to_look(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what is looked through not depend on how fast this machine is."""
    monkeypatch.setattr(looking, "_SECONDS", PATIENCE)
