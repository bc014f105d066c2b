"""Since when a score is worse than before: the pane in which it fell.

The panes of a score are cut where two parts differ most, by the deviance of one mean against two, and each part again,
as long as the difference is significant at 1 % over all places where it could have been cut (Bonferroni). So a dip that
is over is no fall, and neither is what chance does to few rows. A fall holds from its pane to the last one: the part
before it is significantly better than each that follows.
"""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from statistics import NormalDist
from typing import Final, NamedTuple

from app.core.scores.intervals import Moments

_ERROR: Final = 0.01
#: A smaller fall may be significant where there are very many rows, and still be none that anybody would act on: of a
#: share in points, of a mean error as a share of what it was.
_LEAST_SHARE: Final = 0.005
_LEAST_PART: Final = 0.01
#: On fewer rows a mean says too little, whatever a test says.
_LEAST_ROWS: Final = 20


class Fall(NamedTuple):
    """A score that has become worse: since the start of which pane (s), and what was known before and since."""

    at: int
    before: Moments
    since: Moments


def fall_of(panes: Sequence[tuple[int, Moments]], *, upwards: bool) -> Fall | None:
    """The fall that the panes of a score show, the largest where there are several; None for none.

    `panes` are those with labels, in order, with their starts. A score of which less is better falls `upwards`.
    """
    parts = [*_parts([moments for _, moments in panes])]
    found: list[tuple[float, int]] = []
    for number in range(1, len(parts)):
        before = _sum(panes[first][1] for first in range(*parts[number - 1]))
        after = [_sum(panes[first][1] for first in range(*part)) for part in parts[number:]]
        if all(_is_worse(before, one, upwards=upwards) for one in after):
            found.append((abs(after[0].mean - before.mean), number))
    if not found:
        return None
    _, number = max(found)
    first = parts[number][0]
    before = _sum(panes[place][1] for place in range(*parts[number - 1]))
    return Fall(panes[first][0], before, _sum(moments for _, moments in panes[first:]))


def _is_worse(before: Moments, since: Moments, *, upwards: bool) -> bool:
    change = since.mean - before.mean
    least = _LEAST_SHARE if before.is_share else _LEAST_PART * abs(before.mean)
    if (change > 0) != upwards or abs(change) < least:
        return False
    return _root(before, since) >= _critical(1)


def _parts(panes: Sequence[Moments]) -> Iterator[tuple[int, int]]:
    """The parts into which panes are cut, in order: of each the first and one beyond the last."""
    sums = [Moments(0, 0.0, 0.0, is_share=True)]
    for moments in panes:
        sums.append(moments.with_more(sums[-1]))
    waiting = [(0, len(panes))]
    while waiting:
        first, end = waiting.pop()
        place, root = 0, 0.0
        for cut in range(first + 1, end):
            here = _root(_between(sums, first, cut), _between(sums, cut, end))
            if here > root:
                place, root = cut, here
        if place and root >= _critical(end - first - 1):
            waiting += [(place, end), (first, place)]
        elif end > first:
            yield first, end


def _between(sums: Sequence[Moments], first: int, end: int) -> Moments:
    low, high = sums[first], sums[end]
    return Moments(high.rows - low.rows, high.total - low.total, high.squares - low.squares, high.is_share)


def _sum(several: Iterator[Moments]) -> Moments:
    found = next(several)
    for moments in several:
        found = found.with_more(moments)
    return found


def _root(one: Moments, other: Moments) -> float:
    """The root of the deviance of one mean against two: about that of a normal deviate where the means are the same."""
    if min(one.rows, other.rows) < _LEAST_ROWS:
        return 0.0
    both = one.with_more(other)
    if both.is_share:
        return math.sqrt(max(0.0, 2 * (_likelihood(one) + _likelihood(other) - _likelihood(both))))
    within = (one.rows * one.variance + other.rows * other.variance) / both.rows
    if not within:
        return math.inf if both.variance else 0.0
    return math.sqrt(max(0.0, both.rows * math.log(both.variance / within)))


def _likelihood(share: Moments) -> float:
    """The logarithm of the likelihood of a share under its own mean."""
    right, wrong = share.total, share.rows - share.total
    return sum(part * math.log(part / share.rows) for part in (right, wrong) if part)


@lru_cache(maxsize=4096)
def _critical(cuts: int) -> float:
    """What a root must reach where so many are looked at."""
    return NormalDist().inv_cdf(1 - _ERROR / (2 * cuts))
