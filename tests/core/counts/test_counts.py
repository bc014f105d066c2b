"""Counts in their panes: each change is written once, and nothing is lost or doubled when panes retire."""

from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.counts import counts as module
from app.core.counts.accounts import Account, Pair
from app.core.counts.atoms import Atom
from app.core.counts.cells import Latest
from app.core.counts.counts import Counts
from app.core.counts.numbers import Numbers
from app.core.counts.panes import COARSE, DAY, FINE, TOTAL, PaneClock, Window
from app.core.counts.rows import Note, RowKey, parse_key
from app.core.counts.view import View
from app.core.events import Identity

ONE, OTHER = Identity("ns", "svc", "default", "m", ""), Identity("ns", "svc", "shadow", "m", "v2")
ACCOUNTS = (Account(ONE), Account(OTHER, "country=DE"), Account(Pair(ONE, OTHER)))
ATOMS = (Atom("exchanges", "request"), Atom("confusion=1", "0"), Atom("confusion=1", "1"), Atom("rewards", "points"))
GAUGE = Atom("gauges", "temperature")
CLOCK = PaneClock(pane_seconds=60, retention_seconds=6 * 3600)
WINDOWS = (Window("5m", 300), Window("3h", 10800))
FIRST = 10_000  # a fine pane, the first of a coarse one
NOW = FIRST * 60.0


class Partition:
    """The counts of one partition, its changelog, and the view of whoever reads it."""

    def __init__(self, clock: PaneClock = CLOCK) -> None:
        self.clock = clock
        self.changelog: dict[bytes, bytes] = {}
        self.view = View(clock, WINDOWS)
        self.recover()

    def recover(self) -> None:
        """Begin from what is written."""
        self.numbers = Numbers()
        self.counts = Counts(0, self.clock, self.numbers)
        self.counts.recover(self.changelog.items())

    def change(self, clock: PaneClock) -> None:
        """Begin from what is written, with other settings; so do readers."""
        self.clock = clock
        self.recover()
        self.view = View(clock, WINDOWS)
        for key, value in self.changelog.items():
            self.view.take(0, key, value)

    def count(self, account: Account, pane: int, amounts: dict[Atom, int]) -> None:
        at = self.numbers.account(account), FIRST + pane
        self.counts.add({at: {self.numbers.atom(atom): amount for atom, amount in amounts.items()}})

    def cut(self) -> list[tuple[bytes, bytes | None]]:
        """Write what has changed, and let the view take it."""
        records = list(self.counts.changes(900_000))
        for key, value in records:
            self.changelog.pop(key, None)
            if value is not None:
                self.changelog[key] = value
            self.view.take(0, key, value)
        return records


amounts = st.dictionaries(st.sampled_from(ATOMS), st.integers(-3, 3), min_size=1)
steps = st.one_of(
    st.tuples(st.just("count"), st.sampled_from(ACCOUNTS), st.integers(-600, 200), amounts),
    st.tuples(st.just("clock"), st.integers(-60, 24 * 60)),
    st.tuples(st.just("cut")),
    st.tuples(st.just("recover")),
)


def flat(sums: dict[str, dict[tuple[str, str], Any]]) -> dict[tuple[str, str], Any]:
    return {cell: amount for cells in sums.values() for cell, amount in cells.items()}


