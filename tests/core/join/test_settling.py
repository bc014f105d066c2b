"""What exchanges count as, in whose name and in which pane (design 3, rules 3 to 9)."""

from typing import Any

import pytest

from app.core.counts.panes import COARSE, FINE, TOTAL
from app.core.counts.rows import RowKey, parse_key, parse_rows
from app.core.outputs.report import report_of
from app.core.rules import Rulebook, Rules
from tests.builders import (
    MODEL,
    SHADOW,
    START,
    Fields,
    Ledger,
    Read,
    Record,
    a_feedback,
    a_request,
    a_response,
    a_shard,
    absorb,
    run,
    tell,
    totals,
)

FIRST_MINUTE = START // 60


def counts(*records: Record, rules: tuple[Rules, ...] = ()) -> dict[str, Read]:
    """What is read out of the totals of a story, by model."""
    return tell(*records, rules=rules).models()


def judged(reading: Read) -> dict[str, int]:
    """Rows by verdict, those that occur."""
    return {verdict: rows for verdict, rows in reading.rows.items() if rows}


def rewarded(readings: dict[str, Read]) -> dict[str, tuple[int, float]]:
    """Number and sum of rewards, by model that has one."""
    return {who: (reading.rewards, reading.reward_points) for who, reading in readings.items() if reading.rewards}


def minutes(ledger: Ledger, column: str, row: str = "exchanges", level: str = FINE) -> dict[tuple[str, int], int]:
    """Where a counter has been counted: (model, minutes after the start) → amount."""
    panes = FIRST_MINUTE if level == FINE else FIRST_MINUTE // 10
    return {
        (str(key.subject), key.pane - panes): cells[column]
        for key, cells in ledger.rows().items()
        if key.level == level and key.row == row and column in cells
    }


# -- rule 2: nothing twice, in any order ------------------------------------------------------------------------------


def test_one_exchange() -> None:
    reading = counts(a_request(), a_response(1), a_feedback(0, reward=0.5, at=3))[MODEL]
    assert reading.parts == {"request": 1, "response": 1, "feedback": 1}
    assert reading.confusion == {("0", "1"): 1}
    assert judged(reading) == {"incorrect": 1}
    assert (reading.rewards, reading.reward_points) == (1, 0.5)
    assert (reading.delays, reading.delay_seconds) == ([0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0], 3)


def test_parts_alone() -> None:
    assert counts(a_request())[MODEL].parts == {"request": 1, "response": 0, "feedback": 0}
    assert counts(a_response(1))[MODEL].parts == {"request": 0, "response": 1, "feedback": 0}
    assert counts(a_feedback(1), a_request(puid="q"))[MODEL].parts == {"request": 1, "response": 0, "feedback": 1}
    assert counts(a_feedback(reward=1))[MODEL].parts == {"request": 0, "response": 0, "feedback": 1}


@pytest.mark.parametrize(
    "more", [[], [a_request(at=1)], [a_feedback(0, at=9), a_feedback(1, at=2)], [a_feedback(reward=0, at=9)]]
)
def test_a_puid_has_one_feedback_however_many_events_bring_it(more: list[Record]) -> None:
    """Before the response comes as after it."""
    label, reward = a_feedback(1, at=3), a_feedback(reward=1, at=200)
    assert counts(label, reward, *more)[MODEL].parts["feedback"] == 1
    assert counts(a_response(1), label, reward, *more)[MODEL].parts["feedback"] == 1


def test_a_label_before_its_response_is_judged_when_that_comes() -> None:
    assert judged(counts(a_feedback(1, at=0), a_request(at=1), a_response(1, at=2))[MODEL]) == {"correct": 1}


@pytest.mark.parametrize(
    ("labels", "confusion"),
    [
        ([1, 0], {("0", "1"): 1}),
        ([1, 0, 1], {("1", "1"): 1}),
        ([0, None], {}),
        ([0, None, 1], {("1", "1"): 1}),
        ([0, "cat", 2.0], {("2", "1"): 1}),
    ],
)
def test_a_correction_is_as_having_had_the_right_label_at_once(labels: list[Any], confusion: Any) -> None:
    corrections = [a_feedback(label, at=time) for time, label in enumerate(labels)]
    assert counts(a_response(1), *corrections)[MODEL].confusion == confusion


def test_a_correction_of_the_response_moves_all_that_it_counted() -> None:
    story = tell(a_response(1, at=0), a_feedback(1, at=9), a_response(0, version="v2", at=70))
    assert str(*story.models()) == f"{MODEL}@v2"
    assert minutes(story, "response") == {(f"{MODEL}@v2", 1): 1}
    assert story.models()[f"{MODEL}@v2"].confusion == {("1", "0"): 1}


def test_partitions_add_up() -> None:
    shards = [a_shard(partition=number, partitions=3) for number in range(3)]
    for shard in shards:
        absorb(shard, [a_response(1, puid=f"p{shard.partition}"), a_feedback(1, puid=f"p{shard.partition}", at=2)])
    (counted,) = totals(shards).values()
    assert counted == {
        ("exchanges", "response"): 3, ("exchanges", "feedback"): 3, ("confusion=1", "1"): 3,
        ("delay", "1"): 3, ("delay", "us"): 6_000_000,
    }  # fmt: skip


# -- rule 3: whom a label judges --------------------------------------------------------------------------------------


def test_a_label_judges_every_leg_of_its_service_that_answered() -> None:
    found = counts(a_response(1), a_response(0, predictor="shadow"), a_request(predictor="canary"), a_feedback(1, at=1))
    assert {who: judged(reading) for who, reading in found.items()} == {
        MODEL: {"correct": 1},
        SHADOW: {"incorrect": 1},
        "ns/svc/canary/m": {},
    }
    assert all(reading.parts["feedback"] == 1 for reading in found.values())


