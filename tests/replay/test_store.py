"""A store that spills says what a dict says."""

import re
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.join.ages import HOUR, Ages
from app.core.join.store import StoreError
from app.replay.store import SpillingStore, spilling_store

KEYS = st.integers(0, 12).map(lambda number: f"puid-{number}".encode())
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("set"), KEYS, st.binary(max_size=8)),
        st.tuples(st.just("pop"), KEYS, st.none()),
        st.tuples(st.just("get"), KEYS, st.none()),
    ),
    max_size=80,
)


@given(STEPS, st.integers(2, 9))
def test_it_holds_what_a_dict_holds(steps: list[tuple[str, bytes, bytes | None]], most: int) -> None:
    wanted: dict[bytes, bytes] = {}
    with tempfile.TemporaryDirectory() as folder, spilling_store(Path(folder), most) as store:
        for step, key, value in steps:
            if step == "set":
                assert value is not None
                store[key] = wanted[key] = value
            elif step == "pop":
                assert store.pop(key, None) == wanted.pop(key, None)
            else:
                assert store.get(key) == wanted.get(key)
                assert (key in store) == (key in wanted)
            assert len(store) == len(wanted)
        assert dict(store) == wanted


def test_what_is_not_touched_goes_to_a_file_that_is_gone_at_the_end(tmp_path: Path) -> None:
    with spilling_store(tmp_path, 4) as store:
        assert not [*tmp_path.rglob("*.sqlite")]
        for number in range(100):
            store[b"%d" % number] = b"x"
        assert [*tmp_path.rglob("*.sqlite")]
        assert in_memory(store) <= 4
        assert len(dict(store)) == 100
    assert not [*tmp_path.iterdir()]


def in_memory(store: SpillingStore) -> int:
    return len(store._young) + len(store._old)


AGES = st.lists(st.tuples(KEYS, st.integers(0, 9 * HOUR)), max_size=60)


@given(AGES, st.integers(0, 10 * HOUR), st.integers(1, 9))
def test_it_knows_the_ages_that_are_known_in_memory(ages: list[tuple[bytes, int]], edge: int, most: int) -> None:
    wanted = Ages()
    with tempfile.TemporaryDirectory() as folder, spilling_store(Path(folder), most) as store:
        for key, seconds in ages:
            store.ages.add(key, seconds)
            wanted.add(key, seconds)
        some = store.ages.take(edge, 3)
        rest = store.ages.take(edge, len(ages) + 1)
        assert sorted(some + rest) == sorted(wanted.take(edge, len(ages) + 1))
        assert len(some) == min(3, len(some + rest))
        assert sorted(store.ages.take(20 * HOUR, len(ages) + 1)) == sorted(wanted.take(20 * HOUR, len(ages) + 1))


@given(STEPS, st.lists(KEYS, max_size=8), st.integers(2, 9))
def test_what_is_fetched_is_looked_up_as_it_was_put_whatever_is_put_meanwhile(
    steps: list[tuple[str, bytes, bytes | None]], fetched: list[bytes], most: int
) -> None:
    with tempfile.TemporaryDirectory() as folder, spilling_store(Path(folder), most) as store:
        wanted = {key: value for step, key, value in steps if value is not None}
        store.put(wanted)
        kept = store.fetch([*fetched, None])
        assert [kept(key) for key in fetched] == [wanted.get(key) for key in fetched]
        more = {b"other-%d" % number: b"x" for number in range(9)}
        store.put(more)
        assert [kept(key) for key in fetched] == [wanted.get(key) for key in fetched]
        store.put(dict.fromkeys(fetched, b"new"))
        assert len(store) == len({*wanted, *more, *fetched})


def test_a_look_at_all_brings_nothing_to_memory(tmp_path: Path) -> None:
    with spilling_store(tmp_path, 4) as store:
        for number in range(100):
            store[b"%d" % number] = b"x"
        assert len([*store.values()]) == len([*store.items()]) == 100
        assert in_memory(store) <= 4


def test_a_folder_that_cannot_be_written_is_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError) as error, spilling_store(tmp_path / "file"):
        pass
    assert re.fullmatch(
        rf"What has no room in memory cannot be kept in {tmp_path}/file \(.*\): make room there, or name another "
        r"folder with TALLY_DATA_DIR\.",
        str(error.value),
    )


def test_a_full_disk_is_no_bug(tmp_path: Path) -> None:
    with spilling_store(tmp_path, 4) as store:
        for number in range(10):
            store[b"%d" % number] = b"x"
        store._scratch.ask("PRAGMA max_page_count = 1")  # SQLite says then what it says of a full disk
        with pytest.raises(StoreError, match=r"\(database or disk is full\): make room there"):
            store.put({b"%d" % number: b"x" * 100 for number in range(10_000)})
