"""What a line of a file of labels states, whatever form the file has; and of what cannot be used, why."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.cli.labels.statements import LEG, Stated, Statements, micros_of
from app.cli.labels.tables import Piece
from app.core.clock import parse_time
from app.core.dialects.plain import canonical_feedback
from app.core.events import RefusedError

TIME = 1_795_244_400_000_000  # 2026-11-21T07:00:00Z
NAN, INF = float("nan"), float("inf")

Lines = tuple[list[Stated], list[tuple[int, str]]]


def lines(columns: dict[str, list[Any]], *, of_texts: bool = False, **leg: str) -> Lines:
    """What lines with these values state, and which are bad; they count from 1."""
    statements = Statements(
        {name: name for name in columns}, leg, time=TIME, longest=200, largest=9_000, of_texts=of_texts
    )
    bad: list[tuple[int, str]] = []
    numbers = range(1, 1 + len(columns["puid"]))
    return list(statements.of(Piece(numbers, columns, []), bad)), bad


def body_of(value: Any, *, of_texts: bool = False) -> Any:
    """The body of the feedback with a label."""
    (one,), bad = lines({"puid": ["p"], "label": [value]}, of_texts=of_texts)
    assert not bad
    return orjson.loads(one.event.value)


def over_http(body: dict[str, Any]) -> Any:
    """The event of a feedback over HTTP, or why it is refused there."""
    try:
        return canonical_feedback(body, datetime.fromtimestamp(TIME / 1e6, UTC))
    except RefusedError as refused:
        return refused.detail


def label(value: Any) -> dict[str, Any]:
    return {"truth": {"data": {"ndarray": value if type(value) is list else [value]}}}


@pytest.mark.parametrize(
    ("value", "as_said"),
    [(1, 1), (1.0, 1.0), (0, 0), (False, False), ("1", "1"), ("", ""), (Decimal("2.00"), 2), (Decimal("0.5"), 0.5),
     (b"cat", "cat"), ([1, NAN], [1, None]), ((1 << 64) - 1, (1 << 64) - 1), ("é", "é")],
)  # fmt: skip
def test_a_label_is_the_value_that_it_is_over_http(value: Any, as_said: Any) -> None:
    body = body_of(value)
    assert (body, str(body)) == (label(as_said), str(label(as_said)))


@pytest.mark.parametrize(
    ("text", "value"),
    [("1", 1), ("1.0", 1.0), ("-0.5", -0.5), ("1e3", 1000.0), ("true", True), ("True", "True"), ("cat", "cat"),
     ("01", "01"), ("1,5", "1,5"), (" ", " "), ("truely", "truely")],
)  # fmt: skip
def test_a_label_of_csv_is_the_value_that_it_says(text: str, value: Any) -> None:
    body = body_of(text, of_texts=True)
    assert (body, str(body)) == (label(value), str(label(value)))


@pytest.mark.parametrize("text", ["", "NaN", "nan", "null", "NULL"])
def test_a_text_of_csv_that_stands_for_nothing_says_nothing(text: str) -> None:
    assert lines({"puid": ["p"], "label": [text]}, of_texts=True) == ([], [])


@given(
    st.none()
    | st.booleans()
    | st.integers(-(1 << 80), 1 << 80)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8"), max_size=20)
    | st.lists(st.integers(0, 3) | st.none(), min_size=1, max_size=3).filter(any),
    st.none() | st.booleans() | st.integers(-9, 9) | st.floats(-1e9, 1e9),
)
def test_what_a_line_states_is_what_the_same_feedback_over_http_states(value: Any, reward: Any) -> None:
    found, bad = lines({"puid": ["p"] * 2, "label": [value] * 2, "reward": [reward] * 2}, service="s")
    body = {name: said for name, said in (("label", value), ("reward", reward)) if said is not None}
    if not body:
        assert (found, bad) == ([], [])
        return
    event = over_http({"puid": "p", "service": "s", **body})
    if type(event) is str:
        assert (found, [why for _, why in bad]) == ([], [f"cannot be used: {event}"] * 2)
        return
    assert (len(found), bad) == (2, [])
    for one in found:  # the second time it is remembered
        assert (one.event.key, one.event.value) == (event.key, event.value)
        headers, wanted = dict(one.event.headers), dict(event.headers)
        assert headers.keys() == wanted.keys()
        for name in ("ce_id", "ce_time"):
            del headers[name], wanted[name]
        assert headers == wanted


def test_the_same_line_is_the_same_event_and_of_two_for_one_puid_the_later_holds() -> None:
    columns: dict[str, list[Any]] = {"puid": ["a", "a"], "label": [1, 2]}
    (first, second), _ = lines(columns)
    assert [one.event for one in lines(columns)[0]] == [first.event, second.event]
    times = [dict(one.event.headers)["ce_time"] for one in (first, second)]
    assert times == [b"2026-11-21T07:00:00.000001Z", b"2026-11-21T07:00:00.000002Z"]
    assert list(map(parse_time, times)) == [TIME + 1, TIME + 2]
    assert dict(first.event.headers)["ce_id"] != dict(second.event.headers)["ce_id"]


@pytest.mark.parametrize(
    ("puid", "row", "key", "requested"),
    [
        ("p", None, b"p", b"p"),
        ("p", 0, b"p", b"p-item-0"),
        ("p", 2.0, b"p", b"p-item-2"),
        ("p", "3", b"p", b"p-item-3"),
        ("p-item-4", None, b"p", b"p-item-4"),
        (17, None, b"17", b"17"),
        (17.0, None, b"17", b"17"),
        (b"p", None, b"p", b"p"),
    ],
)
def test_a_row_is_addressed_under_the_key_of_its_puid(puid: Any, row: Any, key: bytes, requested: bytes) -> None:
    (one,), _ = lines({"puid": [puid], "row": [row], "label": [1]})
    assert (one.event.key, dict(one.event.headers)["ce_requestid"]) == (key, requested)


def test_who_answered_may_stand_in_columns() -> None:
    columns: dict[str, list[Any]] = {"puid": ["p", "q"], "label": [1, 1], "svc": ["iris", None], "m": ["net", ""]}
    names = {"puid": "puid", "label": "label", "service": "svc", "model": "m"}
    statements = Statements(names, {"namespace": "bank"}, time=TIME, longest=200, largest=9_000, of_texts=False)
    told_of = [dict(one.event.headers) for one in statements.of(Piece([1, 2], columns, []), [])]
    assert [(one["ce_namespace"], one.get("ce_inferenceservicename"), one.get("ce_modelid")) for one in told_of] == [
        (b"bank", b"iris", b"net"),
        (b"bank", None, None),
    ]
    assert LEG == ("namespace", "service", "endpoint", "model")


@pytest.mark.parametrize(
    ("value", "micros"),
    [
        ("2026-11-21T07:00:00Z", TIME),
        ("2026-11-21 07:00:00", TIME),
        ("2026-11-21 07:00:00 UTC", TIME),
        ("2026-11-21T08:00:00+01:00", TIME),
        ("2026-11-21T07:00:00.25", TIME + 250_000),
        ("2026-11-21", TIME - 7 * 3600 * 1_000_000),
        (" 1795244400 ", TIME),
        ("1795244400000", TIME),
        (1_795_244_400, TIME),
        (1_795_244_400.5, TIME + 500_000),
        (1_795_244_400_000, TIME),
        (TIME, TIME),
        (TIME * 1000 + 999, TIME),
        (Decimal(1_795_244_400), TIME),
        (datetime(2026, 11, 21, 7), TIME),  # noqa: DTZ001
        (datetime(2026, 11, 21, 8, tzinfo=timezone(timedelta(hours=1))), TIME),
        (datetime(2026, 11, 21, 7, 0, 0, 123_456, tzinfo=UTC), TIME + 123_456),
        (date(2026, 11, 21), TIME - 7 * 3600 * 1_000_000),
        ("noon", None), ("20261121", None), (20261121, None), (-1, None), (NAN, None), (INF, None), (True, None),
        (b"x", None), (1e30, None), ("", None), (Decimal("NaN"), None), ("0001-01-01T00:00:00Z", None),
    ],
)  # fmt: skip
def test_times_are_read_as_files_have_them(value: Any, micros: int | None) -> None:
    assert micros_of(value) == micros


@pytest.mark.parametrize(
    ("column", "value", "why"),
    [
        ("puid", None, "has no puid"),
        ("puid", "", "has no puid"),
        ("puid", NAN, "has no puid"),
        ("puid", True, "has a puid that is no text (bool)"),
        ("puid", ["p"], "has a puid that is no text (list)"),
        ("puid", "x" * 1001, "has a puid that can be none: at most 1000 characters of UTF-8, the first not NUL"),
        ("puid", "\0p", "has a puid that can be none: "),
        ("puid", "\udcff", "has a puid that can be none: "),
        ("puid", b"\xff", "has a puid that is no UTF-8"),
        ("label", INF, "has the label inf"),
        ("label", {"a": 1}, "has a label that is neither a number, true or false, a text, nor a list (dict)"),
        ("label", date(2026, 1, 1), "has a label that is neither a number, true or false, a text, nor a list (date)"),
        ("label", "\udcff", "has a label that is no UTF-8"),
        ("label", b"\xff", "has a label that is no UTF-8"),
        ("label", "x" * 201, "cannot be used: a class text of 201 characters"),
        ("label", Decimal("Infinity"), "has the label Infinity"),
        ("label", ["x" * 100] * 100, "says more than the 9000 bytes of TALLY_MAX_BODY"),
        ("reward", "good", "cannot be used: the reward is 'good'; it must be a number up to 1e9"),
        ("reward", 1e10, "cannot be used: the reward is beyond 1e9"),
        ("reward", INF, "cannot be used: the reward is inf"),
        ("reward", [1], "cannot be used: the reward is of type list; "),
        ("row", -1, "has the row -1: it must be a whole number from 0 to 9999999"),
        ("row", 1.5, "has the row 1.5: "),
        ("row", "x", "has the row 'x': "),
        ("row", 10_000_000, "has the row 10000000: "),
        ("row", True, "has the row True: "),
        ("time", "noon", "has the time 'noon': it must be like 2026-11-21T07:00:00Z, or a number "),
        ("time", "9999-12-31T23:59:59Z", "has the time '9999-12-31T23:59:59Z': "),
        ("service", 7, "has 7 as the name of who answered: "),
        ("service", "x" * 254, "has 'xx"),
    ],
)  # fmt: skip
def test_of_a_line_that_cannot_be_used_it_is_said_why(column: str, value: Any, why: str) -> None:
    columns: dict[str, list[Any]] = {"puid": ["q", "p"], "label": [1, 1]}
    columns[column] = [columns[column][0] if column in columns else None, value]
    found, ((number, said),) = lines(columns)
    assert (len(found), number) == (1, 2)
    assert said.startswith(why)


def test_a_row_that_its_puid_names_too_is_refused() -> None:
    found, bad = lines({"puid": ["p-item-1"], "row": [1], "label": [1]})
    assert found == []
    assert bad == [(1, "names a row by its puid 'p-item-1' and one by its column")]
