"""Comparisons: the quantities of two legs on the rows that both have answered, by scipy."""

import math
import statistics
from collections import Counter
from collections.abc import Iterator
from typing import Any

from scipy import stats

from tests.oracle import drift


def ratio(part: float, whole: int) -> float | None:
    """A part of a whole; undefined where there is none."""
    return part / whole if whole else None


def compared(facts: list[tuple[Any, ...]]) -> Iterator[tuple[str, float | None]]:
    """The quantities of a comparison. Stories are too short for a verdict."""
    kinds = Counter(what[0] for what in facts)
    judged = [what[2:] for what in facts if what[0] == "judged"]
    missed = [what[1] for what in facts if what[0] == "missed"]
    measures = len(missed) > len(judged)
    differences = missed if measures else [int(second) - int(first) for first, second in judged]
    count = len(differences)
    yield "samples", count
    yield "agreement", ratio(kinds["agree"], kinds["agree"] + kinds["differ"])
    yield "verdict", None
    first, second = judged.count((True, False)), judged.count((False, True))
    if not measures:
        yield "only_current_right", first
        yield "only_shadow_right", second
    mean = sum(differences) / count if count else None
    low = high = p = always = detectable = errors = error = None
    if measures and count > 1 and max(differences) > min(differences):
        test = stats.ttest_1samp(differences, 0.0)
        interval = test.confidence_interval(0.95)
        low, high, p = interval.low, interval.high, test.pvalue
        error = statistics.stdev(differences) / math.sqrt(count)
        growth = count / 100
        always = min(1.0, math.sqrt(growth + 1) / math.exp(growth * test.statistic**2 / (2 * (growth + 1))))
        errors = math.sqrt(2 * (growth + 1) / growth * (math.log(growth + 1) / 2 + math.log(20)))
        detectable = (errors + 0.8416212335729143) * error
    elif count and not measures:
        error = math.sqrt(statistics.pvariance(differences) / count)
        low, high = mean - 1.959963984540054 * error, mean + 1.959963984540054 * error  # type: ignore[operator]
        p = stats.binomtest(first, first + second).pvalue if first + second else 1.0
        beta = math.factorial(first + 1) * math.factorial(second + 1) / math.factorial(first + second + 3)
        always = min(1.0, 1 / (6 * beta * 2 ** (first + second)))
        errors = math.sqrt(2 * math.log(20 / (1.5 * math.sqrt(math.pi / (2 * max(1, first + second))))))
        detectable = (errors + 0.8416212335729143) * math.sqrt(max(1, first + second)) / count
    name = "error_difference" if measures else "accuracy_difference"
    yield from ((name, mean), (f"{name}_low", low), (f"{name}_high", high))
    width = None if errors is None or error is None else errors * error
    yield f"{name}_low_always", None if width is None or mean is None else mean - width
    yield f"{name}_high_always", None if width is None or mean is None else mean + width
    yield from (("p_value", p), ("p_value_always", always), ("detectable", detectable))
    briers = [what[1] for what in facts if what[0] == "brier"]
    if briers:
        like_errors = dict(compared([("missed", difference) for difference in briers]))
        for name in ("samples", "p_value", "p_value_always"):
            yield f"brier_{name}", like_errors[name]
        for end in ("", "_low", "_high", "_low_always", "_high_always"):
            yield f"brier_difference{end}", like_errors[f"error_difference{end}"]
    named = [what[1:] for what in facts if what[0] == "named"]
    if named:
        firsts = Counter(first for first, _ in named)
        classes = sorted({name for both in named for name in both})
        codes = {name: f"c{number}" for number, name in enumerate(classes)}
        known = drift.Known("", tuple(firsts[name] for name in classes), categories=tuple(codes.values()))
        found = drift.against(known, [codes[second] for _, second in named])
        yield "prediction_rows", len(named)
        for measure in ("psi", "js", "chi2_p"):
            yield f"prediction_{measure}", found.get(measure)
