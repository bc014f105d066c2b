"""How whoever reads for a group gets on: one line when it cannot, one when it can again, and since when it does not."""

import logging
import re
from collections.abc import Collection
from typing import Final

from aiokafka.errors import KafkaError

log = logging.getLogger("app.worker.kafka.group")

_NUMBERS: Final = re.compile(r"\d+")


class Progress:
    """The progress of one reader, and what of it the log has been told. Times are those of its loop, in seconds."""

    def __init__(self, name: str, group_id: str) -> None:
        self._who = f"{name} (group={group_id})"
        self._at = 0.0
        self._error = ""  # what keeps it from getting on, as the log has it
        self._since = 0.0

    def begin(self, now: float) -> None:
        """It has just begun."""
        self._at = now

    def age(self, now: float) -> float:
        """Seconds since it last got on, or had nothing to do."""
        return max(0.0, now - self._at)

    def fail(self, now: float, error: Exception, topics: Collection[str]) -> None:
        """It cannot go on. The same error again and again, whatever its numbers are, is said once."""
        kind = _NUMBERS.sub("", repr(error))
        if kind == self._error:
            return
        if not self._error:
            self._since = now
        self._error = kind
        where = f"topics={', '.join(topics)}" if topics else "no topics yet"
        if isinstance(error, (KafkaError, OSError, TimeoutError)):
            log.warning("%s, %s: begins again at its committed offsets: %r", self._who, where, error)
        else:  # a defect
            log.error("%s, %s: unexpected error, begins again at its committed offsets: %r", self._who, where, error)
            log.debug("%s", self._who, exc_info=error)

    def move(self, now: float, *, lasting: bool) -> None:
        """It has got on, or has nothing to do. `lasting`: its session has gone on for so long that it goes well."""
        self._at = now
        if self._error and lasting:
            self._error = ""
            log.info("%s goes on again after %.0f s", self._who, now - self._since)