@pytest.mark.parametrize("together", [0, 3, 128])
@given(story=st.lists(steps, max_size=30))
def test_totals_and_panes_are_the_sums_of_what_was_counted_in_them(together: int, story: list[Any]) -> None:
    """Whatever retires meanwhile, and from whatever changelog it goes on; `together` cells share a record."""
    partition = Partition()
    minutes = -60
    wanted: dict[tuple[Account, str, int], Counter[Atom]] = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_CELLS_TOGETHER", together)
        for what, *of in story:
            if what == "count":
                account, pane, changes = of
                partition.count(account, pane, changes)
                for level, number in ((TOTAL, 0), (COARSE, (FIRST + pane) // 10), (FINE, FIRST + pane)):
                    if not CLOCK.retired(level, number, partition.counts.latest):
                        wanted.setdefault((account, level, number), Counter()).update(changes)
            elif what == "clock":
                minutes = max(minutes, of[0])
                partition.counts.retire(NOW + minutes * 60)
            else:
                partition.cut()
                if what == "recover":
                    partition.recover()
                    partition.counts.retire(NOW + minutes * 60)
        partition.cut()
    for (account, level, pane), sums in wanted.items():
        if not CLOCK.retired(level, pane, partition.counts.latest):
            view = partition.view
            found = view.total(account) if level == TOTAL else view.panes(account, level, range(pane, pane + 1))
            assert flat(found) == {atom: amount for atom, amount in sums.items() if amount}, (account, level, pane)


HOUR, A_DAY = 3600, 86400
#: Without days, and with days after six hours, which are kept for two or for five days.
CLOCKS = (CLOCK, PaneClock(60, 2 * A_DAY, days_after=6 * HOUR), PaneClock(60, 5 * A_DAY, days_after=6 * HOUR))
LENGTHS = {FINE: 60, COARSE: 600, DAY: A_DAY}
#: By clock how long each level is kept.
KEPT = [{FINE: 2 * HOUR, COARSE: 6 * HOUR, DAY: kept} for kept in (0, 2 * A_DAY, 5 * A_DAY)]
long_steps = st.one_of(
    st.tuples(st.just("count"), st.sampled_from(ACCOUNTS), st.integers(-2 * 1440, 200), amounts),
    st.tuples(st.just("clock"), st.integers(-60, 7 * 1440)),
    st.tuples(st.just("cut")),
    st.tuples(st.just("change"), st.sampled_from(range(len(CLOCKS)))),
)


def held(place: tuple[str, int] | None, settings: int, now: float) -> tuple[str, int] | None:
    """Where a single count stands at a time, by these settings, that stood there; None is the total."""
    while place is not None:
        level, pane = place
        end = (pane + 1) * LENGTHS[level]
        if end + KEPT[settings][level] > now and not (level == DAY and settings == 0):
            return place
        place = {FINE: (COARSE, pane // 10), COARSE: (DAY, pane // 144), DAY: None}[level]
        if place is not None and place[0] == DAY and settings == 0:
            place = None
    return None


@pytest.mark.parametrize("together", [0, 128])
@given(first=st.sampled_from(range(len(CLOCKS))), story=st.lists(long_steps, max_size=30))
def test_with_days_and_with_settings_that_change_each_count_stands_where_the_settings_say(
    together: int, first: int, story: list[Any]
) -> None:
    """Against a list of single counts that move one by one. What a change of settings finds in the total stays."""
    partition, settings = Partition(CLOCKS[first]), first
    single: list[tuple[Account, tuple[str, int] | None, dict[Atom, int]]] = []
    now = 0.0

    def move() -> None:
        single[:] = [(account, held(place, settings, now), changes) for account, place, changes in single]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "MOST_CELLS_TOGETHER", together)
        for what, *of in story:
            if what == "count":
                account, pane, changes = of
                partition.count(account, pane, changes)
                single.append((account, held((FINE, FIRST + pane), settings, now), changes))
            elif what == "clock":
                now = max(now, NOW + of[0] * 60)
                partition.counts.retire(now)
                move()
            else:
                partition.cut()
                if what == "change":
                    (settings,) = of
                    partition.change(CLOCKS[settings])
                    partition.counts.retire(now)
                    move()
        partition.cut()
    wanted: dict[tuple[Account, str, int], Counter[Atom]] = {}
    for account, stands, changes in single:
        wanted.setdefault((account, TOTAL, 0), Counter()).update(changes)
        place = stands
        while place is not None:
            level, pane = place
            wanted.setdefault((account, level, pane), Counter()).update(changes)
            place = {FINE: (COARSE, pane // 10), COARSE: (DAY, pane // 144) if settings else None, DAY: None}[level]
    view = partition.view
    found = {(account, TOTAL, 0): flat(view.total(account)) for account in ACCOUNTS}
    for account in ACCOUNTS:
        for level, pane in view.counted_panes(account):
            found[account, level, pane] = flat(view.panes(account, level, range(pane, pane + 1)))
    sums = {at: {atom: amount for atom, amount in cells.items() if amount} for at, cells in wanted.items()}
    assert {at: cells for at, cells in found.items() if cells} == {at: cells for at, cells in sums.items() if cells}


def test_days_come_in_with_all_that_is_still_kept_and_nothing_is_lost_where_they_are_given_up() -> None:
    """So a state of a worker without days is read as it is."""
    partition = Partition(PaneClock(60, 40 * A_DAY))
    for day in range(40):
        partition.count(ACCOUNTS[0], -1440 * day, {ATOMS[0]: 1})
    partition.counts.retire(NOW)
    partition.cut()
    levels = Counter(level for _, level, _, _, _ in partition.counts.cells())
    assert levels == {FINE: 1, COARSE: 39}
    partition.change(PaneClock(60, 31 * A_DAY, days_after=25 * HOUR))
    window = Window("30d", 30 * A_DAY)
    assert partition.clock.level(window) == DAY
    view = View(partition.clock, (window,))
    partition.view = view
    for key, value in partition.changelog.items():
        view.take(0, key, value)
    assert flat(view.window(ACCOUNTS[0], window, NOW)) == {ATOMS[0]: 31}
    partition.counts.retire(NOW)
    partition.cut()
    assert Counter(level for _, level, _, _, _ in partition.counts.cells()) == {FINE: 1, COARSE: 1, DAY: 30, TOTAL: 1}
    assert flat(view.window(ACCOUNTS[0], window, NOW)) == {ATOMS[0]: 31}
    partition.change(PaneClock(60, 31 * A_DAY))
    partition.counts.retire(NOW)
    partition.cut()
    assert Counter(level for _, level, _, _, _ in partition.counts.cells()) == {FINE: 1, COARSE: 1, TOTAL: 1}
    assert flat(partition.view.total(ACCOUNTS[0])) == {ATOMS[0]: 40}


def test_each_change_is_written_once() -> None:
    partition = Partition()
    partition.count(ACCOUNTS[0], 0, {ATOMS[0]: 1, ATOMS[1]: 2})
    keys = [parse_key(key) for key, _ in partition.cut()]
    assert keys == [RowKey(ONE, "", FINE, FIRST, ""), ONE, Note.END]
    assert flat(partition.view.total(ACCOUNTS[0])) == {ATOMS[0]: 1, ATOMS[1]: 2}


def test_a_pane_that_is_too_large_for_a_record_has_one_for_each_row() -> None:
    rows = [Atom(f"confusion={number:0100}", "0") for number in range(20)]
    partition = Partition()
    partition.count(ACCOUNTS[0], 0, dict.fromkeys(rows, 1))
    records = {key: value for key, value in partition.counts.changes(1000) if isinstance(parse_key(key), RowKey)}
    assert len(records) == 20
    assert all(len(key) + len(value or b"") <= 1000 for key, value in records.items())
    partition = Partition()
    partition.count(ACCOUNTS[0], 0, dict.fromkeys(rows, 1))
    assert sum(isinstance(parse_key(key), RowKey) for key, _ in partition.counts.changes(10_000)) == 1


def test_a_pane_of_many_cells_has_a_record_for_each_row_that_changes() -> None:
    partition = Partition()
    for actual in range(12):
        partition.count(ACCOUNTS[0], 0, {Atom(f"confusion={actual}", str(predicted)): 1 for predicted in range(12)})
    rows = {key.row for raw, value in partition.cut() if value and isinstance(key := parse_key(raw), RowKey)}
    assert rows == {f"confusion={actual}" for actual in range(12)}
    partition.recover()
    partition.count(ACCOUNTS[0], 0, {Atom("confusion=3", "4"): 1})
    keys = [parse_key(raw) for raw, _ in partition.cut()]
    assert [key.row for key in keys if isinstance(key, RowKey)] == ["confusion=3"]
    assert flat(partition.view.total(ACCOUNTS[0]))["confusion=3", "4"] == 2


def test_an_epoch_is_taken_as_a_whole() -> None:
    """Else a scrape between two records of a pane that retires would miss what moves, or see it twice."""
    partition = Partition()
    partition.count(ACCOUNTS[0], 0, {ATOMS[0]: 5})
    partition.cut()
    partition.counts.retire(NOW + 3 * 3600)
    seen = []
    for key, value in partition.counts.changes(900_000):
        partition.view.take(0, key, value)
        seen.append(flat(partition.view.total(ACCOUNTS[0])))
    assert len(seen) > 2
    assert seen == [{ATOMS[0]: 5}] * len(seen)


def test_what_only_moves_touches_nothing() -> None:
    partition = Partition()
    partition.count(ACCOUNTS[0], 0, {ATOMS[0]: 5})
    partition.cut()
    partition.view.take_touched()
    partition.counts.retire(NOW + 3 * 3600)
    partition.cut()
    assert partition.view.take_touched() == {(ACCOUNTS[0], FINE, FIRST)}


def test_many_panes_retire_over_several_epochs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_MOVES", 2)
    partition = Partition()
    for pane in range(5):
        partition.count(ACCOUNTS[0], pane, {ATOMS[0]: 1})
    partition.cut()
    left = []
    for _ in range(4):
        partition.counts.retire(NOW + 3 * 3600)
        partition.cut()
        left.append(sum(level == FINE for _, level, _, _, _ in partition.counts.cells()))
        assert flat(partition.view.total(ACCOUNTS[0])) == {ATOMS[0]: 5}
    assert left == [3, 1, 0, 0]


def test_the_latest_of_a_pane_is_that_of_all_partitions_and_moves_with_it() -> None:
    view = View(CLOCK, WINDOWS)
    values = (Latest(5, 1, 20.5), Latest(7, 1, 21.5))
    for number, value in enumerate(values):
        partition = Partition()
        partition.view = view
        partition.counts.note(partition.numbers.account(ACCOUNTS[0]), FIRST, {GAUGE: value})
        for key, record in partition.counts.changes(900_000):
            view.take(number, key, record)
    for found in (
        view.total(ACCOUNTS[0]),
        view.window(ACCOUNTS[0], WINDOWS[0], NOW),
        view.window(ACCOUNTS[0], WINDOWS[1], NOW),
        view.panes(ACCOUNTS[0], COARSE, range(FIRST // 10, FIRST // 10 + 1)),
    ):
        assert flat(found) == {GAUGE: values[1]}
    assert flat(view.window(ACCOUNTS[0], WINDOWS[0], NOW + 3600)) == {}
    partition.counts.retire(NOW + 3 * 3600)
    for key, record in partition.counts.changes(900_000):
        view.take(1, key, record)
    assert flat(view.window(ACCOUNTS[0], WINDOWS[1], NOW)) == {GAUGE: values[1]}
    view.forget(1)
    assert flat(view.total(ACCOUNTS[0])) == {GAUGE: values[0]}
    view.forget(0)
    assert view.total(ACCOUNTS[0]) == {}


def test_the_number_of_an_epoch_goes_on_after_a_restart() -> None:
    partition = Partition()
    ends = []
    for _ in range(2):
        partition.count(ACCOUNTS[0], 0, {ATOMS[0]: 1})
        ends += [orjson.loads(value or b"") for key, value in partition.cut() if parse_key(key) is Note.END]
        partition.recover()
    assert ends == [1, 2]
