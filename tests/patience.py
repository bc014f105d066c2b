"""How long tests wait."""

from typing import Final

#: Seconds that a test waits for what comes in a moment on a quiet machine. Only a test that fails takes so long.
PATIENCE: Final = 300.0
