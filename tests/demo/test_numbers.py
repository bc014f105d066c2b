"""What the demo shows of an answer of `/api/models`, and how it compares that with what it has produced."""

from typing import Any

import pytest

from app.core.dialects.plain import Event
from app.core.events import Kind, Leg
from app.demo.counts import Counts, comparison, counted_in, is_counted
from app.demo.screen import Line, Screen, lines_of
from app.demo.traffic import Sent

CURRENT = Leg("demo", "iris", "default", "current")
SHADOW = Leg("demo", "iris", "shadow", "shadow")


def model(leg: Leg, *, responses: int = 3, rewards: int = 0, **scores: float | None) -> dict[str, Any]:
    names = ("model_namespace", "model_service", "predictor", "model")
    window = {"scores": {"coverage": None, "reward_mean": None} | scores, "rewards": rewards}
    return {
        **dict(zip(names, leg, strict=True)),
        "model_version": "1.4",
        "exchanges": {"request": responses, "response": responses, "feedback": rewards},
        "rows": {"correct": responses, "incorrect": 0, "measured": 0, "unlabelled": 0, "failed": 0},
        "windows": {"total": window, "1m": window},
    }


def sent(kind: Kind, leg: Leg, puid: str = "p") -> Sent:
    return Sent(0.0, kind, leg, puid, Event(puid.encode(), b"{}", ()))


def test_a_model_with_rows_is_a_line_and_what_is_undefined_is_a_dash() -> None:
    judged = model(CURRENT, responses=4, rewards=2, accuracy=0.75, f1_macro=0.5, reward_mean=0.5, coverage=0.5)
    empty = model(Leg("demo", "iris", "default", "new"), responses=0)
    assert lines_of({"models": [judged, empty, model(SHADOW)]}) == [
        Line("iris/default/current@1.4", "4", "0.750", "0.750", "0.500", "0.500", "50%"),
        Line("iris/shadow/shadow@1.4", "3", "-", "-", "-", "-", "-"),
    ]


def test_without_a_terminal_the_numbers_come_as_lines_every_few_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    with Screen() as screen:
        for seconds in range(8):
            screen.show({"models": [model(SHADOW)]}, seconds)
        screen.show_last({"models": [model(SHADOW)]}, 8)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["0", "5", "8"]
    assert lines[0].endswith("iris/shadow/shadow@1.4  rows 3  accuracy -  in 1m -  f1 -  reward -  labels -")


def test_mirrored_rewards_are_copies_and_exchanges_are_what_the_current_model_answered() -> None:
    produced = Counts()
    for leg in (CURRENT, SHADOW):
        produced.add(sent(Kind.REQUEST, leg))
        produced.add(sent(Kind.RESPONSE, leg))
        produced.add(sent(Kind.FEEDBACK, leg))
    produced.add(sent(Kind.RESPONSE, CURRENT, "q"))
    assert (produced.exchanges, produced.rewards.total()) == (2, 1)
    report = {"models": [model(CURRENT, responses=2, rewards=1), model(SHADOW, responses=1)]}
    assert counted_in(report, produced.legs) == produced
    assert comparison(produced, counted_in(report, produced.legs)) == (
        "produced 2 exchanges, counted 2; produced 1 rewards, counted 1"
    )


def test_counts_differ_where_one_leg_does() -> None:
    produced = Counts()
    for leg in (CURRENT, SHADOW):
        produced.add(sent(Kind.RESPONSE, leg))
    assert counted_in({"models": [model(CURRENT, responses=2)]}, produced.legs) != produced
    assert counted_in({"models": []}, produced.legs) == Counts()


def test_what_somebody_else_sends_is_not_the_demos_and_makes_no_difference() -> None:
    produced = Counts()
    for number in range(5):
        produced.add(sent(Kind.RESPONSE, CURRENT, str(number)))
    strange = model(Leg("models", "iris", "", ""), responses=0, rewards=2)
    counted = counted_in({"models": [model(CURRENT, responses=5), strange]}, produced.legs)
    assert counted == produced
    for responses, rewards, others, fine in (
        (5, 0, 0, True),
        (4, 0, 0, False),
        (6, 0, 0, False),
        (5, 1, 0, False),
        (5, 1, 1, True),
        (6, 1, 1, False),
        (4, 1, 2, True),
    ):
        counted = counted_in({"models": [model(CURRENT, responses=responses, rewards=rewards)]}, produced.legs)
        assert is_counted(produced, counted, others) == fine
