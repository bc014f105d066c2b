"""The watch over topics: what is checked at the start stays so, or the worker says what has changed.

A topic may be deleted and made again, get more partitions or other settings at any time. A canonical topic that is made
anew is read from its beginning; where a changelog is gone, so is the state, and the worker ends with a sentence.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from app.settings import Settings
from app.worker.kafka.client import SetupError
from app.worker.kafka.metadata import TopicFacts
from app.worker.kafka.sizes import Sizes
from app.worker.kafka.topics import admin_client, describe_cluster, topic_problems, topics_of
from app.worker.troubles import Troubles

log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 10.0
#: Brokers that have just started may not know a topic yet: it is gone when they say so so often.
_GONE_AFTER: Final = 3


class TopicWatch:
    """Looks at the topics again and again.

    `sizes` is told what they take, `tell` the name and the id of each canonical topic at every look: whoever
    reads it knows whether that is another one. `fail` ends the worker.
    """

    def __init__(
        self,
        settings: Settings,
        facts: Mapping[str, TopicFacts],
        sizes: Sizes,
        tell: Callable[[str, str], None],
        fail: Callable[[SetupError], None],
    ) -> None:
        self.troubles = Troubles()
        self._settings = settings
        self._topics = topics_of(settings)
        self._facts = dict(facts)
        self._sizes = sizes
        self._tell = tell
        self._fail = fail
        self._missed: dict[str, int] = {}

    async def ask_ids(self) -> Mapping[str, str]:
        """The ids of the topics now, as far as brokers know them."""
        return {name: facts.id for name, facts in (await self._ask()).items() if facts.id}

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                found = await self._ask()
            except SetupError as error:  # whether brokers answer at all is told by whoever reads and writes
                log.debug("the topics could not be looked at: %s", error)
            else:
                self.compare(found)

    async def _ask(self) -> dict[str, TopicFacts]:
        async with admin_client(self._settings) as admin:
            return (await describe_cluster(admin, [topic.name for topic in self._topics])).topics

    def compare(self, found: Mapping[str, TopicFacts]) -> None:
        """Act on what has changed since the last look."""
        settings = self._settings
        self._sizes.update(found)
        for problem in topic_problems(self._topics, found):
            self._fail(SetupError(problem))
            return
        changelogs = (settings.exchanges_topic, settings.panes_topic)
        for topic in self._topics:
            now, before = found.get(topic.name), self._facts[topic.name]
            if now is None:
                self._miss(topic.name, is_changelog=topic.name in changelogs)
                continue
            self._missed.pop(topic.name, None)
            self.troubles.end(topic.name)
            if now.partitions != before.partitions:
                self._fail(
                    SetupError(
                        f"The state of {settings.app_id} was written with {before.partitions} partitions and the "
                        f"topics have {now.partitions}: give the topics their old count, or start afresh with another "
                        "TALLY_APP_ID."
                    )
                )
                return
            if now.id != before.id and before.id and now.id and topic.name in changelogs:
                self._fail(_gone(topic.name, "has been made anew"))
                return
            if topic.name in settings.topics:
                self._tell(topic.name, now.id)
            self._facts[topic.name] = now

    def _miss(self, name: str, *, is_changelog: bool) -> None:
        self._missed[name] = self._missed.get(name, 0) + 1
        if self._missed[name] < _GONE_AFTER:
            return
        if is_changelog:
            self._fail(_gone(name, "is gone"))
        else:
            self.troubles.begin(name, f"Topic {name} is gone: make it again (`tally topics --create`).")


def _gone(name: str, what: str) -> SetupError:
    return SetupError(
        f"Topic {name} {what} while this worker ran, and with it the state: start afresh with another TALLY_APP_ID."
    )
