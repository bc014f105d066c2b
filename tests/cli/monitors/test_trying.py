"""`tally monitor test`: what a monitor says of the rows of a file, drawn and as JSON; and what is refused."""

import hashlib
import json
import math
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import joblib
import numpy as np
import pyarrow as pa
import pytest
from click.testing import Result
from pyarrow import parquet
from sklearn.ensemble import IsolationForest
from skops import io as skops

from app.cli.monitors.drawing import Bin, bins_of
from app.core.monitors import AlertWhen, alert_when
from tests.cli.test_cli import assert_sentence, tally
from tests.patience import PATIENCE

HEADER = ["age", "city", "answer"]
ROWS: list[list[Any]] = [[number, ("Bonn", "Ulm", None)[number % 3], number % 2 == 0] for number in range(100)]
#: Twice the age; of a row that is 13 and of one without a city there is none.
PREDICT = """
def predict(age, city, answer):
    print("seen", age)
    if age == 13:
        raise ValueError("unlucky")
    return {"value": 2 * age + (0 if answer is True or answer is False else 1000)} if city else {}
"""
WHEN = ("--alert-when", "> 150")


def data(folder: Path, form: str) -> Path:
    file = folder / f"rows.{form}"
    if form == "csv":
        texts = [
            ["" if cell is None else cell if isinstance(cell, str) else json.dumps(cell) for cell in row]
            for row in ROWS
        ]
        file.write_text("\n".join(map(",".join, [HEADER, *texts])))
    elif form == "jsonl":
        file.write_text("\n".join(json.dumps(dict(zip(HEADER, row, strict=True))) for row in ROWS))
    else:
        columns = zip(*ROWS, strict=True)
        parquet.write_table(pa.table({name: list(column) for name, column in zip(HEADER, columns, strict=True)}), file)
    return file


def own(folder: Path, code: str = PREDICT) -> Path:
    path = folder / "own.py"
    path.write_text(code)
    return path


def found(result: Result) -> dict[str, Any]:
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


@pytest.mark.parametrize("form", ["csv", "jsonl", "parquet"])
def test_rows_are_counted_by_outcome_whatever_the_form_of_the_file(tmp_path: Path, form: str) -> None:
    result = tally(
        "monitor",
        "test",
        data(tmp_path, form),
        "--file",
        own(tmp_path),
        "--answer",
        "answer",
        *WHEN,
        "--format",
        "json",
    )
    said = found(result)
    values = [2 * age for age, city, _ in ROWS if city and age != 13]
    alerts = sum(value > 150 for value in values)
    assert (said["rows"], said["ok"], said["alert"], said["failed"]) == (100, len(values) - alerts, alerts, 34)
    assert (said["inputs"], said["outputs"], said["alert_when"]) == (["age", "city"], ["answer"], "> 150")
    line = {"csv": 2, "jsonl": 1, "parquet": 1}[form]
    assert said["reasons"] == [
        {"why": "it gave no value", "rows": 33, "first_line": line + 2},
        {"why": "it failed (ValueError: unlucky)", "rows": 1, "first_line": line + 13},
    ]
    numbers = said["values"]
    assert (numbers["min"], numbers["max"], numbers["p50"]) == (min(values), max(values), np.median(values))
    assert numbers["mean"] == pytest.approx(np.mean(values))
    assert sum(one["rows"] for one in said["bins"]) == len(values)
    assert sum(one["alerts"] for one in said["bins"] if one["up_to"] > 150) == alerts


def test_values_are_drawn_with_the_threshold_and_why_rows_failed(tmp_path: Path) -> None:
    result = tally("monitor", "test", data(tmp_path, "csv"), "--file", own(tmp_path), *WHEN)
    assert result.exit_code == 0, result.output
    assert re.search(r"^≤ 150 .*◄ threshold", result.stdout, re.MULTILINE)
    assert re.search(r"^alert +16 +16\.00%", result.stdout, re.MULTILINE)
    assert re.search(r"^33 +4 +it gave no value", result.stdout, re.MULTILINE)
    assert "Inputs: age, city, answer\nOutputs: none: name the columns of answers with --answer\n" in result.stdout


def test_what_the_code_prints_is_no_output_of_the_command(tmp_path: Path) -> None:
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "app",
        "monitor",
        "test",
        data(tmp_path, "csv"),
        "--file",
        own(tmp_path),
    ]
    ran = subprocess.run([*command, "--format", "json"], capture_output=True, check=True, timeout=PATIENCE)
    assert json.loads(ran.stdout)["rows"] == 100
    assert ran.stderr.splitlines()[:2] == [b"seen 0", b"seen 1"]


