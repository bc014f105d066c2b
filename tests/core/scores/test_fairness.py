"""Fairness: fairlearn's and scikit-learn's numbers over the raw rows, and what is undefined."""

from itertools import product
from typing import Any, Final

import pytest
from fairlearn.metrics import demographic_parity_difference, equalized_odds_difference, true_positive_rate
from hypothesis import given, settings
from hypothesis import strategies as st

from app.core.counts.panes import PaneClock
from app.core.outputs.report import reports_of
from app.core.rules import Fairness, Rules
from app.core.scores.fairness import MEASURES, fairness_of
from app.core.segments import TAGS, Segment
from tests.builders import START, Ledger, Record, a_feedback, a_response
from tests.core.outputs.test_windows import History
from tests.exporters.test_segments import series, text_of

RULE: Final = Fairness("sex", "male", "1")
RULES: Final = Rules(segments=(Segment("sex", TAGS, "sex", kept=("male",)),), fairness=RULE, task="binary")

#: (sex, prediction, label)
Row = tuple[str | None, int, int | None]


def a_row(number: int, row: Row) -> list[Record]:
    sex, mark, label = row
    tags = {} if sex is None else {"sex": sex}
    body = {"data": {"ndarray": [mark]}, "meta": {"tags": tags}}
    answer = a_response(body=body, puid=f"p{number}")
    return [answer] if label is None else [answer, a_feedback(label, puid=f"p{number}")]


def told(rows: list[Row], rules: Rules = RULES, **options: Any) -> Ledger:
    return (
        Ledger(rules, **options).absorb(*[one for number, row in enumerate(rows) for one in a_row(number, row)]).cut()
    )


def fairness(ledger: Ledger, rule: Fairness = RULE, window: str = "total") -> dict[tuple[str, str], tuple[Any, int]]:
    ((_, readings),) = ledger.readings().of_models(START + 60)
    return {(one.value, one.measure): (one.score, one.samples) for one in fairness_of(readings[window], rule)}


def rate(rows: list[Row], of: str, *, privileged: bool) -> float | None:
    """A rate of one group, from the raw rows: "selected", or of true ("tpr") or false ("fpr") positives."""
    own = [row for row in rows if row[0] is not None and (row[0] == "male") == privileged]
    if of != "selected":
        own = [row for row in own if row[2] == (1 if of == "tpr" else 0)]
    return sum(mark for _, mark, _ in own) / len(own) if own else None


@settings(max_examples=150)
@given(
    st.lists(
        st.tuples(st.sampled_from(("male", "female", "other", None)), st.integers(0, 1), st.sampled_from((0, 1, None))),
        min_size=1,
        max_size=40,
    ),
    st.sampled_from((1, 4)),
)
def test_measures_are_those_of_the_raw_rows(rows: list[Row], partitions: int) -> None:
    found = fairness(told(rows, partitions=partitions))
    rates = {
        of: (rate(rows, of, privileged=False), rate(rows, of, privileged=True)) for of in ("selected", "tpr", "fpr")
    }
    differences = {
        of: None if own is None or privileged is None else own - privileged for of, (own, privileged) in rates.items()
    }
    own, privileged = rates["selected"]
    impact = None if own is None or not privileged else own / privileged
    both = None if differences["tpr"] is None or differences["fpr"] is None else differences["tpr"] + differences["fpr"]
    wanted = (differences["selected"], impact, differences["tpr"], None if both is None else both / 2)
    for measure, score in zip(MEASURES, wanted, strict=True):
        assert found["", measure][0] == (None if score is None else pytest.approx(score, abs=1e-12)), measure


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(st.sampled_from(("male", "female", "other")), st.integers(0, 1), st.integers(0, 1)),
        max_size=40,
    ),
)
def test_the_largest_over_the_values_are_those_of_fairlearn(drawn: list[tuple[str, int, int]]) -> None:
    everything = product(("male", "female", "other"), (0, 1), (0, 1))  # so that all rates are defined
    rows = [*drawn, *everything]
    sexes, marks, labels = zip(*rows, strict=True)
    found = fairness(told([*rows]))
    of_privileged = [0.0]
    parity = [found[sex, "statistical_parity_difference"][0] for sex in ("female", "other")] + of_privileged
    opportunity = [found[sex, "equal_opportunity_difference"][0] for sex in ("female", "other")] + of_privileged
    assert max(parity) - min(parity) == pytest.approx(
        demographic_parity_difference(labels, marks, sensitive_features=sexes)
    )
    by_sex = {
        sex: true_positive_rate(*zip(*[(row[2], row[1]) for row in rows if row[0] == sex], strict=True))
        for sex in ("male", "female", "other")
    }
    assert max(opportunity) - min(opportunity) == pytest.approx(max(by_sex.values()) - min(by_sex.values()))
    for sex in ("female", "other"):
        two = [row for row in rows if row[0] in ("male", sex)]
        sexes, marks, labels = zip(*two, strict=True)
        odds, opportune = (found[sex, measure][0] for measure in (MEASURES[3], MEASURES[2]))
        false = 2 * odds - opportune
        assert (abs(false) + abs(opportune)) / 2 == pytest.approx(
            equalized_odds_difference(labels, marks, sensitive_features=sexes, agg="mean")
        )


