"""The answer of `/api/comparisons`: which two legs are compared, how they differ, and whether one can trust it."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from app.core.counts.accounts import Pair
from app.core.counts.panes import TOTAL
from app.core.drift.drift import Drift
from app.core.events import Identity, identity_fields
from app.core.measures.paired import PairedReading
from app.core.rules import Rulebook
from app.core.scores.comparison import Comparison, Distance, by_class, compare, sentence

#: The verdict as a number, where there must be one.
VERDICTS: Final = {"better": 1, "no difference": 0, "worse": -1, "not enough": None}


def comparisons_report(pairs: Iterable[tuple[Pair, Mapping[str, PairedReading]]], rulebook: Rulebook) -> dict[str, Any]:
    """All comparisons, by their legs. Differences are the shadow's less the current's; undefined is null."""
    return {"comparisons": [comparison_report(pair, readings, rulebook) for pair, readings in pairs]}


def comparison_report(pair: Pair, readings: Mapping[str, PairedReading], rulebook: Rulebook) -> dict[str, Any]:
    """One of them, by "total" and windows."""
    least_count = rulebook.of(pair.second.leg).least_count
    name = name_of_second(pair)
    whole = compare(readings[TOTAL], least_count)
    return {
        "current": identity_fields(pair.first),
        "shadow": identity_fields(pair.second),
        "least_count": least_count,
        "verdict": whole.verdict,
        "sentence": sentence(whole, name, least_count),
        "classes": {of: numbers(one) for of, one in by_class(readings[TOTAL], least_count).items()},
        "windows": {window: numbers(compare(reading, least_count)) for window, reading in readings.items()},
    }


def compared_with(
    pairs: Iterable[tuple[Pair, Mapping[str, PairedReading]]], rulebook: Rulebook
) -> list[tuple[str, dict[str, Comparison]]]:
    """What comes out of some pairs with one first leg: the second's name in its service, and by window."""
    found = []
    for pair, readings in pairs:
        least_count = rulebook.of(pair.second.leg).least_count
        name = f"{pair.second.predictor}/{pair.second.model}"
        name += f"@{pair.second.version}" if pair.second.version else ""
        found.append((name, {window: compare(reading, least_count) for window, reading in readings.items()}))
    return found


def numbers(it: Comparison) -> dict[str, Any]:
    """What JSON says of a comparison: its numbers, and the verdict as a word."""
    return {"measures": it.measures, **quantities(it), "verdict": it.verdict}


def difference_name(*, measures: bool) -> str:
    """The name of the difference, after which those of its interval begin."""
    return "error_difference" if measures else "accuracy_difference"


def quantities(it: Comparison) -> dict[str, float | None]:
    """The numbers of a comparison, by the names that all outputs give them."""
    difference = difference_name(measures=it.measures)
    found: dict[str, float | None] = {"samples": it.samples, "agreement": it.agreement}
    if not it.measures:
        found |= {"only_current_right": it.only_first, "only_shadow_right": it.only_second}
    return found | {
        "verdict": VERDICTS[it.verdict],
        difference: it.difference,
        f"{difference}_low": it.low,
        f"{difference}_high": it.high,
        f"{difference}_low_always": it.low_always,
        f"{difference}_high_always": it.high_always,
        "p_value": it.p_value,
        "p_value_always": it.p_value_always,
        "detectable": it.detectable,
        **({} if it.brier is None else _of_brier(it.brier)),
        **({} if it.predictions is None else _of_predictions(it.predictions)),
        **({} if it.scores is None else _of_scores(it.scores)),
    }


def _of_brier(it: Comparison) -> dict[str, float | None]:
    return {
        "brier_samples": it.samples,
        "brier_difference": it.difference,
        "brier_difference_low": it.low,
        "brier_difference_high": it.high,
        "brier_difference_low_always": it.low_always,
        "brier_difference_high_always": it.high_always,
        "brier_p_value": it.p_value,
        "brier_p_value_always": it.p_value_always,
    }


def _of_predictions(it: Drift) -> dict[str, float | None]:
    return {
        "prediction_rows": it.rows,
        "prediction_psi": it.psi,
        "prediction_js": it.js,
        "prediction_chi2_p": it.chi2_p,
    }


def _of_scores(it: Distance) -> dict[str, float | None]:
    return {"score_rows": it.rows, "score_ks": it.ks, "score_ks_p": it.p_value}


def name_of_second(pair: Pair) -> str:
    """How the second leg is named beside the first: by what differs, as short as it can be."""
    return name_beside(pair.second, pair.first)


def name_beside(own: Identity, other: Identity) -> str:
    """The predictor, with its model and version where these are needed to tell it from another one."""
    if own.predictor != other.predictor:
        return own.predictor
    if own.model != other.model:
        return f"{own.predictor}/{own.model}"
    return f"{own.predictor}/{own.model}@{own.version}"
