"""boxkite's own series: what its exporter gave for the same rows, and what its expressions make of ours."""

import json
import subprocess
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from app.core.counts.panes import TOTAL
from app.core.drift.distribution import FIRST, MISSING, UNSEEN, Distribution
from app.core.drift.live import Live, Watched
from app.core.drift.reference import PREDICTION, Reference
from app.core.events import Identity
from app.core.rules import Rules
from app.exporters.prometheus import ModelText
from app.reference_file import read_reference
from tests.builders import START, Ledger, Record, a_request, a_response
from tests.cases import FOLDER, demand
from tests.deploy.promtool import promtool
from tests.exporters.test_prometheus import samples

CASES: Final = FOLDER / "monitoring"
AGE: Final = Distribution("age", "continuous", (18.0, 30.0, 65.0), (), (1, 60, 39))
CODE: Final = Distribution("code", "categorical", (), ("0", "1"), (70, 30))
OWN: Final = Reference((AGE, CODE))
IDENTITY: Final = {"model_namespace", "model_service", "predictor", "model", "model_version"}
#: A sample by its name, and its labels besides those that name the model.
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def case(name: str) -> Any:
    demand(CASES)
    return json.loads((CASES / f"{name}.json").read_text())


def rules(reference: Reference, **others: Any) -> Rules:
    return Rules(reference=Watched("histogram.prom", Live(reference, 1)), **others)


def asked(puid: str, *row: Any, at: float = 0) -> Record:
    return a_request({"data": {"ndarray": [list(row)]}}, puid=puid, at=at)


class Exported:
    """The text of a ledger's models, scrape after scrape."""

    def __init__(self, ledger: Ledger, *, boxkite: bool = True) -> None:
        self.ledger = ledger
        self._text = ModelText(seldon=False, most=10**9, boxkite=boxkite)

    def text(self) -> str:
        for identity, readings in self.ledger.cut().readings().of_models(START):
            self._text.put(identity, self._text.block(identity, readings, 0))
        return self._text.text()

    def samples(self) -> Samples:
        return boxkites(self.text())


def boxkites(text: str) -> Samples:
    """Its own samples in a text, but for sums."""
    return {
        (one.name, tuple(sorted(label for label in one.labels.items() if label[0] not in IDENTITY))): one.value
        for one in samples(text)
        if one.name.startswith(("feature_", "inference_", "baseline_")) and not one.name.endswith("_sum")
    }


def served(name: str) -> tuple[Samples, Samples]:
    """What Tally exports and what boxkite did, after the rows that both have seen."""
    (told,) = [one for one in case("boxkite")["cases"] if one["name"] == name]
    ledger = Ledger(rules(read_reference(CASES / told["file"])))
    for number, row in enumerate(told["serving"]):
        ledger.absorb(asked(f"p{number}", *(None if value == "None" else value for value in row["features"])))
        if row["output"] != "None":
            ledger.absorb(a_response(row["output"], puid=f"p{number}"))
        elif name == "clamped-50":  # its models have answered nothing
            ledger.absorb(a_response(1, puid=f"p{number}"))
    return Exported(ledger).samples(), boxkites((CASES / told["metrics_file_after_serving"]).read_text())


@pytest.mark.parametrize("name", ["iris-classes", "iris-probability", "clamped-50"])
def test_after_the_same_rows_the_series_are_those_of_boxkites_exporter(name: str) -> None:
    ours, theirs = served(name)
    assert ours == theirs


def test_where_boxkite_is_blind_ours_tell_missing_and_unseen_apart_from_values() -> None:
    ours, theirs = served("edge")
    others = {sample: (ours.get(sample), theirs.get(sample)) for sample in ours.keys() | theirs.keys()}
    different = {sample: both for sample, both in others.items() if both[0] != both[1]}
    # Minus infinity, which boxkite has below all edges.
    infinite = {sample: both for sample, both in different.items() if sample[0] == "feature_3_value_bucket"}
    assert len(infinite) == 8
    assert all(own == their - 1 for own, their in infinite.values() if own is not None and their is not None)
    rest = {(name, labels[0][1]): own for (name, labels), (own, _) in different.items() if name.endswith("_total")}
    assert len(infinite) + len(rest) == len(different)
    assert {sample: own for sample, own in rest.items() if own is not None} == {
        ("feature_4_value_total", "(unseen)"): 1,
        ("feature_5_value_total", "(unseen)"): 1,
        ("feature_5_value_total", "nan"): 1,
        ("feature_6_value_total", "(unseen)"): 1,
        ("feature_6_value_total", "nan"): 2,
        ("feature_7_value_total", "(unseen)"): 1,
        ("feature_7_value_total", "nan"): 4,
    }
    # Each value in a series of its own; the last is an answer that is none.
    assert {sample for sample, own in rest.items() if own is None} == {
        ("feature_4_value_total", "2.0"),
        ("feature_5_value_total", "4.3"),
        ("feature_5_value_total", "None"),
        ("feature_6_value_total", "None"),
        ("feature_6_value_total", "z"),
        ("feature_7_value_total", "None"),
        ("feature_7_value_total", "1.0"),
        ("inference_value_total", "None"),
    }


