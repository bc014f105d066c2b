"""The lines of `/api/overview`, and their order."""

from collections.abc import Iterable
from typing import Any

import pytest

from app.core.counts.panes import PaneClock
from app.core.drift.distribution import Distribution
from app.core.drift.live import Live, Watched
from app.core.drift.reference import Reference
from app.core.monitors import AlertWhen, Code, Monitor, MonitorSpec
from app.core.outputs.overview import (
    Choice,
    OverviewModel,
    clocks_of,
    gather,
    in_order,
    line_of,
    notes_of,
    usual_window,
    windows_of,
)
from app.core.rules import Rules
from tests.builders import START, WINDOWS, Ledger, Record, a_feedback, a_request, a_response, a_result

CLOCK = PaneClock()


def lines(
    ledger: Ledger, window: str = "1h", *, now: float = 3000.0, clock: PaneClock = CLOCK, by_labels: bool = False
) -> list[OverviewModel]:
    readings = ledger.cut().readings()
    identities = readings.view.identities()
    found = []
    for identity in identities:
        steps = gather(readings, clock, identity, identities, Choice(window, by_labels), START + now)
        known = finished(steps)
        if known is not None:
            found.append(line_of(known, window))
    return in_order(found)


def finished(steps: Any) -> Any:
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def a_story(rights: Iterable[Any], *, every: float = 1.0, said: Any = 1, **names: Any) -> list[Record]:
    """A prediction and its label every so many seconds."""
    found: list[Record] = []
    for number, right in enumerate(rights):
        puid, at = f"{names.get('model', 'm')}-{number}", number * every
        found.append(a_response(said, puid=puid, at=at, **names))
        if right is not None:
            found.append(a_feedback(right, puid=puid, at=at, **names))
    return found


def line(records: Iterable[Record], *rules: Rules, **options: Any) -> OverviewModel:
    (found,) = lines(Ledger(*rules).absorb(*records), **options)
    return found


def test_a_line_says_what_the_window_says() -> None:
    found = line(a_story([1] * 150 + [0] * 50 + [None] * 50, every=2.0))
    score = found["score"]
    assert score is not None
    assert (score["name"], score["value"], score["samples"], score["bound"]) == ("accuracy", 0.75, 200, "lower")
    assert score["low"] is not None
    assert score["low"] < 0.75
    assert (found["labelled"], found["predictions"], found["coverage"]) == (200, 250, 0.8)
    assert [(start - START, value, labelled) for start, value, labelled in found["trend"][:2]] == [
        (0, 1.0, 30),
        (60, 1.0, 30),
    ]
    assert sum(labelled for _, _, labelled in found["trend"]) == 200


@pytest.mark.parametrize(
    ("records", "rules", "level", "why"),
    [
        (a_story([1] * 200), (), "fine", "accuracy is 1 in the last 1h (200 rows)."),
        (a_story([1] * 12), (), "few", "12 labels in the last 1h, need 100 to judge."),
        (a_story([1]), (), "few", "1 label in the last 1h, need 100 to judge."),
        (a_story([None] * 200), (), "few", "0 labels in the last 1h, need 100 to judge."),
        (a_story([1] * 12), (Rules(least_count=10),), "fine", "accuracy is 1 in the last 1h (12 rows)."),
        (
            a_story([1] * 60 + [0] * 60),
            (Rules(limits=(("accuracy", "", 0.9),)),),
            "bad",
            "accuracy is 0.5, below its limit of 0.9 (1h, 120 rows).",
        ),
        (
            a_story([1] * 20 + [0] * 20),
            (Rules(limits=(("accuracy", "", 0.9),)),),
            "few",
            "40 labels in the last 1h, need 100 to judge.",
        ),
        (
            a_story([1] * 600 + [0] * 120),
            (),
            "warn",
            "accuracy is lower since 2026-11-21T07:10:00Z: 0 (120 rows) after 1 (600 rows).",
        ),
        (
            a_story([10.5] * 120, said=12.75),
            (Rules(limits=(("mae", "", 2.0),)),),
            "bad",
            "mae is 2.25, above its limit of 2 (1h, 120 rows).",
        ),
    ],
)
def test_what_needs_attention_is_said_in_a_sentence(
    records: list[Record], rules: tuple[Rules, ...], level: str, why: str
) -> None:
    attention = line(records, *rules)["attention"]
    assert (attention["level"], attention["why"]) == (level, why)


AGE = Distribution("age", "continuous", (18.0, 30.0, 65.0), (), (1, 60, 39))
COUNTRY = Distribution("country", "categorical", (), ("DE", "FR"), (70, 30))


def watched(*features: Distribution, **others: Any) -> Rules:
    return Rules(reference=Watched("histogram.prom", Live(Reference(features), 100)), **others)


