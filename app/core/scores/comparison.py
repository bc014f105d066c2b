"""The comparison of two legs on the rows that both have answered: is the second better, and can one trust it?

For classes: McNemar's test on the rows that only one of them has right, exact below 25 of these, else the chi-square
with continuity correction (McNemar 1947, Edwards 1948; as statsmodels' `mcnemar` has them), and the difference in
accuracy with the interval of paired proportions (Wald). For measurements: the paired t test on the errors without sign,
and the difference of their means; for probabilities beside the classes the same on the rows' Brier scores, which says
what accuracy cannot: whose probabilities are better. The verdict goes by the accuracy.

A p-value of such a test holds for one look. Who looks every minute and acts at the first p below 0.05 is misled far
more often than once in twenty times. So the verdict goes by a p-value that may be looked at at any time, as often as
one likes: 1 / e, where e is the evidence against "both are equally good" of a mixture over how unequal they might be.
For classes that is a Beta(2, 2) over the share of the rows that only the second has right; for measurements a normal
distribution over the standardised difference, which holds from some hundred rows on. With it the chance that any look
ever tells two equal models apart is at most 5 %, and that it calls the second better 2.5 % (Ville's inequality; Ramdas
et al. 2023, "Game-theoretic statistics and safe anytime-valid inference").

Beside that the classes that the second names against those that the first does, on the same rows, labelled or not, by
the measures of drift: they tell before any label comes that the two answer differently as a whole. So does the distance
of Kolmogorov and Smirnov between the probabilities that both gave, over the fine bins of these.
"""

import math
from collections.abc import Mapping
from typing import Final, Literal, NamedTuple

import scipy

from app.core.drift.distances import known, ks, ks_p
from app.core.drift.distribution import Distribution
from app.core.drift.drift import Drift, drift_of
from app.core.drift.reference import PREDICTION
from app.core.measures.paired import Differences, PairedReading, Shared

Verdict = Literal["better", "worse", "no difference", "not enough"]

#: The error that a verdict may have.
_ALPHA: Final = 0.05
#: Rows that one alone has right, from which on the chi-square stands for the exact test.
_FEW: Final = 25
#: The mixtures: Beta(…, …), and the standard deviation of the standardised difference.
_BETA: Final = 2.0
_SPREAD: Final = 0.1
#: Quantiles of the normal distribution, by `ndtri` of scipy, which is not loaded for them: of 97.5 %, and of 80 %.
_NORMAL: Final = 1.959963984540054
#: By so many standard errors a difference must be larger than what is needed to be found in 80 of 100 cases.
_POWER: Final = 0.8416212335729143


class Distance(NamedTuple):
    """How far two distributions are from each other: the rows of each, the KS distance and its p-value."""

    rows: int
    ks: float | None = None
    p_value: float | None = None


class Comparison(NamedTuple):
    """The second leg against the first. What is undefined is None.

    `difference` is the second's accuracy less the first's; where they measure, the second's mean error without sign
    less the first's. `low` and `high` are its 95 % interval.
    """

    measures: bool  # whether it is about errors rather than classes
    samples: int  # labelled rows that both have answered
    agreement: float | None = None  # share of the rows, labelled or not, for which both named the same class
    only_first: int = 0  # rows that only the first has right
    only_second: int = 0
    difference: float | None = None
    low: float | None = None  # for one look, and so is the p-value
    high: float | None = None
    low_always: float | None = None  # for any number of looks
    high_always: float | None = None
    p_value: float | None = None
    p_value_always: float | None = None
    detectable: float | None = None  # the difference that the verdict would have found in 80 of 100 cases
    verdict: Verdict = "not enough"
    brier: "Comparison | None" = None  # of the Brier scores, where both give probabilities: a negative one is better
    predictions: Drift | None = None  # the classes that the second named against those that the first did
    scores: Distance | None = None  # between the probabilities of both


def compare(reading: PairedReading, least_count: int) -> Comparison:
    """The comparison of two legs; no verdict below so many rows."""
    of_errors = reading.errors > reading.whole.rows
    errors = Differences(reading.errors, reading.difference, reading.variance)
    found = _of_differences(errors) if of_errors else _of_classes(reading.whole)
    named = reading.agree + reading.differ
    found = found._replace(agreement=reading.agree / named if named else None)
    if reading.brier.rows:
        found = found._replace(brier=_of_differences(reading.brier))
    if reading.named:
        found = found._replace(predictions=_drift_of(reading.named, least_count))
    if reading.scores:
        found = found._replace(scores=_distance(reading.scores))
    return found._replace(verdict=_verdict(found, least_count))


def _distance(scores: Mapping[int, tuple[int, int]]) -> Distance:
    """How far the second's probabilities are from the first's."""
    first, second = zip(*(scores[number] for number in sorted(scores)), strict=True)
    rows, distance = sum(first), ks(first, second)
    return Distance(rows, known(distance), known(ks_p(distance, rows, sum(second))))


def _drift_of(named: Mapping[str, tuple[int, int]], least_count: int) -> Drift:
    """How far the second's classes are from the first's."""
    first, second = zip(*named.values(), strict=True)
    distribution = Distribution(PREDICTION, "categorical", (), tuple(named), first)
    return drift_of(distribution, [0, 0, *second], least_count)


