"""A store on disk says what a dict says, and after a crash what it said at an earlier epoch, whole."""

import asyncio
import subprocess
import sys
from collections.abc import Awaitable
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.join.ages import HOUR, Ages
from app.core.join.exchange import Exchange, encode
from app.core.join.store import StoreError
from app.worker.store.database import Database, LockedError, Memory, remove
from app.worker.store.rocks import RocksStore
from tests.patience import PATIENCE

Changes = list[tuple[bytes, bytes | None]]
KEYS = st.integers(0, 9).map(lambda number: b"puid-%d" % number)
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.binary(max_size=8)),
        st.tuples(st.just("pop"), KEYS, st.none()),
        st.tuples(st.just("get"), KEYS, st.none()),
        st.tuples(st.just("fetch"), KEYS, st.none()),
        st.tuples(st.just("epoch"), st.just(b""), st.none()),
        st.tuples(st.just("open again"), st.just(b""), st.none()),
    ),
    max_size=60,
)
ONE_MIB = 1 << 20


def a_store(folder: Path, most_bytes: int = ONE_MIB, most_waiting: int = 0) -> RocksStore:
    """A store that writes so many durable changes together; each epoch at once where it is 0."""
    store = RocksStore(Database(folder / "db", Memory(ONE_MIB)), most_bytes)
    store.most_waiting = most_waiting
    return store


def finish(work: Awaitable[None]) -> None:
    """What is asked of a database is done at once."""

    async def whole() -> None:
        await work

    asyncio.run(whole())


@settings(max_examples=40)
@given(STEPS, st.sampled_from([0, 1_000, ONE_MIB]), st.sampled_from([0, 5, 1_000]))
def test_it_holds_what_a_dict_holds_and_opened_again_what_was_durable(
    steps: list[tuple[str, bytes, bytes | None]], most_bytes: int, most_waiting: int
) -> None:
    """However little of it is in memory; what is on its way to be durable may change meanwhile."""
    with TemporaryDirectory() as folder:
        store = a_store(Path(folder), most_bytes, most_waiting)
        wanted: dict[bytes, bytes] = {}
        durable: dict[bytes, bytes] = {}
        changed: dict[bytes, None] = {}
        on_its_way: tuple[Changes, dict[bytes, bytes]] | None = None
        epochs = 0
        for step, key, value in steps:
            match step:
                case "set":
                    assert value is not None
                    store[key] = wanted[key] = value
                    changed[key] = None
                case "pop":
                    assert store.pop(key, None) == wanted.pop(key, None)
                    changed[key] = None
                case "get":
                    assert store.get(key) == wanted.get(key)
                    assert (key in store) == (key in wanted)
                case "fetch":
                    store.fetch([key, None, b""])
                case "epoch" if on_its_way is None:
                    store.seal()
                    on_its_way = [*((one, store.get(one)) for one in changed), (b"\0mark", b"1")], dict(wanted)
                    changed.clear()
                case "epoch":
                    assert on_its_way is not None
                    epochs += 1
                    finish(store.keep(on_its_way[0], epochs))
                    durable, on_its_way = on_its_way[1], None
                case _:
                    store.close()
                    store = a_store(Path(folder), most_bytes, most_waiting)
                    assert store.place == epochs
                    wanted, on_its_way = dict(durable), None
                    changed.clear()
            assert len(store) == len(wanted)
        assert dict(store) == wanted
        assert sorted([*reversed(store)]) == sorted(wanted)
        store.close()


