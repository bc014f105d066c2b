"""The versions of a model against each other, by what each has answered and was asked; scipy is the oracle."""

from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any, Final

import numpy as np
import pytest

from app.core.counts.panes import Window
from app.core.drift.distribution import Distribution
from app.core.drift.live import Live, Version, Watched
from app.core.drift.reference import LABEL, PREDICTION, SCORE, Reference
from app.core.events import Identity
from app.core.outputs.versions import between, report_of, versions_before, versions_report
from app.core.rules import Rules
from app.exporters.prometheus import ModelText
from tests.builders import START, Ledger, Record, a_feedback, a_request, a_response
from tests.oracle.versions import distances, kolmogorov_smirnov

AGE: Final = Distribution("age", "continuous", (18.0, 30.0, 65.0), (), (1, 60, 39))
COUNTRY: Final = Distribution("country", "categorical", (), ("DE", "FR"), (70, 30))
NUMBERS: Final = Distribution(PREDICTION, "continuous", (0.0, 10.0, 20.0), (), (1, 50, 50))
CHANCES: Final = Distribution(SCORE, "continuous", (0.0, 0.5, 1.0), (), (1, 60, 39))
WINDOWS: Final = (Window("5m", 300),)
FIELDS: Final = ("psi", "js", "ks", "ks_p", "chi2_p")

Report = dict[str, Any]


def answers(version: str, at: float, *rows: Any, **more: Any) -> list[Record]:
    return [
        a_response(row, puid=f"{version}-{at}-{number}", at=at, version=version, **more)
        for number, row in enumerate(rows)
    ]


def asked(version: str, at: float, *rows: Any) -> Iterator[Record]:
    """Requests, each with its answer."""
    for number, row in enumerate(rows):
        puid = f"{version}-{at}-{number}"
        yield a_request({"data": {"ndarray": [row]}}, puid=puid, at=at)
        yield a_response(1.5, puid=puid, at=at, version=version)


def version(name: str) -> Identity:
    return Identity("ns", "svc", "default", "m", name)


def a_ledger(*records: Record, **rules: Any) -> Ledger:
    return Ledger(Rules(**{"least_count": 2, **rules}), windows=WINDOWS).absorb(*records).cut()


def report(*records: Record, now: float = 0, **rules: Any) -> list[Report]:
    return versions_report(a_ledger(*records, **rules).readings(), START + now)


def drift_in(found: Report, window: str = "total") -> dict[str, Report]:
    """By the name of what is compared."""
    return {one["feature"]: one for one in found["windows"][window]["drift"]}


def numbers(one: Report) -> Report:
    return {name: one[name] for name in FIELDS if name in one}


def test_the_newest_version_is_held_against_all_that_the_one_before_has_answered() -> None:
    old = answers("1", 1, "cat", "cat", "dog", "dog")
    first, second = answers("2", 4000, "cat", "dog"), answers("2", 8000, "dog", "dog", "eel")
    (found,) = report(*answers("0", 0.5, "eel"), *second, *first, *old, a_feedback("cat", puid="1-1-0"), now=8001)
    assert [found[side]["model_version"] for side in ("before", "after")] == ["1", "2"]
    before, total, window = ["cat", "cat", "dog", "dog"], ["cat", "dog", "dog", "dog", "eel"], ["dog", "dog", "eel"]
    for name, after in (("total", total), ("5m", window)):
        (one,) = found["windows"][name]["drift"]
        assert (one["feature"], one["rows_before"], one["rows"], one["drifted"]) == (PREDICTION, 4, len(after), False)
        assert numbers(one) == pytest.approx(
            numbers(distances(["cat", "dog", "eel"], {*before, *after}, before, after))
        )
    assert found["sentence"] == "no drift from version 1 shown (n = 4)"


def test_a_version_that_answers_otherwise_has_drifted() -> None:
    (found,) = report(*answers("1", 1, *["cat"] * 50), *answers("2", 100, *["dog"] * 50), now=9000)
    assert drift_in(found)[PREDICTION]["drifted"] is True
    assert drift_in(found, "5m") == {PREDICTION: {"feature": PREDICTION, "rows_before": 50, "rows": 0}}
    assert found["sentence"].startswith("drifted from version 1: (prediction) (PSI ")


@pytest.mark.parametrize(("old", "new"), [(99, 200), (200, 99), (99, 99)])
def test_with_too_few_rows_of_either_version_nothing_is_judged(old: int, new: int) -> None:
    (found,) = report(*answers("1", 1, *["cat"] * old), *answers("2", 100, *["dog"] * new), least_count=100)
    (one,) = found["windows"]["total"]["drift"]
    assert "drifted" not in one
    assert one["psi"] > 1
    assert found["sentence"] == "not enough rows to tell it from version 1 (99, need 100)"