EIGHT: Final[list[Row]] = [
    ("male", 1, 1), ("male", 1, 0), ("male", 0, 1), ("male", 1, None),
    ("female", 1, 1), ("female", 0, 1), ("female", 0, 0), (None, 1, 1),
]  # fmt: skip


def test_what_each_measure_rests_on() -> None:
    assert fairness(told(EIGHT)) == {
        (value, measure): score
        for value in ("", "female")
        for measure, score in {
            "statistical_parity_difference": (pytest.approx(1 / 3 - 3 / 4), 3),
            "disparate_impact": (pytest.approx(1 / 3 / (3 / 4)), 3),
            "equal_opportunity_difference": (0.0, 2),
            "average_odds_difference": (-0.5, 1),
        }.items()
    }


@pytest.mark.parametrize(
    ("rows", "undefined"),
    [
        ([("male", 1, 1)], set(MEASURES)),  # nobody else
        ([("female", 1, 1)], set(MEASURES)),
        ([("male", 0, None), ("female", 1, None)], set(MEASURES[1:])),  # no rate to share, and no label
        ([("male", 1, 1), ("female", 1, 1)], {"average_odds_difference"}),  # no negatives
        ([("male", 1, 0), ("female", 1, 0)], {"equal_opportunity_difference", "average_odds_difference"}),
    ],
)
def test_what_is_undefined_is_none_and_never_0(rows: list[Row], undefined: set[str]) -> None:
    found = fairness(told(rows))
    assert {measure for (value, measure), (score, _) in found.items() if not value and score is None} == undefined
    assert all(samples == 0 for _, (score, samples) in found.items() if score is None) or undefined == set(MEASURES[1:])


def test_a_class_of_many_may_be_the_positive_one() -> None:
    rows: list[Row] = [("male", 2, 2), ("male", 0, 2), ("female", 0, 2), ("female", 1, 1)]
    rule = RULE._replace(positive="2")
    found = fairness(told(rows, Rules(segments=RULES.segments, fairness=rule)), rule)
    assert found["female", "equal_opportunity_difference"] == (-0.5, 1)
    assert found["female", "statistical_parity_difference"] == (-0.5, 2)


def test_a_positive_class_that_nobody_names_is_never_selected() -> None:
    rule = RULE._replace(positive="9")
    found = fairness(told(EIGHT, Rules(segments=RULES.segments, fairness=rule)), rule)
    assert found["", "statistical_parity_difference"] == (0.0, 3)
    assert found["", "equal_opportunity_difference"] == (None, 0)


def test_a_model_that_measures_has_no_fairness() -> None:
    ledger = told([], Rules(segments=RULES.segments, fairness=RULE))
    ledger.absorb(a_response(1.5), a_feedback(2.5)).cut()
    assert fairness(ledger) == {}


def test_all_outputs_say_it() -> None:
    ledger = told(EIGHT, clock=PaneClock(by_labels=True))
    found = fairness(ledger)
    text = text_of(ledger).text()
    shown = series(text, "tally_fairness", 'window="total"', 'measure="average_odds_difference"')
    assert shown == {
        'attribute="sex",value="",measure="average_odds_difference",window="total"': "-0.5",
        'attribute="sex",value="female",measure="average_odds_difference",window="total"': "-0.5",
    }
    samples = series(text, "tally_fairness_samples", 'window="5m"', 'value=""')
    assert {line.split('"')[5]: int(value) for line, value in samples.items()} == {
        measure: found["", measure][1] for measure in MEASURES
    }
    assert "labels_5m" in text.partition("tally_fairness{")[2]
    readings = ledger.readings()
    (model,) = reports_of(readings, START + 60)
    whole, female = model["windows"]["1h"]["fairness"]
    assert (whole["attribute"], whole["value"], female["value"]) == ("sex", "", "female")
    assert model["windows"]["1h"]["privileged"] == "male"
    assert whole["scores"] == {measure: found["", measure][0] for measure in MEASURES}
    assert whole["score_samples"] == {measure: found["", measure][1] for measure in MEASURES}


def test_documents_of_windows_say_it_and_change_with_the_values_alone() -> None:
    history = History(RULES)
    first = history.tell(*a_row(0, ("male", 1, 1)), *a_row(1, ("female", 0, 1)))
    whole = {document.place[1]: document.body for document in first}["ns/svc/default/m//5m/2026-11-21T07:00:00Z"]
    assert whole is not None
    assert whole["fairness"][0]["scores"]["statistical_parity_difference"] == -1.0
    sex = {"data": {"ndarray": [0]}, "meta": {"tags": {"sex": "male"}}}
    again = history.tell(a_response(body=sex, puid="p1", at=1))  # the same row, of another value
    whole = {document.place[1]: document.body for document in again}["ns/svc/default/m//5m/2026-11-21T07:00:00Z"]
    assert whole is not None
    assert whole["fairness"] == [
        {
            "attribute": "sex",
            "value": "",
            "scores": dict.fromkeys(MEASURES),
            "score_samples": dict.fromkeys(MEASURES, 0),
        }
    ]
