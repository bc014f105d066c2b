"""Seeds of traffic and of kills: the same in every run, but other ones in each soak, which says how to repeat them."""

import os
import random
from typing import Final

from tests.soak import SOAK

#: Is added to every seed.
FRESH: Final = int(os.environ.get("TALLY_TEST_SEED") or (random.SystemRandom().randrange(1, 1_000_000) if SOAK else 0))


def seed(usual: int) -> int:
    """The seed to take where it is `usual` in an ordinary run."""
    return usual + FRESH


def header() -> list[str]:
    """What a run prints of its seeds; nothing where they are the usual ones."""
    return [f"seeds: {FRESH} + the usual ones; TALLY_TEST_SEED={FRESH} takes them again"] if FRESH else []
