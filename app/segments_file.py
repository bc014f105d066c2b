"""Segments and fairness in the YAML file: how they are written, and the sentence where that is wrong."""

import re
from collections.abc import Collection, Iterator, Mapping
from itertools import pairwise
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from app.core.rules import Fairness, Schema
from app.core.segments import FEATURES, HEADERS, PAYLOAD, ROUTE, SOURCES, TAGS, Segment

#: Segments of one model, and bounds of one segment.
MOST_SEGMENTS: Final = 10
MOST_BOUNDS: Final = 50
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,59}")
#: What the series have as labels already: such a name would be read as something else.
LABELS: Final = frozenset(
    {"model_namespace", "model_service", "predictor", "model", "model_version", "window", "score", "class", "verdict"}
    | {"segment", "value", "attribute", "measure", "actual", "predicted", "outcome", "error", "shadow", "quantity"}
)
#: Headers of credentials, which stand in no series.
_SECRET: Final = frozenset({"authorization", "proxy-authorization", "cookie", "set-cookie"})
_TALLYS: Final = "tally-"
_FIELDS: Final = ("field", "bins")


class FairnessEntry(BaseModel):
    """`fairness:` of a model."""

    model_config = ConfigDict(extra="forbid", strict=True)

    attribute: str
    privileged: str
    positive: str | None = None

    def rules(self) -> Fairness:
        """As the core takes it."""
        return Fairness(self.attribute, self.privileged, self.positive)


def segments_of(given: Mapping[str, Any]) -> tuple[Segment, ...]:
    """The segments that the YAML file declares. Raises ValueError with what is wrong."""
    if len(given) > MOST_SEGMENTS:
        raise ValueError(f"there are {len(given)}; a model may have {MOST_SEGMENTS}")
    return tuple(_segment(name, form) for name, form in given.items())


def _segment(name: str, given: Any) -> Segment:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name of a segment: up to 60 letters, digits, _, . and -, a letter first")
    if name in LABELS:
        raise ValueError(f"{name} is a label of the series already: name the segment otherwise")
    form = given if type(given) is dict else {"field": given}
    unknown = next((key for key in form if key not in _FIELDS), None)
    if unknown is not None:
        raise ValueError(f"{name}: {unknown} is unknown; known are {' and '.join(_FIELDS)}")
    field = form.get("field")
    if type(field) is not str:
        raise ValueError(f"{name}: its field must be a text like tags.{name}")
    source, _, own = field.partition(".")
    if (source not in SOURCES or not own.strip(".")) and field != ROUTE:
        begins = ", ".join(f"{one}." for one in SOURCES)
        raise ValueError(f"{name}: {field} must begin with one of {begins} and a name, or be {ROUTE}")
    if source == PAYLOAD and not all(own.split(".")):
        raise ValueError(f"{name}: {field} is no dotted path")
    if source == HEADERS:
        own = own.lower()
        if own in _SECRET:
            raise ValueError(f"{name}: the header {own} holds credentials, which would stand in series: name another")
        if own.startswith(_TALLYS):
            raise ValueError(f"{name}: the header {own} would be one of Tally's own: name one of your program's")
    return Segment(name, source, own, _bins(name, form["bins"]) if "bins" in form else ())


def _bins(name: str, given: Any) -> tuple[float, ...]:
    if type(given) is not list or not given:
        raise ValueError(f"{name}: bins must be a list of numbers like [30, 50]")
    if len(given) > MOST_BOUNDS:
        raise ValueError(f"{name}: there are {len(given)} bins; a segment may have {MOST_BOUNDS}")
    for bound in given:
        if type(bound) not in (int, float) or not abs(bound) < float("inf"):
            raise ValueError(f"{name}: the bin {bound!r} is no number")
    bins = tuple(map(float, given))
    if any(low >= high for low, high in pairwise(bins)):
        raise ValueError(f"{name}: bins must ascend")
    return bins


def check_redaction(segments: Collection[Segment], redact: Collection[str], schema: Schema) -> None:
    """Refuse segments whose values must not leave Kafka: they would stand in series. Raises ValueError."""
    for segment in segments:
        hidden = next((path for path in _paths(segment, schema) if path in redact), None)
        if hidden is not None:
            raise ValueError(
                f"the segment {segment.name} would show what `redact` keeps back ({hidden}): take one of them out"
            )


def _paths(segment: Segment, schema: Schema) -> Iterator[str]:
    """All names and dotted paths by which what a segment shows may be kept back."""
    parts = {
        TAGS: ("meta", "tags", segment.field),
        ROUTE: ("meta", "routing"),
        PAYLOAD: tuple(segment.field.split(".")),
    }.get(segment.source, (segment.source, segment.field))
    for start in range(len(parts)):
        for end in range(start + 1, len(parts) + 1):
            yield ".".join(parts[start:end])
    yield segment.field
    if segment.source == FEATURES:
        for column in schema.requests:
            if segment.field in column.parts:
                yield column.name


def check_fairness(segments: tuple[Segment, ...], fairness: Fairness | None) -> tuple[Segment, ...]:
    """The segments, one of which always tells the privileged value apart. Raises ValueError."""
    if fairness is None:
        return segments
    if all(segment.name != fairness.attribute for segment in segments):
        raise ValueError(f"fairness is asked for {fairness.attribute}, which is no segment of the model: declare it")
    return tuple(
        segment._replace(kept=(fairness.privileged,)) if segment.name == fairness.attribute else segment
        for segment in segments
    )
