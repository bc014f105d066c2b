"""What the user says of a model, in the YAML file: the rules that its exchanges are judged by."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, NamedTuple, Protocol

from app.core.drift.live import Watched
from app.core.events import Leg
from app.core.monitors import Monitor
from app.core.segments import Segment

Task = Literal["binary", "multiclass", "regression"]


class Column(NamedTuple):
    """A column as a prediction schema describes it (Seldon Deploy's model metadata).

    `parts` are the columns that make it up (ONE_HOT, PROBA); `categories` the words for its codes (CATEGORICAL).
    """

    name: str
    parts: tuple[str, ...] = ()
    categories: tuple[tuple[str, str], ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the single columns."""
        return self.parts or (self.name,)


class Schema(NamedTuple):
    """What the columns of a model's requests and responses are."""

    requests: tuple[Column, ...] = ()
    responses: tuple[Column, ...] = ()


class Fairness(NamedTuple):
    """That the values of a segment are to be treated alike: which is the privileged one, and which class is good.

    Without a positive class it is that of the model.
    """

    attribute: str
    privileged: str
    positive: str | None = None


class OverConfusion(Protocol):
    """What the user makes of a confusion, (actual, predicted) → rows: a number, or None where there is none.

    It depends on nothing else, changes nothing, and raises nothing.
    """

    @property
    def runs_code(self) -> bool:
        """Whether it is the user's own code, which may take long."""
        ...

    @property
    def failures(self) -> int:
        """How often it has failed to give a number."""
        ...

    def __call__(self, confusion: Mapping[tuple[str, str], int]) -> float | None:
        """The number."""
        ...


class OwnScore(NamedTuple):
    """A score that the user has added."""

    name: str
    function: OverConfusion
    greater_is_better: bool


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of one `models:` entry; the defaults are those of a model that no entry matches."""

    match: str = "*"
    task: Task | None = None
    positive: str | None = None
    threshold: float = 0.5
    classes: tuple[str, ...] = ()
    scored_model: str | None = None
    shadow: tuple[str, ...] = ("shadow",)
    compare: tuple[str, ...] | None = None  # predictors that are compared with the others; None: those of `shadow`
    least_count: int = 100
    scores: tuple[OwnScore, ...] = ()
    limits: tuple[tuple[str, str, float], ...] = ()  # (score, class or "", what it should reach)
    intervals: bool = False  # whether scores that are shares are shown with their intervals
    changes: bool = False  # whether it is said when the accuracy has changed
    reference: Watched | None = None  # what is asked, answered and right is compared with it
    monitors: tuple[Monitor, ...] = ()
    probabilities: bool | None = None  # None: those that are no bare 0 or 1
    probability_field: str | None = None  # where in an answer they stand, if they are not the answer itself
    estimate: bool = False  # whether scores are estimated from probabilities, before labels come
    redact: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()
    fairness: Fairness | None = None
    prediction_schema: Schema = field(default_factory=Schema)

    @property
    def run_code(self) -> bool:
        """Whether a score of the model is the user's own code, which may take long."""
        return any(score.function.runs_code for score in self.scores)


DEFAULT_RULES = Rules()


@dataclass(frozen=True, slots=True)
class Rulebook:
    """All entries in their order: the first whose `match` fits `namespace/service/predictor/model` holds."""

    entries: tuple[Rules, ...] = ()
    digest: str = ""
    _cache: dict[Leg, Rules] = field(default_factory=dict, compare=False, repr=False)

    def of(self, leg: Leg) -> Rules:
        """The rules of a leg."""
        rules = self._cache.get(leg)
        if rules is None:
            path = "/".join(leg)
            rules = next((entry for entry in self.entries if fnmatchcase(path, entry.match)), DEFAULT_RULES)
            self._cache[leg] = rules
        return rules

    def score_failures(self) -> Iterator[tuple[str, int]]:
        """How often the user's own code has failed to give a score, by the score's name, in order."""
        failures: dict[str, int] = {}
        for entry in self.entries:
            for score in entry.scores:
                if score.function.runs_code:
                    failures[score.name] = failures.get(score.name, 0) + score.function.failures
        yield from sorted(failures.items())
