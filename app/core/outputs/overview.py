"""The answer of `/api/overview`: each model in a line, with its trend, in the order in which they need attention.

What is known of a model is gathered step by step, since there may be hundreds: whoever drives the steps gives all
others their turn in between. What is made of it may run code of the user's own, and may be done elsewhere.
"""

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from typing import Final, Literal, NamedTuple, TypedDict

from app.core.counts.accounts import BY_LABELS, Account
from app.core.counts.panes import TOTAL, PaneClock
from app.core.drift.drift import Drift
from app.core.events import Identity
from app.core.measures.drift import DRIFT
from app.core.measures.exchanges import EXCHANGES
from app.core.measures.reading import Nature, Reading
from app.core.measures.readings import Readings, read
from app.core.measures.rewards import REWARDS
from app.core.outputs.attention import LEVELS, Attention, Known, Level, attention_of, missed_since
from app.core.outputs.falls import Fall, fall_of
from app.core.outputs.keys import key_of
from app.core.outputs.report import missed_limits
from app.core.outputs.slots import LABELS, PREDICTIONS
from app.core.outputs.trends import (
    Asked,
    Point,
    grid_of,
    kept_since,
    point_of,
    reading_of,
    rows_of,
    step_for,
    stretches,
)
from app.core.rules import Rules
from app.core.scores.catalogue import SCORES, less_is_better, score_of
from app.core.scores.intervals import interval_of, moments_of
from app.core.scores.score import Score

#: Points of a trend, at most.
POINTS: Final = 60
#: A fall is looked for in all that is kept, too, where that is so many times as long as the window.
_LONGER: Final = 1.25
_FORMULAS: Final = {formula.name: formula for formula in SCORES}
#: The score by which a model is known where its limits name none.
_OF_TASK: Final = {"binary": "accuracy", "multiclass": "accuracy", "regression": "mae", "unknown": "reward_mean"}


class OverviewScore(TypedDict):
    """The score by which a model is known. Misses (errors) have an upper limit, all others a lower one."""

    name: str
    value: float | None
    low: float | None
    high: float | None
    samples: int
    limit: float | None
    bound: Literal["lower", "upper"]


class OverviewAttention(TypedDict):
    """What of a model is most worth knowing; `since_at` in seconds since 1970, where it is known."""

    level: Level
    why: str
    since_at: float | None


class OverviewModel(TypedDict):
    """One line. `trend` has start, value and labelled rows of each stretch in which anything was counted."""

    key: str
    namespace: str
    service: str
    endpoint: str
    model: str
    version: str
    task: str
    shadow: bool
    score: OverviewScore | None
    labelled: int
    predictions: int
    coverage: float | None
    events_per_second: float
    trend: list[tuple[int, float | None, int]]
    attention: OverviewAttention


class Overview(TypedDict):
    """All lines, and of when they are."""

    now_at: float
    window: str
    windows: list[str]
    clock: Literal["predictions", "labels"]
    clocks: list[str]
    stale: str | None
    notes: list[str]
    events_per_second: float
    models: list[OverviewModel]


class Choice(NamedTuple):
    """A window, by its name or `total`, and a clock."""

    window: str
    by_labels: bool = False


def windows_of(readings: Readings) -> list[str]:
    """The windows that can be asked for."""
    return [*(window.name for window in readings.view.windows), TOTAL]


def clocks_of(readings: Readings) -> list[str]:
    """The clocks that can be asked for."""
    return [PREDICTIONS, LABELS] if readings.view.by_labels else [PREDICTIONS]


def usual_window(readings: Readings) -> str:
    """The shortest window of an hour or more, else the longest."""
    windows = sorted(readings.view.windows, key=lambda window: window.seconds)
    return next((window.name for window in windows if window.seconds >= 3600), windows[-1].name if windows else TOTAL)


class Gathered(NamedTuple):
    """What is known of a model, before anything is made of it."""

    identity: Identity
    rules: Rules
    reading: Reading
    name: str
    points: Sequence[Point]
    fall: Fall | None
    labelled: int
    predictions: int
    rate: float
    last: float | None
    drifts: Mapping[str, Drift]
    alerting: Sequence[str]


