"""Drift: what live counts say against a reference, feature by feature and of all together.

A distribution has drifted where both the size of the change and its significance say so, on enough rows: PSI above 0.1,
p of the chi-square test below 0.01, and not fewer rows than the least count. By size alone small windows alarm without
any drift (of 20 bins and 100 rows nearly all do where empty bins are filled up), by significance alone large ones do.
Of several features p is held against the limit of Benjamini and Hochberg.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from app.core.drift.declared import Validity
from app.core.drift.distances import chi2_p, js, ks, ks_p, psi, rejected
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


def drift_of(
    distribution: Distribution, live: Sequence[int], least_count: int, reference: Sequence[int] | None = None
) -> Drift:
    """What live counts say, by the number of a bin. `reference` is `distribution.by_bin()`, where that is known."""
    rows = sum(live)
    if not rows:
        return Drift(0)
    if reference is None:
        reference = distribution.by_bin()
    # A bin of the reference counts even where it is empty on both sides; missing, unseen and the like do not.
    own = range(FIRST, FIRST + len(distribution.counts))
    kept = [at for at in range(len(reference)) if at in own or reference[at] or live[at]]
    one, other = [reference[at] for at in kept], [live[at] for at in kept]
    found = Drift(rows, psi(one, other), js(one, other), chi2_p=chi2_p(one, other), missing=live[MISSING] / rows)
    if distribution.kind == "categorical":
        found = found._replace(unseen=live[UNSEEN] / rows)
    else:
        known, came = reference[BELOW:], live[BELOW:]
        distance = ks(known, came)
        found = found._replace(
            below=live[BELOW] / rows,
            above=live[-1] / rows,
            ks=distance,
            ks_p=ks_p(distance, sum(known), sum(came)),
        )
    return found._replace(drifted=_has_drifted(found) if rows >= least_count else None)


def with_validity(found: Drift | None, of: Validity) -> Drift:
    """What a reference says of a feature, if one has it, and what its declaration says."""
    found = found or Drift(of.rows, missing=of.missing / of.rows if of.rows else None)
    return found._replace(invalid=of.invalid / of.rows if of.rows else None, invalid_rows=of.invalid)


def _has_drifted(found: Drift) -> bool:
    return found.psi is not None and found.psi > PSI_LIMIT and found.chi2_p is not None and found.chi2_p < P_LIMIT


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
