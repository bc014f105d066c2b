"""A reference of what the topics hold: of just those rows that are counted, as they hold."""

from typing import Any

import pytest
from hypothesis import given, settings

from app.cli.ends import InputError
from app.cli.reference import Choice
from app.cli.reference_of_past import reference_of
from app.core.drift.live import Live, Watched
from app.core.drift.recording import Asked, Recorder, asked
from app.core.drift.reference import Reference
from app.core.join.exchange import decode
from app.core.rules import Rulebook, Rules
from app.core.segments import Segment
from app.replay.recorded import Recorded, recorded, recording
from tests.builders import MODEL, Ledger, Record, a_feedback, a_request, a_response
from tests.cli.test_cli import assert_sentence, tally
from tests.core.join.test_drift import asked as a_question
from tests.core.join.test_drift import events, reading

ALL = Choice((), (), (), (), 10, 50)
NAMES = ["age", "country"]


def told(*records: Record, model: str = MODEL, sample: float = 1.0, rules: tuple[Rules, ...] = ()) -> Recorded:
    ledger = Ledger(*recording(Rulebook(rules)).entries).absorb(*records).cut()
    return recorded(ledger.shards[0], model, sample)


def reference(*records: Record, choice: Choice = ALL, **how: Any) -> Reference:
    found = told(*records, **how)
    return reference_of(found.asked, found.answered, choice, MODEL)


STORY = [
    a_question([20, "DE"], names=NAMES, puid="a"), a_response([0.8, 0.2], puid="a", at=1), a_feedback(1, puid="a"),
    a_question([99, "XX"], names=NAMES, puid="b"), a_response([0.1, 0.9], puid="b", at=1),
    a_question([40, "FR"], names=NAMES, puid="b", at=2), a_response([0.3, 0.7], puid="b", at=3),
    a_feedback(1, puid="b", at=4), a_feedback(0, puid="b", at=5),
    a_question([7, "DE"], names=NAMES, puid="never answered"),
    a_question([8, "DE"], names=NAMES, puid="c", predictor="shadow"), a_response(1, puid="c", predictor="shadow"),
]  # fmt: skip


def test_it_is_of_what_holds_of_the_requests_that_were_answered() -> None:
    found = reference(*STORY)
    age, country = found.features
    assert (age.name, age.categories, age.counts) == ("age", ("20", "40"), (1, 1))
    assert (country.name, country.categories, country.counts) == ("country", ("DE", "FR"), (1, 1))
    assert found.prediction is not None
    assert (found.prediction.categories, found.prediction.counts) == (("0", "1"), (1, 1))
    assert found.score is not None
    assert (found.score.edges, found.score.rows) == ((0.2, 0.7), 2)
    assert found.label is not None
    assert (found.label.categories, found.label.counts) == (("0", "1"), (1, 1))


def test_a_model_that_measures_has_numbers() -> None:
    own = (Rules(task="regression"),)
    found = reference(
        a_question([1, 2]), a_response(12.5), a_feedback(7), a_question([1, 2], puid="q"), a_response(3, puid="q"),
        rules=own,
    )  # fmt: skip
    assert found.score is None
    assert [(one.edges, one.rows) for one in (found.prediction, found.label) if one] == [((3.0, 12.5), 2), ((7.0,), 1)]
    assert [one.name for one in found.features] == ["0", "1"]


def test_of_requests_with_several_columns_those_count_that_most_rows_have_in_any_order() -> None:
    found = reference(
        a_request({"instances": [{"age": 1, "country": "DE"}, {"country": "FR", "age": 2}]}), a_response(1, 1),
        a_question(["IT", 3], names=["country", "age"], puid="b"), a_response(1, puid="b"),
        a_question([4, "US", 0], names=[*NAMES, "more"], puid="c"), a_response(1, puid="c"),
        a_question(["DE", 5], names=["country", "age"], puid="d"), a_response(1, puid="d"),
    )  # fmt: skip
    assert {one.name: one.rows for one in found.features} == {"country": 2, "age": 2}


def test_a_sample_is_of_some_request_ids_whatever_else_there_is() -> None:
    records = [one for n in range(300) for one in (a_question([n, "DE"], puid=f"p{n}"), a_response(1, puid=f"p{n}"))]
    some = {row[0] for one in told(*records, sample=0.3).asked for row in one.rows}
    again = {row[0] for one in told(*records[:300], sample=0.3).asked for row in one.rows}
    assert 60 < len(some) < 120
    assert again == {row for row in some if row < 150}


def test_models_are_told_apart_and_named() -> None:
    found = told(*STORY)
    assert [str(one) for one in found.identities] == [MODEL]
    assert [str(one) for one in found.others] == ["ns/svc/shadow/m"]
    assert told(*STORY, model="*/other/*").asked == []


