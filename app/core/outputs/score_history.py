"""The answer of `/api/models/{key}/history`: one score over time, from panes and from documents in Elasticsearch."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final, Literal, NamedTuple, TypedDict

from app.core.events import Identity
from app.core.measures.reading import Reading
from app.core.outputs.attention import fall_sentence
from app.core.outputs.class_changes import ClassChange, OfStretch, class_changes
from app.core.outputs.keys import key_of
from app.core.outputs.overview import fall_in
from app.core.outputs.slots import LABELS, PREDICTIONS
from app.core.outputs.trends import Asked, Point
from app.core.rules import Rules
from app.core.scores.catalogue import SCORES, SHARES, less_is_better, score_of, scores_of
from app.core.scores.intervals import WITH_INTERVALS, Moments, interval_of, moments_of

#: So many stretches there are where nobody says how long they are.
POINTS: Final = 120
_NAME: Final = re.compile(r"([^{}/]+)(?:\{(.*)\}|/(.*))?", re.DOTALL)

Source = Literal["panes", "elasticsearch", "both"]


class HistoryPoint(TypedDict):
    """What a score was in one stretch; `samples` are the rows that it rests on."""

    start: int
    value: float | None
    low: float | None
    high: float | None
    samples: int
    labelled: int
    predictions: int


class History(TypedDict):
    """A score over time. `fell_at` is the start of the stretch since which it is significantly worse than before, and
    `classes` how each class has done before and since.
    """

    key: str
    score: str
    clock: Literal["predictions", "labels"]
    step: int
    bound: Literal["lower", "upper"]
    limit: float | None
    points: list[HistoryPoint]
    fell_at: int | None
    fell: str | None
    classes: list[ClassChange]
    source: Source
    note: str | None


class ScoreName(NamedTuple):
    """A score of the whole model, or of one class."""

    name: str
    of_class: str = ""

    def __str__(self) -> str:
        return f"{self.name}{{{self.of_class}}}" if self.of_class else self.name


def parse_score(text: str) -> ScoreName | None:
    """The score that is meant by `accuracy`, `recall{cat}` or `recall/cat`; None where it is none."""
    found = _NAME.fullmatch(text)
    return None if found is None else ScoreName(found[1], found[2] or found[3] or "")


def names_of(total: Reading) -> list[str]:
    """The names of the scores that a model has, in order."""
    return [*dict.fromkeys(score.name for score in scores_of(total))]


def is_score(name: ScoreName, rules: Rules) -> bool:
    """Whether any model, or this one by its rules, has such a score."""
    return name.name in {formula.name for formula in SCORES} | {own.name for own in rules.scores}


def point_of_document(body: Mapping[str, Any], asked: Asked) -> Point:
    """The point that a document of a window is. Raises LookupError, TypeError or ValueError where it is none."""
    rows = body["rows"]
    labelled = int(rows["correct"] + rows["incorrect"] + rows["measured"])
    predictions = labelled + int(rows["unlabelled"])
    place = body if not asked.of_class else _of_class(body, asked.of_class)
    value, samples = place.get("scores", {}).get(asked.score), int(place.get("score_samples", {}).get(asked.score, 0))
    value = None if value is None else float(value)
    moments = _moments(place, asked.score, value, samples)
    low, high = interval_of(moments) or (None, None)
    start = int(datetime.fromisoformat(body["start"]).timestamp())
    return Point(start, value, low, high, samples, labelled, predictions, moments)


def _of_class(body: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    return next((one for one in body.get("classes", ()) if one.get("class") == name), {})


def _moments(place: Mapping[str, Any], name: str, value: float | None, samples: int) -> Moments | None:
    if value is None or not samples:
        return None
    if name in SHARES:
        right = round(value * samples)
        return Moments(samples, right, right, is_share=True)
    square = place["scores"].get("mse") if name in ("mae", "bias") else None
    return None if square is None else Moments(samples, value * samples, square * samples, is_share=False)


def intervals_of(readings: Mapping[str, Reading], name: ScoreName) -> dict[str, tuple[float, float] | None]:
    """The 95 % interval of a score in each window; null where it has none. No code of the user's own is run."""
    found: dict[str, tuple[float, float] | None] = {}
    for window, reading in readings.items():
        score = score_of(reading, *name) if name.name in WITH_INTERVALS else None
        found[window] = None if score is None else interval_of(moments_of(score, reading))
    return found


def history_of(
    identity: Identity,
    rules: Rules,
    asked: Asked,
    step: int,
    older: Sequence[Point],
    newer: Sequence[Point],
    note: str | None = None,
    *,
    confusions: Iterable[OfStretch] = (),
) -> History:
    """The history that points make: `older` ones are of Elasticsearch, `newer` ones of panes, as the confusions are."""
    name = ScoreName(asked.score, asked.of_class)
    points = [*older, *newer]
    fall = fall_in(points, asked.score, rules)
    limit = next((limit for *score, limit in rules.limits if (score[0], score[1]) == name), None)
    return {
        "key": key_of(identity),
        "score": str(name),
        "clock": LABELS if asked.by_labels else PREDICTIONS,
        "step": step,
        "bound": "upper" if less_is_better(asked.score, rules) else "lower",
        "limit": limit,
        "points": [*_fields(points)],
        "fell_at": None if fall is None else fall.at,
        "fell": None if fall is None else fall_sentence(str(name), fall),
        "classes": [] if fall is None else class_changes(confusions, fall.at),
        "source": source_of(older, newer),
        "note": note,
    }


def source_of(older: Sequence[Any], newer: Sequence[Any]) -> Source:
    """Where points are from."""
    if older:
        return "both" if newer else "elasticsearch"
    return "panes"


def _fields(points: Iterable[Point]) -> Iterable[HistoryPoint]:
    for point in points:
        yield {
            "start": point.start,
            "value": point.value,
            "low": point.low,
            "high": point.high,
            "samples": point.samples,
            "labelled": point.labelled,
            "predictions": point.predictions,
        }
