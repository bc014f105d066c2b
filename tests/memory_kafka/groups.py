"""The group coordinator: members, generations, and the offsets that a group has committed.

JoinGroup and SyncGroup are one request here: the broker gives the assignment with the answer, as if the leader had sent
it at once. Between the two of a real group another rebalance can begin; then members join again, as they do here at
their next heartbeat.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from aiokafka import TopicPartition
from aiokafka.errors import IllegalGenerationError, RebalanceInProgressError, UnknownMemberIdError
from aiokafka.structs import OffsetAndMetadata

from tests.memory_kafka.network import BROKER


class Joined(NamedTuple):
    """What a member is told when a rebalance is over."""

    member: str
    generation: int
    partitions: list[TopicPartition]


@dataclass(slots=True)
class Member:
    """One member, as the coordinator knows it."""

    topics: tuple[str, ...]
    session: float
    patience: float  # its rebalance time-out
    deadline: float = 0.0  # when it is given up, unless it is heard of
    joining: asyncio.Future[Joined] | None = None
    partitions: list[TopicPartition] = field(default_factory=list)


#: Members with what they had, in the order in which they came, and how many partitions each topic has → what each gets.
Assignor = Callable[[Mapping[str, Member], Callable[[str], int]], dict[str, list[TopicPartition]]]


def in_turn(members: Mapping[str, Member], count: Callable[[str], int]) -> dict[str, list[TopicPartition]]:
    """Partition n of every topic goes to the same member, and the next one to the next."""
    given: dict[str, list[TopicPartition]] = {name: [] for name in members}
    for topic in dict.fromkeys(topic for member in members.values() for topic in member.topics):
        takers = [name for name, member in members.items() if topic in member.topics]
        for number in range(count(topic)):
            given[takers[number % len(takers)]].append(TopicPartition(topic, number))
    return given


class Group:
    """One group."""

    def __init__(self, name: str, count: Callable[[str], int], assign: Assignor) -> None:
        self.offsets: dict[TopicPartition, int] = {}
        self.metadata: dict[TopicPartition, str] = {}  # what stands beside them
        self.members: dict[str, Member] = {}
        self.generation = 0
        self._name = name
        self._count = count
        self._assign = assign
        self._rebalancing = False
        self._named = 0

    # -- what members ask ---------------------------------------------------------------------------------------------

    def join(self, name: str, topics: Collection[str], session: float, patience: float) -> asyncio.Future[Joined]:
        """Take part in the next generation. Answered when all who take part have asked, or the patience ends."""
        loop = asyncio.get_running_loop()
        if not name:
            self._named += 1
            name = f"{self._name}-member-{self._named}"
            self.members[name] = Member(tuple(topics), session, patience)
        member = self._member(name)
        member.topics = tuple(topics)
        member.deadline = loop.time() + patience
        joined: asyncio.Future[Joined] = loop.create_future()
        member.joining = joined
        self._rebalance()
        self._complete()
        return joined

    def heartbeat(self, name: str, generation: int) -> None:
        """Say that a member is alive. RebalanceInProgressError tells it to join again."""
        member = self._member(name)
        if generation != self.generation:
            raise IllegalGenerationError
        member.deadline = asyncio.get_running_loop().time() + member.session
        if self._rebalancing:
            raise RebalanceInProgressError

    def leave(self, name: str) -> None:
        """Give up a membership."""
        self._member(name)
        self._remove(name)

    def commit(self, name: str, generation: int, offsets: Mapping[TopicPartition, int]) -> None:
        """Keep offsets, of a member of this generation or, where a group has no members, of anyone.

        While a rebalance is being prepared commits are still taken: that is when members flush.
        """
        if generation >= 0 or self.members:
            self._member(name)
            if generation != self.generation:
                raise IllegalGenerationError
        self.keep(offsets)

    def keep(self, offsets: Mapping[TopicPartition, int | OffsetAndMetadata]) -> None:
        """Keep offsets, and what stands beside them."""
        for tp, offset in offsets.items():
            kept = offset if isinstance(offset, OffsetAndMetadata) else OffsetAndMetadata(offset, "")
            self.offsets[tp], self.metadata[tp] = kept.offset, kept.metadata

    # -- rebalances ---------------------------------------------------------------------------------------------------

    def rebalance(self) -> None:
        """Let all members join anew."""
        if self.members:
            self._rebalance()

    def _member(self, name: str) -> Member:
        member = self.members.get(name)
        if member is None:
            raise UnknownMemberIdError
        return member

    def _rebalance(self) -> None:
        if not self._rebalancing:
            self._rebalancing = True
            loop = asyncio.get_running_loop()
            patience = max(member.patience for member in self.members.values())
            loop.call_later(patience, self._give_up_waiting, self.generation, context=BROKER)

    def _give_up_waiting(self, generation: int) -> None:
        if self._rebalancing and generation == self.generation:
            for name in [name for name, member in self.members.items() if member.joining is None]:
                del self.members[name]
            self._complete()

    def _complete(self) -> None:
        if not self._rebalancing or any(member.joining is None for member in self.members.values()):
            return
        self._rebalancing = False
        self.generation += 1
        loop = asyncio.get_running_loop()
        given = self._assign(self.members, self._count) if self.members else {}
        for name, member in self.members.items():
            member.partitions = given[name]
            member.deadline = loop.time() + member.session
            joining, member.joining = member.joining, None
            if joining is not None and not joining.done():
                joining.set_result(Joined(name, self.generation, list(member.partitions)))
            self._watch(name, member)

    def _watch(self, name: str, member: Member) -> None:
        """Give a member up when nothing is heard of it for its session time-out."""
        loop = asyncio.get_running_loop()
        generation = self.generation

        def look() -> None:
            if self.members.get(name) is not member or generation != self.generation:
                return
            if member.joining is None and loop.time() >= member.deadline:
                self._remove(name)
            else:
                loop.call_at(max(member.deadline, loop.time() + 0.01), look, context=BROKER)

        loop.call_at(member.deadline, look, context=BROKER)

    def _remove(self, name: str) -> None:
        member = self.members.pop(name)
        if member.joining is not None and not member.joining.done():
            member.joining.set_exception(UnknownMemberIdError())
        if self.members:
            self._rebalance()
        self._complete()
