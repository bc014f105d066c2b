"""What the workers that run say of themselves: `/ready` of each, at the address that it has written down."""

import asyncio
import contextlib
from collections.abc import Collection, Iterable
from http import HTTPStatus
from typing import Final, NamedTuple

import aiohttp
import msgspec
import orjson

from app.core.counts.rows import Owner, owner_key
from app.settings import Settings
from app.worker.asking import session
from app.worker.kafka.client import SetupError
from app.worker.kafka.reading import open_reader

_READING_SECONDS: Final = 15.0
_ANSWER_SECONDS: Final = 3.0
_OTHER: Final = "it refuses the TALLY_HTTP_TOKEN that is set here: set the one that the worker has."
_NONE: Final = "it asks for a token, and none is set here: set TALLY_HTTP_TOKEN to the one that the worker has."


class Said(NamedTuple):
    """What a worker says; `problems` is None where it does not answer from here."""

    url: str
    problems: list[str] | None


async def ask_workers(settings: Settings, partitions: int, members: Collection[str]) -> list[Said]:
    """What each worker says: the members of the group, by their addresses, also one that could load no partition.

    Where the group does not tell them, those who own a partition; none where nobody can be found in time.
    """
    try:
        async with asyncio.timeout(_READING_SECONDS):
            urls = members or await addresses(settings, partitions)
    except (SetupError, TimeoutError):
        return []
    async with session(settings, _ANSWER_SECONDS) as asks:
        return list(await asyncio.gather(*(_ask(asks, url) for url in sorted(urls))))


def problems_of(said: Iterable[Said]) -> list[str]:
    """The problems of the workers, with their addresses."""
    return [f"Worker {url}: {problem}" for url, problems in said for problem in problems or ()]


async def addresses(settings: Settings, partitions: int) -> set[str]:
    """The addresses of those who own a partition."""
    keys = {owner_key(number) for number in range(partitions)}
    async with open_reader(settings) as reader:
        newest = await reader.newest(settings.panes_topic, partitions, lambda record: record.key in keys)
    urls = set()
    for placed in newest:
        with contextlib.suppress(msgspec.MsgspecError):  # a stranger may have written under this key
            urls.add(msgspec.json.decode(placed.record.value or b"", type=Owner).url)
    return urls


async def _ask(session: aiohttp.ClientSession, url: str) -> Said:
    try:
        async with session.get(f"{url}/ready") as reply:
            answer = orjson.loads(await reply.read())
        problems = [str(problem) for problem in answer["problems"]]
        async with session.get(f"{url}/") as page:  # the cheapest of what a token guards
            if page.status == HTTPStatus.UNAUTHORIZED:
                problems.append(_OTHER if "Authorization" in session.headers else _NONE)
        return Said(url, problems)
    except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError):
        return Said(url, None)
