"""The classes that the newest version of a model names against those of the version before it.

They have no request in common, so all that each has answered is compared: the newest one's in total and in each window
with the total of the other, by the measures of drift. It is read of the counts that there are.
"""

from collections import Counter
from collections.abc import Iterator
from itertools import groupby
from operator import attrgetter
from typing import Any

from app.core.counts.accounts import Account
from app.core.counts.book import Sums
from app.core.counts.panes import TOTAL
from app.core.drift.distribution import Distribution
from app.core.drift.drift import Drift, drift_of
from app.core.drift.reference import PREDICTION
from app.core.events import Identity, identity_fields
from app.core.measures.confusion import CONFUSION, named_classes
from app.core.measures.readings import Readings


def versions_report(readings: Readings, now: float) -> list[dict[str, Any]]:
    """Of each model with several versions that name classes the newest two: which was first seen last, and before."""
    found = []
    for before, after in _newest_two(readings):
        account = Account(after)
        view, least_count = readings.view, readings.rulebook.of(after.leg).least_count
        known = _named(view.total(Account(before)))
        if not known:
            continue
        windows = {TOTAL: view.total(account)}
        windows |= {window.name: view.window(account, window, now) for window in view.windows}
        found.append(
            {
                "before": identity_fields(before),
                "after": identity_fields(after),
                "least_count": least_count,
                "rows_before": known.total(),
                "windows": {name: _numbers(known, _named(sums), least_count) for name, sums in windows.items()},
            }
        )
    return found


def _newest_two(readings: Readings) -> Iterator[tuple[Identity, Identity]]:
    view = readings.view
    for _, of_leg in groupby(view.identities(), key=attrgetter("leg")):
        # A version that has named no class has not answered: requests alone have no version.
        known = [*of_leg]
        own = [one for one in known if len(known) > 1 and _named(view.total(Account(one)))]
        own.sort(key=lambda identity: (view.first_seen(identity), identity))
        if len(own) > 1:
            yield own[-2], own[-1]


def _named(sums: Sums) -> Counter[str]:
    return named_classes(sums.get(CONFUSION.name, {}))


def _numbers(before: Counter[str], after: Counter[str], least_count: int) -> dict[str, Any]:
    names = tuple(sorted({*before, *after}))
    distribution = Distribution(PREDICTION, "categorical", (), names, tuple(before[name] for name in names))
    drift: Drift = drift_of(distribution, [0, 0, *(after[name] for name in names)], least_count)
    return {name: getattr(drift, name) for name in ("rows", "psi", "js", "chi2_p", "drifted")}