def test_without_a_condition_nothing_alerts_and_it_is_said(tmp_path: Path) -> None:
    result = tally("monitor", "test", data(tmp_path, "csv"), "--file", own(tmp_path))
    assert "no alert_when: give --alert-when" in " ".join(result.stdout.split())  # a long path may break the line
    assert re.search(r"^alert +0 ", result.stdout, re.MULTILINE)


CONFIG = """
models:
  - match: "bank/*"
    prediction_schema:
      requests: [{name: age}, {name: city}]
      responses: [{name: answer}]
    monitors:
      odd: {file: own.py, alert_when: "> 150"}
  - match: "shop/*"
    monitors:
      odd: {file: own.py, alert_when: "> 10"}
      even: {file: own.py, alert_when: "> 20"}
"""


def of_yaml(folder: Path, *options: str | Path, config: str = CONFIG) -> Result:
    own(folder)
    (folder / "tally.yaml").write_text(config)
    return tally("monitor", "test", *options, TALLY_CONFIG=str(folder / "tally.yaml"))


def test_a_monitor_of_the_yaml_file_gets_the_columns_of_its_schema(tmp_path: Path) -> None:
    file = data(tmp_path, "parquet")
    said = found(of_yaml(tmp_path, file, "--name", "odd", "--match", "bank/*", "--format", "json"))
    assert (said["inputs"], said["outputs"], said["alert"]) == (["age", "city"], ["answer"], 16)
    other = found(of_yaml(tmp_path, file, "--name", "even", "--alert-when", ">= 198", "--format", "json"))
    assert (other["inputs"], other["outputs"], other["alert_when"]) == (HEADER, [], ">= 198")


def test_a_model_is_run_as_beside_a_worker(tmp_path: Path) -> None:
    rows = np.random.default_rng(3).normal(size=(2500, 2))
    forest = IsolationForest(n_estimators=10, contamination=0.05, random_state=1).fit(rows)
    joblib.dump(forest, tmp_path / "forest.joblib")
    digest = hashlib.sha256((tmp_path / "forest.joblib").read_bytes()).hexdigest()
    file = tmp_path / "rows.csv"
    file.write_text("id,a,b\n" + "\n".join(f"{number},{a!r},{b!r}" for number, (a, b) in enumerate(rows.tolist())))
    model = ("--model", tmp_path / "forest.joblib")
    more = ("--alert-when", "< 0", "--format", "json")
    said = found(tally("monitor", "test", file, *model, "--digest", digest, "--exclude", "id", *more))
    values = forest.decision_function(rows)
    assert (said["alert"], said["failed"]) == (int((values < 0).sum()), 0)
    assert said["values"]["mean"] == pytest.approx(values.mean())
    wide = found(tally("monitor", "test", file, *model, "--digest", f"sha256:{digest}", *more))
    why = "it failed (ValueError: it was fitted to 2 columns; there are 3 of inputs and 0 of outputs)"
    assert wide["reasons"] == [{"why": why, "rows": 2500, "first_line": 2}]
    assert_sentence(tally("monitor", "test", file, *model), rf"--model needs --digest: .* give --digest {digest}\.")
    assert_sentence(
        tally("monitor", "test", file, *model, "--digest", "0" * 64), f"--model: .* has the SHA-256 {digest}, .*"
    )


def test_a_skops_model_is_run_with_the_types_that_are_trusted(tmp_path: Path) -> None:
    rows = np.random.default_rng(3).normal(size=(100, 2))
    forest = IsolationForest(n_estimators=10, contamination=0.05, random_state=1).fit(rows)
    skops.dump(forest, tmp_path / "forest.skops")
    file = tmp_path / "rows.csv"
    file.write_text("a,b\n" + "\n".join(f"{a!r},{b!r}" for a, b in rows.tolist()))
    test = ("monitor", "test", file, "--model", tmp_path / "forest.skops", "--alert-when", "< 0", "--format", "json")
    tree = "sklearn.tree._tree.Tree"
    assert_sentence(tally(*test), rf".*it cannot be loaded \(.* name them under trusted: {tree}\)\.")
    assert found(tally(*test, "--trusted", tree))["alert"] == int((forest.decision_function(rows) < 0).sum())


