"""`tally compare` of two versions of one model: how far the second is from the first, and the scores of both."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from app.cli.ends import InputError
from app.cli.screen import screen, table
from app.core.counts.panes import TOTAL

#: What the command returns: nothing has drifted, something has, too few rows of either version.
FINE, DRIFTED, FEW = 0, 1, 3
_DISTANCES: Final = {"psi": "PSI", "js": "Jensen-Shannon", "ks": "KS", "chi2_p": "p (chi-square)", "ks_p": "p (KS)"}
_UNDEFINED: Final = "-"
_NAMES: Final = {
    "model_namespace": "namespace", "model_service": "service", "predictor": "endpoint", "model": "model",
    "model_version": "version",
}  # fmt: skip


def names_of(line: Mapping[str, str]) -> dict[str, str]:
    """The names of a model in `/api/overview`, as series have them."""
    return {name: line[own] for name, own in _NAMES.items()}


def name_of(leg: Mapping[str, str]) -> str:
    """A model as people write it."""
    names = "/".join(leg[name] for name in ("model_namespace", "model_service", "predictor", "model"))
    return f"{names}@{leg['model_version']}" if leg["model_version"] else names


def compare_versions(found: Mapping[str, Any], window: str, *, as_json: bool) -> int:
    """Print what a worker says of two versions, the second in a window, and return the exit code. Raises InputError."""
    of_window = found["windows"].get(window)
    if of_window is None:
        raise InputError(f"--window: there is no {window}; there are {', '.join(found['windows'])}.")
    if as_json:
        print(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode())
    else:
        _print(found, window)
    judged = [one["drifted"] for one in of_window["drift"] if "drifted" in one]
    return FEW if not judged else DRIFTED if any(judged) else FINE


def _print(found: Mapping[str, Any], window: str) -> None:
    console = screen()
    before, after = (name_of(found[side]) for side in ("before", "after"))
    where = "" if window == TOTAL else f", {window}"
    rows = table(f"{after}{where} against {before}", "of", "rows", "rows before", *_DISTANCES.values(), "drifted")
    for one in found["windows"][window]["drift"]:
        rows.add_row(*_drift(one))
    console.print(rows)
    scores = table("Scores, each of all own labels", "score", before, after + where, "difference")
    for row in _scores(found["scores_before"][TOTAL], found["scores"][window]):
        scores.add_row(*row)
    if scores.rows:
        console.print(scores)
    if window == TOTAL:
        said = found["sentence"]
        console.print(f"{said[:1].upper()}{said[1:]}")


def _drift(one: Mapping[str, Any]) -> Iterator[str]:
    yield one["feature"]
    yield f"{one['rows']:,}"
    yield f"{one['rows_before']:,}"
    for name in _DISTANCES:
        yield _shown(one.get(name), ".2g" if name.endswith("_p") else ".3g")
    yield {True: "yes", False: "no", None: "too few rows"}[one.get("drifted")]


def _scores(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> Iterator[tuple[str, ...]]:
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name), after.get(name)
        if one is not None or other is not None:
            difference = None if one is None or other is None else other - one
            yield name, _shown(one, ".4g"), _shown(other, ".4g"), _shown(difference, "+.4g")


def _shown(value: float | None, form: str) -> str:
    return _UNDEFINED if value is None else format(value, form)
