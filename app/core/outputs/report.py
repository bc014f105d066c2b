"""The answer of `/api/models`: every model with its task, and what measures and scores say of it."""

from collections.abc import Collection, Iterator, Mapping
from datetime import UTC, datetime
from itertools import groupby
from operator import attrgetter
from typing import Any

from app.core.counts.panes import TOTAL
from app.core.events import Identity, identity_fields
from app.core.measures.catalogue import MEASURES
from app.core.measures.custom import CUSTOM, notes_of
from app.core.measures.measure import MODEL, WINDOW
from app.core.measures.reading import Alerting, Nature, Reading
from app.core.measures.readings import Readings
from app.core.rules import Rulebook, Rules
from app.core.scores.catalogue import less_is_better, scores_of
from app.core.scores.changes import changes_of
from app.core.scores.estimates import estimates_of
from app.core.scores.fairness import fairness_of
from app.core.scores.own import MeanCost
from app.core.scores.score import Score


def reports_of(readings: Readings, now: float) -> Iterator[dict[str, Any]]:
    """Of each model what `/api/models` says of it then, by identity, one after the other: there may be very many."""
    families = readings.metric_families()
    for identity, by_window in readings.of_models(now):
        yield report_of(identity, by_window, readings.view.first_seen(identity), readings.rulebook, families)


def report_of(
    identity: Identity,
    readings: Mapping[str, Reading],
    first_seen: int,
    rulebook: Rulebook,
    families: Collection[tuple[str, str]] | None = None,
) -> dict[str, Any]:
    """What `/api/models` says of a model that was first seen then, in seconds. `families` are the custom metrics, by
    type and key, that are exported of all models; None asks this one alone.

    Scores that are undefined are null; those of one class are named `score/class`.
    """
    rules = rulebook.of(identity.leg)
    scores = {window: scores_of(reading) for window, reading in readings.items()}
    return {
        **identity_fields(identity),
        "task": readings[TOTAL].nature.task,
        "first_seen": datetime.fromtimestamp(first_seen, UTC).isoformat().replace("+00:00", "Z"),
        "scored_model": rules.scored_model,
        "shadow": identity.predictor in rules.shadow,
        "limits": {_score_name(score, of_class): limit for score, of_class, limit in rules.limits},
        "least_count": rules.least_count,
        **(of_model := fields_of(readings[TOTAL], MODEL)),
        "notes": [
            *of_model["notes"],
            *_unknown(readings[TOTAL], rules),
            *missed_limits(scores, rules),
            *_not_estimated(readings[TOTAL]),
            *notes_of(CUSTOM.of(readings[TOTAL]), families),
        ],
        **_reference(readings[TOTAL].nature, rules),
        **({"monitors": [_monitor(one) for one in readings[TOTAL].monitors]} if rules.monitors else {}),
        **({"changes": [change._asdict() for change in changes_of(readings[TOTAL])]} if rules.changes else {}),
        "windows": {window: _window(reading, scores[window], rules) for window, reading in readings.items()},
    }


def _reference(nature: Nature, rules: Rules) -> dict[str, Any]:
    """What a model's reference is, or how far its first rows have come of which one is to be made."""
    if rules.reference is None:
        return {}
    if nature.gathered is not None:
        return {"reference": {"digest": None, "first": rules.reference.first, "gathered": nature.gathered}}
    return {"reference": {"digest": None if nature.reference is None else nature.reference.digest}}


def scores_report(readings: Mapping[str, Reading]) -> dict[str, dict[str, float | None]]:
    """The scores of a model as a whole, in total and in each window; undefined is null."""
    return {
        window: {score.name: score.value for score in scores_of(reading) if not score.of_class}
        for window, reading in readings.items()
    }


def _monitor(one: Alerting) -> dict[str, Any]:
    """What is set of a monitor, and whether it alerts."""
    spec = one.spec
    return {
        "monitor": spec.name,
        "version": spec.version,
        "alert_when": str(spec.when),
        "hold": spec.hold,
        "clear": spec.clear,
        "alerting": one.alerting,
    }


