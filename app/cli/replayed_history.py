"""`--from-elasticsearch` of `tally replay` and `tally reference build`: the documents of a request logger, folded
without any Kafka.
"""

import logging
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable, Sequence
from contextlib import aclosing

from elasticsearch import ElasticsearchWarning
from rich.markup import escape

from app.cli.client import run
from app.cli.ends import InputError
from app.cli.screen import progress_bar
from app.core.clock import format_time
from app.core.dialects.history import KINDS, LeftOut, StoredDocument, events_of
from app.core.wire.records import Record, pack_headers
from app.exporters.elasticsearch.history import History, opened
from app.replay.fold import Counting, Folded
from app.replay.mixture import Mixture, mixing
from app.replay.stretch import Bound
from app.settings import Settings


def replay_history(
    counting: Counting, names: Sequence[str], begin: Bound, end: Bound, processes: int = 1
) -> list[Folded]:
    """Count what the documents of some indices say, of which `begin` and `end` bound the @timestamp."""
    with mixing(counting, processes) as mixture:
        fold_history(counting, mixture, names, begin, end)
        return mixture.finish()


def fold_history(counting: Counting, mixture: Mixture, names: Sequence[str], begin: Bound, end: Bound) -> None:
    """Fold what the documents of some indices say.

    The records have the present time, as imported ones have: with the old one they would be forgotten at once.
    """
    for bound in (begin, end):
        if bound.offsets:
            raise InputError(f"{bound.option} must be a time where documents are replayed (got {bound.text!r}).")
    if counting.settings.elasticsearch_url is None:
        raise InputError("TALLY_ELASTICSEARCH_URL is not set: name the Elasticsearch that has the documents.")
    logging.getLogger("elastic_transport").setLevel(logging.CRITICAL)
    warnings.simplefilter("ignore", ElasticsearchWarning)
    run(_fold(counting.settings, mixture, names, _text(begin), _text(end)))


def _text(bound: Bound) -> str | None:
    return None if bound.moment is None else format_time(round(bound.moment * 1_000_000))


async def _fold(
    settings: Settings, mixture: Mixture, names: Sequence[str], since: str | None, until: str | None
) -> None:
    left_out: Counter[LeftOut] = Counter()
    async with opened(settings) as client:
        history = History(settings, client, since, until)
        indices = await history.find(names)
        with progress_bar(rate=True) as bar:
            for index in indices:
                task = bar.add_task(f"reading {escape(index.name)}", total=await history.count(index))
                async with aclosing(history.portions(index)) as portions:
                    async for _, groups in portions:
                        left_out += _take(settings, mixture, groups)
                        bar.advance(task, sum(map(len, groups)))
    for reason, count in sorted(left_out.items()):
        print(f"left out: {count} {reason}", file=sys.stderr)


def _take(settings: Settings, mixture: Mixture, groups: Iterable[Sequence[StoredDocument]]) -> Counter[LeftOut]:
    """Fold the events of some puids. Returns what is no event, by reason."""
    topics = dict(zip(KINDS, settings.topics, strict=True))
    records: dict[str, list[Record]] = {topic: [] for topic in settings.topics}
    left_out: Counter[LeftOut] = Counter()
    stamp = round(time.time() * 1000)
    for group in groups:
        found = events_of(group, settings.max_body)
        left_out += found.left_out
        for kind, event in found.events:
            of_kind = records[topics[kind]]
            of_kind.append(Record(0, stamp, event.key, event.value, pack_headers(event.headers)))
    for topic, of_topic in records.items():
        mixture.take(topic, of_topic)
    return left_out