def test_mirrored_copies_of_a_feedback_judge_each_leg_once() -> None:
    """Whether the copies have the time in common or not; the shadow's copy brings no reward."""
    for time in (1.0, 1.25):
        copies = [a_feedback(1, reward=1, at=1), a_feedback(1, reward=1, predictor="shadow", at=time)]
        found = counts(a_response(1), a_response(0, predictor="shadow"), *copies)
        assert {who: judged(reading) for who, reading in found.items()} == {
            MODEL: {"correct": 1},
            SHADOW: {"incorrect": 1},
        }
        assert rewarded(found) == {MODEL: (1, 1)}
        assert all(reading.parts["feedback"] == 1 for reading in found.values())


def test_a_label_that_only_the_shadows_copy_brought_judges_all() -> None:
    found = counts(a_response(1), a_response(0, predictor="shadow"), a_feedback(1, predictor="shadow", at=1))
    assert {who: judged(reading) for who, reading in found.items()} == {MODEL: {"correct": 1}, SHADOW: {"incorrect": 1}}


@pytest.mark.parametrize(
    ("namespace", "service", "judges"),
    [
        ("ns", "svc", ["ns/svc/default/m"]),
        ("ns", "other", ["ns/other/default/m"]),
        (None, None, ["ns/svc/default/m", "ns/other/default/m", "far/svc/default/m"]),
        ("ns", None, ["ns/svc/default/m", "ns/other/default/m"]),
        (None, "svc", ["ns/svc/default/m", "far/svc/default/m"]),
        ("ns", "none", []),
    ],
)
def test_a_label_stays_within_the_service_that_it_names(
    namespace: str | None, service: str | None, judges: list[str]
) -> None:
    legs = [a_response(1), a_response(1, service="other"), a_response(1, namespace="far")]
    label = a_feedback(1, namespace=namespace, service=service, predictor=None, model=None, at=1)
    found = counts(*legs, label)
    assert sorted(who for who, reading in found.items() if reading.judged) == sorted(judges)


def test_labels_of_two_services_do_not_compete() -> None:
    found = counts(
        a_response(1), a_response(1, service="other"), a_feedback(0, at=1), a_feedback(1, service="other", at=2)
    )
    assert {who: judged(reading) for who, reading in found.items()} == {
        MODEL: {"incorrect": 1},
        "ns/other/default/m": {"correct": 1},
    }


def test_a_label_of_a_service_that_has_not_answered_is_a_feedback_of_that_service() -> None:
    asked = a_request(service="other", puid="q")
    found = counts(a_response(1), a_feedback(1, at=1), a_feedback(1, service="other", at=2), asked)
    assert found["ns/other/default/m"].parts == {"request": 1, "response": 0, "feedback": 1}
    assert found[MODEL].parts["feedback"] == 1


def test_labels_for_all_services_and_for_one_compete_in_that_one() -> None:
    everywhere: Fields = {"at": 2, "namespace": None, "service": None, "predictor": None, "model": None}
    legs = [a_response(1), a_response(1, service="other")]
    newer = counts(*legs, a_feedback(1, at=1), a_feedback(0, **everywhere))
    assert [judged(reading) for reading in newer.values()] == [{"incorrect": 1}, {"incorrect": 1}]
    older = counts(*legs, a_feedback(1, at=3), a_feedback(0, **everywhere))
    assert judged(older[MODEL]) == {"correct": 1}


# -- rule 3: graphs of several models ---------------------------------------------------------------------------------

GRAPH = [
    a_response(0, model="clean"),
    a_response(1, model="score"),
    a_response(0, predictor="shadow", model="clean"),
    a_response(1, predictor="shadow", model="score"),
]
ALL = {"default/clean", "default/score", "shadow/clean", "shadow/score"}


@pytest.mark.parametrize(
    ("named", "scored_model", "judges"),
    [
        ("score", None, ALL - {"default/clean"}),
        (None, None, ALL),
        ("clean", "score", {"default/score", "shadow/score"}),
        (None, "score", {"default/score", "shadow/score"}),
    ],
)
def test_which_models_of_a_graph_a_label_judges(named: str | None, scored_model: str | None, judges: set[str]) -> None:
    rules = (Rules("ns/svc/*", scored_model=scored_model),)
    found = counts(*GRAPH, a_feedback(1, model=named, at=1), rules=rules)
    assert {who.removeprefix("ns/svc/") for who, reading in found.items() if reading.judged} == judges
    assert all(reading.rows["unlabelled"] == 1 for reading in found.values() if not reading.judged)


def test_a_feedback_that_names_no_predictor_judges_all_models() -> None:
    found = counts(*GRAPH, a_feedback(1, predictor=None, model="score", at=1))
    assert all(reading.judged for reading in found.values())


def test_the_scored_model_of_one_predictor_excludes_no_other_predictor() -> None:
    """A shadow of one model, whatever its name, is judged beside a graph of which one model is scored."""
    found = counts(
        a_response(0, model="clean"),
        a_response(1, model="score"),
        a_response(1, predictor="shadow", model="challenger"),
        a_feedback(1, model="score", at=1),
        rules=(Rules("ns/svc/*", scored_model="score"),),
    )
    assert {who.removeprefix("ns/svc/") for who, reading in found.items() if reading.judged} == {
        "default/score",
        "shadow/challenger",
    }


def test_the_report_says_which_model_is_scored() -> None:
    rulebook = Rulebook((Rules("*/score", scored_model="score"),))
    ledger = tell(*GRAPH, rules=rulebook.entries)
    readings = ledger.readings()
    report = [report_of(identity, one, 0, rulebook) for identity, one in readings.of_models(START)]
    assert [(model["model"], model["scored_model"], model["shadow"]) for model in report] == [
        ("clean", None, False),
        ("score", "score", False),
        ("clean", None, True),
        ("score", "score", True),
    ]