def test_there_are_none_unless_the_setting_asks_for_them_and_a_reference_is_in_force() -> None:
    def found(*own: Rules, boxkite: bool = True) -> Samples:
        ledger = Ledger(*own).absorb(asked("a", 20, 1), a_response(1, puid="a"))
        return Exported(ledger, boxkite=boxkite).samples()

    assert found(rules(OWN))
    assert not found(rules(OWN), boxkite=False)
    assert not found()
    assert not found(rules(Reference(())))


def test_a_request_that_waits_for_its_answer_is_no_model_of_its_own() -> None:
    """It would bring the baseline a second time, and boxkite's expressions sum over all that there are."""
    ledger = Ledger(rules(OWN)).absorb(asked("a", 20, 1), a_response(1, puid="a", version="7"))
    ledger.absorb(asked("b", 20, 1))
    assert Exported(ledger).samples()["feature_0_value_count", ()] == 1


def test_a_count_never_falls_and_is_right_again_when_as_many_rows_have_come() -> None:
    ledger = Ledger(rules(OWN)).absorb(asked("a", 20, 1), a_response(1, puid="a"))
    exported = Exported(ledger)

    def bins() -> list[float]:
        found = exported.samples()
        return [
            *(found["feature_0_value_bucket", (("le", le),)] for le in ("18.0", "30.0", "65.0", "+Inf")),
            *(found["feature_1_value_total", (("bin", text),)] for text in ("0.0", "1.0")),
        ]

    assert bins() == [0, 1, 1, 1, 0, 1]
    ledger.absorb(asked("a", 40, 0, at=1))  # in its place
    assert bins() == [0, 1, 2, 2, 1, 1]
    ledger.absorb(asked("b", 20, 1, at=2), a_response(1, puid="b", at=2))
    assert bins() == [0, 1, 2, 2, 1, 1]
    ledger.absorb(asked("c", 17, None, at=3), a_response(1, puid="c", at=3))
    assert bins() == [1, 2, 3, 3, 1, 1]


def test_another_reference_begins_anew() -> None:
    own = rules(OWN)
    ledger = Ledger(own).absorb(asked("a", 20, 1), a_response(1, puid="a"))
    exported = Exported(ledger)
    assert exported.samples()["feature_0_value_count", ()] == 1
    assert own.reference is not None
    own.reference.live = own.reference.live.with_reference(Reference((AGE, CODE._replace(counts=(60, 40)))))
    assert exported.samples()["feature_0_value_count", ()] == 0


def test_a_sum_has_each_number_at_the_middle_of_its_bin_and_there_is_none_where_it_may_fall() -> None:
    negative = AGE._replace(name="change", edges=(-1.0, 0.0, 1.0))
    ledger = Ledger(rules(Reference((AGE, negative))))
    for number, row in enumerate([(18, 0), (20, 0), (64, 1), (70, 9), (None, None)]):
        ledger.absorb(asked(f"p{number}", *row), a_response(1, puid=f"p{number}"))
    found = {one.name: one.value for one in samples(Exported(ledger).text())}
    assert found["feature_0_value_sum"] == 18 + 24 + 47.5 + 65
    assert found["feature_0_value_baseline_sum"] == 18 + 60 * 24 + 39 * 47.5
    assert "feature_1_value_sum" not in found
    assert found["feature_1_value_count"] == 5
    assert "feature_1_value_baseline_count" not in found


def test_models_with_other_features_share_the_families() -> None:
    ledger = Ledger(
        Rules("*/one/*", reference=Watched("one", Live(OWN, 1))),
        Rules("*/two/*", reference=Watched("two", Live(Reference((CODE, AGE)), 1))),
    )
    for service, row in (("one", (20, 1)), ("two", (1, 20))):
        body = {"data": {"ndarray": [list(row)]}}
        ledger.absorb(a_request(body, puid=service, service=service), a_response(1, puid=service, service=service))
    text = Exported(ledger).text()
    heads = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(heads) == len(set(heads))
    info = {(one.labels["model_service"], one.labels["metric_name"]): one.labels["feature_name"]
            for one in samples(text, "baseline_metrics_info")}  # fmt: skip
    assert info == {
        ("one", "feature_0_value_baseline"): "age", ("one", "feature_1_value_baseline"): "code",
        ("two", "feature_0_value_baseline"): "code", ("two", "feature_1_value_baseline"): "age",
    }  # fmt: skip


