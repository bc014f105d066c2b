"""`tally verify`: the proof, from the topics, that what the workers have counted is right."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from app.cli.client import run
from app.cli.ends import InputError
from app.cli.screen import counted, screen, with_progress
from app.models_file import load_rulebook
from app.replay.comparing import Difference, OfPartition
from app.replay.first_rows import together, unproven
from app.replay.processes import cores
from app.replay.stretch import Bound, moment_text, parse_bound
from app.replay.topics import facts_of, ids_of
from app.replay.verify import Check, Checked, verify_all
from app.settings import Settings, load_settings

if TYPE_CHECKING:
    from app.replay.answers import Answered
    from app.replay.documents import Foreign

#: So many differences are printed.
_MOST: int = 20


class Finding(NamedTuple):
    """One thing that differs, where, and who says what is compared with the changelogs."""

    what: str
    difference: Difference
    other: str = "topics"
    one: str = "changelog"


@dataclass(frozen=True, slots=True)
class Asked:
    """What is verified. Without `begin` the workers are taken to have begun where TALLY_START says."""

    begin: str | None = None
    sample: str = "100%"
    url: str | None = None
    documents: bool = False
    processes: int | None = None


def verify(asked: Asked) -> bool:
    """Verify, print what came of it, and return whether there is no difference."""
    settings = load_settings()
    rulebook = load_rulebook(settings.config)
    sample = parse_share(asked.sample)
    begin = _begin(settings, asked.begin)
    if asked.documents:
        _require_elasticsearch(settings, sample)
    counting, partitions = run(facts_of(settings, rulebook))
    ids = run(ids_of(settings))
    checks = [Check(counting, number, partitions, begin, sample, ids, asked.documents) for number in range(partitions)]
    checked = with_progress(None, lambda progress: verify_all(checks, asked.processes or cores(), progress))
    if not any(one.has_state for one in checked):
        raise InputError(
            f"{settings.exchanges_topic} holds no mark of any worker: nothing has been counted under "
            f"TALLY_APP_ID={settings.app_id}."
        )
    findings = [Finding(f"partition {one.partition}, {it.what}", it) for one in checked for it in one.told]
    difference = sum(one.differing for one in checked)
    report(checked, sample)
    if asked.documents:
        from app.replay.documents import find_foreign  # where nobody asks for documents, no client is loaded

        logging.getLogger("elastic_transport").setLevel(logging.CRITICAL)
        of_partitions = [one.documents for one in checked if one.documents is not None]
        counts, foreign = run(find_foreign(settings, of_partitions))
        report_documents(counts, of_partitions, foreign)
        difference += foreign.documents
        own = [it for one in of_partitions for it in one.told]
        findings += [Finding(it.what, it, "Elasticsearch", "topics") for it in (*own, *foreign.told)]
    if asked.url is not None:
        from app.replay.answers import check_answers

        answered = run(check_answers(counting, partitions, asked.url))
        report_answers(asked.url, answered)
        difference += answered.differing
        findings += [Finding(it.what, it, "worker") for it in answered.told]
    report_differences(difference, findings)
    return difference == 0


def parse_share(text: str) -> float:
    """The share that a text like `1%` means. Raises InputError."""
    number = text.removesuffix("%")
    try:
        share = float(number) / 100
    except ValueError:
        share = -1.0
    if not text.endswith("%") or not 0 < share <= 1:
        raise InputError(f"--sample must be a share like 1% or 0.1%, up to 100% (got {text[:100]!r}).")
    return share


def _begin(settings: Settings, text: str | None) -> Bound:
    """Where the workers began."""
    if text is not None:
        bound = parse_bound("--from", text, settings.now or 0.0)
        if bound.edge == "latest":
            raise InputError("--from latest is after all that was counted: name where the workers began.")
        return bound
    if settings.start == "latest":
        raise InputError("TALLY_START is latest, which no topic tells: say with --from where workers began.")
    if isinstance(settings.start, float):
        return Bound("--from", moment_text(settings.start), moment=settings.start)
    return Bound("--from", "earliest", edge="earliest")


def report(checked: Sequence[Checked], sample: float) -> None:
    """Print what was compared."""
    console = screen()
    events, exchanges, cells = (
        sum(getattr(one, name) for one in checked) for name in ("events", "exchanges", "cells")
    )  # fmt: skip
    of_puids = "" if sample >= 1 else f" of a sample of {sample:.4%} of the request ids"
    console.print(
        f"{counted(sum(one.has_state for one in checked), 'partition')}: {counted(events, 'event')}{of_puids} folded "
        f"up to the marks; compared {counted(exchanges, 'exchange')} and {counted(cells, 'count')}.",
        soft_wrap=True,
    )
    reaches = [one.reach for one in checked if one.reach is not None]
    if reaches:
        beyond = sum(one.beyond for one in checked)
        console.print(
            f"The topics hold all from {moment_text(max(reaches) / 1000)} on: what began before was deleted by their "
            f"retention. Not compared: {counted(beyond, 'exchange')} with a part before, and counts in total. Counts "
            "in panes are compared with what the exchanges of the changelog say.",
            soft_wrap=True,
        )
    else:
        console.print("The topics hold all since the workers began.", soft_wrap=True)
    references = sorted({digest for one in checked for digest in one.references})
    if references:
        console.print(
            f"Some drift was counted by references that are no longer in force ({', '.join(references)}), which the "
            "topics do not hold: drift in panes is compared with what the exchanges of the changelog say, and not that "
            "in total, nor that of exchanges which were counted by these.",
            soft_wrap=True,
        )
    report_first_rows(checked, sample)
    if sample < 1:
        console.print("Counts are not compared: they are of all request ids.", soft_wrap=True)


def report_first_rows(checked: Sequence[Checked], sample: float) -> None:
    """Print by which references of first rows drift was compared, and which of these the topics give, too."""
    known = [one.made for one in checked if one.has_state]  # those looked at later may know more
    made = {identity: known[0][identity] for identity in known[0] if all(identity in own for own in known)}
    if not made:
        return
    console = screen()
    console.print(
        f"Drift is compared by {counted(len(made), 'reference')} of first rows, as workers have made them.",
        soft_wrap=True,
    )
    if sample < 1 or any(one.reach is not None for one in checked):
        console.print("Whether their rows are the first the topics do not tell: they are not whole.", soft_wrap=True)
        return
    others = unproven(made, together(one.first_rows for one in checked))
    if len(others) < len(made):
        console.print(f"Just those the topics give: {len(made) - len(others)}.", soft_wrap=True)
    for identity in sorted(others):
        console.print(
            f"The topics give another one of {identity} now: a row of its first ones came late, was corrected or has "
            "expired since the reference was made, or that is damaged.",
            soft_wrap=True,
        )


def report_answers(url: str, answered: "Answered") -> None:
    """Print how a worker's answer was compared."""
    moving = f"; {counted(answered.moving, 'model')} changed at every look and could not be" if answered.moving else ""
    screen().print(f"{counted(answered.models, 'model')} of {url} compared{moving}.", soft_wrap=True)


