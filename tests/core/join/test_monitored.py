"""Results of monitors are parts of the exchange: they count with the answer that they speak of, once."""

from itertools import permutations
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.events import Reason
from app.core.join import monitored
from app.core.limits import Limits
from app.core.measures.monitors import (
    ALERT,
    FAILED,
    MONITORS,
    OK,
    MonitorCounts,
    Scored,
    all_failed,
    amounts_of,
    entry,
    head_of,
    unpacked,
)
from app.core.measures.reading import Alerting, Nature
from app.core.monitors import AlertWhen, Code, Monitor, MonitorSpec
from app.core.rules import Rules
from tests.builders import (
    MODEL,
    START,
    Ledger,
    Record,
    a_feedback,
    a_request,
    a_response,
    a_result,
    run,
    time_text,
    ways,
)

SPEC = MonitorSpec("odd", "v1", AlertWhen(">", 0.5), hold=2)


def monitors(ledger: Ledger, window: str = "total", model: str = MODEL) -> dict[str, MonitorCounts]:
    return dict(MONITORS.of(ledger.models(window)[model].reading))


def outcomes(ledger: Ledger, window: str = "total") -> dict[str, tuple[int, int, int]]:
    return {key: counts.outcomes for key, counts in monitors(ledger, window).items()}


STORY = [a_request(), a_response([0.1], [0.9], [0.2]), a_result(0.25, 0.75, None), a_feedback([0, 1, 0], at=1.0)]


def test_rows_count_by_outcome_and_values_have_their_statistics() -> None:
    counts = monitors(Ledger().absorb(*STORY).cut())["odd@v1"]
    assert counts.outcomes == (1, 1, 1)
    assert counts.valued == 2
    assert counts.mean == 0.5
    stats = counts.stats()
    assert stats["p50"] == pytest.approx(0.25, rel=1 / 64)
    assert stats["p95"] == pytest.approx(0.75, rel=1 / 64)


@pytest.mark.parametrize("order", [*permutations(range(4))])
def test_order_and_repetition_do_not_matter(order: tuple[int, ...]) -> None:
    whole = Ledger().absorb(*STORY).cut()
    records = [STORY[place] for place in order]
    for how, sent, batches in ways(records):
        again = run(sent, batches)
        assert again.totals() == whole.totals(), how
        assert again.rows() == whole.rows(), how


def test_beside_a_result_all_else_counts_as_without_it() -> None:
    def others(ledger: Ledger) -> dict[Any, Any]:
        return {key: cells for key, cells in ledger.rows().items() if not key.row.startswith("monitors")}

    for story in (STORY, [a_request(), a_response(1), a_result(0.1), a_feedback(1)]):
        assert (
            others(Ledger().absorb(*story).cut())
            == Ledger().absorb(*(one for one in story if one != story[2])).cut().rows()
        )


def test_a_row_that_is_scored_again_by_the_same_version_counts_once() -> None:
    ledger = Ledger().absorb(a_response(1), a_result(0.25), a_result(0.75)).cut()
    assert sum(outcomes(ledger)["odd@v1"]) == 1
    other = Ledger().absorb(a_response(1), a_result(0.75), a_result(0.25)).cut()
    assert other.totals() == ledger.totals()


def test_of_two_results_on_one_answer_that_with_the_later_request_holds() -> None:
    def scored(value: float, **more: Any) -> Record:
        return a_result(body={"monitor": "odd", "version": "v1", "values": [value], "outcomes": ["ok"], **more})

    results = [scored(0.0), *(scored(second / 8, request_time=time_text(second)) for second in range(1, 4))]
    for order in permutations([a_response(1), *results]):
        assert monitors(Ledger().absorb(*order).cut())["odd@v1"].mean == 0.375


def test_a_result_in_short_says_that_all_rows_have_failed_and_is_taken_back_as_any_other() -> None:
    short = {"monitor": "odd", "version": "v1", "failed": 3, "why": "it is too large"}
    ledger = Ledger().absorb(a_response(1, 0, 1), a_result(body=short)).cut()
    assert outcomes(ledger) == {"odd@v1": (0, 0, 3)}
    assert [row["outcome"] for row in ledger.describe()["monitors"][0]["rows"]] == ["failed"] * 3
    ledger.restart()
    ledger.absorb(a_response(1, 0, 1, at=9.0), a_result(0.25, 0.75, 0.25, at=9.0)).cut()
    assert outcomes(ledger) == {"odd@v1": (2, 1, 0)}


