"""Drift of what is asked, answered and right: counted once, moved, replaced and taken back like all that is counted."""

import math
import pickle
from typing import Any, Final

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.drift.declared import Declared
from app.core.drift.distribution import FIRST, MISSING, Distribution, binning
from app.core.drift.kept import MOST_BINS, content_of, digest_of, places_and_bins, single, with_content
from app.core.drift.live import Live, Watched
from app.core.drift.reference import LABEL, PREDICTION, SCORE, Reference
from app.core.join.exchange import Exchange, LegState
from app.core.join.putting import put_request
from app.core.measures.drift import DRIFT, DriftReading
from app.core.rules import Rulebook, Rules
from app.core.segments import Segment
from tests.builders import MODEL, Ledger, Record, a_feedback, a_request, a_response, a_shard, absorb, run, tell, ways

AGE: Final = Distribution("age", "continuous", (18.0, 30.0, 65.0), (), (1, 60, 39))
COUNTRY: Final = Distribution("country", "categorical", (), ("DE", "FR"), (70, 30))
CLASSES: Final = Distribution(PREDICTION, "categorical", (), ("0", "1"), (80, 20))
SCORES: Final = Distribution(SCORE, "continuous", (0.0, 0.5, 1.0), (), (1, 60, 39))
LABELS: Final = Distribution(LABEL, "categorical", (), ("0", "1"), (90, 10))
WHOLE: Final = Reference((AGE, COUNTRY), CLASSES, SCORES, LABELS)


def rules(reference: Reference = WHOLE, **others: Any) -> Rules:
    return Rules(reference=Watched("histogram.prom", Live(reference, 1)), **others)


def asked(*rows: Any, names: list[str] | None = None, **fields: Any) -> Record:
    data: dict[str, Any] = {"ndarray": list(rows)}
    return a_request({"data": data if names is None else data | {"names": names}}, **fields)


def reading(ledger: Ledger, model: str = MODEL, window: str = "total", now: float = 0) -> DriftReading:
    return DRIFT.of(ledger.models(window, now)[model].reading)


def live(ledger: Ledger, name: str, **where: Any) -> dict[str, int]:
    """The live rows of one distribution by bin, without zeros."""
    return {bin_: rows for bin_, _, rows in reading(ledger, **where).bins(name) if rows}


def test_features_predictions_scores_and_labels_are_counted_by_the_bins_of_the_reference() -> None:
    ledger = tell(
        asked([20, "DE"], puid="a"), a_response([0.8, 0.2], puid="a"), a_feedback(1, puid="a"),
        asked([70.5, "IT"], puid="b"), a_response([0.3, 0.7], puid="b", at=1), a_feedback(0, puid="b", at=1),
        asked([None, None], puid="c"), a_response(0.25, puid="c", at=1),
        rules=(rules(),),
    )  # fmt: skip
    assert live(ledger, "age") == {"≤ 30": 1, "above": 1, "missing": 1}
    assert live(ledger, "country") == {"DE": 1, "unseen": 1, "missing": 1}
    assert live(ledger, PREDICTION) == {"0": 2, "1": 1}
    assert live(ledger, SCORE) == {"≤ 0.5": 2, "≤ 1": 1}
    assert live(ledger, LABEL) == {"0": 1, "1": 1}
    assert reading(ledger).drifts["age"].above == pytest.approx(1 / 3)


def test_features_count_as_soon_as_the_request_is_there_and_move_to_the_version_that_answers() -> None:
    ledger = Ledger(rules()).absorb(asked([20, "DE"])).cut()
    assert live(ledger, "age") == {"≤ 30": 1}
    ledger.absorb(a_response(1, version="7", at=1)).cut()
    assert live(ledger, "age", model=f"{MODEL}@7") == {"≤ 30": 1}
    assert MODEL not in ledger.models()


def test_a_request_that_is_replaced_is_taken_back() -> None:
    ledger = tell(asked([20, "DE"]), asked([40, "FR"], at=1), a_response(1, at=2), rules=(rules(),))
    assert live(ledger, "age") == {"≤ 65": 1}
    assert live(ledger, "country") == {"FR": 1}


@given(st.data(), st.booleans())
def test_of_requests_of_one_time_the_same_one_counts_in_any_order_and_by_any_reference(
    data: st.DataObject, in_segments: bool
) -> None:
    bodies = [[20, "DE"], [40, "FR"], [40, "DE"], [41, "FR"], [None, "IT"], [1, 2, 3]]
    given_: list[Record] = [*(asked(body) for body in bodies), asked([20, "DE"], at=-1), a_response(1)]
    segments = (Segment("land", "features", "1"),) if in_segments else ()
    counted = set()
    for edges in ((18.0, 30.0, 65.0), (0.0, 40.0, 65.0)):
        own = rules(Reference((AGE._replace(edges=edges), COUNTRY)), segments=segments)
        some = data.draw(st.permutations(given_))
        ledger = tell(*some, *data.draw(st.lists(st.sampled_from(some))), rules=(own,))
        assert ledger.rows() == tell(*given_, rules=(own,)).rows()
        counted.add(str(live(ledger, "country")))
    assert len(counted) == 1