@settings(max_examples=60)
@given(events)
def test_what_is_counted_of_the_same_events_is_as_the_reference_has_it(records: list[Record]) -> None:
    for segments in ((), (Segment("land", "features", "country"),)):
        made = reference(*records, rules=(Rules(segments=segments),))
        own = Rules(reference=Watched("", Live(made, 1)), segments=segments)
        ledger = Ledger(own).absorb(*records).cut()
        if MODEL not in ledger.models():
            assert not any(one.rows for one in made.distributions())
            continue
        alike = [one for one in (made.prediction, made.score, made.label) if one is not None]
        legs = [leg for raw in ledger.shards[0].store.values() for leg in decode(raw).legs]
        if all(leg.time for leg in legs):  # all that was asked was answered
            alike += made.features
        for one in alike:
            assert [rows for _, _, rows in reading(ledger).bins(one.name)] == one.by_bin(), one.name


@pytest.mark.parametrize("rows", [[[1, None, True, "DE", [1], {"a": 2}, 1.5]], [[2], [3]], [{"a": 1}, {"a": "x"}]])
def test_what_is_kept_of_a_request_is_read_again(rows: Any) -> None:
    kept, trouble = Recorder().bins(rows, None)
    assert kept is not None
    assert not trouble
    found = asked(kept)
    assert found is not None
    assert len(found.rows) == len(rows)
    assert Live(Reference(()), 1).bins(rows, None) == (None, "")


@pytest.mark.parametrize("rows", [[], None, "text", [[]], [[1], [1, 2]], [{"a": 1}, {"b": 1}]])
def test_what_is_no_table_is_not_kept(rows: Any) -> None:
    assert Recorder().bins(rows, None) == (None, "")


def test_long_texts_are_kept_by_their_beginning() -> None:
    kept, _ = Recorder().bins([["x" * 5000]], None)
    assert kept is not None
    assert asked(kept) == Asked(1, [["x" * 100]])


@pytest.mark.parametrize(
    ("choice", "sentence"),
    [
        (
            ALL._replace(features=("zip",)),
            "--feature zip: what ns/svc/default/m is asked has no such column; it has age",
        ),
        (ALL._replace(exclude=("zip",)), "--exclude zip: what ns/svc/default/m is asked has no such column"),
        (ALL._replace(categorical=("zip",)), "--categorical zip: what ns/svc/default/m is asked has no such column"),
    ],
)
def test_columns_that_are_not_there_are_named(choice: Choice, sentence: str) -> None:
    with pytest.raises(InputError, match=sentence):
        reference(*STORY, choice=choice)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        ((), "Name TRAINING, --from-topics or --from-elasticsearch: .*"),
        (
            ("x.csv", "--from-topics", "--model", "m"),
            "TRAINING and --from-topics exclude each other: leave one out: .*",
        ),
        (("--from-topics", "--label", "a", "--model", "m"), "--label and --from-topics exclude each other: .*"),
        (("--from-topics", "--format", "csv", "--model", "m"), "--format and --from-topics exclude each other: .*"),
        (("--from-topics",), "--from-topics needs --model: whose requests and answers.*"),
        (("x.csv", "--model", "m"), "--model is for --from-topics and --from-elasticsearch: leave it out: .*"),
        (("x.csv", "--from", "2h"), "--from is for --from-topics and --from-elasticsearch: leave it out: .*"),
        (("x.csv", "--to", "2h"), "--to is for --from-topics and --from-elasticsearch: leave it out: .*"),
        (("x.csv", "--sample", "1%"), "--sample is for --from-topics and --from-elasticsearch: leave it out: .*"),
        (
            ("--from-topics", "--from-elasticsearch", "log", "--model", "m"),
            "--from-topics and --from-elasticsearch exclude each other: leave one out: .*",
        ),
        (
            ("x.csv", "--from-elasticsearch", "log", "--model", "m"),
            "TRAINING and --from-elasticsearch exclude each other: leave one out: .*",
        ),
        (("--from-elasticsearch", "log"), "--from-elasticsearch needs --model: whose requests and answers.*"),
        (("--from-elasticsearch", "log", "--model", "m"), "TALLY_ELASTICSEARCH_URL is not set: .*"),
        (
            ("--from-elasticsearch", "log", "--model", "m", "--from", "x:0:1"),
            "--from must be a time where documents are replayed .*",
        ),
        (("--from-topics", "--model", "m", "--sample", "2"), r"--sample must be a share like .* \(got '2'\)\."),
        (("--from-topics", "--model", "m", "--from", "soon"), r"--from must be earliest, .* \(got 'soon'\)\."),
        (("--from-topics", "--model", "m", "--from", "1h", "--to", "2h"), "--to 2h is not after --from 1h: .*"),
    ],
)
def test_wrong_words_are_said_in_a_sentence(words: tuple[str, ...], sentence: str) -> None:
    assert_sentence(tally("reference", "build", *words, "--output", "x.prom"), sentence)
