"""What a replay found, as tables for a terminal."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rich.console import Console

from app.cli.screen import counted, screen, table
from app.cli.telling import UNDEFINED, drift_table, name_of, shown
from app.core.counts.panes import TOTAL
from app.core.drift.drift import KINDS
from app.core.measures.readings import LABELS
from app.replay.outcome import Outcome, as_data


def print_report(outcome: Outcome) -> None:
    """Print totals, classes, windows by both clocks, drift, and comparisons of all models."""
    console = screen()
    data = as_data(outcome)
    duplicates, rejected = data["duplicates"], data["rejected"]
    refused = ", ".join(f"{count} {reason}" for reason, count in rejected.items())
    console.print(
        f"{counted(outcome.events, 'event')}, {duplicates} of them repeated or outdated; "
        f"{f'refused: {refused}' if refused else 'none refused'}. Windows end at {data['now']}.",
        soft_wrap=True,
    )
    for note in data["notes"]:
        console.print(note, soft_wrap=True)
    for model in data["models"]:
        console.print()
        _print_model(console, model)
    _print_comparisons(console, data["comparisons"])


def _print_model(console: Console, model: Mapping[str, Any]) -> None:
    """Print one model."""
    windows = model["windows"]
    plain = {name: window for name, window in windows.items() if not name.startswith(LABELS)}
    labelled = {name: window for name, window in windows.items() if name.startswith(LABELS)}
    console.print(_scores(f"{name_of(model)}, {model['task']}: by the time of predictions", plain))
    if labelled:
        console.print(_scores("by the time of labels and rewards", labelled))
    of_class = sorted({name.partition("/")[2] for name in windows[TOTAL]["scores"] if "/" in name})
    if of_class:
        console.print(_classes(windows[TOTAL]["scores"], of_class))
    confusion = windows[TOTAL].get("confusion")
    if confusion:
        rows = table("confusion, in total", "actual", "predicted", "rows")
        for actual, predicted, count in confusion:
            rows.add_row(str(actual), str(predicted), f"{count:,}")
        console.print(rows)
    drifts = windows[TOTAL].get("drift")
    if drifts:
        shares = {kind: (kind, ".2%") for kind in KINDS if any(one.get(kind) for one in drifts)}
        console.print(drift_table("drift from the reference, in total", drifts, shares))
    for note in model["notes"]:
        console.print(note, soft_wrap=True)


def _scores(title: str, windows: Mapping[str, Mapping[str, Any]]) -> Any:
    """Scores of the whole model, a column for each window."""
    rows = table(title, "", *windows)
    names = dict.fromkeys(name for window in windows.values() for name in window["scores"] if "/" not in name)
    rows.add_row("judged rows", *(f"{window.get('samples', 0):,}" for window in windows.values()))
    rows.add_row("rewards", *(f"{window.get('rewards', 0):,}" for window in windows.values()))
    for name in names:
        rows.add_row(name, *(shown(window["scores"].get(name)) for window in windows.values()))
    return rows


def _classes(scores: Mapping[str, float | None], classes: list[str]) -> Any:
    """Scores of each class in total."""
    names = list(dict.fromkeys(name.partition("/")[0] for name in scores if "/" in name))
    rows = table("by class, in total", "class", *names)
    for of_class in classes:
        rows.add_row(of_class, *(shown(scores.get(f"{name}/{of_class}")) for name in names))
    return rows


def _print_comparisons(console: Console, comparisons: list[dict[str, Any]]) -> None:
    for one in comparisons:
        console.print()
        rows = table(f"{name_of(one['current'])} against {name_of(one['shadow'])}", *_COLUMNS)
        for window, numbers in one["windows"].items():
            rows.add_row(*_compared(window, numbers))
        console.print(rows)
        said = one["sentence"]
        console.print(said[:1].upper() + said[1:], soft_wrap=True)


_COLUMNS: Final = ("of", "samples", "agreement", "difference", "95 % interval", "p", "verdict")


def _compared(window: str, numbers: Mapping[str, Any]) -> Iterator[str]:
    difference = "error_difference" if numbers["measures"] else "accuracy_difference"
    low, high = numbers[f"{difference}_low_always"], numbers[f"{difference}_high_always"]
    yield window
    yield f"{numbers['samples']:,}"
    yield shown(numbers["agreement"])
    yield shown(numbers[difference], "+.4g")
    yield UNDEFINED if low is None else f"{low:+.4g} to {high:+.4g}"
    yield shown(numbers["p_value_always"], ".2g")
    yield str(numbers["verdict"])