@pytest.mark.parametrize("name", ["odd", "other"])
def test_a_result_for_which_the_exchange_has_no_room_counts_its_rows_as_failed(name: str) -> None:
    rows = Limits().exchange_bytes // 9
    answer = a_response(*[1] * rows)
    first, large = a_result(0.25, at=-1), a_result(*[0.75] * rows, name=name)
    for records in ([answer, first, large], [first, large, answer], [answer, large, first, large]):
        ledger = Ledger(logs=True).absorb(*records).cut()
        assert outcomes(ledger)[f"{name}@v1"] == (0, 0, rows)
        assert not ledger.refusals
        ((_, log),) = ledger.logged
        told = [part["payload"] for part in orjson.loads(log)["parts"] if part["kind"] == "monitor"]
        said = next(one for one in told if "failed" in one)
        assert said["failed"] == rows
        assert said["why"] == f"the exchange would grow beyond {Limits().exchange_bytes} bytes"


def test_another_version_counts_beside_it() -> None:
    ledger = Ledger().absorb(a_response(1), a_result(0.25), a_result(0.75, version="v2")).cut()
    assert outcomes(ledger) == {"odd@v1": (1, 0, 0), "odd@v2": (0, 1, 0)}


def test_the_result_of_a_later_answer_takes_the_place_of_the_one_before() -> None:
    records = [a_response(1), a_result(0.25), a_response(2, at=5.0), a_result(0.75, at=5.0)]
    for order in permutations(records):
        assert outcomes(Ledger().absorb(*order).cut()) == {"odd@v1": (0, 1, 0)}


def test_a_result_falls_in_the_pane_of_its_answer_whenever_it_comes() -> None:
    ledger = Ledger().absorb(a_response(1, at=30.0), a_result(0.25, at=30.0, stamp=4000.0)).cut()
    assert sum(cells.get("ok", 0) for key, cells in ledger.rows().items() if key.pane == START // 60) == 1
    assert outcomes(ledger, "5m") == {"odd@v1": (1, 0, 0)}


def test_a_result_without_its_answer_counts_by_itself_and_moves_to_it() -> None:
    ledger = Ledger().absorb(a_result(0.25)).cut()
    assert outcomes(ledger) == {"odd@v1": (1, 0, 0)}
    ledger.absorb(a_response(1, version="7")).cut()
    assert list(ledger.models()) == [f"{MODEL}@7"]


def test_after_a_restart_a_result_is_taken_back_as_it_was_counted() -> None:
    ledger = Ledger().absorb(*STORY).cut()
    ledger.restart()
    ledger.absorb(a_response([1.0], at=9.0), a_result(0.75, at=9.0)).cut()
    assert outcomes(ledger) == {"odd@v1": (0, 1, 0)}
    assert monitors(ledger)["odd@v1"].mean == 0.75


def test_an_exchange_is_described_with_its_results() -> None:
    ledger = Ledger().absorb(*STORY).cut()
    assert ledger.describe()["monitors"] == [
        {
            "monitor": "odd",
            "version": "v1",
            "leg": MODEL,
            "rows": [
                {"outcome": "ok", "value": 0.25},
                {"outcome": "alert", "value": 0.75},
                {"outcome": "failed", "value": None},
            ],
        }
    ]
    assert "monitors" not in Ledger().absorb(a_response(1)).cut().describe()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ([], Reason.NOT_AN_OBJECT),
        ({}, Reason.BAD_PAYLOAD),
        ({"monitor": "a b", "version": "1", "values": [1], "outcomes": ["ok"]}, Reason.BAD_PAYLOAD),
        ({"monitor": "a", "values": [1], "outcomes": ["ok"]}, Reason.BAD_PAYLOAD),
        ({"monitor": "a", "version": "x" * 65, "values": [1], "outcomes": ["ok"]}, Reason.BAD_PAYLOAD),
        ({"monitor": "a", "version": "1@2", "values": [1], "outcomes": ["ok"]}, Reason.BAD_PAYLOAD),
        ({"monitor": "a", "version": "1", "values": [1, 2], "outcomes": ["ok"]}, Reason.RAGGED),
        ({"monitor": "a", "version": "1", "values": [], "outcomes": []}, Reason.EMPTY),
        ({"monitor": "a", "version": "1", "values": ["1"], "outcomes": ["ok"]}, Reason.NOT_FINITE),
        ({"monitor": "a", "version": "1", "values": [True], "outcomes": ["ok"]}, Reason.NOT_FINITE),
        ({"monitor": "a", "version": "1", "values": [1], "outcomes": ["fine"]}, Reason.BAD_PAYLOAD),
        ({"monitor": "a", "version": "1", "values": [1], "outcomes": [[]]}, Reason.BAD_PAYLOAD),
        *[({"monitor": "a", "version": "1", "failed": 1, "request_time": time}, Reason.BAD_PAYLOAD)
          for time in ("", "yesterday", "7", 7)],
        *[({"monitor": "a", "version": "1", "failed": rows}, Reason.BAD_PAYLOAD)
          for rows in (0, -1, True, 1.0, "3", None, [1], 256_001)],
    ],
)  # fmt: skip
def test_what_is_no_result_is_refused(body: Any, reason: Reason) -> None:
    assert Ledger().absorb(a_result(body=body)).cut().refusals == [reason]