def headline(reading: Reading, rules: Rules) -> str:
    """The name of the score by which a model is known: the first that has a limit, else that of its task."""
    task = reading.nature.task
    for name, of_class, _ in rules.limits:
        if not of_class and name in _FORMULAS and task in _FORMULAS[name].tasks:
            return name
    return _OF_TASK[task]


def gather(
    readings: Readings, clock: PaneClock, identity: Identity, others: Iterable[Identity], choice: Choice, now: float
) -> Generator[None, None, Gathered | None]:
    """Find out what is known of one of the models; None where nothing is counted of it, or it is none of its own."""
    view = readings.view
    account = Account(identity)
    own = Account(identity, BY_LABELS) if choice.by_labels else account
    nature = readings.nature(identity)
    if nature is None or not is_own(identity, others, _parts(readings, identity, nature)):
        return None
    rules = readings.rulebook.of(identity.leg)
    window = next((window for window in view.windows if window.name == choice.window), None)
    total = view.total(account)
    sums = total if window is None else view.window(own, window, now)
    by_labels = choice.by_labels and window is not None
    # What runs code of the user's own is made elsewhere, while the sums go on.
    reading = (read if rules.run_code else reading_of)(sums, nature, by_labels=by_labels)
    labelled, predictions = rows_of(reading)
    asked_and_answered = reading
    if window is not None and choice.by_labels:
        asked_and_answered = reading_of(view.window(account, window, now), nature)
        predictions = rows_of(asked_and_answered)[1]
    name = headline(reading, rules)
    asked = Asked(name, "", choice.by_labels)
    since = kept_since(readings, {account, own}, clock, now)
    begins = [since]
    if window is not None and now - since > window.seconds:
        begins = [now - window.seconds]
        if now - since > _LONGER * window.seconds:  # else it would be nearly the same again
            begins.append(since)
    trends: list[list[Point]] = []
    fall = None
    for begin in begins:
        points: list[Point] = []
        grid = grid_of(clock, step_for(clock, now - begin, POINTS), begin, now, now)
        assert grid is not None  # the step is one of panes
        for stretch in stretches(readings, identity, nature, grid, by_labels=choice.by_labels):
            points.append(point_of(stretch, asked))
            yield
        trends.append(points)
        fall = fall_in(points, name, rules)
        if fall is not None:
            break
    last = max(
        (min(now, (pane + 1) * clock.length(level)) for level, pane in view.counted_panes(account)), default=None
    )
    shortest = min(view.windows, key=lambda window: window.seconds, default=None)
    rate = 0.0
    if shortest is not None:
        parts = EXCHANGES.of(reading_of(view.window(account, shortest, now), nature))
        rate = sum(parts.values()) / (shortest.seconds + now % clock.pane_seconds)
    return Gathered(
        identity, rules, reading, name, trends[0][-POINTS:], fall, labelled, predictions, rate, last,
        {} if rules.reference is None else DRIFT.of(asked_and_answered).drifts,
        readings.alerting_monitors(identity, now),
    )  # fmt: skip


def fall_in(points: Iterable[Point], name: str, rules: Rules) -> Fall | None:
    """Since when the score of some points is worse than before; None where it is not, or nobody can say."""
    if name == "bias":  # it has two sides
        return None
    panes = [(point.start, point.moments) for point in points if point.moments is not None]
    return fall_of(panes, upwards=less_is_better(name, rules))


