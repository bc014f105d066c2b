"""What came of a replay: the readings of all partitions' rows together, in the forms in which they are given."""

import asyncio
from collections.abc import Iterable, Iterator, Mapping
from fnmatch import fnmatchcase
from typing import Any, Final, NamedTuple

import orjson

from app.core.counts.accounts import Pair, Subject
from app.core.counts.rows import RowKey, parse_key
from app.core.counts.view import View
from app.core.events import Identity
from app.core.measures.readings import Readings
from app.core.outputs.comparisons import comparisons_report
from app.core.outputs.report import reports_of
from app.core.stats import Stats
from app.replay.fold import Counting, Folded, Rows
from app.replay.stretch import StretchError, moment_text

#: A text is waited for until it is whole.
_PATIENCE: Final = 1e6


class Outcome(NamedTuple):
    """What a stretch says at a moment `now`, in seconds; and what should be known of how it was read."""

    counting: Counting
    readings: Readings
    now: float
    stats: Stats
    events: int
    orphans: int
    notes: tuple[str, ...] = ()


def outcome_of(counting: Counting, folded: Iterable[Folded], now: float | None, pattern: str | None = None) -> Outcome:
    """The outcome of some partitions, at `now` or else at their newest record, of the models that a pattern names."""
    folded = [*folded]
    stats = Stats()
    for one in folded:
        stats.add(one.stats)
    newest = max((one.newest for one in folded), default=0) / 1000
    view = view_of(counting, {one.partition: one.rows for one in folded}, pattern)
    settings = counting.settings
    return Outcome(
        counting,
        Readings(view, counting.rulebook, settings.max_classes, settings.max_segment_values, settings.most_metrics),
        newest if now is None else now,
        stats,
        sum(one.events for one in folded),
        sum(one.orphans for one in folded),
        (*_notes_of(folded),),
    )


def view_of(counting: Counting, rows: Mapping[int, Rows], pattern: str | None = None) -> View:
    """The merged view of the rows of partitions, of the models that a pattern names."""
    settings = counting.settings
    view = View(settings.clock, settings.windows)
    known: set[str] = set()
    shown = 0
    for partition, own in rows.items():
        for key, value in own.items():
            subject = _subject_of(key)
            if pattern is not None and subject is not None:
                known |= {*map(str, _identities(subject))}
                if not any(is_meant(one, pattern) for one in _identities(subject)):
                    continue
                shown += 1
            view.take(partition, key, value)
    if pattern is not None and known and not shown:
        raise StretchError(f"--model {pattern} fits none of the models: {', '.join(sorted(known))}.")
    return view


def _subject_of(key: bytes) -> Subject | None:
    parsed = parse_key(key)
    if isinstance(parsed, RowKey):
        return parsed.subject
    return parsed if isinstance(parsed, tuple) else None


def _identities(subject: Subject) -> tuple[Identity, ...]:
    return tuple(subject) if isinstance(subject, Pair) else (subject,)


def is_meant(identity: Identity, pattern: str) -> bool:
    """Whether a pattern names a model: by `namespace/service/predictor/model`, that with its version, or predictor."""
    return any(fnmatchcase(text, pattern) for text in (str(identity), str(identity.leg), identity.predictor))


def _notes_of(folded: list[Folded]) -> Iterator[str]:
    astray, brought = sum(one.astray for one in folded), sum(one.brought for one in folded)
    if astray > brought:
        yield (
            f"Events that stand under another key than their request id: {astray:,}; those that workers have brought "
            f"to their own within this stretch: {brought:,}. The others are not counted."
        )
    orphans = sum(one.orphans for one in folded)
    if orphans:
        yield (
            f"Request ids with feedback and without a prediction within this stretch: {orphans:,}. Their labels judge "
            "nothing, their rewards count without a model."
        )


def prometheus(outcome: Outcome) -> str:
    """The text of the model series, as a worker exports it that has read the same."""
    from app.worker.http.exposition import Exposition  # it brings what serves HTTP

    settings = outcome.counting.settings
    exposition = Exposition(
        outcome.readings,
        seldon=settings.seldon_series,
        boxkite=settings.boxkite_series,
        most=settings.max_series,
        longest_rest=0.0,
        patience=_PATIENCE,
    )
    asyncio.run(exposition.refresh(outcome.now))
    return exposition.text.text()


def as_data(outcome: Outcome) -> dict[str, Any]:
    """What a worker answers to `/api/models` and `/api/comparisons`, at the outcome's moment."""
    readings, now = outcome.readings, outcome.now
    stats = outcome.stats
    return {
        "now": moment_text(now),
        "events": outcome.events,
        "duplicates": sum(stats.duplicates.values()),
        "rejected": dict(sorted(stats.rejected.items())),
        "orphans": outcome.orphans,
        "models": [*reports_of(readings, now)],
        **comparisons_report(readings.of_pairs(now), readings.rulebook),
        "notes": [*outcome.notes],
    }


def as_json(outcome: Outcome) -> str:
    """The same as a text."""
    return orjson.dumps(as_data(outcome), option=orjson.OPT_INDENT_2).decode()
