"""The transaction coordinator: who may write under a transactional id, and the two steps in which a transaction ends.

As the broker treats clients of the protocol that aiokafka speaks (before KIP-890's second part): a transaction's
partitions are added before they are written to; EndTxn is answered once the decision is kept, and the markers follow.
Until they are all written, the same id gets CONCURRENT_TRANSACTIONS for what it asks; so whoever has been given a
producer id finds all that was done under it before decided and visible.
"""

import asyncio
from collections.abc import Callable, Mapping
from typing import Final

from aiokafka import TopicPartition
from aiokafka.errors import (
    ConcurrentTransactions,
    InvalidProducerEpoch,
    InvalidProducerIdMapping,
    InvalidTxnState,
)

from tests.memory_kafka.log import Log
from tests.memory_kafka.network import BROKER, Network

EMPTY: Final = "empty"
ONGOING: Final = "ongoing"
ENDING: Final = "ending"  # decided, and markers are being written
ENDED: Final = "ended"

Offsets = dict[TopicPartition, int]


class Transaction:
    """All that is known of a transactional id."""

    def __init__(self, producer: int, timeout: float) -> None:
        self.producer = producer
        self.epoch = 0
        self.timeout = timeout
        self.state = EMPTY
        self.commits = False  # how it ends, or has ended
        self.partitions: dict[TopicPartition, None] = {}
        self.groups: dict[str, Offsets] = {}
        self.timer: asyncio.TimerHandle | None = None


class Transactions:
    """The coordinator of all transactional ids."""

    def __init__(
        self,
        network: Network,
        log_of: Callable[[TopicPartition], Log],
        moved: Callable[[TopicPartition], None],
        commit_offsets: Callable[[str, Offsets], None],
    ) -> None:
        self._network = network
        self._log_of = log_of
        self._moved = moved
        self._commit_offsets = commit_offsets
        self._by_id: dict[str, Transaction] = {}
        self._producers = 0

    def unended(self) -> list[str]:
        """The ids whose transaction is open, or whose markers are still being written."""
        return [name for name, it in self._by_id.items() if it.state in (ONGOING, ENDING)]

    def init_producer(self, name: str | None, timeout: float) -> tuple[int, int]:
        """A producer id and its epoch. For a transactional id the next epoch: what is older is fenced from now on."""
        transaction = self._by_id.get(name) if name is not None else None
        if transaction is None:
            self._producers += 1
            if name is not None:
                self._by_id[name] = Transaction(self._producers, timeout)
            return self._producers, 0
        if transaction.state == ONGOING:  # the last owner's: it is aborted, and this request must come again
            self._fence(transaction)
        if transaction.state == ENDING:
            raise ConcurrentTransactions
        transaction.epoch += 1
        transaction.timeout = timeout
        transaction.state = EMPTY
        return transaction.producer, transaction.epoch

    def add_partitions(self, name: str, producer: int, epoch: int, tps: list[TopicPartition]) -> None:
        """Tell which partitions a transaction is going to write to; with the first it begins."""
        transaction = self._ongoing(name, producer, epoch)
        transaction.partitions.update(dict.fromkeys(tps))

    def add_group(self, name: str, producer: int, epoch: int, group: str) -> None:
        """Tell which group's offsets a transaction is going to commit."""
        self._ongoing(name, producer, epoch).groups.setdefault(group, {})

    def commit_offsets(
        self, name: str, producer: int, epoch: int, group: str, offsets: Mapping[TopicPartition, int]
    ) -> None:
        """Commit a group's offsets with the transaction: they hold from when its marker is written."""
        transaction = self._known(name, producer, epoch)
        if transaction.state != ONGOING or group not in transaction.groups:
            raise InvalidTxnState
        transaction.groups[group].update(offsets)

    def check_write(self, name: str, producer: int, epoch: int, tp: TopicPartition) -> None:
        """Whether a batch belongs to the open transaction; since Kafka 3.6 (KIP-890) the partition's leader asks."""
        transaction = self._known(name, producer, epoch)
        if transaction.state != ONGOING or tp not in transaction.partitions:
            raise InvalidTxnState

    def end(self, name: str, producer: int, epoch: int, commits: bool) -> None:
        """Decide how a transaction ends. To say it again does no harm."""
        transaction = self._known(name, producer, epoch)
        if transaction.state == ONGOING:
            self._end(transaction, commits=commits)
        elif transaction.state == ENDED and transaction.commits == commits:
            return
        elif transaction.state == ENDING and transaction.commits == commits:
            raise ConcurrentTransactions
        else:
            raise InvalidTxnState

    def _known(self, name: str, producer: int, epoch: int) -> Transaction:
        transaction = self._by_id.get(name)
        if transaction is None or transaction.producer != producer:
            raise InvalidProducerIdMapping
        if transaction.epoch != epoch:
            raise InvalidProducerEpoch  # newer versions of the protocol say ProducerFenced
        return transaction

    def _ongoing(self, name: str, producer: int, epoch: int) -> Transaction:
        transaction = self._known(name, producer, epoch)
        if transaction.state == ENDING:
            raise ConcurrentTransactions
        if transaction.state != ONGOING:
            transaction.state = ONGOING
            transaction.partitions, transaction.groups = {}, {}
            transaction.timer = asyncio.get_running_loop().call_later(
                transaction.timeout, self._time_out, transaction, epoch, context=BROKER
            )
        return transaction

    def _time_out(self, transaction: Transaction, epoch: int) -> None:
        """What nobody ends is aborted, and whoever began it is fenced. The broker looks from time to time."""
        self._network.later("look for old transactions", lambda: self._abort_old(transaction, epoch))

    def _abort_old(self, transaction: Transaction, epoch: int) -> None:
        if transaction.state == ONGOING and transaction.epoch == epoch:
            self._fence(transaction)

    def _fence(self, transaction: Transaction) -> None:
        """Abort under a new epoch, so that the old one can neither write nor end anything any more."""
        transaction.epoch += 1
        self._end(transaction, commits=False)

    def _end(self, transaction: Transaction, *, commits: bool) -> None:
        if transaction.timer is not None:
            transaction.timer.cancel()
            transaction.timer = None
        transaction.state = ENDING
        transaction.commits = commits
        left: dict[TopicPartition | str, None] = {**transaction.partitions, **dict.fromkeys(transaction.groups)}

        def mark(place: TopicPartition | str) -> None:
            if isinstance(place, TopicPartition):
                self._log_of(place).append_marker(
                    transaction.producer, transaction.epoch, commit=commits, at=int(self._network.weather.now() * 1000)
                )
                self._moved(place)
            elif commits:
                self._commit_offsets(place, transaction.groups[place])
            del left[place]
            if not left:
                transaction.state = ENDED

        for place in list(left):
            self._network.later("write a marker", lambda place=place: mark(place))  # type: ignore[misc]
