"""Reference files: boxkite's own, those that Tally writes, and the sentence where a file is none."""

import json
import math
import re
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from app.core.drift.building import distribution_of
from app.core.drift.distribution import BELOW, FIRST, MISSING, REST, UNSEEN, Distribution, binning, category_of
from app.core.drift.drift import drift_of
from app.core.drift.reference import LABEL, PREDICTION, SCORE, Reference
from app.reference_file import ReferenceFileError, read_reference, reference_of, text_of, write_reference
from tests.cases import FOLDER, demand

CASES: Final = FOLDER / "monitoring"
NOT_JSON: Final = {"None": None, "NaN": math.nan, "+Inf": math.inf, "-Inf": -math.inf}
NAMES: Final = ("iris-classes", "iris-probability", "edge", "clamped-50")


def boxkite(name: str) -> dict[str, Any]:
    demand(CASES)
    known = json.loads((CASES / "boxkite.json").read_text())["cases"]
    (one,) = (one for one in known if one["name"] == name)
    return dict(one)


def value(raw: Any) -> Any:
    return NOT_JSON.get(raw, raw) if isinstance(raw, str) else raw


@pytest.mark.parametrize("name", NAMES)
def test_boxkites_files_are_read_as_they_were_meant(name: str) -> None:
    recorded = boxkite(name)
    reference = read_reference(CASES / recorded["file"])
    found = {f"feature_{place}_value_baseline": one for place, one in enumerate(reference.features)}
    if reference.prediction is not None:
        found["inference_value_baseline"] = reference.prediction
    assert found.keys() == recorded["expected_baseline"].keys()
    for family, expected in recorded["expected_baseline"].items():
        one = found[family]
        if expected["type"] == "histogram":
            *bins, rest = expected["bins_upper_inclusive"]
            assert [*zip(one.edges, one.counts, strict=True)] == [(float(it["upper"]), it["count"]) for it in bins]
            assert one.missing == rest["count"]
        else:
            counts = dict(expected["counts"])
            assert one.missing == counts.pop("nan", 0)
            texts = {category_of(text): count for text, count in counts.items()}
            assert dict(zip(one.categories, one.counts, strict=True)) == texts
    for one, column in zip(reference.features, recorded["training"], strict=True):
        assert one.name == column


@pytest.mark.parametrize("name", NAMES)
def test_live_rows_are_counted_as_boxkite_counts_them_but_for_what_it_mixes_up(name: str) -> None:
    recorded = boxkite(name)
    reference = read_reference(CASES / recorded["file"])
    for place, one in enumerate(reference.features):
        cells = [value(row["features"][place]) for row in recorded["serving"]]
        live = counted(one, cells)
        expected = recorded["expected_live"][f"feature_{place}_value"]
        if one.kind == "continuous":
            first, *others, beyond = (it["count"] for it in expected["bins_upper_inclusive"])
            low = sum(cell == -math.inf for cell in cells)  # in its first bucket
            assert live[BELOW] + live[FIRST] + low == first
            assert live[FIRST + 1 : -1] == others
            assert live[MISSING] - low + live[-1] == beyond
        else:
            texts = expected["counts"]
            assert live[MISSING] == sum(map(int, (texts.get("nan", 0), texts.get("None", 0))))
            assert sum(live) == expected["total"]


def counted(one: Distribution, cells: list[Any]) -> list[int]:
    live = [0] * one.size
    for cell in cells:
        live[binning(one)(cell)] += 1
    return live


def test_where_boxkite_is_blind_the_numbers_speak() -> None:
    reference = read_reference(CASES / boxkite("edge")["file"])
    positive, missing, binary = reference.features[0], reference.features[2], reference.features[4]
    high = drift_of(positive, counted(positive, [50.0] * 200), 100)
    assert (high.above, high.missing, high.drifted) == (1.0, 0.0, True)
    gone = drift_of(positive, counted(positive, [None] * 200), 100)
    assert (gone.above, gone.missing, gone.ks, gone.drifted) == (0.0, 1.0, None, True)
    unseen = drift_of(binary, counted(binary, [0.0, 1.0, 2.0] * 70), 100)
    assert unseen.unseen == pytest.approx(1 / 3)
    assert unseen.drifted
    training = [value(cell) for cell in boxkite("edge")["training"]["with_missing"]]
    same = drift_of(missing, counted(missing, training * 2), 100)
    assert same.missing == pytest.approx(9 / 60)
    assert same.drifted is False
    assert drift_of(positive, counted(positive, []), 100).psi is None


def test_the_live_distribution_of_the_training_rows_is_the_reference_itself() -> None:
    for name in NAMES:
        recorded = boxkite(name)
        reference = read_reference(CASES / recorded["file"])
        for one, cells in zip(reference.features, recorded["training"].values(), strict=True):
            assert counted(one, [value(cell) for cell in cells]) == one.by_bin(), (name, one.name)