# -- rules 3 and 5: rewards -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("legs", "named", "home"),
    [
        ([("default", "m")], ("default", "m"), "default/m"),
        ([("default", "m"), ("shadow", "m")], ("default", "m"), "default/m"),
        ([("default", "m"), ("canary", "m")], ("canary", "m"), "canary/m"),
        ([("default", "m")], ("canary", "m"), "canary/m"),
        ([], ("default", "m"), "default/m"),
        ([("default", "m")], (None, None), "default/m"),
        ([("default", "m"), ("shadow", "m")], (None, None), "default/m"),
        ([("default", "m"), ("canary", "m")], (None, None), ""),
        ([("default", "m"), ("canary", "m")], ("canary", None), "canary/m"),
        ([("default", "a"), ("default", "b")], ("default", None), ""),
        ([("shadow", "m")], (None, None), ""),
        ([], (None, None), ""),
    ],
)
def test_whose_a_reward_is(legs: list[tuple[str, str]], named: tuple[str | None, str | None], home: str) -> None:
    responses = [a_response(1, predictor=predictor, model=model) for predictor, model in legs]
    predictor, model = named
    found = counts(*responses, a_feedback(reward=0.5, predictor=predictor, model=model, at=1))
    assert rewarded(found) == {f"ns/svc/{home}".rstrip("/"): (1, 0.5)}
    assert sum(reading.parts["feedback"] for reading in found.values()) == 1


def test_a_reward_that_names_no_service_finds_the_one_leg() -> None:
    anywhere = a_feedback(reward=1, namespace=None, service=None, predictor=None, model=None, at=1)
    assert rewarded(counts(anywhere)) == {"": (1, 1)}
    assert rewarded(counts(anywhere, a_response(1))) == {MODEL: (1, 1)}
    assert rewarded(counts(anywhere, a_response(1), a_response(1, predictor="canary"))) == {"ns/svc": (1, 1)}
    assert rewarded(counts(anywhere, a_response(1), a_response(1, service="other"))) == {"": (1, 1)}


def test_a_reward_of_a_shadows_copy_never_counts() -> None:
    copy = a_feedback(reward=1, predictor="shadow", at=1)
    assert not rewarded(counts(a_response(1, predictor="shadow"), a_response(1), copy))
    assert rewarded(counts(a_feedback(reward=0.25, at=0), copy)) == {MODEL: (1, 0.25)}
    assert rewarded(counts(copy, rules=(Rules(shadow=("silent",)),))) == {SHADOW: (1, 1)}
    assert not rewarded(counts(a_feedback(reward=1, predictor="silent"), rules=(Rules(shadow=("silent",)),)))


def test_one_reward_a_puid_whoever_it_names() -> None:
    found = counts(
        a_response(1), a_response(1, predictor="canary"), a_feedback(reward=1, at=1),
        a_feedback(reward=0, predictor="canary", at=2),
    )  # fmt: skip
    assert rewarded(found) == {"ns/svc/canary/m": (1, 0)}


@pytest.mark.parametrize(
    ("rewards", "number", "points"),
    [
        ([0], 1, 0),
        ([-1], 1, -1),
        ([True], 1, 1),
        ([False], 1, 0),
        ([1, 0], 1, 0),
        ([1, None], 0, 0),
        ([1, None, 2], 1, 2),
    ],
)
def test_zero_negative_and_bool_rewards_count(rewards: list[Any], number: int, points: float) -> None:
    events = [a_feedback(reward=reward, at=time) for time, reward in enumerate(rewards)]
    for more in ([], [a_response(1)], [a_response(1), a_request()], [a_response(1), a_feedback(1)]):
        reading = counts(*more, *events, a_request(puid="q"))[MODEL]
        assert (reading.rewards, reading.reward_points) == (number, points)


def test_sums_of_rewards_are_exact() -> None:
    ledger = Ledger().absorb(*(a_feedback(reward=0.1, puid=f"p{number}") for number in range(1000))).cut()
    assert ledger.models()[MODEL].reward_points == 100


def test_a_reward_is_no_verdict_and_a_label_no_reward() -> None:
    reading = counts(a_response(1), a_feedback(0, reward=1, at=1))[MODEL]
    assert (reading.rewards, judged(reading)) == (1, {"incorrect": 1})
    assert judged(counts(a_response(1), a_feedback(reward=1, at=1))[MODEL]) == {"unlabelled": 1}
    assert counts(a_response(1), a_feedback(0, at=1))[MODEL].rewards == 0


# -- rule 4: stored is what was counted -------------------------------------------------------------------------------


def test_a_change_of_rules_holds_from_then_on_and_makes_nothing_negative() -> None:
    ledger = Ledger(Rules(threshold=0.5)).absorb(
        a_response(0.7, puid="p"), a_feedback(1, puid="p"), a_response(0.7, puid="q"), a_feedback(1, puid="q")
    )
    ledger.cut().restart(Rules(threshold=0.9, scored_model="m", shadow=("default",)))
    assert ledger.models()[MODEL].confusion == {("1", "1"): 2}
    ledger.absorb(a_feedback(0, puid="p", at=9)).cut()
    assert ledger.models()[MODEL].confusion == {("1", "1"): 1, ("0", "0"): 1}
    ledger.absorb(a_feedback(None, puid="p", at=10), a_feedback(None, puid="q", at=10)).cut()
    assert ledger.models()[MODEL].confusion == {}
    assert all(amount > 0 for row in ledger.rows().values() for amount in row.values())


def test_a_model_that_is_no_longer_scored_gives_back_what_it_counted() -> None:
    ledger = Ledger().absorb(a_response(1), a_response(1, model="other"), a_feedback(1, model=None)).cut()
    assert judged(ledger.models()[MODEL]) == {"correct": 1}
    ledger.restart(Rules(scored_model="other"))
    ledger.absorb(a_request(at=1)).cut()
    assert judged(ledger.models()[MODEL]) == {"unlabelled": 1}


