"""What the scores would be by other thresholds: of models whose answers are single scores from 0 to 1.

An exchange keeps the score itself, so one fold serves for all thresholds: each labelled row is counted by how many of
the thresholds it reaches.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from app.core.events import Identity
from app.core.join.exchange import decode
from app.core.join.shard import Shard
from app.core.measures.confusion import CONFUSION, nature_of
from app.core.measures.readings import read
from app.core.measures.verdict import ACTUAL, is_score, label_text, poles
from app.core.rules import Rulebook
from app.core.scores.catalogue import scores_of
from app.replay.stretch import StretchError

_MOST_STEPS: Final = 1000
#: Of these it is said which threshold is best, where no cost is given.
BEST_OF: Final = ("accuracy", "balanced_accuracy", "f1", "mcc")

#: By model the classes below and from the threshold on, and by actual class how many rows reach so many thresholds.
Swept = dict[tuple[Identity, str, str], dict[str, list[int]]]
#: By (actual, predicted) what a row costs.
Costs = Mapping[tuple[str, str], float]


class Step(NamedTuple):
    """One threshold of a model: its confusion, its scores, and what it costs (None where no cost is given)."""

    threshold: float
    confusion: dict[tuple[str, str], int]
    scores: dict[str, float | None]
    cost: float | None


class Sweep(NamedTuple):
    """All thresholds of a model, and by what the best is told: the name of a score or `cost`, and its step."""

    identity: Identity
    steps: list[Step]
    best: dict[str, Step]


def parse_sweep(text: str) -> tuple[float, ...]:
    """The thresholds of a text like `threshold=0.1:0.9:0.05`. Raises StretchError."""
    name, _, span = text.partition("=")
    try:
        low, high, step = map(float, span.split(":"))
        count = int((high - low) / step + 1e-9) + 1
    except (ValueError, ZeroDivisionError, OverflowError):
        low = high = step = -1.0
        count = 0
    if name != "threshold" or not (0 <= low <= high <= 1 and step > 0):
        raise StretchError(f"--sweep must be like threshold=0.1:0.9:0.05, from 0 to 1 (got {text[:100]!r}).")
    if count > _MOST_STEPS:
        raise StretchError(f"--sweep has {count} steps, and may have {_MOST_STEPS}: take larger ones.")
    return tuple(round(low + number * step, 12) for number in range(count))


def parse_costs(text: str) -> dict[tuple[str, str], float]:
    """The costs of a text like `1,0=100;0,1=5`: actual, predicted, what each such row costs. Raises StretchError."""
    costs: dict[tuple[str, str], float] = {}
    for cell in text.split(";"):
        names, _, amount = cell.rpartition("=")
        actual, _, predicted = names.partition(",")
        try:
            cost = float(amount)
        except ValueError:
            cost = float("nan")
        if not actual.strip() or not predicted.strip() or not abs(cost) < float("inf"):
            raise StretchError(f"--cost must be like '1,0=100;0,1=5': actual, predicted, cost (got {text[:100]!r}).")
        costs[actual.strip(), predicted.strip()] = cost
    return costs


def sweep_shard(shard: Shard, thresholds: Sequence[float]) -> Swept:
    """Count the labelled rows of all exchanges of a shard by how many thresholds their scores reach."""
    found: Swept = {}
    numbers, judging = shard.numbers, shard.judging
    for raw in shard.store.values():
        exchange = decode(raw)
        for state in exchange.legs:
            classes, rules = numbers.classes[state.classes], judging.rules(state.leg)
            if not any(is_score(mark, classes, rules) for mark in state.marks):
                continue
            labels = judging.labels(state, judging.statements(state, exchange)).marks or ()
            low, high = poles(classes, rules)
            rows = found.setdefault((numbers.identities[state.identity], low, high), {})
            for mark, label in zip(state.marks, labels, strict=False):
                actual = label_text(label, classes, rules)
                if actual is not None and is_score(mark, classes, rules):
                    counts = rows.setdefault(actual, [0] * (len(thresholds) + 1))
                    counts[bisect_right(thresholds, mark)] += 1  # type: ignore[type-var]
    return found


def sweeps(parts: Iterable[Swept], thresholds: Sequence[float], rulebook: Rulebook, costs: Costs) -> Iterator[Sweep]:
    """The scores of each model by threshold, of all partitions together. Costs are counted where there are any."""
    rows: Swept = {}
    for part in parts:
        for model, own in part.items():
            into = rows.setdefault(model, {})
            for actual, counts in own.items():
                old = into.get(actual)
                into[actual] = counts if old is None else [one + other for one, other in zip(old, counts, strict=True)]
    for (identity, low, high), by_actual in sorted(rows.items()):
        steps = []
        for place, threshold in enumerate(thresholds):
            confusion = {
                (actual, predicted): amount
                for actual, counts in sorted(by_actual.items())
                for predicted, amount in ((low, sum(counts[: place + 1])), (high, sum(counts[place + 1 :])))
                if amount
            }
            rules = replace(rulebook.of(identity.leg), threshold=threshold)
            cells: dict[tuple[str, str], Any] = {(ACTUAL + a, p): amount for (a, p), amount in confusion.items()}
            nature = nature_of(cells, rules, 200)._replace(task="binary", positive=high)
            found = scores_of(read({CONFUSION.name: cells}, nature))
            cost = sum(costs.get(cell, 0.0) * amount for cell, amount in confusion.items()) if costs else None
            steps.append(Step(threshold, confusion, {one.name: one.value for one in found if not one.of_class}, cost))
        yield Sweep(identity, steps, _best(steps, costs))


def _best(steps: Sequence[Step], costs: Costs) -> dict[str, Step]:
    """The best step by cost, or by each of some scores; of equal ones the first."""
    if costs:
        return {"cost": min(steps, key=lambda step: step.cost or 0.0)}
    best = {}
    for name in BEST_OF:
        known = [step for step in steps if step.scores.get(name) is not None]
        if known:
            best[name] = max(known, key=lambda step: step.scores[name] or 0.0)
    return best
