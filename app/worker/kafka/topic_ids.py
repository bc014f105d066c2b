"""Which topics these are: one that is deleted and made again has the name of the old one, and another id."""

import logging
from collections.abc import Collection, Mapping
from typing import Final

log = logging.getLogger("app.worker.kafka.group")

#: What is noted with an offset: the id of the topic that it is of.
_NOTE: Final = "topic-id="


class TopicIds:
    """The ids of the topics that a group reader reads, as far as they are known; empty where brokers have none."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._known: dict[str, str] = {}
        self._again: set[str] = set()  # that were made again since they are known
        self._said: dict[str, str] = {}  # of topics that were made again, as the log has them

    def learn(self, ids: Mapping[str, str]) -> None:
        """These topics are read from now on. One that is away keeps its id: it may come back as another."""
        self._again |= self.remade(ids)
        self._known |= {topic: known for topic, known in ids.items() if known}

    def note(self, topic: str) -> str:
        """What is committed with an offset of a topic."""
        return _NOTE + self._known.get(topic, "")

    def is_of_another(self, topic: str, note: str, now: str) -> bool:
        """Whether an offset with such a note is of another topic than the one that has this id now.

        Without a note there may be no offset: brokers delete them with their topic. Then it is, if the topic was ever
        made again: who learned of that may have had no partition of it then.
        """
        noted = note.removeprefix(_NOTE) if note.startswith(_NOTE) else ""
        if not noted and topic in self._again:
            return bool(now)
        known = noted or self._known.get(topic, "")
        return bool(known and now) and known != now

    def remade(self, ids: Mapping[str, str]) -> set[str]:
        """Those of the known topics that have another id now."""
        return {topic for topic, known in self._known.items() if ids.get(topic, known) not in ("", known)}

    def say_remade(self, topics: Collection[str], ids: Mapping[str, str]) -> None:
        """Tell the log, once for each new topic."""
        for topic in sorted(topics):
            if self._said.get(topic) != ids[topic]:
                log.warning("topic=%s was deleted and made again: %s reads it from its beginning", topic, self._name)
                self._said[topic] = ids[topic]
