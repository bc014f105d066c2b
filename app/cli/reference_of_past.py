"""`tally reference build --from-topics` and `--from-elasticsearch`: a reference of what a model was asked and answered
in a past stretch.
"""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from app.cli.client import run
from app.cli.columns import Data
from app.cli.ends import InputError
from app.cli.reference import Choice, chosen_features, distribution, kinds_of, write
from app.cli.replayed_history import fold_history
from app.cli.screen import counted, screen, with_progress
from app.cli.verify import parse_share
from app.core.drift.distribution import Distribution, Kind
from app.core.drift.recording import Asked, columns_of, values_of
from app.core.drift.reference import LABEL, PREDICTION, SCORE, Reference
from app.core.events import Identity
from app.core.measures.drift import Answered
from app.core.rules import Rulebook
from app.models_file import load_rulebook
from app.replay.fold import Counting
from app.replay.mixture import mixing
from app.replay.processes import cores
from app.replay.recorded import Recorded, Wanted, record_all, recorded, recording
from app.replay.stretch import Bound, check_order, parse_bound
from app.replay.topics import plan
from app.settings import Settings, load_settings

_SHOWN: Final = 5


class Stretched(NamedTuple):
    """Of which model, and of which stretch and share of the topics; or of the documents of some indices."""

    model: str
    begin: str = "earliest"
    end: str = "latest"
    sample: str = "100%"
    indices: tuple[str, ...] = ()


def build_of_past(asked: Stretched, output: str, choice: Choice) -> None:
    """Write the reference of what the topics, or the documents, hold of a model. Raises InputError."""
    settings = load_settings()
    rulebook = load_rulebook(settings.config)
    sample = parse_share(asked.sample)
    present = time.time() if settings.now is None else settings.now
    begin, end = parse_bound("--from", asked.begin, present), parse_bound("--to", asked.end, present)
    check_order(begin, end)
    read = _of_documents if asked.indices else _of_topics
    shares = read(settings, rulebook, asked, sample, begin, end)
    _check_models(
        asked.model, {one for share in shares for one in share.identities}, {it for one in shares for it in one.others}
    )
    answered = [one for share in shares for one in share.answered]
    reference = reference_of([one for share in shares for one in share.asked], answered, choice, asked.model)
    screen().print(f"{counted(len(answered), 'row')} of {asked.model} from {begin.text} to {end.text}.", soft_wrap=True)
    write(Path(output), reference)


def _of_topics(
    settings: Settings, rulebook: Rulebook, asked: Stretched, sample: float, begin: Bound, end: Bound
) -> list[Recorded]:
    planned = run(plan(settings, rulebook, begin, end))
    wanted = [Wanted(share, asked.model, sample) for share in planned.shares]
    return with_progress(planned.stretch.records, lambda progress: record_all(wanted, cores(), progress))


def _of_documents(
    settings: Settings, rulebook: Rulebook, asked: Stretched, sample: float, begin: Bound, end: Bound
) -> list[Recorded]:
    counting = Counting(settings, recording(rulebook), settings.limits)
    with mixing(counting) as mixture:
        fold_history(counting, mixture, asked.indices, begin, end)
        return [recorded(shard, asked.model, sample) for shard in mixture.settled()]


def _check_models(model: str, found: set[Identity], others: set[Identity]) -> None:
    if not found:
        there = f"; there are answers of {_listed(others)}" if others else ""
        raise InputError(f"--model {model}: the stretch has no answer of it{there}.")
    if len({one.leg for one in found}) > 1:
        raise InputError(f"--model {model} means several models, {_listed(found)}: name one.")


def _listed(identities: set[Identity]) -> str:
    names = sorted(map(str, identities))
    return ", ".join(names[:_SHOWN]) + (f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else "")


def reference_of(asked: Sequence[Asked], answered: Sequence[Answered], choice: Choice, model: str) -> Reference:
    """The reference of rows. Of requests with different columns those count that most rows have. Raises InputError."""
    columns = columns_of(asked)
    values = values_of(asked, columns)
    data = Data(f"what {model} is asked", columns)
    chosen = chosen_features(data, choice)
    kinds = kinds_of(data, choice, chosen)
    features = tuple(distribution(name.strip(), values[name], kinds.get(name), choice) for name in chosen)
    measures = 2 * sum(one.measures for one in answered) > len(answered)
    labelled = [one for one in answered if one.has_label]
    if measures:
        prediction = distribution(PREDICTION, [one.number for one in answered], "continuous", choice)
        label = _known(LABEL, [one.label_number for one in labelled], "continuous", choice)
        return Reference(features, prediction, None, label)
    prediction = distribution(PREDICTION, [one.predicted for one in answered], "categorical", choice)
    label = _known(LABEL, [one.label for one in labelled], "categorical", choice)
    score = None
    if any(one.score is not None for one in answered):
        score = distribution(SCORE, [one.score for one in answered], "continuous", choice)
    return Reference(features, prediction, score, label)


def _known(name: str, values: Sequence[Any], kind: Kind, choice: Choice) -> Distribution | None:
    return distribution(name, values, kind, choice) if values else None