def test_what_has_been_taken_back_is_not_written() -> None:
    ledger = Ledger().absorb(a_response(1), a_feedback(1, reward=1, at=1), a_request(puid="q", at=1)).cut()
    ledger.absorb(a_feedback(0, reward=None, at=2), a_response(1, version="v2", puid="q", at=99)).cut()
    keys = [(parse_key(raw), value) for raw, value in ledger.panes[0].items()]
    written = [(key, parse_rows(key.row, value)) for key, value in keys if isinstance(key, RowKey)]
    assert all(all(columns.values()) for _, rows in written for columns in rows.values())
    kept = {(str(key.subject), row) for key, rows in written for row in rows}
    assert kept == {
        (MODEL, "exchanges"), (MODEL, "confusion=0"), (MODEL, "delay"),
        (f"{MODEL}@v2", "exchanges"), (f"{MODEL}@v2", "confusion/unlabelled"),
    }  # fmt: skip


# -- rule 6: the task -------------------------------------------------------------------------------------------------


def each(*pairs: tuple[Any, Any], names: Any = None) -> list[Record]:
    """One exchange for each (row of the response, label)."""
    records = []
    for number, (row, label) in enumerate(pairs):
        records.append(a_response(row, names=names, puid=f"p{number}"))
        if label is not None:
            records.append(a_feedback(label, puid=f"p{number}", at=1))
    return records


@pytest.mark.parametrize(
    ("records", "task", "classes"),
    [
        ([a_request()], "unknown", []),
        ([a_feedback(1, reward=1)], "unknown", []),
        (each((1, None)), "binary", ["1"]),
        (each((0, 0), (1, 1)), "binary", ["0", "1"]),
        (each((0, 0), (1, 2)), "multiclass", ["0", "1", "2"]),
        (each((0, 0), (2, None)), "multiclass", ["0", "2"]),
        (each(("a", "b")), "multiclass", ["a", "b"]),
        (each(([0.1, 0.9], None)), "binary", ["0", "1"]),
        (each(([0.1, 0.8, 0.1], None)), "multiclass", ["0", "1", "2"]),
        (each(([0.1, 0.9], None), names=["cat", "dog"]), "multiclass", ["cat", "dog"]),
        (each(([0.1, 0.9], None), names=["t:0", "t:1"]), "binary", ["0", "1"]),
        (each(([0.1, 0.9], "bird"), names=["cat", "dog"]), "multiclass", ["bird", "cat", "dog"]),
        (each((0.2, 0), (0.9, 1)), "binary", ["0", "1"]),
        (each((0.2, None)), "binary", ["0"]),
        (each((1.5, None)), "regression", []),
        (each((0.2, 0.3)), "regression", []),
        (each((0.2, 7)), "regression", []),
        (each((0.2, "cat")), "regression", []),
        (each((1, 1), (2, 2.5)), "binary", ["1"]),  # as many of either
        (each((1, 1), (2, 2.5), (3.5, 2)), "regression", []),
        (each((1, 1), (0, 0), (2, 2.5)), "binary", ["0", "1"]),
        (each((10, 10), (9, 9), (2, 2)), "multiclass", ["2", "9", "10"]),
    ],
)
def test_the_task_that_shows(records: list[Record], task: str, classes: list[str]) -> None:
    reading = counts(*records)[MODEL]
    assert (reading.task, reading.classes) == (task, classes)


def test_rows_of_the_other_nature_are_measured_and_most_rows_say_what_the_model_is() -> None:
    records = each((3, 3), (4, 5), (4, None))
    before = counts(*records)[MODEL]
    assert (before.task, judged(before)) == ("multiclass", {"correct": 1, "incorrect": 1, "unlabelled": 1})
    odd = a_feedback(4.5, puid="p2", at=2)
    during = counts(*records, odd)[MODEL]
    assert (during.task, during.confusion, judged(during)) == (
        "multiclass",
        {("3", "3"): 1, ("5", "4"): 1},
        {"correct": 1, "incorrect": 1, "measured": 1},
    )
    more = [a_feedback(label + 0.5, puid=f"p{number}", at=3) for number, label in enumerate((3, 5))]
    tipped = counts(*records, odd, *more)[MODEL]
    assert (tipped.task, tipped.confusion, judged(tipped)) == ("regression", {}, {"measured": 3})
    after = counts(*records, odd, a_feedback(4, puid="p2", at=3))[MODEL]
    assert (after.task, judged(after)) == ("multiclass", {"correct": 2, "incorrect": 1})


@pytest.mark.parametrize(
    ("rules", "task", "verdicts"),
    [
        (Rules(task="regression"), "regression", {"measured": 2, "unlabelled": 1}),
        (Rules(task="multiclass"), "multiclass", {"correct": 1, "incorrect": 1, "unlabelled": 1}),
        (Rules(positive="0"), "binary", {"correct": 1, "incorrect": 1, "unlabelled": 1}),
        (Rules("other/*", task="regression"), "binary", {"correct": 1, "incorrect": 1, "unlabelled": 1}),
    ],
)
def test_rules_settle_the_task(rules: Rules, task: str, verdicts: dict[str, int]) -> None:
    reading = counts(*each((1, 1), (1, 0), (0, None)), rules=(rules,))[MODEL]
    assert (reading.task, judged(reading)) == (task, verdicts)


def test_labels_may_be_names_indices_or_positions() -> None:
    names = ["setosa", "versicolor", "virginica"]
    story = each(*(([0.1, 0.7, 0.2], label) for label in ("versicolor", 1, "1", "t:1", [0, 1, 0])), names=names)
    story[-1] = a_feedback(truth={"data": {"ndarray": [[0, 1, 0]]}}, puid="p4", at=1)
    assert counts(*story)[MODEL].confusion == {("versicolor", "versicolor"): 5}


