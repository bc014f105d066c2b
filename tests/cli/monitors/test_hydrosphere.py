"""`tally monitor import`: Hydrosphere's definitions as lines of the YAML file that mean the same; what is refused."""

import json
import math
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import Result

from app.core.monitors import alert_when
from app.core.rules import Column
from app.models_file import load_rulebook
from tests.cases import FOLDER, demand
from tests.cli.test_cli import assert_sentence, tally

SERVING = """
kind: "Model"
name: "census"
runtime: "hydrosphere/serving-runtime-python-3.7:2.4.0"
payload: ["src/"]
contract:
  name: "predict"
  inputs:
    age: {shape: scalar, type: int64, profile: numerical}
    marital-status: {shape: scalar, type: string, profile: categorical}
    note: {shape: [-1, 1], type: string, profile: text}
    pixels: {shape: [-1, 28, 28], type: float32, profile: image}
  outputs:
    income: {shape: [-1], type: double}
monitoring:
  - name: "Outlier score"
    config: {monitoring-model: "census_metric:3", operator: "<=", threshold: 0.97}
"""


def spec(name: str, operator: Any, threshold: Any, **others: Any) -> dict[str, Any]:
    config = {"modelVersionId": 12, "threshold": threshold, "thresholdCmpOperator": operator, "servable": None}
    return {"id": "a-b", "name": name, "modelVersionId": 7, "config": config} | others


def imported(folder: Path, **files: Any) -> Result:
    """What is said of files by their names: a text is YAML, anything else JSON."""
    paths = []
    for name, content in files.items():
        paths.append(folder / f"{name}.{'yaml' if isinstance(content, str) else 'json'}")
        paths[-1].write_text(content if isinstance(content, str) else json.dumps(content))
    return tally("monitor", "import", *paths)


