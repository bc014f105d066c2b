"""Laws that hold for every measure, present and future: each is run over all of `MEASURES`."""

import math
import struct
from collections import Counter
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.core.counts.atoms import Atom, measure_of
from app.core.counts.numbers import Numbers, is_number_key
from app.core.counts.rows import parse_rows, whole_value
from app.core.drift.distribution import Distribution
from app.core.drift.live import Live, Watched
from app.core.drift.reference import Reference
from app.core.measures.calibration import Learnt
from app.core.measures.catalogue import MEASURES
from app.core.measures.measure import DOCUMENT, MODEL, WINDOW, Evidence, Histogram, Measure
from app.core.measures.reading import Nature
from app.core.rules import Rules

COLUMN = Distribution("age", "continuous", (18.0, 30.0), (), (1, 9), 2)
CLASSES = Distribution("(prediction)", "categorical", (), ("0", "yes"), (5, 5))
LIVE = Live(Reference((COLUMN, CLASSES._replace(name="kind")), CLASSES, COLUMN, CLASSES), 1)
NUMBERS = Live(Reference((COLUMN,), COLUMN, None, COLUMN), 1)
RULES = (
    Rules(),
    Rules(task="binary", positive="yes"),
    Rules(task="regression"),
    Rules(classes=("a", "b", "c")),
    Rules(classes=("0", "1", "yes"), probabilities=True),
    Rules(reference=Watched("here", LIVE)),
    Rules(estimate=True),
    Rules(estimate=True, task="binary", positive="yes"),
    Rules(reference=Watched("there", NUMBERS), task="regression"),
)
features = st.none() | st.lists(st.tuples(st.sampled_from([17, 20, None]), st.sampled_from([0, "no"])), min_size=1).map(
    lambda rows: LIVE.bins([list(row) for row in rows], None)[0]
)
#: Of three classes, of four rows at most; the second has none.
PROBABILITIES = struct.pack("<12d", 0.25, 0.25, 0.5, math.nan, 0, 0, 1, 0, 0, 0.1, 0.2, 0.7)
marks = st.sampled_from([0, 1, 2, -1, -2, "yes", "cat", "", 0.25, 2.5, None])
natures = st.builds(
    Nature,
    st.sampled_from(["binary", "multiclass", "regression", "unknown"]),
    st.frozensets(st.sampled_from(["0", "1", "yes", "no", "cat"])),
    st.sampled_from(["1", "yes"]),
    st.sampled_from([1, 2, 200]),
    reference=st.sampled_from([None, LIVE, NUMBERS]),
    learnt=st.sampled_from([None, Learnt(), Learnt(bare=True)]),
    own_scores=st.just(()),
)
each_measure = pytest.mark.parametrize("measure", MEASURES, ids=lambda measure: measure.name)


@st.composite
def evidences(draw: st.DrawFn) -> Evidence:
    """What may be known of a leg that has answered, of one that has not, or of feedback alone."""
    rules = draw(st.sampled_from(RULES))
    reward = draw(st.none() | st.integers(-(10**18), 10**18))
    if not draw(st.booleans()):
        return Evidence(
            rules=rules,
            request=draw(st.booleans()),
            feedback=draw(st.booleans()),
            reward=reward,
            features=draw(features),
        )
    predicted = draw(st.lists(marks, max_size=4))
    labels = draw(st.none() | st.lists(marks, min_size=len(predicted), max_size=len(predicted)))
    labelled = labels is not None and any(label is not None for label in labels)
    return Evidence(
        rules=rules,
        request=draw(st.booleans()),
        response=True,
        feedback=labels is not None or reward is not None,
        classes=draw(st.sampled_from([(), ("0", "1"), ("a", "b", "c")])),
        marks=predicted,
        features=draw(features),
        labels=labels,
        probabilities=draw(st.sampled_from([None, PROBABILITIES[: 24 * len(predicted)]])) if predicted else None,
        mismatched=draw(st.booleans()),
        delay=draw(st.integers(0, 2**55)) if labelled else None,
        reward=reward,
    )


def counted(measure: Measure[Any], evidence: Evidence) -> Counter[Atom]:
    """All that a measure makes of some evidence."""
    found = Counter(measure.counts(evidence))
    labels = evidence.labels or [None] * len(evidence.marks)
    for mark, label in zip(evidence.marks, labels, strict=True):
        found.update(measure.cells(mark, label, evidence.classes, evidence.rules))
    for atom, amount in measure.amounts(evidence):
        assert type(amount) is int
        found[atom] += amount
    for atom, amount in measure.amounts_of(measure.values(evidence)):
        found[atom] += amount
    return found


