"""Exchanges that are large, or have many parts: exact like all others, and each event costs them little."""

import itertools
import random
from collections import Counter

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.events import Reason
from app.core.join import bulky
from app.core.join.statements import RowLabel, RowLabels
from app.core.limits import Limits
from tests.builders import MODEL, Ledger, Record, a_feedback, a_request, a_response, run
from tests.core.test_laws import stories


def labelled_one_by_one(rows: int, seed: int = 1) -> tuple[list[Record], Counter[tuple[str, str]]]:
    """An answer of many rows, each labelled twice by itself, in random order; and the confusion that must come out."""
    rng = random.Random(seed)
    predicted = [rng.randrange(3) for _ in range(rows)]
    order = list(range(rows)) * 2
    rng.shuffle(order)
    labels: dict[int, int] = {}
    records = [a_response(*predicted)]
    for number, row in enumerate(order):
        labels[row] = rng.randrange(3)
        records.append(a_feedback(labels[row], row=row, at=1 + number / 1000))
    return records, Counter((str(labels[row]), str(predicted[row])) for row in range(rows))


@pytest.mark.parametrize("batch", [1, 7, 1000])
def test_a_batch_that_is_labelled_row_by_row_counts_each_row_once(batch: int) -> None:
    records, expected = labelled_one_by_one(300)
    ledger = Ledger()
    for begin in range(0, len(records), batch):
        ledger.absorb(*records[begin : begin + batch]).settle()
        if begin % 3 == 0:
            ledger.cut()
    ledger.cut()
    assert ledger.models()[MODEL].confusion == expected
    assert not ledger.dead
    ledger.restart()
    again = ledger.absorb(*records[1:]).cut()
    assert again.models()[MODEL].confusion == expected
    assert again.stats.duplicates["feedback"] >= 600


@pytest.mark.parametrize(("rows", "waits"), [(200, False), (3000, True)], ids=["large", "bulky"])
def test_large_exchanges_are_prepared_bit_by_bit_and_count_the_same(rows: int, waits: bool) -> None:
    records = [a_response(*range(rows), puid=f"p-{number}") for number in range(60)]
    records += [a_feedback(list(range(rows)), puid=f"p-{number}", at=1) for number in range(0, 60, 2)]
    ledger, alike = Ledger().absorb(*records), Ledger().absorb(*records)
    shard = ledger.shards[0]
    assert (shard.unsettled, shard.unprepared) == (0 if waits else 60, 60)
    left = [60]
    while left[-1]:
        assert shard.prepare_some() == (shard.unprepared == 0)
        left.append(shard.unprepared)
    steps = [before - after for before, after in itertools.pairwise(left)]
    assert len(steps) >= 5, "a few at a time"
    assert (max(steps) - 1) * rows <= 3000, "exchanges, and a pane that is counted"
    ledger.cut()
    assert ledger.panes == alike.cut().panes
    assert ledger.exchanges == alike.exchanges
    more = a_feedback([0] * rows, puid="p-1", at=2)
    assert ledger.absorb(more).cut().panes == alike.absorb(more).cut().panes


def test_many_counts_are_prepared_bit_by_bit() -> None:
    answers = (a_response(f"{number // 40}", puid=f"p-{number}", model=f"{number % 40}") for number in range(30_000))
    shard = Ledger().absorb(*answers).settle().shards[0]
    steps = [shard.prepare_some() for _ in range(20)]
    assert not any(steps[:3]), "changes that are counted"
    assert steps[-1]


def test_small_exchanges_are_settled_at_once() -> None:
    ledger = Ledger().absorb(*(a_response(1, puid=f"p-{number}") for number in range(599)))
    assert ledger.shards[0].settle_some()


def test_ten_thousand_labelled_rows_fit() -> None:
    records, expected = labelled_one_by_one(10_000)
    ledger = Ledger().absorb(*records).cut()
    assert not ledger.dead
    assert ledger.models()[MODEL].confusion == expected
    assert max(map(len, ledger.exchanges[0].values())) < Limits().exchange_bytes


