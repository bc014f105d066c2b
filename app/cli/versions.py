"""`tally compare` of two versions of one model: how far the second is from the first, and the scores of both."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import orjson

from app.cli.ends import InputError
from app.cli.screen import screen, table
from app.cli.telling import drift_table, name_of, shown
from app.core.counts.panes import TOTAL

#: What the command returns: nothing has drifted, something has, too few rows of either version.
FINE, DRIFTED, FEW = 0, 1, 3
_NAMES: Final = {
    "model_namespace": "namespace", "model_service": "service", "predictor": "endpoint", "model": "model",
    "model_version": "version",
}  # fmt: skip


def names_of(line: Mapping[str, str]) -> dict[str, str]:
    """The names of a model in `/api/overview`, as series have them."""
    return {name: line[own] for name, own in _NAMES.items()}


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
    drifts, rows_before = found["windows"][window]["drift"], {"rows_before": ("rows before", ",")}
    console.print(drift_table(f"{after}{where} against {before}", drifts, rows_before))
    scores = table("Scores, each of all own labels", "score", before, after + where, "difference")
    for row in _scores(found["scores_before"][TOTAL], found["scores"][window]):
        scores.add_row(*row)
    if scores.rows:
        console.print(scores)
    if window == TOTAL:
        said = found["sentence"]
        console.print(f"{said[:1].upper()}{said[1:]}")


def _scores(before: Mapping[str, float | None], after: Mapping[str, float | None]) -> Iterator[tuple[str, ...]]:
    for name in dict.fromkeys([*before, *after]):
        one, other = before.get(name), after.get(name)
        if one is not None or other is not None:
            difference = None if one is None or other is None else other - one
            yield name, shown(one), shown(other), shown(difference, "+.4g")
