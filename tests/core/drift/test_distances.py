"""Distances of counts: as other libraries have them, and by scipy's own functions on any counts."""

import json
import math
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.distance import jensenshannon

from app.core.drift.distances import chi2_p, js, known, ks, ks_p, psi, rejected
from app.core.drift.distribution import Distribution
from app.core.drift.drift import Drift, Yardstick, drift_of, share_drifted
from tests.cases import FOLDER, demand

CASES: Final = FOLDER / "monitoring"


def case(name: str) -> dict[str, Any]:
    demand(CASES)
    content: dict[str, Any] = json.loads((CASES / f"{name}.json").read_text())
    return content


def about(value: float | None) -> Any:
    return None if value is None else pytest.approx(value, rel=1e-9, abs=1e-12)


def test_distances_are_those_of_the_recorded_pairs_of_counts() -> None:
    for one in case("distribution-binned")["cases"]:
        reference, live, expected = one["reference"], one["current"], one["expected"]
        smoothed, plain = expected.get("laplace_1"), expected.get("no_smoothing")  # none of what is undefined
        assert known(psi(reference, live)) == about(smoothed and smoothed["psi"]), one["name"]
        assert known(js(reference, live)) == about(plain and plain["js_distance_base2"]), one["name"]
        test, binned = expected.get("chi2_contingency"), expected.get("ks_binned")
        assert known(chi2_p(reference, live)) == about(test and test["pvalue"]), one["name"]
        distance = ks(reference, live)
        assert known(distance) == about(binned and binned["statistic"]), one["name"]
        p = binned and binned["pvalue_asymptotic_kstwobign"]
        assert known(ks_p(distance, sum(reference), sum(live))) == about(p), one["name"]


def classes(counts: dict[str, int]) -> Distribution:
    return Distribution("", "categorical", (), tuple(counts), tuple(counts.values()))


def numbers(cumulative: list[list[Any]]) -> tuple[Distribution, list[int]]:
    edges = tuple(float(edge) for edge, _ in cumulative[:-1])
    totals = [0, *(rows for _, rows in cumulative)]
    counts = [after - before for before, after in pairwise(totals)]
    return Distribution("", "continuous", edges, (), tuple(counts[:-1]), counts[-1]), counts


@pytest.mark.parametrize("place", range(10))
def test_psi_is_what_boxkites_dashboard_shows_where_that_is_not_blind(place: int) -> None:
    one = case("boxkite-promql")["kl_divergence"][place]
    reference = classes(one["baseline"])
    of_known = [one["current"].get(name, 0) for name in reference.categories]
    unseen = sum(rows for name, rows in one["current"].items() if name not in reference.categories)
    found = drift_of(reference, [0, unseen, *of_known], 1)
    if not sum(one["current"].values()):
        assert found == Drift(0)  # its dashboard shows 0.58 and 3.54
        return
    assert found.psi == about(one["laplace_1_psi_over_the_union_of_bins"])
    if not unseen and one["replicas"] == 1:
        assert found.psi == pytest.approx(one["promql_value"], rel=1e-9)


def test_ks_is_what_boxkites_dashboard_shows_but_for_what_is_missing() -> None:
    for one in case("boxkite-promql")["ks"]:
        reference, _ = numbers(one["baseline_cumulative"])
        _, live = numbers(one["current_cumulative"])
        found = drift_of(reference, [live[-1], 0, *live[:-1], 0], 1)
        if one["name"].startswith("all in +Inf"):
            assert (found.ks, found.missing) == (None, 1.0)
        elif one["name"] == "no traffic":
            assert found == Drift(0)
        elif one["name"] == "identical":
            assert found.ks == pytest.approx(0, abs=1e-12)
        else:  # over all rows, as boxkite has it
            assert known(ks([*reference.counts, reference.missing], live)) == about(one["promql"][0]["value"])


counts_of_bins = st.integers(2, 12).flatmap(
    lambda bins: st.tuples(*[st.lists(st.integers(0, 2000), min_size=bins, max_size=bins)] * 2)
)