def a_shifted_story(row: list[Any], rows: int = 200, right: Any = None) -> list[Record]:
    """What is asked is always the same, and so is far from a reference."""
    asked = [a_request({"data": {"ndarray": [row]}}, puid=f"m-{number}", at=number) for number in range(rows)]
    return [*asked, *a_story([right] * rows)]


@pytest.mark.parametrize("by_labels", [False, True])
@pytest.mark.parametrize(
    ("features", "row", "why"),
    [
        ([AGE], [70], "age has drifted from the reference in the last 1h (PSI 9)."),
        (
            [AGE, COUNTRY],
            [70, "DE"],
            "age and country have drifted from the reference in the last 1h (PSI up to 9).",
        ),
        (
            [COUNTRY._replace(name=name) for name in "abcde"],
            ["DE"] * 5,
            "a, b, c and 2 more have drifted from the reference in the last 1h (PSI up to 1.3).",
        ),
    ],
)
def test_inputs_that_drift_need_attention_before_a_label_comes(
    features: list[Distribution], row: list[Any], why: str, *, by_labels: bool
) -> None:
    attention = line(a_shifted_story(row), watched(*features), by_labels=by_labels)["attention"]
    assert (attention["level"], attention["why"]) == ("warn", why)


def test_few_rows_and_those_like_the_reference_have_not_drifted() -> None:
    assert line(a_shifted_story([70], rows=99), watched(AGE))["attention"]["level"] == "few"
    alike = [a_request({"data": {"ndarray": [["DE" if number % 10 < 7 else "FR"]]}}, puid=f"m-{number}", at=number)
             for number in range(200)]  # fmt: skip
    assert line([*alike, *a_story([1] * 200)], watched(COUNTRY))["attention"]["level"] == "fine"


def test_a_monitor_that_alerts_needs_attention_as_long_as_it_does() -> None:
    odd, even = (
        Monitor(MonitorSpec(name, "v1", AlertWhen(">", 0.5), hold=2), Code("function", "m:f"))
        for name in ("odd", "even")
    )
    records = [
        *a_story([1] * 200, every=1.0),
        *(a_result(0.75, name=name, puid=f"m-{number}", at=number)
          for number, name in ((198, "odd"), (199, "odd"), (199, "even"))),
    ]  # fmt: skip
    attention = line(records, Rules(monitors=(odd, even)), now=250.0)["attention"]
    assert (attention["level"], attention["why"]) == ("warn", "Its monitor odd alerts.")
    assert line(records, Rules(monitors=(odd, even)), now=900.0)["attention"]["level"] == "fine"
    both = [*records, a_result(0.75, name="even", puid="m-197", at=197)]
    assert line(both, Rules(monitors=(odd, even)), now=250.0)["attention"]["why"] == "Its monitors odd, even alert."


def test_a_missed_limit_comes_first_and_what_may_be_its_cause_behind_it() -> None:
    limited = watched(AGE, limits=(("accuracy", "", 0.9),))
    attention = line(a_shifted_story([70], right=0), limited)["attention"]
    assert attention["level"] == "bad"
    assert attention["why"] == (
        "accuracy is 0, below its limit of 0.9 (1h, 200 rows). "
        "age has drifted from the reference in the last 1h (PSI 9)."
    )


def test_a_missed_limit_says_since_when() -> None:
    limit = Rules(limits=(("accuracy", "", 0.9),), least_count=50)
    fell = line(a_story([1] * 600 + [0] * 120), limit)["attention"]
    assert (fell["level"], fell["since_at"]) == ("bad", START + 600)
    low = line(a_story([1, 0] * 100), limit)["attention"]
    assert (low["level"], low["since_at"]) == ("bad", START)


def test_since_when_another_score_misses_its_limit_is_not_said() -> None:
    limit = Rules(limits=(("recall", "cat", 0.9),), least_count=50)
    missed = line(a_story(["dog"] * 600 + ["cat"] * 120, said="dog"), limit)["attention"]
    assert (missed["level"], missed["since_at"]) == ("bad", None)
    assert missed["why"].startswith("recall/cat is 0, below its limit of 0.9 ")


def test_a_model_that_is_asked_no_more_is_quiet_and_says_since_when() -> None:
    found = line(a_story([1] * 200), now=20_000.0)["attention"]
    assert (found["level"], found["since_at"]) == ("quiet", START + 600)  # the coarse pane is all that is kept
    assert found["why"] == "No prediction in the last 1h; none since 2026-11-21T07:10:00Z."
    assert line(a_story([1] * 200), now=20_000.0, window="total")["attention"]["level"] == "fine"


