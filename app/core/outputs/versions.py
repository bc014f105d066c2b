"""The versions of a model against each other: which of them came before which, and how far they are apart.

Each is held against the total of the one that was first seen before it, or of another one that somebody names. It is
all read of the counts that there are.
"""

from collections.abc import Iterator, Mapping
from itertools import groupby, pairwise
from operator import attrgetter
from typing import Any, Final, NamedTuple

from app.core.counts.accounts import Account
from app.core.counts.book import Sums
from app.core.counts.panes import TOTAL
from app.core.drift.drift import drifted_names
from app.core.drift.live import Live
from app.core.events import Identity, identity_fields
from app.core.measures.confusion import CONFUSION, has_rows
from app.core.measures.readings import Readings
from app.core.scores.version_drift import VersionDrift, drift_by_window

#: So many names stand in a sentence.
_MOST_NAMED: Final = 3


class Versions(NamedTuple):
    """Two versions of a model, and how far the second is from the first: in each window, and in total."""

    before: Identity
    after: Identity
    least_count: int
    windows: Mapping[str, VersionDrift]


def several(identities: list[Identity]) -> Iterator[list[Identity]]:
    """Of each model with several identities these. One may only be of requests, which have no version."""
    for _, of_leg in groupby(identities, key=attrgetter("leg")):
        own = [*of_leg]
        if len(own) > 1:
            yield own


def in_order(readings: Readings, own: list[Identity]) -> list[Identity]:
    """Those of a model's identities that have answered, by when they were first seen."""
    view = readings.view
    answered = [one for one in own if has_rows(view.total(Account(one)).get(CONFUSION.name, {}))]
    return sorted(answered, key=lambda identity: (view.first_seen(identity), identity))


def versions_before(readings: Readings) -> dict[Identity, Identity]:
    """Of each version of a model the one before it; without the first of each."""
    of_models = (in_order(readings, own) for own in several(readings.view.identities()))
    return {after: before for versions in of_models for before, after in pairwise(versions)}


def versions_of(readings: Readings, identity: Identity) -> list[Identity]:
    """All versions of a model that have answered, by when they were first seen."""
    return in_order(readings, [one for one in readings.view.identities() if one.leg == identity.leg])


def shared_reference(readings: Readings, before: Identity, after: Identity) -> Live | None:
    """The reference that both are counted by; None where there is none, or each has its own of its first rows."""
    watched = readings.rulebook.of(after.leg).reference
    if watched is None:
        return None
    live = watched.live_of(after)
    return live if watched.live_of(before).digest == live.digest else None


def between(readings: Readings, before: Identity, after: Identity, now: float) -> Versions | None:
    """How far a version is from another one now; None where nothing of them can be compared."""
    view, account = readings.view, Account(after)
    windows = {TOTAL: view.total(account)}
    windows |= {window.name: view.window(account, window, now) for window in view.windows}
    return of_sums(readings, before, after, view.total(Account(before)), windows)


def of_sums(
    readings: Readings, before: Identity, after: Identity, known: Sums, windows: Mapping[str, Sums]
) -> Versions | None:
    """The same of what the one has counted in total, and the other in each window. The view is not asked."""
    least_count = readings.rulebook.of(after.leg).least_count
    found = drift_by_window(known, windows, shared_reference(readings, before, after), least_count)
    return Versions(before, after, least_count, found) if found[TOTAL].apart else None


def versions_report(readings: Readings, now: float) -> list[dict[str, Any]]:
    """Of each model with several versions the newest two: which was first seen last, and before."""
    found = []
    for own in several(readings.view.identities()):
        newest = in_order(readings, own)[-2:]
        versions = between(readings, newest[0], newest[1], now) if len(newest) > 1 else None
        if versions is not None:
            found.append(report_of(versions, bins=False))
    return found


def report_of(versions: Versions, *, bins: bool) -> dict[str, Any]:
    """What `/api` says of two versions; undefined is left out."""
    return {
        "before": identity_fields(versions.before),
        "after": identity_fields(versions.after),
        "least_count": versions.least_count,
        "sentence": sentence(versions),
        "windows": {name: _window(found, bins=bins) for name, found in versions.windows.items()},
    }


def _window(found: VersionDrift, *, bins: bool) -> dict[str, Any]:
    return {
        "drifted_share": found.share,
        "drift": [
            {
                "feature": name,
                "rows_before": one.rows_before,
                **{field: value for field, value in one.drift._asdict().items() if value is not None},
                **(
                    {"bins": [{"bin": bin_, "before": before, "rows": rows} for bin_, before, rows in one.bins]}
                    if bins
                    else {}
                ),
            }
            for name, one in found.apart.items()
        ],
    }


def sentence(versions: Versions) -> str:
    """What the total says of the second version, in words."""
    total = versions.windows[TOTAL]
    rows = max(one.samples for one in total.apart.values())
    name = f"version {versions.before.version}" if versions.before.version else "what had no version"
    if all(drift.drifted is None for drift in total.drifts.values()):
        return f"not enough rows to tell it from {name} ({rows:,}, need {versions.least_count:,})"
    drifted = drifted_names(total.drifts)
    if not drifted:
        return f"no drift from {name} shown (n = {rows:,})"
    named = ", ".join(f"{one} (PSI {total.drifts[one].psi:.2g})" for one in drifted[:_MOST_NAMED])
    more = f" and {len(drifted) - _MOST_NAMED} more" if len(drifted) > _MOST_NAMED else ""
    return f"drifted from {name}: {named}{more}"
