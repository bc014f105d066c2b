"""Documents of a replay for Elasticsearch: in indices of their own, or where documents of the workers are missing."""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import islice
from typing import Any, Final, NamedTuple

import orjson

from app.core.outputs.documents.places import Place
from app.exporters.elasticsearch.templates import TEMPLATES
from app.exporters.elasticsearch.writes import BULK_DOCUMENTS, Elasticsearch, Result, Write
from app.replay.documents import Expected
from app.replay.stretch import StretchError
from app.settings import Settings

_PREFIX: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*")
_LONGEST_PREFIX: Final = 50
#: What the workers' own indices begin with.
_TAKEN: Final = ("inference-log", "drift-log", "tally-windows")


class Copies(NamedTuple):
    """Where the documents of a replay go: into indices with a prefix, or with None where they are missing."""

    prefix: str | None


def parse_prefix(text: str) -> Copies:
    """The prefix of indices. Raises StretchError."""
    if len(text) > _LONGEST_PREFIX or not _PREFIX.fullmatch(text) or text.startswith(_TAKEN):
        raise StretchError(
            f"--to-elasticsearch must be a prefix like what-if, up to {_LONGEST_PREFIX} lower-case letters, digits, "
            f"dashes and underscores, and none of the workers' own indices (got {text[:100]!r})."
        )
    return Copies(text)


async def write_documents(settings: Settings, expected: Expected, copies: Copies) -> Counter[str]:
    """Write documents where there are none yet. Returns how many were written, were there, and were refused.

    In the workers' indices only documents that have their request are written: of others the stretch has not all.
    """
    elasticsearch = Elasticsearch(settings)
    results: Counter[str] = Counter()
    try:
        if copies.prefix is not None:
            await elasticsearch.prepare(templates_of(copies.prefix))
        writes = _writes(expected, copies)
        while some := [*islice(writes, BULK_DOCUMENTS)]:
            async for _, outcome in elasticsearch.write(some):
                results[_WORDS[outcome.result]] += 1
    finally:
        await elasticsearch.close()
    return results


_WORDS: Final = {Result.WRITTEN: "written", Result.CONFLICT: "there already", Result.REFUSED: "refused"}


def templates_of(prefix: str) -> dict[str, dict[str, Any]]:
    """The workers' templates for indices with this prefix."""
    return {
        f"{prefix}-{name}": {**template, "index_patterns": [f"{prefix}-{name}-*"]}
        for name, template in TEMPLATES.items()
    }


def _writes(expected: Expected, copies: Copies) -> Iterator[Write]:
    for (index, number), body in expected.all():
        place: Place = (index if copies.prefix is None else f"{copies.prefix}-{index}", number)
        if copies.prefix is not None or "request" in body:
            yield Write(place, None, orjson.dumps(body))
