"""A store that spills says what a dict says."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

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
