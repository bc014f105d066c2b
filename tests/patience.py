"""How long tests wait."""

from typing import Final

from tests.soak import SOAK

#: Seconds that a test waits for what comes in a moment on a quiet machine; in a soak also for what takes as long as
#: there are events. Only a test that fails takes so long.
PATIENCE: Final = 900.0 if SOAK else 300.0
