"""`tally monitor fit`: a detector of outliers, and the lines that bring it into the YAML file; and what is refused."""

import hashlib
import json
import sys
from importlib.metadata import version
from pathlib import Path

import joblib
import numpy as np
import pytest
import yaml
from click.testing import Result
from sklearn.datasets import load_breast_cancer

from app.models_file import load_rulebook
from tests.cli.test_cli import assert_sentence, tally

DATA = load_breast_cancer().data[:, :5]
HEADER = ["id", "a", "b", "c", "d", "e"]
FOREST = ("--kind", "isolation-forest")


def training(folder: Path) -> Path:
    file = folder / "training.csv"
    lines = [f"c{number}," + ",".join(map(repr, row)) for number, row in enumerate(DATA.tolist())]
    file.write_text("\n".join([",".join(HEADER), *lines, "c,1,,3,4,5", "c,1,nan,3,4,5"]))
    return file


def fitted(folder: Path, *options: str) -> Result:
    output = folder / "outliers.joblib"
    result = tally("monitor", "fit", training(folder), "--output", output, "--exclude", "id", *options)
    assert result.exit_code == 0, result.output
    (folder / "tally.yaml").write_text(result.stdout)
    return result


def tried(folder: Path) -> dict[str, object]:
    """What the monitor says of the rows that it was fitted to, as the printed YAML file names it."""
    file = folder / "whole.csv"
    file.write_text("\n".join((folder / "training.csv").read_text().splitlines()[: len(DATA) + 1]))
    options = ("--name", "outliers", "--exclude", "id", "--format", "json")
    result = tally("monitor", "test", file, *options, TALLY_CONFIG=str(folder / "tally.yaml"))
    assert result.exit_code == 0, result.output
    content: dict[str, object] = json.loads(result.stdout)
    return content


@pytest.mark.parametrize("contamination", [0.01, 0.04, 0.5])
def test_a_forest_alerts_on_the_share_of_its_training_rows_that_is_asked_for(
    tmp_path: Path, contamination: float
) -> None:
    result = fitted(tmp_path, *FOREST, "--contamination", str(contamination))
    said = tried(tmp_path)
    alerts = said["alert"]
    assert isinstance(alerts, int)
    assert abs(alerts - contamination * len(DATA)) <= 1
    assert f"# {alerts:,} of these alert ({alerts / len(DATA):.2%})." in result.stdout
    assert said["failed"] == 0
    assert f"fitted to {len(DATA)} rows; 2 more lack a value\n" in result.stdout
    assert "# those of answers last: a, b, c, d, e\n" in result.stdout


def test_the_printed_lines_are_a_yaml_file_with_the_digest_of_the_model(tmp_path: Path) -> None:
    result = fitted(tmp_path, *FOREST, "--name", "odd_ones")
    digest = hashlib.sha256((tmp_path / "outliers.joblib").read_bytes()).hexdigest()
    own = {"model": str(tmp_path / "outliers.joblib"), "digest": digest, "alert_when": "< 0"}
    assert yaml.safe_load(result.stdout) == {"models": [{"match": "*", "monitors": {"odd_ones": own}}]}
    (monitor,) = load_rulebook(tmp_path / "tally.yaml").entries[0].monitors
    assert (monitor.spec.name, monitor.code.digest, str(monitor.spec.when)) == ("odd_ones", digest, "< 0")
    forest = joblib.load(tmp_path / "outliers.joblib")
    assert (forest.n_features_in_, forest.contamination) == (5, 0.03)


def test_the_same_rows_give_the_same_file(tmp_path: Path) -> None:
    assert fitted(tmp_path, *FOREST).stdout == fitted(tmp_path, *FOREST).stdout


def test_columns_stand_in_the_order_that_is_asked_for(tmp_path: Path) -> None:
    output = tmp_path / "outliers.joblib"
    options = ("--feature", "d", "--feature", "b")
    result = tally("monitor", "fit", training(tmp_path), "--output", output, *FOREST, *options)
    assert "# those of answers last: d, b\n" in result.stdout
    left, right = (joblib.load(output).decision_function(DATA[:, columns]) for columns in ([3, 1], [1, 3]))
    assert np.mean(left < 0) == pytest.approx(0.03, abs=0.002)
    assert np.mean(right < 0) > 0.5


def test_an_ecod_alerts_above_its_own_threshold_and_says_how_many_columns_it_has(tmp_path: Path) -> None:
    result = fitted(tmp_path, "--kind", "ecod", "--contamination", "0.04")
    said = f"# ecod of pyod {version('pyod')}, which a worker must have too, fitted to 569 rows"
    assert said in result.stdout
    model = joblib.load(tmp_path / "outliers.joblib")
    assert model.n_features_in_ == 5
    tested = tried(tmp_path)
    assert tested["alert_when"] == f"> {float(model.threshold_)!r}"
    assert tested["failed"] == 0
    assert tested["alert"] == int((model.decision_scores_ > model.threshold_).sum()) == 23


