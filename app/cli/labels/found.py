"""How many labels of a file found a prediction, as the workers say.

A label that found none is kept and waits for its prediction: no counter tells it from one whose prediction is only
late. So the workers are asked for some of the puids, one by one: for all of a small file, else for a sample, from which
the share follows within known bounds. The sample is that of the least hashes, so it is drawn evenly, from each puid
once, and in constant memory.
"""

import asyncio
from collections.abc import Iterable
from heapq import heappush, heappushpop
from http import HTTPStatus
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import aiohttp
import orjson
from xxhash import xxh3_64_intdigest

from app.cli.workers import addresses
from app.core.scores.score import wilson
from app.settings import Settings
from app.worker.asking import session
from app.worker.kafka.client import SetupError

#: So many puids are asked for.
SAMPLE: Final = 1_000
_AT_ONCE: Final = 16
_ANSWER_SECONDS: Final = 10.0
_FINDING_SECONDS: Final = 15.0
#: For so long nothing new may be counted before it is given up.
_PATIENCE_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 0.5


class Sample:
    """Some of all puids that were added, each once."""

    def __init__(self, most: int = SAMPLE) -> None:
        self._most = most
        self._heap: list[tuple[int, bytes]] = []  # negative hashes, the greatest first
        self._kept: set[bytes] = set()
        self._limit = 1 << 64
        #: Whether it holds all that were added.
        self.whole = True

    def add(self, puid: bytes) -> None:
        """Add a puid."""
        digest = xxh3_64_intdigest(puid)
        if digest >= self._limit or puid in self._kept:
            self.whole = self.whole and puid in self._kept
            return
        self._kept.add(puid)
        if len(self._heap) < self._most:
            heappush(self._heap, (-digest, puid))
        else:
            self.whole = False
            self._kept.discard(heappushpop(self._heap, (-digest, puid))[1])
        if len(self._heap) == self._most:
            self._limit = -self._heap[0][0]

    @property
    def puids(self) -> list[str]:
        """The puids that it holds."""
        return [puid.decode() for _, puid in self._heap]


class Found(NamedTuple):
    """What the workers said: of so many puids that were asked for so many have no prediction."""

    asked: int
    without: int
    uncounted: int  # whose label had not been counted when the patience was over


async def ask(settings: Settings, partitions: int, sample: Sample) -> Found | str:
    """Ask the workers; a sentence where none answers."""
    try:
        async with asyncio.timeout(_FINDING_SECONDS):
            urls = sorted(await addresses(settings, partitions))
    except (SetupError, TimeoutError):
        urls = []
    async with session(settings, _ANSWER_SECONDS) as asks:
        for url in urls or [settings.url]:
            found = await _ask_one(asks, url, sample.puids)
            if isinstance(found, Found):
                return found
    return found


async def _ask_one(session: aiohttp.ClientSession, url: str, puids: Iterable[str]) -> Found | str:
    """Ask one worker, which knows of the others' puids too, until all are counted, or nothing new is."""
    asked = left = list(puids)
    without = 0
    loop = asyncio.get_running_loop()
    patience = loop.time() + _PATIENCE_SECONDS
    gate = asyncio.Semaphore(_AT_ONCE)

    async def known(puid: str) -> bool | str | None:
        """Whether a puid has a prediction; None while its label is not counted, or its partition is being loaded; a
        sentence where nobody says.
        """
        async with gate:
            try:
                async with session.get(f"{url}/api/exchanges/{quote(puid, safe='')}") as reply:
                    if reply.status in (HTTPStatus.NOT_FOUND, HTTPStatus.SERVICE_UNAVAILABLE):
                        return None
                    if reply.status == HTTPStatus.UNAUTHORIZED:
                        return f"the worker at {url} asks for another TALLY_HTTP_TOKEN"
                    return _has_prediction(orjson.loads(await reply.read()))
            except (aiohttp.ClientError, TimeoutError, ValueError, LookupError, TypeError):
                return f"no worker answers at {url}"

    while left and loop.time() < patience:
        answers = await asyncio.gather(*map(known, left))
        silent = [answer for answer in answers if isinstance(answer, str)]
        if len(silent) == len(answers):
            return silent[0]
        without += answers.count(False)
        uncounted = [puid for puid, answer in zip(left, answers, strict=True) if not isinstance(answer, bool)]
        if len(uncounted) < len(left):
            patience = loop.time() + _PATIENCE_SECONDS
        left = uncounted
        await asyncio.sleep(_PAUSE_SECONDS if left else 0)
    return Found(len(asked) - len(left), without, len(left))


def _has_prediction(answer: Any) -> bool | None:
    if answer["feedback_time"] is None:
        return None
    return any(leg["response_time"] is not None for leg in answer["legs"])


def sentence(found: Found | str, sample: Sample) -> str:
    """What was found out, in words."""
    if isinstance(found, str):
        return f"how many found no prediction is not known: {found}"
    late = f"; of {found.uncounted} more the workers have not counted the label yet" if found.uncounted else ""
    if not found.asked:
        return "how many found no prediction is not known: the workers have not counted the labels yet"
    if sample.whole and not found.without:
        return f"all {found.asked} puids have a prediction{late}"
    if sample.whole:
        return f"no prediction is known of {found.without} of {found.asked} puids{late}"
    low, high = wilson(found.without / found.asked, found.asked)
    return (
        f"no prediction is known of {found.without / found.asked:.1%} of the puids "
        f"({low:.1%} to {high:.1%} with 95 % certainty: {found.without} of a sample of {found.asked}){late}"
    )
