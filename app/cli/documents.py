"""What `tally check` says of the documents in Elasticsearch: what is in their way, and what has none."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

from aiokafka import TopicPartition

from app.cli.screen import counted
from app.settings import Settings
from app.worker.kafka.reading import open_offsets_reader

#: A request of so many ms before the first joined record is taken for one that has a joined record.
_FIRST_MS: Final = 600_000


async def problem_of_elasticsearch(settings: Settings) -> str | None:
    """What keeps a worker from writing documents, as far as can be seen without writing any, and what to do.

    Raises SettingsError where the certificates cannot be read.
    """
    from app.exporters.elasticsearch import client  # it is slow to import

    said = await client.problem(settings)
    is_away = said is not None and ("cannot be reached" in said or "does not answer" in said)
    return f"{said} Start it, or set TALLY_ELASTICSEARCH_URL to where it is." if is_away else said


async def older_sentence(settings: Settings, partitions: Mapping[str, int]) -> str | None:
    """How many requests are older than the joined records, and so have no document; None where none is, or who knows.

    A joined record is younger than its request, so the first minutes of an installation do not count.

    The joined records of which some have expired do not tell when they began.
    """
    assert settings.log_topic is not None
    joined, requests = (
        [TopicPartition(topic, number) for number in range(partitions[topic])]
        for topic in (settings.log_topic, settings.request_topic)
    )
    async with open_offsets_reader(settings) as consumer:
        beginnings = await consumer.beginning_offsets(joined)
        firsts = await consumer.offsets_for_times(dict.fromkeys(joined, 0))
        times = [first.timestamp for first in firsts.values() if first is not None]
        if any(beginnings.values()) or not times:
            return None
        began = min(times)
        first_requests = await consumer.beginning_offsets(requests)
        ends = await consumer.end_offsets(requests)
        places = await consumer.offsets_for_times(dict.fromkeys(requests, began - _FIRST_MS))
    older = 0
    for tp in requests:
        place = places[tp]
        older += (ends[tp] if place is None else place.offset) - first_requests[tp]
    if older <= 0:
        return None
    moment = datetime.fromtimestamp(began / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    what = f"{counted(older, 'request')} in {settings.request_topic}"
    return f"{what} came before the joined records began ({moment}): what they asked has no document, or not all of one"