def added(*counters: Counter[Atom]) -> dict[tuple[str, str], int]:
    """Their sum, as the view keeps it: without zeros."""
    total: dict[tuple[str, str], int] = {}
    for counter in counters:
        for atom, amount in counter.items():
            total[atom] = total.get(atom, 0) + amount
    return {atom: amount for atom, amount in total.items() if amount}


@each_measure
@given(evidence=evidences(), nature=natures)
def test_nothing_is_neutral(measure: Measure[Any], evidence: Evidence, nature: Nature) -> None:
    alone = added(counted(measure, evidence))
    assert measure.read(added(Counter(), counted(measure, evidence)), nature) == measure.read(alone, nature)
    zeros = alone | {(row, "of somebody who left"): 0 for row, _ in alone}
    assert measure.read(zeros, nature) == measure.read(alone, nature)
    assert measure.read({}, nature) is not None


@each_measure
@given(one=evidences(), other=evidences(), nature=natures)
def test_merging_commutes(measure: Measure[Any], one: Evidence, other: Evidence, nature: Nature) -> None:
    there, back = counted(measure, one), counted(measure, other)
    assert measure.read(added(there, back), nature) == measure.read(added(back, there), nature)


@each_measure
@given(evidence=evidences(), other=evidences())
def test_what_was_counted_and_taken_out_again_leaves_nothing(
    measure: Measure[Any], evidence: Evidence, other: Evidence
) -> None:
    once = counted(measure, evidence)
    out = Counter({atom: -amount for atom, amount in once.items()})
    assert added(once, out) == {}
    assert added(once, counted(measure, other), out) == added(counted(measure, other))


@each_measure
@given(evidence=evidences(), nature=natures)
def test_what_is_written_is_read_again(measure: Measure[Any], evidence: Evidence, nature: Nature) -> None:
    cells = added(counted(measure, evidence))
    rows: dict[str, dict[str, Any]] = {}
    for (row, column), amount in cells.items():
        rows.setdefault(row, {})[column] = amount
    parsed = parse_rows("", whole_value(rows))
    again = {(row, column): amount for row, columns in parsed.items() for column, amount in columns.items()}
    assert again == cells
    written, read = Numbers(), Numbers()
    numbers = [written.atom(Atom(*atom)) for atom in cells]
    assert all(is_number_key(key) for key, _ in written.unwritten)
    read.recover(iter(written.unwritten))
    assert [read.atoms[number] for number in numbers] == list(cells)


@each_measure
@given(evidence=evidences())
def test_its_rows_begin_with_its_name(measure: Measure[Any], evidence: Evidence) -> None:
    assert {measure_of(row) for row, _ in counted(measure, evidence)} <= {measure.name}


@each_measure
@given(evidence=evidences(), times=st.integers(1, 10**12))
def test_what_is_kept_for_alike_answers_depends_on_what_is_alike(
    measure: Measure[Any], evidence: Evidence, times: int
) -> None:
    """Answers whose delay and reward differ have one bundle, and the same measures add amounts to it."""
    other = Evidence(
        rules=evidence.rules,
        request=evidence.request,
        response=evidence.response,
        feedback=evidence.feedback,
        classes=evidence.classes,
        marks=evidence.marks,
        labels=evidence.labels,
        probabilities=evidence.probabilities,
        mismatched=evidence.mismatched,
        delay=None if evidence.delay is None else times,
        reward=None if evidence.reward is None else times,
    )
    assert list(measure.counts(other)) == list(measure.counts(evidence))
    assert bool([*measure.amounts(other)]) == bool([*measure.amounts(evidence)])


@each_measure
@given(evidence=evidences(), nature=natures)
def test_what_it_shows_can_be_shown(measure: Measure[Any], evidence: Evidence, nature: Nature) -> None:
    reading = measure.read(added(counted(measure, evidence)), nature)
    for family in measure.families:
        assert family.kind in ("gauge", "histogram")
        for labels, value in family.samples(reading):
            assert len(labels) == len(family.labels)
            assert isinstance(value, Histogram) == (family.kind == "histogram")
    for field in measure.fields:
        assert orjson.dumps(field.read(reading))
        assert field.places
        assert set(field.places) <= {DOCUMENT, WINDOW, MODEL}
        assert (DOCUMENT in field.places) == (field.mapping is not None), "a document's field needs a mapping"


def test_no_two_measures_share_a_name_a_series_or_a_field() -> None:
    names = [measure.name for measure in MEASURES]
    assert len(set(names)) == len(names)
    assert all(measure_of(name) == name for name in names)
    series = [family.name for measure in MEASURES for family in measure.families]
    assert len(set(series)) == len(series)
    fields = [(place, field.name) for measure in MEASURES for field in measure.fields for place in field.places]
    assert len(set(fields)) == len(fields)
