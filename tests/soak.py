"""Whether this is a soak: the same tests in full size, with fresh seeds."""

import os
from typing import Final

SOAK: Final = os.environ.get("TALLY_TEST_SOAK") == "1"
#: How long the faults of tests/live/faults that strike under traffic take in a soak, all together.
MINUTES: Final = float(os.environ.get("TALLY_TEST_SOAK_MINUTES") or 30)
_FAULTS: Final = 12
#: The share of each of them; 0 where this is no soak.
FAULT_SECONDS: Final = MINUTES * 60 / _FAULTS if SOAK else 0.0