def test_a_process_that_ends_is_started_again_and_given_up_after_three_times(tmp_path: Path) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("a\n" + "\n".join(map(str, range(6000))))
    once = "import os\ndef score(inputs, outputs):\n    1000.0 in inputs and os._exit(3)\n    return inputs[:, 0]\n"
    said = found(tally("monitor", "test", file, "--file", own(tmp_path, once), "--format", "json"))
    assert (said["ok"], said["failed"]) == (5000, 1000)
    assert said["reasons"] == [{"why": "its process ended (exit code 3)", "rows": 1000, "first_line": 1002}]
    always = "import os\ndef score(inputs, outputs):\n    os._exit(3)\n"
    said = found(tally("monitor", "test", file, "--file", own(tmp_path, always), "--format", "json"))
    assert [(one["why"], one["rows"]) for one in said["reasons"]] == [
        ("its process ended (exit code 3)", 3000),
        ("it was not asked: its process had failed 3 times in a row", 3000),
    ]
    assert (said["values"], said["bins"]) == ({}, [])


def test_infinite_values_are_compared_and_drawn_nowhere(tmp_path: Path) -> None:
    code = "def predict(age, **fields):\n    return float('inf') if age > 97 else 1.0\n"
    file = data(tmp_path, "csv")
    said = found(tally("monitor", "test", file, "--file", own(tmp_path, code), *WHEN, "--format", "json"))
    assert (said["alert"], said["infinite"], said["values"]["max"]) == (2, 2, 1.0)
    assert said["bins"] == [{"up_to": 1.0, "rows": 98, "alerts": 0}]
    drawn = tally("monitor", "test", file, "--file", own(tmp_path, code), *WHEN).stdout
    assert "2 values of these are infinite, and drawn nowhere." in drawn


@pytest.mark.parametrize("condition", ["> 0", ">= 0", "< 0", "<= 0", "== 0", "!= 0", "> 99", "< -99", None])
@pytest.mark.parametrize(
    "values",
    [[0.0], [1.0, 1.0], [-1.0, 0.0, 1.0], [*map(float, range(-50, 50))], [0.0] * 999 + [1e12], [math.inf, 3.0]],
)
def test_each_finite_value_is_in_one_bin_and_each_alert_in_its_own(values: list[float], condition: str | None) -> None:
    when: AlertWhen | None = None if condition is None else alert_when(condition)
    bins = bins_of(values, when)
    below = -math.inf
    for edge, rows, alerts in bins:
        own = [value for value in values if below < value <= edge]
        assert (rows, alerts) == (len(own), sum(when is not None and when(value) for value in own))
        below = edge
    assert sum(one.rows for one in bins) == sum(map(math.isfinite, values))


def test_a_few_values_far_away_do_not_flatten_the_others() -> None:
    bins = bins_of([*map(float, range(1000)), 1e12], None)
    assert max(one.rows for one in bins) < 200
    assert bins[-1] == Bin(1e12, 1, 0)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), "Say which monitor: --name NAME of the YAML file, or --file F.py, or --model FILE."),
        (("--file", "own.py", "--name", "odd"), "Say which monitor: .*"),
        (("--file", "own.py", "--match", "a/*"), "--match goes with --name alone: leave it out."),
        (("--name", "odd", "--call", "score"), "--call goes with --file alone: leave it out."),
        (("--file", "own.py", "--digest", "ab"), "--digest goes with --model alone: leave it out."),
        (("--file", "own.py", "--trusted", "a"), "--trusted goes with --model FILE.skops alone: leave it out."),
        (("--name", "odd", "--trusted", "a"), "--trusted goes with --model FILE.skops alone: leave it out."),
        (("--model", "a.onnx", "--trusted", "a"), "--trusted goes with --model FILE.skops alone: leave it out."),
        (
            ("--model", "a.skops", "--model-output", "a"),
            "--model-output goes with --model FILE.onnx alone: leave it out.",
        ),
        (("--model", "other.skops"), r"--model: .*other\.skops cannot be read \(No such file .*\)\."),
        (("--file", "other.py"), r"--file: .*other\.py cannot be read \(No such file .*\)\."),
        (("--model", "other"), r"--model other cannot be read \(No such file .*\)\."),
        (("--file", "own.py", "--call", "run"), "Invalid value for '--call': .*"),
        (("--file", "own.py", "--call", "score"), r"own\.py: it cannot be loaded \(ValueError: it has neither .*\)\."),
        (("--file", "own.py", "--alert-when", "0.5"), "--alert-when must be a comparison .* like '> 0.5'."),
        (("--file", "own.py", "--alert-when", "> x"), "--alert-when x is no number: write one, like '> 0.5'."),
        (("--file", "own.py", "--answer", "x"), "--answer x: .* has no such column; it has age, city, answer."),
        (("--file", "own.py", "--feature", "x"), "--feature x: .* has no such column; .*"),
        (("--file", "own.py", "--exclude", "x"), "--exclude x: .* has no such column; .*"),
        (("--file", "own.py", "--feature", "age", "--exclude", "age"), "--exclude age: it is a --feature too; .*"),
        (("--file", "own.py", "--feature", "age", "--answer", "age"), "--answer age: it is a --feature too; .*"),
        (
            ("--file", "own.py", *(word for name in HEADER for word in ("--exclude", name))),
            ".* has no column left that a monitor could be given.",
        ),
        (("--file", "own.py", "--format", "xml"), "Invalid value for '--format': .*"),
        (("--file", "own.py", "--data-format", "xml"), "Invalid value for '--data-format': .*"),
        (("--file", "own.py", "--delimiter", ";;"), "--delimiter must be one character, .*"),
        (("--name", "odd"), "--name odd: TALLY_CONFIG names no YAML file: set it, or give --file or --model."),
    ],
)
def test_what_cannot_be_tried_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: tuple[str, ...], sentence: str
) -> None:
    own(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert_sentence(tally("monitor", "test", data(tmp_path, "csv"), *options), sentence)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (("--name", "odd"), r"--name odd: bank/\* and shop/\* have one each: say which with --match\."),
        (("--name", "old"), r"--name old: .*tally\.yaml has no such monitor; it has even, odd\."),
        (("--name", "odd", "--match", "x/*"), r"--match x/\*: .*tally\.yaml has no such entry\."),
        (
            ("--name", "odd", "--match", "bank/*"),
            r".* has no column city, which prediction_schema of bank/\* names; it has age, town, .* --feature\.",
        ),
    ],
)
def test_what_the_yaml_file_lacks_is_said_in_a_sentence(
    tmp_path: Path, options: tuple[str, ...], sentence: str
) -> None:
    file = tmp_path / "rows.csv"
    file.write_text("age,town,answer\n1,Ulm,true\n")
    assert_sentence(of_yaml(tmp_path, file, *options), sentence)