def test_names_of_class_numbers_go_before_positions() -> None:
    """scikit-learn's `classes_` of numbers, as some servers write them."""
    assert counts(*each(([0.9, 0.1], "1.0"), ([0.1, 0.9], "2.0"), names=["1.0", "2.0"]))[MODEL].confusion == {
        ("1.0", "1.0"): 1,
        ("2.0", "2.0"): 1,
    }


def test_a_failed_answer_is_counted_and_not_judged() -> None:
    reading = counts(a_response(body={"status": {"code": 500}}), a_feedback(1, at=1))[MODEL]
    assert (judged(reading), reading.parts["response"], reading.judged) == ({"failed": 1}, 1, 0)


# -- rule 7: rows -----------------------------------------------------------------------------------------------------


def test_every_row_counts_and_an_exchange_counts_once() -> None:
    reading = counts(a_request(), a_response(1, 0, 1), a_feedback([1, 1, 0], reward=1, at=70))[MODEL]
    assert reading.parts == {"request": 1, "response": 1, "feedback": 1}
    assert reading.confusion == {("1", "1"): 1, ("1", "0"): 1, ("0", "1"): 1}
    assert (sum(reading.delays), reading.delays[3], reading.delay_seconds) == (1, 1, 70)
    assert reading.rewards == 1


def test_rows_labelled_one_by_one_in_the_same_moment() -> None:
    labels = [a_feedback(1, row=row, at=None, stamp=1) for row in range(3)]
    assert judged(counts(a_response(1, 0, 1), *labels)[MODEL]) == {"correct": 2, "incorrect": 1}


def test_a_mismatch_is_counted_while_it_lasts() -> None:
    batch = a_response(1, 0, 1)
    assert counts(batch, a_feedback([1, 1], at=1))[MODEL].mismatched == 1
    assert counts(batch, a_feedback([1, 1], at=1), a_feedback([1, 1, 1], at=2))[MODEL].mismatched == 0
    assert counts(batch, a_feedback([1, 1], at=1), a_feedback(None, at=2))[MODEL].mismatched == 0


# -- the delay --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("seconds", "bucket"),
    [(0, 0), (-5, 0), (1, 0), (1.000001, 1), (10, 1), (11, 2), (60, 2), (300, 3), (1801, 5), (86400, 7), (2592001, 11)],
)
def test_the_delay_of_a_label_falls_into_its_bucket(seconds: float, bucket: int) -> None:
    reading = counts(a_response(1, at=0), a_feedback(1, at=seconds, stamp=max(0, min(seconds, 86400))))[MODEL]
    assert [index for index, amount in enumerate(reading.delays) if amount] == [bucket]
    assert reading.delay_seconds == max(0, seconds)


def test_the_delay_is_that_of_the_winning_label() -> None:
    reading = counts(a_response(1, at=0), a_feedback(0, at=2), a_feedback(1, at=90))[MODEL]
    assert (sum(reading.delays), reading.delay_seconds) == (1, 90)
    assert sum(counts(a_response(1), a_feedback(0, at=2), a_feedback(None, at=90))[MODEL].delays) == 0
    assert sum(counts(a_response(1), a_feedback(reward=1, at=2))[MODEL].delays) == 0


# -- rule 9: panes ----------------------------------------------------------------------------------------------------


