"""`tally replay`: what the topics say of a stretch, counted by the core that the workers count by."""

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple

from app.cli.client import run
from app.cli.ends import InputError
from app.cli.replayed import print_report
from app.cli.replayed_files import STANDARD_INPUT, replay_files
from app.cli.screen import counted, with_progress
from app.cli.what_if import print_differences, print_sweeps
from app.core.join.deciding import decide
from app.core.join.firsts import watched_of
from app.core.rules import Rulebook
from app.models_file import load_rulebook
from app.replay.first_rows import together
from app.replay.fold import Counting, Folded
from app.replay.mixture import fold_sources, mixing
from app.replay.outcome import Outcome, as_json, is_meant, outcome_of, prometheus
from app.replay.parallel import fold_all, in_loop
from app.replay.processes import cores
from app.replay.stretch import Bound, Stretch, check_order, parse_bound
from app.replay.sweep import parse_costs, parse_sweep, sweeps
from app.replay.topics import Plan, nothing_between, plan, plan_sources
from app.settings import Settings, SettingsError, load_settings

if TYPE_CHECKING:
    from app.replay.copying import Copies


_BEGINS_LATER: Final = (
    "References of first rows are made of this stretch: workers that have read what was before it have others."
)
_READ_ONCE: Final = "Nothing is compared with first rows: standard input can be read only once, give a file."


@dataclass(frozen=True, slots=True)
class Asked:
    """What a replay is asked for. Without `processes` there are as many as cores."""

    begin: str = "earliest"
    end: str = "latest"
    topics: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    indices: tuple[str, ...] = ()
    model: str | None = None
    form: str = "text"
    config: Path | None = None
    sweep: str | None = None
    cost: str | None = None
    prefix: str | None = None
    repair: bool = False
    processes: int | None = None


def replay(asked: Asked) -> None:
    """Replay a stretch and print what came of it."""
    settings = load_settings()
    rulebook = load_rulebook(settings.config)
    if asked.sweep is None and asked.cost is not None:
        raise InputError("--cost says which threshold is best: give --sweep, too.")
    if asked.form in ("prometheus", "html") and (asked.sweep or asked.config):
        raise InputError("--format must be text or json with --sweep and --config.")
    if asked.sweep is not None:
        if asked.config is not None:
            raise InputError("--sweep is by the rules of TALLY_CONFIG: leave --config out.")
        _sweep(settings, rulebook, asked, parse_sweep(asked.sweep))
    elif asked.config is not None:
        other = _rules_of(asked.config)
        live = _replay(settings, rulebook, asked)
        print_differences(live, _replay(settings, other, asked), asked.form)
    elif asked.prefix is not None or asked.repair:
        _copy(settings, rulebook, asked)
    else:
        _PRINT[asked.form](_replay(settings, rulebook, asked))


def _copy(settings: Settings, rulebook: Rulebook, asked: Asked) -> None:
    """Write the documents of a stretch, and say what became of them."""
    from app.exporters.elasticsearch.client import problem  # its client takes as much memory as all else
    from app.replay.copying import Copies, parse_prefix

    if asked.prefix is not None and asked.repair:
        raise InputError("--to-elasticsearch and --repair exclude each other.")
    if asked.files or asked.topics or asked.indices:
        others = "FILE, --topic and --from-elasticsearch"
        raise InputError(f"--to-elasticsearch and --repair are for the canonical topics: leave {others} out.")
    if settings.elasticsearch_url is None:
        raise InputError("TALLY_ELASTICSEARCH_URL is not set: name the Elasticsearch that documents are written to.")
    copies = Copies(None) if asked.prefix is None else parse_prefix(asked.prefix)
    logging.getLogger("elastic_transport").setLevel(logging.CRITICAL)
    away = run(problem(settings))
    if away is not None:
        raise InputError(away)
    stretch = _read(settings, rulebook, asked, copies=copies)
    results: Counter[str] = Counter()
    for one in stretch.fold(stretch.counting):
        results.update(one.documents)
    print(", ".join(f"{counted(results[word], 'document')} {word}" for word in ("written", "there already", "refused")))


def _rules_of(config: Path) -> Rulebook:
    """The rules of another file than the workers'."""
    try:
        return load_rulebook(config)
    except SettingsError as error:
        raise SettingsError(str(error).replace("TALLY_CONFIG:", "--config:")) from None