def test_a_request_that_was_kept_without_a_digest_of_its_content_gives_way_to_one_with_it() -> None:
    known = LegState(0, 1_000_000, evidence=bytes(5) + b"\x03\x03")
    exchange = Exchange(0, [known], [], [])
    assert content_of(known.evidence) == 0
    seven, six = 7 << 32, 6 << 32
    fits = with_content(bytes(5) + b"\x02\x02", seven)
    assert put_request(exchange, 0, 1_000_000, 0, digest=seven, evidence=fits)
    assert not put_request(exchange, 0, 1_000_000, 0, digest=seven, evidence=with_content(None, seven))
    assert not put_request(exchange, 0, 1_000_000, 0, digest=six, evidence=with_content(None, six))
    assert (content_of(known.evidence), places_and_bins(fits)) == (7, [(0, 2), (1, 2)])


@pytest.mark.parametrize("flags", [0, 2])
def test_what_was_kept_with_a_long_digest_of_the_content_is_read(flags: int) -> None:
    """So did a state of format 9 have it."""
    several = b"\x02\x00" if flags else b""
    kept = bytes([flags | 8]) + b"\x01\x02\x03\x04" + (5 << 32 | 9).to_bytes(8, "little") + several + b"\x03\x02"
    assert (digest_of(kept), content_of(kept), places_and_bins(kept)) == ("01020304", 5, [(0, 3), (1, 2)])
    assert single(kept) == (None if flags else b"\x03\x02")
    known = LegState(0, 1_000_000, evidence=kept)
    assert put_request(Exchange(0, [known], [], []), 0, 1_000_000, 0, digest=6 << 32)


def test_predictions_and_labels_that_are_corrected_are_counted_once() -> None:
    ledger = tell(
        asked([20, "DE"]), a_response([0.9, 0.1]), a_response([0.2, 0.8], at=1),
        a_feedback(1, at=2), a_feedback(0, at=3),
        rules=(rules(),),
    )  # fmt: skip
    assert (live(ledger, PREDICTION), live(ledger, SCORE), live(ledger, LABEL)) == ({"1": 1}, {"≤ 1": 1}, {"0": 1})
    gone = tell(a_response([0.9, 0.1]), a_feedback(1, at=2), a_feedback(None, at=3), rules=(rules(),))
    assert live(gone, LABEL) == {}


def test_each_row_of_a_batch_counts() -> None:
    ledger = tell(
        asked([20, "DE"], [40, "DE"], [90, "FR"]), a_response(0, 1, 1), a_feedback([1, None, 1]), rules=(rules(),)
    )
    assert live(ledger, "age") == {"≤ 30": 1, "≤ 65": 1, "above": 1}
    assert live(ledger, "country") == {"DE": 2, "FR": 1}
    assert (live(ledger, PREDICTION), live(ledger, LABEL)) == ({"0": 1, "1": 2}, {"1": 2})


@pytest.mark.parametrize(
    ("body", "age", "country"),
    [
        ({"data": {"names": ["country", "x", "age"], "ndarray": [["DE", 0, 20]]}}, "≤ 30", "DE"),
        ({"data": {"names": ["t:0", "t:1"], "ndarray": [[20, "DE"]]}}, "≤ 30", "DE"),
        ({"data": {"ndarray": [["20", " DE"]]}}, "≤ 30", "DE"),
        ({"instances": [{"country": "FR", "age": 66}]}, "above", "FR"),
        (
            {"inputs": [
                {"name": "age", "datatype": "INT32", "shape": [1], "data": [20]},
                {"name": "country", "datatype": "BYTES", "shape": [1], "data": ["DE"]},
            ]},
            "≤ 30", "DE",
        ),
        ({"dataframe_split": {"columns": ["country", "age"], "data": [["DE", 17]]}}, "below", "DE"),
        ({"data": {"names": ["age", "y"], "ndarray": [[20, "DE"]]}}, "≤ 30", "missing"),
        ({"data": {"ndarray": [[[1, 2], {"a": 1}]]}}, "missing", "unseen"),
        ({"data": {"ndarray": [[True, True]]}}, "below", "unseen"),
    ],
)  # fmt: skip
def test_features_are_found_in_every_form_by_name_else_by_place(body: Any, age: str, country: str) -> None:
    ledger = Ledger(rules()).absorb(a_request(body), a_response(1)).cut()
    assert (live(ledger, "age"), live(ledger, "country")) == ({age: 1}, {country: 1})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({"data": {"ndarray": [[1, 2, 3]]}}, "requests have 3 columns, and it has 2 features: none is compared"),
        ({"data": {"ndarray": [5]}}, "requests have 1 columns, and it has 2 features: none is compared"),
        ({"data": {"names": ["age"], "ndarray": [[20]]}}, "requests have no country, which count as missing"),
        ({"instances": [{"a": 1, "b": 2}]}, "requests have none of its features: none is compared"),
        ({"strData": "a text"}, "requests have 1 columns, and it has 2 features: none is compared"),
        ({"data": {"ndarray": [[0.5] * 4096]}}, "requests have 4096 columns, and it has 2 features: none is compared"),
    ],
)
def test_requests_that_do_not_fit_the_reference_are_said_once_in_a_sentence(body: Any, sentence: str) -> None:
    shard, records = a_shard(rules()), [*(a_request(body, puid=puid) for puid in "abc"), a_response(1, puid="a")]
    absorb(shard, records)
    noted = shard.cut(None).notes
    assert [note.partition("does not fit: ")[2] for note in noted] == [sentence]
    ledger = Ledger(rules()).absorb(*records).cut()
    assert all(reading(ledger).drifts[name].rows == 3 * ("missing" in sentence) for name in ("age", "country"))


