"""A score over time, as it is answered: from panes, and from documents of windows."""

import pytest

from app.core.counts.panes import PaneClock, Window
from app.core.events import Identity
from app.core.outputs.class_changes import OfStretch
from app.core.outputs.history import History as Documents
from app.core.outputs.score_history import (
    ScoreName,
    history_of,
    is_score,
    names_of,
    parse_score,
    point_of_document,
    source_of,
)
from app.core.outputs.trends import Asked, Point, grid_of, point_of, stretches
from app.core.outputs.windows import WindowDocument
from app.core.rules import Rules
from app.core.scores.intervals import Moments
from tests.builders import START, Ledger, a_feedback, a_response

M = Identity("ns", "svc", "default", "m", "")
FIVE = Window("5m", 300)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("accuracy", ScoreName("accuracy")),
        ("recall{cat}", ScoreName("recall", "cat")),
        ("recall/cat", ScoreName("recall", "cat")),
        ("recall{a/b}", ScoreName("recall", "a/b")),
        ("recall{{x}}", ScoreName("recall", "{x}")),
        ("recall{}", ScoreName("recall")),
        ("", None),
        ("{cat}", None),
        ("recall{cat", None),
        ("/cat", None),
    ],
)
def test_the_names_of_scores(text: str, name: ScoreName | None) -> None:
    assert parse_score(text) == name


def test_a_name_is_written_as_it_is_read() -> None:
    for name in (ScoreName("accuracy"), ScoreName("recall", "a}{/b")):
        assert parse_score(str(name)) == name


def test_which_scores_there_are() -> None:
    assert is_score(ScoreName("recall", "cat"), Rules())
    assert not is_score(ScoreName("recal"), Rules())
    (read,) = Ledger().absorb(a_response(1), a_feedback(1)).cut().models().values()
    assert names_of(read.reading)[:3] == ["reward_mean", "coverage", "accuracy"]


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ([("cat", "cat"), ("dog", "cat"), ("eel", "eel"), ("eel", None)], Asked("accuracy")),
        ([("cat", "cat"), ("dog", "cat"), ("eel", "eel")], Asked("recall", "cat")),
        ([("cat", "cat"), ("dog", "cat"), ("eel", "eel")], Asked("f1_macro")),
        ([(1.5, 2.25), (3.5, 1.125), (2.5, None)], Asked("mae")),
        ([(1.5, 2.25), (3.5, 1.125)], Asked("bias")),
        ([(1, 1), (1, 0)], Asked("coverage")),
        ([(1, 1), (1, 0)], Asked("accuracy", by_labels=True)),
    ],
)
def test_a_document_gives_the_point_that_its_panes_give(said: list[tuple[object, object]], asked: Asked) -> None:
    clock = PaneClock(by_labels=True)
    ledger = Ledger(clock=clock, windows=(FIVE,))
    readings = ledger.readings()
    documents = Documents(readings, clock, START)
    for at, (predicted, actual) in enumerate(said):
        ledger.absorb(a_response(predicted, puid=str(at), at=at))
        if actual is not None:
            ledger.absorb(a_feedback(actual, puid=str(at), at=at))
    for partition, panes in enumerate(ledger.cut().panes):
        for key, value in panes.items():
            readings.view.take(partition, key, value)
    documents.note(START + 60, writing=True)
    clock_name = "labels" if asked.by_labels else "predictions"
    bodies = [
        one.body
        for one in documents.take(START + 60, 100)
        if isinstance(one, WindowDocument) and one.body is not None and one.body["clock"] == clock_name
    ]
    nature, grid = readings.nature(M), grid_of(clock, 300, 0, START + 60, START + 60)
    assert nature is not None
    assert grid is not None
    (stretch,) = stretches(readings, M, nature, grid, by_labels=asked.by_labels)
    expected = point_of(stretch, asked)
    (found,) = (point_of_document(body, asked) for body in bodies)
    assert found[:2] == expected[:2]
    assert found[2:4] == pytest.approx(expected[2:4])
    assert found.samples == expected.samples
    assert found.labelled == expected.labelled


def a_point(at: int, right: int, rows: int = 100) -> Point:
    return Point(at, right / rows, 0.0, 1.0, rows, rows, rows, Moments(rows, right, right, is_share=True))


def test_points_of_both_sources_are_one_history() -> None:
    rules = Rules(limits=(("accuracy", "", 0.8), ("recall", "1", 0.5)))
    older = [a_point(at, 95) for at in range(0, 1200, 300)]
    newer = [a_point(at, 60) for at in range(1200, 2400, 300)]
    found = history_of(M, rules, Asked("accuracy"), 300, older, newer)
    assert (found["key"], found["score"], found["clock"], found["step"]) == (
        "ns/svc/default/m", "accuracy", "predictions", 300,
    )  # fmt: skip
    assert (found["bound"], found["limit"], found["source"]) == ("lower", 0.8, "both")
    assert [point["start"] for point in found["points"]] == [*range(0, 2400, 300)]
    assert found["fell_at"] == 1200
    assert found["fell"] == "accuracy is lower since 1970-01-01T00:20:00Z: 0.6 (400 rows) after 0.95 (400 rows)."
    assert found["classes"] == []


def test_a_fall_says_how_each_class_has_done_before_and_since() -> None:
    newer = [a_point(at, 95 if at < 1200 else 60) for at in range(0, 2400, 300)]
    confusions = [
        OfStretch(at, {("0", "0"): 50, ("1", "1"): 45 if at < 1200 else 10, ("1", "0"): 5 if at < 1200 else 40})
        for at in range(0, 2400, 300)
    ]
    found = history_of(M, Rules(), Asked("accuracy"), 300, [], newer, confusions=confusions)
    assert [(one["class"], one["before"], one["since"]) for one in found["classes"]] == [("1", 0.9, 0.2), ("0", 1, 1)]
    assert history_of(M, Rules(), Asked("accuracy"), 300, [], newer[:4], confusions=confusions)["classes"] == []


def test_a_history_without_a_fall() -> None:
    found = history_of(M, Rules(), Asked("mae", by_labels=True), 60, [], [a_point(0, 95)], "a note")
    assert (found["fell_at"], found["fell"], found["bound"]) == (None, None, "upper")
    assert (found["clock"], found["note"], found["source"]) == ("labels", "a note", "panes")


@pytest.mark.parametrize(
    ("older", "newer", "source"), [([], [], "panes"), ([1], [], "elasticsearch"), ([1], [1], "both")]
)
def test_where_points_are_from(older: list[int], newer: list[int], source: str) -> None:
    assert source_of(older, newer) == source