def test_everything_is_counted_in_the_total_a_coarse_and_a_fine_pane() -> None:
    ledger = tell(a_response(1, at=61))
    (who,) = ledger.totals()
    assert ledger.rows() == {
        RowKey(who, "", level, pane, row): {column: 1}
        for level, pane in ((TOTAL, 0), (COARSE, START // 600), (FINE, FIRST_MINUTE + 1))
        for row, column in (("exchanges", "response"), ("confusion/unlabelled", "1"))
    }


def test_all_of_a_leg_falls_in_the_pane_of_its_response() -> None:
    ledger = tell(a_request(at=10), a_response(1, at=70), a_feedback(1, reward=1, at=700))
    exchanges = [("exchanges", part) for part in ("request", "response", "feedback")]
    for row, column in [*exchanges, ("rewards", "count"), ("rewards", "points")]:
        assert list(minutes(ledger, column, row)) == [(MODEL, 1)]
        assert list(minutes(ledger, column, row, level=COARSE)) == [(MODEL, 0)]
    assert minutes(ledger, "1", row="confusion=1") == {(MODEL, 1): 1}


def test_before_the_response_each_part_is_in_its_own_pane() -> None:
    ledger = tell(a_request(at=10), a_feedback(1, reward=1, at=700))
    assert minutes(ledger, "request") == {(MODEL, 0): 1}
    assert minutes(ledger, "feedback") == {(MODEL, 11): 1}
    assert minutes(ledger, "count", row="rewards") == {(MODEL, 11): 1}
    assert minutes(tell(a_feedback(1, at=130)), "feedback") == {(MODEL, 2): 1}


def test_parts_that_came_before_move_to_the_pane_and_the_version_of_the_response() -> None:
    ledger = Ledger().absorb(a_request(at=10), a_feedback(1, reward=1, at=700)).cut()
    assert list(ledger.models()) == [MODEL]
    ledger.absorb(a_response(1, version="v2", at=70)).cut()
    assert list(ledger.models()) == [f"{MODEL}@v2"]
    assert {key.pane for key in ledger.rows() if key.level == FINE} == {FIRST_MINUTE + 1}
    assert ledger.models()[f"{MODEL}@v2"].parts == {"request": 1, "response": 1, "feedback": 1}


def test_legs_of_one_puid_have_panes_of_their_own() -> None:
    ledger = tell(a_response(1, at=59), a_response(1, predictor="shadow", at=61), a_feedback(1, at=130))
    assert minutes(ledger, "1", row="confusion=1") == {(MODEL, 0): 1, (SHADOW, 1): 1}


@pytest.mark.parametrize(
    ("at", "stamp", "minute"),
    [
        (300, 0, 5),
        (300.001, 0, 0),
        (3600, 0, 0),
        (3600.25, 120.75, 2),
        (3600.75, 120.25, 2),
        (3600, 179.999, 2),
        (3600.999, 60, 1),
        (-86400, 0, -1440),
    ],
)
def test_a_pane_time_far_ahead_of_the_record_timestamp_takes_that(at: float, stamp: float, minute: int) -> None:
    for event, column in (
        (a_request(at=at, stamp=stamp), "request"),
        (a_response(1, at=at, stamp=stamp), "response"),
        (a_feedback(1, at=at, stamp=stamp), "feedback"),
    ):
        ledger = tell(event)
        assert minutes(ledger, column) == {(MODEL, minute): 1}
        assert minutes(ledger, column, level=COARSE) == {(MODEL, minute // 10): 1}


def test_a_clock_ahead_is_counted_and_does_not_change_who_wins() -> None:
    ahead = a_response(1, at=3600, stamp=0)
    assert tell(ahead, a_response(0, at=5, stamp=5)).describe()["legs"][0]["rows"] == [{"predicted": "1"}]
    assert Ledger().absorb(ahead, a_response(0, at=200, stamp=0)).stats.clock_ahead == 1


HOUR = 3600


def test_a_late_label_restates_its_panes_while_these_are_kept() -> None:
    ledger = Ledger().absorb(a_response(1, at=0)).cut(HOUR)
    ledger.absorb(a_feedback(1, at=HOUR)).cut(HOUR + 1)
    assert minutes(ledger, "1", row="confusion=1") == {(MODEL, 0): 1}
    assert ledger.models("5m", now=30)[MODEL].confusion == {("1", "1"): 1}
    assert ledger.stats.late == 0


def test_fine_panes_go_after_two_hours_and_coarse_ones_after_25() -> None:
    ledger = Ledger().absorb(a_response(1, at=0))
    levels = []
    for clock in (0, 2 * HOUR + 59, 2 * HOUR + 60, 25 * HOUR + 599, 25 * HOUR + 600):
        ledger.cut(clock)
        levels.append({key.level for key in ledger.rows()})
    assert levels == [{TOTAL, COARSE, FINE}] * 2 + [{TOTAL, COARSE}] * 2 + [{TOTAL}]
    assert len(ledger.panes[0]) == 3  # the total, when it was first seen, and the end of the epoch


def test_a_label_after_that_counts_in_the_totals_and_as_late() -> None:
    ledger = Ledger().absorb(a_response(1, at=0)).cut(26 * HOUR)
    assert ledger.stats.late == 0
    ledger.absorb(a_feedback(0, at=26 * HOUR)).cut(26 * HOUR)
    assert {key.level for key in ledger.rows()} == {TOTAL}
    assert ledger.models()[MODEL].confusion == {("0", "1"): 1}
    assert ledger.stats.late == 1
    ledger.absorb(a_feedback(1, at=27 * HOUR)).cut(27 * HOUR)
    assert ledger.models()[MODEL].confusion == {("1", "1"): 1}
    assert {key.level for key in ledger.rows()} == {TOTAL}


def test_a_clock_that_steps_back_makes_no_pane_negative() -> None:
    """A topic that was read to its end counts as now; what comes next may be older."""
    ledger = Ledger().absorb(a_response(1, at=0), a_feedback(1, at=0)).cut(0)
    ledger.cut(26 * HOUR)
    ledger.absorb(a_feedback(0, at=1)).cut(HOUR)
    assert all(amount > 0 for row in ledger.rows().values() for amount in row.values())


def test_events_of_a_partition_that_is_behind_are_counted_in_their_panes() -> None:
    assert {key.level for key in Ledger().absorb(a_response(1, at=-90 * HOUR)).cut(None).rows()} == {
        TOTAL,
        COARSE,
        FINE,
    }


def test_a_model_is_first_seen_in_its_earliest_pane() -> None:
    ledger = Ledger(partitions=2).absorb(a_response(1, puid="a", at=130)).cut()
    ledger.absorb(a_response(1, puid="b", at=70), a_response(1, puid="c", at=200)).cut()
    (who,) = ledger.totals()
    assert ledger.view().first_seen(who) == START + 60
    assert ledger.copy().absorb(a_response(1, puid="d", at=5)).cut().view().first_seen(who) == START


# -- who is judged, and by what ---------------------------------------------------------------------------------------


def test_a_model_of_two_natures_is_told_once_with_the_puid_that_showed_it() -> None:
    ledger = Ledger()
    notes = []
    for record in (*each((3, 3), (4, 4.5), (5, 5.5)), a_feedback(3.5, puid="p0", at=9)):
        ledger.absorb(record)
        notes += ledger.shards[0].cut(None).notes
    (note,) = notes
    assert "ns/svc/default/m" in note
    assert "'p1'" in note


def test_the_report_says_what_is_counted_as_measured() -> None:
    ledger = tell(*each((3, 3), (4, 4.5), (5, 5)))
    ((identity, readings),) = ledger.readings().of_models(START)
    model = report_of(identity, readings, 0, Rulebook())
    (note,) = model["notes"]
    assert note.startswith("1 of 3 labelled rows are of another nature")


def test_a_feedback_that_names_a_model_of_no_part_in_the_exchange_judges_the_others_of_its_predictor() -> None:
    found = counts(a_response(1, model="b"), a_feedback(1, model="a", at=1))
    assert {who: judged(read) for who, read in found.items()} == {"ns/svc/default/b": {"correct": 1}}
    both = counts(a_response(1, model="b"), a_response(0, model="a"), a_feedback(1, model="a", at=1))
    assert judged(both["ns/svc/default/b"]) == {"unlabelled": 1}


def test_no_model_appears_from_a_feedback_alone() -> None:
    assert counts(a_feedback(1)) == {}
    assert list(counts(a_feedback(1, service="typo"), a_response(1))) == [MODEL]
    assert list(counts(a_feedback(1, reward=1))) == [MODEL]  # a reward is counted to it


def test_beside_the_scored_model_none_of_its_predictor_is_judged_even_where_it_has_not_answered() -> None:
    rules = (Rules("ns/svc/*", scored_model="classifier"),)
    found = counts(a_response(1, model="transformer"), a_feedback(1, model="transformer", at=1), rules=rules)
    assert judged(found["ns/svc/default/transformer"]) == {"unlabelled": 1}


def test_a_failed_answer_has_no_rows_to_mismatch_or_to_be_late_for() -> None:
    failed = {"status": {"code": 503, "status": "FAILURE"}}
    (read,) = counts(a_response(body=failed), a_feedback([1, 0, 1], at=99)).values()
    assert judged(read) == {"failed": 1}
    assert (read.mismatched, sum(read.delays), read.parts["feedback"]) == (0, 0, 1)


def test_taking_back_what_nobody_has_said_is_no_feedback() -> None:
    (read,) = counts(a_response(1), a_feedback(None, at=1)).values()
    assert (read.parts["feedback"], judged(read)) == (0, {"unlabelled": 1})


def test_a_reward_that_names_only_a_model_is_that_models_or_nobodys() -> None:
    answers = [a_response(1, model="a"), a_response(1, model="b", predictor="canary")]
    reward = a_feedback(reward=1, predictor=None, model="b", at=1)
    assert rewarded(counts(*answers, reward)) == {"ns/svc/canary/b": (1, 1.0)}
    nobody = a_feedback(reward=1, predictor=None, model="c", at=1)
    assert rewarded(counts(*answers, nobody)) == {"ns/svc": (1, 1.0)}


@pytest.mark.parametrize(
    ("classes", "positive", "answer", "label", "cell"),
    [
        (("no", "yes"), "yes", [[0.1, 0.9]], "yes", ("yes", "yes")),
        (("no", "yes"), "yes", [[0.9, 0.1]], 1, ("yes", "no")),
        (("a", "b", "c"), None, [[0.1, 0.2, 0.7]], 2, ("c", "c")),
        (("no", "yes"), "yes", [0.97], "yes", ("yes", "yes")),
        (("no", "yes"), "yes", [1.0], "yes", ("yes", "yes")),
        (("ok", "fraud"), "fraud", [0], "ok", ("ok", "ok")),
        (("no", "yes"), "yes", [1.0000001192092896], "yes", ("yes", "yes")),
        (("no", "yes"), "yes", [-1.5e-8], "no", ("no", "no")),
    ],
)
def test_classes_of_the_rules_name_positions_and_what_scores_mean(
    classes: tuple[str, ...], positive: str | None, answer: list[Any], label: Any, cell: tuple[str, str]
) -> None:
    rules = (Rules(classes=classes, positive=positive),)
    (read,) = counts(a_response(*answer), a_feedback(label, at=1), rules=rules).values()
    assert read.confusion == {cell: 1}
    assert set(read.classes) == set(classes)


@pytest.mark.parametrize("score", [1.0000001192092896, -1.4901161193847656e-08, 1.0, 0.0, 0, 1])
def test_a_score_at_the_ends_or_beyond_them_by_rounding_is_a_score(score: float) -> None:
    expected = "1" if score > 0.5 else "0"
    for rules in (Rules(), Rules(task="binary", positive="1"), Rules(classes=("0", "1"))):
        found = counts(a_response(score), a_response(0.7, puid="q"), a_feedback(int(expected), at=1), rules=(rules,))
        assert found[MODEL].confusion == {(expected, expected): 1}
        assert found[MODEL].task == "binary"


@pytest.mark.parametrize(
    ("answer", "label"), [(True, "True"), ("true", True), ("True", 1), (1, "true"), ("FALSE", 0), (False, "False")]
)
def test_booleans_and_their_texts_are_one_class(answer: Any, label: Any) -> None:
    assert judged(counts(a_response(answer), a_feedback(label, at=1))[MODEL]) == {"correct": 1}


def test_blanks_around_a_class_do_not_matter_and_an_empty_one_is_seen() -> None:
    assert judged(counts(a_response(" cat\t"), a_feedback("cat\n", at=1))[MODEL]) == {"correct": 1}
    empty = counts(a_response(""), a_feedback("cat", at=1))[MODEL]
    assert empty.confusion == {("cat", "(empty)"): 1}


# -- times ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("cuts", [[1, 1, 1], []])
def test_a_model_is_first_seen_with_the_earliest_of_its_parts(cuts: list[int]) -> None:
    ledger = run([a_request(at=70), a_response(1, at=200), a_feedback(1, at=10)], cuts)
    (identity,) = ledger.totals()
    assert ledger.view().first_seen(identity) == START


def test_of_the_same_event_twice_the_lower_record_time_holds() -> None:
    """Its event time is ahead of its clock, so the record time is the one that it falls by."""
    for first, again in ((90, 30), (30, 90)):
        story = [a_response(1, at=3600, stamp=first), a_response(1, at=3600, stamp=again)]
        assert minutes(run(story, [1]), "response") == {(MODEL, 0): 1}
        story = [a_feedback(1, reward=1, at=3600, stamp=first), a_feedback(1, reward=1, at=3600, stamp=again)]
        assert minutes(run(story, [1]), "feedback") == {(MODEL, 0): 1}


DAY = 86400


@pytest.mark.parametrize("clock", [None, 8 * DAY])
def test_a_label_that_is_too_late_is_so_however_late_the_partition_is_read(clock: float | None) -> None:
    """Whether the clock has passed in between, or all of it is read at once."""
    ledger = Ledger().absorb(a_response(1, at=0)).cut(clock)
    ledger.absorb(a_feedback(1, at=8 * DAY)).cut(clock)
    assert judged(ledger.models()[MODEL]) == {"unlabelled": 1}
    in_time = Ledger().absorb(a_response(1, at=0), a_feedback(1, at=6 * DAY)).cut()
    assert judged(in_time.models()[MODEL]) == {"correct": 1}
    new = Ledger().absorb(a_response(1, at=0), a_response(0, at=8 * DAY), a_feedback(0, at=8 * DAY + 1)).cut()
    assert judged(new.models()[MODEL]) == {"correct": 1, "unlabelled": 1}


# -- found by the oracle (tests/oracle) -------------------------------------------------------------------------------


def test_a_score_between_two_known_classes_is_judged_whatever_its_label_is() -> None:
    for rules, names in ((Rules(classes=("no", "yes")), None), (Rules(), ["no", "yes"])):
        reading = counts(a_response(0.7, names=names), a_feedback("maybe", at=1), rules=(rules,))[MODEL]
        assert (reading.task, reading.confusion) == ("multiclass", {("maybe", "yes"): 1})


def test_of_two_declared_classes_the_second_is_the_positive_one() -> None:
    """In what is shown as in what a score means."""
    rules = (Rules(task="binary", classes=("no", "yes")),)
    reading = counts(*each((0.9, "yes"), (0.1, "yes"), (0.8, "no"), (0.2, "no")), rules=rules)[MODEL]
    assert reading.outcomes == {"": (1, 1, 1, 1)}


@pytest.mark.parametrize("service", [None, "svc"])
def test_a_reward_that_names_a_leg_without_its_namespace_finds_that(service: str | None) -> None:
    reward = a_feedback(reward=1, namespace=None, service=service, at=1)
    assert rewarded(counts(a_response(1), a_response(1, model="n"), reward)) == {MODEL: (1, 1)}
    assert rewarded(counts(a_response(1), a_response(1, namespace="far"), reward)) == {
        f"/{service or ''}/default/m": (1, 1)
    }


@pytest.mark.parametrize(
    "outdated",
    [
        (a_feedback(1, row=0, predictor="canary", at=1), a_feedback([1], at=2)),
        (a_feedback([1], predictor="canary", at=1), a_feedback(1, row=0, at=2)),
        (a_feedback([1, 1], predictor="canary", at=1), a_feedback([1, None], at=2), a_feedback(1, row=1, at=3)),
    ],
)
def test_of_a_label_that_is_outdated_in_every_row_nothing_counts(outdated: tuple[Record, ...]) -> None:
    """Not even as a feedback of whom it names, whether labels are those of a batch or of a row."""
    asked = [a_request(puid="q"), a_request(puid="q", predictor="canary"), a_request(service="far")]
    found = counts(*outdated, *asked)
    assert [found[f"ns/svc/{predictor}/m"].parts["feedback"] for predictor in ("default", "canary")] == [1, 0]


def test_labels_of_rows_that_are_taken_back_for_the_batch_are_no_feedback() -> None:
    found = counts(a_response(1, 0), a_feedback(1, row=0, at=1), a_feedback(1, row=1, at=2), a_feedback(None, at=3))
    assert (found[MODEL].parts["feedback"], judged(found[MODEL])) == (0, {"unlabelled": 2})


@pytest.mark.parametrize(
    "parts",
    [
        [a_feedback(reward=1, at=-70)],
        [a_feedback(1, row=0, at=-70), a_feedback(1, row=1, at=70)],
        [a_feedback(1, at=90, stamp=-230)],  # its clock is ahead
        [a_feedback(1, at=-70), a_feedback(reward=1, at=70)],
    ],
)
@pytest.mark.parametrize("answer", [a_response(1, 1, at=5), a_response(1, at=5), a_request(at=5)])
def test_a_model_is_first_seen_with_any_part_that_is_counted_to_it(parts: list[Record], answer: Record) -> None:
    for records in ([answer, *parts], [*parts, answer]):
        ledger = run(records, [])
        (identity,) = ledger.totals()
        seen = min(part.timestamp // 1000 for part in parts)
        assert ledger.view().first_seen(identity) == seen // 60 * 60


def test_an_exchange_with_labels_by_row_is_forgotten_as_any_other() -> None:
    """All of it is read at once, before any clock could have passed."""
    old = [a_request(at=0), a_feedback(1, row=0, at=1), a_feedback(1, row=1, at=2)]
    (read,) = run([*old, a_response(1, at=8 * DAY)], []).models().values()
    assert (read.parts, judged(read)) == ({"request": 1, "response": 1, "feedback": 1}, {"unlabelled": 1})


def test_scores_that_miss_their_limits_are_notes_of_the_model() -> None:
    """Where they rest on enough rows; errors miss theirs upwards."""
    rules = (
        Rules("*/svc/*", limits=(("accuracy", "", 0.9), ("recall", "", 0.1)), least_count=3),
        Rules("*/house/*", task="regression", limits=(("mae", "", 0.5),), least_count=1),
    )
    ledger = Ledger(*rules)
    for number, answer in enumerate((1, 1, 0)):
        ledger.absorb(a_response(answer, puid=f"p{number}", at=number), a_feedback(1, puid=f"p{number}", at=number))
    ledger.absorb(a_response(2.5, service="house", at=1), a_feedback(1.25, service="house", at=2)).cut()
    readings = ledger.readings()
    rulebook = Rulebook(rules)
    notes = [report_of(who, one, 0, rulebook)["notes"] for who, one in readings.of_models(START + 7200)]
    assert notes == [
        [f"mae is 1.25, above its limit of 0.5 ({window}, 1 rows)." for window in ("total", "24h")],
        [f"accuracy is 0.6667, below its limit of 0.9 ({window}, 3 rows)." for window in ("total", "24h")],
    ]