def test_four_hundred_legs_of_one_puid() -> None:
    names = [f"predictor-{number}" for number in range(400)]
    records = [a_response(number % 2, predictor=name) for number, name in enumerate(names)]
    ledger = run([*records, a_feedback(1, predictor=None, model=None, at=1)], [100, 100])
    found = ledger.models()
    assert len(found) == 400
    assert {tuple(found[f"ns/svc/{name}/m"].confusion) for name in names} == {(("1", "0"),), (("1", "1"),)}


def test_what_does_not_fit_is_refused_and_leaves_no_trace() -> None:
    text = "x" * 150
    answers = [a_response(*[text] * 300, predictor=f"p{number}", at=number) for number in range(8)]
    ledger = Ledger()
    for answer in answers:
        ledger.absorb(answer).settle()
    ledger.cut()
    fit = len(ledger.models())
    assert 3 < fit < 8
    assert ledger.refusals == [Reason.EXCHANGE_TOO_LARGE] * (8 - fit)
    assert max(map(len, ledger.exchanges[0].values())) <= Limits().exchange_bytes
    ledger.absorb(a_feedback(["x"] * 300, predictor="p0", at=50), a_request(predictor="p0", at=-1)).cut()
    assert ledger.models()["ns/svc/p0/m"].judged == 300
    ledger.restart()
    assert len(ledger.models()) == fit


@pytest.mark.parametrize("largest", [11_000, 41_000, 256_000])
@given(story=stories, seed=st.integers(0, 99))
@settings(max_examples=20)
def test_no_exchange_is_larger_than_it_may_be(largest: int, story: list[Record], seed: int) -> None:
    """However many small events come of a puid, and whatever large ones; all others count as they do elsewhere."""
    rng = random.Random(seed)
    text = "x" * 150
    crowd = [
        rng.choice(
            [
                a_response(*[text] * rng.randrange(1, 9), predictor=f"p{number}", at=number, puid="other"),
                a_feedback([text] * rng.randrange(1, 9), predictor=f"p{number}", at=number, puid="other"),
                a_request(predictor=f"q{number}", at=number, puid="other"),
                a_response(*range(rng.randrange(1, 300)), predictor=f"p{number}", at=number, puid="other"),
            ]
        )
        for number in range(150)
    ]
    limits = Limits(exchange_bytes=largest)
    ledger = run([*crowd, *story], [50] * 3, limits=limits)
    sizes = [len(value) for key, value in ledger.exchanges[0].items() if key[0] != 0]
    assert max(sizes) <= largest
    assert set(ledger.refusals) <= {Reason.EXCHANGE_TOO_LARGE}


def test_a_limit_that_is_lowered_leaves_what_is_larger_as_it_is() -> None:
    rows = ["x" * 150] * 200
    ledger = run([a_response(*rows, puid="large"), a_response("a", puid="small")], [])
    before = ledger.exchanges[0][b"large"]
    ledger.shards[0].limit(Limits(exchange_bytes=20_000))
    ledger.absorb(a_feedback(["a"] * 200, puid="large", at=1), a_feedback("a", puid="small", at=1)).cut()
    assert ledger.refusals == [Reason.EXCHANGE_TOO_LARGE]
    assert "beyond 20000 bytes" in ledger.dead[0].detail
    assert ledger.exchanges[0][b"large"] == before
    assert ledger.models()[MODEL].judged == 1
    ledger.shards[0].limit(Limits())
    ledger.absorb(a_feedback(["a"] * 200, puid="large", at=2)).cut()
    assert ledger.models()[MODEL].judged == 201


def test_a_puid_that_is_too_long_is_refused() -> None:
    ledger = run([a_request(puid="p" * 101), a_request(puid="p" * 100)], [], limits=Limits(puid_bytes=100))
    assert ledger.refusals == [Reason.TOO_LARGE]
    assert ledger.dead[0].detail == "the puid has 101 bytes; at most 100"


