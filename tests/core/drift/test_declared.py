"""Declared features: what of their values is missing, invalid or valid, and how that is counted and shown."""

from typing import Any

import pytest

from app.core.drift.declared import INVALID, MISSING, ROW, VALID, Declared, checking
from app.core.drift.kept import MOST_BINS
from app.core.drift.live import Live, Watched
from app.core.drift.reference import Reference
from app.core.outputs.report import reports_of
from app.core.rules import Rules
from tests.builders import START, Ledger, Record, a_request, a_response, a_shard, absorb, run, tell, ways
from tests.core.join.test_drift import AGE, COUNTRY, WHOLE, asked, live, reading
from tests.core.outputs.test_drift import series

AGES = Declared("age", 0.0, 120.0)
LANDS = Declared("country", one_of=("DE", "FR", "1"))
NAMES = ["age", "country"]


NO_REFERENCE = Reference(())


def rules(reference: Reference = NO_REFERENCE, *declared: Declared, columns: tuple[str, ...] = ()) -> Rules:
    return Rules(reference=Watched("", Live(reference, 1, declared or (AGES, LANDS), columns)))


@pytest.mark.parametrize(
    ("declared", "value", "found"),
    [
        (AGES, 0, VALID), (AGES, 120.0, VALID), (AGES, "30", VALID), (AGES, True, VALID),
        (AGES, -0.001, INVALID), (AGES, 121, INVALID), (AGES, "old", INVALID), (AGES, [30], INVALID),
        (AGES, {"a": 1}, INVALID), (AGES, float("inf"), INVALID), (AGES, "Infinity", INVALID), (AGES, 10**400, INVALID),
        (AGES, None, MISSING), (AGES, "", MISSING), (AGES, " ", MISSING), (AGES, "NaN", MISSING),
        (AGES, float("nan"), MISSING),
        (Declared("age", least=18.0), 1e300, VALID), (Declared("age", most=18.0), -1e300, VALID),
        (Declared("age", least=18.0), 17, INVALID), (Declared("age", most=18.0), 19, INVALID),
        (LANDS, "DE", VALID), (LANDS, " DE ", VALID), (LANDS, 1, VALID), (LANDS, 1.0, VALID), (LANDS, True, VALID),
        (LANDS, "de", INVALID), (LANDS, "IT", INVALID), (LANDS, 2, INVALID), (LANDS, [], INVALID),
        (LANDS, None, MISSING), (LANDS, "", MISSING), (LANDS, float("nan"), MISSING),
    ],
)  # fmt: skip
def test_a_value_is_missing_invalid_or_valid(declared: Declared, value: Any, found: int) -> None:
    assert checking(declared)(value) == found


def shares(ledger: Ledger, window: str = "total") -> dict[str, tuple[int, float | None, int | None]]:
    return {
        name: (one.rows, one.missing, one.invalid_rows) for name, one in reading(ledger, window=window).drifts.items()
    }


STORY = (
    asked([20, "DE"], names=NAMES, puid="a"), asked([200, "IT"], names=NAMES, puid="b"),
    asked([None, "FR"], names=NAMES, puid="c"), asked([-5, "FR"], names=NAMES, puid="d"),
    *(a_response(1, puid=puid, at=1) for puid in "abcd"),
)  # fmt: skip


def test_rows_are_counted_by_feature_and_as_a_whole_without_any_reference() -> None:
    ledger = tell(*STORY, rules=(rules(),))
    assert shares(ledger) == {"age": (4, 0.25, 2), "country": (4, 0.0, 1), ROW: (4, 0.0, 2)}
    assert reading(ledger).drifts["age"].invalid == 0.5
    assert reading(ledger).share is None


def test_beside_a_reference_both_are_said_of_a_feature_and_drift_is_as_without_declaration() -> None:
    alone = tell(*STORY, rules=(Rules(reference=Watched("", Live(WHOLE, 1))),))
    both = tell(*STORY, rules=(rules(WHOLE),))
    for name in NAMES:
        one, other = reading(both).drifts[name], reading(alone).drifts[name]
        assert one._replace(invalid=None, invalid_rows=None) == other
        assert live(both, name) == live(alone, name)
    assert reading(both).share == reading(alone).share
    assert reading(both).drifts["age"].invalid_rows == 2
    assert list(reading(both).drifts)[-1] == ROW


def test_a_feature_may_be_declared_that_the_reference_has_not() -> None:
    ledger = tell(
        asked([20, "DE", 7], names=[*NAMES, "zip"]), a_response(1, at=1),
        rules=(rules(Reference((AGE, COUNTRY)), Declared("zip", 10000)),),
    )  # fmt: skip
    assert shares(ledger)["zip"] == (1, 0.0, 1)
    assert live(ledger, "age") == {"≤ 30": 1}