# -- what Tally writes ------------------------------------------------------------------------------------------------

cells = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["nan", 'a"b\\', "a\nb"]),
)
columns = st.one_of(
    st.lists(cells, min_size=1, max_size=30),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=60),
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
)


@given(columns, st.sampled_from(["continuous", "categorical", None]), st.integers(2, 20), st.integers(2, 8))
def test_a_reference_that_is_built_counts_its_own_rows_and_is_read_as_it_was(
    column: list[Any], kind: Any, bins: int, categories: int
) -> None:
    made = distribution_of("a column: of", column, kind, bins=bins, categories=categories)
    assert counted(made, column) == made.by_bin()
    assert made.rows == len(column)
    assert len(made.counts) <= (bins + 1 if made.kind == "continuous" else categories)
    whole = Reference((made,), made._replace(name=PREDICTION), made._replace(name=SCORE), made._replace(name=LABEL))
    assert reference_of(text_of(whole)) == whole
    assert reference_of(text_of(whole)).digest == whole.digest


@given(st.lists(st.integers(0, 10**6), min_size=40, max_size=300, unique=True))
def test_bins_of_numbers_have_about_as_many_rows_each(column: list[int]) -> None:
    least, first, *others = distribution_of("", column, "continuous", bins=10).counts
    assert least == 1
    assert all(abs(rows - len(column) / 10) <= 1 for rows in (least + first, *others))


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        ([1.5, 2.5, 3.5, 4.0], "continuous"),
        (["1.5", "2.5", "", "4.0"], "continuous"),
        ([*range(20), "n/a"], "continuous"),
        ([0, 1] * 3, "categorical"),
        ([True, False, None], "categorical"),
        (["True", "False"], "categorical"),
        (["a", "b", 1], "categorical"),
        ([1, 2, 3, 4, 5], "continuous"),
        ([1, 2, 3, 4, 5] * 20, "categorical"),
        ([None, None], "categorical"),
    ],
)
def test_a_column_is_of_numbers_or_of_categories_by_what_it_has(column: list[Any], kind: str) -> None:
    assert distribution_of("", column).kind == kind


def test_rare_categories_are_one_and_unknown_values_are_counted_with_them() -> None:
    made = distribution_of("", ["a"] * 5 + ["b"] * 3 + ["c", "d"], categories=3)
    assert dict(zip(made.categories, made.counts, strict=True)) == {"a": 5, "b": 3, REST: 2}
    assert counted(made, ["a", "x", None])[FIRST + 2] == 1
    assert counted(distribution_of("", ["a", "b"]), ["x"])[UNSEEN] == 1


def test_what_boxkite_would_read_of_a_file_are_its_own_families_alone() -> None:
    one = Distribution("age", "continuous", (1.0, 2.5), (), (1, 3), 2)
    kinds = Distribution("kind", "categorical", (), ("a", "1"), (3, 2), 1)
    text = text_of(Reference((one, kinds), kinds, one, kinds))
    families = {it.name: it for it in text_string_to_metric_families(text)}
    baseline = {name: it.type for name, it in families.items() if name.endswith("_baseline")}
    assert baseline == {
        "feature_0_value_baseline": "histogram",
        "feature_1_value_baseline": "counter",
        "inference_value_baseline": "counter",
    }
    first = families["feature_0_value_baseline"]
    assert first.documentation == "Baseline values for feature: age"
    assert [(it.labels["le"], it.value) for it in first.samples] == [("1.0", 1.0), ("2.5", 4.0), ("+Inf", 6.0)]
    second = families["feature_1_value_baseline"]
    assert {it.labels["bin"]: it.value for it in second.samples} == {"a": 3.0, "1": 2.0, "nan": 1.0}


def test_a_file_in_a_folder_is_found_and_replaced_whole(tmp_path: Path) -> None:
    one = Reference((Distribution("a", "categorical", (), ("x",), (1,)),))
    write_reference(tmp_path / "histogram.prom", one)
    assert read_reference(tmp_path) == read_reference(tmp_path / "histogram.prom") == one
    assert [file.name for file in tmp_path.iterdir()] == ["histogram.prom"]


# -- what is wrong ----------------------------------------------------------------------------------------------------

