"""What is wrong now: a sentence for each subject, and a line in the log when it begins, changes or ends."""

import logging
from collections.abc import Iterator

log = logging.getLogger(__name__)


class Troubles:
    """The troubles of one part of a worker. What is tried again and again is said once."""

    def __init__(self) -> None:
        self._sentences: dict[str, str] = {}

    def __iter__(self) -> Iterator[str]:
        return iter([*self._sentences.values()])

    def begin(self, subject: str, sentence: str) -> None:
        """A subject is in trouble, as the sentence says."""
        if self._sentences.get(subject) != sentence:
            self._sentences[subject] = sentence
            log.warning("%s", sentence)

    def end(self, subject: str) -> None:
        """A subject is in no trouble."""
        if self._sentences.pop(subject, None) is not None:
            log.info("%s: all is well again", subject)

    def note(self, subject: str, sentence: str | None) -> None:
        """A subject is in trouble where there is a sentence; else in none. That a sentence changes is no news."""
        if sentence is None:
            self.end(subject)
        elif subject not in self._sentences:
            self.begin(subject, sentence)
        else:
            self._sentences[subject] = sentence

    def forget(self, subject: str) -> None:
        """A subject is no longer ours: its trouble is another's."""
        self._sentences.pop(subject, None)