def fields_of(reading: Reading, place: str) -> dict[str, Any]:
    """What all measures show of a reading in one kind of place."""
    return {
        field.name: value
        for measure in MEASURES
        if measure.by_labels or not reading.by_labels
        for field in measure.fields
        if place in field.places and ((value := field.read(measure.of(reading))) is not None or not field.optional)
    }


def _unknown(total: Reading, rules: Rules) -> Iterator[str]:
    """The classes whose confusions cost something, and that no row has been of: they may be misspelt."""
    for own in rules.scores if total.nature.classes else ():
        if isinstance(own.function, MeanCost):
            named = {name for cell, _ in own.function.costs for name in cell} - total.nature.classes
            if named:
                yield f"scores: {own.name} names classes that have not occurred yet: {', '.join(sorted(named))}."


def _not_estimated(total: Reading) -> Iterator[str]:
    """Why nothing is estimated, where that is asked for."""
    found = estimates_of(total)
    if found is not None and found.lacking:
        yield f"No score is estimated yet, as `estimate: true` asks for: {found.lacking}."


def missed_limits(scores: Mapping[str, list[Score]], rules: Rules) -> Iterator[str]:
    """The scores that miss their limits, in total or in a window, where they rest on enough rows."""
    limits = {(score, of_class): limit for score, of_class, limit in rules.limits}
    for window, of_window in scores.items() if limits else ():
        for score in of_window:
            limit = limits.get((score.name, score.of_class))
            if limit is None or score.value is None or score.samples < rules.least_count:
                continue
            upwards = less_is_better(score.name, rules)
            if score.value > limit if upwards else score.value < limit:
                beyond = "above" if upwards else "below"
                name = _score_name(score.name, score.of_class)
                where = f"({window}, {score.samples:,} rows)"
                yield f"{name} is {score.value:.4g}, {beyond} its limit of {limit:g} {where}."


def estimate_fields(reading: Reading) -> dict[str, Any]:
    """What is estimated, where the rules ask for it: on how many rows, by how many labels, each score and its interval.

    Undefined is null; without estimates there are no scores.
    """
    found = estimates_of(reading)
    if found is None or not found.rows:
        return {}
    return {
        "estimate": {
            "rows": found.rows,
            "labels": found.labels,
            "scores": {one.score: one.value for one in found.estimates},
            "low": {one.score: one.low for one in found.estimates},
            "high": {one.score: one.high for one in found.estimates},
        }
    }


def fairness_fields(reading: Reading, rules: Rules) -> dict[str, Any]:
    """What is said of fairness where the rules ask for it: of all others together (value ""), then of each value."""
    if rules.fairness is None:
        return {}
    found = [(value, [*own]) for value, own in groupby(fairness_of(reading, rules.fairness), key=attrgetter("value"))]
    return {
        "fairness": [
            {
                "attribute": rules.fairness.attribute,
                "value": value,
                "scores": {one.measure: one.score for one in own},
                "score_samples": {one.measure: one.samples for one in own},
            }
            for value, own in found
        ]
    }


def _window(reading: Reading, scores: list[Score], rules: Rules) -> dict[str, Any]:
    """What a window says; and of a model with segments the same by segment and value."""
    found = _numbers(reading, scores) | fairness_fields(reading, rules)
    if rules.fairness is not None:
        found["privileged"] = rules.fairness.privileged
    for (segment, value), own in reading.segments.items():
        found.setdefault("segments", {}).setdefault(segment, {})[value] = _numbers(own, scores_of(own))
    return found


def _numbers(reading: Reading, scores: list[Score]) -> dict[str, Any]:
    return {
        **fields_of(reading, WINDOW),
        "scores": {_score_name(score.name, score.of_class): score.value for score in scores},
        "score_samples": {_score_name(score.name, score.of_class): score.samples for score in scores},
        **estimate_fields(reading),
    }


def _score_name(name: str, of_class: str) -> str:
    return f"{name}/{of_class}" if of_class else name
