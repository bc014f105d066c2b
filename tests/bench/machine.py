"""How fast the machine is just now, by a plain loop of Python: rates and times of a slow or busy one cannot be held
against goals, or against figures of another time.
"""

import time
from typing import Final

_TIMES: Final = 5_000_000
#: What the loop takes on the machines that the goals were set on.
USUAL_SECONDS: Final = 0.18


def loop_seconds() -> float:
    """Seconds that five million additions take."""
    begin, total = time.perf_counter(), 0
    for number in range(_TIMES):
        total += number
    return time.perf_counter() - begin


def core_speed() -> float:
    """How fast a core is just now, beside those of the usual machines."""
    return USUAL_SECONDS / loop_seconds()
