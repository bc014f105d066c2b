"""Which model got worse, by how much and since when: by its counts as they were seen, and nothing else.

Of all moments at which its counts were looked at, the one that parts what came before from what came after best is
taken: the greatest gain in log-likelihood of two shares of right answers over a single one.
"""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, Final, NamedTuple

#: So many labels must have come on either side.
_LEAST: Final = 40
#: Less of a difference is nothing to talk of.
_WORSE: Final = 0.05
#: The gain that chance gives in one of some thousands of runs, many moments being looked at.
_GAIN: Final = 10.0


class Look(NamedTuple):
    """A model's counts at a moment, in seconds since 1970: rows judged so far, and those of them that were right."""

    at: float
    right: int
    judged: int


class Worse(NamedTuple):
    """The shares of right answers before a moment and after it, and the rows that the second rests on."""

    since: float
    before: float
    after: float
    judged: int


class Looks:
    """What has been seen of all models, by their names."""

    def __init__(self) -> None:
        self._looks: dict[str, list[Look]] = {}

    def add(self, at: float, report: Mapping[str, Any]) -> None:
        """Note the counts in an answer of `/api/models`."""
        for model in report["models"]:
            right, wrong = model["rows"]["correct"], model["rows"]["incorrect"]
            name = "/".join(model[word] for word in ("model_service", "predictor", "model"))
            looks = self._looks.setdefault(name, [])
            if right + wrong and (not looks or looks[-1].judged < right + wrong):
                looks.append(Look(at, right, right + wrong))

    def worse(self) -> dict[str, Worse]:
        """The models that got worse."""
        found = {name: worse_of(looks) for name, looks in self._looks.items()}
        return {name: worse for name, worse in found.items() if worse is not None}


def worse_of(looks: Sequence[Look]) -> Worse | None:
    """Since when a model is worse, None where it is not."""
    if not looks:
        return None
    last = looks[-1]
    whole = _likelihood(last.right, last.judged)
    best, found = _GAIN, None
    for look, following in pairwise(looks):
        right, judged = last.right - look.right, last.judged - look.judged
        if look.judged < _LEAST or judged < _LEAST:
            continue
        before, after = look.right / look.judged, right / judged
        gain = _likelihood(look.right, look.judged) + _likelihood(right, judged) - whole
        if gain > best and before - after >= _WORSE:
            best, found = gain, Worse(following.at, before, after, judged)
    return found


def _likelihood(right: int, judged: int) -> float:
    """The greatest log-likelihood of so many right of so many. A correction may make a step that is none: -infinity."""
    if not 0 <= right <= judged:
        return -math.inf
    return sum(part * math.log(part / judged) for part in (right, judged - right) if part)
