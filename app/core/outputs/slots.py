"""Slots: stretches of time, aligned to the epoch, that documents in Elasticsearch are about; and the names of these.

A window is the union of its panes, by one of two clocks: the time of the prediction, or that at which labels and
rewards came. The name of the latter's windows begins with `labels_`, as in the series.
"""

from hashlib import blake2b
from typing import Any, Final, NamedTuple

from app.core.clock import format_time
from app.core.counts.accounts import BY_LABELS, Account, Pair, Subject
from app.core.counts.panes import Window
from app.core.events import Identity
from app.core.measures.readings import labels_window
from app.core.segments import parts_of

#: By which clock a document counts: the field `clock`.
PREDICTIONS: Final = "predictions"
LABELS: Final = "labels"
#: What Elasticsearch takes as an id, in bytes.
_LONGEST_ID: Final = 512


class Slot(NamedTuple):
    """What a document is about: an account, a window, and the number of that window counted from 1970."""

    account: Account
    window: Window
    number: int

    @property
    def start(self) -> int:
        """When the window begins, in seconds since the epoch."""
        return self.number * self.window.seconds

    @property
    def by_labels(self) -> bool:
        """Whether it is about the labels and rewards that came then, not about the predictions."""
        return self.account.segment.startswith(BY_LABELS)

    @property
    def segment(self) -> str:
        """`<segment>=<value>` of what it is about, as it is shown; empty where that is the whole."""
        return self.account.segment.removeprefix(BY_LABELS)

    @property
    def name(self) -> str:
        """The name of the window by its clock."""
        return labels_window(self.window) if self.by_labels else self.window.name

    def fields(self) -> dict[str, Any]:
        """What a document says of it."""
        segment, value = parts_of(self.segment)
        return {
            "segment": segment,
            **({"value": value} if segment else {}),
            "window": self.name,
            "clock": LABELS if self.by_labels else PREDICTIONS,
            "start": moment(self.start),
            "end": moment(self.start + self.window.seconds),
        }


def document_id(slot: Slot) -> str:
    """`<subject>/<segment>/<window>/<start>`, as `subject_id` has it."""
    segment, end = _escaped(slot.segment), f"{slot.name}/{moment(slot.start)}"
    if len(segment.encode(errors="replace")) > _LONGEST_ID // 2:
        segment = _digest(segment)
    return subject_id(slot.account.subject, f"{segment}/{end}")


def subject_id(subject: Subject, rest: str) -> str:
    """`<identity>/<rest>`, or of a pair `<current's>/<shadow's>/<rest>`. `/`, `@` and `%` within a name are written
    %2F, %40 and %25. What is too long for an id has a digest in the place of the names.
    """
    name = "/".join(map(_name, subject if isinstance(subject, Pair) else (subject,)))
    if len(f"{name}/{rest}".encode(errors="replace")) > _LONGEST_ID:
        name = _digest(name)
    return f"{name}/{rest}"


def _digest(text: str) -> str:
    return blake2b(text.encode(errors="replace"), digest_size=16).hexdigest()


def _escaped(word: str) -> str:
    return word.replace("%", "%25").replace("/", "%2F").replace("@", "%40")


def _name(identity: Identity) -> str:
    *leg, version = map(_escaped, identity)
    return "/".join(leg) + (f"@{version}" if version else "")


def moment(seconds: float) -> str:
    """A time in seconds since the epoch, for people and Elasticsearch."""
    return format_time(round(seconds * 1_000_000)).replace(".000000", "")