def test_a_yaml_file_that_is_wrong_or_has_no_monitors_is_said_in_a_sentence(tmp_path: Path) -> None:
    file = data(tmp_path, "csv")
    assert_sentence(
        of_yaml(tmp_path, file, "--name", "odd", config="models: []"), r"--name odd: .* no such monitor; it has none .*"
    )
    assert_sentence(
        of_yaml(tmp_path, file, "--name", "odd", config="modles: []"), r"TALLY_CONFIG: .*modles: unknown; .*"
    )


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", "a,b\n", r".*t\.csv has no rows: a monitor is tried on at least one\."),
        ("t.csv", "", r".*t\.csv is empty: .*"),
        ("t.csv", "a,b\n1,2\n3\n", r".*t\.csv, line 3 has 1 fields, and the header has 2: mend it, or take it out\."),
        ("t.csv", "a,a\n1,2\n", r".*t\.csv has two columns named 'a': give each its own name\."),
        ("t.jsonl", '{"a": 1}\n[1]\n', r".*t\.jsonl, line 2 is no JSON object: mend it, or take it out\."),
        ("t.parquet", "a,b\n", r".*t\.parquet is no Parquet file that can be read .*"),
        ("t.bin", "a", r".*t\.bin does not say by its name what it is: give --data-format csv\|jsonl\|parquet\."),
    ],
)
def test_files_that_cannot_be_used_are_said_in_a_sentence(
    tmp_path: Path, name: str, content: str, sentence: str
) -> None:
    (tmp_path / name).write_text(content)
    code = own(tmp_path, "def predict(**fields):\n    return 1\n")
    assert_sentence(tally("monitor", "test", tmp_path / name, "--file", code), sentence)


@pytest.mark.parametrize("form", ["text", "json"])
def test_names_and_cells_that_are_no_utf_8_are_shown_as_such(tmp_path: Path, form: str) -> None:
    file = tmp_path / "rows.csv"
    file.write_bytes(b"gr\xf6\xdfe\n1\n\xfc\n")
    code = own(tmp_path, "def predict(**fields):\n    return float(*fields.values())\n")
    result = tally("monitor", "test", file, "--file", code, "--format", form)
    assert result.exit_code == 0, result.output
    assert "gr\N{REPLACEMENT CHARACTER}\N{REPLACEMENT CHARACTER}e" in result.stdout
    assert "could not convert string to float: '\\udcfc'" in result.stdout.replace("\\\\", "\\")


def test_standard_input_is_refused(tmp_path: Path) -> None:
    assert_sentence(tally("monitor", "test", "-", "--file", own(tmp_path)), "FILE must name a file: .*")