def by_class(reading: PairedReading, least_count: int) -> dict[str, Comparison]:
    """The comparison of the rows of each actual class."""
    found = {name: _of_classes(shared) for name, shared in reading.classes.items()}
    return {name: one._replace(verdict=_verdict(one, least_count)) for name, one in found.items()}


def mcnemar(first: int, second: int) -> float:
    """The two-sided p-value of McNemar's test, of the rows that only the first, and only the second has right."""
    rows = first + second
    if rows < _FEW:
        return min(1.0, 2 * float(scipy.special.bdtr(min(first, second), rows, 0.5))) if rows else 1.0
    return float(scipy.special.chdtrc(1, max(0, abs(first - second) - 1) ** 2 / rows))


def always_valid(first: int, second: int) -> float:
    """The p-value of the same that holds at every look."""
    rows = first + second
    log_evidence = (
        scipy.special.betaln(_BETA + first, _BETA + second) - scipy.special.betaln(_BETA, _BETA) + rows * math.log(2)
    )
    return _p_of(float(log_evidence))


def _p_of(log_evidence: float) -> float:
    return min(1.0, math.exp(-log_evidence)) if log_evidence > 0 else 1.0


def _of_classes(shared: Shared) -> Comparison:
    rows, first, second = shared.rows, shared.first, shared.second
    if not rows:
        return Comparison(measures=False, samples=0)
    difference = (second - first) / rows
    spread = math.sqrt((first + second) / rows - difference**2) / math.sqrt(rows)
    errors = _errors_of_classes(first + second)
    return Comparison(
        measures=False,
        samples=rows,
        only_first=first,
        only_second=second,
        difference=difference,
        low=difference - _NORMAL * spread,
        high=difference + _NORMAL * spread,
        low_always=difference - errors * spread,
        high_always=difference + errors * spread,
        p_value=mcnemar(first, second),
        p_value_always=always_valid(first, second),
        detectable=(errors + _POWER) * math.sqrt(max(1, first + second)) / rows,
    )


def _of_differences(of_rows: Differences) -> Comparison:
    rows, difference, variance = of_rows
    found = Comparison(measures=True, samples=rows, difference=difference)
    if not variance:
        return found
    spread = math.sqrt(variance / rows)
    t = difference / spread
    width = float(scipy.special.stdtrit(rows - 1, 1 - _ALPHA / 2)) * spread
    growth = rows * _SPREAD**2
    log_evidence = rows * t * t * _SPREAD**2 / (2 * (growth + 1)) - math.log(growth + 1) / 2
    errors = math.sqrt(2 * (growth + 1) / growth * (math.log(growth + 1) / 2 - math.log(_ALPHA)))
    return found._replace(
        low=difference - width,
        high=difference + width,
        low_always=difference - errors * spread,
        high_always=difference + errors * spread,
        p_value=2 * float(scipy.special.stdtr(rows - 1, -abs(t))),
        p_value_always=_p_of(log_evidence),
        detectable=(errors + _POWER) * spread,
    )


def _errors_of_classes(rows: int) -> float:
    """By how many standard errors a difference must differ from 0 to be evidence enough, where so many rows are right
    by one alone: where the evidence of `always_valid` is 1 / 5 %, by Laplace's approximation.
    """
    at_even = float(scipy.special.beta(_BETA, _BETA)) * 4 ** (_BETA - 1)
    evidence = math.sqrt(math.pi / (2 * max(1, rows))) / at_even
    return math.sqrt(-2 * math.log(_ALPHA * evidence))


def _verdict(it: Comparison, least_count: int) -> Verdict:
    if it.samples < least_count:
        return "not enough"
    if it.p_value_always is None or it.p_value_always >= _ALPHA or not it.difference:
        return "no difference"
    return "better" if (it.difference > 0) != it.measures else "worse"


def sentence(it: Comparison, second: str, least_count: int) -> str:
    """What a comparison says of the second leg, in words."""
    if it.verdict == "not enough":
        return f"not enough shared labels ({it.samples:,}, need {least_count:,})"
    if it.verdict == "no difference":
        power = "" if it.detectable is None else f"{_size(it, it.detectable)} would have been found with 80 % power, "
        return f"no difference shown ({power}n = {it.samples:,})"
    assert it.difference is not None
    assert it.low_always is not None
    assert it.high_always is not None
    assert it.p_value_always is not None
    shown = [value if it.measures else 100 * value for value in (it.difference, it.low_always, it.high_always)]
    what = "mean error {:+.3g}" if it.measures else "accuracy {:+.1f} points"
    interval = "{:.3g} to {:.3g}" if it.measures else "{:.1f} to {:.1f}"
    return (
        f"{second} is {it.verdict} ({what.format(shown[0])}, 95 % interval {interval.format(*shown[1:])}, "
        f"p = {it.p_value_always:.2g}, n = {it.samples:,})"
    )


def _size(it: Comparison, difference: float) -> str:
    return f"a difference of {difference:.3g}" if it.measures else f"a difference of {100 * difference:.1f} points"
