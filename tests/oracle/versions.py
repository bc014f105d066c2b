"""Versions: how far what one has answered and was asked is from all that the one before it has, by scipy."""

import math
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats
from scipy.spatial.distance import jensenshannon

from tests.oracle.drift import Known, Watch
from tests.oracle.estimates import place_of
from tests.oracle.rules import Rule

#: What is said in total, or in a window: facts without who and when.
Facts = Sequence[tuple[Any, ...]]


def has_rows(total: Facts) -> bool:
    """Whether a version has answered any row."""
    return any(what[0] in ("judged", "unlabelled", "measured", "unmeasured") for what in total)


def samples(before: Facts, windows: Mapping[str, Facts], rule: Rule) -> Iterator[tuple[str, float, dict[str, str]]]:
    """The series of a version, by its facts in total and in each window, and those of the one before it in total."""
    total = windows["total"]
    for name, read in _compared(before, total, rule.watch).items():
        for window, facts in windows.items():
            found = read(facts)
            yield "version_rows", found.pop("rows"), {"feature": name, "window": window}
            for measure, value in found.items():
                yield "version_drift", value, {"feature": name, "measure": measure, "window": window}
    features = () if rule.watch is None else rule.watch.features
    rows = [[what[1] for what in of if what[0] == "features"] for of in (before, total)]
    for window, facts in windows.items() if features and all(rows) else ():
        own = [what[1] for what in facts if what[0] == "features"]
        tested = [
            by_known(known, [row[place] for row in rows[0]], [row[place] for row in own])
            for place, known in enumerate(features)
            if min(len(rows[0]), len(own)) >= rule.least_count
        ]
        share = math.nan
        if tested:
            corrected = stats.false_discovery_control([found.get("chi2_p", 1.0) for found in tested])
            drifted = [p <= 0.01 and found["psi"] > 0.1 for p, found in zip(corrected, tested, strict=True)]
            share = sum(drifted) / len(tested)
        yield "version_drifted_share", share, {"window": window}


def _compared(before: Facts, total: Facts, watch: Watch | None) -> dict[str, Callable[[Facts], dict[str, float]]]:
    found: dict[str, Callable[[Facts], dict[str, float]]] = {}
    if _classes(before) and _classes(total):
        found["(prediction)"] = lambda facts: by_class(_classes(before), _classes(facts))
    for name, places in (("(score)", _of_two), ("(score)", _of_more), ("(labelled score)", _labelled)):
        if name not in found and "(score)" not in found and places(before) and places(total):
            found[name] = lambda facts, places=places: by_tenths(  # type: ignore[misc]
                places(before), places(facts, of_window=True)
            )
    for known, kind in ((watch.prediction, "predicted"), (watch.label, "labelled")) if watch is not None else ():
        own, here = ([what[1] for what in of if what[0] == kind] for of in (before, total))
        if known.name not in found and own and here:
            found[known.name] = lambda facts, known=known, kind=kind, own=own: by_known(  # type: ignore[misc]
                known, own, [what[1] for what in facts if what[0] == kind]
            )
    return found


def _classes(facts: Facts) -> list[str]:
    return [what[2] if what[0] == "judged" else what[1] for what in facts if what[0] in ("judged", "unlabelled")]


def _of_two(facts: Facts, *, of_window: bool = False) -> list[float]:
    rows = [what[1] for what in facts if what[0] == "said"]
    rows = [row for row in rows if row.two]
    return [row.place for row in rows] if of_window or not all(row.bare for row in rows) else []


def _of_more(facts: Facts, *, of_window: bool = False) -> list[float]:
    return [what[1].place for what in facts if what[0] == "said" and not what[1].two]


def _labelled(facts: Facts, *, of_window: bool = False) -> list[float]:
    rows = [what[1] for what in facts if what[0] == "chances"]
    rows = [row for row in rows if row.positive is not None]
    if not of_window and all(row.bare for row in rows):
        return []
    return [place_of(row.values[row.positive]) for row in rows]


def distances(
    bins: Sequence[Any], own: Collection[Any], before: Sequence[Any], after: Sequence[Any]
) -> dict[str, float]:
    """PSI, Jensen-Shannon and chi-square of values by bin, and the rows that these rest on; bins that are a reference's
    own count where they are empty, too.
    """
    found: dict[str, float] = {"rows": min(len(before), len(after))}
    if not found["rows"]:
        return found
    counts = [Counter(before), Counter(after)]
    kept = [one for one in bins if one in own or counts[0][one] or counts[1][one]]
    p, q = (np.array([of[one] for one in kept], float) for of in counts)
    smooth_p, smooth_q = ((of + 1) / (of.sum() + len(kept)) for of in (p, q))
    found["psi"] = float(((smooth_p - smooth_q) * np.log(smooth_p / smooth_q)).sum())
    found["js"] = float(np.nan_to_num(jensenshannon(p, q, base=2)))
    both = np.array([p, q])[:, p + q > 0]
    if both.shape[1] > 1:
        found["chi2_p"] = float(stats.chi2_contingency(both, correction=False).pvalue)
    return found


def kolmogorov_smirnov(before: Sequence[float], after: Sequence[float]) -> dict[str, float]:
    """The distance of values, and its p by the limit law."""
    if not before or not after:
        return {}
    found = float(stats.ks_2samp(before, after, method="asymp").statistic)
    size = math.sqrt(len(before) * len(after) / (len(before) + len(after)))
    return {"ks": found, "ks_p": float(stats.kstwobign.sf(found * size))}


def by_class(before: Sequence[str], after: Sequence[str]) -> dict[str, float]:
    """Of classes."""
    names = sorted({*before, *after})
    return distances(names, names, before, after)


def by_tenths(before: Sequence[float], after: Sequence[float]) -> dict[str, float]:
    """Of numbers, in bins with a tenth of those before each: right-closed, the least alone, and what is beyond."""
    ordered = sorted(before)
    edges = sorted({ordered[0], *(ordered[-(-part * len(ordered) // 10) - 1] for part in range(1, 11))})
    one, other = ([-1 if it < edges[0] else int(np.searchsorted(edges, it)) for it in of] for of in (before, after))
    found = distances(range(-1, len(edges) + 1), range(len(edges)), one, other)
    return found | kolmogorov_smirnov(before, after)


def by_known(known: Known, before: Sequence[Any], after: Sequence[Any]) -> dict[str, float]:
    """Of what has bins in a reference."""
    one, other = ([*map(known.bin_of, of)] for of in (before, after))
    inner = range(len(known.counts))
    bins: list[str | int] = ["missing", "below", *inner, "above"] if known.edges else ["missing", "unseen", *inner]
    found = distances(bins, inner, one, other)
    if known.edges:
        found |= kolmogorov_smirnov(*([bins.index(bin_) for bin_ in of if bin_ != "missing"] for of in (one, other)))
    return found
