"""What a live worker answers to `/api/models`, against the rows of counts that the panes topic holds."""

import time
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any, Final, NamedTuple

import aiohttp
import orjson
from aiokafka import TopicPartition

from app.core.counts.view import View
from app.core.join.deciding import learn
from app.core.measures.readings import Readings
from app.core.outputs.report import reports_of
from app.replay.comparing import Difference
from app.replay.fold import Counting
from app.replay.reading import open_reader
from app.replay.stretch import StretchError
from app.settings import Settings
from app.worker.asking import session

_SECONDS: Final = 30.0
#: A worker is asked so often before a model that changes all the while is given up.
_LOOKS: Final = 6

Reports = dict[str, Any]


class Answered(NamedTuple):
    """How many models were compared, how many changed at every look, and what differs."""

    models: int
    moving: int
    differing: int
    told: list[Difference]


async def check_answers(counting: Counting, partitions: int, url: str) -> Answered:
    """Compare a worker's answer with the topic, model by model. Raises StretchError where it does not answer.

    The topic is read before and after, and what it says of a model before, or after, must be the answer. One that
    changes meanwhile may be neither: it is looked at again.
    """
    settings = counting.settings
    consumer = await open_reader(settings, changelogs=True, auto_offset_reset="earliest")
    try:
        feed = _Feed(counting, consumer, partitions)
        await feed.begin()
        right: set[str] = set()
        for _ in range(_LOOKS):
            before = feed.reports()
            answer = {_name(model): model for model in await _ask(url, settings)}
            await feed.read()
            after = feed.reports()
            names = answer.keys() | after.keys()
            wrong = [name for name in sorted(names) if answer.get(name) not in (before.get(name), after.get(name))]
            right |= names - set(wrong)
            wrong = [name for name in wrong if name not in right]
            if not wrong:
                break
        moving = [name for name in wrong if before.get(name) != after.get(name)]
        told = [
            Difference(f"model {name}, {where}", topic, said)
            for name in wrong
            if name not in moving
            for where, topic, said in [first_difference(after.get(name), answer.get(name))]
        ]
        return Answered(len(names) - len(moving), len(moving), len(told), told)
    finally:
        await consumer.stop()


class _Feed:
    """The merged view, as every worker keeps it, read on whenever it is asked for."""

    def __init__(self, counting: Counting, consumer: Any, partitions: int) -> None:
        settings = self._settings = counting.settings
        self._consumer = consumer
        self._tps = [TopicPartition(settings.panes_topic, number) for number in range(partitions)]
        self._readings = Readings(
            View(settings.clock, settings.windows),
            counting.rulebook,
            settings.max_classes,
            settings.max_segment_values,
            settings.most_metrics,
        )

    async def begin(self) -> None:
        """Read the topic from its beginning to its end."""
        self._consumer.assign(self._tps)
        await self._consumer.seek_to_beginning(*self._tps)
        await self.read()

    async def read(self) -> None:
        """Read to the end that there is now."""
        ends = await self._consumer.end_offsets(self._tps)
        left = self._tps
        while left := [tp for tp in left if (self._consumer.next_offset(tp) or 0) < ends[tp]]:
            await self._consumer.wait_for_records(left, 0.2)
            for tp in left:
                for record in self._consumer.take(tp, 500):
                    if record.key is not None:
                        self._readings.view.take(tp.partition, record.key, record.value)

    def reports(self) -> Reports:
        """What a worker should answer now, by model."""
        learn(self._readings.view.gathered, self._readings.rulebook)
        now = time.time() if self._settings.now is None else self._settings.now
        reports = orjson.loads(orjson.dumps([*reports_of(self._readings, now)]))
        return {_name(report): report for report in reports}


def _name(model: Mapping[str, Any]) -> str:
    names = "/".join(str(model[name]) for name in ("model_namespace", "model_service", "predictor", "model"))
    return f"{names}@{model['model_version']}" if model["model_version"] else names


def first_difference(one: Any, other: Any, path: str = "") -> tuple[str, str, str]:
    """Where two JSON values differ first, and what each has there."""
    if isinstance(one, dict) and isinstance(other, dict):
        for key in [*one, *(key for key in other if key not in one)]:
            if one.get(key) != other.get(key):
                return first_difference(one.get(key), other.get(key), f"{path}.{key}" if path else str(key))
    return path or "as a whole", _short(one), _short(other)


def _short(value: Any) -> str:
    text = "nothing" if value is None else orjson.dumps(value).decode()
    return text if len(text) <= 200 else text[:200] + "…"


async def _ask(url: str, settings: Settings) -> Iterator[Mapping[str, Any]]:
    try:
        async with session(settings, _SECONDS) as asks, asks.get(f"{url.rstrip('/')}/api/models") as reply:
            status, answer = reply.status, orjson.loads(await reply.read())
    except (aiohttp.ClientError, TimeoutError, ValueError) as error:
        raise StretchError(
            f"No worker answers at {url} ({type(error).__name__}): name one's address with --url."
        ) from None
    if status == HTTPStatus.UNAUTHORIZED:
        raise StretchError(f"TALLY_HTTP_TOKEN must be that of the worker at {url}.")
    if not isinstance(answer, dict) or "models" not in answer:
        said = answer.get("error") if isinstance(answer, dict) else None
        raise StretchError(f"{url} does not tell its models: {said or 'its answer is another one'}")
    return iter(answer["models"])
