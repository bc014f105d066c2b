"""How far two distributions are from each other, of counts by bin.

`reference` and `live` are counts, as many of each, bins in one order. None stands for what is undefined: no distance is
known from or to nothing.

psi     the population stability index with one added to every bin: sum((p - q) * ln(p / q)). It is what boxkite's
        dashboard calls KL divergence.
js      the Jensen-Shannon distance to base 2, from 0 to 1
ks      the greatest difference of the two distribution functions at the edges of bins
ks_p    its p-value after Kolmogorov's limit law for two samples; bins make it greater than that of the values
chi2_p  the p-value of the chi-square test of homogeneity, without correction (scipy's `chi2_contingency`)
"""

import math
from collections.abc import Sequence

import scipy

Counts = Sequence[int]


def psi(reference: Counts, live: Counts) -> float | None:
    """The population stability index, one added to every bin."""
    of_reference, of_live = sum(reference), sum(live)
    if not of_reference or not of_live:
        return None
    bins = len(reference)
    found = 0.0
    for one, other in zip(reference, live, strict=True):
        p, q = (one + 1) / (of_reference + bins), (other + 1) / (of_live + bins)
        found += (p - q) * math.log(p / q)
    return found


def js(reference: Counts, live: Counts) -> float | None:
    """The Jensen-Shannon distance to base 2."""
    of_reference, of_live = sum(reference), sum(live)
    if not of_reference or not of_live:
        return None
    found = 0.0
    for one, other in zip(reference, live, strict=True):
        p, q = one / of_reference, other / of_live
        middle = (p + q) / 2
        if p:
            found += p * math.log2(p / middle)
        if q:
            found += q * math.log2(q / middle)
    return math.sqrt(min(1.0, max(0.0, found / 2)))


def ks(reference: Counts, live: Counts) -> float | None:
    """The greatest difference of the two distribution functions; bins must be in ascending order."""
    of_reference, of_live = sum(reference), sum(live)
    if not of_reference or not of_live:
        return None
    below, found = 0, 0  # in units of one row of each: whole numbers, so that equal functions differ by nothing
    for one, other in zip(reference, live, strict=True):
        below += one * of_live - other * of_reference
        if below > found:
            found = below
        elif -below > found:
            found = -below
    return found / (of_reference * of_live)


def ks_p(statistic: float | None, reference: int, live: int) -> float | None:
    """The p-value of such a difference between so many values of each."""
    if statistic is None:
        return None
    return float(scipy.special.kolmogorov(statistic * math.sqrt(reference * live / (reference + live))))


def chi2_p(reference: Counts, live: Counts) -> float | None:
    """The p-value of the chi-square test. Bins that are empty on both sides say nothing; of a single bin it is None."""
    of_reference, of_live = sum(reference), sum(live)
    bins = [(one, other) for one, other in zip(reference, live, strict=True) if one or other]
    if not of_reference or not of_live or len(bins) < 2:
        return None
    rows = of_reference + of_live
    statistic = 0.0
    for one, other in bins:
        expected = (one + other) * of_reference / rows
        missed = (one - expected) ** 2
        statistic += missed / expected + missed / (one + other - expected)
    return float(scipy.special.chdtrc(len(bins) - 1, statistic))


def rejected(p_values: Sequence[float | None], error: float) -> list[bool]:
    """Which of many tests are significant, so that of those called so at most that share is expected to be wrong.

    The procedure of Benjamini and Hochberg (1995). None is a test that was not made, and counts as none.
    """
    ranked = sorted(p for p in p_values if p is not None)
    limit = -1.0
    for rank, p in enumerate(ranked, 1):
        if p <= error * rank / len(ranked):
            limit = p
    return [p is not None and p <= limit for p in p_values]