def test_the_newest_come_first_backwards(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    for epoch, keys in enumerate((b"fa", b"eb", b"dc"), 1):
        for key in keys:
            store[bytes([key])] = b"x"
        store.seal()
        finish(store.keep([(bytes([key]), store[bytes([key])]) for key in keys], epoch))
    store[b"g"] = b"x"
    assert b"".join(reversed(store)) == b"gcdbeaf"
    store.close()
    assert {*reversed(a_store(tmp_path))} == {b"%c" % letter for letter in b"abcdef"}


def test_what_changes_again_soon_is_written_once_and_a_clean_end_writes_the_rest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []
    writes = Database.write

    def write(self: Database, rows: list[tuple[bytes, bytes | None]]) -> bool:
        written.append(len(rows))
        return writes(self, rows)

    monkeypatch.setattr(Database, "write", write)
    store = a_store(tmp_path, most_waiting=7)
    for epoch in range(1, 5):
        changes: Changes = [
            (b"puid-%d" % (epoch // 2), b"%d" % epoch),
            (b"puid-0", b"%d" % epoch),
            (b"\0p", b"%d" % epoch),
        ]
        for key, value in changes[:2]:
            store[key] = value or b""
        store.seal()
        finish(store.keep(changes, epoch))
    assert (written, store.place) == ([], 0)
    assert dict(store) == {b"puid-0": b"4", b"puid-1": b"3", b"puid-2": b"4"}
    store.close()
    assert written == [5]
    store = a_store(tmp_path)
    assert (store.place, dict(store)) == (4, {b"puid-0": b"4", b"puid-1": b"3", b"puid-2": b"4"})
    store.close()


def test_a_crash_leaves_the_state_of_an_earlier_epoch_whole(tmp_path: Path) -> None:
    """What lies in files only is what a process that is killed leaves; the ages are those of the same epoch."""
    store = a_store(tmp_path)
    epochs: list[dict[bytes, bytes]] = [{}]
    state: dict[bytes, bytes] = {}
    for epoch in range(1, 21):
        changes: Changes = [(b"puid-%d" % epoch, b"%d" % epoch), (b"puid-%d" % (epoch // 2), b"again")]
        for key, value in changes:
            assert value is not None
            if key not in state:
                store.ages.add(key, epoch * HOUR)
            store[key] = state[key] = value
        if epoch % 3 == 0:
            del store[b"puid-%d" % (epoch - 1)], state[b"puid-%d" % (epoch - 1)]
            changes.append((b"puid-%d" % (epoch - 1), None))
        store.seal()
        finish(store.keep(changes, epoch * 10))
        epochs.append(dict(state))
        if epoch % 7 == 0:
            store.database._rocks.flush()
        copytree(tmp_path / "db", tmp_path / f"crash-{epoch}" / "db", ignore=ignore_patterns("LOCK"))
    store.close()
    reached = set()
    for epoch in range(1, 21):
        left = a_store(tmp_path / f"crash-{epoch}")
        reached.add(left.place)
        assert left.place in (0, *range(10, epoch * 10 + 1, 10))
        assert dict(left) == epochs[left.place // 10]
        assert len(left) == len(epochs[left.place // 10])
        assert {key for _, key in left.ages.take(1e9, 1000)} >= set(left)
        left.close()
    assert reached == {0, 70, 140}


# -- ages -------------------------------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), KEYS, st.integers(0, 8)),
            st.tuples(st.just("take"), st.just(b""), st.integers(1, 3)),
            st.tuples(st.just("epoch"), st.just(b""), st.just(0)),
        ),
        max_size=40,
    ),
    st.sampled_from([0, 3]),
)
def test_ages_in_a_database_are_taken_like_those_in_memory(
    steps: list[tuple[str, bytes, int]], most_waiting: int
) -> None:
    """In parts, whatever is written meanwhile: nothing is left, and nothing comes too early."""
    with TemporaryDirectory() as folder:
        store, ages, hour = a_store(Path(folder), most_waiting=most_waiting), Ages(), 0
        wanted: set[tuple[int, bytes]] = set()
        found: set[tuple[int, bytes]] = set()
        for step, key, number in steps:
            match step:
                case "add":
                    store.ages.add(key, number * HOUR + 1)
                    ages.add(key, number * HOUR + 1)
                case "take":
                    hour = min(hour + 1, 9)
                    taken = store.ages.take(hour * HOUR, number)
                    assert all(later <= hour * HOUR for later, _ in taken)
                    found |= set(taken)
                    wanted |= set(ages.take(hour * HOUR, 1000))
                case _:
                    store.seal()
                    finish(store.keep([(b"\0mark", b"1")], 1))
        found |= set(store.ages.take(hour * HOUR, 1000))
        wanted |= set(ages.take(hour * HOUR, 1000))
        assert found == wanted
        store.close()


def test_ages_are_taken_a_list_at_a_time_until_there_are_enough(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    for hour in (2, 1, 3, 4):
        for number in range(5):
            store.ages.add(b"%d-%d" % (hour, number), hour * HOUR)
        store.seal()
        finish(store.keep([], 1))
    store.ages.add(b"young", 0)
    taken = [[later // HOUR - 1 for later, _ in store.ages.take(4 * HOUR, 7)] for _ in range(3)]
    assert taken == [[0] + [1] * 5 + [2] * 5, [3] * 5, []]
    store.close()


def test_what_was_taken_of_ages_is_there_again_after_a_crash_before_its_epoch(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    for number in range(3):
        store[b"%d" % number] = b"x"
        store.ages.add(b"%d" % number, number * HOUR)
    store.seal()
    finish(store.keep([(b"%d" % number, b"x") for number in range(3)], 1))
    assert [key for _, key in store.ages.take(2 * HOUR, 10)] == [b"0", b"1"]
    store.close()  # the epoch in which they were taken is never durable
    store = a_store(tmp_path)
    assert [key for _, key in store.ages.take(2 * HOUR, 10)] == [b"0", b"1"]
    store.seal()
    finish(store.keep([(b"0", None)], 2))
    store.close()
    assert [key for _, key in a_store(tmp_path).ages.take(3 * HOUR, 10)] == [b"2"]


@pytest.mark.parametrize("seconds", [-(10**12), -1, 10**18])
def test_times_that_no_clock_shows_are_taken_as_well(tmp_path: Path, seconds: int) -> None:
    store = a_store(tmp_path)
    store.ages.add(b"a", seconds)
    store.seal()
    finish(store.keep([], 1))
    assert [key for _, key in store.ages.take(1e12, 10)] == ([b"a"] if seconds < 0 else [])
    store.close()


def test_a_store_that_is_only_loaded_forgets_the_ages_of_what_is_gone(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    values = [encode(Exchange(hour * HOUR, [], [], [])) for hour in range(4)]
    finish(store.load({b"%d" % number: values[0] for number in range(6)}, 1))
    finish(store.loaded())
    finish(store.load({b"0": None, b"1": None, b"2": values[3]}, 2))
    finish(store.tidy(HOUR))
    finish(store.tidy(HOUR))
    assert store.ages.take(HOUR, 100) == []
    assert sorted(store.ages.take(9 * HOUR, 100)) == [
        (2 * HOUR, b"3"),
        (2 * HOUR, b"4"),
        (2 * HOUR, b"5"),
        (4 * HOUR, b"2"),
    ]
    store.close()


# -- loading ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first_load", [0, 1, 2])
def test_a_changelog_is_taken_in_from_where_it_stands_and_once_more(tmp_path: Path, first_load: int) -> None:
    """A part of it may come again: what an epoch has written stands at the offset of one before, where that is all that
    is known.
    """
    store = a_store(tmp_path)
    values = [encode(Exchange(hour * HOUR, [], [], [])) for hour in range(4)]
    parts: list[dict[bytes, bytes | None]] = [
        {b"a": values[0], b"\0mark": b"1", b"b": values[1]},
        {b"a": None, b"c": values[2], b"x": None},
        {b"b": values[3], b"\0l1": b"word", b"\0mark": b"2"},
    ]
    for part, place in ((0, 3), (1, 6), (0, 3), (1, 6), (2, 9)):
        finish(store.load(parts[part], place))
        if part == first_load:
            finish(store.loaded())
    for again in (False, True):
        assert (dict(store), len(store), store.place) == ({b"b": values[3], b"c": values[2]}, 2, 9)
        assert store.take_marks() == {b"\0mark": b"2", b"\0l1": b"word"}
        store.note_ages()
        if not again:
            store.close()
            store = a_store(tmp_path)
            assert store.was_kept
    assert {key for _, key in store.ages.take(9 * HOUR, 100)} >= {b"b", b"c"}
    store.close()


def test_what_is_no_exchange_is_told_when_all_is_loaded_and_the_database_goes(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    finish(store.load({b"a": b"?"}, 1))
    finish(store.loaded())
    with pytest.raises(Exception, match=r"MessagePack|malformed|Expected"):
        store.note_ages()
    store.close()
    assert not (tmp_path / "db").exists()


def test_what_is_not_there_is_known_without_a_look_into_the_files_also_when_it_is_opened_again(tmp_path: Path) -> None:
    """By the filters. They stay in memory, and what is read of the files is in the cache that all databases share."""
    store = a_store(tmp_path)
    rows: Changes = [(b"%d" % number, bytes(50)) for number in range(10_000)]
    store.seal()
    finish(store.keep(rows, 1))
    store.close()
    memory = Memory(ONE_MIB)
    database = Database(tmp_path / "db", memory)
    before = memory.cache.get_usage()
    assert database.read([b"no-%d" % number for number in range(50)]) == [None] * 50
    assert memory.cache.get_usage() - before < 30_000
    assert None not in database.read([b"%d" % number for number in range(0, 10_000, 50)])
    assert memory.cache.get_usage() - before > 100_000
    database.close()


# -- trouble ----------------------------------------------------------------------------------------------------------


def test_a_database_that_is_open_is_locked_until_it_is_closed(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    with pytest.raises(LockedError, match="cannot be opened"):
        a_store(tmp_path)
    store.close()
    a_store(tmp_path).close()


def test_what_cannot_be_read_is_an_error_that_names_the_folder_which_goes(tmp_path: Path) -> None:
    store = a_store(tmp_path)
    for number in range(1000):
        store[b"%d" % number] = b"x" * 100
    store.seal()
    finish(store.keep([(b"%d" % number, b"x" * 100) for number in range(1000)], 1))
    store.close()
    for file in (tmp_path / "db").glob("*.sst"):
        content = bytearray(file.read_bytes())
        half = slice(len(content) // 4, len(content) // 2)
        content[half] = bytes(len(content[half]))
        file.write_bytes(content)
    store = a_store(tmp_path)
    with pytest.raises(StoreError, match=rf"the database in {tmp_path}/db cannot be read \(Corruption"):
        dict(store)
    store.close()
    assert not (tmp_path / "db").exists()


def test_a_disk_that_is_full_is_an_error_that_says_so_and_leaves_what_was_durable(tmp_path: Path) -> None:
    """As a process that may not write files beyond a size: then no file grows any more."""
    code = f"""
import asyncio, resource
from pathlib import Path
from app.core.join.store import StoreError
from tests.worker.store.test_rocks import a_store
store = a_store(Path({str(tmp_path)!r}))
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))
for epoch in range(1, 1000):
    changes = [(b"%d" % (epoch * 1000 + number), bytes(200)) for number in range(1000)]
    for key, value in changes:
        store[key] = value
    store.seal()
    try:
        asyncio.run(store.keep(changes, epoch))
    except StoreError as error:
        print(error)
        break
store.close()
"""
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=True).stdout
    assert f"the database in {tmp_path}/db cannot be written (IO error: " in told
    store = a_store(tmp_path)
    assert len(store) == store.place * 1000
    assert sum(1 for _ in store) == len(store)
    store.close()


def test_a_folder_that_goes_before_it_is_filled_is_an_error_that_names_it(tmp_path: Path) -> None:
    database = Database(tmp_path / "0", Memory(ONE_MIB))
    remove(tmp_path / "0")
    for switch in (database.begin_loading, database.end_loading):
        with pytest.raises(StoreError, match=f"the database in {tmp_path / '0'} cannot be written"):
            switch()
    database.close()
