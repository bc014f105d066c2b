"""How much the laws try: enough to find what has been found, within a minute for the whole folder.

`make soak` tries more, by a seed that it prints: `--hypothesis-seed=<it>` tries the same again.
"""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "laws",
    max_examples=150,
    deadline=None,
    report_multiple_bugs=False,
    # In CI the same cases every time; on a laptop, and in a soak, others every time.
    derandomize=os.environ.get("CI") == "true" and os.environ.get("TALLY_TEST_SOAK") != "1",
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("laws")
