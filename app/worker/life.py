"""The first line of a worker's log and the last: what runs here, why it stopped, and how long it ran."""

import logging
import signal
import time
from collections.abc import Iterable

from app.settings import Settings, version

log = logging.getLogger(__name__)

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


class Life:
    """That of the worker of this process."""

    def __init__(self) -> None:
        self._since: float | None = None
        self._signal: signal.Signals | None = None

    def begin(self, settings: Settings) -> None:
        """Say what starts."""
        self._since = time.monotonic()
        log.info(
            "Tally %s starts: application id %s, brokers %s (%s), at %s",
            version(),
            settings.app_id,
            settings.kafka_bootstrap_servers,
            settings.kafka_security_protocol,
            settings.url,
        )

    def note(self, sentences: Iterable[str]) -> None:
        """Say what should be known of what it found."""
        for sentence in sentences:
            log.warning("%s", sentence)

    def ask_to_end(self, number: signal.Signals) -> None:
        """Remember the signal that came."""
        self._signal = number

    def end(self) -> None:
        """Say that it has stopped in order."""
        why = f"by {self._signal.name}" if self._signal is not None else "as it was told"
        log.info("Tally has stopped %s%s", why, self.lasted())

    def lasted(self) -> str:
        """` after 2 h 5 min`; empty where it has not begun."""
        return "" if self._since is None else f" after {duration(time.monotonic() - self._since)}"


def duration(seconds: float) -> str:
    """`3 s`, `5 min 3 s`, `2 h 5 min`, `4 d 2 h`."""
    rest, words = max(0, round(seconds)), []
    for unit, length in _UNITS:
        number, rest = divmod(rest, length)
        if number:
            words.append(f"{number} {unit}")
        elif words:
            break
        if len(words) == 2:
            break
    return " ".join(words) or "0 s"


#: The one of this process.
LIFE = Life()
