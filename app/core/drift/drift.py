"""Drift: what live counts say against a reference, feature by feature and of all together.

A distribution has drifted where both the size of the change and its significance say so, on enough rows: PSI above 0.1,
p of the chi-square test below 0.01, and not fewer rows than the least count. By size alone small windows alarm without
any drift (of 20 bins and 100 rows nearly all do where empty bins are filled up), by significance alone large ones do.
Of several features p is held against the limit of Benjamini and Hochberg.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from app.core.drift.declared import Validity
from app.core.drift.distances import chi2_p, js, known, ks, ks_p, psi, rejected
from app.core.drift.distribution import BELOW, FIRST, MISSING, UNSEEN, Distribution

#: What PSI is above, and p below, where something has drifted.
PSI_LIMIT: Final = 0.1
P_LIMIT: Final = 0.01


class Drift(NamedTuple):
    """One distribution against its reference. What is undefined is None; all is where no row came."""

    rows: int
    psi: float | None = None
    js: float | None = None
    ks: float | None = None  # of numbers, over those that are not missing
    ks_p: float | None = None
    chi2_p: float | None = None
    missing: float | None = None  # shares of the rows
    below: float | None = None  # of numbers
    above: float | None = None  # of numbers
    unseen: float | None = None  # of categories
    invalid: float | None = None  # of declared features
    invalid_rows: int | None = None
    drifted: bool | None = None  # None below the least count


#: The measures of `tally_drift`, and the kinds of `tally_feature_share`.
MEASURES: Final = ("psi", "js", "ks", "ks_p", "chi2_p")
KINDS: Final = ("missing", "below", "above", "unseen", "invalid")


class Yardstick:
    """Distributions with which live counts are compared, all at once."""

    def __init__(self, distributions: Sequence[Distribution], references: Sequence[Sequence[int]]) -> None:
        self._count = len(distributions)
        places: dict[int, list[int]] = {}  # by how many bins there are, about, so that none is filled up far
        for place, distribution in enumerate(distributions):
            places.setdefault(distribution.size.bit_length(), []).append(place)
        self._alike = [
            (own, _Alike([distributions[place] for place in own], [references[place] for place in own]))
            for own in places.values()
        ]

    def drifts(self, live: Sequence[Sequence[int]], least_count: int) -> list[Drift]:
        """What live counts say of each distribution, by the number of a bin."""
        found = [Drift(0)] * self._count
        for own, alike in self._alike:
            for place, drift in zip(own, alike.drifts([live[place] for place in own], least_count), strict=True):
                found[place] = drift
        return found


class _Alike:
    """Distributions of about as many bins, in a table of one row each."""

    def __init__(self, distributions: Sequence[Distribution], references: Sequence[Sequence[int]]) -> None:
        self._distributions = distributions
        self._width = max(one.size for one in distributions)
        self._reference = self._table(references)
        # A bin of the reference counts even where it is empty on both sides; missing, unseen and the like do not.
        sizes = np.array([FIRST + len(one.counts) for one in distributions])
        at = np.arange(self._width)
        self._own = (at >= FIRST) & (at < sizes[:, None]) | (self._reference > 0)
        self._known = self._reference[:, BELOW:].sum(-1)

    def _table(self, counts: Sequence[Sequence[int]]) -> npt.NDArray[np.float64]:
        return np.array([[*own, *[0] * (self._width - len(own))] for own in counts], float)

    def drifts(self, live: Sequence[Sequence[int]], least_count: int) -> Iterator[Drift]:
        """What live counts say of each distribution."""
        reference, counts = self._reference, self._table(live)
        distance = ks(reference[:, BELOW:], counts[:, BELOW:])
        columns = [
            psi(reference, counts, self._own | (counts > 0)),
            js(reference, counts),
            distance,
            ks_p(distance, self._known, counts[:, BELOW:].sum(-1)),
            chi2_p(reference, counts),
        ]
        for one, rows_by_bin, *measured in zip(self._distributions, live, *columns, strict=True):
            yield _drift_of(one, rows_by_bin, [*map(known, measured)], least_count)


def _drift_of(of: Distribution, live: Sequence[int], measured: Sequence[float | None], least_count: int) -> Drift:
    """One distribution, of which these are the `MEASURES`."""
    rows = sum(live)
    if not rows:
        return Drift(0)
    index, js_, ks_, p_of_ks, p = measured
    has = index is not None and index > PSI_LIMIT and p is not None and p < P_LIMIT
    drifted = has if rows >= least_count else None
    missing = live[MISSING] / rows
    if of.kind == "categorical":
        return Drift(rows, index, js_, chi2_p=p, missing=missing, unseen=live[UNSEEN] / rows, drifted=drifted)
    below, above = live[BELOW] / rows, live[-1] / rows
    return Drift(rows, index, js_, ks_, p_of_ks, p, missing, below, above, drifted=drifted)


def drift_of(
    distribution: Distribution, live: Sequence[int], least_count: int, reference: Sequence[int] | None = None
) -> Drift:
    """What live counts say, by the number of a bin. `reference` is `distribution.by_bin()`, where that is known."""
    by_bin = distribution.by_bin() if reference is None else reference
    return Yardstick([distribution], [by_bin]).drifts([live], least_count)[0]


def with_validity(found: Drift | None, of: Validity) -> Drift:
    """What a reference says of a feature, if one has it, and what its declaration says."""
    found = found or Drift(of.rows, missing=of.missing / of.rows if of.rows else None)
    return found._replace(invalid=of.invalid / of.rows if of.rows else None, invalid_rows=of.invalid)


def share_drifted(drifts: Iterable[Drift]) -> float | None:
    """The share of features that have drifted, of those with enough rows; None where none has."""
    judged = [one for one in drifts if one.drifted is not None]
    return sum(_have_drifted(judged)) / len(judged) if judged else None


def drifted_names(drifts: Mapping[str, Drift]) -> list[str]:
    """What has drifted, corrected for how many are judged: the farthest first."""
    judged = {name: one for name, one in drifts.items() if one.drifted is not None}
    drifted = [name for name, has in zip(judged, _have_drifted([*judged.values()]), strict=True) if has]
    return sorted(drifted, key=lambda name: -(judged[name].psi or 0))


def _have_drifted(judged: Sequence[Drift]) -> list[bool]:
    significant = rejected([one.chi2_p for one in judged], P_LIMIT)
    return [
        certain and one.psi is not None and one.psi > PSI_LIMIT
        for one, certain in zip(judged, significant, strict=True)
    ]