def test_a_request_that_is_replaced_or_a_restart_changes_no_count() -> None:
    ledger = Ledger(rules()).absorb(asked([200, "IT"], [20, "IT"], names=NAMES), a_response(0, 1)).cut()
    assert shares(ledger) == {"age": (2, 0.0, 1), "country": (2, 0.0, 2), ROW: (2, 0.0, 2)}
    ledger.restart()
    ledger.absorb(asked([30, "DE"], names=NAMES, at=1)).cut()
    assert shares(ledger) == {"age": (1, 0.0, 0), "country": (1, 0.0, 0), ROW: (1, 0.0, 0)}


def test_any_order_counts_the_same() -> None:
    records: list[Record] = [*STORY, asked([20, "DE"], names=NAMES, puid="b", at=2)]
    told = run(records, [], rules=(rules(WHOLE),))
    for how, again, batches in ways(records):
        assert run(again, batches, rules=(rules(WHOLE),)).rows() == told.rows(), how


def test_columns_without_names_have_those_of_the_reference_or_of_the_schema() -> None:
    by_reference = tell(asked([200, "DE"]), a_response(1), rules=(rules(Reference((AGE, COUNTRY)), AGES),))
    assert shares(by_reference)["age"] == (1, 0.0, 1)
    by_schema = tell(asked(["x", 200]), a_response(1), rules=(rules(NO_REFERENCE, AGES, columns=("id", "age")),))
    assert shares(by_schema)["age"] == (1, 0.0, 1)


@pytest.mark.parametrize(
    ("own", "body", "sentence"),
    [
        (
            rules(), {"data": {"ndarray": [[1, 2]]}},
            "requests do not name their columns, and no prediction_schema does: none is checked",
        ),
        (rules(), {"instances": [{"a": 1}]}, "requests have none of its features: none is compared"),
        (
            rules(columns=("age", "b", "c")), {"data": {"ndarray": [[1, 2]]}},
            "requests have 2 columns, and the prediction_schema has 3 features: none is compared",
        ),
        (rules(), {"instances": [{"age": 1}]}, "requests have no country, which count as missing"),
        (
            rules(columns=("a", "age")), {"data": {"ndarray": [[1, 2]]}},
            "requests have no country, which count as missing",
        ),
    ],
)  # fmt: skip
def test_requests_that_do_not_fit_the_declaration_are_said_once_in_a_sentence(
    own: Rules, body: Any, sentence: str
) -> None:
    shard = a_shard(own)
    absorb(shard, [*(a_request(body, puid=puid) for puid in "abc"), a_response(1, puid="a")])
    (note,) = shard.cut(None).notes
    assert note.endswith(f": the declaration of `features:` does not fit: {sentence}")


def test_of_a_large_batch_the_first_rows_are_checked() -> None:
    ledger = tell(asked(*[[200, "DE"]] * MOST_BINS, names=NAMES), a_response(1), rules=(rules(),))
    assert shares(ledger)["age"] == (MOST_BINS // 3, 0.0, MOST_BINS // 3)


def test_another_declaration_counts_anew_and_what_was_counted_is_taken_back_by_the_old_one() -> None:
    own = rules(WHOLE)
    assert own.reference is not None
    ledger = Ledger(own).absorb(asked([200, "DE"]), a_response(1)).cut()
    own.reference.live = Live(WHOLE, 1, (AGES._replace(most=300.0),))
    assert shares(ledger)["age"] == (0, None, 0)
    ledger.absorb(asked([250, "DE"], at=1)).cut()
    assert shares(ledger)["age"] == (1, 0.0, 0)
    assert len({key.row for key in ledger.rows() if key.row.startswith("drift=")}) == 1


def test_series_api_and_documents_have_shares_and_rows() -> None:
    ledger = tell(*STORY, rules=(rules(),))
    share = series(ledger, "tally_feature_share")
    assert (share["age", "invalid", "total"], share["age", "missing", "total"]) == (0.5, 0.25)
    assert share[ROW, "invalid", "total"] == 0.5
    assert series(ledger, "tally_feature_rows")["age", "total"] == 4
    assert not series(ledger, "tally_drift")
    assert not series(ledger, "tally_drifted_share")
    (report,) = reports_of(ledger.readings(), START)
    assert report["windows"]["total"]["drift"][0] == {
        "feature": "age", "rows": 4, "missing": 0.25, "invalid": 0.5, "invalid_rows": 2, "bins": []
    }  # fmt: skip


def test_a_declared_feature_costs_half_a_byte_and_the_row_another() -> None:
    many = tuple(Declared(f"f{place}", 0.0) for place in range(100))
    kept, _ = Live(Reference(()), 1, many, tuple(one.name for one in many)).bins([[20] * 100], None)
    assert kept is not None
    assert len(kept) == 5 + 51