@pytest.mark.parametrize(
    "records",
    [
        [],
        answers("1", 1, "cat"),
        [a_request(puid="asked"), *answers("1", 1, "cat")],
        [*answers("1", 1, 1.5, 2.5), *answers("2", 100, 1.5)],
        [*answers("1", 1, "cat"), a_response(puid="f", at=9, body={"status": {"code": 503}, "model_version": "2"})],
    ],
)
def test_of_a_model_of_one_version_or_that_measures_or_fails_there_is_nothing_to_say(records: list[Record]) -> None:
    assert report(*records) == []


def test_a_version_that_only_fails_is_before_none() -> None:
    failed = a_response(puid="f", at=50, body={"status": {"code": 503}, "model_version": "2"})
    ledger = a_ledger(*answers("1", 1, "cat"), failed, *answers("3", 100, "cat"))
    assert versions_before(ledger.readings()) == {version("3"): version("1")}


def chances(seed: int, rows: int, power: float) -> list[float]:
    """Probabilities that each have a fine bin of their own."""
    random = Random(seed)
    return [round(64 * random.random() ** power) / 64 for _ in range(rows)]


def tenths(values: Sequence[float]) -> Callable[[float], int]:
    """By its tenths the number of a value's bin: right-closed, the least value alone, and one for what is beyond."""
    ordered = sorted(values)
    places = [-(-part * len(ordered) // 10) - 1 for part in range(1, 11)]
    edges = sorted({ordered[0], *(ordered[place] for place in places)})

    def bin_of(value: float) -> int:
        return -1 if value < edges[0] else int(np.searchsorted(edges, value))

    return bin_of


@pytest.mark.parametrize("labelled", [False, True])
def test_the_probabilities_of_two_classes_are_apart_by_their_tenths_and_by_kolmogorov_and_smirnov(
    labelled: bool,
) -> None:
    """Of all rows where estimates are asked for, else of those with a label."""
    before, after = chances(1, 300, 1.0), [*chances(2, 200, 1.5), 0.0, 1.0]
    records = [*answers("1", 1, *before), *answers("2", 8000, *after)]
    if labelled:
        records += [a_feedback(1, puid=f"1-1-{number}", at=2) for number in range(len(before))]
        records += [a_feedback(0, puid=f"2-8000-{number}", at=8001) for number in range(len(after))]
        records += answers("2", 100, 0.015625, 0.984375)  # without label, of which nothing is known
    (found,) = report(*records, now=8001, task="binary", estimate=not labelled)
    name = "(labelled score)" if labelled else SCORE
    bin_of = tenths(before)
    edges = {*map(bin_of, before)}
    expected = numbers(distances(range(-1, 12), edges, [*map(bin_of, before)], [*map(bin_of, after)]))
    for window in ("total", "5m"):
        one = drift_in(found, window)[name]
        assert (one["rows_before"], one["rows"]) == (len(before), len(after))
        assert numbers(one) == pytest.approx({**expected, **kolmogorov_smirnov(before, after)})
    assert [*drift_in(found)] == [PREDICTION, name]


def test_of_more_classes_the_probabilities_are_those_of_the_class_predicted() -> None:
    def rows(values: Sequence[float]) -> list[list[float]]:
        return [[value, (1 - value) / 2, (1 - value) / 2] for value in values]

    before, after = ([max(0.5, value) for value in chances(seed, 80, power)] for seed, power in ((3, 1.0), (4, 0.7)))
    records = [*answers("1", 1, *rows(before)), *answers("2", 100, *rows(after))]
    (found,) = report(*records, estimate=True)
    assert numbers(drift_in(found)[SCORE])["ks"] == pytest.approx(kolmogorov_smirnov(before, after)["ks"])


def watched(*features: Distribution, **others: Any) -> Watched:
    return Watched("histogram.prom", Live(Reference(features, **others), 2))


def test_features_and_numbers_that_are_predicted_are_compared_by_the_bins_of_the_one_reference() -> None:
    random = Random(5)
    ages = [[random.choice([5, 20, 25, 40, 50, 70, None]) for _ in range(rows)] for rows in (90, 60)]
    countries = [[random.choice(["DE", "FR", "IT", None]) for _ in range(rows)] for rows in (90, 60)]
    places = ("1", 1, ages[0], countries[0]), ("2", 8000, ages[1], countries[1])
    records = [
        one for name, at, age, land in places for one in asked(name, at, *map(list, zip(age, land, strict=True)))
    ]
    (found,) = report(*records, now=8001, reference=watched(AGE, COUNTRY, prediction=NUMBERS), task="regression")

    def of_age(value: int | None) -> int:
        return -2 if value is None else -1 if value < 18 else int(np.searchsorted([18, 30, 65], value))

    def of_country(value: str | None) -> int:
        return -2 if value is None else {"DE": 0, "FR": 1}.get(value, -1)

    for window in ("total", "5m"):
        drifts = drift_in(found, window)
        assert [*drifts] == ["age", "country", PREDICTION]
        binned = [[*map(of_age, values)] for values in ages]
        present = [[bin_ for bin_ in values if bin_ > -2] for values in binned]
        expected = numbers(distances(range(-2, 4), range(3), *binned))
        assert numbers(drifts["age"]) == pytest.approx({**expected, **kolmogorov_smirnov(*present)})
        binned = [[*map(of_country, values)] for values in countries]
        assert numbers(drifts["country"]) == pytest.approx(numbers(distances(range(-2, 2), range(2), *binned)))
        assert drifts["age"]["missing"] == ages[1].count(None) / 60
        assert drifts[PREDICTION]["ks"] == 0
        assert found["windows"][window]["drifted_share"] == 0


def test_a_shifted_feature_is_named_and_only_features_have_a_share() -> None:
    old, new = ([[age, "DE"] for age in [20, 40] * 50], [[70, "DE"]] * 100)
    (found,) = report(*asked("1", 1, *old), *asked("2", 100, *new), reference=watched(AGE, COUNTRY, prediction=NUMBERS))
    assert found["windows"]["total"]["drifted_share"] == 0.5
    assert found["sentence"].startswith("drifted from version 1: age (PSI ")


def test_the_score_of_the_reference_comes_before_that_of_labelled_rows() -> None:
    records = [*answers("1", 1, 0.25, 0.75, 0.75), *answers("2", 100, 0.25, 0.125)]
    records += [a_feedback(1, puid=f"{own}-0", at=101) for own in ("1-1", "2-100")]
    (found,) = report(*records, reference=watched(score=CHANCES), task="binary")
    one = drift_in(found)[SCORE]
    assert (one["rows_before"], one["rows"]) == (3, 2)
    assert numbers(one)["ks"] == pytest.approx(2 / 3)
    assert LABEL not in drift_in(found)


def test_what_versions_counted_by_a_reference_each_is_not_compared() -> None:
    """Bins of two references of first rows are others."""
    reference = Watched("", Live(Reference(()), 2), first=100)
    ledger = a_ledger(*asked("1", 1, [1], [2]), *asked("2", 100, [1], [3]), reference=reference)
    for name, edges in (("1", (1.0, 2.0)), ("2", (1.0, 3.0))):
        own = Reference((Distribution("0", "continuous", edges, (), (1, 1)),), NUMBERS)
        reference.versions[version(name)] = Version(reference.live.with_reference(own), 0)
    ledger.absorb(*asked("1", 200, [1], [2]), *asked("2", 200, [1], [3])).cut()
    readings = ledger.readings()
    total = readings.of_model(version("2"), START)
    assert total is not None
    assert total["total"].by_measure["drift"].drifts["0"].rows == 4  # each is compared with its own
    assert between(readings, version("1"), version("2"), START) is None
    assert versions_report(readings, START) == []


def test_any_two_versions_may_be_compared_and_bins_are_told_where_they_are_asked_for() -> None:
    readings = a_ledger(*answers("1", 1, "a", "b"), *answers("2", 100, "b"), *answers("3", 200, "c", "a")).readings()
    found = between(readings, version("1"), version("3"), START)
    assert found is not None
    (one,) = report_of(found, bins=True)["windows"]["total"]["drift"]
    assert [tuple(bin_.values()) for bin_ in one["bins"]] == [("a", 1, 1), ("b", 1, 0), ("c", 0, 1)]
    assert [*one["bins"][0]] == ["bin", "before", "rows"]


def exported(ledger: Ledger, name: str) -> dict[str, float]:
    """The series of a version beside the one before it, without the labels of identity."""
    readings = ledger.readings()
    text = ModelText(seldon=False, most=10**9, rulebook=readings.rulebook)
    read = readings.of_model(version(name), START + 101)
    assert read is not None
    before = versions_before(readings).get(version(name))
    versions = None if before is None else between(readings, before, version(name), START + 101)
    text.put(version(name), text.block(version(name), read, 0, (), versions))
    own = (line.rpartition(" ") for line in text.text().splitlines() if line.startswith("tally_version"))
    return {f"{line.partition('{')[0]} {line[line.index('before=') : -1]}": float(value) for line, _, value in own}


def test_a_version_has_series_of_its_answers_and_of_how_many_features_have_drifted_but_of_no_feature() -> None:
    old, new = ([[age, "DE"] for age in [20, 40] * 50], [[70, "DE"]] * 99)
    ledger = a_ledger(*asked("1", 1, *old), *asked("2", 100, *new), reference=watched(AGE, COUNTRY, prediction=NUMBERS))
    assert exported(ledger, "1") == {}
    (found,) = versions_report(ledger.readings(), START + 101)
    expected = {}
    for window in ("total", "5m"):
        labels = f'before="1",feature="(prediction)",window="{window}"'
        expected[f"tally_version_rows {labels}"] = 99.0
        expected[f'tally_version_drifted_share before="1",window="{window}"'] = 0.5
        for of, value in numbers(drift_in(found, window)[PREDICTION]).items():
            of_measure = f',measure="{of}",window'
            expected[f"tally_version_drift {labels.replace(',window', of_measure)}"] = value
    assert exported(ledger, "2") == expected
