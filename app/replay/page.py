"""The page of a worker with its answers in it: one file that opens anywhere, and asks nobody.

A browser loads no module that lies beside a file on disk. So each becomes a function here, in the order in which they
need each other. They hold to what this can read: an import is `import { … } from "./….js";`, and what is exported is
declared behind `export`.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final
from urllib.parse import urlencode

import orjson

from app.core.counts.accounts import BY_LABELS, Account
from app.core.events import Identity
from app.core.measures.confusion import CONFUSION
from app.core.outputs import score_history
from app.core.outputs.class_changes import OfStretch
from app.core.outputs.keys import key_of
from app.core.outputs.overview import (
    Choice,
    Overview,
    OverviewModel,
    clocks_of,
    gather,
    headline,
    in_order,
    line_of,
    notes_of,
    usual_window,
    windows_of,
)
from app.core.outputs.slots import LABELS
from app.core.outputs.trends import Asked, grid_of, kept_since, point_of, reading_of, step_for, stretches
from app.replay.outcome import Outcome, as_data
from app.worker.http.page_files import page_files

_IMPORT: Final = re.compile(r'^import (\{[^}]*\}) from "\./(\w+\.js)";$', re.MULTILINE)
_EXPORT: Final = re.compile(r"^export ((?:async )?(?:function|class|const)) (\{[^}]*\}|\w+)", re.MULTILINE)
_STYLE: Final = re.compile(r'<link rel="stylesheet" href="page/([^"]+)">')
_ICON: Final = re.compile(r'<link rel="icon"[^>]*>\n')
_SCRIPT: Final = re.compile(r'<script src="page/([^"]+)"([^>]*)></script>\n')
_FOLDER: Final = "scripts/"
#: The names of a model in `/api/models`.
_NAMES: Final = ("model_namespace", "model_service", "predictor", "model", "model_version")
#: The scores whose history is in the file, beside the one by which a model is known.
_SCORES: Final = ("accuracy", "mae", "reward_mean")


def as_html(outcome: Outcome) -> str:
    """The page with what a replay says in it."""
    data, readings = as_data(outcome), outcome.readings
    models = readings.view.identities()
    answers: dict[str, Any] = {
        "now": data["now"],
        # What the page asks for where nothing is chosen.
        "usual": {"window": usual_window(readings), "clock": clocks_of(readings)[0]},
        "api/comparisons": {"comparisons": data["comparisons"]},
    }
    for model in data["models"]:
        answers[f"api/models/{key_of(Identity(*(model[name] for name in _NAMES)))}"] = model
    answers.update(_overviews(outcome, models))
    answers.update(one for identity in models for one in _histories(outcome, identity))
    return one_file(answers)


def _overviews(outcome: Outcome, models: list[Identity]) -> Iterator[tuple[str, Overview]]:
    """The overview by each window and clock, as the page asks for them."""
    readings = outcome.readings
    notes = [*outcome.notes, *notes_of(readings, models)]
    for clock in clocks_of(readings):
        for window in windows_of(readings):
            choice = Choice(window, by_labels=clock == LABELS)
            lines = in_order(line for line in (_line(outcome, one, models, choice) for one in models) if line)
            yield (
                f"api/overview?{urlencode({'window': window, 'clock': clock})}",
                {
                    "now_at": outcome.now,
                    "window": window,
                    "windows": windows_of(readings),
                    "clock": "labels" if choice.by_labels else "predictions",
                    "clocks": clocks_of(readings),
                    "stale": None,
                    "notes": notes,
                    "events_per_second": sum(line["events_per_second"] for line in lines),
                    "models": lines,
                },
            )


def _line(outcome: Outcome, identity: Identity, models: list[Identity], choice: Choice) -> OverviewModel | None:
    steps = gather(outcome.readings, outcome.counting.settings.clock, identity, models, choice, outcome.now)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return None if end.value is None else line_of(end.value, choice.window)


def _histories(outcome: Outcome, identity: Identity) -> Iterator[tuple[str, score_history.History]]:
    """The history of the scores that a model is known by, on each clock, as the page asks for them."""
    readings, now, clock = outcome.readings, outcome.now, outcome.counting.settings.clock
    nature = readings.nature(identity)
    if nature is None:
        return
    rules = readings.rulebook.of(identity.leg)
    total = reading_of(readings.view.total(Account(identity)), nature)
    limited = (name for name, of_class, _ in rules.limits if not of_class)
    for name in dict.fromkeys((headline(total, rules), *limited, *_SCORES)):
        for by_clock in clocks_of(readings):
            asked = Asked(name, by_labels=by_clock == LABELS)
            accounts = [Account(identity), *([Account(identity, BY_LABELS)] if asked.by_labels else [])]
            begin = kept_since(readings, accounts, clock, now)
            step = step_for(clock, max(1.0, now - begin), score_history.POINTS)
            grid = grid_of(clock, step, begin, now, now)
            assert grid is not None  # the step is one of panes
            found = [*stretches(readings, identity, nature, grid, by_labels=asked.by_labels)]
            points = [point_of(stretch, asked) for stretch in found]
            confusions = (OfStretch(one.start, CONFUSION.of(one.reading).confusion) for one in found)
            named = urlencode({"score": name, "clock": by_clock})
            history = score_history.history_of(identity, rules, asked, step, [], points, confusions=confusions)
            yield f"api/models/{key_of(identity)}/history?{named}", history


def one_file(answers: Mapping[str, Any]) -> str:
    """The page as one file, with answers by their paths, like `api/models`."""
    page = _ICON.sub("", _text("index.html"))
    page = _STYLE.sub(lambda found: f"<style>\n{_text(found[1])}</style>", page)
    last = [_tag(f"window.TALLY = {orjson.dumps(answers).decode()};")]

    def put(found: re.Match[str]) -> str:
        name, how = found[1], found[2].strip()
        if not how:
            return _tag(_text(name))
        last.append(_tag(_text(name) if how == "defer" else _bundle(name.removeprefix(_FOLDER))))
        return ""

    head = _SCRIPT.sub(put, page)
    return head.replace("</body>", "".join(last) + "</body>")


def _text(name: str) -> str:
    return page_files()[name].content.decode()


def _tag(script: str) -> str:
    """A script within the page. No text in it ends it, or begins a comment."""
    return "<script>" + script.replace("</", "<\\/").replace("<!--", "<\\!--") + "</script>\n"


def _bundle(main: str) -> str:
    """A module and all that it needs, each a function that returns what it exports."""
    done: dict[str, str] = {}

    def add(name: str) -> None:
        if name in done:
            return
        text = _text(_FOLDER + name)
        for _, needed in _IMPORT.findall(text):
            add(needed)
        exported = [names.strip("{ }") for _, names in _EXPORT.findall(text)]
        text = _EXPORT.sub(r"\1 \2", _IMPORT.sub(r'const \1 = modules["\2"];', text))
        done[name] = f'modules["{name}"] = (() => {{\n{text}\nreturn {{ {", ".join(exported)} }};\n}})();\n'

    add(main)
    return f'"use strict";\nconst modules = {{}};\n{"".join(done.values())}'
