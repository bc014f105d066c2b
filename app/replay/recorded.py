"""What a stretch of the topics brought of one model: features, predictions, scores and labels, each as it was.

The parts of a request id are joined as the workers join them, so what was replaced or corrected counts once, as it was
last. Only requests that were answered are taken, since the version is the answer's.
"""

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import replace
from typing import Final, NamedTuple

from app.core.drift.live import Watched
from app.core.drift.recording import Asked, Recorder, asked
from app.core.events import Identity
from app.core.join.exchange import decode
from app.core.join.shard import Shard
from app.core.measures.drift import Answered, answered
from app.core.measures.measure import Evidence
from app.core.rules import DEFAULT_RULES, Rulebook
from app.replay.fold import Counting, Fold, quick
from app.replay.outcome import is_meant
from app.replay.parallel import Share, in_loop
from app.replay.processes import Progress, spread
from app.replay.reading import open_reader, read
from app.replay.store import spilling_store
from app.replay.stretch import Stretch
from app.replay.verify import PARTS, is_sampled

#: With thresholds nothing expires (`Counting`): a stretch may be longer than the retention.
_NOTHING_EXPIRES: Final = (0.5,)


class Wanted(NamedTuple):
    """A share of the topics, which models are meant, by a pattern, and which share of the request ids."""

    share: Share
    model: str
    sample: float


class Recorded(NamedTuple):
    """What came of a share: of which models, and of which others it is not; what those were asked and answered."""

    identities: set[Identity]
    others: set[Identity]
    asked: list[Asked]
    answered: list[Answered]


def recording(rulebook: Rulebook) -> Rulebook:
    """The same rules, by which what is asked is kept."""
    recorder = Watched("", Recorder())
    entries = (*rulebook.entries, replace(DEFAULT_RULES, reference=recorder))
    return Rulebook(tuple(replace(entry, reference=recorder) for entry in entries), rulebook.digest)


def record_all(wanted: Sequence[Wanted], processes: int, progress: Progress) -> list[Recorded]:
    """Record all shares, in so many processes at most."""
    return spread(record_share, wanted, processes, progress)


def record_share(wanted: Wanted, progress: Progress) -> Recorded:
    """Record one share."""
    share = wanted.share
    settings = share.counting.settings
    rulebook = recording(share.counting.rulebook)
    counting = share.counting._replace(rulebook=rulebook, thresholds=_NOTHING_EXPIRES)
    with quick(), spilling_store(settings.data_dir) as store:
        fold = Fold(counting, share.partition, share.partitions, store=store)
        in_loop(lambda: _fold(fold, counting, share.stretch, progress), counting)
        fold.cut(None)
        return recorded(fold.shard, wanted.model, wanted.sample)


async def _fold(fold: Fold, counting: Counting, stretch: Stretch, progress: Progress) -> None:
    consumer = await open_reader(counting.settings)
    try:
        async with aclosing(read(consumer, stretch)) as lists:
            async for tp, records in lists:
                fold.take(tp.topic, records)
                progress(len(records))
    finally:
        await consumer.stop()


def recorded(shard: Shard, model: str, sample: float = 1.0) -> Recorded:
    """What a shard that has kept what was asked knows of the models that are meant."""
    found = Recorded(set(), set(), [], [])
    numbers, judging = shard.numbers, shard.judging
    most = round(sample * PARTS)
    for puid in sorted(shard.store):  # so that it does not depend on the order in which they came
        if sample < 1 and not is_sampled(puid, most):
            continue
        exchange = decode(shard.store[puid])
        for state in exchange.legs:
            identity = numbers.identities[state.identity]
            if not state.time:
                continue
            if not is_meant(identity, model):
                found.others.add(identity)
                continue
            found.identities.add(identity)
            rows = None if state.evidence is None else asked(state.evidence)
            if rows is not None:
                found.asked.append(rows)
            labels = judging.labels(state, judging.statements(state, exchange)).marks
            evidence = Evidence(
                rules=judging.rules(state.leg),
                classes=numbers.classes[state.classes],
                marks=state.marks,
                probabilities=state.probabilities,
                labels=labels,
            )
            found.answered.extend(answered(evidence))
    return found
