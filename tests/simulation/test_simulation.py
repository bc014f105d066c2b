"""The lane through histories: whatever happens, the end is that of a straight pass. And what proves that they would
notice: the same seed is the same history, and each known mistake is found.
"""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from tests.simulation.history import HistoryError, run_history
from tests.simulation.mistakes import MISTAKES

_ROOT: Final = Path(__file__).parents[2]
_HISTORIES: Final = 2_000
_CHUNK: Final = 250
#: A mistake that is not found in so many histories would not be found.
_ENOUGH: Final = 1_500


@pytest.mark.parametrize("first", range(0, _HISTORIES, _CHUNK))
def test_every_history_ends_as_a_straight_pass(first: int) -> None:
    for seed in range(first, first + _CHUNK):
        run_history(seed)


@pytest.mark.parametrize("seed", [3, 11, 42])
def test_a_seed_is_one_history(seed: int) -> None:
    """To the last step, in another process and with another order of sets of texts too."""
    told = run_history(seed)
    assert run_history(seed) == told
    code = f"from tests.simulation.history import run_history; print(tuple(run_history({seed})))"
    for hashing in ("1", "2"):
        again = subprocess.run(
            [sys.executable, "-c", code],
            cwd=_ROOT,
            env={**os.environ, "PYTHONHASHSEED": hashing, "PYTHONPATH": str(_ROOT)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert again.stdout.strip() == str(tuple(told))


def test_seeds_are_different_histories() -> None:
    assert len({run_history(seed).trace for seed in range(20)}) == 20


def test_a_history_that_fails_says_how_to_run_it_again() -> None:
    seed, error = _find("offsets_before_state")
    assert f"python -m tests.simulation {seed}" in str(error)


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found(mistake: str) -> None:
    seed, error = _find(mistake)
    print(f"{mistake}: {error}")
    with pytest.raises(HistoryError) as again:
        run_history(seed, MISTAKES[mistake])
    assert str(again.value) == str(error)


def _find(mistake: str) -> tuple[int, HistoryError]:
    for seed in range(_ENOUGH):
        try:
            run_history(seed, MISTAKES[mistake])
        except HistoryError as error:
            return seed, error
    raise AssertionError(f"{mistake} is not found in {_ENOUGH} histories")
