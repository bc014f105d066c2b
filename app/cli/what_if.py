"""What would have been: other rules beside those of the workers, and other thresholds."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import orjson

from app.cli.ends import InputError
from app.cli.screen import screen, table
from app.cli.telling import name_of, shown
from app.core.measures.readings import LABELS
from app.replay.outcome import Outcome, as_data
from app.replay.sweep import Sweep

_SCORES = ("accuracy", "balanced_accuracy", "precision", "recall", "specificity", "f1", "mcc")


def differences(live: Outcome, other: Outcome) -> list[dict[str, Any]]:
    """By model and window what other rules change: cells of the confusion, rows and scores, as [live, other] each."""
    mine = {name_of(model): model for model in as_data(live)["models"]}
    theirs = {name_of(model): model for model in as_data(other)["models"]}
    return [
        {
            "model": name,
            "task": [one.get("task"), another.get("task")],
            "windows": {
                window: _window(one.get("windows", {}).get(window, {}), another.get("windows", {}).get(window, {}))
                for window in [*(one or another)["windows"]]
                if not window.startswith(LABELS)
            },
        }
        for name in sorted(mine.keys() | theirs.keys())
        for one, another in [(mine.get(name, {}), theirs.get(name, {}))]
    ]


def _window(one: Mapping[str, Any], other: Mapping[str, Any]) -> dict[str, Any]:
    cells = [
        {(actual, predicted): count for actual, predicted, count in window.get("confusion") or ()}
        for window in (one, other)
    ]
    scores = [window.get("scores", {}) for window in (one, other)]
    return {
        "samples": [one.get("samples", 0), other.get("samples", 0)],
        "confusion": [
            [*cell, cells[0].get(cell, 0), cells[1].get(cell, 0)]
            for cell in sorted(cells[0].keys() | cells[1].keys(), key=str)
        ],
        "scores": {
            name: [scores[0].get(name), scores[1].get(name)] for name in dict.fromkeys([*scores[0], *scores[1]])
        },
    }


def print_differences(live: Outcome, other: Outcome, form: str) -> None:
    """Print what other rules change, side by side."""
    found = differences(live, other)
    if form == "json":
        data = {"live": as_data(live), "other": as_data(other), "differences": found}
        print(orjson.dumps(data, option=orjson.OPT_INDENT_2).decode())
        return
    console = screen()
    for model in found:
        one, another = model["task"]
        read_as = one if one == another else f"{one or 'not there'}, by the others {another or 'not there'}"
        console.print(f"{model['model']}, {read_as}", soft_wrap=True)
        for window, numbers in model["windows"].items():
            rows = table(window, "", "live", "other", "difference")
            rows.add_row("judged rows", *_row(numbers["samples"][0], numbers["samples"][1], ","))
            for actual, predicted, count, changed in numbers["confusion"]:
                rows.add_row(f"actual {actual}, predicted {predicted}", *_row(count, changed, ","))
            for name, (before, after) in numbers["scores"].items():
                rows.add_row(name, *_row(before, after, ".4g"))
            console.print(rows)
        console.print()


def _row(one: float | None, other: float | None, form: str) -> Iterator[str]:
    yield shown(one, form)
    yield shown(other, form)
    yield shown(None if one is None or other is None else other - one, f"+{form}")


def print_sweeps(found: Sequence[Sweep], form: str, pattern: str | None) -> None:
    """Print the scores of each model by threshold, and the best."""
    if not found:
        of = "" if pattern is None else f" like {pattern}"
        raise InputError(
            f"--sweep: no model{of} has answered single scores from 0 to 1 that are labelled: only such are judged "
            "by a threshold."
        )
    if form == "json":
        print(orjson.dumps([_as_data(one) for one in found], option=orjson.OPT_INDENT_2).decode())
        return
    console = screen()
    for one in found:
        with_cost = ["cost"] * (one.steps[0].cost is not None)
        rows = table(str(one.identity), "threshold", *_SCORES, *with_cost)
        for step in one.steps:
            scores = (shown(step.scores.get(name)) for name in _SCORES)
            rows.add_row(f"{step.threshold:g}", *scores, *([shown(step.cost)] if with_cost else []))
        console.print(rows)
        for name, step in one.best.items():
            value = step.cost if name == "cost" else step.scores[name]
            console.print(f"best {name}: {shown(value)} at {step.threshold:g}")
        console.print()


def _as_data(one: Sweep) -> dict[str, Any]:
    return {
        "model": str(one.identity),
        "steps": [
            {
                "threshold": step.threshold,
                "confusion": [[*cell, amount] for cell, amount in step.confusion.items()],
                "scores": step.scores,
                "cost": step.cost,
            }
            for step in one.steps
        ],
        "best": {name: step.threshold for name, step in one.best.items()},
    }