def test_a_list_of_classes_that_the_changelog_does_not_take_is_refused() -> None:
    names = [f"{number}" * 50 for number in range(100, 300)]
    vector = [[1.0, *[0.0] * 199]]
    answers = [a_response(*vector, names=names, puid="p"), a_response(*vector, puid="q")]
    ledger = run(answers, [], limits=Limits(exchange_bytes=30_000))
    assert ledger.refusals == [Reason.EXCHANGE_TOO_LARGE]
    assert "the names of its classes have" in ledger.dead[0].detail
    assert max(map(len, ledger.exchanges[0].values())) < 30_000
    assert not run(answers, []).dead


def test_who_knocks_at_a_full_exchange_is_turned_away_without_measuring(monkeypatch: pytest.MonkeyPatch) -> None:
    text = "x" * 150
    full = [a_response(*[text] * 300, predictor=f"p{number}") for number in range(8)]
    ledger = Ledger().absorb(*full)
    measured: list[object] = []
    monkeypatch.setattr(bulky, "encode", measured.append)
    ledger.absorb(*[a_response(*[text] * 300, predictor="more", at=at) for at in range(1000)])
    assert not measured
    assert len(ledger.shards[0]._outgoing.dead) > 1000


def test_what_is_asked_of_an_exchange_before_the_cut_is_what_it_is() -> None:
    records, _ = labelled_one_by_one(20)
    ledger = Ledger().absorb(*records).settle()
    before = ledger.describe()
    assert ledger.cut().describe() == before
    assert len(before["legs"][0]["rows"]) == 20


def test_a_bulky_exchange_expires_like_any_other() -> None:
    records, _ = labelled_one_by_one(100)
    ledger = Ledger().absorb(*records).cut(0)
    assert ledger.knows()
    ledger.cut(8 * 86400)
    assert not ledger.knows()
    assert b"p" not in ledger.exchanges[0]


marks = st.none() | st.integers(0, 5) | st.text(max_size=3) | st.sampled_from([0.5, 2.25])
labels = st.builds(RowLabel, st.integers(1, 2**60), st.integers(0, 2**64 - 1), st.integers(0, 10**6), marks)


@given(st.integers(0, 1000), st.dictionaries(st.integers(0, 9_999_999), labels, min_size=1, max_size=20))
def test_labels_of_rows_are_read_as_they_were_packed(named: int, rows: dict[int, RowLabel]) -> None:
    again = RowLabels.unpacked(RowLabels(named, rows).packed())
    assert (again.named, again.rows) == (named, rows)


# -- labels of rows ---------------------------------------------------------------------------------------------------


def test_the_newest_statement_of_each_row_holds_in_any_order() -> None:
    answer = a_response(1, 1, 1)
    stated = [
        a_feedback([0, 0, 0], at=1),
        a_feedback(1, row=1, at=2),
        a_feedback([1, 0, 1], at=3),
        a_feedback(0, row=2, at=4),
        a_feedback(None, row=0, at=5),
    ]
    found = []
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3], [1, 4, 0, 3, 2]):
        ledger = run([answer, *(stated[index] for index in order)], [1] * 5)
        found.append((orjson.dumps(ledger.describe()["legs"][0]["rows"]), ledger.models()[MODEL].rows))
    assert all(one == found[0] for one in found)
    assert found[0][1] | {"failed": 0} == {"correct": 0, "incorrect": 2, "measured": 0, "unlabelled": 1, "failed": 0}


def test_an_equal_label_again_is_a_duplicate_and_no_correction() -> None:
    ledger = run([a_response(1), a_feedback(1, at=1), a_feedback(1, at=2), a_feedback(1, reward=1, at=3)], [])
    assert ledger.stats.corrections == 0
    assert ledger.stats.duplicates["feedback"] == 1
    ledger = run([a_response(1, 0), *(a_feedback(label, row=0, at=label + 1) for label in (0, 0, 1))], [])
    assert ledger.stats.corrections == 1


def test_a_label_for_a_row_that_is_not_there_is_a_mismatch_until_it_is_taken_back() -> None:
    records = [a_response(1, 0), a_feedback(1, row=5, at=1)]
    assert run(records, []).models()[MODEL].mismatched == 1
    assert run([*records, a_feedback(None, row=5, at=2)], []).models()[MODEL].mismatched == 0
