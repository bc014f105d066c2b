"""How far two distributions are from each other, of counts by bin.

`reference` and `live` are counts, as many of each: in their last axis the bins, in one order. With another axis before
it they are many distributions, and so is what is found: each is that of one. A bin that is empty on both sides changes
nothing but psi, so distributions with fewer bins can stand beside others. NaN stands for what is undefined: no distance
is known from or to nothing.

psi     the population stability index with one added to every bin: sum((p - q) * ln(p / q)). It is what boxkite's
        dashboard calls KL divergence.
js      the Jensen-Shannon distance to base 2, from 0 to 1
ks      the greatest difference of the two distribution functions at the edges of bins
ks_p    its p-value after Kolmogorov's limit law for two samples; bins make it greater than that of the values
chi2_p  the p-value of the chi-square test of homogeneity, without correction (scipy's `chi2_contingency`)
"""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy

Counts = npt.ArrayLike
Found = npt.NDArray[np.float64]


def known(found: Any) -> float | None:
    """One number that was found; None where it is undefined."""
    return None if math.isnan(found) else float(found)


def psi(reference: Counts, live: Counts, bins: npt.ArrayLike = True) -> Found:
    """The population stability index, one added to every bin; `bins` says which there are."""
    one, other = _both(reference, live)
    there = np.broadcast_to(np.asarray(bins, bool), one.shape)
    count = there.sum(-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        p = (one + 1) / (one.sum(-1, keepdims=True) + count)
        q = (other + 1) / (other.sum(-1, keepdims=True) + count)
        return _defined(one, other, ((p - q) * np.log(p / q)).sum(-1, where=there))


def js(reference: Counts, live: Counts) -> Found:
    """The Jensen-Shannon distance to base 2."""
    one, other = _both(reference, live)
    with np.errstate(divide="ignore", invalid="ignore"):
        p, q = one / one.sum(-1, keepdims=True), other / other.sum(-1, keepdims=True)
        middle = (p + q) / 2
        bits = [np.where(share > 0, share * np.log2(share / middle), 0).sum(-1) for share in (p, q)]
    return _defined(one, other, np.sqrt(np.clip((bits[0] + bits[1]) / 2, 0, 1)))


def ks(reference: Counts, live: Counts) -> Found:
    """The greatest difference of the two distribution functions; bins must be in ascending order."""
    one, other = _both(reference, live)
    of_reference, of_live = one.sum(-1), other.sum(-1)
    # In units of one row of each: whole numbers, so that equal functions differ by nothing.
    apart = np.abs(np.cumsum(one * of_live[..., None] - other * of_reference[..., None], -1)).max(-1)
    with np.errstate(invalid="ignore"):
        return np.asarray(apart / (of_reference * of_live))


def ks_p(statistic: Any, reference: Counts, live: Counts) -> Found:
    """The p-value of such a difference between so many values of each."""
    one, other = _both(reference, live)
    with np.errstate(invalid="ignore"):
        return np.asarray(scipy.special.kolmogorov(statistic * np.sqrt(one * other / (one + other))))


def chi2_p(reference: Counts, live: Counts) -> Found:
    """The p-value of the chi-square test. Bins that are empty on both sides say nothing; of one bin it is undefined."""
    one, other = _both(reference, live)
    both = one + other
    filled = both > 0
    with np.errstate(divide="ignore", invalid="ignore"):
        expected = both * (one.sum(-1, keepdims=True) / both.sum(-1, keepdims=True))
        missed = (one - expected) ** 2
        statistic = (missed / expected + missed / (both - expected)).sum(-1, where=filled)
    freedom = filled.sum(-1) - 1
    return np.where(freedom > 0, _defined(one, other, scipy.special.chdtrc(freedom, statistic)), np.nan)


def _both(reference: Counts, live: Counts) -> tuple[Found, Found]:
    return np.asarray(reference, float), np.asarray(live, float)


def _defined(one: Found, other: Found, found: Found) -> Found:
    return np.where((one.sum(-1) > 0) & (other.sum(-1) > 0), found, np.nan)


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