@given(counts_of_bins)
def test_distances_are_scipys(both: tuple[list[int], list[int]]) -> None:
    reference, live = both
    if not sum(reference) or not sum(live):
        assert [known(measure(*both)) for measure in (psi, js, ks, chi2_p)] == [None] * 4
        return
    p, q = (np.array(counts) / sum(counts) for counts in both)
    assert known(js(*both)) == pytest.approx(float(jensenshannon(p, q, base=2)), abs=1e-7)
    distance = known(ks(*both))
    assert distance == pytest.approx(float(abs(np.cumsum(p) - np.cumsum(q)).max()), abs=1e-12)
    one, other = (np.repeat(np.arange(len(counts)), counts) for counts in both)
    assert distance == pytest.approx(float(stats.ks_2samp(one, other, method="asymp").statistic), abs=1e-12)
    table = np.array(both)[:, np.array(both).sum(axis=0) > 0]
    if table.shape[1] > 1:
        assert known(chi2_p(*both)) == pytest.approx(
            float(stats.chi2_contingency(table, correction=False).pvalue), rel=1e-9
        )
    else:
        assert known(chi2_p(*both)) is None
    smoothed = [(np.array(counts) + 1) / (sum(counts) + len(counts)) for counts in both]
    both_ways = stats.entropy(smoothed[0], smoothed[1]) + stats.entropy(smoothed[1], smoothed[0])
    assert known(psi(*both)) == pytest.approx(float(both_ways), rel=1e-9, abs=1e-12)


distributions = st.one_of(
    st.lists(st.integers(0, 500), min_size=1, max_size=40).map(
        lambda counts: Distribution("", "continuous", tuple(map(float, range(len(counts)))), (), tuple(counts), 3)
    ),
    st.lists(st.integers(0, 500), max_size=9).map(lambda counts: classes({str(at): n for at, n in enumerate(counts)})),
)
side_by_side = st.lists(
    distributions.flatmap(
        lambda one: st.tuples(st.just(one), st.lists(st.integers(0, 500), min_size=one.size, max_size=one.size))
    ),
    min_size=1,
    max_size=12,
)


@given(side_by_side)
def test_distributions_side_by_side_are_judged_as_each_alone(some: list[tuple[Distribution, list[int]]]) -> None:
    yardstick = Yardstick([one for one, _ in some], [one.by_bin() for one, _ in some])
    together = yardstick.drifts([live for _, live in some], 100)
    for (one, live), found in zip(some, together, strict=True):
        assert found._asdict() == {of: about(value) for of, value in drift_of(one, live, 100)._asdict().items()}


@given(st.lists(st.one_of(st.none(), st.floats(0, 1)), max_size=30))
def test_the_correction_for_many_tests_is_that_of_benjamini_and_hochberg(p_values: list[float | None]) -> None:
    made = [p for p in p_values if p is not None]
    adjusted = iter(stats.false_discovery_control(made) if made else [])
    expected = [None if p is None else next(adjusted) for p in p_values]
    for was, other in zip(rejected(p_values, 0.05), expected, strict=True):
        if other is None:
            assert not was
        elif not math.isclose(other, 0.05):
            assert was == (other <= 0.05)


def test_nothing_is_judged_below_the_least_count_and_of_many_features_few_are_called_drifted_by_chance() -> None:
    reference = classes({"a": 500, "b": 500})
    assert drift_of(reference, [0, 0, 99, 0], 100).drifted is None
    assert drift_of(reference, [0, 0, 100, 0], 100).drifted is True
    assert drift_of(reference, [0, 0, 60, 40], 100).drifted is False
    assert share_drifted([]) is None
    barely = drift_of(reference, [0, 0, 66, 34], 100)
    assert barely.drifted is True
    assert share_drifted([barely]) == 1.0
    same = drift_of(reference, [0, 0, 50, 50], 100)
    assert share_drifted([barely, *[same] * 199]) == 0.0
    assert share_drifted([drift_of(reference, [0, 0, 100, 0], 100), *[same] * 199, Drift(0)]) == 1 / 200