def test_a_monitor_alerts_by_the_panes_of_the_shortest_window() -> None:
    rules = Rules(monitors=(Monitor(SPEC, Code("function", "m:f")),))
    ledger = (
        Ledger(rules)
        .absorb(a_response(1), a_result(0.75), a_response(1, puid="q", at=200.0), a_result(0.75, puid="q", at=200.0))
        .cut()
    )

    def alerting(now: float) -> tuple[Alerting, ...]:
        return ledger.models(now=now)[MODEL].reading.monitors

    assert alerting(100) == (Alerting(SPEC, alerting=False),)
    assert alerting(210) == (Alerting(SPEC, alerting=True),)
    assert alerting(500) == (Alerting(SPEC, alerting=True),)  # until no row of the last five minutes alerts
    assert alerting(600) == (Alerting(SPEC, alerting=False),)


rows: st.SearchStrategy[list[Scored]] = st.lists(
    st.sampled_from([(OK, None), (FAILED, None)])
    | st.tuples(st.sampled_from([OK, ALERT]), st.floats(allow_nan=False, allow_infinity=False)),
    max_size=5,
)


def packed(rows: list[Scored]) -> bytes:
    return head_of("a@1") + b"".join(entry(*row) for row in rows)


@given(rows=rows)
def test_what_is_kept_of_a_result_is_read_again(rows: list[Scored]) -> None:
    assert unpacked(packed(rows)) == ("a@1", rows)


@given(results=st.lists(rows, max_size=3))
def test_results_add_up_in_any_order_to_their_statistics(results: list[list[Scored]]) -> None:
    sums: dict[tuple[str, str], int] = {}
    for result in results:
        for atom, amount in amounts_of(packed(result)):
            assert type(amount) is int
            sums[atom] = sums.get(atom, 0) + amount
    counts = MONITORS.read(sums, Nature("unknown")).get("a@1")
    scored = [row for result in results for row in result]
    values = sorted(value for _, value in scored if value is not None)
    if counts is None:
        assert not scored
        return
    assert counts.outcomes == tuple(sum(own == outcome for own, _ in scored) for outcome in (OK, ALERT, FAILED))
    if values:
        for percent in (50, 95):
            exact = values[max(1, -(-percent * len(values) // 100)) - 1]
            assert counts.value_at(percent) == pytest.approx(exact, rel=1 / 64, abs=2.0**-80)
    else:
        assert counts.mean is counts.value_at(50) is None


@given(results=st.lists(rows.map(packed) | st.integers(1, 5).map(lambda count: all_failed("a@1", count)), max_size=4))
def test_results_of_one_monitor_add_up_together_to_what_they_are_one_by_one(results: list[bytes]) -> None:
    sums: dict[tuple[str, str], int] = {}
    for result in results:
        for atom, amount in amounts_of(result):
            sums[atom] = sums.get(atom, 0) + amount
    head = head_of("a@1")
    together = dict(amounts_of(head + b"".join(result.removeprefix(head) for result in results)))
    # A sum of 0 is said, or not.
    assert {atom: amount for atom, amount in together.items() if amount} == {a: n for a, n in sums.items() if n}


def test_results_that_are_many_are_added_up_before_the_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    def told() -> dict[str, tuple[int, int, int]]:
        ledger = Ledger()
        for number in range(5):
            ledger.absorb(a_response(1, puid=f"p{number}"), a_result(0.75, puid=f"p{number}"))
        return outcomes(ledger.cut())

    at_once = told()
    monkeypatch.setattr(monitored, "_MOST_BYTES", 10)
    assert told() == at_once
    assert sum(map(sum, at_once.values())) == 5


def test_the_example_of_the_docstring_is_a_result() -> None:
    body = orjson.loads(
        '{"monitor": "outliers", "version": "3f2a9c01", "request_time": "2026-11-21T07:00:00Z", '
        '"values": [0.31, null], "outcomes": ["ok", "failed"], "why": {"1": "it gave NaN"}}'
    )
    ledger = Ledger().absorb(a_response(1, 0), a_result(body=body)).cut()
    assert outcomes(ledger) == {"outliers@3f2a9c01": (1, 0, 1)}