A: Final = "# TYPE feature_0_value_baseline histogram\n"
B: Final = "# TYPE feature_0_value_baseline_total counter\n"
BUCKET: Final = 'feature_0_value_baseline_bucket{le="%s"} %s\n'
BIN: Final = 'feature_0_value_baseline_total{bin="a"} %s\n'


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", " has no family like feature_0_value_baseline or inference_value_baseline: .*tally reference build.*"),
        ("# TYPE up gauge\nup 1\n", " has no family like .*"),
        ("age,country\n18,DE\n", " is no text in Prometheus's format .*"),
        ('{"a": 1}', " is no text in Prometheus's format .*"),
        ('a{b="c} 1\n', " is no text in Prometheus's format .*"),
        (A, r' has no bucket le="\+Inf" or none besides in feature_0_value_baseline \(0\)'),
        (A + BUCKET % ("+Inf", 3), r' has no bucket le="\+Inf" or none besides .*'),
        (A + BUCKET % ("1.0", 3), r' has no bucket le="\+Inf" or none besides .*'),
        (A + BUCKET % ("one", 3), " has a bucket without a number as its le .*"),
        (A + BUCKET % ("NaN", 3), " has a bucket without a number as its le .*"),
        (A + "feature_0_value_baseline_bucket 3\n", " has a bucket without a number as its le .*"),
        (A + BUCKET % ("1", 3) + BUCKET % ("1.0", 3), " has the bucket le=1 a second time .*"),
        (A + BUCKET % ("1", 3) + BUCKET % ("+Inf", 2), " has buckets .* that do not grow: .*"),
        (A + BUCKET % ("1", -1) + BUCKET % ("+Inf", 2), " has -1 in the place of a number of rows .*"),
        (A + BUCKET % ("1", 1.5) + BUCKET % ("+Inf", 2), r" has 1\.5 in the place of a number of rows .*"),
        (A + BUCKET % ("1", "NaN") + BUCKET % ("+Inf", 2), " has nan in the place of a number of rows .*"),
        (A + BUCKET % ("1", "+Inf") + BUCKET % ("+Inf", 2), " has inf in the place of a number of rows .*"),
        (
            A + "".join(BUCKET % (edge, 1) for edge in [*range(1001), "+Inf"]),
            " has 1,001 buckets .*, and at most 1,000 are watched",
        ),
        (B, r" has no row at all in feature_0_value_baseline \(0\)"),
        (B + "feature_0_value_baseline_total 1\n", " has a sample without the label bin .*"),
        (B + BIN % -2, " has -2 in the place of a number of rows .*"),
        (
            B + "".join(f'feature_0_value_baseline_total{{bin="x{n}"}} 1\n' for n in range(1001)),
            " has 1,001 categories .*, and at most 1,000 are watched",
        ),
        ("# TYPE feature_0_value_baseline gauge\nfeature_0_value_baseline 1\n", " has the type gauge in .*"),
        (
            B.replace("_0_", "_1_") + (BIN % 1).replace("_0_", "_1_"),
            " has no feature_0_value_baseline, but others with higher numbers: .*",
        ),
        (
            "# HELP feature_0_value_baseline_total F: a\n"
            + B
            + BIN % 1
            + ("# HELP feature_0_value_baseline_total F: a\n" + B + BIN % 1).replace("_0_", "_1_"),
            " has 2 features named 'a': give each column its own name",
        ),
        (
            "".join((B + BIN % 1).replace("_0_", f"_{place}_") for place in range(1001)),
            " has 1,001 features, and at most 1,000 are watched: keep those that matter most",
        ),
        (
            "".join(
                (B + "".join(f'feature_0_value_baseline_total{{bin="x{n}"}} 1\n' for n in range(1000)))
                .replace("_0_", f"_{place}_")
                .replace("# TYPE", f"# HELP feature_{place}_value_baseline_total F: f{place}\n# TYPE", 1)
                for place in range(21)
            ),
            " has 21,000 bins together, and at most 20,000 are watched: keep fewer features or bins",
        ),
    ],
)
def test_a_file_that_is_no_reference_is_refused_in_a_sentence(text: str, sentence: str) -> None:
    with pytest.raises(ReferenceFileError) as error:
        reference_of(text)
    assert re.fullmatch(sentence, str(error.value)), str(error.value)


@given(
    st.text(max_size=200)
    | st.lists(st.sampled_from([A, B, BUCKET, BIN, "# HELP x y\n", "\x00"]), max_size=6).map("".join)
)
def test_any_text_is_a_reference_or_refused(text: str) -> None:
    with suppress(ReferenceFileError):
        assert isinstance(reference_of(text), Reference)


def test_a_file_that_cannot_be_read_is_refused_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "latin").write_bytes(b"# HELP a b\n# HELP a \xe9\n")
    (tmp_path / "large").write_bytes(b"#" * ((32 << 20) + 2))
    for name, sentence in (
        ("none", " cannot be read (No such file or directory)"),
        ("", " cannot be read (No such file or directory)"),  # a folder without histogram.prom
        ("latin", ", line 2 is no UTF-8 text"),
        ("large", " is larger than 32 MiB"),
    ):
        with pytest.raises(ReferenceFileError) as error:
            read_reference(tmp_path / name)
        assert str(error.value) == sentence
