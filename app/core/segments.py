"""Segments: declared slices of a model's traffic, and the values that a slice has.

A *segment* is declared once (`country: tags.country`) and has *values* (DE, FR …). What counts in one value of it
counts in the account `country=DE` of its model. Values are texts: of a number its canonical text, `true` and `false`, a
text without the blanks around it; with bins the label of its bin. What has no such text has a value in brackets.
"""

import math
from bisect import bisect_right
from collections.abc import Collection, Iterable
from functools import lru_cache
from heapq import nsmallest
from itertools import pairwise
from typing import Any, Final, NamedTuple

from xxhash import xxh3_64_intdigest

MISSING: Final = "(missing)"  # nothing says it, or null or an empty text does
SEVERAL: Final = "(several)"  # what is said of an answer as a whole whose rows have different values
LIST: Final = "(list)"
OBJECT: Final = "(object)"
TOO_LONG: Final = "(too long)"
NO_NUMBER: Final = "(no number)"  # in the place of a number for bins
#: These and the values that the rules name are always told apart.
SPECIAL: Final = frozenset({MISSING, SEVERAL, LIST, OBJECT, TOO_LONG, NO_NUMBER})
#: How the counts name all values beyond those that are told apart. No value is named so: blanks are trimmed.
OTHER: Final = " other"
#: Characters of a value.
LONGEST: Final = 100

#: What a segment may be read from, besides `route`.
TAGS, HEADERS, FEATURES, PAYLOAD = SOURCES = ("tags", "headers", "features", "payload")
ROUTE: Final = "route"

_LARGEST_PLAIN: Final = 10**15


class Segment(NamedTuple):
    """One declared segment: its name, and where its values are.

    `source` is one of `SOURCES` or `ROUTE`, `field` the tag, header, feature or dotted path there. `bins` are ascending
    bounds: a value belongs to the bin that begins with it. `kept` are values that are told apart whatever comes.
    """

    name: str
    source: str
    field: str = ""
    bins: tuple[float, ...] = ()
    kept: tuple[str, ...] = ()

    @property
    def labels(self) -> tuple[str, ...]:
        """The labels of its bins: `<30`, `30-50`, `>=50`."""
        return _labels_of(self.bins)

    @property
    def always(self) -> frozenset[str]:
        """The values that are told apart whatever comes."""
        return SPECIAL | {*self.kept, *self.labels}

    def value_of(self, raw: Any) -> str | None:
        """The value that something in a payload means; None where it says nothing."""
        if type(raw) is list and len(raw) == 1:
            raw = raw[0]
        if self.bins:
            return _bin_of(raw, self.bins, self.labels)
        return value_text(raw)


@lru_cache(maxsize=1024)
def _labels_of(bins: tuple[float, ...]) -> tuple[str, ...]:
    if not bins:
        return ()
    texts = [_number_text(bound) for bound in bins]
    between = [f"{low}-{high}" for low, high in pairwise(texts)]
    return (f"<{texts[0]}", *between, f">={texts[-1]}")


def value_text(raw: Any) -> str | None:
    """The text of a value as segments have it; None where it says nothing."""
    kind = type(raw)
    if kind is str:
        text = raw.strip()
    elif raw is None:
        return None
    elif kind is bool:
        return "true" if raw else "false"
    elif kind is int or kind is float:
        if kind is float and not math.isfinite(raw):
            return None
        text = _number_text(raw)
    else:
        return LIST if kind is list else OBJECT
    if len(text) > LONGEST:
        return TOO_LONG
    return text or None


def header_names(segment: Segment) -> tuple[bytes, ...]:
    """The headers of a canonical event that a segment is read from: the first of them that it has."""
    name = segment.field.encode()
    return (name, b"ce_" + name) if segment.source == HEADERS else ()


def header_text(raw: bytes) -> str:
    """A header's value as segments read it: one that is longer than a value is `TOO_LONG` already, also for bins."""
    text = raw.decode(errors="replace")
    if len(text) <= LONGEST:
        return text
    text = text.strip()
    return TOO_LONG if len(text) > LONGEST else text


def _number_text(value: float) -> str:
    """A number as text: whole ones without a fraction."""
    if type(value) is float and value.is_integer() and abs(value) < _LARGEST_PLAIN:
        value = int(value)
    return str(value) if type(value) is int and abs(value) < _LARGEST_PLAIN else repr(float(value))


def _bin_of(raw: Any, bins: tuple[float, ...], labels: tuple[str, ...]) -> str | None:
    kind = type(raw)
    if raw is None or raw == "":
        return None
    if kind is list or kind is dict:
        return LIST if kind is list else OBJECT
    try:
        number = float(raw)
    except (TypeError, ValueError, OverflowError):
        return NO_NUMBER
    if kind is bool or math.isnan(number):
        return NO_NUMBER if kind is bool else None
    return labels[bisect_right(bins, number)]


def slice_of(segment: str, value: str) -> str:
    """What an account's segment is called where it counts one value of a segment."""
    return f"{segment}={value}"


def parts_of(own: str) -> tuple[str, str]:
    """The segment and the value in such a name."""
    segment, _, value = own.partition("=")
    return segment, value


def value_rank(value: str) -> int:
    """The order in which values are told apart where they are too many: any that arrival cannot change.

    So a value of the lowest ranks over all partitions is one of the lowest in each of them, and its counts are whole.
    """
    return xxh3_64_intdigest(value.encode(errors="replace"))


def shown_values(values: Iterable[str], most: int, always: Collection[str]) -> dict[str, str]:
    """How the values of a segment that occur are shown: each as itself, or with others as `other`."""
    occurring = sorted({*values} - {OTHER})
    own = {value for value in occurring if value in always}
    rest = [value for value in occurring if value not in own]
    own.update(nsmallest(max(0, most - len(own)), rest, key=value_rank))
    other = "(other)" if "other" in own else "other"
    shown = {value: value if value in own else other for value in occurring}
    return shown | ({OTHER: other} if OTHER in values else {})