def entry(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    (found,) = yaml.safe_load(result.stdout)["models"]
    content: dict[str, Any] = found
    return content


def test_inputs_and_outputs_of_a_model_become_its_prediction_schema(tmp_path: Path) -> None:
    assert entry(imported(tmp_path, serving=SERVING))["prediction_schema"] == {
        "requests": [
            {"name": "age", "type": "REAL", "data_type": "INT"},
            {"name": "marital-status", "type": "CATEGORICAL"},
            {"name": "note", "type": "TEXT"},
            {"name": "pixels", "type": "TENSOR", "data_type": "FLOAT", "shape": [28, 28]},
        ],
        "responses": [{"name": "income", "type": "REAL", "data_type": "FLOAT"}],
    }


def test_metrics_become_monitors_that_alert_where_hydrosphere_is_not_healthy(tmp_path: Path) -> None:
    specs = [spec("drift", {"kind": "Greater"}, 0.5), spec("age gap", "LESS", 3)]
    result = imported(tmp_path, serving=SERVING, specs=specs, one=spec("alone", {"kind": "Eq"}, 0))
    assert entry(result)["monitors"] == {
        "Outlier_score": {"file": "Outlier_score.py", "alert_when": "> 0.97"},
        "drift": {"file": "drift.py", "alert_when": "<= 0.5"},
        "age_gap": {"file": "age_gap.py", "alert_when": ">= 3"},
        "alone": {"file": "alone.py", "alert_when": "!= 0"},
    }
    assert (
        "# Outlier_score: in Hydrosphere Outlier score is healthy at <= 0.97, the model census_metric:3.\n"
        "# drift: in Hydrosphere drift is healthy at Greater 0.5, the model version 12.\n"
    ) in result.stdout


def test_what_is_printed_is_a_yaml_file_that_a_worker_reads(tmp_path: Path) -> None:
    result = imported(tmp_path, serving=SERVING)
    (tmp_path / "tally.yaml").write_text(result.stdout)
    (tmp_path / "Outlier_score.py").write_text("def predict(**fields):\n    return {'value': fields['age']}\n")
    (rules,) = load_rulebook(tmp_path / "tally.yaml").entries
    assert rules.prediction_schema.responses == (Column("income"),)
    assert [str(one.spec.when) for one in rules.monitors] == ["> 0.97"]
    rows = tmp_path / "rows.csv"
    rows.write_text("age,marital-status,note,pixels,income\n0.5,a,b,,1\n2,a,b,,0\n")
    options = ("--name", "Outlier_score", "--format", "json")
    said = tally("monitor", "test", rows, *options, TALLY_CONFIG=str(tmp_path / "tally.yaml"))
    assert (json.loads(said.stdout)["ok"], json.loads(said.stdout)["alert"]) == (1, 1)


def test_an_sdks_definition_has_other_words_for_the_same(tmp_path: Path) -> None:
    other = SERVING.replace("contract:", "signature:").replace("monitoring:\n", "monitoring:\n  metrics:\n")
    same = entry(imported(tmp_path, serving=SERVING))
    assert (
        entry(imported(tmp_path, serving=re.sub(r"^  (- name|  config)", r"    \1", other, flags=re.MULTILINE))) == same
    )


def test_each_recorded_check_of_hydrosphere_alarms_where_the_imported_monitor_alerts(tmp_path: Path) -> None:
    demand(FOLDER / "monitoring")
    cases = json.loads((FOLDER / "monitoring/threshold-checks.json").read_text())["cases"]
    known: dict[tuple[str, float], str] = {}
    for case in cases:
        key = case["operator"], case["threshold"]
        if key not in known:
            found = entry(imported(tmp_path, spec=spec("m", {"kind": key[0]}, key[1])))
            known[key] = found["monitors"]["m"]["alert_when"]
        value = float(case["value"])
        if not math.isnan(value):  # a row that has no number has failed: nothing is compared
            assert alert_when(known[key])(value) == case["alarm"], case
    assert len({operator for operator, _ in known}) == 6


FIELD = "{shape: scalar, type: int64, profile: numerical}"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        (
            "kind: ",
            "kynd: ",
            r" is neither a serving\.yaml \(kind: Model\) nor a MetricSpec \(with name and config\)\.",
        ),
        ('kind: "Model"', "kind: Application", " has kind 'Application': only that of kind Model has inputs .*"),
        ('name: "census"', "name: 3", " has no name of the model: give it one."),
        ("contract:", "contrat:", " has no contract: it must hold inputs and outputs."),
        ("  inputs:", "  input:", r": contract\.inputs must hold fields, each with shape and type\."),
        ("  outputs:\n    income: {shape: [-1], type: double}", "  outputs: {}", r": contract\.outputs must hold .*"),
        ("    age:", "    1:", r": contract\.inputs: the field 1 must be a text: put it in quotes\."),
        (FIELD, "int64", r": contract\.inputs\.age must hold shape and type\."),
        (FIELD, "{shape: scalar}", r": contract\.inputs\.age\.type is None, and must be one of half, float16, .*"),
        (FIELD, "{shape: scalar, type: int}", r": contract\.inputs\.age\.type is 'int', and must be one of .*"),
        (FIELD, "{shape: scalar, type: [int8]}", r": contract\.inputs\.age\.type is \['int8'\], and must be one of .*"),
        (FIELD, "{shape: scalar, type: int8, profile: 1}", r": contract\.inputs\.age\.profile is 1, and must be a .*"),
        (FIELD, "{type: int8}", r": contract\.inputs\.age\.shape is None, and must be scalar, or a list of sizes .*"),
        (FIELD, "{shape: 3, type: int8}", r": contract\.inputs\.age\.shape is 3, and must be scalar, or a list .*"),
        (FIELD, "{shape: [true], type: int8}", r": contract\.inputs\.age\.shape is \[True\], and must be scalar, .*"),
        (
            FIELD,
            "{shape: [2, -1], type: int8}",
            r": contract\.inputs\.age\.shape is \[2, -1\]: sizes are 1 or more, .*",
        ),
        (FIELD, "{shape: [0], type: int8}", r": contract\.inputs\.age\.shape is \[0\]: sizes are 1 or more, .*"),
        (
            "monitoring:\n",
            "monitoring: 3\nother:\n",
            ": monitoring must be a list of metrics, each with name and config.",
        ),
        ('name: "Outlier score"', "name: 3", " has a metric whose name is 3: give it one."),
        ('"Outlier score"', '"1st"', ": the metric 1st needs another name: letters, digits, _ and - that begin .*"),
        ("    config:", "    konfig:", ": the metric Outlier score has no config with threshold and operator."),
        ('"<="', '"=<"', ": the metric Outlier score: operator is '=<', and must be one of Eq, .*, or a sign like <=."),
        (", threshold: 0.97", "", ": the metric Outlier score: threshold is None, and must be a finite number."),
        (": 0.97", ": .nan", ": the metric Outlier score: threshold is nan, and must be a finite number."),
        ("kind: ", "\tkind: ", ", line 2 begins with a tab, .*"),
    ],
)
def test_what_a_serving_yaml_lacks_is_said_in_a_sentence(tmp_path: Path, old: str, new: str, sentence: str) -> None:
    assert SERVING.count(old) >= 1
    assert_sentence(imported(tmp_path, serving=SERVING.replace(old, new, 1)), r".*serving\.yaml" + sentence)


