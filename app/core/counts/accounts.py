"""Accounts: what counts are kept for."""

from typing import Any, Final, NamedTuple

from app.core.events import Identity

#: The segment of what is counted by the time at which labels and rewards came, not by that of the prediction.
BY_LABELS: Final = "\0labels"
#: The segment of a model's custom metrics. They count in total alone, so they have no panes.
METRICS: Final = "\0metrics"


class Pair(NamedTuple):
    """Two identities that are compared on the puids that both have answered."""

    first: Identity
    second: Identity


Subject = Identity | Pair


class Account(NamedTuple):
    """What counts are kept for: a subject, as a whole (segment "") or in one of its segments."""

    subject: Subject
    segment: str = ""


def subject_words(subject: Subject) -> list[Any]:
    """A subject as JSON has it: the five names of an identity, or two lists of five."""
    return [*map(list, subject)] if isinstance(subject, Pair) else list(subject)


def parse_subject(words: list[Any]) -> Subject:
    """The subject of such words. Raises an error of many kinds where they are none."""
    if type(words[0]) is list:
        first, second = words
        return Pair(_identity(first), _identity(second))
    return _identity(words)


def _identity(words: list[Any]) -> Identity:
    if not all(type(word) is str for word in words):
        raise ValueError("no identity")
    return Identity(*words)