def report_documents(counts: Mapping[str, tuple[int, int]], found: Sequence[OfPartition], foreign: "Foreign") -> None:
    """Print how many documents there should be and are, and what is wrong with them."""
    console = screen()
    for index, (wanted, there) in counts.items():
        console.print(f"{index}: {counted(wanted, 'document')} by the topics, {there} there", soft_wrap=True)
    missing, different, moving = (
        sum(getattr(one, what) for one in found) for what in ("missing", "different", "moving")
    )
    changing = f"; {moving} have changed since the marks and are not compared" if moving else ""
    console.print(
        f"documents missing {missing}, foreign {foreign.documents}, different {different}{changing}", soft_wrap=True
    )


def _require_elasticsearch(settings: Settings, sample: float) -> None:
    if settings.elasticsearch_url is None:
        raise InputError("TALLY_ELASTICSEARCH_URL is not set: name the Elasticsearch that has the documents.")
    if settings.log_topic is None:
        raise InputError("TALLY_LOG_TOPIC is off: no documents are written.")
    if sample < 1:
        raise InputError("--documents compares all: leave --sample out.")


def report_differences(difference: int, findings: Sequence[Finding]) -> None:
    """Print how much differs, and the first of it with both sides."""
    console = screen()
    console.print(f"difference {difference}")
    for finding in findings[:_MOST]:
        console.print(finding.what, soft_wrap=True)
        console.print(f"  {finding.one}: {finding.difference.changelog}", soft_wrap=True)
        console.print(f"  {finding.other}: {finding.difference.topics}", soft_wrap=True)
