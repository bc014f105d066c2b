"""The laws of counting hold with exchanges on disk: every changelog is to the byte what it is with those in memory."""

import asyncio
from operator import itemgetter
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.join.cut import Cut
from app.core.join.position import Position
from app.core.join.shard import Shard
from app.core.rules import Rulebook, Rules
from app.worker.store.database import Database, Memory
from app.worker.store.rocks import RocksStore
from tests.builders import Ledger, Record
from tests.core.test_laws import RULES, stories

_LITTLE = 1 << 20


class LedgerOnDisk(Ledger):
    """A ledger whose shards keep their exchanges in folders. A restart opens them again."""

    def __init__(self, folder: Path, *rules: Rules, **options: Any) -> None:
        self._folder = folder
        super().__init__(*rules, **options)

    def _new_shard(self, number: int) -> Shard:
        shard = super()._new_shard(number)
        shard.store = RocksStore(Database(self._folder / f"{number}", Memory(_LITTLE)), 2_000)
        return shard

    def _write(self, partition: int, cut: Cut) -> None:
        super()._write(partition, cut)
        asyncio.run(self._keep(self.shards[partition], cut))

    async def _keep(self, shard: Shard, cut: Cut) -> None:
        await shard.store.keep(cut.exchanges, -1)

    def recover(self, rulebook: Rulebook) -> list[Position | None]:
        self.rulebook = rulebook
        self.close()
        self.shards = [self._new_shard(number) for number in range(len(self.panes))]
        return [self._recover(shard) for shard in self.shards]

    def _recover(self, shard: Shard) -> Position | None:
        store = shard.store
        assert isinstance(store, RocksStore)
        return shard.recover(store, self.panes[shard.partition])

    def close(self) -> None:
        for shard in self.shards:
            shard.store.close()


def by_puid(logged: list[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """The records of each puid in their order: that of puids which expire together is any."""
    return sorted(logged, key=itemgetter(0))


@given(st.data(), stories, st.sampled_from(RULES), st.lists(st.integers(1, 4), max_size=6))
@settings(max_examples=60)
def test_all_that_is_written_is_the_same_as_in_memory_over_cuts_restarts_and_expiry(
    data: st.DataObject, records: list[Record], rules: tuple[Rules, ...], batches: list[int]
) -> None:
    partitions = data.draw(st.integers(1, 2))
    with TemporaryDirectory() as folder:
        memory = Ledger(*rules, partitions=partitions, logs=True)
        disk = LedgerOnDisk(Path(folder), *rules, partitions=partitions, logs=True)
        rest = [*records]
        for size in (*batches, len(records)):
            batch, rest = rest[:size], rest[size:]
            clock = data.draw(st.sampled_from([None, None, 700.0, 8 * 86400.0]))
            restarts = data.draw(st.booleans())
            for ledger in (memory, disk):
                ledger.absorb(*batch)
                if restarts:
                    ledger.restart()  # what was absorbed is lost
                    ledger.absorb(*batch)
                ledger.cut(clock)
            assert disk.exchanges == memory.exchanges
            assert disk.panes == memory.panes
            assert by_puid(disk.logged) == by_puid(memory.logged)
        assert [dict(shard.store) for shard in disk.shards] == [shard.store for shard in memory.shards]
        assert [shard.open_exchanges for shard in disk.shards] == [shard.open_exchanges for shard in memory.shards]
        disk.close()
