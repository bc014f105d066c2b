"""What a user may say of a model, and the words for who answers."""

from fnmatch import fnmatchcase
from typing import NamedTuple

from tests.oracle.drift import Watch
from tests.oracle.segments import Fair, Slice


class Leg(NamedTuple):
    """Who answers, or whom a feedback names: a word that it does not name is empty."""

    namespace: str
    service: str
    predictor: str
    model: str

    @property
    def home(self) -> tuple[str, str]:
        return self[:2]

    def is_named_by(self, name: "Leg") -> bool:
        """Whether each word that a name has is this leg's own."""
        return all(word in ("", own) for word, own in zip(name, self, strict=True))

    def is_of_service(self, name: "Leg") -> bool:
        return name.namespace in ("", self.namespace) and name.service in ("", self.service)


class Rule(NamedTuple):
    """One entry of `models:` in the YAML."""

    match: str = "*"
    task: str | None = None
    positive: str | None = None
    threshold: float = 0.5
    classes: tuple[str, ...] = ()
    scored_model: str | None = None
    shadow: tuple[str, ...] = ("shadow",)
    watch: Watch | None = None
    estimate: bool = False
    least_count: int = 100
    segments: tuple[Slice, ...] = ()
    fairness: Fair | None = None

    @property
    def pair(self) -> tuple[str, ...]:
        """The declared classes, where there are two."""
        return self.classes if len(self.classes) == 2 else ()


def rule_of(rules: tuple[Rule, ...], leg: Leg) -> Rule:
    """The first entry that matches holds."""
    return next((rule for rule in rules if fnmatchcase("/".join(leg), rule.match)), Rule())
