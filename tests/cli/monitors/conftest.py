"""What all tests of monitors need, also those of the commands."""

from tests.worker.monitors.conftest import time_to_begin

__all__ = ["time_to_begin"]
