"""What `tally check` says of the documents in Elasticsearch: what is in their way, and what has none."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any, Final

from aiokafka import TopicPartition
from elastic_transport import TransportError
from elasticsearch import ApiError

from app.cli.groups import reader
from app.cli.screen import counted
from app.core.outputs.windows import INDEX, MAPPINGS
from app.exporters.elasticsearch import client
from app.exporters.elasticsearch.templates import TEMPLATES, index_template
from app.settings import Settings

_OURS: Final = {**TEMPLATES, INDEX: index_template(INDEX, MAPPINGS["properties"])}
_ASK_SECONDS: Final = 10


async def problems_of_elasticsearch(settings: Settings) -> list[str]:
    """A sentence for each thing that keeps a worker from writing documents, as far as can be seen without writing any.

    Raises SettingsError where the certificates cannot be read.
    """
    said = await client.problem(settings)
    if said is not None:
        away = "cannot be reached" in said or "does not answer" in said
        return [f"{said} Start it, or set TALLY_ELASTICSEARCH_URL to where it is." if away else said]
    elasticsearch = client.connect(settings)
    try:
        answer = await elasticsearch.options(request_timeout=_ASK_SECONDS).indices.get_index_template()
        found = {entry["name"]: entry["index_template"] for entry in answer.body.get("index_templates", ())}
    except (TransportError, ApiError) as error:
        return [client.sentence(error, settings)]
    finally:
        await elasticsearch.close()
    return list(template_conflicts(found))


def template_conflicts(found: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    """A sentence for each index template that stands in the way of one of Tally's; `found` are all, by their names."""
    for name, ours in _OURS.items():
        there = found.get(name)
        made_by = (there or {}).get("_meta", {}).get("made_by")
        if there is not None and made_by != "tally" and there.get("version", 0) >= ours["version"]:
            yield (
                f"The index template {name} in Elasticsearch is not Tally's, and its version is not lower than "
                f"{ours['version']}, so that a worker leaves it: rename it, or delete it."
            )
        for other, template in found.items():
            priority = template.get("priority", 0)
            if other in _OURS or priority < ours["priority"]:
                continue
            shared = [pattern for pattern in template["index_patterns"] if _overlap(pattern, ours["index_patterns"][0])]
            if shared:
                yield (
                    f"The index template {other} in Elasticsearch is for {', '.join(shared)} with the priority "
                    f"{priority} and takes the place of Tally's {name} ({ours['priority']}): give it a lower priority, "
                    "or other patterns."
                )


def _overlap(pattern: str, ours: str) -> bool:
    """Whether two patterns with stars may mean the same index: one of them means what the other is an example of."""
    return fnmatchcase(ours.replace("*", "x"), pattern) or fnmatchcase(pattern.replace("*", "x"), ours)


async def older_sentence(settings: Settings, partitions: Mapping[str, int]) -> str | None:
    """How many requests are older than the joined records, and so have no document; None where none is, or who knows.

    The joined records of which some have expired do not tell when they began.
    """
    assert settings.log_topic is not None
    joined, requests = (
        [TopicPartition(topic, number) for number in range(partitions[topic])]
        for topic in (settings.log_topic, settings.request_topic)
    )
    async with reader(settings) as consumer:
        beginnings = await consumer.beginning_offsets(joined)
        firsts = await consumer.offsets_for_times(dict.fromkeys(joined, 0))
        times = [first.timestamp for first in firsts.values() if first is not None]
        if any(beginnings.values()) or not times:
            return None
        began = min(times)
        first_requests = await consumer.beginning_offsets(requests)
        ends = await consumer.end_offsets(requests)
        places = await consumer.offsets_for_times(dict.fromkeys(requests, began))
    older = 0
    for tp in requests:
        place = places[tp]
        older += (ends[tp] if place is None else place.offset) - first_requests[tp]
    if older <= 0:
        return None
    moment = datetime.fromtimestamp(began / 1000, UTC).strftime("%Y-%m-%d %H:%M UTC")
    what = f"{counted(older, 'request')} in {settings.request_topic}"
    return f"{what} came before the joined records began ({moment}): what they asked has no document, or not all of one"
