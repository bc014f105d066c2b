"""The records of dead letters that are cut short, as long as the topics that they came from still hold them."""

from contextlib import AsyncExitStack, aclosing

from aiokafka import TopicPartition

from app.core.letters import Letter, is_original
from app.settings import Settings
from app.worker.kafka.reading import Reader, open_reader
from app.worker.kafka.topics import admin_client, describe_cluster


class Originals:
    """Finds them. What it opens is closed with the stack."""

    def __init__(self, settings: Settings, stack: AsyncExitStack) -> None:
        self._settings = settings
        self._stack = stack
        self._reader: Reader | None = None
        self._partitions: dict[str, int] = {}

    async def whole(self, letter: Letter) -> Letter:
        """The letter as it would be if it were not cut short; as it is where its record is gone."""
        topic, number, offset = letter.topic, letter.origin_partition, letter.origin_offset
        if number < 0 or offset < 0 or number >= await self._count(topic):
            return letter
        if self._reader is None:
            self._reader = await self._stack.enter_async_context(open_reader(self._settings))
        beginnings, ends = await self._reader.span(topic, self._partitions[topic])
        tp = TopicPartition(topic, number)
        if not beginnings[tp] <= offset < ends[tp]:
            return letter
        async with aclosing(self._reader.between({tp: offset}, {tp: offset + 1})) as lists:
            async for _, records in lists:
                if is_original(letter, records[0]):
                    return letter._replace(
                        key=records[0].key,
                        value=records[0].value,
                        headers=[(name, content or b"") for name, content in records[0].headers],
                        original_length=None,
                    )
                break
        return letter

    async def _count(self, topic: str) -> int:
        """How many partitions a topic has; 0 where it does not exist."""
        if topic not in self._partitions:
            async with admin_client(self._settings) as admin:
                self._partitions[topic] = (await describe_cluster(admin, [topic])).partitions.get(topic, 0)
        return self._partitions[topic]
