"""The drift between two versions of a model: how far what the one answers, and is asked, is from the other.

They have no request in common, so the distributions of all that each has counted are compared, of the counts that there
are, by the measures of drift. What there is of these depends on the rules:

(prediction)      the classes that are named, by name; of a model that measures by the bins of its reference
(score)           the probabilities of all rows: by fine bins where estimates are asked for, else by the reference's
(labelled score)  where there is neither the probabilities of labelled rows, of two classes
features, (label) by the bins of the reference, where both versions are counted by the same one

Fine bins are as many as hundreds: for all but the Kolmogorov-Smirnov distance they are put together to the tenths of
the version before. Nothing has drifted, and nothing has not, where either version has fewer rows than the least count.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from app.core.counts.book import Cells, Sums
from app.core.counts.panes import TOTAL
from app.core.drift.building import of_counted
from app.core.drift.distances import known, ks, ks_p
from app.core.drift.distribution import Distribution, binning
from app.core.drift.drift import Drift, drift_of, share_drifted
from app.core.drift.live import Live
from app.core.drift.reference import PREDICTION, SCORE
from app.core.measures.confusion import CONFUSION, named_classes
from app.core.measures.drift import DRIFT, rows_by_bin
from app.core.measures.estimates import ESTIMATES, answered_bins
from app.core.measures.probabilities import PROBABILITIES, labelled_bins, middle_of

LABELLED_SCORE: Final = "(labelled score)"


class Apart(NamedTuple):
    """One distribution of a version, against that of another one."""

    drift: Drift  # `drifted` is None where either has too few rows
    rows_before: int
    bins: list[tuple[str, int, int]]  # of each what it is called, the rows of the other version, and the own ones

    @property
    def samples(self) -> int:
        """The rows that it rests on: of the version with fewer."""
        return min(self.drift.rows, self.rows_before)


class VersionDrift(NamedTuple):
    """A version against another one, in total or in one window."""

    apart: dict[str, Apart]  # by name: the predictions and scores first, then the features and labels
    features: tuple[str, ...] = ()  # those of them that are features
    share: float | None = None  # of the features that have drifted

    @property
    def drifts(self) -> dict[str, Drift]:
        """The drift of each."""
        return {name: one.drift for name, one in self.apart.items()}


class _Scores(NamedTuple):
    """Where probabilities are counted by fine bin: what that is called, the measure, and what reads of its cells the
    rows, and those of just 0 or 1, which are classes where there are no others.
    """

    name: str
    measure: str
    bins_of: Callable[[Cells], tuple[Counter[int], Counter[int]]]

    def has_any(self, sums: Sums) -> bool:
        """Whether there are probabilities."""
        return bool(self.bins_of(sums.get(self.measure, {}))[0])

    def read(self, sums: Sums) -> Counter[int]:
        """Rows by fine bin, of a version that has probabilities."""
        found, bare = self.bins_of(sums.get(self.measure, {}))
        return found + bare


def _of_two(cells: Cells) -> tuple[Counter[int], Counter[int]]:
    found = answered_bins(cells)
    return found.two, found.bare


#: The first of these that both versions have is compared: of two classes, of more, and of labelled rows.
_SCORES: Final = (
    _Scores(SCORE, ESTIMATES.name, _of_two),
    _Scores(SCORE, ESTIMATES.name, lambda cells: (answered_bins(cells).highest, Counter())),
    _Scores(LABELLED_SCORE, PROBABILITIES.name, labelled_bins),
)
#: The measures of whose cells it is all read.
READ: Final = frozenset((CONFUSION.name, DRIFT.name, *(one.measure for one in _SCORES)))


def drift_by_window(
    before: Sums, windows: Mapping[str, Sums], live: Live | None, least_count: int
) -> dict[str, VersionDrift]:
    """A version in each of its windows, and in total, against the total of another version.

    `live` is the reference that both are counted by; None where there is none.
    """
    total = windows[TOTAL]
    bins, bins_of_total = _by_bin(before, live), _by_bin(total, live)
    by_reference = [
        distribution
        for distribution in ([] if live is None else live.distributions)
        if sum(bins[distribution.name]) and sum(bins_of_total[distribution.name])
    ]
    has_score = any(one.name == SCORE for one in by_reference)
    scores = next(
        (
            one
            for one in _SCORES
            if not (has_score and one.name == LABELLED_SCORE) and one.has_any(before) and one.has_any(total)
        ),
        None,
    )
    known_scores = Counter[int]() if scores is None else scores.read(before)
    classes = _classes(before) if _classes(total) else Counter[str]()
    features = () if live is None else tuple(one.name for one in by_reference if one.name in {*live.names})
    found = {}
    for window, sums in windows.items():
        apart: dict[str, Apart] = {}
        if classes:
            apart[PREDICTION] = _of_classes(classes, _classes(sums), least_count)
        if scores is not None:
            apart[scores.name] = _of_scores(scores.name, known_scores, scores.read(sums), least_count)
        own = _by_bin(sums, live)
        for one in by_reference:
            if one.name not in apart:
                apart[one.name] = _apart(one, bins[one.name], own[one.name], least_count)
        found[window] = VersionDrift(apart, features, share_drifted(apart[name].drift for name in features))
    return found


def _by_bin(sums: Sums, live: Live | None) -> dict[str, list[int]]:
    return {} if live is None else rows_by_bin(sums.get(DRIFT.name, {}), live)


def _classes(sums: Sums) -> Counter[str]:
    return named_classes(sums.get(CONFUSION.name, {}))


def _of_classes(before: Counter[str], after: Counter[str], least_count: int) -> Apart:
    names = tuple(sorted({*before, *after}))
    distribution = Distribution(PREDICTION, "categorical", (), names, tuple(before[name] for name in names))
    return _apart(distribution, distribution.by_bin(), [0, 0, *(after[name] for name in names)], least_count)


def _of_scores(name: str, before: Counter[int], after: Counter[int], least_count: int) -> Apart:
    distribution = of_counted(name, {middle_of(bin_): rows for bin_, rows in before.items()})
    bin_of = binning(distribution)
    rows = [0] * distribution.size
    for bin_, amount in after.items():
        rows[bin_of(middle_of(bin_))] += amount
    found = _apart(distribution, distribution.by_bin(), rows, least_count)
    bins = sorted({*before, *after})
    distance = ks([before[bin_] for bin_ in bins], [after[bin_] for bin_ in bins])
    p = ks_p(distance, before.total(), after.total())
    drift = found.drift._replace(ks=known(distance), ks_p=known(p))
    return found._replace(drift=drift)


def _apart(distribution: Distribution, before: Sequence[int], after: Sequence[int], least_count: int) -> Apart:
    drift, rows = drift_of(distribution, after, least_count, before), sum(before)
    if rows < least_count:
        drift = drift._replace(drifted=None)
    bins = zip(distribution.names_of_bins(), before, after, strict=True)
    return Apart(drift, rows, [one for one in bins if one[1] or one[2]])