def test_a_fall_before_the_window_is_found_in_what_is_kept() -> None:
    records = a_story([1] * 500 + [0] * 500, every=20.0)
    found = line(records, now=20_000.0, window="1h")
    assert found["score"] is not None
    assert found["score"]["value"] == 0.0
    assert found["attention"]["level"] == "warn"
    assert abs((found["attention"]["since_at"] or 0) - (START + 10_000)) <= 1800


def test_a_version_in_whose_place_another_answers_comes_last() -> None:
    old = [a_response(1, puid=f"o{at}", at=at, version="1") for at in range(10)]
    new = [a_response(1, puid=f"n{at}", at=7000 + at, version="2") for at in range(10)]
    other = a_story([1] * 200, model="other")
    found = lines(Ledger().absorb(*old, *new, *other), now=7200.0)
    assert [(it["model"], it["version"], it["attention"]["level"]) for it in found] == [
        ("m", "2", "few"),
        ("other", "", "quiet"),
        ("m", "1", "quiet"),
    ]
    assert found[-1]["attention"]["why"].endswith("In its place version 2 answers.")


def test_what_needs_it_most_comes_first() -> None:
    limit = Rules("ns/svc/default/bad", limits=(("accuracy", "", 0.9),))
    stories = {
        "fine": [1] * 200,
        "few": [1] * 12,
        "bad": [0] * 200,
        "fell": [1] * 600 + [0] * 200,
        "larger": [1] * 300,
    }
    records = [record for name, rights in stories.items() for record in a_story(rights, model=name)]
    assert [it["model"] for it in lines(Ledger(limit).absorb(*records))] == ["bad", "fell", "few", "larger", "fine"]


def test_requests_in_flight_are_no_line_of_their_own_where_a_version_is_known() -> None:
    asked = [a_request(puid=f"a{at}", at=at) for at in range(3)]
    answered = [a_response(1, puid="b", version="4"), *asked]
    assert [it["version"] for it in lines(Ledger().absorb(*answered))] == ["4"]
    assert [it["version"] for it in lines(Ledger().absorb(*asked))] == [""]


def test_feedback_that_names_nobody_is_a_note() -> None:
    ledger = Ledger().absorb(a_response(1, puid="p"), a_feedback(reward=1, puid="x", predictor=None, model=None))
    assert [it["model"] for it in lines(ledger)] == ["m"]
    readings = ledger.readings()
    (note,) = notes_of(readings, readings.view.identities())
    assert note.startswith("Feedback of ns/svc on 1 request id names no model which has answered")


def test_rewards_are_the_score_of_what_is_nothing_else() -> None:
    records = [a_request(puid="p"), a_feedback(reward=0.5, puid="p")]
    found = line(records)
    assert found["task"] == "unknown"
    assert found["score"] is not None
    assert found["score"]["name"] == "reward_mean"
    assert line([a_request(puid="p")])["score"] is None


def test_the_score_is_the_first_that_has_a_limit() -> None:
    limit = Rules(limits=(("recall", "cat", 0.5), ("cost", "", 1.0), ("f1_macro", "", 0.5), ("accuracy", "", 0.9)))
    records = a_story(["cat", "dog"] * 60, said="cat")
    score = line(records, limit)["score"]
    assert score is not None
    assert (score["name"], score["limit"]) == ("f1_macro", 0.5)


def test_by_the_clock_of_labels() -> None:
    clock = PaneClock(by_labels=True)
    records = [a_response(1, puid=str(at), at=at) for at in range(120)]
    labels = [a_feedback(1, puid=str(at), at=5000 + at) for at in range(120)]
    ledger = Ledger(clock=clock).absorb(*records, *labels)
    (found,) = lines(ledger, now=5200.0, clock=clock, by_labels=True)
    assert (found["labelled"], found["predictions"], found["coverage"]) == (120, 0, None)
    assert sum(labelled for _, _, labelled in found["trend"]) == 120
    (found,) = lines(ledger, now=5200.0, clock=clock)
    assert (found["labelled"], found["predictions"]) == (0, 0)


def test_what_can_be_asked_for() -> None:
    readings = Ledger().readings()
    assert windows_of(readings) == ["5m", "1h", "24h", "total"]
    assert clocks_of(readings) == ["predictions"]
    assert clocks_of(Ledger(clock=PaneClock(by_labels=True)).readings()) == ["predictions", "labels"]
    assert usual_window(readings) == "1h"
    assert usual_window(Ledger(windows=WINDOWS[:1]).readings()) == "5m"
    assert usual_window(Ledger(windows=()).readings()) == "total"


def test_the_rate_is_that_of_the_shortest_window() -> None:
    found = line(a_story([None] * 300), now=300.0)
    assert found["events_per_second"] == pytest.approx(1.0)