# -- false alarms and power -------------------------------------------------------------------------------------------


def shares(bins: int, window: int, shift: float, scale: float, uniform: bool, windows: int) -> dict[str, float]:
    """Shares of windows that alarm, of a reference of 10,000 rows in equal bins, by the code that judges."""
    random = np.random.default_rng(bins * window + int(100 * shift))
    inner = np.arange(1, bins) / bins
    cuts = inner if uniform else stats.norm.ppf(inner)
    draw = random.random if uniform else random.standard_normal
    edges = tuple(map(float, [*cuts, 1e9]))
    equal = [10_000 // bins] * bins
    alarms = dict.fromkeys(("rule", "psi", "chi2", "ks_05", "ks_01"), 0)
    for _ in range(windows):
        # Bins of equal mass are made of the reference itself.
        reference = np.bincount(np.searchsorted(cuts, draw(10_000)), minlength=bins) if uniform else equal
        live = np.bincount(np.searchsorted(cuts, draw(window) * scale + shift), minlength=bins)
        found = drift_of(
            Distribution("", "continuous", edges, (), tuple(map(int, reference))), [0, 0, *map(int, live), 0], 1
        )
        assert found.psi is not None
        assert found.chi2_p is not None
        assert found.ks_p is not None
        alarms["rule"] += bool(found.drifted)
        alarms["psi"] += found.psi > 0.1
        alarms["chi2"] += found.chi2_p < 0.01
        alarms["ks_05"] += found.ks_p < 0.05
        alarms["ks_01"] += found.ks_p < 0.01
    return {name: count / windows for name, count in alarms.items()}


def near(found: float, expected: float, windows: int, recorded: int) -> None:
    """Two shares of simulated windows differ by chance alone: less than 4.5 standard errors."""
    middle = (found * windows + expected * recorded) / (windows + recorded)
    error = math.sqrt(max(middle * (1 - middle), 1 / windows) * (1 / windows + 1 / recorded))
    assert abs(found - expected) <= 4.5 * error, (found, expected)


@pytest.mark.parametrize(("bins", "window"), [(10, 100), (20, 100), (20, 300), (50, 300), (50, 1000)])
def test_windows_without_drift_alarm_as_seldom_as_recorded(bins: int, window: int) -> None:
    (one,) = (row for row in case("psi-false-alarms")["rows"] if (row["bins"], row["window"]) == (bins, window))
    expected, windows = one["share_alarming"], 1000
    found = shares(bins, window, 0, 1, True, windows)
    near(found["psi"], expected["laplace1_psi_gt_0_1"], windows, 4000)
    near(found["chi2"], expected["chi2_contingency_p_lt_0_01"], windows, 4000)
    near(found["ks_05"], expected["ks_binned_p_lt_0_05"], windows, 4000)
    assert found["rule"] <= 0.025


@pytest.mark.parametrize("window", [100, 300, 1000])
@pytest.mark.parametrize(("shift", "scale"), [(0, 1), (0.25, 1), (0.5, 1), (1, 1), (0, 1.5)])
def test_drift_is_found_as_often_as_recorded(window: int, shift: float, scale: float) -> None:
    (one,) = (
        row
        for row in case("drift-power")["rows"]
        if (row["bins"], row["window"], row["mean_shift_sd"], row["scale"]) == (20, window, shift, scale)
    )
    expected, windows = one["share_alarming"], 400
    # The recorded reference was a sample of 10,000: its own mean lies within two standard errors, 0.02, of the others'.
    beside = [shares(20, window, shift + by, scale, False, windows) for by in ((-0.02, 0.02) if shift else (0,))]
    for ours, recorded in (("rule", "psi01_and_chi2"), ("ks_01", "ks_p01")):
        low, high = beside[0][ours], beside[-1][ours]
        if not low <= expected[recorded] <= high:
            near(min((low, high), key=lambda it: abs(it - expected[recorded])), expected[recorded], windows, 800)
