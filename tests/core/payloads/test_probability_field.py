"""Probabilities that stand beside the class of an answer: where they are looked for, and what counts of them."""

import struct
from itertools import pairwise
from typing import Any, Final

import pytest
from sklearn import metrics

from app.core.measures.probabilities import PROBABILITIES
from app.core.payloads.bodies import Output, output_of
from app.core.payloads.probability_field import ProbabilityField
from app.core.rules import Rules
from app.core.scores.catalogue import scores_of
from tests.builders import MODEL, Ledger, a_feedback, a_request, a_response, a_shard, absorb, tell

PROBA: Final = {"a": 0.9, "b": 0.1}
OBJECT: Final = {"label": "a", "proba": PROBA}
PMML: Final = {"names": ["label", "proba_a", "proba_b", "age"], "ndarray": [["a", 0.9, 0.1, 30]]}


def read(body: Any, name: str = "proba", classes: tuple[str, ...] = (), positive: str | None = None) -> Output:
    """What a body answers whose probabilities stand in a field."""
    return output_of(body, keeps=ProbabilityField(name, classes, positive))


def vectors(output: Output) -> list[tuple[float, ...]]:
    """The probabilities of each row."""
    assert output.probabilities is not None
    size = len(output.probabilities) // len(output.marks)
    raw = output.probabilities
    return [struct.unpack(f"<{size // 8}d", raw[at : at + size]) for at in range(0, len(raw), size)]


@pytest.mark.parametrize(
    ("body", "name", "classes"),
    [
        ({"jsonData": OBJECT}, "proba", ()),
        ({"jsonData": {"label": "a", "proba": {"b": 0.1, "a": 0.9}}}, "proba", ()),
        ({"predictions": [OBJECT]}, "proba", ()),
        ({"predictions": [{"label": "a", "of": {"proba": PROBA}}]}, "of.proba", ()),
        ({"predictions": [{"label": "a", "of.proba": PROBA}]}, "of.proba", ()),
        ({"predictions": [{"label": "a", "proba": [0.9, 0.1]}]}, "proba", ("a", "b")),
        ({"predictions": [{"label": "a", "proba": 0.1}]}, "proba", ("a", "b")),
        ({"data": {"ndarray": [OBJECT]}}, "proba", ()),
        ({"data": PMML}, "proba_*", ()),
        ({"data": {"names": ["label", "proba"], "ndarray": [["a", 0.1]]}}, "proba", ("a", "b")),
        ({"data": {"ndarray": ["a"]}, "meta": {"tags": {"proba": PROBA}}}, "meta.tags.proba", ()),
        ({"predictions": ["a"], "proba": [[0.9, 0.1]]}, "proba", ("a", "b")),
        ({"predictions": ["a"], "proba": [0.9, 0.1]}, "proba", ("a", "b")),
        ({"dataframe_split": {"columns": ["label", "proba"], "data": [["a", [0.9, 0.1]]]}}, "proba", ("a", "b")),
        ({"predictions": [{"proba": PROBA}]}, "proba", ()),
    ],
)
def test_the_probabilities_stand_where_the_field_says(body: Any, name: str, classes: tuple[str, ...]) -> None:
    output = read(body, name, classes)
    assert (output.marks, output.names, output.width) == ([-1], ("a", "b"), 2)
    assert vectors(output) == [(0.9, 0.1)]
    assert not output.no_probabilities


def test_the_class_column_is_the_answer_whatever_is_likelier() -> None:
    assert read({"jsonData": {"label": "b", "proba": PROBA}}).marks == [-2]


def test_a_single_number_is_of_the_positive_class() -> None:
    body = {"predictions": [{"label": "a", "proba": 0.75}]}
    assert vectors(read(body, classes=("a", "b"))) == [(0.25, 0.75)]
    assert vectors(read(body, classes=("a", "b"), positive="a")) == [(0.75, 0.25)]


def test_a_single_number_that_stands_alone_is_a_score() -> None:
    output = read({"predictions": [{"age": 30, "fraud": 0.75}, {"age": 40, "fraud": 0.5}]}, "fraud", ("0", "1"))
    assert (output.marks, output.no_class) == ([0.75, 0.5], "")


def test_rows_that_have_none_keep_their_class() -> None:
    rows = [OBJECT, {"label": "b", "proba": {"a": 0.9, "b": 0.5}}, {"label": "b", "proba": None}]
    output = read({"predictions": rows})
    assert output.marks == [-1, -2, -2]
    first, *others = vectors(output)
    assert first == (0.9, 0.1)
    assert all(value != value for vector in others for value in vector)  # noqa: PLR0124 - NaN alone is not itself