def line_of(known: Gathered, window: str) -> OverviewModel:
    """The line of a model. It may run code of the user's own."""
    identity, rules, reading = known.identity, known.rules, known.reading
    score = _shown(score_of(reading, known.name), reading)
    limited = [score_of(reading, name, of_class) for name, of_class, _ in rules.limits]
    missed = [*missed_limits({window: [one for one in limited if one is not None]}, rules)]
    limit = next((limit for name, of_class, limit in rules.limits if (name, of_class) == (known.name, "")), None)
    upwards = less_is_better(known.name, rules)
    value = None if score is None else score.value
    since: float | None = None
    if limit is not None and value is not None and (value > limit if upwards else value < limit):
        fall = known.fall
        since = fall.at if fall is not None else missed_since(known.points, limit, upwards=upwards)
    of_window = Known(
        window, score, known.labelled, known.predictions, missed, known.fall, known.last, rules.least_count,
        known.drifts, known.alerting,
    )  # fmt: skip
    attention = attention_of(of_window, since)
    coverage = score_of(reading, "coverage")
    low, high = interval_of(None if score is None else moments_of(score, reading)) or (None, None)
    return {
        "key": key_of(identity),
        "namespace": identity.namespace,
        "service": identity.service,
        "endpoint": identity.predictor,
        "model": identity.model,
        "version": identity.version,
        "task": reading.nature.task,
        "shadow": identity.predictor in rules.shadow,
        "score": None
        if score is None
        else {
            "name": score.name,
            "value": score.value,
            "low": low,
            "high": high,
            "samples": score.samples,
            "limit": limit,
            "bound": "upper" if upwards else "lower",
        },
        "labelled": known.labelled,
        "predictions": known.predictions,
        "coverage": None if coverage is None else coverage.value,
        "events_per_second": known.rate,
        "trend": [(point.start, point.value, point.labelled) for point in known.points],
        "attention": _attention_fields(attention),
    }


def _shown(score: Score | None, reading: Reading) -> Score | None:
    """A score; none where no reward has come to a model of which nothing else is known."""
    return None if score is not None and score.name == "reward_mean" and not REWARDS.of(reading).feedbacks else score


def _attention_fields(attention: Attention) -> OverviewAttention:
    return {"level": attention.level, "why": attention.why, "since_at": attention.since}


def in_order(models: Iterable[OverviewModel]) -> list[OverviewModel]:
    """Models in the order in which they need attention: a version that another one has taken over from comes last."""
    found = list(models)
    answering = {_leg(model): model for model in found if model["attention"]["level"] != "quiet"}

    def order(model: OverviewModel) -> tuple[int, int, str]:
        level = LEVELS.index(model["attention"]["level"])
        return len(LEVELS) if _is_over(model, answering) else level, -model["predictions"], model["key"]

    found.sort(key=order)
    return [_taken_over(model, answering[_leg(model)]) if _is_over(model, answering) else model for model in found]


def _leg(model: OverviewModel) -> tuple[str, ...]:
    return model["namespace"], model["service"], model["endpoint"], model["model"]


def _is_over(model: OverviewModel, answering: dict[tuple[str, ...], OverviewModel]) -> bool:
    return model["attention"]["level"] == "quiet" and _leg(model) in answering


def _taken_over(model: OverviewModel, by: OverviewModel) -> OverviewModel:
    version = f"version {by['version']}" if by["version"] else "one without version"
    why = f"{model['attention']['why']} In its place {version} answers."
    return {**model, "attention": {**model["attention"], "why": why}}


def _parts(readings: Readings, identity: Identity, nature: Nature) -> dict[str, int]:
    return EXCHANGES.of(reading_of(readings.view.total(Account(identity)), nature))


def notes_of(readings: Readings, identities: Iterable[Identity]) -> Iterator[str]:
    """A sentence for what feedback says that names no model which has answered."""
    for identity in identities:
        if not identity.predictor and not identity.model:
            parts = _parts(readings, identity, Nature("unknown"))
            if not is_own(identity, (), parts) and parts["feedback"]:
                of = f" of {identity.leg}" if identity.service or identity.namespace else ""
                ids = f"{parts['feedback']:,} request id{'' if parts['feedback'] == 1 else 's'}"
                yield (
                    f"Feedback{of} on {ids} names no model which has answered: send it with the names that the "
                    "prediction was logged with, or with none."
                )


def is_own(identity: Identity, others: Iterable[Identity], parts: dict[str, int]) -> bool:
    """Whether a model is a line of its own. Requests that nobody has answered yet are none where the version of other
    answers is known, and neither is what feedback says that names no model which has answered.
    """
    if not identity.predictor and not identity.model:
        return bool(parts["request"] or parts["response"])
    if identity.version or parts["response"] or parts["feedback"]:
        return True
    return not any(other.version and other.leg == identity.leg for other in others)
