"""What all tests of the lane need."""

import gc
from collections.abc import Iterator

import pytest


@pytest.fixture(autouse=True)
def _collection() -> Iterator[None]:
    """A lane switches the collection of garbage off when it starts."""
    yield
    gc.unfreeze()
    gc.enable()
