"""What a group reader asks of its consumer."""

from collections.abc import Collection, Sequence
from typing import Any, Protocol

from aiokafka import TopicPartition
from aiokafka.abc import ConsumerRebalanceListener

from app.core.wire.records import Record
from app.worker.kafka.metadata import TopicFacts


class GroupConsumer(Protocol):
    """What a group reader asks of its consumer; `RecordConsumer` of `app.worker.kafka.consumer` is one."""

    def subscribe(self, topics: Sequence[str], *, listener: ConsumerRebalanceListener) -> None:
        """Join the group for these topics; the listener hears of each rebalance."""

    def unsubscribe(self) -> None:
        """Leave the group."""

    def assignment(self) -> set[TopicPartition]:
        """The partitions that the group has given to this member."""

    def check(self) -> None:
        """Raise what has ended the membership, if anything has."""

    async def describe(self, names: Collection[str] | None) -> dict[str, TopicFacts]:
        """The partition counts and ids of those of the topics that exist; with None, of all. Creates none."""

    async def committed_notes(self, tps: Collection[TopicPartition]) -> dict[TopicPartition, str]:
        """What was noted with the group's offsets; of those partitions that have one."""

    async def wait_for_records(self, tps: list[TopicPartition], seconds: float) -> None:
        """Wait until something has been fetched of any of these partitions, or for so long.

        Raises NoOffsetForPartitionError(partition) where the group has no offset, OffsetOutOfRangeError({partition:
        offset}) where the broker no longer has the records, and what else a fetch raises.
        """

    def take(self, tp: TopicPartition, most: int) -> list[Record]:
        """Up to so many of the records that have been fetched."""

    def next_offset(self, tp: TopicPartition) -> int | None:
        """The offset behind the last record taken, and behind what is no record after it; None if not known yet."""

    def known_end(self, tp: TopicPartition, seconds: float) -> int | None:
        """The end of a partition where a fetch has seen it within so many seconds."""

    def seek(self, tp: TopicPartition, offset: int) -> None:
        """Read on from another offset."""

    async def beginning_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        """The offsets of the oldest records."""

    async def end_offsets(self, tps: list[TopicPartition]) -> dict[TopicPartition, int]:
        """The offsets behind the newest records."""

    async def offsets_for_times(self, times: dict[TopicPartition, int]) -> dict[TopicPartition, Any]:
        """By time in ms, the first record (its `offset`) that is not older; None where there is none."""

    async def commit(self, offsets: dict[TopicPartition, tuple[int, str]]) -> None:
        """Commit offsets, each with a note.

        Raises CommitFailedError or IllegalStateError where others have been given the partitions.
        """

    async def stop(self) -> None:
        """Leave the group and end."""

    async def cut_off(self) -> None:
        """End without leaving the group."""
