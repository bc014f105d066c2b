"""The recorded answers that come with Tally: two services, each with a current model and its shadow.

`tests/demo/record.py` made them, and says how.
"""

from importlib import resources
from typing import TypedDict

import orjson


class Row(TypedDict):
    """What the models were asked, the truth, and the probability that each model gave every class, in class order."""

    features: list[float]
    label: int
    current: list[float]
    shadow: list[float]


class Phase(TypedDict):
    """Rows to be sent in their order; those of a drifted phase carry the disturbed features that the models saw."""

    name: str
    rows: list[Row]


class Recording(TypedDict):
    """One file of samples; `positive` is None where there are more than two classes."""

    service: str
    namespace: str
    classes: list[str]
    positive: str | None
    feature_names: list[str]
    phases: list[Phase]


def load_recordings() -> list[Recording]:
    """The recordings that come with Tally."""
    samples = resources.files("app.demo").joinpath("samples")
    return [orjson.loads(samples.joinpath(f"{name}.json").read_bytes()) for name in ("breast-cancer", "iris")]