def test_a_custom_metric_of_the_same_name_goes_first() -> None:
    ledger = Ledger(rules(OWN))
    metric = {"type": "TIMER", "key": "feature_0_value", "value": 10}
    body = {"data": {"ndarray": [1]}, "meta": {"metrics": [metric]}}
    ledger.absorb(asked("a", 20, 1), a_response(body=body, puid="a"))
    text = Exported(ledger).text()
    assert text.count("# TYPE feature_0_value ") == 1
    assert "# HELP feature_0_value Custom metric feature_0_value." in text
    assert "feature_0_value_baseline_bucket" in text


# -- boxkite's expressions --------------------------------------------------------------------------------------------


def exposed(reference: Distribution, by_bin: Sequence[int]) -> str:
    """The text of a model whose predictions came so often in each bin."""
    live = Live(Reference((), reference), 1)
    model = Rules(reference=Watched("histogram.prom", live))
    ledger = Ledger(model).absorb(a_response(1))
    ((identity, readings),) = ledger.cut().readings().of_models(START)
    drift = readings[TOTAL].by_measure["drift"]._replace(counts={PREDICTION: [*by_bin]})
    reading = readings[TOTAL]._replace(by_measure={**readings[TOTAL].by_measure, "drift": drift})
    text = ModelText(seldon=False, most=10**9, boxkite=True)
    text.put(identity, text.block(Identity(*identity), {TOTAL: reading}, 0))
    return text.text()


def over_half_an_hour(text: str) -> list[dict[str, str]]:
    """Its series for promtool: what came has come evenly, the reference has stood."""
    found = []
    for one in samples(text):
        if one.name.startswith("inference_"):
            labels = ", ".join(f'{name}="{value}"' for name, value in one.labels.items())
            step = 0 if "_baseline" in one.name else one.value / 30
            begin = one.value if "_baseline" in one.name else 0
            found.append({"series": f"{one.name}{{{labels}}}", "values": f"{begin!r}+{step!r}x30"})
    return found


def evaluate(tests: Iterable[tuple[str, list[dict[str, str]], str]], folder: Path) -> str:
    """What promtool objects to, nothing where each expression is true of its series after half an hour."""
    given: list[Mapping[str, Any]] = [
        {
            "name": name,
            "interval": "1m",
            "input_series": series,
            "promql_expr_test": [
                {"expr": expression, "eval_time": "30m", "exp_samples": [{"labels": "{}", "value": 1}]}
            ],
        }
        for name, series, expression in tests
    ]
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": [], "evaluation_interval": "1m", "tests": given}))
    done = subprocess.run([promtool(), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else done.stdout + done.stderr


def is_about(expression: str, value: float | None) -> str:
    if value is None:
        return f"count(({expression}) != ({expression}))"  # NaN
    return f"abs(sum({expression}) - {value!r}) < bool 1e-9"


def test_boxkites_divergence_has_its_value_however_many_workers_there_are(tmp_path: Path) -> None:
    told = case("boxkite-promql")
    tests = []
    for one in told["kl_divergence"]:
        reference = Distribution(PREDICTION, "categorical", (), tuple(one["baseline"]), tuple(one["baseline"].values()))
        by_bin = [0] * reference.size
        for name, rows in one["current"].items():
            known = name in reference.categories
            by_bin[FIRST + reference.categories.index(name) if known else UNSEEN] += rows
        # The baseline of each replica counts again at boxkite's; here one worker exports the model.
        single = next(
            it["promql_value"]
            for it in told["kl_divergence"]
            if (it["baseline"], it["current"], it["replicas"]) == (one["baseline"], one["current"], 1)
        )
        series = over_half_an_hour(exposed(reference, by_bin))
        tests.append((one["name"], series, is_about(told["kl_expression"], single)))
    assert len(tests) == 10
    assert evaluate(tests, tmp_path) == ""


def test_boxkites_distance_of_numbers_has_its_value(tmp_path: Path) -> None:
    told = case("boxkite-promql")
    tests = []
    for one in told["ks"]:
        edges = tuple(float(edge) for edge, _ in one["baseline_cumulative"][:-1])
        bins, came = (
            [after - before for before, after in pairwise([0, *(rows for _, rows in one[f"{which}_cumulative"])])]
            for which in ("baseline", "current")
        )
        reference = Distribution(PREDICTION, "continuous", edges, (), tuple(bins[:-1]), bins[-1])
        by_bin = [0] * reference.size
        by_bin[FIRST:-1] = came[:-1]
        by_bin[MISSING] = came[-1]
        series = over_half_an_hour(exposed(reference, by_bin))
        (value,) = [it["value"] for it in one["promql"]]
        tests.append((one["name"], series, is_about(told["ks_expression"], value)))
    assert len(tests) == 4
    assert evaluate(tests, tmp_path) == ""
    name, series, _ = tests[0]
    assert evaluate([(name, series, is_about(told["ks_expression"], 0.2))], tmp_path)
