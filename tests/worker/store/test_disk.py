"""Databases that cannot be used as they are: each is one sentence, and an empty one in its place."""

import asyncio
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from app.core.join.store import LoadedStore, StoreError
from app.settings import load_settings
from app.worker.store.disk import DiskStores
from app.worker.store.rocks import ABOUT, STANDS, RocksStore

NUMBER = 3
TOPIC_ID = "id-1"


def stores_of(folder: Path, app_id: str = "tally") -> DiskStores:
    return DiskStores(load_settings(app_id=app_id), folder, 16 << 20)


async def load(store: LoadedStore, changes: dict[bytes, bytes | None], place: int) -> None:
    """All of a changelog."""
    await store.load(changes, place)
    await store.loaded()


def filled(folder: Path, number: int = NUMBER, topic_id: str | None = TOPIC_ID, app_id: str = "tally") -> None:
    """A database that holds something."""
    store = stores_of(folder, app_id).open(number, topic_id)
    asyncio.run(load(store, {b"\0mark": b"1"}, 5))
    store.close()


def a_database(folder: Path) -> RocksStore:
    store = stores_of(folder).open(NUMBER, TOPIC_ID)
    assert isinstance(store, RocksStore)
    return store


def write(*rows: tuple[bytes, bytes | None]) -> Callable[[Path], None]:
    def act(folder: Path) -> None:
        store = a_database(folder)
        assert store.database.write(rows)
        store.close()

    return act


def of_another_partition(folder: Path) -> None:
    filled(folder, 4)
    shutil.rmtree(folder / "tally" / "3")
    shutil.move(folder / "tally" / "4", folder / "tally" / "3")


def of_another_app(folder: Path) -> None:
    filled(folder, app_id="other")
    shutil.rmtree(folder / "tally")
    shutil.move(folder / "other", folder / "tally")


def without_its_files(folder: Path) -> None:
    for file in (folder / "tally" / "3").glob("*.sst"):
        file.unlink()


def without_the_end_of_its_loading(folder: Path) -> None:
    shutil.rmtree(folder / "tally" / "3")
    store = a_database(folder)
    asyncio.run(store.load({b"\0mark": b"1"}, 5))
    store.close()


def with_broken_files(folder: Path) -> None:
    for file in (folder / "tally" / "3").glob("MANIFEST*"):
        file.write_bytes(b"?" * 100)


def with_other_contents(folder: Path) -> None:
    for file in (folder / "tally" / "3").glob("*.sst"):
        file.write_bytes(bytes(file.stat().st_size))


def a_file(folder: Path) -> None:
    shutil.rmtree(folder / "tally" / "3")
    (folder / "tally" / "3").write_text("?")


def test_a_database_that_was_closed_is_there_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    filled(tmp_path)
    store = stores_of(tmp_path).open(NUMBER, TOPIC_ID)
    assert (store.place, store.was_kept, store.take_marks()) == (5, True, {b"\0mark": b"1"})
    store.close()
    assert not caplog.records


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (of_another_partition, "it is of partition 4 of tally-exchanges"),
        (of_another_app, "it is of partition 3 of other-exchanges"),
        (without_its_files, "cannot be opened"),
        (without_the_end_of_its_loading, "it was not filled to the end"),
        (with_broken_files, "cannot be opened"),
        (with_other_contents, "cannot be"),
        (a_file, "cannot be opened"),
        (write((ABOUT, None)), "it is none of Tally's"),
        (write((ABOUT, b"?")), "it is none of Tally's"),
        (write((ABOUT, b"[1]")), "it is none of Tally's"),
        (write((ABOUT, b'[0,"tally-exchanges","id-1",3]')), "another version of Tally has made it"),
        (write((ABOUT, b'[2,"tally-exchanges","id-1",3]')), "another version of Tally has made it"),
        (write((ABOUT, b'[1,"tally-exchanges","id-0",3]')), "tally-exchanges was deleted and made again since"),
        (write((ABOUT, b'[1,"tally-exchanges",null,3]')), "tally-exchanges was deleted and made again since"),
        (write((STANDS, b"?")), "nobody can read where it stands"),
        (write((STANDS, b"[1]")), "nobody can read where it stands"),
    ],
)
def test_a_database_that_does_not_fit_is_built_anew_and_the_sentence_says_why(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None], said: str
) -> None:
    filled(tmp_path)
    harm(tmp_path)
    store = stores_of(tmp_path).open(NUMBER, TOPIC_ID)
    assert (store.place, store.was_kept, len(store), store.take_marks()) == (0, False, 0, {})
    (sentence,) = caplog.messages
    assert said in sentence
    assert "Partition 3" in sentence
    assert f"{tmp_path}/tally/3" in sentence
    assert "built anew from tally-exchanges" in sentence
    asyncio.run(load(store, {b"\0mark": b"2"}, 7))
    store.close()
    assert stores_of(tmp_path).open(NUMBER, TOPIC_ID).place == 7


def test_without_an_id_of_the_topic_nothing_that_was_left_is_trusted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, topic_id=None)
    assert stores_of(tmp_path).open(NUMBER, None).place == 0
    assert "the brokers tell no id of tally-exchanges" in caplog.text


def test_who_finds_a_database_open_uses_another_one(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    stores: list[LoadedStore] = []
    for place in (1, 2, 3):
        stores.append(stores_of(tmp_path).open(NUMBER, TOPIC_ID))
        asyncio.run(load(stores[-1], {b"\0mark": b"%d" % place}, place))
    assert [store.place for store in stores] == [1, 2, 3]
    assert {path.name for path in (tmp_path / "tally").iterdir()} == {"3", "3-2", "3-3"}
    assert all("another one is used" in message for message in caplog.messages)
    for store in stores:
        store.close()
    assert stores_of(tmp_path).open(NUMBER, TOPIC_ID).place == 1


def test_a_folder_that_nobody_may_write_is_an_error_that_names_it(tmp_path: Path) -> None:
    (tmp_path / "tally").write_text("a file")
    with pytest.raises(StoreError, match=f"the database in {tmp_path}/tally/3 cannot be opened"):
        stores_of(tmp_path).open(NUMBER, TOPIC_ID)


def test_all_stores_share_what_is_allowed_of_memory_and_tell_their_bytes(tmp_path: Path) -> None:
    stores = stores_of(tmp_path)
    assert stores.sizes()["disk"] == 0
    opened = [stores.open(number, TOPIC_ID) for number in range(4)]
    shares = [store.most_bytes for store in opened if isinstance(store, RocksStore)]
    assert shares == [(16 << 20) // 4 // 4] * 4
    for number, store in enumerate(opened):
        asyncio.run(load(store, {b"\0l%d" % word: bytes(100) for word in range(5000)}, number + 1))
    assert 2_000_000 < stores.sizes()["memory"] < 16 << 20
    for store in opened[1:]:
        store.close()
    store = stores.open(1, TOPIC_ID)
    assert isinstance(store, RocksStore)
    assert store.most_bytes == (16 << 20) // 4 // 2
    assert stores.sizes()["disk"] > 0
