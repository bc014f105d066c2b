"""Whether this is a soak: the same tests in full size, with fresh seeds."""

import os
from typing import Final

SOAK: Final = os.environ.get("TALLY_TEST_SOAK") == "1"