@pytest.mark.parametrize(
    ("body", "name", "classes", "sentence"),
    [
        ({"predictions": [{"label": "a"}]}, "proba", (), "the answer has no proba"),
        ({"predictions": ["a"]}, "meta.tags.proba", (), "the answer has no meta.tags.proba"),
        ({"predictions": ["a", "b"], "proba": [[0.9, 0.1]]}, "proba", (), "the answer has no proba"),
        ({"predictions": [{"label": "a", "proba_a": 0.9}]}, "score_*", (), "the answer has no score_*"),
        ({"predictions": [{"label": "a", "proba": "0.9"}]}, "proba", (), "proba holds no probabilities: "),
        ({"predictions": [{"label": "a", "proba": None}]}, "proba", (), "proba holds no probabilities: "),
        ({"predictions": [{"label": "a", "proba": {}}]}, "proba", (), "proba holds no probabilities: "),
        ({"predictions": [{"label": "a", "proba": {"a": "x", "b": 1}}]}, "proba", (), "proba holds no probabilities"),
        ({"predictions": [{"label": "a", "proba": 1.5}]}, "proba", ("a", "b"), "proba holds no probabilities: "),
        ({"predictions": [{"label": "a", "proba": 0.5}]}, "proba", (), "proba is a single number: `classes` must name"),
        ({"predictions": [{"label": "a", "proba": [0.5, 0.5]}]}, "proba", ("a", "b", "c"), "proba has 2 numbers, and"),
        ({"predictions": [{"label": "c", "proba": PROBA}]}, "proba", (), "has no probability of the class that is"),
        ({"predictions": [{"label": "a", "proba": [0.9, 0.1]}]}, "proba", (), "has no probability of the class that"),
    ],
)
def test_where_none_are_found_the_class_counts_and_a_sentence_says_why(
    body: Any, name: str, classes: tuple[str, ...], sentence: str
) -> None:
    output = read(body, name, classes)
    assert output.probabilities is None
    assert output.marks == output_of(body).marks
    assert sentence in output.no_probabilities


def told(rules: Rules, answers: list[tuple[Any, str]]) -> Ledger:
    """A ledger with an answer and its label for each puid."""
    return tell(
        *(
            record
            for number, (answer, label) in enumerate(answers)
            for record in (
                a_request(puid=f"p{number}"),
                a_response(body={"jsonData": answer}, puid=f"p{number}"),
                a_feedback(body={"truth": {"data": {"ndarray": [label]}}}, puid=f"p{number}"),
            )
        ),
        rules=[rules],
    )


@pytest.mark.parametrize("names", [("a", "b"), ("a", "b", "c")])
def test_the_scores_are_those_of_scikit_learn(names: tuple[str, ...]) -> None:
    weights = [(5 + 7 * number % 11, 1 + 3 * number % 7, 2 + number % 5)[: len(names)] for number in range(40)]
    chances = [[weight / sum(own) for weight in own] for own in weights]
    labels = [names[number * number % len(names)] for number in range(40)]
    bodies = [{"label": names[0], "proba": dict(zip(names, own, strict=True))} for own in chances]
    answers = [*zip(bodies, labels, strict=True)]
    ledger = told(Rules(probability_field="proba"), answers)
    reading = ledger.cut().models("total")[MODEL].reading
    found = {score.name: score.value for score in scores_of(reading) if not score.of_class}
    assert PROBABILITIES.of(reading).rows == 40
    assert found["log_loss"] == pytest.approx(metrics.log_loss(labels, chances, labels=names), abs=1e-11)
    assert found["accuracy"] == labels.count(names[0]) / 40  # the class column is judged
    right = [label == names[0] for label in labels]
    if len(names) > 2:
        right = [label == names[own.index(max(own))] for own, label in zip(chances, labels, strict=True)]
    sure = [max(own) for own in chances] if len(names) > 2 else [own[1] for own in chances]
    outcomes = right if len(names) > 2 else [label == "b" for label in labels]
    edges = [-1.0, *(number / 10 for number in range(1, 10)), 1.0]
    pairs = [*zip(sure, outcomes, strict=True)]
    bins = [[(own, hit) for own, hit in pairs if low < own <= high] for low, high in pairwise(edges)]
    ece = sum(abs(sum(own for own, _ in one) - sum(hit for _, hit in one)) for one in bins) / 40
    assert found["ece"] == pytest.approx(ece, abs=1e-11)


def test_without_the_field_such_answers_have_no_probabilities() -> None:
    answers = [(OBJECT, "a")]
    for rules, rows in ((Rules(), 0), (Rules(probability_field="proba"), 1)):
        assert PROBABILITIES.of(told(rules, answers).models("total")[MODEL].reading).rows == rows


@pytest.mark.parametrize("classes", [("a", "b"), ("a", "b", "c")])
def test_an_only_row_whose_numbers_do_not_sum_to_one_counts_with_its_class_alone(classes: tuple[str, ...]) -> None:
    rules = Rules(classes=classes, probabilities=True, probability_field="proba")
    answer = a_response(body={"predictions": [{"label": "a", "proba": dict.fromkeys(classes, 0.1)}]}, at=1)
    ledger = tell(answer, a_feedback("a", at=2), rules=[rules])
    found = {one.name: one.value for one in scores_of(ledger.models()[MODEL].reading)}
    assert found["accuracy"] == 1.0
    assert not any(key.row.startswith(("probabilities", "ranks")) for key in ledger.rows())


def test_a_corrected_answer_leaves_no_trace() -> None:
    rules = Rules(probability_field="proba")
    early = a_response(body={"jsonData": {"label": "b", "proba": {"a": 0.3, "b": 0.7}}}, puid="p0", at=-1)
    late = told(rules, [(OBJECT, "a")])
    both = tell(early, rules=[rules]).absorb(
        a_request(puid="p0"),
        a_feedback(body={"truth": {"data": {"ndarray": ["a"]}}}, puid="p0"),
    ).cut().absorb(a_response(body={"jsonData": OBJECT}, puid="p0")).cut()  # fmt: skip
    found = [PROBABILITIES.of(ledger.models("total")[MODEL].reading) for ledger in (late, both)]
    assert found[0] == found[1]
    assert found[0].rows == 1


def test_the_log_says_once_a_model_why_none_are_found() -> None:
    shard = a_shard(Rules(probability_field="prob"))
    absorb(shard, [a_response(body={"jsonData": OBJECT}, puid=puid) for puid in "pq"])
    (note,) = shard.cut(None).notes
    assert note.endswith("have no probabilities that count: the answer has no prob")
