"""Feedback for an id that ends as those of rows do: it is about a row, or about a puid of that name."""

import random
from collections import Counter
from itertools import groupby

import orjson
import pytest

from app.core.wire.records import Record as Read
from app.core.wire.records import pack_headers
from tests.builders import MODEL, Ledger, Record, a_feedback, a_request, a_response, kind_of, tell

#: An id that ends as those of rows do, and feedback for it: it is keyed as that of a row.
OWN = "cart-item-1"


def about(label: int, row: int = 1, puid: str = "cart", at: float = 1, **fields: object) -> Record:
    return a_feedback(label, row=row, puid=puid, at=at, **fields)  # type: ignore[arg-type]


def folded(records: list[Record], seed: int, partitions: int = 4) -> Ledger:
    """The records in an order by chance, in epochs of any size; what is lent comes some time later."""
    rng = random.Random(seed)
    waiting: list[tuple[str, Read]] = [(kind_of(record), record.read()) for record in records]
    rng.shuffle(waiting)
    ledger = Ledger(partitions=partitions, logs=True)
    while waiting:
        count = rng.randrange(1, 4)
        for topic, batch in groupby(waiting[:count], key=lambda one: one[0]):
            ledger.take(topic, [record for _, record in batch])
        waiting = waiting[count:]
        ledger.cut()
        for lent in ledger.lent:
            record = Read(0, lent.record.timestamp, lent.key, lent.record.value, pack_headers(lent.headers))
            waiting.insert(rng.randrange(len(waiting) + 1), ("feedback", record))
        ledger.lent.clear()
        if rng.random() < 0.2:
            ledger.restart()
    assert not ledger.dead
    assert not ledger.astray
    return ledger


@pytest.mark.parametrize("seed", range(20))
def test_ids_of_the_user_that_end_like_rows_are_judged(seed: int) -> None:
    records = []
    for number in range(3):
        own = {"puid": f"cart-item-{number}", "at": 0.0}
        records += [a_request(**own), a_response(number % 2, **own), about(1, row=number, reward=1)]  # type: ignore[arg-type]
    ledger = folded(records, seed)
    model = ledger.models()[MODEL]
    assert model.parts == {"request": 3, "response": 3, "feedback": 3}
    assert ledger.stats.events.total() == 9, "a copy that is lent is no event of its own"
    assert model.confusion == {("1", "0"): 2, ("1", "1"): 1}
    assert (model.rewards, model.reward_points, model.mismatched) == (3, 3.0, 0)
    told = Counter(
        (puid.decode(), part["kind"]) for puid, record in ledger.logged for part in orjson.loads(record)["parts"]
    )
    kinds = ("request", "response", "feedback")
    assert told == {(f"cart-item-{number}", kind): 1 for number in range(3) for kind in kinds}


@pytest.mark.parametrize("seed", range(20))
def test_rows_are_judged_in_any_order(seed: int) -> None:
    """What is lent to their ids counts nowhere."""
    records = [a_request(), a_response(0, 1, 1), *(about(1, row=row, puid="p", reward=row) for row in range(3))]
    ledger = folded(records, seed)
    model = ledger.models()[MODEL]
    assert model.parts == {"request": 1, "response": 1, "feedback": 1}
    assert model.confusion == {("1", "0"): 1, ("1", "1"): 2}
    assert model.rewards == 1


def test_where_the_base_is_known_nothing_is_lent() -> None:
    assert not tell(a_request(), about(1, puid="p")).lent
    assert not tell(a_response(1, 0), about(1, puid="p")).lent
    assert not tell(about(1, puid="p"), a_request()).lent, "it comes in the same epoch"
    assert len(tell(about(1, puid="p")).lent) == 1
    assert len(tell(about(1, puid="p"), about(1, puid="p")).lent) == 1, "a redelivery"


@pytest.mark.parametrize("seed", range(5))
def test_while_neither_is_known_it_counts_nowhere(seed: int) -> None:
    ledger = folded([about(1, reward=1), a_response(1, puid="q", at=0)], seed)
    assert ledger.models()[MODEL].parts == {"request": 0, "response": 1, "feedback": 0}
    assert ledger.models()[MODEL].rewards == 0


def test_it_expires_as_one_orphan_without_a_document() -> None:
    """A document of its id may be that of another puid."""
    ledger = folded([about(1, reward=1)], 1).cut(8 * 86400)
    assert ledger.stats.orphans == 1
    assert not ledger.logged


def test_a_feedback_under_such_an_id_as_its_own_key_is_a_feedback_for_it() -> None:
    ledger = tell(a_response(1, puid=OWN), a_feedback(0, puid=OWN, at=1))
    assert ledger.models()[MODEL].confusion == {("0", "1"): 1}
    assert not ledger.lent


@pytest.mark.parametrize("seed", range(5))
def test_a_correction_reaches_it_too(seed: int) -> None:
    records = [a_response(1, puid=OWN, at=0), about(0), about(1, at=2), about(0, reward=0.5, at=1.5)]
    model = folded(records, seed).models()[MODEL]
    assert model.confusion == {("1", "1"): 1}
    assert (model.rewards, model.reward_points) == (1, 0.5)


def test_a_response_that_the_feedback_of_a_row_carries_is_not_taken() -> None:
    """It may be that of the row alone."""
    ledger = tell(a_request(), about(1, row=0, puid="p", response={"data": {"ndarray": [1]}}))
    assert ledger.models()[MODEL].parts == {"request": 1, "response": 0, "feedback": 1}
