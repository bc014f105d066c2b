"""The view in steps: what is added up bit by bit is what is added up at once, whoever reads in between."""

from collections.abc import Iterator

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.counts import view as views
from app.core.counts.accounts import Account
from app.core.counts.panes import PaneClock, Window
from app.core.counts.rows import RowKey, row_key
from app.core.counts.view import View
from app.core.events import Identity

WHO = Identity("", "", "", "model", "")
WINDOWS = (Window("1m", 60), Window("5m", 300), Window("3h", 10800))
NOW = 36000.0


def told(view: View, rows: list[tuple[int, str, int]], seconds: float = NOW) -> None:
    """Counts of one class each, so many panes ago."""
    for ago, column, amount in rows:
        key = row_key(RowKey(WHO, "", "fine", int(seconds // 60) - ago, "confusion=a"))
        view.apply(0, key, orjson.dumps({column: amount}))


def everything(view: View, now: float) -> list[object]:
    account = Account(WHO)
    return [view.total(account), *(view.window(account, window, now) for window in WINDOWS)]


rows = st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abc"), st.integers(0, 3)), max_size=12)
times = st.lists(st.tuples(rows, st.integers(0, 700), st.integers(0, 6)), max_size=6)


@pytest.fixture(autouse=True, scope="module")
def _in_small_parts() -> Iterator[None]:
    most, views._PART = views._PART, 2  # type: ignore[misc]
    yield
    views._PART = most  # type: ignore[misc]


@given(times)
def test_bit_by_bit_is_as_at_once(times: list[tuple[list[tuple[int, str, int]], int, int]]) -> None:
    slow, fast = View(PaneClock(), WINDOWS), View(PaneClock(), WINDOWS)
    now = NOW
    for some, later, steps in times:
        now += later
        for view in (slow, fast):
            told(view, some, now)
        prepared = slow.prepare(Account(WHO), now)
        for _ in range(steps):
            next(prepared, None)
        assert everything(slow, now) == everything(fast, now)


@given(times)
def test_of_one_version_there_are_no_two_contents(times: list[tuple[list[tuple[int, str, int]], int, int]]) -> None:
    view = View(PaneClock(), WINDOWS)
    seen: dict[object, object] = {}
    now = NOW
    for some, later, _ in times:
        now += later
        told(view, some, now)
        before = view.version(Account(WHO), now)
        content = orjson.dumps([str(sums) for sums in everything(view, now)])
        for version in (before, view.version(Account(WHO), now)):
            assert seen.setdefault(version, content) == content


def test_a_pane_that_goes_by_without_counts_is_no_other_version() -> None:
    view = View(PaneClock(), WINDOWS)
    told(view, [(0, "a", 1)])
    everything(view, NOW)
    version = view.version(Account(WHO), NOW)
    assert view.version(Account(WHO), NOW + 60) == version
    assert view.version(Account(WHO), NOW + 120) != version  # it leaves the smallest window
    everything(view, NOW + 120)
    version = view.version(Account(WHO), NOW + 120)
    assert view.version(Account(WHO), NOW + 180) == version
    assert view.version(Account(WHO), NOW + 600) != version