@pytest.mark.parametrize(
    ("kind", "module", "sentence"),
    [
        ("isolation-forest", "sklearn.ensemble", "needs scikit-learn: `pip install 'tally[monitors]'`."),
        ("isolation-forest", "joblib", "needs scikit-learn: `pip install 'tally[monitors]'`."),
        ("ecod", "pyod.models.ecod", "needs pyod: `pip install 'tally[pyod]'`."),
    ],
)
def test_a_library_that_is_not_there_is_said_with_the_extra_that_brings_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, module: str, sentence: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    output = tmp_path / "x.joblib"
    result = tally("monitor", "fit", training(tmp_path), "--kind", kind, "--output", output, "--exclude", "id")
    said = sentence.replace("[", r"\[").replace("]", r"\]")
    assert_sentence(result, f"--kind {kind} {said}")
    assert not output.exists()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ((), r".*training\.csv, line 2 has 'c0' as id, and a detector takes numbers: .* --exclude id, .*"),
        (("--exclude", "ID"), "--exclude ID: .* has no such column; it has id, a, b, c, d, e."),
        (("--feature", "x"), "--feature x: .* has no such column; .*"),
        (("--feature", "a", "--exclude", "a"), "--exclude a: it is a --feature too; it can be one of both."),
        (tuple(word for name in HEADER for word in ("--exclude", name)), ".* has no column left that a detector .*"),
        (("--exclude", "id", "--contamination", "0.001"), r".* has 569 rows with all values, and of these not one .*"),
        (("--contamination", "0"), "Invalid value for '--contamination': .*"),
        (("--contamination", "0.6"), "Invalid value for '--contamination': .*"),
        (("--contamination", "nan"), "Invalid value for '--contamination': nan is no number.*"),
        (("--contamination", "few"), "Invalid value for '--contamination': .*"),
        (("--kind", "forest"), "Invalid value for '--kind': .*"),
        (("--name", "a b"), "--name a b: up to 64 letters, digits, _ and - that begin with a letter, no other."),
        (("--format", "xml"), "Invalid value for '--format': .*"),
    ],
)
def test_what_cannot_be_fitted_is_said_in_a_sentence(tmp_path: Path, options: tuple[str, ...], sentence: str) -> None:
    output = tmp_path / "x.joblib"
    assert_sentence(tally("monitor", "fit", training(tmp_path), *FOREST, "--output", output, *options), sentence)
    assert not output.exists()


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("t.csv", "a,b\n", r".*t\.csv has 0 rows with all values, .*"),
        ("t.csv", "a,b\n" + "1,\n" * 100, r".*t\.csv has 0 rows with all values, .*"),
        ("t.csv", "a,b\n1,2\n3\n", r".*t\.csv, line 3 has 1 fields, and the header has 2: mend it, or take it out\."),
        ("t.csv", "a,a\n1,2\n", r".*t\.csv has two columns named 'a': give each its own name\."),
        ("t.jsonl", '{"a": 1}\n{"a": [1]}\n', r".*t\.jsonl, line 2 has '\[1\]' as a, and a detector takes numbers: .*"),
        ("t.jsonl", '{"a": 1}\n{"a": "1"}\n', r".*t\.jsonl, line 2 has '1' as a, and a detector takes numbers: .*"),
        ("t.parquet", "a,b\n", r".*t\.parquet is no Parquet file that can be read .*"),
        ("t.bin", "a", r".*t\.bin does not say by its name what it is: give --format csv\|jsonl\|parquet\."),
    ],
)
def test_training_data_that_cannot_be_used_is_said_in_a_sentence(
    tmp_path: Path, name: str, content: str, sentence: str
) -> None:
    (tmp_path / name).write_text(content)
    assert_sentence(tally("monitor", "fit", tmp_path / name, *FOREST, "--output", tmp_path / "x.joblib"), sentence)


def test_places_that_cannot_be_read_or_written_are_said_in_a_sentence(tmp_path: Path) -> None:
    output = ("--exclude", "id", "--output", tmp_path / "no" / "x.joblib")
    assert_sentence(tally("monitor", "fit", training(tmp_path), *FOREST, *output), "--output .* cannot be written .*")
    assert_sentence(tally("monitor", "fit", "-", *FOREST, "--output", "x"), "TRAINING must name a file: .*")
    for ending in ("skops", "onnx"):
        output = ("--exclude", "id", "--output", tmp_path / f"x.{ending}")
        assert_sentence(
            tally("monitor", "fit", training(tmp_path), *FOREST, *output), "--output .* is written by joblib.*"
        )
    assert_sentence(
        tally("monitor", "fit", tmp_path / "x.csv", *FOREST, "--output", "x"), r".*x\.csv cannot be read .*"
    )
