"""The disks of the workers of a history: folders that outlive their processes, and what goes wrong with them."""

import random
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final
from unittest.mock import patch

from app.core.join.store import StoreError
from app.settings import Settings
from app.worker.store.database import Database
from app.worker.store.disk import DiskStores

#: Fewer than workers, so that some find the folder of one that has gone, or that lives.
_FOLDERS: Final = 2


class Disks:
    """The folders of one history, below `folder`."""

    def __init__(self, folder: Path, seed: int, settings: Settings) -> None:
        self._folder = folder
        self._rng = random.Random(seed)
        self._settings = settings
        self._mounted: list[DiskStores] = []
        self.full = False

    def mount(self) -> DiskStores:
        """What a worker that starts finds: the folder of another, an empty one, or one with another partition's."""
        rng = self._rng
        folder = self._folder / str(rng.randrange(_FOLDERS))
        if rng.random() < 0.1:
            shutil.rmtree(folder, ignore_errors=True)  # also under those who have it open
        of_app = folder / self._settings.app_id
        if rng.random() < 0.3 and (of_app / "0").exists():
            shutil.rmtree(of_app / "1", ignore_errors=True)
            shutil.copytree(of_app / "0", of_app / "1", ignore=shutil.ignore_patterns("LOCK"))
        stores = DiskStores(self._settings, folder, 16 << 20)
        self._mounted.append(stores)
        return stores

    def crash(self, stores: DiskStores) -> None:
        """The process that had this has ended as it was: of what is not in files nothing is left."""
        if stores not in self._mounted:
            return
        self._mounted.remove(stores)
        for store in stores.open_stores():
            database = store.database
            flushed = self._rng.random() < 0.5
            if not database.folder.exists():  # it has been removed under it
                database.spoilt = True
                database.close()
                continue
            if flushed:
                database._rocks.flush()  # by chance just before
            left = self._folder / "left"
            shutil.copytree(database.folder, left, ignore=shutil.ignore_patterns("LOCK"), dirs_exist_ok=True)
            database.spoilt = True
            database.close()
            shutil.move(left, database.folder)

    def close(self) -> None:
        """End with all of them."""
        for stores in self._mounted:
            for store in stores.open_stores():
                store.close()


@contextmanager
def full_at_times(disks: Disks) -> Iterator[None]:
    """While it is entered, what is written may find no room where `disks.full` says so."""
    write, rng = Database.write, random.Random(0)

    def may_fail(self: Database, changes: Iterable[tuple[bytes, bytes | None]]) -> bool:
        if disks.full and rng.random() < 0.3:
            raise StoreError("the database cannot be written: the disk is full")
        return write(self, changes)

    with patch.object(Database, "write", may_fail):
        yield