def test_a_contract_in_a_file_of_its_own_is_said_in_a_sentence(tmp_path: Path) -> None:
    old = "kind: Model\nname: a\ncontract: contract.prototxt\n"
    sentence = r".*serving\.yaml has its contract in contract\.prototxt: write its inputs and outputs here\."
    assert_sentence(imported(tmp_path, serving=old), sentence)


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (spec("m", {"kind": "Near"}, 1), ": the metric m: thresholdCmpOperator is 'Near', and must be one of Eq, .*"),
        (spec("m", None, 1), ": the metric m: thresholdCmpOperator is None, and must be one of Eq, .*"),
        (spec("m", {"kind": "Less"}, "1"), ": the metric m: threshold is '1', and must be a finite number."),
        (spec("m", {"kind": "Less"}, True), ": the metric m: threshold is True, and must be a finite number."),
        (spec("", {"kind": "Less"}, 1), " has a metric whose name is '': give it one."),
        (spec("m", {"kind": "Less"}, 1, config=[]), ": the metric m has no config with threshold and thresholdCmp.*"),
        (spec("m", {"kind": "Less"}, 1) | {"name": None}, " has a metric whose name is None: give it one."),
        (
            [spec("a b", "Less", 1), spec("a_b", "Less", 1)],
            " has a second metric that would be called a_b: give one .*",
        ),
        (
            [spec("a", "Less", 1), spec("b", "Less", 1, modelVersionId=8)],
            r" has metrics of several model versions \(7, 8\): import those of one\.",
        ),
        (
            [spec(f"m{n}", "Less", 1) for n in range(11)],
            " brings more than 10 metrics, which is the most of one model.",
        ),
        ([], " is an empty list: nothing is in it."),
        ({}, r" is neither a serving\.yaml .*"),
        (["Less"], r" is neither a serving\.yaml .*"),
        (3, r" is neither a serving\.yaml .*"),
    ],
)
def test_what_is_no_metric_spec_is_said_in_a_sentence(tmp_path: Path, content: Any, sentence: str) -> None:
    assert_sentence(imported(tmp_path, specs=content), r".*specs\.json" + sentence)


def test_files_that_cannot_be_read_are_said_in_a_sentence(tmp_path: Path) -> None:
    broken = tmp_path / "broken.json"
    broken.write_text('{\n"name": }')
    assert_sentence(tally("monitor", "import", broken), r".*broken\.json is no JSON \(.*, line 2\)\.")
    for name in ("none.json", "none.yaml"):
        assert_sentence(tally("monitor", "import", tmp_path / name), r".*none\..* cannot be read \(No such file .*\)\.")
    assert_sentence(imported(tmp_path, empty=""), r".*empty\.yaml is neither .*")
    assert_sentence(imported(tmp_path, one=SERVING, two=SERVING), r".*two\.yaml is a second model: import each .*\.")
    assert_sentence(tally("monitor", "import"), r"Missing argument 'FILE\.\.\.': see `tally monitor import --help`\.")
