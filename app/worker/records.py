"""A consumer that hands over records as they are parsed, at a third of the cost.

aiokafka wraps each parsed record in a dataclass of eleven fields. The lane, the feed and the loading need key, value,
headers, timestamp and offset, which the parsed record has. The two methods below are aiokafka's own, with one name in
each bound to another class; `tests/worker/test_pins.py` says when a new version no longer fits.
"""

import asyncio
from types import FunctionType
from typing import Any

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.consumer.fetcher import Fetcher, FetchError, PartitionRecords


def _with_globals(function: Any, **names: Any) -> Any:
    """The same function, seeing other objects under some of its module's names."""
    copy = FunctionType(
        function.__code__,
        {**function.__globals__, **names},
        function.__name__,
        function.__defaults__,
        function.__closure__,
    )
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


class ParsedRecords(PartitionRecords):  # type: ignore[misc]
    """A fetched list that yields records as the parser made them."""

    def _consumer_record(self, _tp: Any, record: Any) -> Any:
        return record


class ParsedFetcher(Fetcher):  # type: ignore[misc]
    """A fetcher that makes such lists."""

    _proc_fetch_request = _with_globals(Fetcher._proc_fetch_request, PartitionRecords=ParsedRecords)


class RecordConsumer(AIOKafkaConsumer):  # type: ignore[misc]
    """An aiokafka consumer whose `getmany` gives parsed records (no topic, no partition: the dict's key has them)."""

    start = _with_globals(AIOKafkaConsumer.start, Fetcher=ParsedFetcher)

    async def wait_for_records(self, tps: list[TopicPartition], seconds: float) -> None:
        """Wait until something has been fetched of any of these partitions. Raises what the fetch raised."""
        fetcher = self._fetcher
        ready = [tp for tp in tps if tp in fetcher._records]
        for tp in ready:
            if type(fetcher._records[tp]) is FetchError:
                error = fetcher._records.pop(tp)
                fetcher._notify(fetcher._wait_consume_future)
                error.check_raise()
        if not ready:
            waiter = fetcher._create_fetch_waiter()
            done, _ = await asyncio.wait([waiter], timeout=seconds)
            if done:
                waiter.result()  # raises where the fetch failed as a whole
            else:
                waiter.cancel()

    def take(self, tp: TopicPartition, most: int) -> list[Any]:
        """Up to `most` of the records that have been fetched of a partition; its position moves on."""
        fetcher = self._fetcher
        fetched = fetcher._records.get(tp)
        if fetched is None or type(fetched) is FetchError:
            return []  # an error is raised by the next `wait_for_records`
        records: list[Any] = fetched.getall(most)
        if not fetched.has_more():
            fetcher._records.pop(tp, None)
            fetcher._notify(fetcher._wait_consume_future)
        return records

    def place(self, tp: TopicPartition) -> int | None:
        """The offset after the last record taken and the markers behind it."""
        state = self._subscription.subscription.assignment.state_value(tp)
        return state.position if state is not None and state.has_valid_position else None
