"""`tally replay`: what the topics say of a stretch, counted by the core that the workers count by."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from app.cli.client import run
from app.cli.ends import InputError
from app.cli.replayed import print_report
from app.cli.replayed_files import replay_files
from app.cli.screen import progress_bar
from app.core.rules import Rulebook
from app.models_file import load_rulebook
from app.replay.fold import Counting, Folded, quick
from app.replay.mixture import Mixture, fold_sources
from app.replay.outcome import Outcome, as_json, outcome_of, prometheus
from app.replay.parallel import Progress, fold_all, in_loop
from app.replay.store import spilling_store
from app.replay.stretch import Bound, check_order, parse_bound
from app.replay.topics import nothing_between, plan, plan_sources
from app.settings import Settings, load_settings

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a replay is asked for. Without `processes` there are as many as cores."""

    begin: str = "earliest"
    end: str = "latest"
    topics: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    model: str | None = None
    form: str = "text"
    processes: int | None = None


def replay(asked: Asked) -> None:
    """Replay a stretch and print what came of it."""
    settings = load_settings()
    outcome = _replay(settings, asked)
    _PRINT[asked.form](outcome)


def _replay(settings: Settings, asked: Asked) -> Outcome:
    rulebook = load_rulebook(settings.config)
    present = time.time() if settings.now is None else settings.now
    begin, end = parse_bound("--from", asked.begin, present), parse_bound("--to", asked.end, present)
    check_order(begin, end)
    if asked.files and asked.topics:
        raise InputError("--topic is for topics: leave it out where files are replayed.")
    if asked.files:
        counting, folded = replay_files(settings, rulebook, asked.files, begin, end)
    elif asked.topics:
        counting, folded = _replay_sources(settings, rulebook, asked, begin, end)
    else:
        counting, folded = _replay_topics(settings, rulebook, asked, begin, end)
    if not any(one.events for one in folded):
        raise nothing_between(asked.files or asked.topics or settings.topics, begin, end)
    now = moment_of(settings, end, None if asked.files else present)
    return outcome_of(counting, folded, now, asked.model)


def _replay_topics(
    settings: Settings, rulebook: Rulebook, asked: Asked, begin: Bound, end: Bound
) -> tuple[Counting, list[Folded]]:
    planned = run(plan(settings, rulebook, begin, end))
    return planned.counting, with_progress(
        planned.stretch.records,
        lambda progress: fold_all(planned.shares, asked.processes or cores(), progress),
    )


def _replay_sources(
    settings: Settings, rulebook: Rulebook, asked: Asked, begin: Bound, end: Bound
) -> tuple[Counting, list[Folded]]:
    counting, stretch = run(plan_sources(settings, rulebook, asked.topics, begin, end))
    with quick(), spilling_store(settings.data_dir) as store:
        mixture = Mixture(counting, store)
        with_progress(
            stretch.records,
            lambda progress: in_loop(lambda: fold_sources(mixture, counting, stretch, progress), counting),
        )
        return counting, [mixture.finish()]


def moment_of(settings: Settings, end: Bound, present: float | None) -> float | None:
    """The moment at which a replay's windows end; None for the time of the newest record."""
    if settings.now is not None:
        return settings.now
    return present if end.edge == "latest" else end.moment


def cores() -> int:
    """How many processes there may be."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def with_progress(total: int | None, work: Callable[[Progress], Found]) -> Found:
    """Do work that says how many records it has folded, under a bar with rate and time left."""
    with progress_bar(rate=True) as bar:
        task = bar.add_task("replaying", total=total)
        return work(lambda records: bar.advance(task, records))


def _print_text(text: str) -> None:
    print(text, end="" if text.endswith("\n") else "\n")


_PRINT: Final[dict[str, Callable[[Outcome], None]]] = {
    "text": print_report,
    "json": lambda outcome: _print_text(as_json(outcome)),
    "prometheus": lambda outcome: _print_text(prometheus(outcome)),
}
