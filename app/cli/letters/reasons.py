"""How many events were refused and why: the dead letters that wait, counted by reason."""

import asyncio
from collections import Counter
from typing import Final

from app.core.events import Reason
from app.settings import Settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.metadata import TopicFacts
from app.worker.kafka.reading import open_reader
from app.worker.letters.box import LetterBox

_SECONDS: Final = 20.0
#: So many of the newest offsets of each partition are looked at.
_NEWEST: Final = 10_000


def _most_first(counted: tuple[str, int]) -> tuple[int, str]:
    return -counted[1], counted[0]


async def refused_sentence(settings: Settings, partitions: int) -> str:
    """What waits on the topic of dead letters: what was sent back or dropped does not."""
    topic = settings.dead_letters_topic
    try:
        async with asyncio.timeout(_SECONDS), open_reader(settings) as reader:
            found, whole = await LetterBox(settings, TopicFacts(partitions), reader).reasons(_NEWEST)
    except (SetupError, TimeoutError) as error:
        why = str(error).rstrip(".") or f"not read within {_SECONDS:g} s"
        return f"not known ({why})"
    reasons: Counter[str] = Counter()
    for word, number in found.items():
        reasons[word if word in tuple(Reason) else "of no reason that Tally gives"] += number
    if not reasons:
        return f"nothing in {topic}"
    words = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items(), key=_most_first))
    beginning = "" if whole else f"among the newest {_NEWEST:,} of each partition "
    return f"{beginning}{reasons.total()} in {topic} ({words}); see `tally dead-letters list`"
