"""How many events were refused and why: the dead letters that are kept, counted by reason."""

import asyncio
from collections import Counter
from typing import Final

from app.cli.reading import open_reader
from app.core.events import Reason
from app.core.wire.records import Record
from app.settings import Settings
from app.worker.kafka.client import SetupError

_SECONDS: Final = 20.0
#: So many of the newest offsets of each partition are looked at.
_NEWEST: Final = 10_000


def _most_first(counted: tuple[str, int]) -> tuple[int, str]:
    return -counted[1], counted[0]


async def refused_sentence(settings: Settings, partitions: int) -> str:
    """What the topic of dead letters holds."""
    topic = settings.dead_letters_topic
    reasons: Counter[str] = Counter()

    def count(record: Record) -> bool:
        word = (dict(record.headers).get("reason") or b"").decode(errors="replace")
        reasons[word if word in tuple(Reason) else "of no reason that Tally gives"] += 1
        return False

    try:
        async with asyncio.timeout(_SECONDS), open_reader(settings) as reader:
            whole = await reader.each_of_newest(topic, partitions, _NEWEST, count)
    except (SetupError, TimeoutError) as error:
        why = str(error).rstrip(".") or f"not read within {_SECONDS:g} s"
        return f"not known ({why})"
    if not reasons:
        return f"nothing in {topic}"
    words = ", ".join(f"{reason} {number}" for reason, number in sorted(reasons.items(), key=_most_first))
    beginning = "" if whole else f"among the newest {_NEWEST:,} of each partition "
    return f"{beginning}{reasons.total()} in {topic} ({words}); see `tally dead-letters list`"
