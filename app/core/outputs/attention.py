"""How much a model needs somebody's attention, and why, in a sentence."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Final, Literal, NamedTuple

from app.core.drift.drift import Drift, drifted_names
from app.core.outputs.falls import Fall
from app.core.outputs.slots import moment
from app.core.outputs.trends import Point
from app.core.scores.score import Score

Level = Literal["bad", "warn", "few", "quiet", "fine"]
#: From what needs it most to what needs none.
LEVELS: Final[tuple[Level, ...]] = ("bad", "warn", "few", "quiet", "fine")

#: So many features are named, by so many characters each.
_NAMED: Final = 3
_LONGEST: Final = 60


class Attention(NamedTuple):
    """A level, why, and since when, in seconds, where that is known."""

    level: Level
    why: str
    since: float | None = None


class Known(NamedTuple):
    """What is known of a model in a window; `last` is the end of the last pane in which anything of it was counted."""

    window: str
    score: Score | None
    labelled: int
    predictions: int
    missed: Sequence[str]  # a sentence for each limit that is missed
    fall: Fall | None
    last: float | None
    least_count: int
    drifts: Mapping[str, Drift] = MappingProxyType({})  # how far what came is from the reference
    alerting: Sequence[str] = ()  # the monitors that alert


def attention_of(known: Known, since: float | None) -> Attention:
    """What of all that is most worth knowing. `since` is when the score began to miss its limit, None where that is not
    known, or it misses none.
    """
    fall = known.fall
    name = known.score.name if known.score is not None else ""
    noticed = [*_drift_sentences(known), *_monitor_sentences(known)]
    if known.missed:
        return Attention("bad", " ".join([*known.missed, *noticed]), since)
    if fall is not None:
        return Attention("warn", " ".join([fall_sentence(name, fall), *noticed]), fall.at)
    if noticed:
        return Attention("warn", " ".join(noticed))
    if not known.predictions:
        where = "of what is kept" if known.last is None else f"since {moment(known.last)}"
        return Attention("quiet", f"No prediction in {_where(known.window)}; none {where}.", known.last)
    if known.score is None or known.labelled < known.least_count:
        few = f"{known.labelled:,} label{'' if known.labelled == 1 else 's'}"
        return Attention("few", f"{few} in {_where(known.window)}, need {known.least_count:,} to judge.")
    if known.score.value is None:
        return Attention("few", f"{name} is not defined by the {known.labelled:,} labels in {_where(known.window)}.")
    return Attention(
        "fine", f"{name} is {known.score.value:.4g} in {_where(known.window)} ({known.score.samples:,} rows)."
    )


def _drift_sentences(known: Known) -> Iterator[str]:
    drifted = drifted_names(known.drifts)
    if drifted:
        far = f"PSI {'up to ' if len(drifted) > 1 else ''}{known.drifts[drifted[0]].psi:.2g}"
        yield f"{_listed(drifted)} drifted from the reference in {_where(known.window)} ({far})."


def _monitor_sentences(known: Known) -> Iterator[str]:
    if known.alerting:
        names = ", ".join(known.alerting)
        yield f"Its monitor {names} alerts." if len(known.alerting) == 1 else f"Its monitors {names} alert."


def _listed(names: Sequence[str]) -> str:
    shown = [name if len(name) <= _LONGEST else f"{name[:_LONGEST]}…" for name in names[:_NAMED]]
    if len(names) > _NAMED:
        shown.append(f"{len(names) - _NAMED} more")
    return f"{shown[0]} has" if len(shown) == 1 else f"{', '.join(shown[:-1])} and {shown[-1]} have"


def _where(window: str) -> str:
    return "total" if window == "total" else f"the last {window}"


def fall_sentence(name: str, fall: Fall) -> str:
    """Since when a score is worse, and by how much."""
    worse = "lower" if fall.since.mean < fall.before.mean else "higher"
    return (
        f"{name} is {worse} since {moment(fall.at)}: {fall.since.mean:.4g} ({fall.since.rows:,} rows) "
        f"after {fall.before.mean:.4g} ({fall.before.rows:,} rows)."
    )


def missed_since(points: Sequence[Point], limit: float, *, upwards: bool) -> int | None:
    """From which pane on a score has missed its limit in every pane with labels; None where the last one has not."""
    since = None
    for point in points:
        if point.value is None:
            continue
        missed = point.value > limit if upwards else point.value < limit
        if not missed:
            since = None
        elif since is None:
            since = point.start
    return since
