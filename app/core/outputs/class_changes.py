"""In which class a score fell: how many rows of each class were right before it, and since."""

from collections import Counter
from collections.abc import Iterable
from typing import NamedTuple, TypedDict

from app.core.measures.confusion import Confusion


class OfStretch(NamedTuple):
    """The confusion of one stretch: its start, and the rows by actual and predicted class."""

    start: int
    confusion: Confusion


#: The recall of a class before a fall and since, and the labelled rows that it rests on; null where there are none.
ClassChange = TypedDict(
    "ClassChange",
    {"class": str, "before": float | None, "since": float | None, "labelled_before": int, "labelled_since": int},
)


def class_changes(stretches: Iterable[OfStretch], fell_at: int) -> list[ClassChange]:
    """Each class before a time and since, those first that lost the most right rows; empty where nothing was before."""
    whole, right = Counter[tuple[str, bool]](), Counter[tuple[str, bool]]()
    for start, confusion in stretches:
        for (actual, predicted), rows in confusion.items():
            part = actual, start >= fell_at
            whole[part] += rows
            right[part] += rows * (actual == predicted)
    if not any(not is_since for _, is_since in whole):
        return []
    changes = [_change(name, whole, right) for name in sorted({name for name, _ in whole})]
    return sorted(changes, key=_lost, reverse=True)


def _change(name: str, whole: Counter[tuple[str, bool]], right: Counter[tuple[str, bool]]) -> ClassChange:
    before, since = (right[part] / whole[part] if whole[part] else None for part in ((name, False), (name, True)))
    return {
        "class": name,
        "before": before,
        "since": since,
        "labelled_before": whole[name, False],
        "labelled_since": whole[name, True],
    }


def _lost(change: ClassChange) -> float:
    """How many more rows would be right if the recall were as before."""
    before, since = change["before"], change["since"]
    return 0.0 if before is None or since is None else (before - since) * change["labelled_since"]
