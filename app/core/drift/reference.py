"""A reference: the distributions that live ones are compared with, and a digest of them."""

from collections.abc import Iterator
from typing import Final, NamedTuple

import msgspec
from xxhash import xxh3_64_hexdigest

from app.core.drift.distribution import Distribution

#: What distributions besides the features are called, where they stand among them.
PREDICTION: Final = "(prediction)"
SCORE: Final = "(score)"
LABEL: Final = "(label)"
#: Features of one reference, and bins of all of them: they stand in one record of counts.
MOST_FEATURES: Final = 1000
MOST_BINS_TOGETHER: Final = 20_000


class Reference(NamedTuple):
    """The features in the order in which they stand in a row, and what was predicted and right.

    `prediction` is of classes, or of the numbers that a model which measures has predicted; `score` of the probability
    of the positive class.
    """

    features: tuple[Distribution, ...]
    prediction: Distribution | None = None
    score: Distribution | None = None
    label: Distribution | None = None

    @property
    def digest(self) -> str:
        """8 hexadecimal digits: other bins or counts have others."""
        return xxh3_64_hexdigest(msgspec.msgpack.encode(self))[:8]

    def distributions(self) -> Iterator[Distribution]:
        """All, the features first. A place in this order names one in the counts."""
        yield from self.features
        for one in (self.prediction, self.score, self.label):
            if one is not None:
                yield one
