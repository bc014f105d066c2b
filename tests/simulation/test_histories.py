"""Hundreds of histories of workers on a Kafka in memory: each must end as if nothing had happened.

A seed that fails is in the message, with the command that tells its history again.
"""

import logging
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from typing import Final

import pytest

from tests.simulation.history import HistoryError, Mistake, run_histories, run_history
from tests.simulation.mistakes import MISTAKES, MISTAKES_ON_DISK
from tests.soak import SOAK

HISTORIES: Final = 100_000 if SOAK else 600
#: In one test, so that it ends in its time also where ten others have the cores.
_AT_ONCE: Final = 100
#: A database costs ten times as much as a dict does here.
HISTORIES_ON_DISK: Final = HISTORIES // 10
_AT_ONCE_ON_DISK: Final = 20
#: Among so many histories are several that find a mistake: of the rarest one in two hundred.
_ENOUGH_TO_FIND: Final = 1_500


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    """What a lane logs of its trouble is no news here, and there is much of it."""
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="module")
def first_seed() -> int:
    """The first seed of all: the same in every test run, another in every soak."""
    first = random.SystemRandom().randrange(10**9) if SOAK else 0
    print(f"seeds of histories: {first} to {first + HISTORIES - 1}")
    return first


@pytest.mark.parametrize("part", range(HISTORIES // _AT_ONCE))
def test_every_history_ends_as_a_straight_pass(part: int, first_seed: int) -> None:
    first = first_seed + part * _AT_ONCE
    failed = list(run_histories(range(first, first + _AT_ONCE)))
    assert not failed, "\n".join(map(str, failed))


@pytest.mark.parametrize("part", range(HISTORIES_ON_DISK // _AT_ONCE_ON_DISK))
def test_every_history_of_workers_with_disks_ends_as_well(part: int, first_seed: int) -> None:
    """Which are another's, or gone, or full, or as a crash has left them."""
    first = first_seed + part * _AT_ONCE_ON_DISK
    failed = list(run_histories(range(first, first + _AT_ONCE_ON_DISK), on_disk=True))
    assert not failed, "\n".join(map(str, failed))


@pytest.mark.parametrize("mistake", MISTAKES_ON_DISK.values(), ids=MISTAKES_ON_DISK)
def test_a_mistake_with_a_disk_is_found(mistake: Mistake) -> None:
    assert next(run_histories(range(_ENOUGH_TO_FIND), mistake, on_disk=True), None) is not None


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found_and_its_seed_finds_it_again(mistake: Mistake) -> None:
    found = next(run_histories(range(_ENOUGH_TO_FIND), mistake), None)
    assert found is not None, "no history finds it"
    with pytest.raises(HistoryError) as again:
        run_history(found.seed, mistake)
    assert str(again.value) == str(found)


def test_a_seed_repeats_its_history_step_by_step_in_another_process() -> None:
    seeds = range(10, 15)
    command = f"from tests.simulation.history import run_history\nfor seed in {seeds!r}: print(run_history(seed))"
    told = [
        subprocess.run(
            [sys.executable, "-c", command], env={**os.environ, "PYTHONHASHSEED": hashes}, check=True,
            capture_output=True, text=True,
        ).stdout
        for hashes in ("1", "2")
    ]  # fmt: skip
    assert told[0] == told[1] == "".join(f"{run_history(seed)}\n" for seed in seeds)
