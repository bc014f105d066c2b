"""How much the laws try: enough to find what has been found, within a minute for the whole folder."""

import os

from hypothesis import HealthCheck, settings

settings.register_profile(
    "laws",
    max_examples=150,
    deadline=None,
    report_multiple_bugs=False,
    derandomize=os.environ.get("CI") == "true",  # there, the same cases every time; on a laptop, others every time
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("laws")
