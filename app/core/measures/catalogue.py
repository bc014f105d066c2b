"""All measures, in the order in which they are shown. A new one is a line here and a file beside this one."""

from typing import Any, Final

from app.core.measures.confusion import CONFUSION
from app.core.measures.custom import CUSTOM
from app.core.measures.delay import DELAY
from app.core.measures.drift import DRIFT
from app.core.measures.errors import ERRORS
from app.core.measures.estimates import ESTIMATES
from app.core.measures.exchanges import EXCHANGES
from app.core.measures.measure import Measure
from app.core.measures.mismatches import MISMATCHES
from app.core.measures.monitors import MONITORS
from app.core.measures.probabilities import PROBABILITIES
from app.core.measures.ranks import RANKS
from app.core.measures.rewards import REWARDS

MEASURES: Final[tuple[Measure[Any], ...]] = (
    EXCHANGES,
    CONFUSION,
    REWARDS,
    MISMATCHES,
    DELAY,
    ERRORS,
    PROBABILITIES,
    RANKS,
    ESTIMATES,
    DRIFT,
    CUSTOM,
    MONITORS,
)