def test_a_model_without_reference_keeps_and_reads_nothing() -> None:
    ledger = Ledger().absorb(asked([20, "DE"]), a_response(1)).cut()
    assert reading(ledger) == DriftReading({}, None, {}, None)
    assert not any(key.row.startswith("drift") for key in ledger.rows())


def test_a_new_reference_counts_anew_and_what_the_old_one_counted_is_taken_back_by_the_old_one() -> None:
    own = rules()
    assert own.reference is not None
    ledger = Ledger(own).absorb(asked([20, "DE"], puid="a"), a_response(1, puid="a")).cut()
    old = own.reference.live.digest
    own.reference.live = Live(Reference((AGE._replace(edges=(0.0, 50.0, 65.0)), COUNTRY), CLASSES, SCORES, LABELS), 1)
    assert not any(drift.rows for drift in reading(ledger).drifts.values())
    ledger.absorb(asked([40, "DE"], puid="b"), a_response(1, puid="b")).cut()
    assert live(ledger, "age") == {"≤ 50": 1}
    assert live(ledger, PREDICTION) == {"1": 1}
    ledger.absorb(asked([70, "FR"], puid="a", at=1)).cut()
    assert live(ledger, "age") == {"≤ 50": 1, "above": 1}
    assert not any(
        name.startswith(("0:", "1:")) for key, cells in ledger.rows().items() if old in key.row for name in cells
    )


def test_counts_survive_a_restart_and_corrections_after_it() -> None:
    ledger = Ledger(rules()).absorb(asked([20, "DE"], [30, "DE"]), a_response(0, 1)).cut()
    ledger.restart()
    ledger.absorb(asked([70, "FR"], [70, "IT"], at=1)).cut()
    assert (live(ledger, "age"), live(ledger, "country")) == ({"above": 2}, {"FR": 1, "unseen": 1})


def test_windows_have_what_was_predicted_in_them() -> None:
    ledger = Ledger(rules()).absorb(asked([20, "DE"], puid="a"), a_response(1, puid="a")).cut()
    ledger.absorb(asked([70, "DE"], puid="b", at=1000), a_response(1, puid="b", at=1000)).cut()
    assert live(ledger, "age", window="5m", now=1060) == {"above": 1}
    assert live(ledger, "age", window="1h", now=1060) == {"≤ 30": 1, "above": 1}


def test_features_of_a_model_with_segments_count_as_a_whole_and_not_in_segments() -> None:
    own = rules(segments=(Segment("land", "features", "country"),))
    names = ["age", "country"]
    ledger = tell(
        asked([20, "DE"], names=names), a_response(0, at=1), a_feedback(1, at=2),
        asked([70, "FR"], names=names, at=3), asked([40, "DE"], [70, "FR"], names=names, puid="b"),
        a_response(1, 1, puid="b", at=1),
        rules=(own,),
    )  # fmt: skip
    assert live(ledger, "age") == {"≤ 65": 1, "above": 2}
    assert live(ledger, PREDICTION) == {"0": 1, "1": 2}
    of_segments = [cells for key, cells in ledger.rows().items() if key.segment and key.row.startswith("drift")]
    assert not any(name[0].isdigit() for cells in of_segments for name in cells)