def _sweep(settings: Settings, rulebook: Rulebook, asked: Asked, thresholds: tuple[float, ...]) -> None:
    costs = {} if asked.cost is None else parse_costs(asked.cost)
    stretch = _read(settings, rulebook, asked, thresholds)
    found = sweeps((one.swept for one in stretch.fold(stretch.counting)), thresholds, rulebook, costs)
    fits = [one for one in found if asked.model is None or is_meant(one.identity, asked.model)]
    print_sweeps(fits, asked.form, asked.model)


def _replay(settings: Settings, rulebook: Rulebook, asked: Asked) -> Outcome:
    has_first_rows = bool(watched_of(rulebook))
    stretch = _read(settings, rulebook, asked)
    notes: tuple[str, ...] = ()
    if has_first_rows and STANDARD_INPUT in asked.files:
        notes = (_READ_ONCE,)
    elif has_first_rows:
        gathering = stretch.counting._replace(gathers=True)
        decide(together(one.first_rows for one in stretch.fold(gathering)), rulebook)
        notes = (_BEGINS_LATER,) if stretch.begins_later else ()
    outcome = outcome_of(stretch.counting, stretch.fold(stretch.counting), stretch.now, asked.model)
    return outcome._replace(notes=(*outcome.notes, *notes))


class _Stretch(NamedTuple):
    """What is to be read, and can be as often as it is folded: by what is counted, whether there was something before,
    and the moment at which windows end.
    """

    counting: Counting
    fold: Callable[[Counting], list[Folded]]
    begins_later: bool
    now: float | None


def _read(
    settings: Settings,
    rulebook: Rulebook,
    asked: Asked,
    thresholds: tuple[float, ...] = (),
    copies: "Copies | None" = None,
) -> _Stretch:
    """What is asked for, ready to be folded."""
    present = time.time() if settings.now is None else settings.now
    begin, end = parse_bound("--from", asked.begin, present), parse_bound("--to", asked.end, present)
    check_order(begin, end)
    if sum(map(bool, (asked.files, asked.topics, asked.indices))) > 1:
        raise InputError("FILE, --topic and --from-elasticsearch exclude each other.")
    counting = Counting(settings, rulebook, settings.limits, thresholds)
    processes = asked.processes or cores()
    begins_later = begin.edge != "earliest"
    if asked.files:
        fold = partial(replay_files, files=asked.files, begin=begin, end=end, processes=processes)
    elif asked.indices:
        from app.cli.replayed_history import replay_history

        fold = partial(replay_history, names=asked.indices, begin=begin, end=end, processes=processes)
    elif asked.topics:
        counting, stretch = run(plan_sources(settings, rulebook, asked.topics, begin, end))
        counting = counting._replace(thresholds=thresholds)
        fold = partial(_fold_sources, stretch=stretch, processes=processes)
        begins_later = any(stretch.starts.values())
    else:
        planned = run(plan(settings, rulebook, begin, end, thresholds))
        counting = planned.counting
        fold = partial(_fold_topics, planned=planned, copies=copies, processes=processes)
        begins_later = any(planned.stretch.starts.values())

    def fold_some(counting: Counting) -> list[Folded]:
        folded = fold(counting)
        if not any(one.events for one in folded):
            raise nothing_between(asked.files or asked.topics or asked.indices or settings.topics, begin, end)
        return folded

    now = moment_of(settings, end, None if asked.files else present)
    return _Stretch(counting if now is None else counting._replace(latest=now), fold_some, begins_later, now)


def _fold_topics(counting: Counting, planned: Plan, copies: "Copies | None", processes: int) -> list[Folded]:
    shares = [share._replace(counting=counting, copies=copies) for share in planned.shares]
    return with_progress(planned.stretch.records, lambda progress: fold_all(shares, processes, progress))


def _fold_sources(counting: Counting, stretch: Stretch, processes: int) -> list[Folded]:
    with mixing(counting, processes) as mixture:
        with_progress(
            stretch.records,
            lambda progress: in_loop(lambda: fold_sources(mixture, counting, stretch, progress), counting),
        )
        return mixture.finish()


def moment_of(settings: Settings, end: Bound, present: float | None) -> float | None:
    """The moment at which a replay's windows end; None for the time of the newest record."""
    if settings.now is not None:
        return settings.now
    return present if end.edge == "latest" else end.moment


def _print_page(outcome: Outcome) -> None:
    from app.replay.page import as_html

    _print_text(as_html(outcome))


def _print_text(text: str) -> None:
    print(text, end="" if text.endswith("\n") else "\n")


_PRINT: Final[dict[str, Callable[[Outcome], None]]] = {
    "text": print_report,
    "json": lambda outcome: _print_text(as_json(outcome)),
    "html": _print_page,
    "prometheus": lambda outcome: _print_text(prometheus(outcome)),
}
