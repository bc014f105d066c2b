"""Whether Kafka still answers this worker: one line when it ceases to, one when it does again, and what `/ready` says.

aiokafka tries again by itself, for ever and without a word that a user could act on. What shows is the age of the last
answer: to a heartbeat, and to a fetch of a partition that is being read.
"""

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Final

from app.settings import Settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.topics import admin_client, describe_cluster

log = logging.getLogger(__name__)

#: How long asking for the reason may take.
_ASK_SECONDS: Final = 20.0
#: Between two calls of `watch`: a process that did not run for longer has not listened either.
_ASLEEP_SECONDS: Final = 1.0
#: How often it is asked for again: brokers that come back may refuse.
_AGAIN_SECONDS: Final = 10.0


async def reason_of(settings: Settings) -> str:
    """Why a worker has no answers, asked with a client of its own: a sentence."""
    try:
        async with asyncio.timeout(_ASK_SECONDS), admin_client(settings) as admin:
            missing = sorted(set(settings.topics) - (await describe_cluster(admin, settings.topics)).topics.keys())
    except TimeoutError:
        return f"No Kafka broker answers at {settings.kafka_bootstrap_servers} in time."
    except SetupError as error:
        return str(error)
    if missing:
        return (
            f"Topics {', '.join(missing)} are not there any more: create them again (`tally topics --create`), then "
            "start the workers again."
        )
    return (
        f"A broker at {settings.kafka_bootstrap_servers} takes new clients: the one that leads these partitions or the "
        f"group {settings.app_id} is away, or the group waits for a member that does not answer."
    )


class Contact:
    """The state of what is between a worker and Kafka; `watch` is called a few times a second.

    `heartbeat_age` is in seconds; `unanswered` gives the topics of which partitions have waited for so many seconds for
    an answer to a fetch; `refusal` is why the group does not take this worker. `clock` counts seconds and never goes
    back.
    """

    def __init__(
        self,
        settings: Settings,
        heartbeat_age: Callable[[], float],
        unanswered: Callable[[float], list[str]],
        refusal: Callable[[], Exception | None],
        *,
        reason_of: Callable[[Settings], Awaitable[str]] = reason_of,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._heartbeat_age = heartbeat_age
        self._unanswered = unanswered
        self._refusal = refusal
        self._reason_of = reason_of
        self._clock = clock
        self._begun = self._watched_at = self._awake_since = clock()
        self._since: float | None = None  # of the silence
        self._reason = ""
        self._asking: asyncio.Task[None] | None = None

    def heartbeat_age(self) -> float:
        """Seconds since a heartbeat was last answered; before the first one since the start."""
        return min(self._heartbeat_age(), self._clock() - self._begun)

    def watch(self) -> None:
        """Note when answers cease and when they come again."""
        now = self._clock()
        if now - self._watched_at > _ASLEEP_SECONDS:  # this process stood still: who should have listened?
            self._awake_since = now
        self._watched_at = now
        silence = self._silence(now)
        if silence is not None and self._since is None:
            self._since = self._clock() - silence
            self._reason = ""
            self._asking = asyncio.get_running_loop().create_task(self._ask())
        elif silence is None and self._since is not None:
            log.info("Kafka answers again after %.0f s", self._clock() - self._since)
            self._since = None
            self.close()

    def close(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()
            self._asking = None

    @property
    def away(self) -> bool:
        """Whether Kafka has not answered for longer than a session lasts."""
        return self._since is not None

    def problem(self) -> str | None:
        """What `/ready` says of it."""
        if self._since is None:
            return None
        return f"Kafka has not answered for {self._clock() - self._since:.0f} s. {self._reason}".rstrip()

    def _silence(self, now: float) -> float | None:
        """For how long nothing has been answered, where that is too long."""
        most = self._settings.session_timeout
        if now - self._awake_since <= most:
            return None
        age = self.heartbeat_age()
        if age > most:
            return age
        return most if self._unanswered(most) else None

    async def _ask(self) -> None:
        """Ask for the reason, again and again; the log is told when it is another one."""
        while self._since is not None:
            refusal = self._refusal()
            reason = (
                await self._reason_of(self._settings)
                if refusal is None
                else f"The group {self._settings.app_id} does not take it ({type(refusal).__name__}): `tally topics` "
                "lists the ACLs that are needed."
            )
            if reason != self._reason:
                self._reason = reason
                topics = self._unanswered(self._settings.session_timeout)
                what = f"fetches of {', '.join(topics)}" if topics else "heartbeats"
                silence = self._clock() - self._since
                log.warning("Kafka has not answered this worker's %s for %.0f s: %s", what, silence, reason)
            await asyncio.sleep(_AGAIN_SECONDS)
