"""How much the laws try: enough to find what has been found, in little time. How long an example takes is no law.

`make soak` tries more, by a seed that it prints: `--hypothesis-seed=<it>` tries the same again.
"""

import os

from hypothesis import HealthCheck, settings

from tests.soak import SOAK

settings.register_profile(
    "laws",
    max_examples=1_500 if SOAK else 100,
    deadline=None,
    report_multiple_bugs=False,
    # In CI the same cases every time; on a laptop, and in a soak, others every time.
    derandomize=os.environ.get("CI") == "true" and not SOAK,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("laws")