def test_of_a_large_batch_the_first_rows_count() -> None:
    many = 3 * MOST_BINS
    ledger = Ledger(rules()).absorb(asked(*[[20, "DE"]] * many), a_response(*[1] * many)).cut()
    assert live(ledger, "age") == {"≤ 30": MOST_BINS // 2}
    assert live(ledger, PREDICTION) == {"1": many}


def test_a_regression_compares_its_numbers() -> None:
    numbers = Distribution(PREDICTION, "continuous", (0.0, 10.0, 20.0), (), (1, 5, 5))
    own = rules(Reference((), numbers, None, numbers._replace(name=LABEL)), task="regression")
    ledger = tell(
        asked([1]), a_response(12.5), a_feedback(25.0), asked([1], puid="b"), a_response(7, puid="b"), rules=(own,)
    )
    assert (live(ledger, PREDICTION), live(ledger, LABEL)) == ({"≤ 20": 1, "≤ 10": 1}, {"above": 1})


cells_ = st.sampled_from([17, 18, 20, 30.0, 66, None, "DE", "FR", "IT", "20", True])
events = st.lists(
    st.one_of(
        st.builds(
            lambda rows, puid, at: asked(*rows, puid=puid, at=at),
            st.lists(st.lists(cells_, min_size=2, max_size=2), min_size=1, max_size=3),
            st.sampled_from("ab"),
            st.integers(0, 200),
        ),
        st.builds(
            lambda rows, puid, at: a_response(*rows, puid=puid, at=at),
            st.lists(st.sampled_from([0, 1, 0.25]), min_size=1, max_size=3),
            st.sampled_from("ab"),
            st.integers(0, 200),
        ),
        st.builds(
            lambda label, puid, at: a_feedback(label, puid=puid, at=at),
            st.sampled_from([0, 1, None, [0, 1]]),
            st.sampled_from("ab"),
            st.integers(0, 200),
        ),
    ),
    max_size=8,
)


@settings(max_examples=60)
@given(events)
def test_any_story_counts_the_same_in_any_order_and_leaves_nothing_that_it_took_back(records: list[Record]) -> None:
    told = run(records, [], rules=(rules(),))
    for how, again, batches in ways(records):
        assert run(again, batches, rules=(rules(),)).rows() == told.rows(), how
    assert all(
        amount > 0 for key, cells in told.rows().items() if key.row.startswith("drift") for amount in cells.values()
    )


@given(
    st.lists(st.tuples(cells_, cells_, cells_), min_size=1, max_size=5),
    st.sampled_from([2, 3]),
    st.sampled_from([1, 13, 14, 254, 255, 400]),
)
def test_the_bins_of_a_request_are_read_as_they_were_kept(
    rows: list[tuple[Any, Any, Any]], places: int, categories: int
) -> None:
    """Of few bins half a byte each, else one or two."""
    land = COUNTRY._replace(categories=tuple(f"c{n}" for n in range(categories)), counts=(1,) * categories)
    one = Live(Reference((AGE, land, COUNTRY._replace(name="home"))[:places]))
    kept, trouble = one.bins([list(row[:places]) for row in rows], None)
    assert kept is not None
    assert not trouble
    assert digest_of(kept) == one.digest
    found = places_and_bins(kept)
    finders = [binning(feature) for feature in one.reference.features]
    assert found == [
        (place, find(cell)) for row in rows for place, (find, cell) in enumerate(zip(finders, row, strict=False))
    ]
    size = 0.5 if categories <= 13 else 1 if categories <= 254 else 2
    assert len(kept) == 5 + 2 * (len(rows) > 1) + math.ceil(size * len(found))
    with_digest = with_content(kept, 2**64 - 1)
    assert (digest_of(with_digest), places_and_bins(with_digest)) == (one.digest, found)
    assert content_of(with_digest) == 2**32 - 1
    alone = bytes(bin_ for _, bin_ in found) if len(rows) == 1 and categories <= 254 else None
    assert single(kept) == single(with_digest) == alone


def test_rules_with_a_reference_are_given_to_other_processes() -> None:
    own = Rules(reference=Watched("here", Live(WHOLE, 7, (Declared("age", 0.0),), ("age",))))
    (other,) = pickle.loads(pickle.dumps(Rulebook((own,), "d"))).entries  # noqa: S301 - it is this test's own
    assert own.reference is not None
    assert (other.reference.path, other.reference.live.reference) == ("here", WHOLE)
    assert other.reference.live.declared == own.reference.live.declared
    assert other.reference.live.bins([[70, "DE"]], None) == own.reference.live.bins([[70, "DE"]], None)


def test_a_feature_of_few_bins_takes_half_a_byte() -> None:
    many = Reference(tuple(AGE._replace(name=f"f{place}") for place in range(100)))
    kept, _ = Live(many).bins([[20] * 100], None)
    assert kept is not None
    assert len(kept) == 55
    assert {bin_ for _, bin_ in places_and_bins(kept)} == {FIRST + 1}
    assert {bin_ for _, bin_ in places_and_bins(Live(many).bins([[None] * 100], None)[0] or b"")} == {MISSING}
