"""Which model series are shown where `TALLY_MAX_SERIES` allows fewer than there are.

There are series of four ranks: of a whole model, of one of its classes, of a value of one of its segments, of a cell of
two classes. All models have those of the first rank before any has one of the second, and so on; within a rank the
models come in the order of their names. So the cells of confusions go first, and of these those of the last models;
and what is shown depends on what is counted alone, never on the order in which it came.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from app.core.events import Identity
from app.core.measures.measure import RANKS

#: How many series a model has of each rank.
Sizes = tuple[int, ...]
_WHAT: Final = ("whole models", "single classes", "segments", "cells of confusions")


class Shares(NamedTuple):
    """How many of the ranks of each model are shown, and how many series are not."""

    ranks: Mapping[Identity, int]
    dropped: int
    #: By rank: of how many models they are not.
    models: tuple[int, ...]

    def sentence(self, most: int) -> str | None:
        """What is left out and what to do, as a sentence; None where all is shown."""
        if not self.dropped:
            return None
        parts = [
            f"{what} ({models} {'model' if models == 1 else 'models'})"
            for what, models in zip(_WHAT, self.models, strict=True)
            if models
        ]
        return (
            f"{self.dropped:,} model series are not exported, beyond TALLY_MAX_SERIES ({most}): those of "
            f"{', '.join(parts[::-1])}. Raise it if Prometheus can take more, or lower TALLY_MAX_CLASSES, or name "
            "fewer TALLY_WINDOWS."
        )


def shares(sizes: Mapping[Identity, Sizes], most: int) -> Shares:
    """What of each model is shown where at most so many series are."""
    order = sorted(identity for identity in sizes)
    shown = dict.fromkeys(order, 0)
    left = most
    for rank in range(RANKS):
        for identity in order:
            left -= sizes[identity][rank]
            if left < 0:
                break
            shown[identity] = rank + 1
        if left < 0:
            break
    dropped = 0
    models = [0] * RANKS
    for identity, ranks in shown.items() if left < 0 else ():
        for rank, size in enumerate(sizes[identity]):
            if rank >= ranks and size:
                dropped += size
                models[rank] += 1
    return Shares(shown, dropped, tuple(models))
